//! From resources to the intermediate form. Each function sees only what it is given, so what a
//! unit depends on can be read off its parameters.

pub mod binding;
pub mod cluster;
pub mod group;
pub mod paths;
pub mod resolver;
pub mod services;
pub mod tcp;
pub mod tls;
pub mod weight;
