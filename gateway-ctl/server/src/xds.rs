//! The xDS server: ADS for Envoys and for the two services, on one port, the delta way or the older
//! way of the whole state.
//!
//! [`snapshot`] is what is in force, [`session`] decides what one client is sent and when,
//! `wire` is how both are spoken, [`service`] does the IO, [`clients`] is what people are told about it. This module knows no
//! resource's content.

pub mod clients;
pub mod metrics;
pub mod service;
pub mod session;
pub mod snapshot;
mod subscription;
mod wire;

pub use clients::{ClientStatus, Clients};
pub use metrics::Metrics;
pub use service::{Rejection, Server};
pub use session::Pace;
pub use snapshot::Snapshot;

#[cfg(test)]
mod tests;
