//! Objects of a folder of files, which is watched.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use service_kit::server::files::Watch;
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
    paths: Vec<PathBuf>,
    watch: Watch,
    objects: FileObjects,
    empty_files: Vec<String>,
    /// What the files suffered from when they could be read last.
    found: Vec<Diagnostic>,
}

impl Folder {
    /// Watches `path`, reads it, and gives what is there and the commands that comments suggest.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: &Path) -> io::Result<(Self, Noticed, Vec<String>)> {
        let paths = vec![path.to_owned()];
        // Watched before it is read, so that no change falls between.
        let watch = Watch::new(path)?;
        let files = folder::read(&paths)?;
        let suggestions = folder::suggestions(&files);
        let mut folder = Self {
            paths,
            watch,
            objects: FileObjects::new(),
            empty_files: Vec::new(),
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
        let mut files = read(&self.paths).await;
        if let Ok(now) = &files
            && empty(now).iter().any(|name| !self.empty_files.contains(name))
        {
            tokio::time::sleep(SECOND_LOOK).await;
            files = read(&self.paths).await;
        }
        match files {
            Ok(files) => self.take(files, at),
            Err(e) => {
                let text = format!("cannot be read: {e}");
                let mut why = Diagnostic::new(Severity::Error, ObjectRef::default(), "", text);
                why.hint("what was read before stays in force");
                let found = self.found.iter().cloned().chain([why]).collect();
                Noticed { change: Change { found, ..Change::default() }, at }
            }
        }
    }

    fn take(&mut self, files: BTreeMap<String, String>, at: Instant) -> Noticed {
        self.empty_files = empty(&files);
        let change = self.objects.update(files);
        self.found.clone_from(&change.found);
        Noticed { change, at }
    }
}

async fn read(paths: &[PathBuf]) -> io::Result<BTreeMap<String, String>> {
    let paths = paths.to_vec();
    tokio::task::spawn_blocking(move || folder::read(&paths)).await.map_err(io::Error::other)?
}

fn empty(files: &BTreeMap<String, String>) -> Vec<String> {
    files.iter().filter(|(_, text)| text.is_empty()).map(|(name, _)| name.clone()).collect()
}
