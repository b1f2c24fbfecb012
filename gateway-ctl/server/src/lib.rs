//! Controller of the gateway: Emissary-compatible resources in, delta xDS out.

pub mod bootstrap;
pub mod certificates;
pub mod check;
pub mod cli;
pub mod controller;
pub mod crds;
pub mod drain;
pub mod echo;
mod environment;
pub mod explain;
pub mod folder;
mod history;
pub mod kubernetes;
pub mod metrics;
pub mod output;
pub mod page;
pub mod plane;
pub mod probe;
pub mod render;
pub mod reporter;
pub mod run;
pub mod source;
pub mod statsd;
mod wake;
pub mod webhook;
pub mod xds;
