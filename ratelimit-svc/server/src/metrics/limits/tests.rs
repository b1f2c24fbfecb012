use std::collections::BTreeMap;

use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::{
    Entry, RateLimitOverride,
};
use proto::envoy::service::ratelimit::v3::RateLimitRequest;
use ratelimit_core::PlanOptions;
use ratelimit_core::ratelimit_file::Domains;
use ratelimit_core::resource::Resources;

use std::time::Duration;

use super::table::{IDLE, MAX_BY_VALUE};
use super::*;

fn limits(text: &str) -> ratelimit_core::Limits {
    let files = BTreeMap::from([("f".to_owned(), text.to_owned())]);
    let files = Arc::new(Domains::read(&files, false).unwrap());
    let resources = Resources::new([], files.limit_count());
    ratelimit_core::Limits { files, resources }
}

fn request(key: &str, value: &str, hits: u32) -> RateLimitRequest {
    let entry = Entry { key: key.to_owned(), value: value.to_owned() };
    let descriptor = RateLimitDescriptor { entries: vec![entry], ..RateLimitDescriptor::default() };
    RateLimitRequest { domain: "d".to_owned(), descriptors: vec![descriptor], hits_addend: hits }
}

/// A registry, and one request after another whose counters stand at `after`.
struct Service {
    registry: Registry,
    metrics: Limits,
    limits: ratelimit_core::Limits,
    handles: Vec<LimitMetrics>,
}

impl Service {
    fn new(text: &str) -> Self {
        let mut registry = Registry::default();
        let metrics = Limits::register(&mut registry, true, Naming::default());
        let limits = limits(text);
        let handles = metrics.of_limits(&limits);
        Self { registry, metrics, limits, handles }
    }

    fn count(&self, request: &RateLimitRequest, count: Count) {
        let asked = Request::from(request);
        let plan = self.limits.plan(&asked, &PlanOptions::default(), 0).unwrap();
        self.metrics.count(&self.handles, &asked, &plan, &[count], 0.8);
    }

    /// Statistics of envoyproxy/ratelimit that are not zero.
    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        self.metrics.visit(&mut |name, value| {
            if value.number() > 0 {
                let name = name.strip_prefix("ratelimit.service.rate_limit.").unwrap();
                names.push(format!("{name}: {}", value.number()));
            }
        });
        names.sort();
        names
    }

    /// Lines that are not zero, as in `total_hits{k} 3`.
    fn lines(&self) -> Vec<String> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let mut lines: Vec<String> = text
            .lines()
            .filter(|l| !l.starts_with('#') && !l.ends_with(" 0"))
            .map(|l| {
                l.replace("ratelimit_", "")
                    .replace("_total{domain=\"d\",limit=\"", "{")
                    .replace("\"}", "}")
            })
            .collect();
        lines.sort();
        lines
    }
}

const FILE: &str = "domain: d
descriptors:
- {key: k, rate_limit: {unit: minute, requests_per_unit: 10}}
- {key: s, shadow_mode: true, rate_limit: {unit: minute, requests_per_unit: 1}}
- {key: v, detailed_metric: true, rate_limit: {unit: minute, requests_per_unit: 10}}
";

#[test]
fn hits_are_split_as_the_original_does() {
    let s = Service::new(FILE);
    s.count(&request("k", "1", 3), Count::Window { after: 9 });
    assert_eq!(s.lines(), ["near_limit{k} 1", "total_hits{k} 3", "within_limit{k} 3"]);
    s.count(&request("k", "1", 5), Count::Window { after: 14 });
    assert_eq!(
        s.lines(),
        ["near_limit{k} 2", "over_limit{k} 4", "total_hits{k} 8", "within_limit{k} 3"]
    );
    s.count(&request("k", "1", 2), Count::Over);
    assert!(s.lines().contains(&"over_limit_with_local_cache{k} 2".to_owned()));
    s.count(&request("s", "1", 1), Count::Window { after: 2 });
    assert!(s.lines().contains(&"shadow_mode{s} 1".to_owned()));
}

#[test]
fn values_are_named_only_where_asked_for_and_bounded() {
    let s = Service::new(FILE);
    for i in 0..MAX_BY_VALUE + 5 {
        s.count(&request("v", &i.to_string(), 1), Count::Window { after: 1 });
    }
    let lines = s.lines();
    assert!(lines.contains(&"total_hits{v_7} 1".to_owned()));
    assert!(lines.contains(&"total_hits{v} 5".to_owned()));
    assert_eq!(lines.iter().filter(|l| l.starts_with("total_hits")).count(), MAX_BY_VALUE + 1);
    assert!(lines.iter().any(|l| l.starts_with("metrics_overflow") && l.ends_with(" 5")));
}

#[test]
fn a_limit_in_shadow_mode_counts_only_what_is_over() {
    let s = Service::new(FILE);
    s.count(&request("s", "1", 3), Count::Window { after: 3 });
    assert!(s.names().contains(&"d.s.shadow_mode: 2".to_owned()), "{:?}", s.names());
    s.count(&request("s", "1", 3), Count::Over);
    assert!(s.names().contains(&"d.s.shadow_mode: 5".to_owned()), "{:?}", s.names());
}

#[test]
fn hits_that_are_given_back_count_apart() {
    let s = Service::new(FILE);
    let mut refund = request("k", "1", 2);
    refund.descriptors[0].is_negative_hits = true;
    s.count(&refund, Count::Window { after: 1 });
    assert_eq!(s.names(), ["d.k.total_negative_hits: 2"]);
}

#[test]
fn a_bucket_counts_as_a_window_does() {
    let bucket =
        ratelimit_core::algorithm::token_bucket::Bucket { capacity: 10.0, per_second: 1.0 };
    let kind = CounterKind::Bucket { bucket, seconds: 60 };
    let s = Service::new(FILE);
    let message = request("k", "1", 3);
    let asked = Request::from(&message);
    let mut plan = s.limits.plan(&asked, &PlanOptions::default(), 0).unwrap();
    plan.counters[0].kind = kind;
    for (allowed, tokens) in [(true, 7.0), (true, 1.0), (false, 1.0)] {
        let count = [Count::Bucket { allowed, tokens }];
        s.metrics.count(&s.handles, &asked, &plan, &count, 0.8);
    }
    assert_eq!(
        s.names(),
        ["d.k.near_limit: 1", "d.k.over_limit: 3", "d.k.total_hits: 9", "d.k.within_limit: 6"]
    );
}

#[test]
fn a_limit_of_the_request_is_named_by_its_values() {
    let s = Service::new(FILE);
    let mut own = request("z", "9", 1);
    own.descriptors[0].entries.push(Entry { key: "e".to_owned(), value: String::new() });
    own.descriptors[0].limit =
        Some(RateLimitOverride { requests_per_unit: 2, unit: 1, unit_multiplier: None });
    s.count(&own, Count::Window { after: 1 });
    assert_eq!(s.names(), ["d.z_9.e.total_hits: 1", "d.z_9.e.within_limit: 1"]);
    own.descriptors[0].entries[0].value = "x".repeat(MAX_NAME);
    s.count(&own, Count::Window { after: 1 });
    assert!(s.names().contains(&"_request.total_hits: 1".to_owned()), "{:?}", s.names());
}

#[test]
fn a_domain_without_limits_counts_descriptors() {
    let s = Service::new(FILE);
    let mut unknown = request("k", "1", 1);
    unknown.domain = "no.pe".to_owned();
    unknown.descriptors.push(unknown.descriptors[0].clone());
    s.count(&unknown, Count::Window { after: 1 });
    assert_eq!(s.names(), ["no.pe.domain_not_found: 2"]);
}

#[test]
fn names_of_requests_are_forgotten_when_idle() {
    let s = Service::new(FILE);
    let hit = |value| s.count(&request("v", value, 1), Count::Window { after: 1 });
    let start = Instant::now();
    hit("busy");
    hit("idle");
    s.count(&request("k", "1", 1), Count::Window { after: 1 });
    s.metrics.sweep(start);
    hit("busy");
    s.metrics.sweep(start + IDLE - Duration::from_secs(1));
    assert!(s.names().contains(&"d.v_idle.total_hits: 1".to_owned()));
    s.metrics.sweep(start + IDLE);
    let names = s.names();
    assert!(!names.iter().any(|n| n.contains("v_idle")), "{names:?}");
    assert!(names.contains(&"d.v_busy.total_hits: 2".to_owned()));
    assert!(names.contains(&"d.k.total_hits: 1".to_owned()), "limits in force stay");
}

#[test]
fn what_a_limit_counted_last_can_still_be_sent_when_it_is_gone() {
    let mut s = Service::new(FILE);
    s.count(&request("k", "1", 1), Count::Window { after: 1 });
    s.handles = s.metrics.of_limits(&limits("domain: d\n"));
    assert!(s.names().contains(&"d.k.total_hits: 1".to_owned()));
    s.handles = s.metrics.of_limits(&s.limits);
    s.count(&request("k", "1", 1), Count::Window { after: 2 });
    assert!(s.names().contains(&"d.k.total_hits: 2".to_owned()), "it goes on when it is back");
}

#[test]
fn series_that_look_the_same_are_one() {
    let file = "domain: d
descriptors:
- {key: a.b, rate_limit: {unit: minute, requests_per_unit: 9}}
- {key: a, descriptors: [{key: b, rate_limit: {unit: minute, requests_per_unit: 9}}]}
";
    let s = Service::new(file);
    s.count(&request("a.b", "1", 2), Count::Window { after: 2 });
    let mut deep = request("a", "1", 1);
    deep.descriptors[0].entries.push(Entry { key: "b".to_owned(), value: "1".to_owned() });
    s.count(&deep, Count::Window { after: 1 });
    assert_eq!(s.lines(), ["total_hits{a.b} 3", "within_limit{a.b} 3"]);
}

#[test]
fn counters_go_on_over_a_reload_and_end_with_their_limit() {
    let mut s = Service::new(FILE);
    s.count(&request("k", "1", 1), Count::Window { after: 1 });
    s.handles = s.metrics.of_limits(&s.limits);
    s.count(&request("k", "1", 1), Count::Window { after: 2 });
    assert!(s.lines().contains(&"total_hits{k} 2".to_owned()));
    s.handles = s.metrics.of_limits(&limits("domain: d\n"));
    assert_eq!(s.lines(), [] as [&str; 0]);
}
