//! Work that takes the processor for long, on threads of its own.

use authz_core::need::Job;

/// The threads.
#[derive(Debug, Default)]
pub(crate) struct Work {}

impl Work {
    /// Does a job; none when too many wait.
    pub(crate) async fn run(&self, job: Job) -> Option<bool> {
        tokio::task::spawn_blocking(move || job.run()).await.ok()
    }
}
