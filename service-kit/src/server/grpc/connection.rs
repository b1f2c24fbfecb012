//! One connection: its calls, and what time does to it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use h2::RecvStream;
use http::{Method, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::service::Routes;

use super::super::shutdown::Shutdown;
use super::limits::{Due, Life, Limits};
use super::quiet::Quiet;
use super::routed;
use super::unary::{self, Answers, Around, Budget, Unary};

/// What all connections of a port serve.
pub(super) struct Shared<U> {
    pub(super) unary: Option<(&'static str, U)>,
    pub(super) routes: Routes,
    pub(super) limits: Limits,
}

impl<U> Shared<U> {
    /// The hot method, if the request is for it.
    fn hot(&self, request: &Request<RecvStream>) -> Option<&U> {
        let (path, unary) = self.unary.as_ref()?;
        (request.uri().path() == *path && request.method() == Method::POST).then_some(unary)
    }
}

/// Serves a connection until it ends; from `leave` on it takes no new calls.
pub(super) async fn serve<U: Unary>(
    io: impl AsyncRead + AsyncWrite + Unpin,
    shared: Arc<Shared<U>>,
    leave: Shutdown,
) {
    let limits = &shared.limits;
    let http = tokio::time::timeout(limits.handshake, limits.http().handshake(io)).await;
    let Ok(Ok(mut http)) = http else { return };
    let mut life = Life::new(limits, http.ping_pong());
    let mut leave = pin!(futures::FutureExt::fuse(async move { leave.wait().await }));
    let budget = Budget::new(limits.unfinished);
    let around = Around { max_message: limits.message, budget: &budget };
    // In this task and not each in its own: answers of one moment go out in one write, and a call
    // that does not wait costs no wake-up.
    let mut calls = FuturesUnordered::new();
    let mut answers = Answers::new();
    let quiet = Arc::new(Quiet::default());
    let http_waker = Waker::from(quiet.clone());
    poll_fn(|cx| {
        quiet.follow(cx.waker());
        loop {
            // All new requests before any answer: h2 writes what it has each time it is asked.
            loop {
                match http.poll_accept(&mut Context::from_waker(&http_waker)) {
                    Poll::Ready(Some(Ok((request, respond)))) => match shared.hot(&request) {
                        Some(hot) => calls.push(unary::call(hot, &around, request, respond)),
                        None => {
                            tokio::spawn(routed::call(shared.routes.clone(), request, respond));
                        }
                    },
                    // What was wrong was told to the caller, where there is one.
                    Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                    Poll::Pending => break,
                }
            }
            let mut is_new = false;
            while let Poll::Ready(Some((respond, outcome))) = calls.poll_next_unpin(cx) {
                quiet.during(|| answers.send(respond, outcome));
                is_new = true;
            }
            if leave.as_mut().poll(cx).is_ready() {
                http.graceful_shutdown();
                is_new = true;
            }
            match life.poll(cx) {
                Poll::Ready(Due::Leave) => {
                    http.graceful_shutdown();
                    is_new = true;
                }
                Poll::Ready(Due::End(why)) => {
                    tracing::debug!("a connection is ended: {why}");
                    return Poll::Ready(());
                }
                Poll::Pending => {}
            }
            if !is_new {
                return Poll::Pending;
            }
        }
    })
    .await;
}
