//! A waker that is quiet while its task acts anyway.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use futures::task::AtomicWaker;

/// Wakes a task, unless that has said that it looks again by itself. h2 wakes its connection when
/// something is sent on it; from within the connection's own task that would be a second turn of
/// the task, and often a second processor, for nothing.
#[derive(Default)]
pub(super) struct Quiet {
    task: AtomicWaker,
    is_quiet: AtomicBool,
}

impl Quiet {
    /// One for `task`, until it is another.
    pub(super) fn follow(&self, task: &Waker) {
        self.task.register(task);
    }

    /// Runs `act` without waking the task, which must look again afterwards.
    pub(super) fn during<T>(&self, act: impl FnOnce() -> T) -> T {
        self.is_quiet.store(true, Ordering::Relaxed);
        let done = act();
        // What another thread did before it found this quiet is seen by whoever looks after this.
        self.is_quiet.swap(false, Ordering::AcqRel);
        done
    }
}

impl Wake for Quiet {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A write in either case, so that it is ordered with the end of the quiet.
        if !self.is_quiet.fetch_or(false, Ordering::AcqRel) {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::task::noop_waker;

    use super::*;

    #[derive(Default)]
    struct Counts(std::sync::atomic::AtomicU32);

    impl Wake for Counts {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn it_is_quiet_only_while_told_so() {
        let (counts, quiet) = (Arc::new(Counts::default()), Arc::new(Quiet::default()));
        let waker = Waker::from(quiet.clone());
        quiet.follow(&counts.clone().into());
        assert_eq!(quiet.during(|| waker.wake_by_ref()), ());
        assert_eq!(counts.0.load(Ordering::Relaxed), 0);
        waker.wake_by_ref();
        assert_eq!(counts.0.load(Ordering::Relaxed), 1);
        quiet.follow(&noop_waker());
        waker.wake();
        assert_eq!(counts.0.load(Ordering::Relaxed), 1);
    }
}
