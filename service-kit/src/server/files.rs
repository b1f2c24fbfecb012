//! Text files of a folder: read whole, and told when they may have changed.

mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::Metadata;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

pub use watch::Watch;

/// Most files of a folder.
const MAX_FILES: usize = 10_000;
/// Longest file, in bytes.
const MAX_BYTES: u64 = 16 << 20;
/// Deepest folder below the one that is read.
const MAX_DEPTH: usize = 16;

/// Reads the file `path`, or all files below the folder `path`, by their names relative to it.
/// Names that begin with a dot are left out, so that a mounted ConfigMap's `..data` is not read
/// twice. Links are followed, but no folder is read a second time through one.
///
/// # Errors
/// When something cannot be read, or is more than 10,000 files, 16 MiB a file or 16
/// levels; the text names the path.
pub fn read(path: &Path) -> io::Result<BTreeMap<String, String>> {
    Ok(all(Reader::default().read(path)?.files))
}

/// As [`read`], also names that begin with one dot. Those with two are a ConfigMap's own.
///
/// # Errors
/// As [`read`].
pub fn read_dot_files_too(path: &Path) -> io::Result<BTreeMap<String, String>> {
    Ok(all(Reader { dot_files: true, ..Reader::default() }.read(path)?.files))
}

fn all(files: BTreeMap<String, Option<String>>) -> BTreeMap<String, String> {
    files.into_iter().filter_map(|(name, text)| Some((name, text?))).collect()
}

/// Files that were read before.
#[derive(Debug, Default)]
pub struct Known(HashMap<PathBuf, Stamp>);

impl Known {
    /// As [`read`], without the text of files that are as they were when this read them last.
    ///
    /// # Errors
    /// As [`read`]; all files are read anew after that.
    pub fn read(&mut self, path: &Path) -> io::Result<BTreeMap<String, Option<String>>> {
        let reader = Reader { known: std::mem::take(&mut self.0), ..Reader::default() };
        let Reader { files, stamps, .. } = reader.read(path)?;
        self.0 = stamps;
        Ok(files)
    }
}

/// What tells a version of a file from others: device, number, length and the time of its last
/// change, which nobody can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(u64, u64, u64, i64, i64);

/// Changes closer together may have the same time.
const TICK: Duration = Duration::from_millis(100);

impl Stamp {
    /// None when the file may change once more without another stamp.
    pub fn of(metadata: &Metadata) -> Option<Self> {
        let (seconds, nanos) = (metadata.ctime(), metadata.ctime_nsec());
        let since = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let stamp = Self(metadata.dev(), metadata.ino(), metadata.len(), seconds, nanos);
        (now.saturating_sub(since) > TICK).then_some(stamp)
    }
}

#[derive(Default)]
struct Reader {
    dot_files: bool,
    /// Files that need not be read when they are as they were.
    known: HashMap<PathBuf, Stamp>,
    stamps: HashMap<PathBuf, Stamp>,
    /// Without a text: it is known.
    files: BTreeMap<String, Option<String>>,
    /// Folders that were read: device and number.
    seen: HashSet<(u64, u64)>,
    /// Links to folders, which wait until all that is no link is read. In order, so that of two
    /// links to one folder the same one counts each time.
    links: BTreeSet<Folder>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Folder {
    path: PathBuf,
    /// Before the names of its files; empty, or with a slash at its end.
    prefix: String,
    depth: usize,
}

impl Reader {
    fn read(mut self, path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|e| named(path, &e))?;
        if metadata.is_dir() {
            let top = Folder { path: path.to_owned(), prefix: String::new(), depth: 0 };
            self.folder(&top, &metadata)?;
            while let Some(folder) = self.links.pop_first() {
                match std::fs::metadata(&folder.path) {
                    Ok(metadata) => self.folder(&folder, &metadata)?,
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(named(&folder.path, &e)),
                }
            }
        } else {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            let text = self.text(path, &metadata).map_err(|e| named(path, &e))?;
            self.files.insert(name, text);
        }
        Ok(self)
    }

    fn text(&mut self, path: &Path, metadata: &Metadata) -> io::Result<Option<String>> {
        let stamp = Stamp::of(metadata);
        let is_known = stamp.is_some() && self.known.get(path).copied() == stamp;
        let text = if is_known { None } else { Some(read_file(path)?) };
        self.stamps.extend(stamp.map(|stamp| (path.to_owned(), stamp)));
        Ok(text)
    }

    fn folder(&mut self, folder: &Folder, metadata: &Metadata) -> io::Result<()> {
        let Folder { path: folder, prefix, depth } = folder;
        if !self.seen.insert((metadata.dev(), metadata.ino())) {
            return Ok(());
        }
        if *depth > MAX_DEPTH {
            return Err(refuse(folder, "folders are nested deeper than 16 levels"));
        }
        for entry in std::fs::read_dir(folder).map_err(|e| named(folder, &e))? {
            let path = entry.map_err(|e| named(folder, &e))?.path();
            let Some(name) = path.file_name().map(|n| n.to_string_lossy().into_owned()) else {
                continue;
            };
            if name.starts_with(if self.dot_files { ".." } else { "." }) {
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
                let below = Folder { prefix: format!("{name}/"), depth: depth + 1, path };
                match below.path.is_symlink() {
                    true => drop(self.links.insert(below)),
                    false => self.folder(&below, &metadata)?,
                }
            } else if metadata.is_file() {
                if self.files.len() >= MAX_FILES {
                    return Err(refuse(folder, "more than 10,000 files"));
                }
                match self.text(&path, &metadata) {
                    Ok(text) => self.files.insert(name, text),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                    Err(e) => return Err(named(&path, &e)),
                };
            }
        }
        Ok(())
    }
}

/// The bound is on what is read: the length that a pipe or a device states says nothing.
fn read_file(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_BYTES) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than 16 MiB"));
    }
    // What is no text is told by whoever makes sense of it; a picture beside the rest costs nothing.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn refuse(path: &Path, message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {message}", path.display()))
}

#[cfg(test)]
mod tests;
