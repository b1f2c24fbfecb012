//! The shell a process runs in: logs, admin port, files, streams, drain. Knows no resource.

pub mod admin;
pub mod aside;
pub mod files;
pub mod grpc;
pub mod http;
pub mod jitter;
pub mod live;
pub mod objects;
#[cfg(feature = "otlp")]
pub mod otlp;
mod port;
#[cfg(feature = "redis")]
pub mod redis;
mod reply;
pub mod shutdown;
pub mod sotw_client;
pub mod telemetry;
pub mod tls;
pub mod xds_client;
