use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use proptest::prelude::*;
use prost::Message as _;
use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use proto::envoy::service::ratelimit::v3::RateLimitRequest;
use serde_json::json;
use service_kit::Object;

use super::*;
use crate::limit::Unit;
use crate::plan::{Limits, PlanOptions};
use crate::ratelimit_file::Domains;
use crate::resource::{Resources, compile_object};

/// Limits and a store that only counts.
struct Service {
    limits: Limits,
    plan: PlanOptions,
    options: Options,
    counts: HashMap<Vec<u8>, u64>,
}

impl Service {
    fn of_file(text: &str) -> Self {
        let files = Domains::read(&BTreeMap::from([("f".to_owned(), text.to_owned())]), false);
        Self::new(Limits { files: Arc::new(files.unwrap()), resources: Resources::default() })
    }

    fn of_limits(limits: serde_json::Value) -> Self {
        let object = Object::from_json(json!({"apiVersion": "v1", "kind": "RateLimit",
            "metadata": {"name": "o", "namespace": "ns"}, "spec": {"domain": "d", "limits": limits}}));
        let (compiled, found) = compile_object(&object.unwrap());
        assert!(found.is_empty(), "{found:?}");
        let resources = Resources::new([&compiled.unwrap()], 0);
        Self::new(Limits { files: Arc::default(), resources })
    }

    fn new(limits: Limits) -> Self {
        Self {
            limits,
            plan: PlanOptions::default(),
            options: Options::default(),
            counts: HashMap::new(),
        }
    }

    /// `descriptors` as in `a=1,b=2 | c=3`.
    fn ask(&mut self, descriptors: &str, now: u64) -> RateLimitResponse {
        let entry = |e: &str| {
            let (key, value) = e.split_once('=').unwrap_or((e, ""));
            Entry { key: key.to_owned(), value: value.to_owned() }
        };
        let request = RateLimitRequest {
            domain: "d".to_owned(),
            descriptors: descriptors
                .split(" | ")
                .map(|d| RateLimitDescriptor {
                    entries: d.split(',').map(entry).collect(),
                    ..RateLimitDescriptor::default()
                })
                .collect(),
            hits_addend: 0,
        };
        let request = Request::from(&request);
        let plan = self.limits.plan(&request, &self.plan, now).unwrap();
        let counts: Vec<Count> = plan
            .counters
            .iter()
            .map(|c| {
                let count = self.counts.entry(plan.key(c).to_owned()).or_default();
                *count += c.hits;
                Count::Window { after: *count }
            })
            .collect();
        let now = Duration::from_secs(now);
        let decision = decide(&request, &plan, &counts, &self.options, now);
        let (mut bytes, message) = (Vec::new(), decision.message());
        decision.encode(&mut bytes);
        assert_eq!(bytes.len(), decision.encoded_len());
        assert_eq!(RateLimitResponse::decode(bytes.as_slice()).unwrap(), message);
        message
    }

    fn codes(&mut self, descriptors: &str) -> (bool, Vec<i32>) {
        let response = self.ask(descriptors, 30);
        let over = response.overall_code == i32::from(Code::OverLimit);
        (over, response.statuses.iter().map(|s| s.code).collect())
    }
}

const OK: i32 = Code::Ok as i32;
const OVER: i32 = Code::OverLimit as i32;

#[test]
fn quotas_are_over_only_together() {
    let mut s = Service::of_file(
        "domain: d\ndescriptors:\n- {key: q1, quota_mode: true, rate_limit: {unit: minute, requests_per_unit: 0}}\n- {key: q2, quota_mode: true, rate_limit: {unit: minute, requests_per_unit: 1}}\n",
    );
    assert_eq!(s.codes("q1=x | q2=x"), (false, vec![OVER, OK]));
    assert_eq!(s.codes("q1=x | q2=x"), (true, vec![OVER, OVER]));
    assert_eq!(s.codes("none=x | q1=x"), (true, vec![OK, OVER]));
    s.options.quota_mode = true;
    assert_eq!(s.codes("none=x | q1=x"), (false, vec![OK, OVER]));
}

#[test]
fn replaced_limits_are_not_counted() {
    let mut s = Service::of_file(
        "domain: d\ndescriptors:\n- {key: base, rate_limit: {name: base, unit: minute, requests_per_unit: 0}}\n- {key: vip, rate_limit: {unlimited: true, replaces: [{name: base}]}}\n",
    );
    assert_eq!(s.codes("base=1 | vip=1"), (false, vec![OK, OK]));
    assert!(s.counts.is_empty());
    assert_eq!(s.codes("base=1"), (true, vec![OVER]));
    let response = s.ask("vip=1", 0);
    assert_eq!(response.statuses[0].limit_remaining, u32::MAX);
    assert!(response.statuses[0].current_limit.is_none());
}

#[test]
fn patterns_cover_the_first_entries_and_the_longest_counts() {
    let mut s = Service::of_limits(json!([
        {"name": "short", "pattern": [{"a": "*"}], "rate": 0, "unit": "minute"},
        {"name": "any", "pattern": [{"a": "1"}, {"b": ""}], "rate": 9, "unit": "hour"},
        {"name": "exact", "pattern": [{"a": "1"}, {"b": "2", "c": "x"}], "rate": 9, "unit": "minute"},
    ]));
    let mut name = |d: &str| s.ask(d, 0).statuses[0].current_limit.clone().map(|l| l.name);
    assert_eq!(name("a=1").as_deref(), Some("short"));
    assert_eq!(name("a=1,b=3,z=1").as_deref(), Some("any"));
    assert_eq!(name("a=1,b=2").as_deref(), Some("exact"));
    assert_eq!(name("a=1,c=x").as_deref(), Some("exact"));
    assert_eq!(name("b=2,a=1"), None);
}

#[test]
fn the_strictest_of_equals_counts_across_units() {
    let mut s = Service::of_limits(json!([
        {"name": "hour", "pattern": [{"a": "1"}], "rate": 100, "unit": "hour"},
        {"name": "minute", "pattern": [{"a": "1"}], "rate": 2, "unit": "minute"},
    ]));
    assert_eq!(s.ask("a=1", 0).statuses[0].current_limit.as_ref().unwrap().name, "hour");
}

#[test]
fn a_refusal_says_when_to_come_back() {
    let mut s = Service::of_limits(json!([
        {"name": "dry", "pattern": [{"a": "1"}], "rate": 0, "unit": "hour", "action": "LogOnly"},
        {"name": "hard", "pattern": [{"b": "1"}], "rate": 0, "unit": "Minute",
         "injectResponseHeaders": [{"name": "x-code", "value": "{{ .RateLimitResponse.OverallCode }}"}],
         "errorResponse": {"headers": [{"name": "Content-Type", "value": "text/plain"}],
            "bodyTemplate": "{{ .RetryAfter }} {{ .status_code }}"}},
    ]));
    let response = s.ask("a=1 | b=1", 20);
    let headers: Vec<_> = response
        .response_headers_to_add
        .iter()
        .map(|h| (h.key.as_str(), h.value.as_str()))
        .collect();
    assert_eq!(headers, [("retry-after", "40"), ("x-code", "2"), ("content-type", "text/plain")]);
    assert_eq!(response.raw_body, "40s 429");
    let metadata = response.dynamic_metadata.unwrap().fields;
    assert_eq!(metadata["aes.ratelimit.name"], metadata::text("hard"));
    assert_eq!(metadata["aes.ratelimit.retry_after"], metadata::number(40.0));
    let dry = s.ask("a=1", 20);
    assert_eq!(dry.overall_code, OK);
    assert!(dry.response_headers_to_add.is_empty());
    assert_eq!(
        dry.dynamic_metadata.unwrap().fields["aes.ratelimit.action"],
        metadata::text("LogOnly")
    );
}

#[test]
fn the_header_is_of_the_limit_that_refuses() {
    let mut s = Service::of_file(
        "domain: d\ndescriptors:\n- {key: a, rate_limit: {unit: hour, requests_per_unit: 9}}\n- {key: b, rate_limit: {unit: minute, requests_per_unit: 0}}\n",
    );
    s.options.limit_headers = Some(["L".into(), "R".into(), "T".into()]);
    let response = s.ask("b=1 | a=1", 30);
    let values: Vec<_> =
        response.response_headers_to_add.iter().map(|h| h.value.as_str()).collect();
    assert_eq!(values, ["0", "0", "30"]);
}

#[test]
fn every_refusal_of_a_domain_with_objects_says_when_to_come_back() {
    use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::RateLimitOverride;
    let s = Service::of_limits(json!([
        {"pattern": [{"a": "1"}], "rate": 5, "unit": "minute",
         "injectRequestHeaders": [{"name": "x-bad", "value": "{{ index .RateLimitResponse.Statuses 9 }}"},
            {"name": "x-none", "value": "{{ doNotSet }}"}]},
    ]));
    let entry = |key: &str| vec![Entry { key: key.to_owned(), value: "1".to_owned() }];
    let own = RateLimitOverride {
        requests_per_unit: 1,
        unit: Unit::Hour.number(),
        unit_multiplier: None,
    };
    let request = RateLimitRequest {
        domain: "d".to_owned(),
        descriptors: vec![
            RateLimitDescriptor { entries: entry("a"), ..RateLimitDescriptor::default() },
            RateLimitDescriptor {
                entries: entry("z"),
                limit: Some(own),
                ..RateLimitDescriptor::default()
            },
        ],
        hits_addend: 0,
    };
    let request = Request::from(&request);
    let plan = s.limits.plan(&request, &s.plan, 3_000).unwrap();
    let counts = [Count::Window { after: 1 }, Count::Window { after: 2 }];
    let decision = decide(&request, &plan, &counts, &s.options, Duration::from_secs(3_000));
    let response = decision.message();
    let headers = &response.response_headers_to_add;
    assert_eq!((headers[0].key.as_str(), headers[0].value.as_str()), ("retry-after", "600"));
    assert!(response.request_headers_to_add.is_empty());
    assert_eq!(decision.failed_templates, 1);
}

#[test]
fn a_refund_is_never_over() {
    let s = Service::of_limits(json!([{"pattern": [{"a": "1"}], "rate": 0, "unit": "minute"}]));
    let request = RateLimitRequest {
        domain: "d".to_owned(),
        descriptors: vec![RateLimitDescriptor {
            entries: vec![Entry { key: "a".to_owned(), value: "1".to_owned() }],
            is_negative_hits: true,
            ..RateLimitDescriptor::default()
        }],
        hits_addend: 3,
    };
    let request = Request::from(&request);
    let plan = s.limits.plan(&request, &s.plan, 0).unwrap();
    assert!(plan.counters[0].refund && plan.counters[0].hits == 3);
    let decision =
        decide(&request, &plan, &[Count::Window { after: 7 }], &s.options, Duration::ZERO);
    assert_eq!(decision.code, Code::Ok);
}

#[test]
fn clients_are_told_by_standard_headers() {
    let mut s = Service::of_file(
        "domain: d\ndescriptors:\n- {key: a, rate_limit: {name: per-user, unit: minute, requests_per_unit: 10}}\n- {key: b, rate_limit: {unit: minute, unit_multiplier: 10, requests_per_unit: 3}}\n",
    );
    let mut headers = |standard_headers| -> Vec<(String, String)> {
        s.options.standard_headers = standard_headers;
        let response = s.ask("a=1 | b=1", 90);
        response.response_headers_to_add.into_iter().map(|h| (h.key, h.value)).collect()
    };
    let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    let draft = [
        ("x-ratelimit-limit", "3, 10;w=60;name=\"per-user\", 3;w=600"),
        ("x-ratelimit-remaining", "2"),
        ("x-ratelimit-reset", "510"),
    ];
    assert_eq!(headers(StandardHeaders::Draft03), own(&draft));
    let ietf = [
        ("ratelimit-policy", "\"per-user\";q=10;w=60, \"limit-2\";q=3;w=600"),
        ("ratelimit", "\"limit-2\";r=1;t=510"),
    ];
    assert_eq!(headers(StandardHeaders::Ietf), own(&ietf));
    assert_eq!(headers(StandardHeaders::Off), []);
}

#[test]
fn what_the_store_did_not_count_is_decided_by_the_limit() {
    let s = Service::of_file(
        "domain: d\ndescriptors: [{key: a, rate_limit: {unit: minute, requests_per_unit: 4}}]\n",
    );
    let message = RateLimitRequest {
        domain: "d".to_owned(),
        descriptors: vec![RateLimitDescriptor {
            entries: vec![Entry { key: "a".to_owned(), value: "1".to_owned() }],
            ..RateLimitDescriptor::default()
        }],
        hits_addend: 0,
    };
    let request = Request::from(&message);
    let plan = s.limits.plan(&request, &s.plan, 0).unwrap();
    for (allowed, code, remaining) in [(true, Code::Ok, 4), (false, Code::OverLimit, 0)] {
        let counts = [Count::Uncounted { allowed }];
        let decision = decide(&request, &plan, &counts, &s.options, Duration::ZERO);
        let status = decision.message().statuses.remove(0);
        assert_eq!((decision.code, status.limit_remaining), (code, remaining));
    }
}

proptest! {
    /// The law of the fixed window: a request is over exactly when the sum is, and a new window
    /// starts at zero.
    #[test]
    fn a_window_admits_its_limit(limit in 0_u64..20, times in prop::collection::vec(0_u64..180, 1..60)) {
        let file = format!("domain: d\ndescriptors:\n- {{key: a, rate_limit: {{unit: minute, requests_per_unit: {limit}}}}}\n");
        let mut s = Service::of_file(&file);
        let mut times = times;
        times.sort_unstable();
        let (mut window, mut sum) = (0, 0);
        for now in times {
            if now / 60 != window {
                (window, sum) = (now / 60, 0);
            }
            sum += 1;
            let status = s.ask("a=1", now).statuses.remove(0);
            prop_assert_eq!(status.code == OVER, sum > limit);
            prop_assert_eq!(u64::from(status.limit_remaining), limit.saturating_sub(sum));
            prop_assert_eq!(status.duration_until_reset.map(|d| d.seconds), Some(60 - (now % 60) as i64));
        }
    }
}
