//! gRPC over HTTP/2 as it is written: content type, time-out, the head of a message. Pure; the rules
//! are those of `PROTOCOL-HTTP2.md` and `statuscodes.md` of gRPC.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use tonic::Status;

/// The content type of answers.
pub(super) const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");
/// Bytes before a message: whether it is compressed, and its length.
const HEAD: usize = 5;
/// Answers are cut from chunks of this size, in bytes. One answer that waits for its reader holds
/// a whole chunk, so it is small.
const CHUNK: usize = 4 << 10;

/// Whether a request is gRPC with protobuf.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return false };
    let Some(rest) = value.as_bytes().strip_prefix(b"application/grpc") else { return false };
    let rest = rest.strip_prefix(b"+proto").unwrap_or(rest);
    rest.first().is_none_or(|next| *next == b';')
}

/// How long the caller waits, of its header `grpc-timeout`.
///
/// # Errors
/// INTERNAL when it is not 1 to 8 digits and a unit, as other gRPC servers answer.
pub(super) fn deadline(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    duration(value.as_bytes())
        .map(Some)
        .ok_or_else(|| Status::internal("grpc-timeout: write 1 to 8 digits and one of H M S m u n"))
}

fn duration(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(number * 3600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// The one message of a request, from the pieces that come.
pub(super) struct Message {
    max: usize,
    pieces: Pieces,
}

enum Pieces {
    /// Nothing, or all that most requests have; not copied.
    One(Bytes),
    More(BytesMut),
}

impl Message {
    /// At most `max` bytes long.
    pub(super) fn new(max: usize) -> Self {
        Self { max, pieces: Pieces::One(Bytes::new()) }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// As soon as it is clear that no good message comes.
    pub(super) fn push(&mut self, piece: Bytes) -> Result<(), Status> {
        match &mut self.pieces {
            Pieces::One(first) if first.is_empty() => *first = piece,
            Pieces::One(first) => {
                let mut all = BytesMut::with_capacity(first.len() + piece.len());
                all.put_slice(first);
                all.put_slice(&piece);
                self.pieces = Pieces::More(all);
            }
            Pieces::More(all) => all.put_slice(&piece),
        }
        match self.length()? {
            Some(length) if self.bytes().len() - HEAD > length => {
                Err(Status::unimplemented("more than one message; this method takes one"))
            }
            _ => Ok(()),
        }
    }

    /// The message, once nothing more comes.
    ///
    /// # Errors
    /// When there is none, or not all of it.
    pub(super) fn finish(self) -> Result<Bytes, Status> {
        let length = self.length()?;
        let mut bytes = match self.pieces {
            Pieces::One(bytes) => bytes,
            Pieces::More(all) => all.freeze(),
        };
        match length {
            Some(length) if bytes.len() == HEAD + length => {
                bytes.advance(HEAD);
                Ok(bytes)
            }
            None if bytes.is_empty() => {
                Err(Status::unimplemented("no message; this method takes one"))
            }
            _ => Err(Status::internal("the message is cut off")),
        }
    }

    /// Length of the message by its head, once that is there.
    fn length(&self) -> Result<Option<usize>, Status> {
        let Some((&[compressed, a, b, c, d], _)) = self.bytes().split_first_chunk() else {
            return Ok(None);
        };
        if compressed != 0 {
            let status = "compressed messages are not supported; send them as they are (grpc-encoding: identity)";
            return Err(Status::unimplemented(status));
        }
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > self.max {
            let max = self.max;
            return Err(Status::resource_exhausted(format!(
                "the message has {length} bytes; {max} are allowed"
            )));
        }
        Ok(Some(length))
    }

    fn bytes(&self) -> &[u8] {
        match &self.pieces {
            Pieces::One(bytes) => bytes,
            Pieces::More(all) => all,
        }
    }
}

/// A message with its head, as `write` writes it; cut from `chunk`.
pub(super) fn frame(chunk: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) -> Bytes {
    // What a panic left behind.
    chunk.clear();
    // A few answers' room is left to the last one rather than grown into a larger chunk.
    if chunk.capacity() < CHUNK / 8 {
        *chunk = BytesMut::with_capacity(CHUNK);
    }
    chunk.put_bytes(0, HEAD);
    write(chunk);
    let length = u32::try_from(chunk.len() - HEAD).unwrap_or(u32::MAX);
    if let Some(head) = chunk.get_mut(1..HEAD) {
        head.copy_from_slice(&length.to_be_bytes());
    }
    chunk.split().freeze()
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn content_types_are_told_apart() {
        let is = |text| is_grpc(&HeaderMap::from_iter([(header::CONTENT_TYPE, text)]));
        for yes in ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"]
        {
            assert!(is(HeaderValue::from_static(yes)), "{yes}");
        }
        for no in ["application/json", "application/grpc-web", "application/grpc+json", ""] {
            assert!(!is(HeaderValue::from_static(no)), "{no}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn time_outs_are_read() {
        for (text, wanted) in [
            ("20m", Some(Duration::from_millis(20))),
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("5u", Some(Duration::from_micros(5))),
            ("0n", Some(Duration::ZERO)),
            ("", None),
            ("m", None),
            ("5", None),
            ("-5m", None),
            ("5s", None),
            ("123456789m", None),
        ] {
            assert_eq!(duration(text.as_bytes()), wanted, "{text}");
        }
    }

    fn read(max: usize, pieces: &[&[u8]]) -> Result<Bytes, Code> {
        let mut message = Message::new(max);
        for piece in pieces {
            message.push(Bytes::copy_from_slice(piece)).map_err(|s| s.code())?;
        }
        message.finish().map_err(|s| s.code())
    }

    #[test]
    fn messages_are_read_however_they_are_cut() {
        let framed = b"\0\0\0\0\x03abc";
        for first in 0..=framed.len() {
            for second in first..=framed.len() {
                let (a, rest) = framed.split_at(first);
                let (b, c) = rest.split_at(second - first);
                assert_eq!(read(3, &[a, b, c]).unwrap(), "abc", "{first} {second}");
            }
        }
        assert_eq!(read(0, &[b"\0\0\0\0\0"]).unwrap(), "");
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for (pieces, code) in [
            (&[][..], Code::Unimplemented),
            (&[b"\0\0\0"], Code::Internal),
            (&[b"\0\0\0\0\x03ab"], Code::Internal),
            (&[b"\0\0\0\0\x01ab"], Code::Unimplemented),
            (&[b"\0\0\0\0\x04"], Code::ResourceExhausted),
            (&[b"\0\xff\xff\xff\xff"], Code::ResourceExhausted),
            (&[b"\x01\0\0\0\x01a"], Code::Unimplemented),
        ] as [(&[&[u8]], Code); 7]
        {
            assert_eq!(read(3, pieces), Err(code), "{pieces:?}");
        }
    }

    #[test]
    fn answers_have_their_heads() {
        let mut chunk = BytesMut::new();
        for length in [0, 1, 300, 5000, 7] {
            let framed = frame(&mut chunk, |out| out.put_bytes(b'x', length));
            assert_eq!(read(5000, &[&framed]).unwrap().len(), length);
        }
        let left = std::panic::AssertUnwindSafe(&mut chunk);
        let failed = std::panic::catch_unwind(move || {
            let left = left;
            frame(left.0, |out| {
                out.put_u8(1);
                panic!("as a codec may");
            })
        });
        assert!(failed.is_err());
        assert_eq!(frame(&mut chunk, |out| out.put_u8(b'a')), "\0\0\0\0\x01a");
    }
}
