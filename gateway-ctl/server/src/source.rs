//! Where objects come from: a folder of files or the Kubernetes API. Both say the same thing, a
//! series of changes; the controller does not know which it was.

pub mod folder;
pub mod istio;

use std::time::Instant;

use service_kit::server::objects::Change;

/// A change and when it was noticed.
#[derive(Debug)]
pub struct Noticed {
    /// What changed. Its findings are all that is wrong with the source now.
    pub change: Change,
    /// When the source noticed it.
    pub at: Instant,
}

impl Noticed {
    /// Whether it has no object and nothing wrong.
    pub fn is_empty(&self) -> bool {
        self.change.applied.is_empty() && self.change.found.is_empty()
    }
}

/// Changes that wait for the controller. More are merged (or read anew) by the source, so that a
/// storm costs no memory.
pub const WAITING: usize = 1;
