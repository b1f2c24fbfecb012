//! The cases of `cases/gateway` through gateway-ctl and a real Envoy. The format is that of each
//! file: resources in, requests in, answers out.

#![allow(clippy::unwrap_used)]

#[path = "gateway/edge.rs"]
mod edge;
#[path = "gateway/expectation.rs"]
mod expectation;
#[path = "gateway/resources.rs"]
mod resources;

use e2e::cases;
use serde_json::Value;

fn main() {
    let mut all: Vec<(String, Box<dyn FnOnce() + Send>)> = Vec::new();
    let mut files: Vec<_> =
        std::fs::read_dir(e2e::root().join("cases/gateway")).unwrap().flatten().collect();
    files.sort_by_key(std::fs::DirEntry::path);
    for file in files {
        let file = file.file_name().into_string().unwrap();
        let case = cases::load(&format!("gateway/{file}"));
        let name = file.trim_end_matches(".yaml").to_owned();
        all.push((name, Box::new(move || run(&case))));
    }
    cases::run("gateway", all);
}

fn run(case: &Value) {
    let edge = edge::Edge::start(case);
    edge.expect_diagnostics(case);
    edge.expect_config(case);
    for (i, row) in case["requests"].as_array().into_iter().flatten().enumerate() {
        if let Err(why) = edge.request(row) {
            panic!("request {}: {why}\n{row}\n{}", i + 1, edge.log());
        }
    }
}
