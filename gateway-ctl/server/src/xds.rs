//! The xDS server: delta ADS for Envoys and for the two services, on one port.
//!
//! [`snapshot`] is what is in force, [`session`] decides what one client is sent and when,
//! [`service`] does the IO, [`clients`] is what people are told about it. This module knows no
//! resource's content.

pub mod clients;
pub mod metrics;
pub mod service;
pub mod session;
pub mod snapshot;
mod subscription;

pub use clients::{ClientStatus, Clients};
pub use metrics::Metrics;
pub use service::{Rejection, Server};
pub use session::Pace;
pub use snapshot::Snapshot;

#[cfg(test)]
mod tests;
