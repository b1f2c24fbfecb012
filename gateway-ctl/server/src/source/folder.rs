//! Objects of a folder of files, which is watched.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use service_kit::server::files::{Known, Watch};
use service_kit::server::objects::{Change, FileObjects};
use service_kit::server::shutdown::Shutdown;
use service_kit::{Diagnostic, ObjectRef, Severity};
use tokio::sync::mpsc;

use super::Noticed;
use crate::folder;

/// An editor that writes in place empties the file first; an empty file is looked at again after
/// this long before it is believed.
const SECOND_LOOK: Duration = Duration::from_millis(150);

/// A folder (or file) of resources.
pub struct Folder {
    path: PathBuf,
    watch: Watch,
    known: Known,
    objects: FileObjects,
    empty_files: BTreeSet<String>,
    /// What the files suffered from when they could be read last.
    found: Vec<Diagnostic>,
}

impl Folder {
    /// Watches `path`, reads it, and gives what is there and the commands that comments suggest.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: &Path) -> io::Result<(Self, Noticed, Vec<String>)> {
        // Watched before it is read, so that no change falls between.
        let watch = Watch::new(path)?;
        let mut known = Known::default();
        let files = folder::read_again(path, &mut known)?;
        let suggestions = folder::suggestions(files.values().flatten());
        let mut folder = Self {
            path: path.to_owned(),
            watch,
            known,
            objects: FileObjects::new(),
            empty_files: BTreeSet::new(),
            found: Vec::new(),
        };
        let first = folder.take(files, Instant::now());
        Ok((folder, first, suggestions))
    }

    /// Tells each change, until `shutdown`.
    pub async fn run(mut self, changes: mpsc::Sender<Noticed>, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = self.watch.changed() => {}
                () = shutdown.wait() => return,
            }
            let noticed = self.reload(Instant::now()).await;
            if changes.send(noticed).await.is_err() {
                return;
            }
        }
    }

    async fn reload(&mut self, at: Instant) -> Noticed {
        let mut files = self.read().await;
        if let Ok(first) = &mut files
            && empty(first).any(|name| !self.empty_files.contains(name))
        {
            tokio::time::sleep(SECOND_LOOK).await;
            let first = std::mem::take(first);
            files = self.read().await.map(|second| newest(first, second));
        }
        match files {
            Ok(files) => self.take(files, at),
            Err(e) => {
                // What a first look read may be lost.
                self.known = Known::default();
                let text = format!("cannot be read: {e}");
                let mut why = Diagnostic::new(Severity::Error, ObjectRef::default(), "", text);
                why.hint("what was read before stays in force");
                let found = self.found.iter().cloned().chain([why]).collect();
                Noticed { change: Change { found, ..Change::default() }, at }
            }
        }
    }

    async fn read(&mut self) -> io::Result<Files> {
        let (path, mut known) = (self.path.clone(), std::mem::take(&mut self.known));
        let reading = tokio::task::spawn_blocking(move || {
            let files = folder::read_again(&path, &mut known);
            (files, known)
        });
        let (files, known) = reading.await.map_err(io::Error::other)?;
        self.known = known;
        files
    }

    fn take(&mut self, files: Files, at: Instant) -> Noticed {
        self.empty_files.retain(|name| files.get(name).is_some_and(Option::is_none));
        self.empty_files.extend(empty(&files).cloned());
        let change = self.objects.update_known(files);
        self.found.clone_from(&change.found);
        Noticed { change, at }
    }
}

/// Texts by the names of files; none of a file that is as it was.
type Files = BTreeMap<String, Option<String>>;

/// What was read first, as far as it is not another one by now.
fn newest(mut first: Files, second: Files) -> Files {
    let mut files = second;
    for (name, text) in &mut files {
        if text.is_none() {
            *text = first.remove(name).flatten();
        }
    }
    files
}

fn empty(files: &Files) -> impl Iterator<Item = &String> {
    let is_empty = |text: &Option<String>| text.as_ref().is_some_and(String::is_empty);
    files.iter().filter(move |(_, text)| is_empty(text)).map(|(name, _)| name)
}
