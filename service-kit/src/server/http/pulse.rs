//! Whether the head of an HTTP/1 request has begun and does not come to its end. A connection
//! without a request may rest as long as it likes: proxies keep them. HTTP/2 has pings for this.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// What an HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Of one connection.
#[derive(Default)]
pub(super) struct Pulse(Mutex<State>);

#[derive(Default)]
struct State {
    /// How much of the preface came; none when the connection begins otherwise.
    preface: Option<usize>,
    is_old: bool,
    /// Requests whose answer is not there.
    busy: usize,
    /// Since when a head is on its way.
    since: Option<Instant>,
}

/// A request that is being answered, until this is dropped.
pub(super) struct Busy(Arc<Pulse>);

impl Pulse {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A head is there.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        let mut state = self.state();
        state.busy += 1;
        state.since = None;
        Busy(self.clone())
    }

    /// Whether a head has been on its way for longer than `patience`.
    pub(super) fn is_slow(&self, patience: Duration) -> bool {
        self.state().since.is_some_and(|since| since.elapsed() > patience)
    }

    fn came(&self, bytes: &[u8]) {
        let mut state = self.state();
        if !state.is_old {
            let seen = state.preface.unwrap_or_default();
            if seen == PREFACE.len() {
                return;
            }
            let rest = PREFACE.get(seen..).unwrap_or_default();
            let now = bytes.len().min(rest.len());
            if bytes.get(..now) == rest.get(..now) {
                state.preface = Some(seen + now);
                if seen + now == PREFACE.len() {
                    state.since = None;
                    return;
                }
            } else {
                state.is_old = true;
            }
        }
        if state.busy == 0 && state.since.is_none() {
            state.since = Some(Instant::now());
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.state().busy -= 1;
    }
}

/// A connection whose incoming bytes are told to a [`Pulse`].
pub(super) struct Watched<I> {
    io: I,
    pulse: Arc<Pulse>,
}

impl<I> Watched<I> {
    pub(super) fn new(io: I, pulse: Arc<Pulse>) -> Self {
        Self { io, pulse }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        if let Some(came) = buf.filled().get(before..).filter(|came| !came.is_empty()) {
            self.pulse.came(came);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
