//! Fuzz targets: whatever comes in, nothing panics and what goes out is well formed. `cargo test`
//! runs each on its corpus and for two seconds on new inputs; `cargo bolero test NAME` searches with
//! libFuzzer for as long as one likes.

#![allow(clippy::unwrap_used)]

#[path = "fuzz/configurations.rs"]
mod configurations;
#[path = "fuzz/requests.rs"]
mod requests;

use std::time::Duration;

/// How long new inputs are tried under `cargo test`.
const TIME: Duration = Duration::from_secs(2);
