//! ratelimit-svc behind a plain Envoy, configured by hand as its users do, and against callers and
//! configurations that mean harm.

#![allow(clippy::unwrap_used)]

#[path = "ratelimit/algorithms.rs"]
mod algorithms;
#[path = "ratelimit/calls.rs"]
mod calls;
#[path = "ratelimit/edge.rs"]
mod edge;
#[path = "ratelimit/example.rs"]
mod example;
#[path = "ratelimit/headers.rs"]
mod headers;
#[path = "ratelimit/hits.rs"]
mod hits;
#[path = "ratelimit/hostile_calls.rs"]
mod hostile_calls;
#[path = "ratelimit/hostile_configurations.rs"]
mod hostile_configurations;
#[path = "ratelimit/hostile_http.rs"]
mod hostile_http;
#[path = "ratelimit/objects.rs"]
mod objects;
#[path = "ratelimit/service.rs"]
mod service;
