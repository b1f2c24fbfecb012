//! A store in this process, bounded in bytes: what is over goes first, then what is oldest.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use authz_core::need::{StoreAnswer, StoreCommand, StoreError};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What an entry takes beside its key and its value, in bytes: its places in three maps.
const OVERHEAD: usize = 256;
/// Longest life; a longer one is cut.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The store.
#[derive(Debug)]
pub(super) struct Memory {
    inner: Mutex<Inner>,
    limit: usize,
    bytes: Gauge<i64, AtomicI64>,
    evicted: Counter,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<Arc<str>, Entry>,
    by_end: BTreeMap<(Instant, u64), Arc<str>>,
    by_age: BTreeMap<u64, Arc<str>>,
    bytes: usize,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    value: Vec<u8>,
    end: Instant,
    number: u64,
}

impl Memory {
    pub(super) fn register(limit: usize, registry: &mut Registry) -> Self {
        let (bytes, evicted) = (Gauge::default(), Counter::default());
        let text = "Bytes of the store of sessions in memory";
        registry.register("authz_store_memory_bytes", text, bytes.clone());
        let text = "What the store of sessions in memory gave up before its time, to make room";
        registry.register("authz_store_memory_evicted", text, evicted.clone());
        Self { inner: Mutex::default(), limit, bytes, evicted }
    }

    /// Does a command.
    ///
    /// # Errors
    /// When the value alone is larger than the store.
    pub(super) fn run(
        &self,
        command: StoreCommand,
        now: Instant,
    ) -> Result<StoreAnswer, StoreError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.drop_ended(now);
        let answer = match command {
            StoreCommand::Get(key) => {
                Ok(StoreAnswer::Value(inner.entries.get(&*key).map(|e| e.value.clone())))
            }
            StoreCommand::Set(key, value, life) => self.put(&mut inner, key, value, life, now),
            StoreCommand::Add(key, ..) if inner.entries.contains_key(&*key) => {
                Ok(StoreAnswer::Exists)
            }
            StoreCommand::Add(key, value, life) => self.put(&mut inner, key, value, life, now),
            StoreCommand::Take(key) => Ok(StoreAnswer::Value(inner.remove(&key))),
            StoreCommand::Delete(key) => {
                inner.remove(&key);
                Ok(StoreAnswer::Done)
            }
            StoreCommand::DeleteIf(key, value) => {
                if inner.entries.get(&*key).is_some_and(|e| e.value == value) {
                    inner.remove(&key);
                }
                Ok(StoreAnswer::Done)
            }
        };
        self.bytes.set(i64::try_from(inner.bytes).unwrap_or(i64::MAX));
        answer
    }

    fn put(
        &self,
        inner: &mut Inner,
        key: String,
        value: Vec<u8>,
        life: Duration,
        now: Instant,
    ) -> Result<StoreAnswer, StoreError> {
        let size = size(&key, &value);
        if size > self.limit {
            return Err(StoreError);
        }
        inner.remove(&key);
        while inner.bytes + size > self.limit
            && let Some((_, oldest)) = inner.by_age.first_key_value()
        {
            let oldest = oldest.clone();
            inner.remove(&oldest);
            self.evicted.inc();
        }
        let end = now + life.min(LONGEST);
        let (key, number): (Arc<str>, u64) = (key.into(), inner.next);
        inner.next += 1;
        inner.bytes += size;
        inner.by_end.insert((end, number), key.clone());
        inner.by_age.insert(number, key.clone());
        inner.entries.insert(key, Entry { value, end, number });
        Ok(StoreAnswer::Done)
    }
}

impl Inner {
    fn remove(&mut self, key: &str) -> Option<Vec<u8>> {
        let Entry { value, end, number } = self.entries.remove(key)?;
        self.by_end.remove(&(end, number));
        self.by_age.remove(&number);
        self.bytes = self.bytes.saturating_sub(size(key, &value));
        Some(value)
    }

    fn drop_ended(&mut self, now: Instant) {
        while let Some(((end, _), key)) = self.by_end.first_key_value()
            && *end <= now
        {
            let key = key.clone();
            self.remove(&key);
        }
    }
}

fn size(key: &str, value: &[u8]) -> usize {
    key.len() + value.len() + OVERHEAD
}

#[cfg(test)]
#[path = "memory/tests.rs"]
mod tests;
