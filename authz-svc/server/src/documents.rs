//! Documents that are fetched, such as key sets: by URL, before requests need them, renewed before
//! they expire, the last good one kept while its server fails. Requests wait only for a document
//! that is not there, that nobody used for long, or that lacks a key.

mod ages;
mod entry;
mod fetch;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use authz_core::TokenCache;
use authz_core::need::{CallError, Document, DocumentKind, Fetch};
use prometheus_client::registry::Registry;

use crate::edge::Addresses;
use crate::metrics::Metrics;
use entry::Entry;
use fetch::Clients;

/// Most URLs that are remembered.
const MAX_URLS: usize = 1_000;

/// URL, kind, and whether any certificate will do.
type Key = (Arc<str>, DocumentKind, bool);

fn key(fetch: &Fetch) -> Key {
    (fetch.url.clone(), fetch.what, fetch.insecure_tls)
}

/// All documents; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Documents(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    entries: ArcSwap<HashMap<Key, Arc<Entry>>>,
    clients: Clients,
    metrics: Metrics,
}

impl Documents {
    /// None yet.
    pub(crate) fn new(addresses: &Addresses, metrics: Metrics) -> anyhow::Result<Self> {
        let entries = ArcSwap::default();
        Ok(Self(Arc::new(Inner { entries, clients: Clients::new(addresses)?, metrics })))
    }

    /// Shows how old each document is, and how often tokens were known.
    pub(crate) fn register(&self, registry: &mut Registry, tokens: TokenCache) {
        registry.register_collector(Box::new(ages::Collected { documents: self.clone(), tokens }));
    }

    /// Takes what the configuration names now: new ones are fetched at once, those that it named
    /// before and does not any more are forgotten.
    pub(crate) fn want(&self, fetches: &[Fetch]) {
        let wanted: HashSet<Key> = fetches.iter().map(key).collect();
        let dropped = |(key, entry): (&Key, &Arc<Entry>)| {
            (entry.is_wanted() && !wanted.contains(key)).then(|| key.clone())
        };
        let dropped: Vec<Key> = self.0.entries.load().iter().filter_map(dropped).collect();
        for key in dropped {
            self.0.forget(&key);
        }
        for fetch in fetches {
            if let Some(entry) = self.entry(fetch) {
                entry.want();
            }
        }
    }

    /// The document that `fetch` names, or that it cannot be had, when there is nothing to wait for.
    pub(crate) fn at_hand(&self, fetch: &Fetch) -> Option<Result<Document, CallError>> {
        self.0.entries.load().get(&key(fetch))?.at_hand(fetch)
    }

    /// The document that `fetch` names.
    ///
    /// # Errors
    /// When it was never had, or too long ago.
    pub(crate) async fn get(&self, fetch: &Fetch) -> Result<Document, CallError> {
        let entry = self.entry(fetch).ok_or(CallError::Shed)?;
        match entry.at_hand(fetch) {
            Some(known) => known,
            None => entry.renewed().await,
        }
    }

    fn entry(&self, fetch: &Fetch) -> Option<Arc<Entry>> {
        let key = key(fetch);
        if let Some(entry) = self.0.entries.load().get(&key) {
            return Some(entry.clone());
        }
        let new = Arc::new(Entry::new(fetch));
        let mut ours = false;
        self.0.entries.rcu(|entries| {
            let mut entries = HashMap::clone(entries);
            if entries.len() >= MAX_URLS {
                let idle = entries.iter().filter(|(_, e)| !e.is_wanted());
                let oldest = idle.min_by_key(|(_, e)| e.last_used()).map(|(key, _)| key.clone());
                if let Some(key) = oldest {
                    entries.remove(&key);
                }
            }
            ours = entries.len() < MAX_URLS && !entries.contains_key(&key);
            if ours {
                entries.insert(key.clone(), new.clone());
            }
            entries
        });
        if ours {
            tokio::spawn(keep(new, key.clone(), Arc::downgrade(&self.0)));
        }
        self.0.entries.load().get(&key).cloned()
    }
}

impl Inner {
    fn forget(&self, key: &Key) {
        self.entries.rcu(|entries| {
            let mut entries = HashMap::clone(entries);
            entries.remove(key);
            entries
        });
    }

    fn holds(&self, key: &Key, entry: &Arc<Entry>) -> bool {
        self.entries.load().get(key).is_some_and(|e| Arc::ptr_eq(e, entry))
    }
}

/// Fetches a document again and again, for as long as it is one of the documents.
async fn keep(entry: Arc<Entry>, key: Key, documents: std::sync::Weak<Inner>) {
    loop {
        let Some(all) = documents.upgrade().filter(|all| all.holds(&key, &entry)) else { return };
        entry.attempt(&all.clients, &all.metrics).await;
        drop(all);
        loop {
            if entry.wait().await {
                break;
            }
            let Some(all) = documents.upgrade().filter(|all| all.holds(&key, &entry)) else {
                return;
            };
            if entry.is_idle() {
                all.forget(&key);
                return;
            }
        }
    }
}

#[cfg(test)]
#[path = "documents/tests.rs"]
mod tests;
