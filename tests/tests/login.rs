//! People log in with a real Keycloak and a real Chromium, through gateway-ctl, a stock Envoy, two
//! replicas of authz-svc and a real Redis, by the resources of `docs/examples/keycloak`. Pictures are
//! kept in `target/pictures`.

#![allow(clippy::unwrap_used)]

#[path = "login/site.rs"]
mod site;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use e2e::browser::Browser;
use e2e::http::{self, Request, Response};
use e2e::process::PATIENCE;
use serde_json::Value;
use site::Site;

const SESSION: &str = "ambassador_session.login.default";
const XSRF: &str = "ambassador_xsrf.login.default";

#[test]
fn people_log_in_stay_in_and_log_out() {
    let site = Site::start();
    let browser = Browser::start((900, 700));
    scripts_are_not_sent_to_a_login_page(&site);
    log_in(&site, &browser);
    other_tabs_and_hosts_need_no_login(&site, &browser);
    one_renewal_serves_all(&site, &browser);
    log_out(&site, &browser);
    outages(site, &browser);
}

/// Redirect, login page, back, and the page with the user's name.
fn log_in(site: &Site, browser: &Browser) {
    browser.open(&site.url("shop.test", "/orders?page=2"));
    let at_keycloak = format!("http://{}/realms/shop/", site.keycloak());
    assert!(browser.url().starts_with(&at_keycloak), "{}", browser.url());
    // A second tab begins a login of its own before the first one is done.
    let first = browser.new_tab();
    browser.open(&site.url("shop.test", "/basket"));
    assert!(browser.url().starts_with(&at_keycloak), "{}", browser.url());
    let second = browser.switch(first);
    browser.fill("#username", "alice");
    browser.fill("#password", "alice's password");
    browser.keep_picture("login-1-login-page");
    browser.click("#kc-login");
    browser.wait_text("h1", "Hello, alice");
    assert_eq!(browser.url(), site.url("shop.test", "/orders?page=2"));
    browser.keep_picture("login-2-logged-in");
    let cookies = browser.cookies();
    let cookie = |name: &str| cookies.iter().find(|c| c.name == name).unwrap();
    assert!(cookie(SESSION).http_only && cookie(SESSION).lasting, "{cookies:?}");
    assert!(!cookie(XSRF).http_only, "{cookies:?}");
    // The other tab: Keycloak knows the user by now.
    let first = browser.switch(second);
    browser.open(&site.url("shop.test", "/basket"));
    browser.wait_text("h1", "Hello, alice");
    browser.switch(first);
}

fn other_tabs_and_hosts_need_no_login(site: &Site, browser: &Browser) {
    let before = browser.new_tab();
    browser.open(&site.url("cafe.test", "/menu"));
    browser.wait_text("h1", "Hello, alice");
    assert_eq!(browser.url(), site.url("cafe.test", "/menu"));
    browser.keep_picture("login-3-other-host");
    browser.switch(before);
}

/// Twenty requests at once with a token that is over, on two replicas, against a provider that takes a
/// refresh token once only and ends the session when it comes again.
fn one_renewal_serves_all(site: &Site, browser: &Browser) {
    let cookie = session(browser);
    assert_eq!(get(site, "/orders", &cookie).status, 200);
    for round in 1..=2 {
        let old = site.last_token();
        wait_until_over(&old);
        site.take_tokens();
        std::thread::scope(|scope| {
            let requests: Vec<_> =
                (0..20).map(|_| scope.spawn(|| get(site, "/orders", &cookie))).collect();
            for request in requests {
                let answer = request.join().unwrap();
                let words = format!("round {round}: {answer:?}\n{}", site.log());
                assert_eq!(answer.status, 200, "{words}");
                assert!(answer.body.contains("Hello, alice"), "{words}");
            }
        });
        let mut tokens = site.take_tokens();
        assert_eq!(tokens.len(), 20);
        tokens.dedup();
        assert_eq!(tokens.len(), 1, "all have the token of one renewal");
        assert_ne!(tokens[0], old);
        site.remember(&tokens[0]);
    }
    browser.open(&site.url("shop.test", "/orders"));
    browser.wait_text("h1", "Hello, alice");
}

fn log_out(site: &Site, browser: &Browser) {
    let cookie = session(browser);
    browser.click("#logout");
    browser.wait_text("h1", "Goodbye");
    assert_eq!(browser.url(), site.url("shop.test", "/goodbye"));
    browser.keep_picture("login-4-logged-out");
    assert_eq!(
        get(site, "/orders", &cookie).status,
        302,
        "a cookie that was kept is worth nothing"
    );
    browser.open(&site.url("shop.test", "/orders"));
    browser.text("#kc-login");
    browser.keep_picture("login-5-login-page-again");
}

fn scripts_are_not_sent_to_a_login_page(site: &Site) {
    let answer = get(site, "/api/orders", "");
    assert_eq!(answer.status, 401);
    assert!(answer.header("set-cookie").is_none(), "{answer:?}");
    assert!(answer.json()["message"].is_string(), "{answer:?}");
}

/// Who is logged in stays so while the provider is down, until the token is over; without the store
/// nobody is let in, and nobody's session is lost.
fn outages(mut site: Site, browser: &Browser) {
    browser.fill("#username", "alice");
    browser.fill("#password", "alice's password");
    browser.click("#kc-login");
    browser.wait_text("h1", "Hello, alice");
    let cookie = session(browser);
    assert_eq!(get(&site, "/orders", &cookie).status, 200);
    let token = site.last_token();
    site.stop_keycloak();
    assert_eq!(
        get(&site, "/orders", &cookie).status,
        200,
        "the token is good, and so are the keys"
    );
    wait_until_over(&token);
    let end = Instant::now() + PATIENCE;
    let answer = loop {
        // A renewal takes its time to fail.
        let answer = get(&site, "/orders", &cookie);
        if answer.status != 200 || Instant::now() > end {
            break answer;
        }
    };
    assert_eq!((answer.status, answer.header("set-cookie")), (502, None), "{answer:?}");
    site.stop_redis();
    let answer = get(&site, "/orders", &cookie);
    assert_eq!((answer.status, answer.header("set-cookie")), (503, None), "{answer:?}");
    assert_eq!(get(&site, "/goodbye", "").status, 200, "what needs no login is served");
}

fn session(browser: &Browser) -> String {
    let cookies = browser.cookies();
    let cookies: Vec<_> = cookies.iter().map(|c| format!("{}={}", c.name, c.value)).collect();
    cookies.join("; ")
}

fn get(site: &Site, path: &str, cookie: &str) -> Response {
    let host = format!("shop.test:{}", site.listener.port());
    let mut request = Request::get(path, &host).header("accept", "text/html");
    if !cookie.is_empty() {
        request = request.header("cookie", cookie);
    }
    http::send(site.listener, &request).unwrap_or_else(|e| panic!("{path}: {e}\n{}", site.log()))
}

/// Waits for the end of an access token, as `exp` tells it.
fn wait_until_over(token: &str) {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let end = UNIX_EPOCH + Duration::from_secs(claims["exp"].as_u64().unwrap());
    if let Ok(rest) = end.duration_since(SystemTime::now()) {
        std::thread::sleep(rest);
    }
}
