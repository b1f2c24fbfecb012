//! Says when files may have changed. Knows nothing of what is in them.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::named;

/// A change is told after this long without another one, if the last one left whole files: a
/// rename, a removal, the end of writing …
const QUIET: Duration = Duration::from_millis(2);
/// … and after this long while something may still be written …
const QUIET_WRITER: Duration = Duration::from_millis(20);
/// … but at the latest this long after the first.
const AT_MOST: Duration = Duration::from_millis(200);
/// Some file systems tell of no changes; so a look now and then, too.
const POLL: Duration = Duration::from_secs(30);

/// Says when something below a path may have changed.
#[derive(Debug)]
pub struct Watch {
    changes: Changes,
    path: PathBuf,
    /// The folder that is watched by the system, which may no longer be the one at `path`; none
    /// for a single file.
    folder: Option<Identity>,
    /// What was at the path, when only another one in its place is a change.
    place: Option<Place>,
    replaced: Arc<AtomicBool>,
    watcher: RecommendedWatcher,
}

/// What is at a path: a link (with the time it was made) and what it leads to, or the thing itself.
/// Nothing of what is in it.
type Place = (Option<(Identity, i64, i64)>, Option<Identity>);

/// Which folder: device and number.
type Identity = (u64, u64);

impl Watch {
    /// Begins to watch the folder `path`, or the file `path` through its folder, so that a rename
    /// over it is seen. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the path does not exist or the system refuses a watch; the text names the path.
    pub fn new(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|e| named(path, &e))?;
        Self::open(path, &metadata, !metadata.is_dir())
    }

    /// As [`Self::new`], but says only when something else took the place of `path` (as `mv -T` and
    /// `ln -sfn` do it), not when something in it changed.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_replacement(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|e| named(path, &e))?;
        let mut this = Self::open(path, &metadata, true)?;
        this.place = Some(place(&this.path));
        Ok(this)
    }

    /// With `is_file` the folder around `path` is watched, and nothing below it.
    fn open(path: &Path, metadata: &Metadata, is_file: bool) -> io::Result<Self> {
        let path = std::path::absolute(path).map_err(|e| named(path, &e))?;
        // A mounted ConfigMap changes what a link leads to, by the name of another link.
        let is_linked_file = !metadata.is_dir() && path.is_symlink();
        let (sender, events) = mpsc::channel(1);
        let replaced = Arc::new(AtomicBool::new(false));
        let whole = Arc::new(AtomicBool::new(false));
        let watcher = {
            let (path, replaced, whole) = (path.clone(), replaced.clone(), whole.clone());
            notify::recommended_watcher(move |event: notify::Result<Event>| {
                let matters = event.as_ref().map_or(true, |event| {
                    if event.paths.contains(&path) && !event.kind.is_access() {
                        replaced.store(true, Ordering::Release);
                    }
                    is_change(event.kind) && (is_linked_file || !is_beside(event, &path))
                });
                if matters {
                    whole.store(event.is_ok_and(|e| leaves_whole(e.kind)), Ordering::Release);
                    // A full channel says that a change is waiting already.
                    let _ = sender.try_send(());
                }
            })
            .map_err(io::Error::other)?
        };
        let folder = (!is_file).then(|| identity(metadata));
        let changes = Changes::new(events, whole);
        let mut this = Self { changes, path, folder, place: None, replaced, watcher };
        if this.folder.is_some() {
            this.watch(RecursiveMode::Recursive, &this.path.clone())?;
        }
        if let Some(parent) = this.path.parent().map(Path::to_owned) {
            let watched = this.watch(RecursiveMode::NonRecursive, &parent);
            // For a folder it only tells sooner that another one took its place.
            if is_file {
                watched?;
            }
        }
        Ok(this)
    }

    /// Waits until something may have changed; several changes close together are one. May be
    /// dropped and called again without missing a change.
    pub async fn changed(&mut self) {
        loop {
            self.changes.next().await;
            self.follow();
            let Some(before) = &mut self.place else { return };
            let now = place(&self.path);
            if *before != now {
                *before = now;
                return;
            }
        }
    }

    /// Watches the folder that is at the path now, if another one took its place.
    fn follow(&mut self) {
        let Some(watched) = self.folder else { return };
        let now = std::fs::metadata(&self.path).ok().filter(Metadata::is_dir);
        let now = now.map(|m| identity(&m));
        if !self.replaced.swap(false, Ordering::AcqRel) && now == Some(watched) {
            return;
        }
        // The system may have let go of it already.
        let _ = self.watcher.unwatch(&self.path);
        let watched =
            now.map(|now| (now, self.watch(RecursiveMode::Recursive, &self.path.clone())));
        match watched {
            Some((now, Ok(()))) => self.folder = Some(now),
            // Gone for now: whoever reads it says so, and the next look tries again.
            None => self.replaced.store(true, Ordering::Release),
            Some((_, Err(e))) => {
                tracing::warn!("{e}; changes are seen each {POLL:?} only");
                self.replaced.store(true, Ordering::Release);
            }
        }
    }

    fn watch(&mut self, mode: RecursiveMode, path: &Path) -> io::Result<()> {
        self.watcher
            .watch(path, mode)
            .map_err(|e| io::Error::other(format!("{}: {e}", path.display())))
    }
}

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

fn place(path: &Path) -> Place {
    let link = std::fs::symlink_metadata(path).ok().filter(Metadata::is_symlink);
    let link = link.map(|m| (identity(&m), m.ctime(), m.ctime_nsec()));
    (link, std::fs::metadata(path).ok().map(|m| identity(&m)))
}

/// Whether something may be different now, or is no longer being written.
fn is_change(kind: EventKind) -> bool {
    !kind.is_access() || ended_writing(kind)
}

const fn ended_writing(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(AccessKind::Close(AccessMode::Write)))
}

/// Whether what changed is whole already.
fn leaves_whole(kind: EventKind) -> bool {
    kind.is_remove()
        || ended_writing(kind)
        || matches!(kind, EventKind::Modify(ModifyKind::Name(_)))
}

/// Whether an event is only about neighbours of `path`.
fn is_beside(event: &Event, path: &Path) -> bool {
    let beside = |p: &PathBuf| p != path && p.parent() == path.parent();
    !event.paths.is_empty() && event.paths.iter().all(beside)
}

/// Events, several close together as one.
#[derive(Debug)]
struct Changes {
    events: mpsc::Receiver<()>,
    /// Whether the last event left whole files.
    whole: Arc<AtomicBool>,
    /// When the first and the last event came that are not told yet. Kept here and not in a
    /// future, so that a future that is dropped loses nothing.
    untold: Option<(Instant, Instant)>,
    next_poll: Instant,
}

impl Changes {
    fn new(events: mpsc::Receiver<()>, whole: Arc<AtomicBool>) -> Self {
        Self { events, whole, untold: None, next_poll: Instant::now() + POLL }
    }

    /// When to tell, if nothing else comes.
    fn due(&self) -> Instant {
        let quiet = if self.whole.load(Ordering::Acquire) { QUIET } else { QUIET_WRITER };
        match self.untold {
            Some((first, last)) => (first + AT_MOST).min(last + quiet),
            None => self.next_poll,
        }
    }

    async fn next(&mut self) {
        loop {
            tokio::select! {
                biased;
                () = sleep_until(self.due()) => break,
                Some(()) = self.events.recv() => {
                    let now = Instant::now();
                    self.untold = Some((self.untold.map_or(now, |(first, _)| first), now));
                }
            }
        }
        self.untold = None;
        self.next_poll = Instant::now() + POLL;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn waits_for_quiet_but_not_for_ever() {
        let start = Instant::now();
        let after = Duration::from_millis;
        let whole = Arc::new(AtomicBool::new(false));
        let mut changes = Changes::new(mpsc::channel(1).1, whole.clone());
        assert!(changes.due() > start + after(29_000));
        for (last, due) in [(0, 20), (100, 120), (190, 200), (500, 200)] {
            changes.untold = Some((start, start + after(last)));
            assert_eq!(changes.due() - start, after(due), "last event after {last} ms");
        }
        whole.store(true, Ordering::Release);
        changes.untold = Some((start, start + after(100)));
        assert_eq!(changes.due() - start, after(102));
    }

    #[tokio::test]
    async fn endless_events_are_told() {
        let (sender, events) = mpsc::channel(1);
        let endless = tokio::spawn(async move { while sender.send(()).await.is_ok() {} });
        let mut changes = Changes::new(events, Arc::default());
        for _ in 0..2 {
            timeout(SOON, changes.next()).await.unwrap();
        }
        endless.abort();
    }

    #[tokio::test]
    async fn a_wait_that_is_dropped_loses_nothing() {
        let (sender, events) = mpsc::channel(1);
        let mut changes = Changes::new(events, Arc::default());
        sender.send(()).await.unwrap();
        // Takes the event and begins to wait for quiet; then it is dropped.
        assert!(changes.next().now_or_never().is_none());
        timeout(SOON, changes.next()).await.unwrap();
    }
}
