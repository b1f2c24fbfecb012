//! Authorization: specification, compilation and the step machine. Pure: no IO, no clock of its own.
//!
//! Objects become a [`Snapshot`] ([`compile`]); a request becomes a [`Flow`] that says what it
//! [`Step::Need`]s until it is allowed or denied. Whatever goes wrong denies.

pub mod arguments;
pub mod catalog;
mod compile;
mod context;
pub mod filter;
pub mod flow;
pub mod keys;
pub mod need;
pub mod policy;
pub mod provider;
mod reply;
pub mod request;
pub mod secrets;
pub mod spec;
mod structure;

pub use compile::{Compiled, Settings, check, compile, secret_refs};
pub use context::{Context, Identity};
pub use filter::jwt::TokenCache;
pub use flow::{
    DefaultDecision, Failure, Flow, Judgement, JudgementResult, Mutations, Outcome, Snapshot, Step,
};
pub use reply::Reply;
pub use request::Request;
