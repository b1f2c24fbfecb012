use super::*;

#[test]
fn outcomes_have_the_names_of_the_original() {
    let metrics = Metrics::register(&mut Registry::default(), true, Naming::default());
    for outcome in [Outcome::Ok, Outcome::OverLimit, Outcome::Refused, Outcome::StoreFailed] {
        metrics.answered(outcome, Duration::from_millis(1));
    }
    metrics.answered(Outcome::StoreFailed, Duration::ZERO);
    metrics.loaded(true);
    metrics.kept();
    metrics.global_shadow_mode.inc();
    metrics.files.read(3);
    metrics.files.failed();
    let lines = metrics.lines();
    let lines: Vec<&str> = lines.lines().filter(|l| !l.contains("._request.")).collect();
    assert_eq!(
        lines,
        [
            "ratelimit.service.call.should_rate_limit.redis_error: 2",
            "ratelimit.service.call.should_rate_limit.service_error: 1",
            "ratelimit.service.config_load_error: 1",
            "ratelimit.service.config_load_success: 1",
            "ratelimit.service.global_shadow_mode: 1",
            "ratelimit_server.ShouldRateLimit.total_requests: 5",
            "runtime.load_attempts: 2",
            "runtime.load_failures: 1",
            "runtime.num_values: 3",
        ]
    );
}

#[test]
fn a_request_that_nobody_waits_for_counts_too() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry, true, Naming::default());
    drop(metrics.asked());
    metrics.asked().ended(Outcome::Ok);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for outcome in ["cancelled", "ok"] {
        let line = format!(r#"ratelimit_requests_total{{outcome="{outcome}"}} 1"#);
        assert!(text.contains(&line), "no {line} in\n{text}");
    }
    assert!(metrics.lines().contains("ratelimit_server.ShouldRateLimit.total_requests: 2"));
}

#[test]
fn names_of_our_own_stay_as_they_are() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry, true, Naming::default());
    metrics.answered(Outcome::OverLimit, Duration::from_micros(70));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        r#"ratelimit_requests_total{outcome="over_limit"} 1"#,
        r#"ratelimit_response_seconds_bucket{le="0.00005"} 0"#,
        r#"ratelimit_response_seconds_bucket{le="0.0001"} 1"#,
        r#"ratelimit_total_hits_total{domain="",limit="(request)"} 0"#,
    ] {
        assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
    }
}
