//! Key sets that are fetched: cached by URL, one fetch at a time, the last good one kept while the
//! server fails.

mod fetch;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use authz_core::Fetch;
use authz_core::keys::KeySet;
use tokio::sync::Mutex;

use crate::metrics::Metrics;
use fetch::{Clients, Fetched};

/// Most URLs that are remembered.
const MAX_URLS: usize = 1_000;
/// A key set is good for this long at least, whatever its server says.
const MIN_LIFETIME: Duration = Duration::from_secs(5);
/// After the end of its life a key set serves this long while its server fails.
const GRACE: Duration = Duration::from_secs(3600);
/// An unknown key id makes at most one fetch in this time.
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);
/// After a failed fetch the next one waits this long.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// By URL, and whether any certificate will do.
type Entries = HashMap<(Arc<str>, bool), Arc<Entry>>;

/// All key sets.
#[derive(Debug)]
pub(crate) struct KeySets {
    entries: ArcSwap<Entries>,
    clients: Clients,
    metrics: Metrics,
}

#[derive(Debug)]
struct Entry {
    current: ArcSwapOption<Cached>,
    /// The larger of what several filters ask, in seconds.
    max_stale: AtomicU64,
    /// Held during a fetch; when the last one ended, and whether it was good.
    flight: Mutex<Option<Attempt>>,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    at: Instant,
    good: bool,
}

#[derive(Debug)]
struct Cached {
    keys: Arc<KeySet>,
    expires: Instant,
}

impl KeySets {
    /// No key sets yet.
    pub(crate) fn new(metrics: Metrics) -> anyhow::Result<Self> {
        Ok(Self { entries: ArcSwap::default(), clients: Clients::new()?, metrics })
    }

    /// The key set that `fetch` names. Without network while it is fresh. `Err` when it was never
    /// had, or too long ago.
    pub(crate) async fn get(&self, fetch: &Fetch) -> Result<Arc<KeySet>, ()> {
        let entry = self.entry(fetch).ok_or(())?;
        if !fetch.refresh
            && let Some(cached) =
                entry.current.load().as_ref().filter(|c| Instant::now() < c.expires)
        {
            return Ok(cached.keys.clone());
        }
        // In a task of its own: a caller that gives up must not end it for the others.
        let (clients, metrics, asked) = (self.clients.clone(), self.metrics.clone(), fetch.clone());
        let task = tokio::spawn({
            let entry = entry.clone();
            async move { entry.renew(&asked, &clients, &metrics).await }
        });
        if task.await.is_err() {
            tracing::error!("the fetch of {} failed by a fault of this program", fetch.url);
        }
        entry.usable()
    }

    fn entry(&self, fetch: &Fetch) -> Option<Arc<Entry>> {
        let key = (fetch.url.clone(), fetch.insecure_tls);
        let known = self.entries.load().get(&key).cloned();
        let entry = match known {
            Some(entry) => entry,
            None => {
                let new = Arc::new(Entry {
                    current: ArcSwapOption::empty(),
                    max_stale: AtomicU64::new(0),
                    flight: Mutex::new(None),
                });
                self.entries.rcu(|entries| {
                    let mut entries = HashMap::clone(entries);
                    if entries.len() < MAX_URLS {
                        entries.entry(key.clone()).or_insert_with(|| new.clone());
                    }
                    entries
                });
                self.entries.load().get(&key).cloned()?
            }
        };
        entry.max_stale.fetch_max(fetch.max_stale.as_secs(), Ordering::Relaxed);
        Some(entry)
    }
}

impl Entry {
    fn max_stale(&self) -> Duration {
        Duration::from_secs(self.max_stale.load(Ordering::Relaxed))
    }

    /// Fetches, unless somebody did while this waited or it was done just now.
    async fn renew(&self, fetch: &Fetch, clients: &Clients, metrics: &Metrics) {
        let asked = Instant::now();
        let mut last = self.flight.lock().await;
        if let Some(attempt) = *last {
            let pause = match (attempt.good, fetch.refresh) {
                (false, _) => RETRY_INTERVAL,
                (true, true) => REFRESH_INTERVAL,
                (true, false) => Duration::ZERO,
            };
            if attempt.at >= asked || attempt.at.elapsed() < pause {
                return;
            }
        }
        let result = clients.fetch(fetch, self.max_stale()).await;
        *last = Some(Attempt { at: Instant::now(), good: result.is_ok() });
        match result {
            Ok(Fetched { keys, lifetime }) => {
                metrics.fetched.inc();
                let expires = Instant::now() + lifetime.max(MIN_LIFETIME);
                self.current.store(Some(Arc::new(Cached { keys: Arc::new(keys), expires })));
            }
            Err(why) => {
                metrics.fetch_failed.inc();
                tracing::warn!(
                    "the key set {} cannot be had: {why}; the last good one is used while it lasts",
                    fetch.url
                );
            }
        }
    }

    fn usable(&self) -> Result<Arc<KeySet>, ()> {
        let current = self.current.load();
        let grace = GRACE.max(self.max_stale());
        match current.as_ref() {
            Some(cached) if Instant::now() < cached.expires + grace => Ok(cached.keys.clone()),
            _ => Err(()),
        }
    }
}
