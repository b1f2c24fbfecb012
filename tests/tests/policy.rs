//! The cases of `cases/policy.yaml` (resources RateLimit, Filter and FilterPolicy) through the real
//! services, those of limits with each store. The format is that of the file's head. Time is libfaketime's.

#![allow(clippy::unwrap_used)]

#[path = "policy/authorization.rs"]
mod authorization;
#[path = "policy/limits.rs"]
mod limits;
#[path = "policy/token.rs"]
mod token;

use e2e::cases;
use e2e::redis::Store;

fn main() {
    let file = cases::load("policy.yaml");
    let mut all: Vec<(String, Box<dyn FnOnce() + Send>)> = Vec::new();
    for case in file["cases"].as_array().unwrap().clone() {
        let name = case["id"].as_str().unwrap().to_owned();
        if case["spec"] != "rl" {
            all.push((name, Box::new(move || authorization::run(&case))));
            continue;
        }
        for store in Store::ALL {
            let (name, case) = (format!("{name}/{}", store.name()), case.clone());
            all.push((name, Box::new(move || limits::run(&case, store))));
        }
    }
    cases::run("policy", all);
}
