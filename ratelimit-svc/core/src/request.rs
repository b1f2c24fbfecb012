//! A request as it lies in its bytes: nothing is copied.

mod decode;

use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::service::ratelimit::v3::RateLimitRequest;
use smallvec::SmallVec;

pub use decode::DecodeError;

/// Most descriptors of a request.
pub(crate) const MAX_DESCRIPTORS: usize = 256;

/// `envoy.service.ratelimit.v3.RateLimitRequest`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Request<'a> {
    /// Which limits it is for.
    pub domain: &'a str,
    /// In the order of the request.
    pub descriptors: SmallVec<[Descriptor; 4]>,
    /// Hits of each descriptor that has none of its own; 0 means 1.
    pub hits_addend: u32,
    /// Of all descriptors, one after the other.
    entries: SmallVec<[Entry<'a>; 8]>,
}

/// `envoy.extensions.common.ratelimit.v3.RateLimitDescriptor`; its entries are in the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    first: usize,
    end: usize,
    /// A limit of its own.
    pub limit: Option<Override>,
    /// Hits of its own; 0 asks without counting.
    pub hits_addend: Option<u64>,
    /// The hits are given back.
    pub is_negative_hits: bool,
}

/// A limit that comes with a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Override {
    /// Requests in a window.
    pub requests_per_unit: u32,
    /// Number in `envoy.type.v3.RateLimitUnit`.
    pub unit: i32,
    /// How many units make a window.
    pub unit_multiplier: Option<u32>,
}

/// A key and its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The key.
    pub key: &'a str,
    /// The value; may be empty.
    pub value: &'a str,
}

impl<'a> Request<'a> {
    /// The entries of a descriptor of this request.
    pub fn entries(&self, descriptor: &Descriptor) -> &[Entry<'a>] {
        self.entries.get(descriptor.first..descriptor.end).unwrap_or_default()
    }

    /// Adds a descriptor with `entries`; the place of `descriptor`'s own does not matter.
    fn push(&mut self, entries: impl IntoIterator<Item = Entry<'a>>, descriptor: Descriptor) {
        let first = self.entries.len();
        self.entries.extend(entries);
        self.descriptors.push(Descriptor { first, end: self.entries.len(), ..descriptor });
    }
}

impl<'a> From<&'a RateLimitRequest> for Request<'a> {
    fn from(message: &'a RateLimitRequest) -> Self {
        let mut request =
            Self { domain: &message.domain, hits_addend: message.hits_addend, ..Self::default() };
        for descriptor in &message.descriptors {
            let entries = descriptor.entries.iter();
            let entries = entries.map(|e| Entry { key: &e.key, value: &e.value });
            request.push(entries, of_message(descriptor));
        }
        request
    }
}

fn of_message(message: &RateLimitDescriptor) -> Descriptor {
    let limit = message.limit.as_ref().map(|own| Override {
        requests_per_unit: own.requests_per_unit,
        unit: own.unit,
        unit_multiplier: own.unit_multiplier,
    });
    Descriptor {
        limit,
        hits_addend: message.hits_addend,
        is_negative_hits: message.is_negative_hits,
        ..Descriptor::default()
    }
}
