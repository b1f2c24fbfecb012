//! Conformance cases: files to JSON, and the list of those that are known to fail.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

/// A file below `cases/`, as JSON.
pub fn load(name: &str) -> Value {
    let path = crate::root().join("cases").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let documents = service_kit::yaml::parse(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
    documents.first().map(service_kit::yaml::Node::to_json).unwrap_or_default()
}

/// Runs one test for each case of `suite`. A case in `cases/pending.yaml` must fail; when it passes
/// its test fails, so that the list stays true.
///
/// # Panics
/// When the pending list names a case that does not exist.
pub fn run(suite: &str, cases: Vec<(String, Box<dyn FnOnce() + Send>)>) {
    let mut pending = pending(suite);
    let mut trials = Vec::new();
    for (name, case) in cases {
        let reason = pending.remove(&name);
        let kind = if reason.is_some() { "pending" } else { "" };
        let shown = match &reason {
            Some(reason) => format!("{suite}::{name} ({reason})"),
            None => format!("{suite}::{name}"),
        };
        let trial = Trial::test(shown, move || verdict(&name, case, reason.as_deref()));
        trials.push(trial.with_kind(kind));
    }
    assert!(pending.is_empty(), "cases/pending.yaml names cases that do not exist: {pending:?}");
    // A failure is told once, by its test; not also by a backtrace.
    std::panic::set_hook(Box::new(|_| {}));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn pending(suite: &str) -> BTreeMap<String, String> {
    let list = load("pending.yaml");
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let rows = list.as_array().cloned().unwrap_or_default();
    rows.iter()
        .filter(|r| r["suite"] == suite)
        .map(|r| (text(r, "case"), text(r, "reason")))
        .collect()
}

fn verdict(
    name: &str,
    case: Box<dyn FnOnce() + Send>,
    pending: Option<&str>,
) -> Result<(), Failed> {
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(case));
    match (outcome, pending) {
        (Ok(()), None) | (Err(_), Some(_)) => Ok(()),
        (Ok(()), Some(_)) => {
            Err(format!("{name} passes now; take it out of tests/cases/pending.yaml").into())
        }
        (Err(fault), None) => Err(words(&*fault).into()),
    }
}

/// What a panic said.
fn words(fault: &(dyn std::any::Any + Send)) -> String {
    fault
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| fault.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_else(|| "failed".to_owned())
}

/// Whether `got` has everything that `want` has.
///
/// # Errors
/// Where it does not.
pub fn contains(want: &Value, got: &Value, path: &str) -> Result<(), String> {
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => {
            for (key, value) in want {
                let found = got.get(key).ok_or_else(|| format!("{path}.{key} is missing"))?;
                contains(value, found, &format!("{path}.{key}"))?;
            }
            Ok(())
        }
        (Value::Array(want), Value::Array(got)) if want.len() == got.len() => want
            .iter()
            .zip(got)
            .enumerate()
            .try_for_each(|(i, (w, g))| contains(w, g, &format!("{path}[{i}]"))),
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => Ok(()),
        (want, got) if want == got => Ok(()),
        (Value::String(any), _) if any == "<any>" => Ok(()),
        (want, got) => Err(format!("{path}: want {want}, got {got}")),
    }
}

/// The items of a list, or the value itself.
pub fn listed(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    }
}

/// A scalar as people write it.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
