use std::collections::BTreeMap;

use proptest::prelude::*;
use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::{
    Entry, RateLimitOverride,
};
use proto::envoy::service::ratelimit::v3::RateLimitRequest;

use super::*;

const FILE: &str = "
domain: d
descriptors:
- {key: a, rate_limit: {unit: hour, requests_per_unit: 4}}
- key: s
  value: t*
  share_threshold: true
  descriptors: [{key: u, rate_limit: {unit: minute, requests_per_unit: 1}}]
";

fn limits() -> Limits {
    let files = Domains::read(&BTreeMap::from([("f".to_owned(), FILE.to_owned())]), false).unwrap();
    Limits { files: Arc::new(files), resources: Resources::default() }
}

fn request(entries: &[(&str, &str)]) -> RateLimitRequest {
    let entry = |(key, value): &(&str, &str)| Entry { key: (*key).into(), value: (*value).into() };
    let descriptor = RateLimitDescriptor {
        entries: entries.iter().map(entry).collect(),
        ..RateLimitDescriptor::default()
    };
    RateLimitRequest { domain: "d".into(), descriptors: vec![descriptor], hits_addend: 0 }
}

fn key(entries: &[(&str, &str)]) -> Option<String> {
    let limits = limits();
    let request = request(entries);
    let plan = limits.plan(&Request::from(&request), &PlanOptions::default(), 3_700).unwrap();
    plan.counters.first().map(|c| String::from_utf8(plan.key(c).to_owned()).unwrap())
}

#[test]
fn keys_are_those_of_envoyproxy_ratelimit() {
    assert_eq!(key(&[("a", "1")]).as_deref(), Some("d_a_1_3600"));
    assert_eq!(key(&[("a", "")]).as_deref(), Some("d_a__3600"));
    assert_eq!(key(&[("s", "t9"), ("u", "x")]).as_deref(), Some("d_s_t*_u_x_3660"));
    assert_eq!(key(&[("a", "1"), ("b", "2")]), None);
}

#[test]
fn a_request_that_is_wrong_says_why() {
    let limits = limits();
    let plan = |request: &RateLimitRequest| {
        limits.plan(&Request::from(request), &PlanOptions::default(), 0).map(|_| ()).unwrap_err()
    };
    let mut wrong = request(&[("a", "1")]);
    wrong.descriptors[0].limit = Some(RateLimitOverride::default());
    assert_eq!(plan(&wrong), PlanError::OverrideUnit);
    wrong.descriptors[0].limit = None;
    wrong.descriptors[0].entries[0].value = "x".repeat(MAX_KEY);
    assert_eq!(plan(&wrong), PlanError::KeyTooLong);
    wrong.descriptors = vec![RateLimitDescriptor::default(); MAX_DESCRIPTORS + 1];
    assert_eq!(plan(&wrong), PlanError::TooManyDescriptors);
    wrong.descriptors.clear();
    assert_eq!(plan(&wrong), PlanError::NoDescriptors);
    wrong.domain.clear();
    assert_eq!(plan(&wrong), PlanError::EmptyDomain);
}

#[test]
fn hits_are_the_descriptors_own_or_the_requests_and_bounded() {
    let limits = limits();
    let hits = |own: Option<u64>, of_request: u32| {
        let mut request = request(&[("a", "1")]);
        request.hits_addend = of_request;
        request.descriptors[0].hits_addend = own;
        limits.plan(&Request::from(&request), &PlanOptions::default(), 0).unwrap().counters[0].hits
    };
    assert_eq!([hits(None, 0), hits(None, 5), hits(Some(0), 5), hits(Some(2), 5)], [1, 5, 0, 2]);
    assert_eq!(hits(Some(u64::MAX), 0), MAX_HITS);
}

#[test]
fn without_limits_of_the_domain_nothing_is_wrong() {
    let limits = limits();
    let mut request = request(&[("a", "1")]);
    request.domain = "other".into();
    let plan = limits.plan(&Request::from(&request), &PlanOptions::default(), 0).unwrap();
    assert!(!plan.domain_is_known && plan.counters.is_empty());
    assert_eq!(plan.descriptors.len(), 1);
}

proptest! {
    #[test]
    fn every_request_has_one_answer_for_each_descriptor(
        entries in prop::collection::vec(("[asu]{0,2}", "[t*1]{0,3}"), 0..4), now in 0_u64..5_000_000_000,
    ) {
        let entries: Vec<_> = entries.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let (limits, request) = (limits(), request(&entries));
        let plan = limits.plan(&Request::from(&request), &PlanOptions::default(), now).unwrap();
        let again = limits.plan(&Request::from(&request), &PlanOptions::default(), now).unwrap();
        prop_assert_eq!(plan.descriptors.len(), 1);
        prop_assert_eq!(&*plan.keys, &*again.keys);
    }
}

#[test]
fn a_descriptors_own_window_may_have_several_units() {
    let limits = limits();
    let mut request = request(&[("a", "1")]);
    request.descriptors[0].limit = Some(RateLimitOverride {
        requests_per_unit: 1,
        unit: Unit::Minute.number(),
        unit_multiplier: Some(10),
    });
    let request = Request::from(&request);
    let plan = limits.plan(&request, &PlanOptions::default(), 3_700).unwrap();
    assert_eq!(plan.key(&plan.counters[0]), b"d_a_1_3600");
    assert_eq!(plan.counters[0].kind.seconds(), 600);
}
