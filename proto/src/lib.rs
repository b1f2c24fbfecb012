//! Protobuf contracts: Tollgate's own (`tollgate.config.v1`) and the part of Envoy's API that it
//! speaks, generated from the files in `vendor/` and `api/`.
//!
//! Messages only, unless a feature asks for more: `grpc` adds clients and servers, `reflect` the
//! descriptor set; [`wire`] reads without copies. This crate knows no rule of any program.

#[allow(dead_code, missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/messages.rs"));
}

pub use generated::{envoy, google, ratelimit, tollgate, xds};

#[cfg(feature = "reflect")]
pub mod reflect;
pub mod wire;
