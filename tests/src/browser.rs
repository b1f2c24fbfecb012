//! A real Chromium without a window, driven as a person would: pages, fields, buttons, tabs.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fantoccini::error::{CmdError, ErrorStatus};
use fantoccini::wd::{WebDriverCompatibleCommand, WindowHandle};
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::json;
use tokio::runtime::Runtime;
use url::Url;

use crate::TempDir;
use crate::process::{PATIENCE, Process, on_path};

/// A window is at least so wide (pixels); what is narrower is the screen of a phone.
const NARROWEST_WINDOW: u32 = 500;

/// A cookie as the browser keeps it.
#[derive(Clone, Debug)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Whether scripts do not see it.
    pub http_only: bool,
    /// Whether it ends at a time, not with the browser.
    pub lasting: bool,
}

/// A browser with a profile of its own; ends when dropped.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    runtime: Runtime,
    _driver: Process,
    _profile: TempDir,
}

impl Browser {
    /// Starts it with a window (or a phone's screen) of `size` pixels and bright colours; hosts under `.test` are this
    /// machine.
    ///
    /// # Panics
    /// When there is no Chromium with its driver.
    pub fn start(size: (u32, u32)) -> Self {
        Self::start_with(size, false)
    }

    /// As [`Self::start`], for somebody who wants dark colours.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_dark(size: (u32, u32)) -> Self {
        Self::start_with(size, true)
    }

    fn start_with(size: (u32, u32), dark: bool) -> Self {
        let driver = on_path("chromedriver").expect(
            "there is no chromedriver; run `make browser-tools`, or install Chromium and its driver",
        );
        let port = crate::free_port();
        let mut driver = Process::start(&driver, &[&format!("--port={port}")], &[]);
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        driver.wait("listening", |_| std::net::TcpStream::connect(addr).is_ok());
        let profile = TempDir::new("browser");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let arguments = [
            "--headless=new".to_owned(),
            // The sandbox does not work for root, as tests in containers are.
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-quic".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            "--host-resolver-rules=MAP *.test 127.0.0.1".to_owned(),
            format!("--window-size={},{}", size.0, size.1),
            format!("--blink-settings=preferredColorScheme={}", u8::from(!dark)),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let mut options = json!({"args": arguments});
        if size.0 < NARROWEST_WINDOW {
            let screen = json!({"width": size.0, "height": size.1, "pixelRatio": 2.0});
            options["mobileEmulation"] = json!({"deviceMetrics": screen});
        }
        let capabilities = json!({"goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"}});
        let connect = async {
            ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
                .capabilities(capabilities.as_object().unwrap().clone())
                .connect(&format!("http://{addr}"))
                .await
        };
        let client = runtime
            .block_on(connect)
            .unwrap_or_else(|e| panic!("Chromium does not start: {e}\n{}", driver.log()));
        Self { client, runtime, _driver: driver, _profile: profile }
    }

    /// Opens a page.
    pub fn open(&self, url: &str) {
        self.runtime.block_on(self.client.goto(url)).unwrap();
    }

    /// Where it is.
    pub fn url(&self) -> String {
        self.runtime.block_on(self.client.current_url()).unwrap().to_string()
    }

    /// The page as HTML.
    pub fn source(&self) -> String {
        self.runtime.block_on(self.client.source()).unwrap()
    }

    /// The text of the first element like `selector` (CSS), once it is there.
    ///
    /// # Panics
    /// When it does not come, with the page.
    pub fn text(&self, selector: &str) -> String {
        self.with(selector, |element| async move { element.text().await })
    }

    /// Waits until the first element like `selector` has `part` in its text.
    ///
    /// # Panics
    /// When it does not come.
    pub fn wait_text(&self, selector: &str, part: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let text = self.text(selector);
            if text.contains(part) {
                return;
            }
            assert!(Instant::now() < end, "{selector} does not say `{part}` but `{text}`");
        }
    }

    /// Types into a field.
    pub fn fill(&self, selector: &str, text: &str) {
        self.with(selector, |element| async move {
            element.clear().await?;
            element.send_keys(text).await
        });
    }

    /// Clicks. Wait for something of the page that it leads to.
    pub fn click(&self, selector: &str) {
        self.with(selector, |element| async move { element.click().await });
    }

    /// What a script on the page returns.
    pub fn run(&self, script: &str) -> serde_json::Value {
        let run = async {
            let (done, patience) = (self.client.execute_async(script, vec![]), PATIENCE);
            tokio::time::timeout(patience, done).await
        };
        self.runtime.block_on(run).expect("the script does not end").unwrap()
    }

    /// The cookies of the page's host.
    pub fn cookies(&self) -> Vec<Cookie> {
        let all = self.runtime.block_on(self.client.get_all_cookies()).unwrap();
        all.into_iter()
            .map(|c| Cookie {
                name: c.name().to_owned(),
                value: c.value().to_owned(),
                http_only: c.http_only() == Some(true),
                lasting: c.expires().is_some_and(|e| !e.is_session()),
            })
            .collect()
    }

    /// Opens another tab and goes on there; returns the one before.
    pub fn new_tab(&self) -> WindowHandle {
        self.runtime.block_on(async {
            let before = self.client.window().await.unwrap();
            let tab = self.client.new_window(true).await.unwrap();
            self.client.switch_to_window(tab.handle).await.unwrap();
            before
        })
    }

    /// Goes on in this tab; returns the one before.
    pub fn switch(&self, tab: WindowHandle) -> WindowHandle {
        self.runtime.block_on(async {
            let before = self.client.window().await.unwrap();
            self.client.switch_to_window(tab).await.unwrap();
            before
        })
    }

    /// What its console says, since the last call.
    pub fn console(&self) -> Vec<String> {
        let lines = self.runtime.block_on(self.client.issue_cmd(ReadConsole)).unwrap();
        let lines = lines.as_array().cloned().unwrap_or_default();
        lines.iter().map(|line| line["message"].to_string()).collect()
    }

    /// Keeps a picture of the page as `target/pictures/NAME.png`.
    pub fn keep_picture(&self, name: &str) {
        let picture = self.runtime.block_on(self.client.screenshot()).unwrap();
        let test = std::env::current_exe().unwrap();
        let target = test.ancestors().find(|p| p.ends_with("target")).unwrap();
        let folder = target.join("pictures");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
    }

    /// Does something with an element that may come, or be replaced, a little later.
    fn with<T, F>(&self, selector: &str, act: impl Fn(fantoccini::elements::Element) -> F) -> T
    where
        F: Future<Output = Result<T, CmdError>>,
    {
        let attempt = async {
            loop {
                let wait = self.client.wait().at_most(PATIENCE).every(Duration::from_millis(50));
                let result = match wait.for_element(Locator::Css(selector)).await {
                    Ok(element) => act(element).await,
                    Err(e) => Err(e),
                };
                match result {
                    Err(CmdError::Standard(e)) if e.error == ErrorStatus::StaleElementReference => {
                    }
                    result => return result,
                }
            }
        };
        self.runtime
            .block_on(attempt)
            .unwrap_or_else(|e| panic!("{selector}: {e}\n{}\n{}", self.url(), self.source()))
    }
}

/// Chromium's own command; the standard has none for it.
#[derive(Debug)]
struct ReadConsole;

impl WebDriverCompatibleCommand for ReadConsole {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(json!({"type": "browser"}).to_string()))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.runtime.block_on(self.client.clone().close());
    }
}
