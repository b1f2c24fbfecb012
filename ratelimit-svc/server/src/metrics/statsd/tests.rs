use proptest::prelude::*;

use super::super::name::{Naming, Tags};
use super::*;

fn lines() -> Lines {
    Lines::new(Style::statsd(&Tags::default(), None))
}

fn readings(all: &[(&str, Value)]) -> BTreeMap<Box<str>, Value> {
    all.iter().map(|(name, value)| ((*name).into(), *value)).collect()
}

/// The text of what is new, noted as sent.
fn sent(lines: &mut Lines, all: &[(&str, Value)], times: &[u64]) -> String {
    let mut text = String::new();
    for chunk in lines.chunks(&readings(all), times, 1 << 16) {
        text.push_str(std::str::from_utf8(&chunk.bytes).unwrap());
        lines.sent(chunk);
    }
    text
}

#[test]
fn counters_are_sent_when_they_grew_and_gauges_always() {
    let mut lines = lines();
    let all = [("a", Value::Counter(2)), ("b", Value::Counter(0)), ("g", Value::Gauge(0))];
    assert_eq!(sent(&mut lines, &all, &[]), "a:2|c\ng:0|g\n");
    let all = [("a", Value::Counter(5)), ("b", Value::Counter(0)), ("g", Value::Gauge(7))];
    assert_eq!(sent(&mut lines, &all, &[]), "a:3|c\ng:7|g\n");
    assert_eq!(sent(&mut lines, &all[..2], &[]), "");
}

#[test]
fn what_could_not_be_sent_is_new_again() {
    let mut lines = lines();
    let all = [("a", Value::Counter(2)), ("b", Value::Counter(3))];
    let mut chunks = lines.chunks(&readings(&all), &[1], 6);
    assert_eq!(chunks.len(), 3);
    lines.sent(chunks.remove(0));
    let rest = "b:3|c\nratelimit_server.ShouldRateLimit.response_time:0|ms\n";
    assert_eq!(sent(&mut lines, &all, &[1]), rest);
    assert_eq!(sent(&mut lines, &all, &[1]), "");
}

#[test]
fn a_counter_that_was_forgotten_begins_anew() {
    let mut lines = lines();
    sent(&mut lines, &[("a", Value::Counter(9))], &[]);
    // A part of a sum is gone: nothing is counted twice.
    assert_eq!(sent(&mut lines, &[("a", Value::Counter(4))], &[]), "");
    assert_eq!(sent(&mut lines, &[("a", Value::Counter(5))], &[]), "a:1|c\n");
    sent(&mut lines, &[], &[]);
    assert_eq!(sent(&mut lines, &[("a", Value::Counter(2))], &[]), "a:2|c\n");
}

#[test]
fn each_answer_has_a_line_but_very_many_a_sample() {
    let mut lines = lines();
    let name = RESPONSE_TIME;
    assert_eq!(
        sent(&mut lines, &[], &[2, 0, 1]),
        format!("{name}:0|ms\n{name}:0|ms\n{name}:2|ms\n")
    );
    let text = sent(&mut lines, &[], &[4_002, 0, 2]);
    assert!(text.lines().count() <= 1_001, "{}", text.lines().count());
    // 4000 times 0 ms and one of 2 ms, which is not lost.
    let zeros = text.lines().filter(|l| l.contains(":0|ms|@0.24")).count();
    assert_eq!(zeros, 999);
    assert!(text.ends_with(&format!("{name}:2|ms\n")), "{text}");
}

#[test]
fn datagrams_do_not_grow_too_long() {
    let names: Vec<String> = (0..500).map(|i| format!("counter.number.{i}")).collect();
    let all: Vec<_> = names.iter().map(|n| (n.as_str(), Value::Counter(1))).collect();
    let chunks = lines().chunks(&readings(&all), &[], 1_432);
    assert!(chunks.iter().all(|c| c.bytes.len() <= 1_432 && c.bytes.ends_with(b"\n")));
    assert_eq!(chunks.iter().map(|c| c.counters.len()).sum::<usize>(), 500);
}

#[test]
fn a_mogrifier_needs_its_parts() {
    let tags = |value: &str| vec![("k".to_owned(), value.to_owned())];
    for (pattern, name, value, words) in [
        ("", "n", "v", "needs a PATTERN"),
        ("p", "", "v", "needs a PATTERN and a NAME"),
        ("p", "n", "", "tag k has no value"),
        ("(", "n", "v", "PATTERN ("),
    ] {
        let error = Mogrifier::new(pattern, name, tags(value)).unwrap_err();
        assert!(format!("{error:#}").contains(words), "{error:#}");
    }
}

proptest! {
    /// Whatever a caller sends, there is one line of the form `NAME:VALUE|TYPE`, and tags stay
    /// those that are configured.
    #[test]
    fn no_value_breaks_a_line(domain: String, path: String, entity: String) {
        let name = Naming::default().limit(&domain, &path);
        let mogrifier = Mogrifier::new("^(?s)(.*)$", "m.$1", vec![("t".to_owned(), "$1".to_owned())]);
        let tags = Tags::new(&[("zone".to_owned(), entity.clone())]);
        let global = [("env", entity.as_str())];
        for (style, tags) in [
            (Style::statsd(&tags, None), 0),
            (Style::dog_statsd(&global, &Tags::default(), vec![mogrifier.unwrap()]), 2),
        ] {
            let line = style.line(&name, "1", "c", None);
            let body = line.strip_suffix('\n').unwrap();
            prop_assert!(!body.contains(|c: char| c.is_control()), "{line:?}");
            let parts: Vec<&str> = body.split('|').collect();
            prop_assert!(parts[0].ends_with(":1") && parts[0].matches(':').count() == 1, "{line:?}");
            prop_assert_eq!(parts[1], "c");
            prop_assert_eq!(parts.get(2).map_or(0, |tags| tags.split(',').count()), tags);
            prop_assert!(parts.len() <= 3, "{line:?}");
        }
    }
}
