//! A decision to protobuf: by hand for the statuses, so that nothing is copied on the way, and as a
//! message for doors that need one.

use prost::Message as _;
use prost::bytes::BufMut;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use proto::envoy::service::ratelimit::v3::RateLimitResponse;
use proto::envoy::service::ratelimit::v3::rate_limit_response::{DescriptorStatus, RateLimit};

use super::{Decided, Decision, seconds_up};
use crate::limit::Limit;

impl Decision<'_> {
    /// As a message.
    pub fn message(&self) -> RateLimitResponse {
        RateLimitResponse {
            overall_code: self.code.into(),
            statuses: self.decided.iter().map(Decided::status).collect(),
            ..self.additions.clone()
        }
    }

    /// Its length in bytes.
    pub fn encoded_len(&self) -> usize {
        let statuses = self.decided.iter().map(|d| field_len(status_len(d)));
        1 + varint_len(i64::from(i32::from(self.code)))
            + statuses.sum::<usize>()
            + self.additions.encoded_len()
    }

    /// Writes [`Self::encoded_len`] bytes.
    pub fn encode(&self, to: &mut impl BufMut) {
        number(to, 1, i64::from(i32::from(self.code)));
        for decided in &self.decided {
            head(to, 2, status_len(decided));
            status(to, decided);
        }
        self.additions.encode_raw(to);
    }
}

impl Decided<'_> {
    /// As a message.
    pub(super) fn status(&self) -> DescriptorStatus {
        DescriptorStatus {
            code: self.code.into(),
            current_limit: self.limit().map(|limit| RateLimit {
                name: limit.name.to_string(),
                requests_per_unit: limit.quota.requests,
                unit: limit.quota.unit.number(),
                unit_multiplier: multiplier(limit),
            }),
            limit_remaining: self.remaining,
            duration_until_reset: self
                .limit()
                .map(|_| prost_types::Duration { seconds: seconds_up(self.reset), nanos: 0 }),
            ..DescriptorStatus::default()
        }
    }
}

/// Envoys before 1.40 do not know the field, so it is sent only where it says something.
fn multiplier(limit: &Limit) -> Option<u32> {
    Some(limit.quota.multiplier).filter(|m| *m > 1)
}

fn status_len(decided: &Decided<'_>) -> usize {
    let limit = decided.limit();
    number_len(i64::from(i32::from(decided.code)))
        + limit.map_or(0, |limit| field_len(limit_len(limit)))
        + number_len(i64::from(decided.remaining))
        + limit.map_or(0, |_| field_len(number_len(seconds_up(decided.reset))))
}

fn status(to: &mut impl BufMut, decided: &Decided<'_>) {
    number(to, 1, i64::from(i32::from(decided.code)));
    if let Some(own) = decided.limit() {
        head(to, 2, limit_len(own));
        limit(to, own);
    }
    number(to, 3, i64::from(decided.remaining));
    if decided.limit().is_some() {
        let seconds = seconds_up(decided.reset);
        head(to, 4, number_len(seconds));
        number(to, 1, seconds);
    }
}

fn limit_len(limit: &Limit) -> usize {
    let name = limit.name.len();
    number_len(i64::from(limit.quota.requests))
        + number_len(i64::from(limit.quota.unit.number()))
        + if name == 0 { 0 } else { field_len(name) }
        + multiplier(limit).map_or(0, |m| field_len(number_len(i64::from(m))))
}

fn limit(to: &mut impl BufMut, limit: &Limit) {
    number(to, 1, i64::from(limit.quota.requests));
    number(to, 2, i64::from(limit.quota.unit.number()));
    if !limit.name.is_empty() {
        head(to, 3, limit.name.len());
        to.put_slice(limit.name.as_bytes());
    }
    if let Some(multiplier) = multiplier(limit) {
        let multiplier = i64::from(multiplier);
        head(to, 4, number_len(multiplier));
        number(to, 1, multiplier);
    }
}

// All fields have numbers below 16, so their keys are one byte.

fn number(to: &mut impl BufMut, field: u32, value: i64) {
    if value != 0 {
        encode_key(field, WireType::Varint, to);
        encode_varint(value.cast_unsigned(), to);
    }
}

fn number_len(value: i64) -> usize {
    if value == 0 { 0 } else { 1 + varint_len(value) }
}

fn varint_len(value: i64) -> usize {
    encoded_len_varint(value.cast_unsigned())
}

/// The beginning of a message or text of `len` bytes.
fn head(to: &mut impl BufMut, field: u32, len: usize) {
    encode_key(field, WireType::LengthDelimited, to);
    encode_varint(len as u64, to);
}

fn field_len(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}
