use super::*;

fn shown(mapper: &Mapper, name: &str, kind: Kind) -> String {
    match mapper.map(name, kind) {
        None => "dropped".to_owned(),
        Some(m) => {
            let labels: Vec<String> = m.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("{}{{{}}}", m.name, labels.join(","))
        }
    }
}

#[test]
fn the_originals_mappings() {
    let mapper = Mapper::original(false);
    let of = |name: &str| shown(&mapper, name, Kind::Counter);
    let limit = "ratelimit.service.rate_limit";
    for (name, metric) in [
        (
            format!("{limit}.d.k.total_hits"),
            "ratelimit_service_rate_limit_total_hits{domain=d,key1=k}",
        ),
        (
            format!("{limit}.d.k.l.m.near_limit"),
            "ratelimit_service_rate_limit_near_limit{domain=d,key1=k,key2=l}",
        ),
        (
            format!("{limit}.d.k.l.over_limit_with_local_cache"),
            "ratelimit_service_rate_limit_d_k_l_over_limit_with_local_cache{}",
        ),
        (
            "ratelimit.service.call.should_rate_limit.redis_error".to_owned(),
            "ratelimit_service_should_rate_limit_error{err_type=redis_error}",
        ),
        (
            "ratelimit_server.ShouldRateLimit.total_requests".to_owned(),
            "ratelimit_service_total_requests{grpc_method=ShouldRateLimit}",
        ),
        ("ratelimit.service.config_load_error".to_owned(), "ratelimit_service_config_load_error{}"),
        ("ratelimit.redis_pool.cx_active".to_owned(), "ratelimit_redis_pool_cx_active{}"),
    ] {
        assert_eq!(of(&name), metric);
    }
}

#[test]
fn a_file_is_read_as_the_exporter_does() {
    let mapper = Mapper::read(
        r#"
defaults: {timer_type: histogram, buckets: [1, 2.5], match_type: glob}
mappings:
- {match: 'a.b.*', name: 'g_${1}_x', labels: {z: '$1', c: 'is $9.', a: 5}}
- {match: 'a.*.c', name: second, match_metric_type: gauge}
- {match: '^r-(.*)\.(?P<end>.*)$', match_type: regex, name: 'r_$1', labels: {end: '${end}'}, help: h}
- {match: 'no.*', name: n, action: drop}
- {match: 't.*', name: time, scale: 0.001, histogram_options: {buckets: [7]}}
- {match: 's.*', name: sum, observer_type: summary}
"#,
    )
    .unwrap();
    for (name, kind, metric) in [
        ("a.b.c", Kind::Counter, "g_c_x{a=5,c=is .,z=c}"),
        ("a.x.c", Kind::Gauge, "second{}"),
        ("a.x.c", Kind::Counter, "a_x_c{}"),
        ("r-1.2.e", Kind::Counter, "r_1_2{end=e}"),
        ("no.more", Kind::Counter, "dropped"),
        ("0--x.y-z", Kind::Gauge, "_0_x_y_z{}"),
    ] {
        assert_eq!(shown(&mapper, name, kind), metric, "{name}");
    }
    let observer = |name| mapper.map(name, Kind::Observer).unwrap().observer;
    assert_eq!(observer("t.x"), Observer::Histogram(vec![7.0]));
    assert_eq!(observer("s.x"), Observer::Summary);
    assert_eq!(observer("other"), Observer::Histogram(vec![1.0, 2.5]));
    assert_eq!(mapper.map("t.x", Kind::Observer).unwrap().scale, 0.001);
}

#[test]
fn what_is_not_supported_is_refused_with_its_line() {
    for (text, words) in [
        ("mappings:\n- {match: a, name: b, ttl: 1h}", "line 2: idle series end by themselves"),
        ("mappings:\n- {match: a, name: b, quantiles: []}", "line 2: quantiles are not supported"),
        ("defaults: {summary_options: {}}", "quantiles are not supported"),
        ("defaults: {glob_disable_ordering: true}", "glob_disable_ordering is not supported"),
        ("mappings:\n- {match: a, nam: b}", "nam is not known here"),
        ("mappings:\n- {match: a}", "it has no name"),
        ("mappings:\n- {name: a}", "it has no match"),
        ("mappings:\n- {match: '(', match_type: regex, name: a}", "match (:"),
        ("mappings:\n- {match: a, match_type: fuzzy, name: a}", "use glob or regex"),
        (
            "mappings:\n- {match: a, name: a, match_metric_type: set}",
            "use counter, gauge or observer",
        ),
        ("mappings:\n- {match: a, name: a, timer_type: gauge}", "use histogram or summary"),
        ("mappings:\n- {match: a, name: a, labels: {a-b: c}}", "a-b cannot be a label"),
        ("mappings:\n- {match: a, name: a, buckets: [2, 1]}", "buckets must grow"),
        ("mappings: {}", "must be a list"),
        ("- a", "this must be a map"),
        ("a: [", "line 2, column 1"),
    ] {
        let error = Mapper::read(text).unwrap_err();
        assert!(error.contains(words), "{text}: {error}");
    }
}
