use proptest::prelude::*;

use super::*;

const TREE: &str = "domain: d
descriptors:
- key: a
  value: b*
  share_threshold: true
  rate_limit: {unit: day, requests_per_unit: 3, name: n, replaces: [{name: o}]}
";
const OBJECT: &str = "apiVersion: getambassador.io/v3alpha1
kind: RateLimit
metadata: {name: o, namespace: ns}
spec:
  domain: d
  limits:
  - {pattern: [{k: v}], rate: 2, unit: hour}
";

fn report(files: &[(&str, &str)], merge: bool) -> Report {
    let texts = files.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned()));
    Report::of(texts.collect(), merge)
}

fn lines(files: &[(&str, &str)]) -> Vec<String> {
    report(files, false).found.iter().map(ToString::to_string).collect()
}

#[test]
fn both_dialects_are_counted() {
    let report = report(&[("t.yaml", TREE), ("o.yaml", OBJECT)], false);
    assert_eq!((report.errors(), report.limits, report.found.len()), (0, 2, 0));
}

#[test]
fn each_problem_has_its_place_and_a_next_step() {
    let bad = OBJECT.replace("hour", "fortnight");
    let found = lines(&[("dir/t.yaml", "domain: d\ncolour: red"), ("o.yaml", &bad)]);
    assert_eq!(found[0], "dir/t.yaml:2: error: colour: config error, unknown key 'colour'");
    assert!(
        found[1].starts_with("o.yaml:7: error: RateLimit ns/o: spec.limits[0].unit: "),
        "{found:?}"
    );
    assert_eq!(found.len(), 2);
}

#[test]
fn files_of_one_domain_may_be_merged() {
    let two = [("a", "domain: d\ndescriptors: [{key: a}]"), ("b", "domain: d")];
    assert_eq!((report(&two, false).errors(), report(&two, true).errors()), (1, 0));
}

#[test]
fn no_files_are_worth_a_word() {
    assert_eq!(lines(&[]), ["warning: no files: there are no limits"]);
}

/// A good file with a few bytes put into it, or taken out.
fn mutated() -> impl Strategy<Value = String> {
    let good = prop_oneof![Just(TREE), Just(OBJECT)];
    let bytes = prop::collection::vec(any::<u8>(), 0..4);
    let edit = (any::<prop::sample::Index>(), 0..30_usize, bytes);
    (good, prop::collection::vec(edit, 0..5)).prop_map(|(good, edits)| {
        let mut text = good.as_bytes().to_vec();
        for (place, cut, bytes) in edits {
            let from = place.index(text.len() + 1);
            let to = (from + cut).min(text.len());
            text.splice(from..to, bytes);
        }
        String::from_utf8_lossy(&text).into_owned()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes_are_good_or_said_to_be_wrong(a in mutated(), b in mutated(), merge: bool) {
        let report = report(&[("a", &a), ("b", &b)], merge);
        for found in &report.found {
            prop_assert!(!found.message.is_empty() && found.file.is_some(), "{}", found);
        }
    }
}
