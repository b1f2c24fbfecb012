//! Text files of a folder: read whole, and told when they may have changed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

/// Most files of a folder.
const MAX_FILES: usize = 10_000;
/// Longest file, in bytes.
const MAX_BYTES: u64 = 16 << 20;
/// Deepest folder below the one that is read.
const MAX_DEPTH: usize = 16;
/// A change is told after this long without another one …
const QUIET: Duration = Duration::from_millis(20);
/// … but at the latest this long after the first.
const AT_MOST: Duration = Duration::from_millis(200);
/// Some file systems tell of no changes; so a look now and then, too.
const POLL: Duration = Duration::from_secs(30);

/// Reads the file `path`, or all files below the folder `path`, by their names relative to it.
/// Names that begin with a dot are left out, so that a mounted ConfigMap's `..data` is not read
/// twice; links are followed.
///
/// # Errors
/// When something cannot be read, or is more than 10,000 files, 16 MiB a file or 16
/// levels; the text names the path.
pub fn read(path: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let metadata = std::fs::metadata(path).map_err(|e| named(path, &e))?;
    if metadata.is_dir() {
        read_folder(path, "", 0, &mut files)?;
    } else {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        files.insert(name, read_file(path, metadata.len())?);
    }
    Ok(files)
}

fn read_folder(
    folder: &Path,
    prefix: &str,
    depth: usize,
    files: &mut BTreeMap<String, String>,
) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(refuse(folder, "folders are nested deeper than 16 levels"));
    }
    for entry in std::fs::read_dir(folder).map_err(|e| named(folder, &e))? {
        let path = entry.map_err(|e| named(folder, &e))?.path();
        let Some(name) = path.file_name().map(|n| n.to_string_lossy().into_owned()) else {
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            // Gone between the listing and the look: as if it had never been listed.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(named(&path, &e)),
        };
        let name = format!("{prefix}{name}");
        if metadata.is_dir() {
            read_folder(&path, &format!("{name}/"), depth + 1, files)?;
        } else if metadata.is_file() {
            if files.len() >= MAX_FILES {
                return Err(refuse(folder, "more than 10,000 files"));
            }
            files.insert(name, read_file(&path, metadata.len())?);
        }
    }
    Ok(())
}

fn read_file(path: &Path, length: u64) -> io::Result<String> {
    if length > MAX_BYTES {
        return Err(refuse(path, "longer than 16 MiB"));
    }
    let bytes = std::fs::read(path).map_err(|e| named(path, &e))?;
    // What is no text is told by whoever makes sense of it; a picture beside the rest costs nothing.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn refuse(path: &Path, message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {message}", path.display()))
}

/// Says when something below a path may have changed.
#[derive(Debug)]
pub struct Watch {
    events: mpsc::Receiver<()>,
    next_poll: Instant,
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Begins to watch the folder `path`, or the file `path` through its folder, so that a rename
    /// over it is seen. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the path does not exist or the system refuses a watch; the text names the path.
    pub fn new(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|e| named(path, &e))?;
        let (sender, events) = mpsc::channel(1);
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                if !event.is_ok_and(|e| e.kind.is_access()) {
                    // A full channel says that a change is waiting already.
                    let _ = sender.try_send(());
                }
            })
            .map_err(io::Error::other)?;
        let (folder, mode) = if metadata.is_dir() {
            (path.to_owned(), RecursiveMode::Recursive)
        } else {
            (parent(path), RecursiveMode::NonRecursive)
        };
        watcher
            .watch(&folder, mode)
            .map_err(|e| io::Error::other(format!("{}: {e}", folder.display())))?;
        Ok(Self { events, next_poll: Instant::now() + POLL, _watcher: watcher })
    }

    /// Waits until something may have changed; several changes close together are one. May be
    /// dropped and called again without missing a change.
    pub async fn changed(&mut self) {
        tokio::select! {
            Some(()) = self.events.recv() => {
                let latest = Instant::now() + AT_MOST;
                while Instant::now() < latest && timeout(QUIET, self.events.recv()).await.is_ok() {}
            }
            () = sleep_until(self.next_poll) => {}
        }
        self.next_poll = Instant::now() + POLL;
    }
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("files-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn reads_below_and_leaves_hidden_out() {
        let dir = folder("read");
        std::fs::create_dir_all(dir.join("sub/..data")).unwrap();
        std::fs::write(dir.join("a.yaml"), "a").unwrap();
        std::fs::write(dir.join("sub/b"), "b").unwrap();
        std::fs::write(dir.join(".hidden"), "h").unwrap();
        let files = read(&dir).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["a.yaml", "sub/b"]);
        assert_eq!(read(&dir.join("a.yaml")).unwrap().len(), 1);
        assert!(read(&dir.join("none")).unwrap_err().to_string().contains("none"));
    }

    #[tokio::test]
    async fn sees_a_rename_and_a_link_swap() {
        let dir = folder("watch");
        std::fs::create_dir_all(dir.join("..one")).unwrap();
        std::fs::create_dir_all(dir.join("..two")).unwrap();
        symlink("..one", dir.join("..data")).unwrap();
        let mut watch = Watch::new(&dir).unwrap();
        std::fs::write(dir.join(".new"), "x").unwrap();
        std::fs::rename(dir.join(".new"), dir.join("a.yaml")).unwrap();
        timeout(Duration::from_secs(5), watch.changed()).await.unwrap();
        symlink("..two", dir.join("..next")).unwrap();
        std::fs::rename(dir.join("..next"), dir.join("..data")).unwrap();
        timeout(Duration::from_secs(5), watch.changed()).await.unwrap();
    }

    #[tokio::test]
    async fn sees_a_single_file_replaced() {
        let dir = folder("single");
        std::fs::write(dir.join("a.yaml"), "x").unwrap();
        let mut watch = Watch::new(&dir.join("a.yaml")).unwrap();
        std::fs::write(dir.join("b"), "y").unwrap();
        std::fs::rename(dir.join("b"), dir.join("a.yaml")).unwrap();
        timeout(Duration::from_secs(5), watch.changed()).await.unwrap();
    }
}
