//! The search for a request's rule: what it costs does not grow with the rules, and it takes nothing
//! from the heap.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use authz_core::policy::{Chain, Found, Glob, Rule, Rules};
use authz_core::{DefaultDecision, Request};
use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest, attribute_context};

fn rules(patterns: impl Iterator<Item = (String, String)>) -> Rules {
    let rule = |(host, path): (String, String)| {
        Arc::new(Rule {
            name: String::new(),
            host: Glob::new(&host).unwrap(),
            path: Glob::new(&path).unwrap(),
            chain: Chain::Broken(String::new()),
            shadow: false,
            failure_mode_allow: false,
        })
    };
    Rules::new(patterns.map(rule).collect())
}

fn request(host: &str, path: &str) -> Request {
    let (host, path) = (host.to_owned(), path.to_owned());
    let http = attribute_context::HttpRequest { host, path, ..Default::default() };
    let request = attribute_context::Request { http: Some(http), time: None };
    let attributes = AttributeContext { request: Some(request), ..Default::default() };
    Request::from_check(CheckRequest { attributes: Some(attributes) }).unwrap()
}

/// The least of some runs, so that a busy machine does not count.
fn time(rules: &Rules, request: &Request) -> Duration {
    let run = || {
        let begun = Instant::now();
        for _ in 0..2_000 {
            let found = rules.find_index(request, DefaultDecision::Allow);
            assert!(matches!(found, Found::Rule(_)));
        }
        begun.elapsed()
    };
    (0..7).map(|_| run()).min().unwrap()
}

#[test]
fn ten_thousand_policies_cost_as_ten() {
    // On each host rules of every form.
    let on = |i: usize, hosts: usize| {
        let host = i % hosts;
        let path = match (i / hosts) % 4 {
            0 => format!("/v{i}/*"),
            1 => format!("/v{i}/exact"),
            2 => format!("/v{i}/*/items/?"),
            _ => format!("/v{i}/{{a,b}}"),
        };
        let host = if host.is_multiple_of(2) {
            format!("h{host}.test")
        } else {
            format!("*.h{host}.test")
        };
        (host, path)
    };
    let few = rules((0..10).map(|i| on(i, 1)));
    let few_time = time(&few, &request("h0.test", "/v4/some/where"));
    let many = rules((0..10_000).map(|i| on(i, 1_000)));
    let many_time = time(&many, &request("h0.test", "/v4000/some/where"));
    let suffix_time = time(&many, &request("a.h1.test", "/v1/some/where"));
    let one_host = rules((0..10_000).map(|i| on(i, 1)));
    let one_host_time = time(&one_host, &request("h0.test", "/v4/some/where"));
    println!(
        "2,000 searches: {few_time:?} of 10, {many_time:?} and {suffix_time:?} of 10,000 on 1,000 hosts, {one_host_time:?} of 10,000 on one"
    );
    // A look at each would cost a thousand times as much.
    for many in [many_time, suffix_time, one_host_time] {
        assert!(many < few_time * 8, "{many:?}, but {few_time:?} for ten");
    }
}

#[test]
fn the_search_takes_nothing_from_the_heap() {
    let rules = rules((0..100).map(|i| ("*.test".to_owned(), format!("/v{i}/*"))));
    for path in ["/v1/x", "/none", "/v1/%2e%2e/v2/x;p=1", "//v1\\x/../y"] {
        let request = request("a.test:80", path);
        let info = allocation_counter::measure(|| {
            std::hint::black_box(rules.find_index(&request, DefaultDecision::Allow));
        });
        assert_eq!(info.count_total, 0, "{path}");
    }
}
