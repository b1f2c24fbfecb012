use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;

use super::*;

/// A new folder, gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("files-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.at(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A link that takes its place in one step, as kubelet and git-sync do it.
    fn link(&self, name: &str, to: &str) {
        symlink(to, self.at(".link")).unwrap();
        std::fs::rename(self.at(".link"), self.at(name)).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn texts(path: &Path) -> Vec<(String, String)> {
    read(path).unwrap().into_iter().collect()
}

fn pair(name: &str, text: &str) -> (String, String) {
    (name.to_owned(), text.to_owned())
}

async fn changed(watch: &mut Watch) {
    timeout(Duration::from_secs(5), watch.changed()).await.expect("the change is not seen");
}

#[test]
fn reads_below_and_leaves_hidden_out() {
    let dir = Folder::new("read");
    dir.write("sub/..data/c", "c");
    dir.write("a.yaml", "a");
    dir.write("sub/b", "b");
    dir.write(".hidden", "h");
    assert_eq!(texts(&dir.0), [pair("a.yaml", "a"), pair("sub/b", "b")]);
    assert_eq!(texts(&dir.at("a.yaml")), [pair("a.yaml", "a")]);
    assert!(read(&dir.at("none")).unwrap_err().to_string().contains("none"));
}

#[test]
fn reads_a_mounted_config_map_once() {
    let dir = Folder::new("mounted");
    dir.write("..2026/a.yaml", "one");
    dir.link("..data", "..2026");
    dir.link("a.yaml", "..data/a.yaml");
    dir.link("gone.yaml", "..data/gone.yaml");
    assert_eq!(texts(&dir.0), [pair("a.yaml", "one")]);
}

#[test]
fn a_folder_is_read_once_whatever_leads_to_it() {
    let dir = Folder::new("once");
    dir.write("v1/a", "one");
    dir.link("current", "v1");
    dir.link("round", ".");
    // As a ConfigMap with paths among its items.
    dir.write("..2026/sub/b", "two");
    dir.link("..data", "..2026");
    dir.link("sub", "..data/sub");
    dir.link("twice", "sub");
    assert_eq!(texts(&dir.0), [pair("sub/b", "two"), pair("v1/a", "one")]);
}

#[test]
fn dot_files_are_read_when_asked_for_and_never_those_of_a_config_map() {
    let dir = Folder::new("dots");
    dir.write("..2026/a", "one");
    dir.link("..data", "..2026");
    dir.write(".b", "two");
    dir.write(".c/d", "three");
    let all: Vec<_> = read_dot_files_too(&dir.0).unwrap().into_iter().collect();
    assert_eq!(all, [pair(".b", "two"), pair(".c/d", "three")]);
}

#[test]
fn names_what_is_too_much() {
    let dir = Folder::new("bounds");
    let big = std::fs::File::create(dir.at("big")).unwrap();
    big.set_len(MAX_BYTES).unwrap();
    assert_eq!(read(&dir.0).unwrap().len(), 1);
    big.set_len(MAX_BYTES + 1).unwrap();
    let error = read(&dir.0).unwrap_err().to_string();
    assert!(error.contains("/big: longer than 16 MiB"), "{error}");
    // A device states no length.
    let error = read(Path::new("/dev/zero")).unwrap_err().to_string();
    assert_eq!(error, "/dev/zero: longer than 16 MiB");

    let dir = Folder::new("deep");
    dir.write(&format!("{}a", "d/".repeat(MAX_DEPTH + 1)), "");
    let error = read(&dir.0).unwrap_err().to_string();
    assert!(error.contains("deeper than 16 levels"), "{error}");
}

#[test]
fn bounds_the_number_of_files() {
    let dir = Folder::new("many");
    for i in 0..MAX_FILES {
        std::fs::write(dir.at(&i.to_string()), "").unwrap();
    }
    assert_eq!(read(&dir.0).unwrap().len(), MAX_FILES);
    dir.write("one more", "");
    let error = read(&dir.0).unwrap_err().to_string();
    assert!(error.contains("more than 10,000 files"), "{error}");
}

#[tokio::test]
async fn sees_a_rename_and_a_file_of_a_new_folder() {
    let dir = Folder::new("rename");
    let mut watch = Watch::new(&dir.0).unwrap();
    dir.write(".new", "x");
    std::fs::rename(dir.at(".new"), dir.at("a.yaml")).unwrap();
    changed(&mut watch).await;
    std::fs::create_dir(dir.at("sub")).unwrap();
    changed(&mut watch).await;
    dir.write("sub/b", "x");
    changed(&mut watch).await;
}

#[tokio::test]
async fn sees_a_config_map_change() {
    let dir = Folder::new("swap");
    dir.write("..1/a.yaml", "one");
    dir.write("..2/a.yaml", "two");
    dir.link("..data", "..1");
    dir.link("a.yaml", "..data/a.yaml");
    let mut whole = Watch::new(&dir.0).unwrap();
    let mut single = Watch::new(&dir.at("a.yaml")).unwrap();
    dir.link("..data", "..2");
    changed(&mut whole).await;
    changed(&mut single).await;
    assert_eq!(texts(&dir.0), [pair("a.yaml", "two")]);
    assert_eq!(texts(&dir.at("a.yaml")), [pair("a.yaml", "two")]);
}

#[tokio::test]
async fn sees_a_single_file_replaced_but_not_its_neighbours() {
    let dir = Folder::new("single");
    dir.write("a.yaml", "x");
    let mut watch = Watch::new(&dir.at("a.yaml")).unwrap();
    dir.write("b", "y");
    // An event would be here in a millisecond or two.
    assert!(timeout(Duration::from_millis(100), watch.changed()).await.is_err());
    std::fs::rename(dir.at("b"), dir.at("a.yaml")).unwrap();
    changed(&mut watch).await;
}

/// As with git-sync: the folder's own name is a link that comes to lead elsewhere.
#[tokio::test]
async fn follows_a_folder_that_another_one_replaces() {
    let dir = Folder::new("follow");
    dir.write("r1/a", "one");
    dir.write("r2/a", "two");
    dir.link("current", "r1");
    let mut watch = Watch::new(&dir.at("current")).unwrap();
    dir.link("current", "r2");
    changed(&mut watch).await;
    assert_eq!(texts(&dir.at("current")), [pair("a", "two")]);
    dir.write("r2/a", "three");
    changed(&mut watch).await;
}

#[tokio::test]
async fn follows_a_folder_that_is_made_anew() {
    let dir = Folder::new("anew");
    dir.write("conf/a", "one");
    let mut watch = Watch::new(&dir.at("conf")).unwrap();
    std::fs::remove_dir_all(dir.at("conf")).unwrap();
    changed(&mut watch).await;
    assert!(read(&dir.at("conf")).is_err());
    std::fs::create_dir(dir.at("conf")).unwrap();
    changed(&mut watch).await;
    dir.write("conf/a", "two");
    changed(&mut watch).await;
    assert_eq!(texts(&dir.at("conf")), [pair("a", "two")]);
}

#[tokio::test]
async fn a_replacement_is_told_and_an_edit_is_not() {
    let dir = Folder::new("replacement");
    dir.write("r1/a", "one");
    dir.write("r2/a", "two");
    dir.link("current", "r1");
    let mut watch = Watch::of_replacement(&dir.at("current")).unwrap();
    dir.write("r1/a", "three");
    dir.write("beside", "x");
    // An event would be here in a millisecond or two.
    assert!(timeout(Duration::from_millis(100), watch.changed()).await.is_err());
    dir.link("current", "r2");
    changed(&mut watch).await;
    // A link that is set anew is a new version, wherever it leads.
    dir.link("current", "r2");
    changed(&mut watch).await;
    std::fs::rename(dir.at("r1"), dir.at("r3")).unwrap();
    std::fs::remove_file(dir.at("current")).unwrap();
    std::fs::rename(dir.at("r3"), dir.at("current")).unwrap();
    changed(&mut watch).await;
}

#[test]
fn a_file_that_is_as_it_was_is_not_read_again() {
    let folder = Folder::new("known");
    folder.write("a", "1");
    folder.write("sub/b", "1");
    let mut known = Known::default();
    let text = |known: &mut Known| known.read(&folder.0).unwrap();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        text(&mut known),
        [("a".to_owned(), some("1")), ("sub/b".to_owned(), some("1"))].into()
    );
    // Too young to be told from another change: read once more.
    std::thread::sleep(2 * TICK);
    assert_eq!(text(&mut known)["a"], some("1"));
    assert_eq!(text(&mut known), [("a".to_owned(), None), ("sub/b".to_owned(), None)].into());
    // As long as before, in the same moment as others.
    for version in ["2", "3", "4"] {
        folder.write("a", version);
        assert_eq!(
            text(&mut known),
            [("a".to_owned(), some(version)), ("sub/b".to_owned(), None)].into()
        );
    }
    std::fs::remove_file(folder.at("a")).unwrap();
    assert_eq!(text(&mut known), [("sub/b".to_owned(), None)].into());
}
