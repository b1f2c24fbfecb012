use crate::OnStoreError;
use crate::algorithm::Algorithm;
use std::collections::BTreeMap;

use super::super::{Domains, LEVEL};
use crate::limit::Unit;

fn read(text: &str) -> Result<Domains, String> {
    Domains::read(&BTreeMap::from([("f".to_owned(), text.to_owned())]), false)
}

fn one(limit: &str) -> String {
    format!("domain: d\ndescriptors:\n- key: a\n  rate_limit: {limit}\n")
}

#[test]
fn refuses_with_the_words_of_the_original() {
    for (text, words) in [
        ("", "f: config file cannot have empty domain"),
        ("domain: x\nflavour: y", "f: config error, unknown key 'flavour'"),
        ("domain: x\n0.25: y", "f: config error, key is not of type string: 0.25"),
        ("domain: x\nyes: y", "f: config error, key is not of type string: true"),
        ("domain: x\ndescriptors: [{key: 08}]", "f: error checking config"),
        ("domain: x\ndescriptors: [{key: 9223372036854775808}]", "f: error checking config"),
        ("domain: x\ndescriptors: {key: a}", "f: error loading config file"),
        (&one("{unit: day, requests_per_unit: '4'}"), "f: error loading config file"),
        ("domain: x\ndescriptors: [a]", "list of type other than map: a"),
        ("domain: x\ndescriptors: [{value: 1.5, key: a}]", "error checking config"),
        ("domain: x\ndescriptors: [{value: b}]", "descriptor has empty key"),
        (
            "domain: x\ndescriptors: [{key: a}, {key: a}]",
            "duplicate descriptor composite key 'x.a'",
        ),
        ("domain: x\ndescriptors: [{key: a, value: b}, {key: a_b}]", "composite key 'x.a_b'"),
        ("domain: x\ndescriptors: [{key: a, shadow_mode: 3}]", "error loading config file"),
        ("domain: x\n  descriptors:\n bad", "error loading config file"),
        ("[a]", "error loading config file"),
        (&one("{unit: fortnight}"), "invalid rate limit unit 'fortnight'"),
        (&one("{requests_per_unit: 4}"), "invalid rate limit unit ''"),
        (&one("{unit: day, requests_per_unit: -1}"), "error loading config file"),
        (&one("{unit: day, unlimited: true}"), "should not specify rate limit unit when unlimited"),
        (&one("{unit: day, replaces: [{name: ''}]}"), "should not have an empty replaces entry"),
        (&one("{unit: day, name: n, replaces: [{name: n}]}"), "name of same descriptor"),
        ("domain: x\ndescriptors: [{key: a, share_threshold: true}]", "but found key 'a'"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[test]
fn reads_what_the_original_reads() {
    for text in [
        "domain: x",
        "domain: x\ndescriptors: null",
        "domain: x\ndescriptors: [{key: a, value: yes, shadow_mode: y, quota_mode: ~}]",
        &one("{unit: day, requests_per_unit: 0x10}"),
        "{\"domain\": \"x\", \"descriptors\": [{\"key\": \"a\", \"value\": 007}]}",
        "domain: x\ndescriptors: [{key: a, metadata: {any: {thing: 1.5}}}]",
        &one("{unlimited: true, unit: forever, requests_per_unit: 3}"),
        &one("{unit: MINUTE}"),
        "domain: x\n---\nthis: is not read\n",
    ] {
        read(text).unwrap();
    }
}

#[test]
fn domains_of_several_files() {
    let files = BTreeMap::from([
        ("a".to_owned(), "domain: x\ndescriptors: [{key: a}]".to_owned()),
        ("b".to_owned(), "domain: x\ndescriptors: [{key: b}]".to_owned()),
    ]);
    assert!(Domains::read(&files, false).unwrap_err().contains("duplicate domain 'x'"));
    assert!(Domains::read(&files, true).is_ok());
}

#[test]
fn files_in_folders_are_named_with_dots() {
    let files = BTreeMap::from([("sub/a.yaml".to_owned(), "domain: ''".to_owned())]);
    let error = Domains::read(&files, false).unwrap_err();
    assert_eq!(error, "sub.a.yaml: config file cannot have empty domain");
}

#[test]
fn merge_keys_bring_what_is_not_there() {
    let domains = read(
        "domain: d\ndescriptors:\n- &base {key: a, rate_limit: &r {unit: day, requests_per_unit: 3}}\n- {<<: *base, key: b}\n- {key: c, rate_limit: {<<: *r, unit: hour}}\n",
    )
    .unwrap();
    let limits: Vec<_> = domains
        .limits()
        .iter()
        .map(|(_, p, t)| (p.join("."), t.limit.quota.requests, t.limit.quota.unit))
        .collect();
    assert_eq!(
        limits,
        [
            ("a".to_owned(), 3, Unit::Day),
            ("b".to_owned(), 3, Unit::Day),
            ("c".to_owned(), 3, Unit::Hour)
        ]
    );
}

#[test]
fn metadata_is_read_as_yaml_1_1() {
    let domains =
        read("domain: d\ndescriptors: [{key: a, metadata: {b: y, n: 1.5, t: '1'}, rate_limit: {unit: day}}]").unwrap();
    let limits = domains.limits();
    let metadata = serde_json::Value::Object(limits[0].2.metadata.clone().unwrap());
    assert_eq!(metadata, serde_json::json!({"b": true, "n": 1.5, "t": "1"}));
}

#[test]
fn metrics_name_the_values_that_are_asked_for() {
    use crate::key::KeyBuffer;
    use crate::request::Entry;
    let domains = read(
        "domain: d
descriptors:
- key: k
  descriptors: [{key: in, value_to_metric: true, descriptors: [{key: p, rate_limit: {unit: day}}]}]
- {key: s, value: 'f*', share_threshold: true, value_to_metric: true, rate_limit: {unit: day}}
- {key: t, descriptors: [{key: u, detailed_metric: true, rate_limit: {unit: day}}]}
- {key: plain, rate_limit: {unit: day}}
",
    )
    .unwrap();
    let metric = |entries: &[(&str, &str)]| {
        let entries: Vec<_> = entries.iter().map(|(key, value)| Entry { key, value }).collect();
        let found = domains.get("d").unwrap().find(&entries, &mut KeyBuffer::new()).unwrap();
        found.metric.map(|name| name.replace(LEVEL, "."))
    };
    assert_eq!(metric(&[("k", "1"), ("in", "x"), ("p", "2")]).as_deref(), Some("k.in_x.p"));
    assert_eq!(metric(&[("s", "f1")]).as_deref(), Some("s_f*"));
    assert_eq!(metric(&[("t", "1"), ("u", "")]).as_deref(), Some("t_1.u_"));
    assert_eq!(metric(&[("plain", "1")]), None);
}

#[test]
fn limits_may_say_more_than_the_original_lets_them() {
    let domains = read(
        "domain: d
descriptors:
- key: k
  rate_limit: {unit: minute, requests_per_unit: 5, unit_multiplier: 10, algorithm: sliding_window, on_store_error: local}
- {key: b, rate_limit: {unit: second, requests_per_unit: 5, burst_factor: 3}}
- {key: l, rate_limit: {unit: second, requests_per_unit: 5, lease: 2}}
",
    )
    .unwrap();
    let quotas: Vec<_> = domains.limits().iter().map(|(_, _, t)| t.limit.quota).collect();
    assert_eq!(quotas[0].algorithm, Algorithm::TokenBucket { burst_factor: 3 });
    assert_eq!((quotas[1].seconds(), quotas[1].algorithm), (600, Algorithm::SlidingWindow));
    assert_eq!(quotas[1].on_store_error, Some(OnStoreError::Local));
    assert_eq!(quotas[2].lease, 2);
    let error =
        read("domain: d\ndescriptors: [{key: k, rate_limit: {unit: day, algorithm: leaky}}]\n");
    let words =
        "algorithm: `leaky` is not an algorithm (use FixedWindow, SlidingWindow or TokenBucket)";
    assert!(error.unwrap_err().ends_with(words));
}
