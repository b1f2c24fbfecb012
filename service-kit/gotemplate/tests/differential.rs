//! Many more templates and what Go made of them, on the data of the golden file.

#![allow(clippy::unwrap_used)] // helpers of a test

use gotemplate::{Functions, Template, Value};
use serde_json::Value as Json;

const DATA: &str = include_str!("golden/go-template.json");
const CASES: &str = include_str!("golden/go-template-more.json");

/// The golden data with Go's own types where it had them, and `failure`, an `error`.
fn data() -> Value {
    let golden: Json = serde_json::from_str(DATA).unwrap();
    let entries = golden["data"].as_object().unwrap().iter().map(|(key, value)| {
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
        Value::structure([("Name", Value::from("n1")), ("RequestsPerUnit", Value::Uint(10))]);
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
    let no_fields: [(&str, Value); 0] = [];
    let failure = Value::error("it <failed>", no_fields);
    Value::map(
        entries
            .chain([("RateLimitResponse".to_owned(), response), ("failure".to_owned(), failure)]),
    )
}

/// Addresses differ from run to run.
fn without_addresses(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("0xc0") {
        out += &rest[..at];
        out += "0xc0…";
        rest = rest[at + 4..].trim_start_matches(|c: char| c.is_ascii_hexdigit());
    }
    out + rest
}

fn run(text: &str, data: &Value) -> String {
    match Template::parse(text, &Functions::body()) {
        Err(_) => "parse error".to_owned(),
        Ok(template) => match template.execute(data) {
            Err(_) => "exec error".to_owned(),
            Ok(output) => format!("set={} {}", output.set, without_addresses(&output.text)),
        },
    }
}

#[test]
fn every_template_gives_what_go_gives() {
    let cases: Json = serde_json::from_str(CASES).unwrap();
    let data = data();
    let mut wrong = Vec::new();
    for case in cases.as_array().unwrap() {
        let text = case["template"].as_str().unwrap();
        let want = match case["error"].as_str() {
            Some(error) => format!("{error} error"),
            None => {
                let out = without_addresses(case["out"].as_str().unwrap());
                format!("set={} {out}", case["set"].as_bool().unwrap())
            }
        };
        let got = std::panic::catch_unwind(|| run(text, &data));
        let got = got.unwrap_or_else(|_| "panic".to_owned());
        if got != want {
            wrong.push(format!("{text}\n  want {want:?}\n  got  {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
