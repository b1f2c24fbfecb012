//! Waiting for a moment that may never come, as one branch of a `select!`.

use std::time::Instant;

/// Waits until `moment`; for ever when there is none.
pub(crate) async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
