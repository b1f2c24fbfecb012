//! The audit log: a line of JSON for each decision, written by a thread of its own. A request never
//! waits for it; lines that would have to wait are dropped, and counted.

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::Context as _;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::{Ending, Record};

/// Most lines that wait to be written.
const QUEUE: usize = 4_096;

/// Where it goes and what of it.
#[derive(Clone, Debug)]
pub(crate) struct AuditSettings {
    /// None: standard output.
    pub file: Option<PathBuf>,
    /// Of requests that pass, one in so many; 0: none. All others are always written.
    pub allowed_one_in: u64,
}

/// The log.
#[derive(Debug)]
pub(crate) struct Audit {
    allowed_one_in: u64,
    seen: AtomicU64,
    lines: SyncSender<Vec<u8>>,
    dropped: Counter,
}

impl Audit {
    /// Opens the log; a file is appended to.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread not started.
    pub(crate) fn open(settings: &AuditSettings, registry: &mut Registry) -> anyhow::Result<Self> {
        let out: Box<dyn Write + Send> = match &settings.file {
            None => Box::new(std::io::stdout()),
            Some(file) => Box::new(
                std::fs::OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(file)
                    .with_context(|| format!("--audit-log {}", file.display()))?,
            ),
        };
        let (lines, queue) = sync_channel(QUEUE);
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || write(&queue, out))?;
        let dropped = Counter::default();
        registry.register(
            "authz_audit_dropped",
            "Lines of the audit log that were not written because it is too slow",
            dropped.clone(),
        );
        let allowed_one_in = settings.allowed_one_in;
        Ok(Self { allowed_one_in, seen: AtomicU64::new(0), lines, dropped })
    }

    /// Whether a decision is logged.
    pub(super) fn wants(&self, ending: Ending) -> bool {
        match ending {
            Ending::Allowed if self.allowed_one_in == 0 => false,
            Ending::Allowed => {
                self.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.allowed_one_in)
            }
            _ => true,
        }
    }

    /// Logs it.
    pub(super) fn write(&self, record: &Record) {
        let Ok(mut line) = serde_json::to_vec(record) else { return };
        line.push(b'\n');
        if self.lines.try_send(line).is_err() {
            self.dropped.inc();
        }
    }
}

fn write(lines: &Receiver<Vec<u8>>, mut out: Box<dyn Write + Send>) {
    let mut failed = false;
    while let Ok(line) = lines.recv() {
        let mut written = out.write_all(&line);
        // What waits goes out in one go.
        while let Ok(line) = lines.try_recv() {
            written = written.and_then(|()| out.write_all(&line));
        }
        match written.and_then(|()| out.flush()) {
            Ok(()) => failed = false,
            Err(e) if !failed => {
                failed = true;
                tracing::error!("the audit log cannot be written: {e}");
            }
            Err(_) => {}
        }
    }
}
