//! Gateway resources to Envoy configuration, incrementally. Pure: no IO, no clock, no threads.
//!
//! [`Engine::apply`] takes objects as they come and says which xDS resources changed because of
//! them. The way of a change: the object is parsed and checked once at the door (`resource`),
//! the store keeps its last good version, what it touched before and what it touches now are the
//! dirty units, each is lowered to an intermediate form (`ir`), and only what differs is encoded
//! (`envoy`) and published. This crate knows Envoy's messages, not how they get to an Envoy.

pub mod certificate;
pub mod crd;
pub mod derived;
pub mod engine;
pub mod envoy;
pub mod index;
pub mod ir;
pub mod kinds;
pub mod lower;
pub mod migration;
pub mod output;
pub mod overview;
pub mod redaction;
pub mod resource;
pub mod store;
pub mod syntax;
pub mod verdict;

pub use engine::{Engine, Settings};
pub use output::{Output, Resource, ResourceType};
pub use overview::{ObjectOverview, ObjectRow, Overview};
pub use redaction::redacted;
pub use verdict::{Audience, State, Verdict};
