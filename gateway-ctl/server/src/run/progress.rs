//! A line now and then while something takes long.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, interval_at};

use crate::output::note;

/// After this long people are told what is waited for, and again each time.
const PATIENCE: Duration = Duration::from_secs(2);

/// Waits for `work`; says what it is each two seconds.
pub(super) async fn with_progress<T>(
    what: impl Fn() -> String,
    work: impl Future<Output = T>,
) -> T {
    let start = Instant::now();
    let mut tick = interval_at(start + PATIENCE, PATIENCE);
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = tick.tick() => note(format_args!("... {} ({} s)", what(), start.elapsed().as_secs())),
        }
    }
}
