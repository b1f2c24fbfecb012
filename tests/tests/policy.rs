//! The cases of `cases/policy.yaml` (resources RateLimit, Filter and FilterPolicy) through the real
//! services. The format is that of the file's head. Time is libfaketime's.

#![allow(clippy::unwrap_used)]

#[path = "policy/authorization.rs"]
mod authorization;
#[path = "policy/limits.rs"]
mod limits;
#[path = "policy/token.rs"]
mod token;

use e2e::cases;

fn main() {
    let file = cases::load("policy.yaml");
    let mut all: Vec<(String, Box<dyn FnOnce() + Send>)> = Vec::new();
    for case in file["cases"].as_array().unwrap().clone() {
        let name = case["id"].as_str().unwrap().to_owned();
        let run = if case["spec"] == "rl" { limits::run } else { authorization::run };
        all.push((name, Box::new(move || run(&case))));
    }
    cases::run("policy", all);
}
