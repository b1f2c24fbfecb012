//! The hot method: one message in, one message out, straight on HTTP/2. Knows no protobuf.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use tonic::Status;

use super::wire::{self, Message};

/// A method that is called so often that what is around a call counts.
pub trait Unary: Send + Sync + 'static {
    /// Answers a request. `message` is the message without gRPC's head; `deadline` is how long the
    /// caller waits from now on, if it said so, and is for the method to heed. The answer is
    /// written into a buffer that others may be in: it is appended.
    ///
    /// All calls of a connection run in one task: one that waits holds nobody up, one that computes
    /// does. The future is dropped when the caller gives up. A panic ends this call only, as
    /// INTERNAL.
    fn call(
        &self,
        message: Bytes,
        deadline: Option<Duration>,
    ) -> impl Future<Output = Result<impl FnOnce(&mut BytesMut) + Send, Status>> + Send;
}

impl<U: Unary> Unary for Arc<U> {
    fn call(
        &self,
        message: Bytes,
        deadline: Option<Duration>,
    ) -> impl Future<Output = Result<impl FnOnce(&mut BytesMut) + Send, Status>> + Send {
        U::call(self, message, deadline)
    }
}

/// No hot method.
#[derive(Debug)]
pub enum Unserved {}

impl Unary for Unserved {
    async fn call(
        &self,
        _: Bytes,
        _: Option<Duration>,
    ) -> Result<impl FnOnce(&mut BytesMut) + Send, Status> {
        Err::<fn(&mut BytesMut), _>(Status::unimplemented(""))
    }
}

/// Bytes of messages that are not whole yet, of one connection.
pub(super) struct Budget {
    left: AtomicUsize,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Self { left: AtomicUsize::new(bytes) }
    }
}

/// What one call took of the budget; gives it back.
struct Taken<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl Taken<'_> {
    fn more(&mut self, bytes: usize) -> Result<(), Status> {
        let take = |left: usize| left.checked_sub(bytes);
        let taken = self.budget.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map_err(|_| {
            Status::resource_exhausted("too many unfinished messages on this connection")
        })?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// How a call ended.
pub(super) enum Outcome<A> {
    Answer(A),
    Error(Status),
    /// The request is not gRPC.
    NotGrpc,
    /// The caller gave up: nobody hears an answer.
    Cancelled,
}

/// What is around a call.
pub(super) struct Around<'a> {
    pub(super) max_message: usize,
    pub(super) budget: &'a Budget,
}

/// Reads the request and calls the method.
pub(super) async fn call<U: Unary>(
    unary: &U,
    around: &Around<'_>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> (SendResponse<Bytes>, Outcome<impl FnOnce(&mut BytesMut) + Send>) {
    if !wire::is_grpc(request.headers()) {
        return (respond, Outcome::NotGrpc);
    }
    let outcome = {
        let answer = async move {
            let (head, body) = request.into_parts();
            let deadline = wire::deadline(&head.headers)?;
            let message = read(body, around).await?;
            unary.call(message, deadline).await
        };
        let mut answer = pin!(AssertUnwindSafe(answer).catch_unwind());
        poll_fn(|cx| {
            // The answer first: most are there at once, and asking for a reset takes a lock.
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(match answer {
                    Ok(Ok(answer)) => Outcome::Answer(answer),
                    Ok(Err(status)) => Outcome::Error(status),
                    Err(_) => Outcome::Error(failed()),
                });
            }
            respond.poll_reset(cx).map(|_| Outcome::Cancelled)
        })
        .await
    };
    (respond, outcome)
}

/// What a caller is told of a panic.
pub(super) fn failed() -> Status {
    Status::internal("the service failed on this request; its log says more")
}

/// The message of a request. What is left of the body when this ends, h2 gives back to the window.
async fn read(mut body: RecvStream, around: &Around<'_>) -> Result<Bytes, Status> {
    let mut message = Message::new(around.max_message);
    let mut taken = Taken { budget: around.budget, bytes: 0 };
    while let Some(data) = body.data().await {
        let data = data.map_err(|_| Status::cancelled("the request ended early"))?;
        let length = data.len();
        message.push(data)?;
        if body.is_end_stream() {
            break;
        }
        taken.more(length)?;
        // An error is one of the stream, and comes with the next piece.
        let _ = body.flow_control().release_capacity(length);
    }
    message.finish()
}

/// Writes answers of one connection.
pub(super) struct Answers {
    head: HeaderMap,
    trailers: HeaderMap,
    chunk: BytesMut,
}

impl Answers {
    pub(super) fn new() -> Self {
        Self {
            head: HeaderMap::from_iter([(header::CONTENT_TYPE, wire::CONTENT_TYPE)]),
            trailers: HeaderMap::from_iter([(Status::GRPC_STATUS, HeaderValue::from_static("0"))]),
            chunk: BytesMut::new(),
        }
    }

    /// Hands the end of a call to h2. That the stream is gone meanwhile is no error of ours.
    pub(super) fn send(
        &mut self,
        mut respond: SendResponse<Bytes>,
        outcome: Outcome<impl FnOnce(&mut BytesMut)>,
    ) {
        let outcome = match outcome {
            Outcome::Answer(write) => {
                let write = AssertUnwindSafe((&mut self.chunk, write));
                std::panic::catch_unwind(move || {
                    let AssertUnwindSafe((chunk, write)) = { write };
                    wire::frame(chunk, write)
                })
                .map_err(|_| failed())
            }
            Outcome::Error(status) => Err(status),
            Outcome::NotGrpc => {
                let mut response = Response::new(());
                *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
                let _ = respond.send_response(response, true);
                return;
            }
            Outcome::Cancelled => return,
        };
        match outcome {
            Ok(message) => {
                let mut response = Response::new(());
                response.headers_mut().clone_from(&self.head);
                if let Ok(mut stream) = respond.send_response(response, false)
                    && stream.send_data(message, false).is_ok()
                {
                    let _ = stream.send_trailers(self.trailers.clone());
                }
            }
            Err(status) => {
                let _ = respond.send_response(status.into_http(), true);
            }
        }
    }
}
