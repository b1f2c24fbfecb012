use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use proptest::prelude::*;
use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
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
    counts: HashMap<String, u64>,
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
        decide(&request, &plan, &counts, &self.options, now).response
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
    let own = RateLimitOverride { requests_per_unit: 1, unit: Unit::Hour.number() };
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
    let plan = s.limits.plan(&request, &s.plan, 3_000).unwrap();
    let counts = [Count::Window { after: 1 }, Count::Window { after: 2 }];
    let decision = decide(&request, &plan, &counts, &s.options, 3_000);
    let headers = &decision.response.response_headers_to_add;
    assert_eq!((headers[0].key.as_str(), headers[0].value.as_str()), ("retry-after", "600"));
    assert!(decision.response.request_headers_to_add.is_empty());
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
    let plan = s.limits.plan(&request, &s.plan, 0).unwrap();
    assert!(plan.counters[0].refund && plan.counters[0].hits == 3);
    let response = decide(&request, &plan, &[Count::Window { after: 7 }], &s.options, 0).response;
    assert_eq!(response.overall_code, OK);
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
