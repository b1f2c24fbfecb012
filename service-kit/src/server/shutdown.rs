//! The one signal that ends a process, and who waits for it.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Resolves once, on SIGTERM or SIGINT (or when its [`Trigger`] fires).
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// Ends everything that waits on the [`Shutdown`] made with it.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

impl Shutdown {
    /// Follows SIGTERM and SIGINT of this process. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the system refuses a signal handler.
    pub fn on_signals() -> io::Result<Self> {
        let (shutdown, trigger) = Self::manual();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            trigger.fire();
        });
        Ok(shutdown)
    }

    /// A shutdown that `Trigger` starts.
    pub fn manual() -> (Self, Trigger) {
        let (sender, receiver) = watch::channel(false);
        (Self(receiver), Trigger(sender))
    }

    /// Waits for it. A trigger that is dropped without firing never resolves this.
    pub async fn wait(&self) {
        if self.0.clone().wait_for(|fired| *fired).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether it has begun.
    pub fn is_triggered(&self) -> bool {
        *self.0.borrow()
    }
}

impl Trigger {
    /// Begins the shutdown.
    pub fn fire(&self) {
        self.0.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn all_clones_hear_it_and_late_ones_too() {
        let (shutdown, trigger) = Shutdown::manual();
        assert!(!shutdown.is_triggered() && shutdown.wait().now_or_never().is_none());
        let waiting = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.wait().await }
        });
        trigger.fire();
        waiting.await.unwrap();
        drop(trigger);
        shutdown.wait().await;
        assert!(shutdown.is_triggered());
    }

    #[tokio::test]
    async fn a_trigger_that_is_dropped_is_no_shutdown() {
        let (shutdown, trigger) = Shutdown::manual();
        drop(trigger);
        assert!(shutdown.wait().now_or_never().is_none() && !shutdown.is_triggered());
    }

    #[tokio::test]
    async fn hears_a_signal() {
        let shutdown = Shutdown::on_signals().unwrap();
        let this = std::process::id().to_string();
        let kill = std::process::Command::new("sh").args(["-c", "kill -TERM $0", &this]).status();
        assert!(kill.unwrap().success());
        timeout(Duration::from_secs(10), shutdown.wait()).await.unwrap();
    }
}
