//! What is known of tokens that were seen before, for all JWT filters of an installation. What is
//! remembered is that a key verified a token, which no filter can see differently; whether that key
//! and its algorithm still count, and what the claims are worth, is judged at each request.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};

use super::token::Verified;
use crate::keys::Fingerprint;

/// Longest time that a token is remembered.
const MAX_LIFE: Duration = Duration::from_secs(300);
/// For how long a bad signature is remembered.
const BAD_LIFE: Duration = Duration::from_secs(10);
/// Bytes for each entry; a larger one counts as several.
const ENTRY: u64 = 4096;
/// Most key ids that are remembered because their server does not have them.
const MAX_ABSENT: usize = 1_000;
/// An unknown key id is asked for anew for this long, so that one fetch at least falls in it.
const ASKED_FOR: Duration = Duration::from_secs(12);
/// After that it is not asked for until then.
const ABSENT_LIFE: Duration = Duration::from_secs(60);

/// SHA-256 of a token, or of where a key id was looked for.
type Id = [u8; 32];

/// The cache; cheap to clone.
#[derive(Clone)]
pub struct TokenCache(Arc<Inner>);

struct Inner {
    tokens: Option<Tokens>,
    /// When they were first seen.
    absent: OnceLock<Cache<Id, Duration>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

struct Tokens {
    good: Cache<Id, Good, Size>,
    bad: Cache<Id, Bad>,
}

#[derive(Clone)]
struct Good {
    token: Arc<Verified>,
    until: Duration,
}

#[derive(Clone)]
struct Bad {
    /// Of the keys that were tried.
    keys: Fingerprint,
    until: Duration,
}

#[derive(Clone)]
struct Size;

impl Weighter<Id, Good> for Size {
    fn weight(&self, _: &Id, entry: &Good) -> u64 {
        (entry.token.size() as u64).max(ENTRY)
    }
}

/// What is known of a token.
pub(super) enum Known {
    /// One of its keys verified it.
    Good(Arc<Verified>),
    /// None of the keys with this digest did.
    Bad(Fingerprint),
}

impl TokenCache {
    /// For so many tokens of usual size (4 KiB); 0: none.
    pub fn new(entries: usize) -> Self {
        let tokens = (entries > 0).then(|| Tokens {
            good: Cache::with_weighter(entries, (entries as u64).saturating_mul(ENTRY), Size),
            bad: Cache::new(entries),
        });
        Self(Arc::new(Inner {
            tokens,
            absent: OnceLock::new(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }))
    }

    /// How often a token was known, and how often not.
    pub fn counts(&self) -> (u64, u64) {
        (self.0.hits.load(Ordering::Relaxed), self.0.misses.load(Ordering::Relaxed))
    }

    /// Bytes in it, by its own count.
    #[cfg(test)]
    pub(super) fn size(&self) -> u64 {
        self.0.tokens.as_ref().map_or(0, |t| t.good.weight())
    }

    /// What a token is remembered by; none when nothing is.
    pub(super) fn id(&self, text: &str) -> Option<Id> {
        self.0.tokens.is_some().then(|| Sha256::digest(text).into())
    }

    pub(super) fn get(&self, id: &Id, now: Duration) -> Option<Known> {
        let tokens = self.0.tokens.as_ref()?;
        let good = tokens.good.get(id).filter(|g| now < g.until).map(|g| Known::Good(g.token));
        let bad = || tokens.bad.get(id).filter(|b| now < b.until).map(|b| Known::Bad(b.keys));
        let known = good.or_else(bad);
        let counter = if known.is_some() { &self.0.hits } else { &self.0.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        known
    }

    /// Remembers a token until it expires, for five minutes at most.
    pub(super) fn put(&self, id: Id, token: &Arc<Verified>, leeway: Duration, now: Duration) {
        let Some(tokens) = &self.0.tokens else { return };
        let left = token.expires().map_or(MAX_LIFE, |exp| exp.saturating_sub(now) + leeway);
        let until = now + left.min(MAX_LIFE);
        if until > now {
            tokens.good.insert(id, Good { token: token.clone(), until });
        }
    }

    /// Remembers that none of `keys` verified a token.
    pub(super) fn put_bad(&self, id: Id, keys: Fingerprint, now: Duration) {
        if let Some(tokens) = &self.0.tokens {
            tokens.bad.insert(id, Bad { keys, until: now + BAD_LIFE });
        }
    }

    /// Whether the key `key_id` was looked for at `url` long enough; remembers that it was not
    /// there.
    pub(super) fn is_absent(&self, url: &str, key_id: &str, now: Duration) -> bool {
        let mut hash = Sha256::new();
        hash.update(url.len().to_be_bytes());
        hash.update(url);
        hash.update(key_id);
        let id: Id = hash.finalize().into();
        let absent = self.0.absent.get_or_init(|| Cache::new(MAX_ABSENT));
        match absent.get(&id).map(|first| now.saturating_sub(first)) {
            Some(age) if age < ASKED_FOR => false,
            Some(age) if age < ABSENT_LIFE => true,
            _ => {
                absent.insert(id, now);
                false
            }
        }
    }
}

/// Nothing is remembered of tokens.
impl Default for TokenCache {
    fn default() -> Self {
        Self::new(0)
    }
}

/// Without what is in it.
impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hits, misses) = self.counts();
        write!(f, "TokenCache({hits} hits, {misses} misses)")
    }
}
