use std::collections::BTreeMap;

use proptest::prelude::*;
use prost_types::value::Kind as Json;
use prost_types::{Struct, Value};
use proto::ratelimit::config::ratelimit::v3::{
    RateLimitConfig, RateLimitDescriptor, RateLimitPolicy, RateLimitReplace, RateLimitUnit,
};
use serde_json::json;

use super::super::Domains;
use super::*;
use crate::limit::Unit;

/// `LINE FIELD: WORDS; HINT` of each.
fn lines(found: &[Diagnostic]) -> Vec<String> {
    found.iter().map(|d| format!("{} {}", d.line.unwrap_or_default(), d.words())).collect()
}

#[test]
fn everything_that_is_wrong_is_told_with_its_place() {
    let text = "domain: d
descriptors:
- key: a
  descriptors:
  - key: b
    rate_limit:
      requests_per_unit: 1
      unit: fortnight
  - value: c
- key: a
- key: c
  shadow_mode: 3
";
    assert_eq!(
        lines(&File::from_yaml(text).unwrap_err()),
        [
            // The original reads all of a file before it looks at what is in it.
            "12 descriptors[2]: error loading config file: yaml: line 12: cannot unmarshal `3` into bool",
            "8 descriptors[0].descriptors[0].rate_limit.unit: invalid rate limit unit 'fortnight'; use second, minute, hour, day, week, month or year",
            "9 descriptors[0].descriptors[1].key: descriptor has empty key; write `key: NAME`",
            "10 descriptors[1].key: duplicate descriptor composite key 'd.a'; each key, or key_value, may stand once beside its siblings; delete one of them",
        ]
    );
    let text = "domain: d\ncolour: red\ndescriptors:\n- key: a\n  ratelimit:\n    unit: day\n- b\n";
    assert_eq!(
        lines(&File::from_yaml(text).unwrap_err()),
        [
            "2 colour: config error, unknown key 'colour'",
            "5 descriptors[0].ratelimit: config error, unknown key 'ratelimit'; did you mean `rate_limit`?",
            "7 descriptors[1]: config error, yaml file contains list of type other than map: b; write each item as `- key: NAME`",
        ]
    );
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let text = "domain: d
unit: day
descriptors:
- key: a
  requests_per_unit: 5
  rate_limit: {unit: hour, key: x}
- key: b
  rate_limit: {unlimited: true}
  shadow_mode: true
  shadow_mode: false
---
more: 1
";
    assert_eq!(
        lines(File::from_yaml(text).unwrap().warnings()),
        [
            "2 unit: `unit` has no effect in the file; it belongs into `rate_limit`",
            "5 descriptors[0].requests_per_unit: `requests_per_unit` has no effect in a descriptor; it belongs into `rate_limit`",
            "6 descriptors[0].rate_limit.key: `key` has no effect in rate_limit; it belongs into an item of `descriptors`",
            "6 descriptors[0].rate_limit: no requests_per_unit: every request is over it; write `requests_per_unit: NUMBER`; 0 is said better aloud",
            "10 descriptors[1].shadow_mode: `shadow_mode` stands twice; the last one counts; delete one of them",
            "12 only the first document of a file is read; put what follows `---` into a file of its own",
        ]
    );
}

#[test]
fn each_file_that_does_not_go_with_the_others_is_told() {
    let read = |text| File::from_yaml(text).unwrap();
    let (a, b, c) = (
        read("domain: d\ndescriptors: [{key: a}, {key: z}]"),
        read("domain: d\ndescriptors: [{key: b}, {key: a}]"),
        read("domain: d\ndescriptors: [{key: c, rate_limit: {unit: day, requests_per_unit: 1}}]"),
    );
    let files = || [("a", &a), ("b", &b), ("c", &c)];
    let words = |merge| {
        let found = Domains::of(files(), merge).unwrap_err();
        let of = |d: Diagnostic| format!("{}: {}", d.file.unwrap_or_default(), d.message);
        found.into_iter().map(of).collect::<Vec<_>>()
    };
    let twice = "duplicate domain 'd' in config file";
    assert_eq!(words(false), [format!("b: {twice}"), format!("c: {twice}")]);
    assert_eq!(words(true), ["b: duplicate descriptor composite key 'd.a'"]);
}

#[test]
fn limits_are_numbered_through_all_files() {
    let file = |domain: &str| {
        let text = format!(
            "domain: {domain}\ndescriptors: [{{key: a, rate_limit: {{unit: day}}}}, {{key: b, rate_limit: {{unit: day}}}}]"
        );
        File::from_yaml(&text).unwrap()
    };
    let (one, two) = (file("one"), file("two"));
    let domains = Domains::of([("1", &one), ("2", &two)], false).unwrap();
    let ids: Vec<_> = domains.limits().iter().map(|(_, _, tree)| tree.limit.id).collect();
    assert_eq!((ids, domains.limit_count()), (vec![0, 1, 2, 3], 4));
}

fn descriptor(key: &str, policy: Option<RateLimitPolicy>) -> RateLimitDescriptor {
    RateLimitDescriptor { key: key.to_owned(), rate_limit: policy, ..Default::default() }
}

fn per(unit: RateLimitUnit, requests_per_unit: u32) -> Option<RateLimitPolicy> {
    Some(RateLimitPolicy { unit: unit.into(), requests_per_unit, ..Default::default() })
}

fn config(descriptors: Vec<RateLimitDescriptor>) -> RateLimitConfig {
    RateLimitConfig { name: "n".to_owned(), domain: "d".to_owned(), descriptors }
}

#[test]
fn a_message_says_what_a_file_says() {
    let value = |kind| Value { kind: Some(kind) };
    let metadata = Struct {
        fields: BTreeMap::from([
            ("n".to_owned(), value(Json::NumberValue(1.5))),
            ("t".to_owned(), value(Json::StringValue("yes".to_owned()))),
            ("b".to_owned(), value(Json::BoolValue(true))),
            ("z".to_owned(), value(Json::NullValue(0))),
        ])
        .into_iter()
        .collect(),
    };
    let replaces = vec![RateLimitReplace { name: "other".to_owned() }];
    let week =
        RateLimitPolicy { name: "w".to_owned(), replaces, ..per(RateLimitUnit::Week, 7).unwrap() };
    let unlimited = RateLimitPolicy { unlimited: true, ..Default::default() };
    let below = RateLimitDescriptor {
        // Text, whatever it would be in YAML.
        value: "yes".to_owned(),
        shadow_mode: true,
        quota_mode: true,
        metadata: Some(metadata),
        ..descriptor("b", Some(week))
    };
    let top = RateLimitDescriptor { descriptors: vec![below], ..descriptor("a", None) };
    let file = File::from_message(&config(vec![top, descriptor("u", Some(unlimited))])).unwrap();
    let domains = Domains::of([("n", &file)], false).unwrap();
    let limits = domains.limits();
    assert_eq!((limits.len(), limits[0].0, limits[0].1.join(".")), (2, "d", "a.b_yes".to_owned()));
    let week = limits[0].2;
    assert_eq!((week.limit.quota.requests, week.limit.quota.unit), (7, Unit::Week));
    assert!(week.limit.shadow && week.limit.is_quota && &*week.limit.name == "w");
    assert_eq!(week.replaces, [std::sync::Arc::<str>::from("other")]);
    let metadata = serde_json::Value::Object(week.metadata.clone().unwrap());
    assert_eq!(metadata, json!({"n": 1.5, "t": "yes", "b": true, "z": null}));
    assert!(limits[1].2.unlimited);
}

#[test]
fn a_message_is_refused_with_the_same_words() {
    let refusal =
        |message: RateLimitConfig| File::from_message(&message).unwrap_err().swap_remove(0).message;
    let one = |policy| config(vec![descriptor("a", policy)]);
    let empty = RateLimitConfig::default();
    let unlimited = per(RateLimitUnit::Day, 0).map(|p| RateLimitPolicy { unlimited: true, ..p });
    let future = per(RateLimitUnit::Day, 0).map(|p| RateLimitPolicy { unit: 99, ..p });
    for (message, words) in [
        (empty, "config file cannot have empty domain"),
        (config(vec![descriptor("", None)]), "descriptor has empty key"),
        (
            config(vec![descriptor("a", None), descriptor("a", None)]),
            "duplicate descriptor composite key 'd.a'",
        ),
        (one(per(RateLimitUnit::Unknown, 1)), "invalid rate limit unit 'UNKNOWN'"),
        (one(future), "invalid rate limit unit '99'"),
        (one(unlimited), "should not specify rate limit unit when unlimited"),
    ] {
        assert_eq!(refusal(message), words);
    }
}

const GOOD: &str = "domain: d
descriptors:
- &x {key: a, value: 'b*', share_threshold: true, metadata: {m: [1.5, y]}}
- key: k
  descriptors:
  - <<: *x
    rate_limit: {unit: day, requests_per_unit: 3, name: n, replaces: [{name: o}]}
  - {key: u, rate_limit: {unlimited: yes}}
";

/// A good file with a few pieces put into it, or taken out.
fn mutated() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\0"),
        Just("\t"),
        Just("- "),
        Just(": "),
        Just("{"),
        Just("}"),
        Just("["),
        Just("*x"),
        Just("&x "),
        Just("---\n"),
        Just("<<: "),
        Just("'"),
        Just("|\n"),
        Just("!!str "),
        Just("1e999"),
        Just("é"),
        Just("\u{fffd}"),
        Just("domain"),
        Just("rate_limit: "),
        Just("descriptors: "),
        Just("\n"),
    ];
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0..40_usize, piece), 0..6);
    edits.prop_map(|edits| {
        let mut text: Vec<char> = GOOD.chars().collect();
        for (place, cut, piece) in edits {
            let from = place.index(text.len() + 1);
            let to = (from + cut / 2).min(text.len());
            text.splice(from..to, piece.chars());
        }
        text.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_text_is_read_or_refused_in_words(text in mutated()) {
        match File::from_yaml(&text) {
            Ok(file) => {
                let domains = Domains::of([("f", &file)], false).unwrap();
                prop_assert_eq!(domains.limits().len(), domains.limit_count());
            }
            Err(found) => {
                prop_assert!(!found.is_empty());
                prop_assert!(found.iter().all(|d| !d.message.is_empty()));
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = File::from_yaml(&String::from_utf8_lossy(&bytes));
    }
}
