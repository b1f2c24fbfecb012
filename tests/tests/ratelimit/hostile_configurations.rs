//! Configurations that mean harm, or are wrong: each is refused in words or bounded, and what was
//! in force stays.

use std::time::Duration;

use proto::envoy::service::ratelimit::v3::rate_limit_response::Code;

use crate::calls::{Caller, request};
use crate::service::Service;

const GOOD: &str = "
domain: edge
descriptors:
- key: kept
  rate_limit: {unit: day, requests_per_unit: 77}
";
/// Memory that one file may leave behind, in KiB.
const MOST_GROWTH: u64 = 128 << 10;

fn service() -> Service {
    Service::start(&[("good.yaml", GOOD)], &[])
}

/// The limit in force.
fn limit(caller: &mut Caller, domain: &str, entry: &str) -> Option<u32> {
    let answer = caller.ask(request(domain, &[entry])).unwrap();
    answer.statuses[0].current_limit.as_ref().map(|limit| limit.requests_per_unit)
}

/// A file of envoyproxy/ratelimit with one limit.
fn tree(rate_limit: &str) -> String {
    format!("domain: other\ndescriptors:\n- key: k\n  rate_limit: {rate_limit}\n")
}

/// An object with one limit that has these lines more.
fn object(lines: &str) -> String {
    format!(
        "apiVersion: getambassador.io/v3alpha1\nkind: RateLimit\nmetadata: {{name: bad}}\nspec:\n  domain: other\n  limits:\n  - pattern: [{{k: \"*\"}}]\n    {lines}\n"
    )
}

/// Ten aliases of ten aliases of …: a billion values in a few lines.
fn billion_laughs() -> String {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..10 {
        let before = format!("*a{}, ", i - 1).repeat(10);
        text += &format!("a{i}: &a{i} [{}]\n", before.trim_end_matches(", "));
    }
    text
}

#[test]
fn files_that_are_wrong_are_refused_in_words_and_the_last_good_ones_stay() {
    let mut service = service();
    let mut caller = Caller::of(&service);
    let before = service.resident();
    let deep = format!("domain: {}\n", "[".repeat(100_000));
    let deeper = (0..80).fold(String::from("domain: deep\n"), |text, i| {
        let indent = "  ".repeat(i);
        text + &format!("{indent}descriptors:\n{indent}- key: k{i}\n")
    });
    for (text, words) in [
        (tree("{unit: fortnight, requests_per_unit: 1}"), "invalid rate limit unit 'fortnight'"),
        (tree("{unit: day, requests_per_unit: .nan}"), "error checking config"),
        (tree("{unit: day, requests_per_unit: 1e999}"), "error checking config"),
        (tree("{unit: day, requests_per_unit: -1}"), "cannot unmarshal `-1` into uint32"),
        (tree("{unit: day, requests_per_unit: 4294967296}"), "`4294967296` into uint32"),
        (tree("{unit: day, requests_per_unit: 99999999999999999999}"), "error checking config"),
        (tree("{unit: year, requests_per_unit: 1, unit_multiplier: 11}"), "longer than ten years"),
        (
            tree("{unit: day, requests_per_unit: 1, algorithm: leaky}"),
            "`leaky` is not an algorithm",
        ),
        (tree("[unit]"), "list of type other than map"),
        (GOOD.to_owned(), "duplicate domain 'edge' in config file"),
        (tree("{unit: day}\n- key: k"), "duplicate descriptor composite key 'other.k'"),
        (billion_laughs(), "more than two million values"),
        ("a: &a [*a]\n".to_owned(), "an alias stands before (or inside) what it names"),
        (deep, "nested deeper than 128 levels"),
        (deeper, "nested deeper than"),
        ("domain: \"\0\"".to_owned(), "error loading config file"),
        ("- domain".to_owned(), "the file is no mapping"),
    ] {
        service.folder.write("zz-bad.yaml", &text);
        service.process.wait_log(words);
        assert_eq!(limit(&mut caller, "edge", "kept=x"), Some(77), "{words}");
        assert_eq!(limit(&mut caller, "other", "k=x"), None, "{words}");
        assert_eq!(service.metric("ratelimit_config_is_stale"), 1.0, "{words}");
    }
    let now = service.resident();
    assert!(now < before + MOST_GROWTH, "{before} KiB, now {now}");
    // The next good one is taken, so none of these ended the reading.
    service.folder.write("zz-bad.yaml", &tree("{unit: day, requests_per_unit: 78}"));
    service.process.wait("in force", |_| limit(&mut caller, "other", "k=x") == Some(78));
    assert!(!service.process.log().contains("panicked"));
}

#[test]
fn objects_that_are_wrong_are_refused_in_words_and_their_last_good_version_stays() {
    let mut service = service();
    let mut caller = Caller::of(&service);
    service.folder.write("object.yaml", &object("rate: 79\n    unit: day"));
    service.process.wait("in force", |_| limit(&mut caller, "other", "k=x") == Some(79));
    for (lines, words) in [
        ("rate: 1\n    unit: fortnight", "`fortnight` is not a unit"),
        ("rate: .nan\n    unit: day", "spec.limits[0].rate"),
        ("rate: 1e999\n    unit: day", "spec.limits[0].rate"),
        ("rate: -1\n    unit: day", "-1 is not a rate"),
        ("rate: 1\n    unit: day\n    burstFactor: 9999999", "9999999 is not a burst factor"),
        (
            "rate: 1\n    unit: day\n    injectResponseHeaders: [{name: x, value: '{{ range }}'}]",
            "injectResponseHeaders[0].value: not a template",
        ),
        (
            "rate: 1\n    unit: day\n    injectResponseHeaders: [{name: 'x y', value: a}]",
            "`x y` is not a header that can be set",
        ),
        (
            "rate: 1\n    unit: day\n    errorResponse: {bodyTemplate: '{{ nosuch }}'}",
            "errorResponse.bodyTemplate: not a template",
        ),
    ] {
        service.folder.write("object.yaml", &object(lines));
        service.process.wait_log(words);
        let log = service.process.log();
        let line = log.lines().find(|l| l.contains(words)).unwrap();
        assert!(line.contains("the previous version stays in force"), "{line}");
        assert_eq!(limit(&mut caller, "other", "k=x"), Some(79), "{words}");
    }
    assert!(!service.process.log().contains("panicked"));
}

/// Templates that would run or grow without end. They are templates, so they are taken; what they
/// may cost is bounded when they are executed.
#[test]
fn template_bombs_cost_their_header_and_nobody_else_anything() {
    let loops = "{{ range 100000000 }}{{ range 100000000 }}{{ end }}{{ end }}";
    let doubles =
        r#"{{ $x := "aaaaaaaa" }}{{ range 9999 }}{{ $x = print $x $x }}{{ end }}{{ $x }}"#;
    let recursive =
        r#"{{ define "t" }}{{ template "t" }}{{ template "t" }}{{ end }}{{ template "t" }}"#;
    let wide = r#"{{ range 10000 }}{{ printf "%60000d" 1 }}{{ end }}"#;
    for bomb in [loops, doubles, recursive, wide] {
        let lines = format!(
            "rate: 1\n    unit: day\n    injectResponseHeaders:\n    - {{name: x-bomb, value: '{bomb}'}}\n    - {{name: x-good, value: good}}\n    errorResponse: {{bodyTemplate: '{bomb}'}}"
        );
        let service = Service::start(&[("good.yaml", GOOD), ("object.yaml", &object(&lines))], &[]);
        let mut caller = Caller::of(&service);
        let before = service.resident();
        let shown = |answer: &proto::envoy::service::ratelimit::v3::RateLimitResponse| {
            let headers = answer.response_headers_to_add.iter();
            let names: Vec<String> = headers.map(|h| h.key.clone()).collect();
            (answer.overall_code, names)
        };
        let first = caller.ask(request("other", &["k=x"])).unwrap();
        assert_eq!(shown(&first), (Code::Ok.into(), vec!["x-good".to_owned()]), "{bomb}");
        assert_eq!(service.metric("ratelimit_failed_templates_total"), 1.0, "{bomb}");
        for _ in 0..10 {
            let refused = caller.ask(request("other", &["k=x"])).unwrap();
            assert_eq!(refused.overall_code, i32::from(Code::OverLimit));
            assert!(refused.raw_body.is_empty(), "{bomb}");
            let retry_after =
                refused.response_headers_to_add.iter().any(|h| h.key == "retry-after");
            assert!(retry_after, "a refusal needs no template to say when to come back");
        }
        assert_eq!(service.metric("ratelimit_failed_templates_total"), 21.0, "{bomb}");
        assert_eq!(limit(&mut caller, "edge", "kept=x"), Some(77));
        let now = service.resident();
        assert!(now < before + MOST_GROWTH, "{bomb}: {before} KiB, now {now}");
        assert!(!service.process.log().contains("panicked"));
    }
}

/// A folder that is written all the time does not keep requests from their answers.
#[test]
fn a_storm_of_changes_does_not_keep_requests_waiting() {
    let mut service = service();
    let mut caller = Caller::of(&service);
    for i in 0..200 {
        let text = match i % 2 {
            0 => tree(&format!("{{unit: day, requests_per_unit: {i}}}")),
            _ => "domain: [".to_owned(),
        };
        service.folder.write("storm.yaml", &text);
        assert_eq!(limit(&mut caller, "edge", "kept=x"), Some(77));
        std::thread::sleep(Duration::from_millis(1));
    }
    service.folder.write("storm.yaml", &tree("{unit: day, requests_per_unit: 201}"));
    service.process.wait("in force", |_| limit(&mut caller, "other", "k=x") == Some(201));
}
