//! A child process that cannot outlive this one, its log on ours, and its last words.
//!
//! The child is started through this program's own hidden subcommand, which asks the kernel for a
//! SIGTERM when the parent dies (a setting that stays over `exec`) and then becomes the child. It
//! has a process group of its own, so that a Ctrl-C in the terminal reaches only the parent, which
//! then stops the children in order.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::output::note;

/// Name of the hidden subcommand.
pub const SUBCOMMAND: &str = "become-child";
/// Lines that are kept as last words.
const LAST_WORDS: usize = 8;
/// Longest line of a log; the rest of it goes to the next line.
const LONGEST_LINE: u64 = 16 << 10;

/// A running child.
pub struct Child {
    /// What people call it.
    pub name: &'static str,
    process: tokio::process::Child,
    last_words: Arc<Mutex<VecDeque<String>>>,
    logs: Vec<JoinHandle<()>>,
}

impl Child {
    /// Starts `program`. Must be called on the process's main thread: the kernel's notion of a
    /// parent is the thread that starts a child.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &'static str, program: &Path, args: &[String]) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        // What the services call their level; one that is set in the environment wins.
        for level in ["LOG_LEVEL", "AES_LOG_LEVEL"] {
            if std::env::var_os(level).is_none() {
                command.env(level, "warn");
            }
        }
        let mut process = command
            .arg(SUBCOMMAND)
            .arg(std::process::id().to_string())
            .arg(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let last_words = Arc::new(Mutex::new(VecDeque::new()));
        let mut logs = Vec::new();
        if let Some(out) = process.stdout.take() {
            logs.push(tokio::spawn(follow(name, out, last_words.clone())));
        }
        if let Some(err) = process.stderr.take() {
            logs.push(tokio::spawn(follow(name, err, last_words.clone())));
        }
        Ok(Self { name, process, last_words, logs })
    }

    /// Waits for its end; may be dropped and called again.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.process.wait().await
    }

    /// What it said last, and how it ended, in one line.
    pub async fn obituary(&mut self, status: io::Result<ExitStatus>) -> String {
        for log in self.logs.drain(..) {
            // What it wrote before it died is still in the pipe.
            let _ = tokio::time::timeout(Duration::from_millis(500), log).await;
        }
        let how = match status {
            Ok(status) => status.to_string(),
            Err(e) => format!("its end is unknown: {e}"),
        };
        let words = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        match words.iter().rev().find(|w| !w.trim().is_empty()) {
            Some(last) => format!("{} ended ({how}); its last words: {}", self.name, last.trim()),
            None => format!("{} ended ({how}) without a word", self.name),
        }
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends it.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may be gone already.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

/// Copies a child's log to ours, line by line under its name.
async fn follow(
    name: &'static str,
    log: impl AsyncRead + Unpin,
    last_words: Arc<Mutex<VecDeque<String>>>,
) {
    let mut log = BufReader::new(log);
    loop {
        let mut line = Vec::new();
        match (&mut log).take(LONGEST_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if line.is_empty() {
            continue;
        }
        note(format_args!("[{name}] {line}"));
        let mut words = last_words.lock().unwrap_or_else(PoisonError::into_inner);
        if words.len() >= LAST_WORDS {
            words.pop_front();
        }
        words.push_back(line);
    }
}

/// The hidden subcommand: becomes `program`, bound to the life of the process `parent`. Returns
/// only when that fails.
pub fn become_child(parent: u32, program: &PathBuf, args: &[String]) -> String {
    use std::os::unix::process::CommandExt as _;
    #[cfg(target_os = "linux")]
    if let Err(e) = rustix::process::set_parent_process_death_signal(Some(Signal::TERM)) {
        return format!("cannot ask to be told of the parent's end: {e}");
    }
    if std::os::unix::process::parent_id() != parent {
        return "the parent has ended already".to_owned();
    }
    let e = std::process::Command::new(program).args(args).exec();
    format!("cannot start {}: {e}", program.display())
}
