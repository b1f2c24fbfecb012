use super::*;

const HITS: &str = "ratelimit.service.rate_limit.d.k";

fn page(tags: &[(&str, &str)]) -> Page {
    let tags: Vec<_> = tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Page::new(Mapper::original(false), Tags::new(&tags))
}

/// Lines that are no comments.
fn lines(page: &mut Page, all: &[(String, Value)], times: &[u64]) -> Vec<String> {
    let all = all.iter().map(|(name, value)| (name.as_str().into(), *value)).collect();
    let text = page.render(&all, times);
    text.lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect()
}

fn counters(all: &[(&str, u64)]) -> Vec<(String, Value)> {
    all.iter().map(|(end, n)| (format!("{HITS}{end}"), Value::Counter(*n))).collect()
}

#[test]
fn a_series_of_several_names_never_falls() {
    let mut page = page(&[]);
    let total = r#"ratelimit_service_rate_limit_total_hits{domain="d",key1="k",key2="e"}"#;
    let three = [(".e.total_hits", 1), (".e.x.total_hits", 2), (".e.y.total_hits", 4)];
    assert_eq!(lines(&mut page, &counters(&three), &[]), [format!("{total} 7")]);
    assert_eq!(lines(&mut page, &counters(&three[..2]), &[]), [format!("{total} 7")]);
    let back = [(".e.total_hits", 2), (".e.x.total_hits", 2), (".e.y.total_hits", 1)];
    assert_eq!(lines(&mut page, &counters(&back), &[]), [format!("{total} 9")]);
    assert_eq!(lines(&mut page, &[], &[]), [] as [&str; 0]);
}

#[test]
fn nothing_is_shown_before_it_counted() {
    let mut page = page(&[]);
    assert_eq!(lines(&mut page, &counters(&[(".total_hits", 0)]), &[0, 0]), [] as [&str; 0]);
}

#[test]
fn tags_are_labels() {
    let mut page = page(&[("zone", "a"), ("app-name", "b")]);
    let all = [counters(&[(".total_hits", 1)]), vec![("x.y".to_owned(), Value::Gauge(3))]].concat();
    assert_eq!(
        lines(&mut page, &all, &[]),
        [
            r#"ratelimit_service_rate_limit_total_hits{app_name="b",domain="d",key1="k",zone="a"} 1"#,
            r#"x_y{app_name="b",zone="a"} 3"#,
        ]
    );
}

#[test]
fn values_are_escaped() {
    let mut page = page(&[]);
    let all = counters(&[("_\"a\\b\".total_hits", 1)]);
    assert_eq!(
        lines(&mut page, &all, &[]),
        [r#"ratelimit_service_rate_limit_total_hits{domain="d",key1="k_\"a\\b\""} 1"#]
    );
}

#[test]
fn times_are_seconds_in_buckets() {
    let mut times = vec![0; 100];
    (times[0], times[5], times[6], times[70]) = (3, 1, 2, 1);
    let lines = lines(&mut page(&[]), &[], &times);
    let name = "ratelimit_service_response_time_seconds";
    for line in [
        format!(r#"{name}_bucket{{grpc_method="ShouldRateLimit",le="0.005"}} 4"#),
        format!(r#"{name}_bucket{{grpc_method="ShouldRateLimit",le="0.01"}} 6"#),
        format!(r#"{name}_bucket{{grpc_method="ShouldRateLimit",le="0.1"}} 7"#),
        format!(r#"{name}_bucket{{grpc_method="ShouldRateLimit",le="10"}} 7"#),
        format!(r#"{name}_count{{grpc_method="ShouldRateLimit"}} 7"#),
    ] {
        assert!(lines.contains(&line), "no {line} in {lines:#?}");
    }
    let sum = lines.iter().find(|l| l.contains("_sum")).unwrap();
    let sum: f64 = sum.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((sum - 0.087).abs() < 1e-9, "{sum}");
}

#[test]
fn milliseconds_can_be_kept() {
    let mut page = Page::new(Mapper::original(true), Tags::default());
    let lines = lines(&mut page, &[], &[0, 0, 2]);
    assert!(lines.iter().any(|l| l.ends_with("le=\"2.5\"} 2")), "{lines:#?}");
    assert!(lines.iter().any(|l| l.contains("_sum") && l.ends_with(" 4")), "{lines:#?}");
}

#[test]
fn two_kinds_of_one_name_are_not_mixed() {
    let mut page = page(&[]);
    let all = [("a.b".to_owned(), Value::Counter(1)), ("a_b".to_owned(), Value::Gauge(2))];
    assert_eq!(lines(&mut page, &all, &[]), ["a_b 1"]);
}
