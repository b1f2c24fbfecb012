//! All methods but the hot one: calls of tonic's services, on the same connections.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::FutureExt as _;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame};
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service as _;

use super::{unary, wire};

/// Answers one request; ends early when the caller gives up or the connection ends.
pub(super) async fn call(
    mut routes: Routes,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let deadline = match wire::deadline(request.headers()) {
        Ok(deadline) => deadline,
        Err(status) => {
            let _ = respond.send_response(status.into_http(), true);
            return;
        }
    };
    let answer = async move {
        let called = routes.call(request.map(Incoming::new));
        let called = std::panic::AssertUnwindSafe(called).catch_unwind();
        match deadline {
            None => called.await,
            Some(deadline) => match tokio::time::timeout(deadline, called).await {
                Ok(called) => called,
                Err(_) => Ok(Ok(
                    Status::deadline_exceeded("the time-out of the call is over").into_http()
                )),
            },
        }
    };
    let response = {
        let mut answer = pin!(answer);
        poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(Ok(Ok(response))) => Poll::Ready(Some(response)),
            Poll::Ready(Err(_)) => Poll::Ready(Some(unary::failed().into_http())),
            Poll::Ready(Ok(Err(never))) => match never {},
            Poll::Pending => respond.poll_reset(cx).map(|_| None),
        })
        .await
    };
    if let Some(response) = response {
        // An error here is one of the stream, and the caller has it already.
        let _ = send(response, respond).await;
    }
}

/// Streams the response as fast as the caller takes it.
async fn send(response: Response<Body>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let (mut head, body) = response.into_parts();
    // Statuses for layers above; nothing that is sent.
    head.extensions.clear();
    let head = Response::from_parts(head, ());
    if body.is_end_stream() {
        respond.send_response(head, true)?;
        return Ok(());
    }
    let mut stream = respond.send_response(head, false)?;
    let mut body = pin!(body);
    loop {
        let frame = poll_fn(|cx| match body.as_mut().poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            Poll::Pending => stream.poll_reset(cx).map(Err),
        });
        match frame.await {
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => send_data(&mut stream, data).await?,
                Err(frame) => {
                    return stream.send_trailers(frame.into_trailers().unwrap_or_default());
                }
            },
            Ok(Some(Err(status))) => {
                let mut trailers = HeaderMap::new();
                let _ = status.add_header(&mut trailers);
                return stream.send_trailers(trailers);
            }
            Ok(None) => return stream.send_data(Bytes::new(), true),
            // The caller gave up.
            Err(_) => return Ok(()),
        }
    }
}

async fn send_data(stream: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = poll_fn(|cx| stream.poll_capacity(cx)).await;
        let room = room.unwrap_or_else(|| Err(Reason::CANCEL.into()))?;
        stream.send_data(data.split_to(room.min(data.len())), false)?;
    }
    Ok(())
}

/// The body of a request, as tower's services read it.
struct Incoming {
    stream: RecvStream,
    data_is_over: bool,
}

impl Incoming {
    fn new(stream: RecvStream) -> Self {
        Self { stream, data_is_over: false }
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_is_over {
            if let Some(data) = ready!(self.stream.poll_data(cx)) {
                let data = data?;
                // Whoever takes the data bounds it.
                let _ = self.stream.flow_control().release_capacity(data.len());
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            self.data_is_over = true;
        }
        let trailers = ready!(self.stream.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}
