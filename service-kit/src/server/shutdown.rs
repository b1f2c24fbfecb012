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
