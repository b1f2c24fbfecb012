//! The files that configuration is read from, by the names that people type.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use service_kit::server::files;

/// Endings of files that are read of a folder. A file that is named itself is always read.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// Reads files and folders. The key of a file is its path as it would be typed here.
///
/// # Errors
/// When something cannot be read; the text names it.
pub fn read(paths: &[PathBuf]) -> io::Result<BTreeMap<String, String>> {
    read_with(paths, files::read)
}

/// As [`read`], without the text of files that are as they were.
///
/// # Errors
/// As [`read`].
pub fn read_again(
    path: &Path,
    known: &mut files::Known,
) -> io::Result<BTreeMap<String, Option<String>>> {
    read_with(&[path.to_owned()], |path| known.read(path))
}

fn read_with<T>(
    paths: &[PathBuf],
    mut read: impl FnMut(&Path) -> io::Result<BTreeMap<String, T>>,
) -> io::Result<BTreeMap<String, T>> {
    let mut all = BTreeMap::new();
    for path in paths {
        let is_folder = path.is_dir();
        for (name, text) in read(path)? {
            if is_folder {
                if is_read(&name) {
                    all.insert(path.join(name).display().to_string(), text);
                }
            } else {
                all.insert(path.display().to_string(), text);
            }
        }
    }
    Ok(all)
}

fn is_read(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| ENDINGS.iter().any(|ending| e == *ending))
}

/// The commands that comment lines beginning with `# try: ` suggest, in the order of the files.
pub fn suggestions<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<String> {
    texts
        .flat_map(|text| text.lines())
        .filter_map(|line| line.trim().strip_prefix("# try:"))
        .map(|command| command.trim().to_owned())
        .filter(|command| !command.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_its_yaml_and_a_named_file_is_always_read() {
        let dir = std::env::temp_dir().join(format!("folder-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("a.yaml"), "# try: curl -i x\n#try: no\n").unwrap();
        std::fs::write(dir.join("README.md"), "not: [yaml").unwrap();
        let files = read(std::slice::from_ref(&dir)).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), [&dir.join("a.yaml").display().to_string()]);
        assert_eq!(suggestions(files.values()), ["curl -i x"]);
        assert_eq!(read(&[dir.join("README.md")]).unwrap().len(), 1);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
