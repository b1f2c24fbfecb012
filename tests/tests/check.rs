//! `ratelimit-svc check` as people and pipelines run it. What is refused, and with which words, is
//! envoyproxy/ratelimit's list.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use e2e::TempDir;
use e2e::process::program;

/// Exit code, standard output, standard error.
fn check(arguments: &[&str], folder: &Path) -> (Option<i32>, String, String) {
    let output = Command::new(program("ratelimit-svc"))
        .arg("check")
        .args(arguments)
        .arg(folder)
        // A pod's settings are none of its business.
        .env("TLS_DIR", "/nowhere")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

const GOOD: &str = "domain: d
descriptors:
- {key: a, rate_limit: {unit: day, requests_per_unit: 1}}
- {key: b, rate_limit: {unlimited: true}}
";
const OBJECT: &str = "apiVersion: getambassador.io/v3alpha1
kind: RateLimit
metadata: {name: o, namespace: ns}
spec: {domain: d, limits: [{pattern: [{k: v}], rate: 2, unit: hour}]}
";

#[test]
fn good_files_are_counted() {
    let folder = TempDir::new("check");
    std::fs::create_dir_all(folder.path().join("below/deep")).unwrap();
    std::fs::write(folder.path().join("below/deep/limits.conf"), GOOD).unwrap();
    folder.write("o.yaml", OBJECT);
    let (code, out, err) = check(&[], folder.path());
    let all = "all rate limit configs ok: 3 limits in 2 files\n";
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), all, ""));
    let (code, out, _) = check(&[], &folder.path().join("o.yaml"));
    assert_eq!((code, out.as_str()), (Some(0), "all rate limit configs ok: 1 limit in 1 file\n"));
}

/// Each kind of bad file: its text, the line, the words of the original.
const BAD: &[(&str, usize, &str)] = &[
    ("'''", 1, "error loading config file: yaml: "),
    (
        "domain: d\ndescriptors:\n- key: a\n  rate_limit: {unit: day, requests_per_unit: -1}",
        4,
        "error loading config file: yaml: line 4: ",
    ),
    ("0.25: d", 1, "config error, key is not of type string: 0.25"),
    (
        "domain: d\ndescriptors:\n- key: a\n  ratelimit: {}",
        4,
        "config error, unknown key 'ratelimit'",
    ),
    (
        "domain: d\ndescriptors:\n- a\n",
        3,
        "config error, yaml file contains list of type other than map: a",
    ),
    ("domain: d\ndescriptors:\n- key: a\n  value: 1.5\n", 4, "error checking config"),
    ("descriptors: []", 1, "config file cannot have empty domain"),
    ("domain: d\ndescriptors:\n- value: b\n", 3, "descriptor has empty key"),
    (
        "domain: d\ndescriptors:\n- {key: a, value: b}\n- key: a_b\n",
        4,
        "duplicate descriptor composite key 'd.a_b'",
    ),
    (
        "domain: d\ndescriptors:\n- key: a\n  rate_limit:\n    unlimited: true\n    unit: day\n",
        6,
        "should not specify rate limit unit when unlimited",
    ),
    (
        "domain: d\ndescriptors:\n- key: a\n  rate_limit:\n    unit: foo\n",
        5,
        "invalid rate limit unit 'foo'",
    ),
    (
        "domain: d\ndescriptors:\n- key: a\n  rate_limit: {unit: day, replaces: [{name: }]}",
        4,
        "should not have an empty replaces entry",
    ),
    (
        "domain: d\ndescriptors:\n- key: a\n  rate_limit: {unit: day, name: n, replaces: [{name: n}]}",
        4,
        "replaces should not contain name of same descriptor",
    ),
    (
        "domain: d\ndescriptors:\n- key: a\n  share_threshold: true",
        4,
        "share_threshold can only be used with wildcard values (containing '*'), but found key 'a'",
    ),
    (
        "domain: d\ndescriptors:\n- key: a\n  metadata: [1]\n  rate_limit: {unit: day}",
        4,
        "error parsing metadata: ",
    ),
];

#[test]
fn each_kind_of_bad_file_is_one_line() {
    for (text, line, words) in BAD {
        let folder = TempDir::new("check");
        folder.write("f.yaml", text);
        let file = folder.path().join("f.yaml").display().to_string();
        let (code, out, err) = check(&[], folder.path());
        assert_eq!((code, out.lines().count()), (Some(1), 1), "{text}: {out}{err}");
        assert!(
            out.starts_with(&format!("{file}:{line}: error: ")) && out.contains(words),
            "{out}"
        );
        assert_eq!(err, "error: 1 problem in 1 file\n");
    }
}

#[test]
fn files_may_not_share_a_domain_unless_it_is_said() {
    let folder = TempDir::new("check");
    folder.write("a.yaml", GOOD);
    folder.write("b.yaml", "domain: d\ndescriptors: [{key: c}]");
    let (code, out, _) = check(&[], folder.path());
    assert_eq!(code, Some(1));
    assert!(out.contains("b.yaml: error: domain: duplicate domain 'd' in config file"), "{out}");
    assert!(out.contains("--merge-domain-configs"), "{out}");
    let (code, out, _) = check(&["--merge-domain-configs"], folder.path());
    assert_eq!((code, out.as_str()), (Some(0), "all rate limit configs ok: 2 limits in 2 files\n"));
    folder.write("c.yaml", "domain: d\ndescriptors: [{key: a}]");
    let (code, out, _) = check(&["--merge-domain-configs"], folder.path());
    assert!(code == Some(1) && out.contains("duplicate descriptor composite key 'd.a'"), "{out}");
}

#[test]
fn warnings_are_told_and_are_no_errors() {
    let folder = TempDir::new("check");
    folder.write("a.yaml", "domain: d\ndescriptors:\n- key: a\n  requests_per_unit: 5\n");
    let (code, out, _) = check(&[], folder.path());
    assert_eq!((code, out.lines().count()), (Some(0), 2), "{out}");
    assert!(out.contains("a.yaml:4: warning: descriptors[0].requests_per_unit: "), "{out}");
}

#[test]
fn what_cannot_be_read_is_named() {
    let (code, _, err) = check(&[], Path::new("/no/such/folder"));
    assert!(code == Some(1) && err.contains("/no/such/folder"), "{err}");
    let help = Command::new(program("ratelimit-svc")).arg("--help").output().unwrap();
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(
        help.contains("check  Reads limits as the service would") && help.contains("--config"),
        "{help}"
    );
}
