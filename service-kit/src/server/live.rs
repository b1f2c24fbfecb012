//! The configuration in force, and what is wrong with newer ones.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::{ArcSwap, Guard};
use serde::Serialize;

use crate::diagnostic::Diagnostic;

/// The last good snapshot. Reading is one atomic load; a bad update never replaces a good one.
#[derive(Debug)]
pub struct Live<T>(Arc<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    current: ArcSwap<T>,
    status: Mutex<LiveStatus>,
}

/// What people want to know of a [`Live`].
#[derive(Clone, Debug, Serialize)]
pub struct LiveStatus {
    /// How many snapshots were published; 0 is the initial one.
    pub version: u64,
    /// When the one in force was published.
    pub loaded_at: SystemTime,
    /// Since when updates are refused; none while the newest is in force.
    pub rejected_since: Option<SystemTime>,
    /// What is wrong with the newest update, in force or not.
    pub found: Vec<Diagnostic>,
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Live<T> {
    /// Starts with `initial` as version 0.
    pub fn new(initial: T) -> Self {
        let status = LiveStatus {
            version: 0,
            loaded_at: SystemTime::now(),
            rejected_since: None,
            found: Vec::new(),
        };
        Self(Arc::new(Inner { current: ArcSwap::from_pointee(initial), status: status.into() }))
    }

    /// The snapshot in force, for one request: do not hold it over an await.
    pub fn load(&self) -> Guard<Arc<T>> {
        self.0.current.load()
    }

    /// The snapshot in force, to keep.
    pub fn load_full(&self) -> Arc<T> {
        self.0.current.load_full()
    }

    /// Puts `next` in force. `found` may hold what is wrong with parts that were left out.
    pub fn publish(&self, next: Arc<T>, found: Vec<Diagnostic>) {
        self.0.current.store(next);
        self.change(|status| {
            status.version += 1;
            status.loaded_at = SystemTime::now();
            status.rejected_since = None;
            status.found = found;
        });
    }

    /// Keeps the snapshot in force and remembers why.
    pub fn reject(&self, found: Vec<Diagnostic>) {
        self.change(|status| {
            status.rejected_since.get_or_insert_with(SystemTime::now);
            status.found = found;
        });
    }

    /// What to tell people.
    pub fn status(&self) -> LiveStatus {
        self.0.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut LiveStatus)) {
        change(&mut self.0.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Severity;
    use crate::object::ObjectRef;

    fn found(message: &str) -> Vec<Diagnostic> {
        vec![Diagnostic::new(Severity::Error, ObjectRef::default(), "", message)]
    }

    #[test]
    fn a_bad_update_keeps_the_good_one_and_says_since_when() {
        let live = Live::new("first");
        assert_eq!((live.status().version, live.status().rejected_since), (0, None));
        live.publish(Arc::new("second"), Vec::new());
        let seen = live.load_full();
        live.reject(found("bad"));
        let since = live.status().rejected_since.unwrap();
        live.reject(found("worse"));
        let status = live.clone().status();
        assert_eq!((**live.load(), status.version), ("second", 1));
        assert_eq!((status.rejected_since, status.found), (Some(since), found("worse")));

        live.publish(Arc::new("third"), found("a part is left out"));
        let status = live.status();
        assert_eq!((**live.load(), *seen), ("third", "second"));
        assert_eq!((status.version, status.rejected_since), (2, None));
        assert_eq!(status.found, found("a part is left out"));
    }
}
