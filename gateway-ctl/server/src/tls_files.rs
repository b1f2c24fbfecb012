//! Reads the files that TLS settings name, where this process sees the files that Envoy sees, and tells
//! the controller which of them cannot be used. IO of [`gateway_core::resource::tls_file`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_core::resource::tls_file::{self, FileUse, Usable};
use service_kit::ObjectRef;
use service_kit::server::files::Stamp;
use service_kit::server::objects::Change;
use service_kit::server::shutdown::Shutdown;
use tokio::sync::{mpsc, watch};

use crate::controller::Aside;
use crate::source::Noticed;

/// What the controller calls this part.
const PART: &str = "tls-files";
/// Between two looks at the files: there are few, they may be on file systems that tell of no changes, and
/// a file that is not there cannot be watched.
const LOOK: Duration = Duration::from_secs(1);
/// Largest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// The files that are wanted.
pub type Wanted = Arc<BTreeSet<FileUse>>;

/// Follows files.
#[derive(Debug)]
pub struct Follower {
    wanted: watch::Receiver<Wanted>,
    known: BTreeMap<FileUse, (Vec<Option<Stamp>>, Usable)>,
}

impl Follower {
    /// Follows what is `wanted`.
    pub const fn new(wanted: watch::Receiver<Wanted>) -> Self {
        Self { wanted, known: BTreeMap::new() }
    }

    /// Tells each change, until `shutdown`.
    pub async fn run(mut self, changes: mpsc::Sender<Aside>, shutdown: Shutdown) {
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            let at = Instant::now();
            // Files may be on a network.
            let looked = tokio::task::spawn_blocking(move || {
                let change = self.look(&wanted);
                (self, change)
            });
            let Ok((this, change)) = looked.await else { return };
            self = this;
            if !change.applied.is_empty() || !change.deleted.is_empty() {
                let aside = Aside { part: PART, noticed: Noticed { change, at } };
                if changes.send(aside).await.is_err() {
                    return;
                }
            }
            let idle = self.known.is_empty();
            tokio::select! {
                () = tokio::time::sleep(LOOK), if !idle => {}
                changed = self.wanted.changed() => if changed.is_err() { return },
                () = shutdown.wait() => return,
            }
        }
    }

    /// Looks at every file; gives what changed.
    fn look(&mut self, wanted: &BTreeSet<FileUse>) -> Change {
        let mut change = Change::default();
        let gone: Vec<FileUse> =
            self.known.keys().filter(|k| !wanted.contains(*k)).cloned().collect();
        for of in gone {
            self.known.remove(&of);
            let reference: ObjectRef = tls_file::reference(&of);
            change.deleted.push(reference);
        }
        for of in wanted {
            let stamps: Vec<_> = of.paths().into_iter().map(stamp).collect();
            let before = self.known.get(of);
            if before.is_some_and(|(known, _)| *known == stamps && !stamps.contains(&None)) {
                continue;
            }
            let usable = usable(of);
            if before.is_none_or(|(_, known)| *known != usable) {
                change.applied.push(Arc::new(tls_file::object(of, &usable)));
            }
            self.known.insert(of.clone(), (stamps, usable));
        }
        change
    }
}

fn stamp(path: &str) -> Option<Stamp> {
    Stamp::of(&std::fs::metadata(path).ok()?)
}

fn usable(of: &FileUse) -> Usable {
    let contents: Result<Vec<Vec<u8>>, String> =
        of.paths().into_iter().map(|p| read(p).map_err(|e| format!("{p}: {e}"))).collect();
    of.check(&contents?)
}

fn read(path: &str) -> io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.len() > MAX_BYTES {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    std::fs::read(Path::new(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_when_it_comes_becomes_good_and_is_wanted_no_longer() {
        let folder = std::env::temp_dir().join(format!("tls-files-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("ca.crt");
        let of = FileUse::Authorities(path.display().to_string());
        let wanted = BTreeSet::from([of.clone()]);
        let mut follower = Follower::new(watch::channel(Wanted::default()).1);
        let faults = |change: &Change| -> Vec<String> {
            change.applied.iter().filter_map(|o| tls_file::read(o).err()).collect()
        };
        let change = follower.look(&wanted);
        assert!(faults(&change)[0].contains("No such file"), "{change:?}");
        assert!(follower.look(&wanted).applied.is_empty());
        std::fs::write(&path, "nothing").unwrap();
        assert!(faults(&follower.look(&wanted))[0].contains("no PEM text"));
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap();
        std::fs::write(&path, certificate.pem()).unwrap();
        let change = follower.look(&wanted);
        assert_eq!((change.applied.len(), faults(&change).len()), (1, 0));
        assert_eq!(follower.look(&BTreeSet::new()).deleted, [tls_file::reference(&of)]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
