//! Templates and what Go made of them.

#![allow(clippy::unwrap_used)] // helpers of a test

use gotemplate::{Functions, Template, Value};
use serde_json::Value as Json;

const GOLDEN: &str = include_str!("golden/go-template.json");

/// The data the golden texts were made with: mostly JSON, with Go's own types where it had them.
fn data(json: &Json) -> Value {
    let entries = json.as_object().unwrap().iter().map(|(key, value)| {
        let value = match key.as_str() {
            "httpRequestHeader" => {
                Value::header(value.as_object().unwrap().iter().flat_map(|(name, values)| {
                    values.as_array().unwrap().iter().map(|v| (name.clone(), v.as_str().unwrap()))
                }))
            }
            "RetryAfter" => Value::Duration(90_000_000_000),
            "status_code" => Value::Int(value.as_i64().unwrap()),
            _ => Value::from(value.clone()),
        };
        (key.clone(), value)
    });
    let limit =
        Value::structure([("Name", Value::from("n1")), ("RequestsPerUnit", Value::Int(10))]);
    let status = |code, limit, reset| {
        Value::structure([
            ("Code", Value::Int(code)),
            ("CurrentLimit", limit),
            ("LimitRemaining", Value::Int(0)),
            ("DurationUntilReset", Value::Duration(reset)),
        ])
    };
    let response = Value::structure([
        ("OverallCode", Value::Int(2)),
        ("Statuses", Value::list([status(1, Value::Nil, 0), status(2, limit, 90_000_000_000)])),
    ]);
    Value::map(entries.chain([("RateLimitResponse".to_owned(), response)]))
}

/// Addresses differ from run to run.
fn without_addresses(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("0x") {
        out += &rest[..at];
        out += "0x…";
        rest = rest[at + 2..].trim_start_matches(|c: char| c.is_ascii_hexdigit());
    }
    out + rest
}

#[test]
fn every_template_gives_what_go_gives() {
    let golden: Json = serde_json::from_str(GOLDEN).unwrap();
    let data = data(&golden["data"]);
    let mut wrong = Vec::new();
    for case in golden["cases"].as_array().unwrap() {
        let text = case["template"].as_str().unwrap();
        let want = match (case["error"].as_str(), case["set"].as_bool()) {
            (Some(error), _) => format!("{error} error"),
            (None, Some(false)) => "not set".to_owned(),
            _ => case["out"].as_str().unwrap().to_owned(),
        };
        let got = match Template::parse(text, &Functions::body()) {
            Err(_) => "parse error".to_owned(),
            Ok(template) => match template.execute(&data) {
                Err(_) => "exec error".to_owned(),
                Ok(output) if !output.set => "not set".to_owned(),
                Ok(output) => output.text,
            },
        };
        if without_addresses(&got) != without_addresses(&want) {
            wrong.push(format!("{text}\n  want {want:?}\n  got  {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
