//! What a case wants, held against what came.

use e2e::backend::{Descriptors, Hit};
use e2e::cases;
use e2e::http::Response;
use e2e::tls::Connection;
use serde_json::Value;

/// A header's wanted value: null is absent, true is present. The free port that took the place of a
/// case's port may stand in a redirect.
fn header(name: &str, want: &Value, got: Option<&str>, port: u16) -> Result<(), String> {
    let fits = match (want, got) {
        (Value::Null, got) => got.is_none(),
        (Value::Bool(true), got) => got.is_some(),
        (want, Some(got)) => {
            let got_plain = got.replace(&format!(":{port}"), "");
            cases::text(want) == got || cases::text(want) == got_plain
        }
        _ => false,
    };
    if fits { Ok(()) } else { Err(format!("header {name}: want {want}, got {got:?}")) }
}

/// What the server showed and chose.
pub(crate) fn handshake(want: &Value, got: &Connection) -> Result<(), String> {
    let rows = [
        ("cert", Some(got.subject.clone())),
        ("alpn", got.alpn.clone()),
        ("tls_version", Some(got.version.clone())),
    ];
    for (key, found) in rows {
        let fits = want[key].is_null() || want[key].as_str() == found.as_deref();
        if !fits {
            return Err(format!("{key}: want {}, got {found:?}", want[key]));
        }
    }
    Ok(())
}

pub(crate) fn answer(want: &Value, got: &Response, port: u16) -> Result<(), String> {
    let statuses = cases::listed(&want["status"]);
    if !statuses.is_empty() && !statuses.iter().any(|s| s.as_u64() == Some(u64::from(got.status))) {
        return Err(format!("want status {}, got {} {}", want["status"], got.status, got.body));
    }
    for (name, value) in want["headers"].as_object().into_iter().flatten() {
        header(name, value, got.header(&name.to_lowercase()), port)?;
    }
    let echo = got.json();
    for (key, field) in [("backend", "backend"), ("upstream_path", "path")] {
        if !want[key].is_null() && want[key] != echo[field] {
            return Err(format!("{key}: want {}, got {} ({})", want[key], echo[field], got.status));
        }
    }
    for (name, value) in want["upstream_headers"].as_object().into_iter().flatten() {
        header(name, value, echo["headers"][name.to_lowercase()].as_str(), port)?;
    }
    match want["body_has"].as_str() {
        Some(text) if !got.body.contains(text) => {
            Err(format!("the body has no {text}: {}", got.body))
        }
        _ => Ok(()),
    }
}

/// How many percent of the answers each backend gave.
pub(crate) fn shares(want: &Value, answers: &[Response]) -> Result<(), String> {
    for (backend, range) in want["share"].as_object().into_iter().flatten() {
        let count =
            answers.iter().filter(|a| a.json()["backend"] == backend.as_str()).count() as u64;
        let share = count * 100 / answers.len().max(1) as u64;
        if Some(share) < range[0].as_u64() || Some(share) > range[1].as_u64() {
            return Err(format!("{backend} answered {share} %, not {range}"));
        }
    }
    Ok(())
}

pub(crate) fn hits(want: &Value, got: &[Hit]) -> Result<(), String> {
    if want["count"].as_u64().is_some_and(|count| count != got.len() as u64) {
        return Err(format!("want {} requests, got {}", want["count"], got.len()));
    }
    if want["at_least"].as_u64().is_some_and(|least| least > got.len() as u64) {
        return Err(format!("want at least {} requests, got {}", want["at_least"], got.len()));
    }
    let Some(first) = got.first() else { return Ok(()) };
    for (key, found) in [("path", &first.path), ("body", &first.body)] {
        if want[key].as_str().is_some_and(|text| text != found) {
            return Err(format!("{key}: want {}, got {found}", want[key]));
        }
    }
    if want["body_has"].as_str().is_some_and(|text| !first.body.contains(text)) {
        return Err(format!("the body has no {}: {}", want["body_has"], first.body));
    }
    let of = |list: &[(String, String)], name: &str| {
        list.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone())
    };
    for (name, value) in want["headers"].as_object().into_iter().flatten() {
        header(name, value, of(&first.headers, name).as_deref(), 0)?;
    }
    for (name, value) in want["context"].as_object().into_iter().flatten() {
        header(name, value, of(&first.context, name).as_deref(), 0)?;
    }
    Ok(())
}

pub(crate) fn descriptors(want: &Value, got: Option<(String, Descriptors)>) -> Result<(), String> {
    let (domain, descriptors) = got.unwrap_or_default();
    if !want["rls_domain"].is_null() && want["rls_domain"] != domain.as_str() {
        return Err(format!("want domain {}, got {domain}", want["rls_domain"]));
    }
    match want.get("descriptors") {
        Some(want) if *want != serde_json::json!(descriptors) => {
            Err(format!("want descriptors {want}, got {descriptors:?}"))
        }
        _ => Ok(()),
    }
}

/// A field of Envoy's configuration: `{cluster: NAME, at: a/b/0, is: VALUE | absent: true}`.
pub(crate) fn config(row: &Value, dump: &Value) -> Result<(), String> {
    let (name, key) = ["cluster", "listener", "hcm"]
        .into_iter()
        .find_map(|kind| {
            let key = if kind == "cluster" { "connect_timeout" } else { "filter_chains" };
            Some((row[kind].as_str()?, key))
        })
        .ok_or("only clusters, listeners and connection managers are looked at yet")?;
    let mut found = None;
    find_named(dump, name, key, &mut found);
    let mut at = found.ok_or_else(|| format!("there is no {name}"))?;
    if row["hcm"].is_string() {
        at = &at["filter_chains"][0]["filters"][0]["typed_config"];
    }
    for step in row["at"].as_str().unwrap_or_default().split('/').filter(|s| !s.is_empty()) {
        at = match step.parse::<usize>() {
            Ok(i) => &at[i],
            Err(_) => &at[step],
        };
    }
    match row["absent"].as_bool() {
        Some(true) if at.is_null() => Ok(()),
        Some(true) => Err(format!("is {at}")),
        _ if fits(&row["is"], at) => Ok(()),
        _ => Err(format!("is {at}")),
    }
}

/// The first object with this name that has `key`.
fn find_named<'a>(value: &'a Value, name: &str, key: &str, found: &mut Option<&'a Value>) {
    match value {
        Value::Object(map)
            if map.get("name").is_some_and(|n| n == name) && map.contains_key(key) =>
        {
            *found = Some(value);
        }
        Value::Object(map) => map.values().for_each(|v| find_named(v, name, key, found)),
        Value::Array(items) => items.iter().for_each(|v| find_named(v, name, key, found)),
        _ => {}
    }
}

/// Envoy leaves defaults out of its dump.
fn fits(want: &Value, got: &Value) -> bool {
    match (want, got) {
        (Value::String(text), Value::Null) => text == "DEFAULT",
        (Value::String(want), Value::String(got)) => {
            want == got || seconds(want).is_some_and(|w| Some(w) == seconds(got))
        }
        (Value::Object(want), Value::Object(got)) => {
            want.iter().all(|(k, v)| fits(v, got.get(k).unwrap_or(&Value::Null)))
        }
        (Value::Array(want), Value::Array(got)) => {
            want.len() == got.len() && want.iter().zip(got).all(|(w, g)| fits(w, g))
        }
        (want, got) => want == got,
    }
}

/// A duration of protobuf's JSON, which may have trailing zeros: `1.500s`.
fn seconds(text: &str) -> Option<f64> {
    text.strip_suffix('s')?.parse().ok()
}
