//! What is known of passwords: which were right or wrong a while ago, as digests that mean nothing
//! outside of this process, and how often a user's was wrong.

use std::fmt;
use std::hash::RandomState;
use std::sync::LazyLock;
use std::time::Duration;

use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};

/// How long a right password is right without another look.
const GOOD: Duration = Duration::from_secs(300);
/// How long a wrong one is wrong.
const BAD: Duration = Duration::from_secs(10);
/// Most of both that are known.
const MOST: usize = 10_000;
/// Wrong passwords of a user, in a window.
const TRIES: u32 = 10;
/// The window.
const WINDOW: Duration = Duration::from_secs(60);

/// What is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It is right.
    Good,
    /// It is wrong.
    Bad,
    /// The user's was wrong too often: seconds to wait.
    TooMany(u64),
    /// Nothing.
    Nothing,
}

/// Digest of a name and a password.
type Key = [u8; 32];

/// The memory of one filter.
pub(super) struct Memory {
    /// Since when, and whether it is right.
    seen: Cache<Key, (Duration, bool)>,
    /// By digest of a name: since when, and how many.
    wrong: Cache<Key, (Duration, u32)>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl Memory {
    pub(super) fn new() -> Self {
        Self { seen: Cache::new(MOST), wrong: Cache::new(MOST) }
    }

    /// What is known at `now`.
    pub(super) fn recall(&self, user: &str, password: &[u8], now: Duration) -> Known {
        match self.seen.get(&key(user, Some(password))) {
            Some((at, true)) if now < at + GOOD => return Known::Good,
            Some((at, false)) if now < at + BAD => return Known::Bad,
            _ => {}
        }
        match self.wrong.get(&key(user, None)) {
            Some((at, count)) if count >= TRIES && now < at + WINDOW => {
                Known::TooMany((at + WINDOW).saturating_sub(now).as_secs().max(1))
            }
            _ => Known::Nothing,
        }
    }

    /// Takes what a look at the hash gave.
    pub(super) fn remember(&self, user: &str, password: &[u8], good: bool, now: Duration) {
        self.seen.insert(key(user, Some(password)), (now, good));
        let name = key(user, None);
        if good {
            self.wrong.remove(&name);
            return;
        }
        let count = match self.wrong.get(&name) {
            Some((at, count)) if now < at + WINDOW => (at, count + 1),
            _ => (now, 1),
        };
        self.wrong.insert(name, count);
    }
}

/// Keyed by what only this process knows, so that the memory says nothing of passwords elsewhere.
fn key(user: &str, password: Option<&[u8]>) -> Key {
    static SALT: LazyLock<[u8; 16]> = LazyLock::new(|| {
        use std::hash::{BuildHasher as _, Hasher as _};
        let half = || RandomState::new().build_hasher().finish().to_le_bytes();
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&half());
        salt[8..].copy_from_slice(&half());
        salt
    });
    let mut digest = Sha256::new();
    digest.update(*SALT);
    digest.update(user.len().to_le_bytes());
    digest.update(user);
    if let Some(password) = password {
        digest.update(b":");
        digest.update(password);
    }
    digest.finalize().into()
}
