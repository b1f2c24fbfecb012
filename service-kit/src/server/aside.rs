//! Work beside the requests: on a thread and a runtime of its own, so that it cannot hold them up.

use std::io;
use std::thread::JoinHandle;

use super::shutdown::{Shutdown, Trigger};

/// Such work; told to end, and waited for, when this is dropped.
#[derive(Debug)]
pub struct Aside {
    trigger: Trigger,
    thread: Option<JoinHandle<()>>,
}

impl Aside {
    /// Starts `work` on the thread `name`; it is to end with the shutdown it is given.
    ///
    /// # Errors
    /// When the system has no thread or runtime to give.
    pub fn start<W: Future<Output = ()>>(
        name: &str,
        work: impl FnOnce(Shutdown) -> W + Send + 'static,
    ) -> io::Result<Self> {
        let (shutdown, trigger) = Shutdown::manual();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || runtime.block_on(async { work(shutdown).await }))?;
        Ok(Self { trigger, thread: Some(thread) })
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.trigger.fire();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
