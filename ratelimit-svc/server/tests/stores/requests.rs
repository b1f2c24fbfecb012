//! Requests and what stores say of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use proto::envoy::service::ratelimit::v3::RateLimitRequest;
use ratelimit_core::ratelimit_file::Domains;
use ratelimit_core::request::Request;
use ratelimit_core::resource::Resources;
use ratelimit_core::{Charge, Count, Counts, Kept, Limits, PlanOptions};
use ratelimit_svc::store::{Store, StoreError};

/// Twelve o'clock; a window of every unit up to an hour begins.
pub const NOON: Duration = Duration::from_secs(1_893_499_200);

const FILE: &str = "
domain: d
descriptors:
- {key: two, rate_limit: {unit: hour, requests_per_unit: 2}}
- {key: hundred, rate_limit: {unit: year, requests_per_unit: 100}}
- {key: many, rate_limit: {unit: hour, requests_per_unit: 4000000000}}
- {key: quick, rate_limit: {unit: second, requests_per_unit: 2}}
- {key: slide, rate_limit: {unit: minute, requests_per_unit: 10, algorithm: sliding_window}}
- {key: burst, rate_limit: {unit: hour, requests_per_unit: 2, burst_factor: 3}}
- {key: ten, rate_limit: {unit: minute, unit_multiplier: 10, requests_per_unit: 2}}
- {key: leased, rate_limit: {unit: hour, requests_per_unit: 1000, lease: 50}}
- {key: allow, rate_limit: {unit: hour, requests_per_unit: 2, on_store_error: allow}}
- {key: deny, rate_limit: {unit: hour, requests_per_unit: 2, on_store_error: deny}}
- {key: local, rate_limit: {unit: hour, requests_per_unit: 2, on_store_error: local}}
";

pub fn limits() -> Limits {
    let files = Domains::read(&BTreeMap::from([("f".to_owned(), FILE.to_owned())]), false).unwrap();
    Limits { files: Arc::new(files), resources: Resources::default() }
}

/// Key, value, hits (negative is a refund).
pub type Descriptor<'a> = (&'a str, &'a str, i64);

/// A request with descriptors of one entry each.
pub fn request(descriptors: &[Descriptor<'_>]) -> RateLimitRequest {
    let descriptor = |(key, value, hits): &Descriptor<'_>| RateLimitDescriptor {
        entries: vec![Entry { key: (*key).to_owned(), value: (*value).to_owned() }],
        hits_addend: Some(hits.unsigned_abs()),
        is_negative_hits: *hits < 0,
        ..RateLimitDescriptor::default()
    };
    RateLimitRequest {
        domain: "d".to_owned(),
        descriptors: descriptors.iter().map(descriptor).collect(),
        hits_addend: 0,
    }
}

pub fn charging(charge: Charge) -> PlanOptions {
    PlanOptions { charge, ..PlanOptions::default() }
}

pub async fn try_with(
    store: &Store,
    options: &PlanOptions,
    now: Duration,
    descriptors: &[Descriptor<'_>],
) -> Result<Counts, StoreError> {
    let (limits, message) = (limits(), request(descriptors));
    let plan = limits.plan(&Request::from(&message), options, now.as_secs()).unwrap();
    store.run(&plan, now).await
}

/// What is kept of the counters, without counting.
pub async fn read(
    store: &Store,
    now: Duration,
    descriptors: &[Descriptor<'_>],
) -> Vec<Option<Kept>> {
    let (limits, message) = (limits(), request(descriptors));
    let options = PlanOptions::default();
    let plan = limits.plan(&Request::from(&message), &options, now.as_secs()).unwrap();
    store.read(&plan, now).await.unwrap()
}

/// With the options of every installation, at noon.
pub async fn try_ask(
    store: &Store,
    descriptors: &[Descriptor<'_>],
) -> Result<Vec<u64>, StoreError> {
    try_with(store, &PlanOptions::default(), NOON, descriptors).await.map(|c| hits(&c))
}

pub async fn ask(store: &Store, descriptors: &[Descriptor<'_>]) -> Vec<u64> {
    try_ask(store, descriptors).await.unwrap()
}

pub async fn ask_at(store: &Store, now: Duration, descriptors: &[Descriptor<'_>]) -> Vec<u64> {
    hits(&try_with(store, &PlanOptions::default(), now, descriptors).await.unwrap())
}

pub const KNOWN_OVER: u64 = u64::MAX;

/// Of a window the count, of the others whether the hits were taken.
pub fn hits(counts: &[Count]) -> Vec<u64> {
    let hits = |count: &Count| match count {
        Count::Over => KNOWN_OVER,
        Count::Window { after } => *after,
        Count::Sliding { allowed, .. }
        | Count::Bucket { allowed, .. }
        | Count::Uncounted { allowed } => u64::from(*allowed),
    };
    counts.iter().map(hits).collect()
}
