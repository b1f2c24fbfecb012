use std::collections::BTreeMap;

use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use proto::envoy::service::ratelimit::v3::RateLimitRequest;
use ratelimit_core::PlanOptions;
use ratelimit_core::ratelimit_file::Domains;
use ratelimit_core::resource::Resources;

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
        let metrics = Limits::register(&mut registry, true);
        let limits = limits(text);
        let handles = metrics.of_limits(&limits);
        Self { registry, metrics, limits, handles }
    }

    fn count(&self, request: &RateLimitRequest, count: Count) {
        let plan = self
            .limits
            .plan(&ratelimit_core::request::Request::from(request), &PlanOptions::default(), 0)
            .unwrap();
        self.metrics.count(&self.handles, &plan, &[count], 0.8);
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
