//! The last decisions, for people to look at.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use super::{Ending, Record};

/// Most decisions that are kept.
const MOST: usize = 512;
/// Of requests that pass, one in so many is kept; of all others each, as far as nobody waits.
const SAMPLE: u64 = 100;

/// Keeps them; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    seen: AtomicU64,
    kept: Mutex<VecDeque<Arc<Record>>>,
}

impl Recorder {
    /// Whether a decision is worth keeping.
    pub(super) fn wants(&self, ending: Ending) -> bool {
        match ending {
            Ending::Allowed => self.0.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(SAMPLE),
            _ => true,
        }
    }

    /// Keeps it, in place of the oldest. When somebody reads just now, it is left out: no request
    /// waits for that.
    pub(super) fn keep(&self, record: Record) {
        let mut kept = match self.0.kept.try_lock() {
            Ok(kept) => kept,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if kept.len() >= MOST {
            kept.pop_front();
        }
        kept.push_back(Arc::new(record));
    }

    /// Those that are kept, the newest first.
    pub(crate) fn all(&self) -> Vec<Arc<Record>> {
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().rev().cloned().collect()
    }

    /// The newest of a request id.
    pub(crate) fn find(&self, request_id: &str) -> Option<Arc<Record>> {
        self.all().into_iter().find(|record| record.request_id == request_id)
    }
}
