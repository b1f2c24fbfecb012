//! Text files of a folder: read whole, and told when they may have changed.

mod watch;

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::Path;

pub use watch::Watch;

/// Most files of a folder.
const MAX_FILES: usize = 10_000;
/// Longest file, in bytes.
const MAX_BYTES: u64 = 16 << 20;
/// Deepest folder below the one that is read.
const MAX_DEPTH: usize = 16;

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
        files.insert(name, read_file(path).map_err(|e| named(path, &e))?);
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
            match read_file(&path) {
                Ok(text) => files.insert(name, text),
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(named(&path, &e)),
            };
        }
    }
    Ok(())
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
