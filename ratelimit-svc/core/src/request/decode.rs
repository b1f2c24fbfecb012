//! Protobuf's bytes to a [`Request`]. Fields that are not known are passed over, as in every
//! protobuf reader; what is counted is bounded here, before any of it is kept.

use proto::wire::{WireError, message, next, number, skip, text};

use super::{Descriptor, Entry, MAX_DESCRIPTORS, Override, Request};

/// Most entries of all descriptors of a request.
const MAX_ENTRIES: usize = 4_096;

/// Why bytes are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// They end early, or a field is of another type than Envoy's API says.
    Malformed,
    /// A text is no UTF-8.
    NotText,
    /// More descriptors than a request may have.
    TooManyDescriptors,
    /// More entries than a request may have.
    TooManyEntries,
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the message is not a RateLimitRequest",
            Self::NotText => "a text of the request is not UTF-8",
            Self::TooManyDescriptors => "a request has at most 256 descriptors",
            Self::TooManyEntries => "a request has at most 4,096 entries",
        })
    }
}

impl From<WireError> for DecodeError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Malformed => Self::Malformed,
            WireError::NotText => Self::NotText,
        }
    }
}

type Decoded<T> = Result<T, DecodeError>;

impl<'a> Request<'a> {
    /// Reads a `RateLimitRequest`.
    ///
    /// # Errors
    /// When the bytes are none, or ask for too much.
    pub fn decode(mut bytes: &'a [u8]) -> Decoded<Self> {
        let mut request = Self::default();
        while let Some(field) = next(&mut bytes)? {
            match field.number {
                1 => request.domain = text(&mut bytes, field)?,
                2 => {
                    if request.descriptors.len() >= MAX_DESCRIPTORS {
                        return Err(DecodeError::TooManyDescriptors);
                    }
                    let message = message(&mut bytes, field)?;
                    request.descriptor(message)?;
                }
                3 => {
                    request.hits_addend = low(number(&mut bytes, field)?);
                }
                _ => skip(&mut bytes, field)?,
            }
        }
        Ok(request)
    }

    fn descriptor(&mut self, mut bytes: &'a [u8]) -> Decoded<()> {
        let first = self.entries.len();
        let mut descriptor = Descriptor::default();
        while let Some(field) = next(&mut bytes)? {
            match field.number {
                1 => {
                    if self.entries.len() >= MAX_ENTRIES {
                        return Err(DecodeError::TooManyEntries);
                    }
                    let entry = entry(message(&mut bytes, field)?)?;
                    self.entries.push(entry);
                }
                2 => {
                    let own = descriptor.limit.unwrap_or_default();
                    descriptor.limit = Some(limit(message(&mut bytes, field)?, own)?);
                }
                3 => {
                    let own = descriptor.hits_addend.unwrap_or_default();
                    let value = wrapped(message(&mut bytes, field)?, own)?;
                    descriptor.hits_addend = Some(value);
                }
                4 => descriptor.is_negative_hits = number(&mut bytes, field)? != 0,
                _ => skip(&mut bytes, field)?,
            }
        }
        self.descriptors.push(Descriptor { first, end: self.entries.len(), ..descriptor });
        Ok(())
    }
}

fn entry(mut bytes: &[u8]) -> Decoded<Entry<'_>> {
    let mut entry = Entry::default();
    while let Some(field) = next(&mut bytes)? {
        match field.number {
            1 => entry.key = text(&mut bytes, field)?,
            2 => entry.value = text(&mut bytes, field)?,
            _ => skip(&mut bytes, field)?,
        }
    }
    Ok(entry)
}

/// Of a message that comes twice the fields add up, as protobuf has it; so with wrappers.
fn limit(mut bytes: &[u8], mut limit: Override) -> Decoded<Override> {
    while let Some(field) = next(&mut bytes)? {
        match field.number {
            1 => limit.requests_per_unit = low(number(&mut bytes, field)?),
            2 => limit.unit = low(number(&mut bytes, field)?).cast_signed(),
            3 => {
                let own = u64::from(limit.unit_multiplier.unwrap_or_default());
                let value = wrapped(message(&mut bytes, field)?, own)?;
                limit.unit_multiplier = Some(low(value));
            }
            _ => skip(&mut bytes, field)?,
        }
    }
    Ok(limit)
}

/// `google.protobuf.UInt64Value` and `UInt32Value`.
fn wrapped(mut bytes: &[u8], mut value: u64) -> Decoded<u64> {
    while let Some(field) = next(&mut bytes)? {
        match field.number {
            1 => value = number(&mut bytes, field)?,
            _ => skip(&mut bytes, field)?,
        }
    }
    Ok(value)
}

/// A 32-bit number is the low half of what is sent.
#[allow(clippy::cast_possible_truncation)]
fn low(number: u64) -> u32 {
    number as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;
    use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
    use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor as parts;
    use proto::envoy::service::ratelimit::v3::RateLimitRequest;

    use super::*;

    fn descriptor() -> impl Strategy<Value = RateLimitDescriptor> {
        let entry = (".{0,9}", ".{0,9}").prop_map(|(key, value)| parts::Entry { key, value });
        let own = (any::<u32>(), 0..8_i32, any::<Option<u32>>()).prop_map(
            |(requests_per_unit, unit, unit_multiplier)| parts::RateLimitOverride {
                requests_per_unit,
                unit,
                unit_multiplier,
            },
        );
        let entries = prop::collection::vec(entry, 0..4);
        (entries, prop::option::of(own), any::<Option<u64>>(), any::<bool>()).prop_map(
            |(entries, limit, hits_addend, is_negative_hits)| RateLimitDescriptor {
                entries,
                limit,
                hits_addend,
                is_negative_hits,
            },
        )
    }

    proptest! {
        #[test]
        fn reads_what_protobuf_reads(
            domain in ".{0,9}", descriptors in prop::collection::vec(descriptor(), 0..6), hits_addend: u32,
        ) {
            let message = RateLimitRequest { domain, descriptors, hits_addend };
            let bytes = message.encode_to_vec();
            prop_assert_eq!(Request::decode(&bytes).unwrap(), Request::from(&message));
        }

        #[test]
        fn agrees_with_protobuf_on_any_bytes(
            bytes in prop::collection::vec(prop_oneof![0_u8..40, any::<u8>()], 0..60),
        ) {
            let message = RateLimitRequest::decode(bytes.as_slice());
            match (Request::decode(&bytes), &message) {
                (Ok(request), Ok(message)) => prop_assert_eq!(request, Request::from(message)),
                (Err(_), Err(_)) => {}
                (own, theirs) => prop_assert!(false, "{own:?} but {theirs:?}"),
            }
        }
    }

    #[test]
    fn too_much_is_refused() {
        let many = |n| RateLimitRequest {
            descriptors: vec![RateLimitDescriptor::default(); n],
            ..RateLimitRequest::default()
        };
        assert!(Request::decode(&many(256).encode_to_vec()).is_ok());
        let error = Request::decode(&many(10_000).encode_to_vec()).unwrap_err();
        assert_eq!(error, DecodeError::TooManyDescriptors);
        let mut one = many(1);
        one.descriptors[0].entries = vec![parts::Entry::default(); 5_000];
        let error = Request::decode(&one.encode_to_vec()).unwrap_err();
        assert_eq!(error, DecodeError::TooManyEntries);
    }
}
