//! One document: when it is fetched, and what it says meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use authz_core::need::{CallError, Document, Fetch};
use service_kit::server::jitter;
use tokio::sync::{Notify, watch};

use super::fetch::{Clients, Fetched};
use crate::metrics::Metrics;

/// A document is good for this long at least, whatever its server says.
const MIN_LIFETIME: Duration = Duration::from_secs(5);
/// After the end of its life a document serves this long while its server fails.
const GRACE: Duration = Duration::from_secs(3600);
/// Missing keys make at most one fetch in this time.
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);
/// After a failed fetch the next one waits this long.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The longest such wait.
const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// A document that nobody uses is not fetched more often than this.
const IDLE_INTERVAL: Duration = Duration::from_secs(60);
/// A document that the configuration does not name is forgotten when nobody used it for so long.
const MAX_IDLE: Duration = Duration::from_secs(3600);
/// How often to look whether it is one of the documents still.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(super) struct Entry {
    fetch: Fetch,
    current: ArcSwapOption<Cached>,
    /// The larger of what several filters ask, in seconds.
    max_stale: AtomicU64,
    /// Whether the configuration names it.
    wanted: AtomicBool,
    born: Instant,
    /// Seconds from `born` to its last use.
    used: AtomicU64,
    /// Somebody waits for a fetch.
    wanted_now: Notify,
    attempts: watch::Sender<Attempts>,
}

/// Of fetches.
#[derive(Clone, Copy, Debug, Default)]
struct Attempts {
    ended: u64,
    running: bool,
    /// The end of the last one.
    last: Option<Instant>,
    /// How many failed since the last good one.
    failed: u32,
}

impl Attempts {
    fn within(&self, time: Duration) -> bool {
        self.last.is_some_and(|last| last.elapsed() < time)
    }
}

#[derive(Debug)]
struct Cached {
    document: Document,
    /// Of the bytes it was read from: the same ones are the same document.
    digest: [u8; 32],
    fetched: Instant,
    expires: Instant,
}

impl Entry {
    pub(super) fn new(fetch: &Fetch) -> Self {
        Self {
            fetch: Fetch { refresh: false, ..fetch.clone() },
            current: ArcSwapOption::empty(),
            max_stale: AtomicU64::new(fetch.max_stale.as_secs()),
            wanted: AtomicBool::new(false),
            born: Instant::now(),
            used: AtomicU64::new(0),
            wanted_now: Notify::new(),
            // A fetch begins with the entry.
            attempts: watch::Sender::new(Attempts { running: true, ..Attempts::default() }),
        }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Relaxed)
    }

    pub(super) fn want(&self) {
        self.wanted.store(true, Relaxed);
    }

    /// When it was used, compared to others.
    pub(super) fn last_used(&self) -> Instant {
        self.born + Duration::from_secs(self.used.load(Relaxed))
    }

    /// Whether nobody would miss it.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_wanted() && self.last_used().elapsed() > MAX_IDLE
    }

    /// How long ago what is in force was fetched.
    pub(super) fn age(&self) -> Option<Duration> {
        self.current.load().as_ref().map(|c| c.fetched.elapsed())
    }

    pub(super) fn url(&self) -> &str {
        &self.fetch.url
    }

    fn max_stale(&self) -> Duration {
        Duration::from_secs(self.max_stale.load(Relaxed))
    }

    /// What it says when there is nothing to wait for. To wait, see [`Self::renewed`].
    pub(super) fn at_hand(&self, fetch: &Fetch) -> Option<Result<Document, CallError>> {
        let now = Instant::now();
        let used = now.duration_since(self.born).as_secs();
        if self.used.load(Relaxed) != used {
            self.used.store(used, Relaxed);
            self.max_stale.fetch_max(fetch.max_stale.as_secs(), Relaxed);
        }
        let current = self.current.load();
        let fresh = current.as_ref().filter(|c| now < c.expires);
        if let (Some(fresh), false) = (fresh, fetch.refresh) {
            return Some(Ok(fresh.document.clone()));
        }
        let attempts = *self.attempts.borrow();
        let usable = self.usable();
        let wait = match (&usable, fetch.refresh) {
            (Err(_), _) => !attempts.within(RETRY_INTERVAL),
            (Ok(_), true) => !attempts.within(REFRESH_INTERVAL),
            // While its server fails nobody waits for it.
            (Ok(_), false) => attempts.failed == 0,
        };
        (!wait).then_some(usable)
    }

    /// What it says after the fetch that runs, or else a new one.
    pub(super) async fn renewed(&self) -> Result<Document, CallError> {
        let mut attempts = self.attempts.subscribe();
        let before = *attempts.borrow_and_update();
        if !before.running {
            self.wanted_now.notify_one();
        }
        // The sender lives as long as this.
        let _ = attempts.wait_for(|a| a.ended > before.ended).await;
        self.usable()
    }

    fn usable(&self) -> Result<Document, CallError> {
        let current = self.current.load();
        let grace = GRACE.max(self.max_stale());
        match current.as_ref() {
            Some(cached) if Instant::now() < cached.expires + grace => Ok(cached.document.clone()),
            _ => Err(CallError::Unavailable),
        }
    }

    /// Waits for the time of the next fetch. False: it is not yet, look around.
    pub(super) async fn wait(&self) -> bool {
        let due = self.due();
        let look = Instant::now() + LOOK_INTERVAL;
        tokio::select! {
            () = tokio::time::sleep_until(due.min(look).into()) => due <= look,
            // A call of before the last fetch is answered by it.
            () = self.wanted_now.notified() => !self.attempts.borrow().within(RETRY_INTERVAL),
        }
    }

    /// When it is fetched next: before it expires, or, after a failure, after a wait that grows.
    fn due(&self) -> Instant {
        let attempts = *self.attempts.borrow();
        let last = attempts.last.unwrap_or(self.born);
        if attempts.failed > 0 {
            let wait = RETRY_INTERVAL * (1 << (attempts.failed - 1).min(5));
            return last + jitter::between(wait.min(MAX_RETRY_INTERVAL), 1.0, 1.2);
        }
        let current = self.current.load();
        let life = current.as_ref().map_or(MIN_LIFETIME, |c| c.expires.duration_since(c.fetched));
        let due = last + jitter::between(life, 0.7, 0.9);
        if self.last_used() < last { due.max(last + IDLE_INTERVAL) } else { due }
    }

    /// Fetches it.
    pub(super) async fn attempt(&self, clients: &Clients, metrics: &Metrics) {
        self.attempts.send_modify(|a| a.running = true);
        let (clients, fetch, max_stale) = (clients.clone(), self.fetch.clone(), self.max_stale());
        // In a task of its own: whatever happens in there, the next attempt comes.
        let task = tokio::spawn(async move { clients.fetch(&fetch, max_stale).await });
        let result = task.await.unwrap_or_else(|_| Err("a fault of this program".to_owned()));
        let good = result.is_ok();
        match result {
            Ok(fetched) => {
                metrics.fetched.inc();
                self.take(fetched);
            }
            Err(why) => {
                metrics.fetch_failed.inc();
                let url = &self.fetch.url;
                tracing::warn!(
                    "the document {url} cannot be had: {why}; the last good one is used while it lasts"
                );
            }
        }
        self.attempts.send_modify(|a| {
            *a = Attempts {
                ended: a.ended + 1,
                running: false,
                last: Some(Instant::now()),
                failed: if good { 0 } else { a.failed.saturating_add(1) },
            };
        });
    }

    fn take(&self, Fetched { document, digest, lifetime }: Fetched) {
        let fetched = Instant::now();
        let expires = fetched + lifetime.max(MIN_LIFETIME);
        let known = self.current.load();
        let document = match known.as_ref().filter(|k| k.digest == digest) {
            Some(same) => same.document.clone(),
            None => {
                note(&self.fetch.url, &document);
                document
            }
        };
        self.current.store(Some(Arc::new(Cached { document, digest, fetched, expires })));
    }
}

/// Says what a new document has.
fn note(url: &str, document: &Document) {
    let Document::KeySet(keys) = document else { return };
    tracing::info!("{} keys of {url}", keys.len());
    for words in keys.left_out() {
        tracing::warn!("of {url}, {words}");
    }
}
