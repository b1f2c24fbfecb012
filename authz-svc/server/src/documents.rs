//! Documents that are fetched, such as key sets: cached by URL, one fetch at a time, the last good
//! one kept while the server fails.

mod fetch;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use authz_core::need::{CallError, Document, DocumentKind, Fetch};
use tokio::sync::Mutex;

use crate::edge::Addresses;
use crate::metrics::Metrics;
use fetch::{Clients, Fetched};

/// Most URLs that are remembered.
const MAX_URLS: usize = 1_000;
/// A document is good for this long at least, whatever its server says.
const MIN_LIFETIME: Duration = Duration::from_secs(5);
/// After the end of its life a document serves this long while its server fails.
const GRACE: Duration = Duration::from_secs(3600);
/// An unknown key id makes at most one fetch in this time.
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);
/// After a failed fetch the next one waits this long.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// By URL, kind, and whether any certificate will do.
type Entries = HashMap<(Arc<str>, DocumentKind, bool), Arc<Entry>>;

/// All documents.
#[derive(Debug)]
pub(crate) struct Documents {
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
    document: Document,
    /// Of the bytes it was read from: the same ones are the same document.
    digest: [u8; 32],
    expires: Instant,
}

impl Documents {
    /// None yet.
    pub(crate) fn new(addresses: &Addresses, metrics: Metrics) -> anyhow::Result<Self> {
        Ok(Self { entries: ArcSwap::default(), clients: Clients::new(addresses)?, metrics })
    }

    /// The document that `fetch` names, if it is there and fresh.
    pub(crate) fn fresh(&self, fetch: &Fetch) -> Option<Document> {
        if fetch.refresh {
            return None;
        }
        let entries = self.entries.load();
        let entry = entries.get(&(fetch.url.clone(), fetch.what, fetch.insecure_tls))?;
        let current = entry.current.load();
        current.as_ref().filter(|c| Instant::now() < c.expires).map(|c| c.document.clone())
    }

    /// The document that `fetch` names.
    ///
    /// # Errors
    /// When it was never had, or too long ago.
    pub(crate) async fn get(&self, fetch: &Fetch) -> Result<Document, CallError> {
        if let Some(document) = self.fresh(fetch) {
            return Ok(document);
        }
        let entry = self.entry(fetch).ok_or(CallError::Shed)?;
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
        let key = (fetch.url.clone(), fetch.what, fetch.insecure_tls);
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
            Ok(Fetched { document, digest, lifetime }) => {
                metrics.fetched.inc();
                let expires = Instant::now() + lifetime.max(MIN_LIFETIME);
                let known = self.current.load();
                let document = match known.as_ref().filter(|k| k.digest == digest) {
                    Some(same) => same.document.clone(),
                    None => document,
                };
                self.current.store(Some(Arc::new(Cached { document, digest, expires })));
            }
            Err(why) => {
                metrics.fetch_failed.inc();
                tracing::warn!(
                    "the document {} cannot be had: {why}; the last good one is used while it lasts",
                    fetch.url
                );
            }
        }
    }

    fn usable(&self) -> Result<Document, CallError> {
        let current = self.current.load();
        let grace = GRACE.max(self.max_stale());
        match current.as_ref() {
            Some(cached) if Instant::now() < cached.expires + grace => Ok(cached.document.clone()),
            _ => Err(CallError::Unavailable),
        }
    }
}
