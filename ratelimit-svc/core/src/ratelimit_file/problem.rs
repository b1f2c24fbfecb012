//! What is wrong with a file, at which field, and what to do about it.

use service_kit::yaml::Node as Yaml;
use service_kit::{Diagnostic, ObjectRef, Severity};

/// A problem at `field` (as in `descriptors[0]`) of the file `root`. The words say where below it,
/// and what the next step is.
pub(super) fn problem(root: &Yaml, field: &str, words: String) -> Diagnostic {
    let known = STEPS.iter().find(|(begin, _, _)| words.starts_with(begin));
    let (below, hint) = known.map_or(("", ""), |(_, below, hint)| (*below, *hint));
    let written = words
        .split_once("yaml: line ")
        .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
    let mut problem =
        Diagnostic::new(Severity::Error, ObjectRef::default(), at(field, below), words);
    problem.hint(hint);
    let line = written.unwrap_or_else(|| root.line_of(&problem.path));
    problem.line = Some(line).filter(|line| *line > 0);
    problem
}

/// A problem between files, at `field`.
pub(super) fn between(field: &str, words: String) -> Diagnostic {
    let known = STEPS.iter().find(|(begin, _, _)| words.starts_with(begin));
    let mut problem = Diagnostic::new(Severity::Error, ObjectRef::default(), field, words);
    problem.hint(known.map_or("", |(_, _, hint)| hint));
    problem
}

/// The path of `name` below `field`.
pub(super) fn at(field: &str, name: &str) -> String {
    let dot = if field.is_empty() || name.is_empty() { "" } else { "." };
    format!("{field}{dot}{name}")
}

/// How the words begin, the field below the one that was read, the next step.
const STEPS: &[(&str, &str, &str)] = &[
    (
        "config file cannot have empty domain",
        "domain",
        "write `domain: NAME`, as Envoy's filter sends it",
    ),
    (
        "duplicate domain",
        "domain",
        "put all of a domain into one file, or let files add to each other (MERGE_DOMAIN_CONFIG=true, check --merge-domain-configs)",
    ),
    ("descriptor has empty key", "key", "write `key: NAME`"),
    (
        "duplicate descriptor composite key",
        "key",
        "each key, or key_value, may stand once beside its siblings; delete one of them",
    ),
    (
        "should not specify rate limit unit when unlimited",
        "rate_limit.unit",
        "leave out `unit`, or `unlimited`",
    ),
    (
        "invalid rate limit unit",
        "rate_limit.unit",
        "use second, minute, hour, day, week, month or year",
    ),
    (
        "should not have an empty replaces entry",
        "rate_limit.replaces",
        "write `- name: NAME`, the name of the limit that gives way",
    ),
    (
        "replaces should not contain name of same descriptor",
        "rate_limit.replaces",
        "name the other limit that gives way",
    ),
    (
        "share_threshold can only be used with wildcard values",
        "share_threshold",
        "put a `*` into the value, or leave out `share_threshold`",
    ),
    ("error parsing metadata", "metadata", "write a mapping that JSON can hold"),
    (
        "config error, yaml file contains list of type other than map",
        "",
        "write each item as `- key: NAME`",
    ),
    ("error checking config", "", "put the number into quotes, or write it as a whole number"),
    ("config error, key is not of type string", "", "keys of these files are words"),
];
