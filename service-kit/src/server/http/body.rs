//! Bodies of requests, read whole, within bounds on length, time and memory.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Reads bodies.
pub(super) struct Bodies {
    most: usize,
    /// A permit is a byte.
    room: Semaphore,
    patience: Duration,
}

/// A body; the bytes count until it is dropped.
pub(super) struct Whole<'b> {
    pub(super) bytes: Bytes,
    _taken: Option<SemaphorePermit<'b>>,
}

impl Bodies {
    /// Each of at most `most` bytes, `room` bytes of all, each within `patience`.
    pub(super) fn new(most: usize, room: usize, patience: Duration) -> Self {
        Self { most, room: Semaphore::new(room.min(Semaphore::MAX_PERMITS)), patience }
    }

    /// The body, or the status that says why not.
    pub(super) async fn read<B>(&self, body: B) -> Result<Whole<'_>, StatusCode>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if body.is_end_stream() {
            return Ok(Whole { bytes: Bytes::new(), _taken: None });
        }
        if usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX) > self.most {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        tokio::time::timeout(self.patience, self.collect(body))
            .await
            .unwrap_or(Err(StatusCode::REQUEST_TIMEOUT))
    }

    async fn collect<B>(&self, mut body: B) -> Result<Whole<'_>, StatusCode>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut taken: Option<SemaphorePermit<'_>> = None;
        let (mut first, mut whole) = (Bytes::new(), BytesMut::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
            let Ok(data) = frame.into_data() else { continue };
            if first.len().max(whole.len()) + data.len() > self.most {
                return Err(StatusCode::PAYLOAD_TOO_LARGE);
            }
            let bytes = u32::try_from(data.len()).map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
            let more = self.room.try_acquire_many(bytes);
            let more = more.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
            match &mut taken {
                Some(taken) => taken.merge(more),
                None => taken = Some(more),
            }
            if first.is_empty() {
                first = data;
            } else {
                if whole.is_empty() {
                    whole.extend_from_slice(&first);
                }
                whole.extend_from_slice(&data);
            }
        }
        let bytes = if whole.is_empty() { first } else { whole.freeze() };
        Ok(Whole { bytes, _taken: taken })
    }
}
