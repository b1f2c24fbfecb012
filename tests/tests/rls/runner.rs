//! One case: a server of its own, and its steps.

use std::time::{Duration, Instant};

use e2e::TempDir;
use e2e::cases;
use e2e::http;
use e2e::limiter::Limiter;
use e2e::redis::{Running, Store};
use prost::Message as _;
use prost_reflect::DynamicMessage;
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use serde_json::{Value, json};

use crate::format;

/// Tells which configuration is in force: a limit whose size is its generation.
const GENERATION_BASE: u64 = 1_000_000;

struct Case<'a> {
    configs: &'a Value,
    folder: TempDir,
    files: Vec<String>,
    generation: u64,
    store: Running,
    limiter: Limiter,
}

pub(crate) fn run(configs: &Value, case: &Value, store: Store) {
    let folder = TempDir::new("rls");
    let mut files = Vec::new();
    write(&folder, &mut files, &texts_of(configs, &case["config"]), 1);
    let store = Running::start(store);
    let variables = store.variables();
    let own: Vec<(String, String)> = case["env"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| (k.clone(), cases::text(v)))
        .collect();
    let variables = variables.iter().map(|(k, v)| (*k, v.as_str()));
    let own = own.iter().map(|(k, v)| (k.as_str(), v.as_str()));
    let environment: Vec<(&str, &str)> = variables.chain(own).collect();
    let limiter = Limiter::start_ready(&folder, &environment);
    let mut case_run = Case { configs, folder, files, generation: 1, store, limiter };
    for (i, step) in case["steps"].as_array().unwrap().iter().enumerate() {
        if let Err(why) = case_run.step(step) {
            panic!("step {}: {why}\nserver log:\n{}", i + 1, case_run.limiter.process.log());
        }
    }
}

/// Files by name: a named configuration, a text, or several texts.
fn texts_of(configs: &Value, config: &Value) -> Vec<(String, String)> {
    match config {
        Value::String(name) if configs[name].is_string() || configs[name].is_object() => {
            texts_of(configs, &configs[name].clone())
        }
        Value::String(text) => vec![("config.yaml".to_owned(), text.clone())],
        several => several
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, text)| (name.clone(), cases::text(text)))
            .collect(),
    }
}

fn write(folder: &TempDir, files: &mut Vec<String>, texts: &[(String, String)], generation: u64) {
    for (name, text) in texts {
        folder.write(name, text);
    }
    for old in files.iter().filter(|old| !texts.iter().any(|(name, _)| name == *old)) {
        folder.remove(old);
    }
    *files = texts.iter().map(|(name, _)| name.clone()).collect();
    let limit = GENERATION_BASE + generation;
    folder.write(
        "zz_gen.yaml",
        &format!("domain: __gen\ndescriptors:\n- key: g\n  rate_limit: {{unit: year, requests_per_unit: {limit}}}\n"),
    );
}

impl Case<'_> {
    fn step(&mut self, step: &Value) -> Result<(), String> {
        let Some(seconds) = step["retry"].as_u64() else { return self.once(step) };
        let end = Instant::now() + Duration::from_secs(seconds);
        loop {
            match self.once(step) {
                Err(why) if Instant::now() >= end => return Err(why),
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
                Ok(()) => return Ok(()),
            }
        }
    }

    fn once(&mut self, step: &Value) -> Result<(), String> {
        for (kind, spec) in step.as_object().into_iter().flatten() {
            match kind.as_str() {
                "rl" => return self.ask(spec, step),
                "room" => return room(spec),
                "reload" => return self.reload(spec, step),
                "http" => return self.http(spec.as_str().unwrap_or_default(), step),
                "redis" => return self.redis(spec),
                "sleep" => {
                    std::thread::sleep(Duration::from_secs_f64(spec.as_f64().unwrap_or(0.0)));
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(format!("unknown step {step}"))
    }

    fn call(&mut self, request: &RateLimitRequest) -> Result<RateLimitResponse, tonic::Status> {
        self.limiter.call(request.clone())
    }

    fn ask(&mut self, spec: &Value, step: &Value) -> Result<(), String> {
        let request = format::request(spec, &step["hits"]);
        let mut result = self.call(&request);
        for _ in 1..step["n"].as_u64().unwrap_or(1) {
            result = self.call(&request);
        }
        if step["error"].is_object() {
            return expect_error(&step["error"], result);
        }
        let response = result.map_err(|s| format!("failed: {s}"))?;
        let code = format::code(response.overall_code);
        if step["want"].as_str().is_some_and(|want| want != code) {
            return Err(format!("overall: want {}, got {code}", step["want"]));
        }
        if response.statuses.len() != request.descriptors.len() {
            return Err("not one status for each descriptor".to_owned());
        }
        let got: Vec<String> = response.statuses.iter().map(format::status).collect();
        if step["st"].is_array() && crate::texts(&step["st"]) != got {
            return Err(format!("statuses: want {}, got {got:?}", step["st"]));
        }
        expect_resets(&response)?;
        if step.get("headers").is_some() {
            expect_headers(&step["headers"], &format::headers(&response))?;
        }
        match step.get("metadata") {
            Some(want) => expect_metadata(want, &response),
            None => Ok(()),
        }
    }

    /// The generation in force.
    fn in_force(&mut self) -> u64 {
        let request = format::request(
            &json!({"domain": "__gen", "d": [{"e": "g=x", "hits": 0}]}),
            &Value::Null,
        );
        let response = self.call(&request).unwrap();
        let limit = response.statuses[0].current_limit.as_ref().unwrap().requests_per_unit;
        u64::from(limit) - GENERATION_BASE
    }

    fn reload(&mut self, spec: &Value, step: &Value) -> Result<(), String> {
        let before = self.in_force();
        self.generation += 1;
        let wanted = self.generation;
        write(&self.folder, &mut self.files, &texts_of(self.configs, spec), wanted);
        if step["want"] == "rejected" {
            let log = step["log"].as_str().unwrap_or("Error loading new configuration");
            self.limiter.process.wait_log(log);
            let now = self.in_force();
            return if now == before {
                Ok(())
            } else {
                Err("the bad configuration is in force".to_owned())
            };
        }
        let end = Instant::now() + Duration::from_secs(10);
        while self.in_force() != wanted {
            if Instant::now() > end {
                return Err("the new configuration is not in force".to_owned());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn http(&self, target: &str, step: &Value) -> Result<(), String> {
        let (method, path) = target.split_once(' ').ok_or("no path")?;
        let body = step.get("body").map(cases::text).unwrap_or_default();
        let request =
            http::Request { method: method.to_owned(), body, ..http::Request::get(path, "test") };
        let response = http::send(self.limiter.http, &request).map_err(|e| e.to_string())?;
        if step["status"].as_u64().is_some_and(|want| want != u64::from(response.status)) {
            return Err(format!(
                "want {}, got {} {}",
                step["status"], response.status, response.body
            ));
        }
        if step["text"].as_str().is_some_and(|text| !response.body.contains(text)) {
            return Err(format!("the body is {}", response.body));
        }
        match step.get("json") {
            Some(want) => cases::contains(want, &response.json(), "body"),
            None => Ok(()),
        }
    }

    /// Only with Redis; in memory the key is nobody's business.
    fn redis(&self, spec: &Value) -> Result<(), String> {
        if matches!(self.store, Running::Memory) {
            return Ok(());
        }
        let redis = &self.store;
        if let Some(key) = spec["absent"].as_str() {
            return match redis.ask(&["GET", &format::key(key)]) {
                None => Ok(()),
                Some(value) => Err(format!("{key} is {value}")),
            };
        }
        let key = format::key(spec["key"].as_str().ok_or("no key")?);
        let value = redis.ask(&["GET", &key]).ok_or_else(|| format!("{key} does not exist"))?;
        if !spec["value"].is_null() && cases::text(&spec["value"]) != value {
            return Err(format!("{key}: want {}, got {value}", spec["value"]));
        }
        if let Some([low, high]) = spec["ttl"].as_array().map(Vec::as_slice) {
            let ttl: i64 = redis.ask(&["TTL", &key]).unwrap_or_default().parse().unwrap_or(-1);
            if Some(ttl) < low.as_i64() || Some(ttl) > high.as_i64() {
                return Err(format!("{key}: ttl {ttl} is not in {}", spec["ttl"]));
            }
        }
        Ok(())
    }
}

/// Waits until so many seconds are left in the window.
fn room(spec: &Value) -> Result<(), String> {
    let unit = spec["unit"].as_str().ok_or("no unit")?;
    let wanted = spec["s"].as_u64().unwrap_or(5);
    while format::to_reset(unit) < wanted.min(format::seconds(unit)) {
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn expect_error(
    want: &Value,
    result: Result<RateLimitResponse, tonic::Status>,
) -> Result<(), String> {
    let status = result.err().ok_or("want an error, got an answer")?;
    let code = format!("{:?}", status.code()).to_uppercase();
    if want["code"].as_str().is_some_and(|c| c.replace('_', "") != code) {
        return Err(format!("want {}, got {status}", want["code"]));
    }
    match want["contains"].as_str() {
        Some(text) if !status.message().contains(text) => {
            Err(format!("the text is {}", status.message()))
        }
        _ => Ok(()),
    }
}

fn expect_resets(response: &RateLimitResponse) -> Result<(), String> {
    for status in &response.statuses {
        match (&status.current_limit, &status.duration_until_reset) {
            (Some(limit), Some(reset)) => {
                let unit = format::status(status);
                let unit = unit.split(['/', ' ']).nth(3).unwrap_or_default();
                if !format::is_near_reset(reset.seconds, unit) {
                    return Err(format!("{limit:?}: reset in {} s", reset.seconds));
                }
            }
            (None, None) => {}
            other => return Err(format!("limit and reset do not go together: {other:?}")),
        }
    }
    Ok(())
}

fn expect_headers(want: &Value, got: &[(String, String)]) -> Result<(), String> {
    let want: Vec<(String, String)> =
        want.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), cases::text(v))).collect();
    let mut got = got.to_vec();
    let mut sorted = want.clone();
    got.sort();
    sorted.sort();
    let fits = got.len() == sorted.len()
        && got.iter().zip(&sorted).all(|((gk, gv), (wk, wv))| {
            gk == wk
                && wv.strip_prefix('~').map_or(gv == wv, |unit| {
                    gv.parse().is_ok_and(|seconds| format::is_near_reset(seconds, unit))
                })
        });
    if fits { Ok(()) } else { Err(format!("headers: want {want:?}, got {got:?}")) }
}

fn expect_metadata(want: &Value, response: &RateLimitResponse) -> Result<(), String> {
    let descriptor = proto::reflect::POOL.get_message_by_name("google.protobuf.Struct").unwrap();
    let bytes = response.dynamic_metadata.clone().unwrap_or_default().encode_to_vec();
    let got = DynamicMessage::decode(descriptor, bytes.as_slice()).unwrap();
    let got = serde_json::to_value(&got).unwrap();
    cases::contains(want, &got, "metadata")?;
    cases::contains(&got, want, "metadata")
}
