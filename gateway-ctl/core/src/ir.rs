//! What is to be, between resources and Envoy: plain values that compare.
//!
//! No field here knows Envoy's messages, and none needs another object to be understood.

pub mod access_log;
pub mod balance;
pub mod cluster;
pub mod error_page;
pub mod listener;
pub mod route;
pub mod tls;

pub use cluster::{Cluster, Dns, Keepalive, Threshold};
pub use listener::{Authorizer, HttpFilters, HttpOptions, Limiter, Listener};
pub use route::{
    Action, Auth, Cors, HeaderEdit, HeaderEdits, HostRewrite, PathKind, RateAction, Redirect,
    RedirectPath, Retry, Rewrite, Route, RouteKey, Shadow, ValueMatch,
};
pub use tls::{ClientTls, SecretUse, ServerTls};
