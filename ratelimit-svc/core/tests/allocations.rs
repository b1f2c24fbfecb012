//! What every request does takes nothing from the heap: to read it, to plan it, to decide on it, to
//! write the answer.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use prost::Message as _;
use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::{
    Entry, RateLimitOverride,
};
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use ratelimit_core::algorithm::sliding_window::Hits;
use ratelimit_core::ratelimit_file::Domains;
use ratelimit_core::request::Request;
use ratelimit_core::resource::{Resources, compile_object};
use ratelimit_core::{Count, CounterKind, Counts, Limits, Options, PlanOptions, decide};
use serde_json::json;
use service_kit::Object;

const FILE: &str = "
domain: d
descriptors:
- key: tenant
  descriptors:
  - {key: user, rate_limit: {name: per-user, unit: hour, requests_per_unit: 4, replaces: [{name: base}]}}
- {key: path, value: 'files/*', share_threshold: true, rate_limit: {unit: day, requests_per_unit: 4}}
- {key: slide, rate_limit: {unit: minute, requests_per_unit: 4, algorithm: sliding_window}}
- {key: bucket, rate_limit: {unit: minute, requests_per_unit: 4, burst_factor: 2}}
- {key: base, rate_limit: {name: base, unit: hour, requests_per_unit: 4}}
";

fn limits() -> Limits {
    let files = Domains::read(&BTreeMap::from([("f".to_owned(), FILE.to_owned())]), false).unwrap();
    let object = json!({"apiVersion": "v1", "kind": "RateLimit", "metadata": {"name": "o"},
        "spec": {"domain": "d", "limits": [
            {"pattern": [{"object": "*"}], "rate": 2, "unit": "hour"},
            {"pattern": [{"object": "x"}, {"more": "*"}], "rate": 2, "unit": "hour"}]}});
    let (object, _) = compile_object(&Object::from_json(object).unwrap());
    let resources = Resources::new([&object.unwrap()], files.limit_count());
    Limits { files: Arc::new(files), resources }
}

fn descriptor(entries: &[(&str, &str)]) -> RateLimitDescriptor {
    let entry = |(key, value): &(&str, &str)| Entry { key: (*key).into(), value: (*value).into() };
    let entries = entries.iter().map(entry).collect();
    RateLimitDescriptor { entries, ..RateLimitDescriptor::default() }
}

/// Bytes of a request with those descriptors.
fn request(descriptors: Vec<RateLimitDescriptor>) -> Vec<u8> {
    RateLimitRequest { domain: "d".into(), descriptors, hits_addend: 0 }.encode_to_vec()
}

fn count(kind: CounterKind) -> Count {
    match kind {
        CounterKind::Window { .. } => Count::Window { after: 5 },
        CounterKind::Sliding(_) => Count::Sliding { allowed: true, hits: Hits::default() },
        CounterKind::Bucket { .. } => Count::Bucket { allowed: false, tokens: 0.5 },
    }
}

#[test]
fn a_request_takes_nothing_from_the_heap() {
    let (limits, plan_options, options) = (limits(), PlanOptions::default(), Options::default());
    let own = RateLimitDescriptor {
        limit: Some(RateLimitOverride { requests_per_unit: 7, unit: 2, unit_multiplier: Some(3) }),
        ..descriptor(&[("own", "1")])
    };
    let requests = [
        request(vec![descriptor(&[("tenant", "a-tenant"), ("user", "somebody@example.com")])]),
        request(vec![descriptor(&[("path", "files/of/mine")]), descriptor(&[("slide", "x")])]),
        request(vec![own, descriptor(&[("bucket", "x")]), descriptor(&[("nothing", "")])]),
        request(vec![descriptor(&[("base", "x")]), descriptor(&[("tenant", "t"), ("user", "u")])]),
        request(vec![descriptor(&[("unknown", "x"), ("to", "all")])]),
        // A limit of an object that is not over; one that is says when to come back, by a header.
        request(vec![descriptor(&[("object", "y"), ("more", "z")])]),
    ];
    let mut answer = Vec::with_capacity(4096);
    for bytes in &requests {
        let mut answer_it = |over: bool| {
            let request = Request::decode(bytes).unwrap();
            let plan = limits.plan(&request, &plan_options, 1_893_499_200).unwrap();
            let counts: Counts = plan
                .counters
                .iter()
                .map(|c| if over { count(c.kind) } else { Count::Uncounted { allowed: true } })
                .collect();
            let now = Duration::from_secs(1_893_499_200);
            let decision = decide(&request, &plan, &counts, &options, now);
            answer.clear();
            decision.encode(&mut answer);
        };
        // What is shared by all requests comes to be with the first.
        answer_it(false);
        let taken = measure(|| answer_it(false));
        assert_eq!(taken.count_total, 0, "{:?}", RateLimitRequest::decode(bytes.as_slice()));
        assert!(RateLimitResponse::decode(answer.as_slice()).is_ok());
    }
    // Of the files' limits those that are over, too.
    for bytes in &requests[..2] {
        let request = Request::decode(bytes).unwrap();
        let files = Limits { files: limits.files.clone(), resources: Resources::default() };
        let taken = measure(|| {
            let plan = files.plan(&request, &plan_options, 1_893_499_200).unwrap();
            let counts: Counts = plan.counters.iter().map(|c| count(c.kind)).collect();
            let now = Duration::from_secs(1_893_499_200);
            let decision = decide(&request, &plan, &counts, &options, now);
            answer.clear();
            decision.encode(&mut answer);
        });
        assert_eq!(taken.count_total, 0);
        assert_eq!(RateLimitResponse::decode(answer.as_slice()).unwrap().overall_code, 2);
    }
}
