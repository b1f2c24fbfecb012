//! The cases of `cases/rls.yaml` through the real ratelimit-svc, each with its counters in Redis,
//! alone, with a Sentinel and as a cluster, and in memory. The format is that of the file's head.

#![allow(clippy::unwrap_used)]

#[path = "rls/format.rs"]
mod format;
#[path = "rls/runner.rs"]
mod runner;

use e2e::cases;
use e2e::redis::Store;
use serde_json::Value;

fn main() {
    let file = cases::load("rls.yaml");
    let mut all: Vec<(String, Box<dyn FnOnce() + Send>)> = Vec::new();
    for case in file["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        for store in Store::ALL {
            let (configs, case) = (file["configs"].clone(), case.clone());
            let name = format!("{name}/{}", store.name());
            all.push((name, Box::new(move || runner::run(&configs, &case, store))));
        }
    }
    cases::run("rls", all);
}

/// A list of texts.
fn texts(value: &Value) -> Vec<String> {
    cases::listed(value).iter().map(cases::text).collect()
}
