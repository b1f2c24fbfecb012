//! Protobuf's bytes read where they lie, for messages that are read so often that a copy of each
//! counts. What a field is for, readers know.

use prost::bytes::Buf as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// Why bytes cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// They end early, or a field is of another type than its reader says.
    Malformed,
    /// A text is no UTF-8.
    NotText,
}

/// The head of a field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// As in the `.proto` file.
    pub number: u32,
    wire: WireType,
}

/// The head of the next field; none at the end. What it heads is next in `bytes`.
///
/// # Errors
/// When there is none, and this is not the end.
pub fn next(bytes: &mut &[u8]) -> Result<Option<Field>, WireError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (number, wire) = decode_key(bytes).map_err(|_| WireError::Malformed)?;
    Ok(Some(Field { number, wire }))
}

/// A number.
///
/// # Errors
/// When the field is none.
pub fn number(bytes: &mut &[u8], field: Field) -> Result<u64, WireError> {
    if field.wire != WireType::Varint {
        return Err(WireError::Malformed);
    }
    decode_varint(bytes).map_err(|_| WireError::Malformed)
}

/// A message, or `bytes`.
///
/// # Errors
/// When the field is neither, or longer than what is left.
pub fn message<'a>(bytes: &mut &'a [u8], field: Field) -> Result<&'a [u8], WireError> {
    if field.wire != WireType::LengthDelimited {
        return Err(WireError::Malformed);
    }
    let length = decode_varint(bytes).map_err(|_| WireError::Malformed)?;
    let length = usize::try_from(length).map_err(|_| WireError::Malformed)?;
    let (message, rest) = bytes.split_at_checked(length).ok_or(WireError::Malformed)?;
    *bytes = rest;
    Ok(message)
}

/// A text.
///
/// # Errors
/// When the field is none.
pub fn text<'a>(bytes: &mut &'a [u8], field: Field) -> Result<&'a str, WireError> {
    std::str::from_utf8(message(bytes, field)?).map_err(|_| WireError::NotText)
}

/// Passes over a field, as every reader does with those that it does not know.
///
/// # Errors
/// When it ends early.
pub fn skip(bytes: &mut &[u8], field: Field) -> Result<(), WireError> {
    skip_field(field.wire, field.number, bytes, DecodeContext::default())
        .map_err(|_| WireError::Malformed)?;
    debug_assert!(bytes.remaining() <= isize::MAX as usize);
    Ok(())
}
