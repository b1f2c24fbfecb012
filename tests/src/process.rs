//! Programs under test, and the real parts they need.

use std::io::{self, BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::http;

/// Longest wait for a program to start, stop or say something.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Longest wait for what a program wrote before its end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The version that `scripts/install-envoy.sh` gets.
const ENVOY: &str = "1.40.0";

/// The program `name` of this workspace, built beside the running test.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().find(|p| p.join(name).is_file());
    folder
        .unwrap_or_else(|| panic!("{name} is not built; run `make bins` (or cargo build) first"))
        .join(name)
}

/// A real Envoy: `$ENVOY`, on PATH, or where `make tools` puts it.
pub fn envoy() -> PathBuf {
    if let Some(path) = std::env::var_os("ENVOY") {
        return path.into();
    }
    if let Some(path) = on_path("envoy") {
        return path;
    }
    envoy_of(ENVOY)
}

/// The Envoy of `version` that `make tools` puts into the cache.
pub fn envoy_of(version: &str) -> PathBuf {
    let mut folders = vec![crate::cache().join(format!("envoy-{version}"))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_program = path.file_name().is_some_and(|n| n == "envoy") && path.is_file();
            if is_program && std::fs::metadata(&path).is_ok_and(|m| m.len() > 1 << 20) {
                return path;
            }
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            }
        }
    }
    panic!("there is no Envoy {version}; run `make tools`, or set ENVOY to a path");
}

pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|d| d.join(name)).find(|p| p.is_file())
}

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: Arc<Mutex<String>>,
    readers: [JoinHandle<()>; 2],
}

impl Process {
    /// Starts `program` with its output kept.
    pub fn start(program: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{} does not start: {e}", program.display()));
        let log = Arc::new(Mutex::new(String::new()));
        let readers = [collect(child.stdout.take(), &log), collect(child.stderr.take(), &log)];
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, child, log, readers }
    }

    /// Everything it wrote so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `/readyz` of its admin port says yes.
    pub fn wait_ready(&mut self, admin: SocketAddr) {
        self.wait(&format!("ready at {admin}"), |_| {
            http::get(admin, "/readyz").is_ok_and(|r| r.status == 200)
        });
    }

    /// Waits until an Envoy with this admin port is live.
    pub fn wait_ready_envoy(&mut self, admin: SocketAddr) {
        self.wait("live", |_| http::get(admin, "/ready").is_ok_and(|r| r.body.contains("LIVE")));
    }

    /// Waits until it wrote `text`.
    pub fn wait_log(&mut self, text: &str) {
        self.wait(&format!("saying `{text}`"), |p| p.log().contains(text));
    }

    /// Waits for anything.
    ///
    /// # Panics
    /// When the program ends or the patience does, with its log.
    pub fn wait(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("{} ended ({status}) instead of {what}:\n{}", self.name, self.log());
            }
            assert!(Instant::now() < end, "{} is not {what}:\n{}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        signal("TERM", self.id());
    }

    /// Waits for its end, and for its last words: but for a moment only, as a child of its own may
    /// still hold its output.
    ///
    /// # Panics
    /// When it does not end.
    pub fn wait_end(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let end = Instant::now() + LAST_WORDS;
                while !self.readers.iter().all(JoinHandle::is_finished) && Instant::now() < end {
                    std::thread::sleep(Duration::from_millis(1));
                }
                return status;
            }
            assert!(Instant::now() < end, "{} does not end:\n{}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        crate::clock::forget(self.id());
    }
}

/// Sends a signal to a process that the test started.
pub fn signal(name: &str, process: u32) {
    let status = Command::new("kill").args([format!("-{name}"), process.to_string()]).status();
    assert!(status.unwrap().success(), "kill -{name} {process}");
}

fn collect(stream: Option<impl Read + Send + 'static>, log: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let (stream, log) = (stream.unwrap(), log.clone());
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    })
}

/// Starts Envoy with the bootstrap `file`, on one thread.
///
/// # Panics
/// When there is no Envoy.
pub fn start_envoy(file: &Path, more: &[&str]) -> Process {
    let file = file.display().to_string();
    let own = ["--disable-hot-restart", "--concurrency", "1", "-l", "warning", "-c", &file];
    Process::start(&envoy(), &[&own, more].concat(), &[])
}

/// Resident memory of a process in KiB.
///
/// # Errors
/// When there is no such process.
pub fn resident_kib(pid: u32) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| io::Error::other("no VmRSS in its status"))
}
