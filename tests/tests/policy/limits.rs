//! Cases of RateLimit objects through ratelimit-svc.

use std::collections::BTreeMap;

use e2e::TempDir;
use e2e::cases;
use e2e::clock::Clock;
use e2e::limiter::Limiter;
use e2e::redis::{Running, Store};
use proto::envoy::config::core::v3::HeaderValue;
use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use serde_json::{Value, json};

/// The start of a day, hour and minute.
const START: u64 = 1_893_456_000;

pub(crate) fn run(case: &Value, store: Store) {
    let folder = TempDir::new("limits");
    folder.write(
        "limits.json",
        &json!({"apiVersion": "v1", "kind": "List", "items": objects(case)}).to_string(),
    );
    let clock = Clock::at(START);
    let store = Running::start(store);
    let mut environment = clock.environment();
    environment.extend(store.variables());
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let mut limiter = Limiter::start_ready(&folder, &environment);
    let wanted = cases::listed(&case["want"]);
    for (send, want) in case["send"].as_array().unwrap().iter().zip(&wanted) {
        clock.set(START + send["at"].as_u64().unwrap_or(0));
        let (mut ok, mut over, mut last) = (0, 0, RateLimitResponse::default());
        for _ in 0..send["n"].as_u64().unwrap_or(1) {
            let request = request(send);
            last = limiter
                .call(request)
                .unwrap_or_else(|e| panic!("{e}\nserver log:\n{}", limiter.process.log()));
            if last.overall_code == i32::from(Code::OverLimit) { over += 1 } else { ok += 1 }
        }
        let got = answer(&last, ok, over);
        compare(want, &got).unwrap_or_else(|why| {
            panic!("{why}\nin {got}\nserver log:\n{}", limiter.process.log())
        });
    }
}

/// Limits of one object (and domain) stay together, in order.
fn objects(case: &Value) -> Vec<Value> {
    let mut objects: BTreeMap<(String, String, String), Vec<Value>> = BTreeMap::new();
    for limit in case["limits"].as_array().unwrap() {
        let mut limit = limit.as_object().unwrap().clone();
        let mut take = |key: &str, default: &str| {
            limit.remove(key).map_or(default.to_owned(), |v| cases::text(&v))
        };
        let (object, namespace, domain) =
            (take("object", "o"), take("namespace", "ns"), take("domain", "d"));
        objects.entry((namespace, object, domain)).or_default().push(Value::Object(limit));
    }
    let object = |((namespace, name, domain), limits): ((String, String, String), Vec<Value>)| {
        json!({"apiVersion": "getambassador.io/v3alpha1", "kind": "RateLimit",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"domain": domain, "limits": limits}})
    };
    objects.into_iter().map(object).collect()
}

fn request(send: &Value) -> RateLimitRequest {
    let entry = |pair: &Value| Entry { key: cases::text(&pair[0]), value: cases::text(&pair[1]) };
    let descriptor = |list: &Value| RateLimitDescriptor {
        entries: list.as_array().unwrap().iter().map(entry).collect(),
        ..RateLimitDescriptor::default()
    };
    RateLimitRequest {
        domain: send["domain"].as_str().unwrap_or("d").to_owned(),
        descriptors: send["desc"].as_array().unwrap().iter().map(descriptor).collect(),
        hits_addend: 0,
    }
}

/// The answer in the words of `want`.
fn answer(last: &RateLimitResponse, ok: u64, over: u64) -> Value {
    let code = |code: i32| Code::try_from(code).unwrap().as_str_name();
    let headers = |list: &[HeaderValue]| -> Value {
        list.iter()
            .map(|h| (h.key.to_lowercase(), Value::from(h.value.as_str())))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let metadata = last.dynamic_metadata.clone().unwrap_or_default().fields;
    let plain = |value: prost_types::Value| match value.kind {
        Some(prost_types::value::Kind::StringValue(text)) => Value::from(text),
        Some(prost_types::value::Kind::NumberValue(number)) => Value::from(number),
        _ => Value::Null,
    };
    let meta: serde_json::Map<String, Value> =
        metadata.into_iter().map(|(k, v)| (k, plain(v))).collect();
    let response_headers = headers(&last.response_headers_to_add);
    json!({
        "ok": ok, "over": over, "code": code(last.overall_code),
        "statuses": last.statuses.iter().map(|s| code(s.code)).collect::<Vec<_>>(),
        "retry_after": response_headers["retry-after"].as_str().and_then(|t| t.parse::<u64>().ok()),
        "meta": meta, "req_headers": headers(&last.request_headers_to_add),
        "resp_headers": response_headers, "body": String::from_utf8_lossy(&last.raw_body),
    })
}

fn compare(want: &Value, got: &Value) -> Result<(), String> {
    match (want, got) {
        (Value::Object(want), got) => {
            want.iter().try_for_each(|(k, v)| compare(v, &got[k]).map_err(|e| format!("{k}: {e}")))
        }
        (Value::String(want), got) if want.starts_with('~') => {
            if cases::text(got).contains(&want[1..]) {
                Ok(())
            } else {
                Err(format!("want {want}, got {got}"))
            }
        }
        (want, got) => cases::contains(want, got, ""),
    }
}
