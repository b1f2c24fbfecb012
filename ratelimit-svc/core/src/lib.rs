//! Rate limits: specification, compilation, plan and decision. Pure: no IO, no clock of its own.
//!
//! A request and the [`Limits`] in force give a [`Plan`]: which limits it meets and which counters
//! they have. A store runs the plan and gives [`Count`]s; [`decide`] makes the response of them.
//! Nothing looks back.

pub mod algorithm;
mod decide;
mod limit;
mod plan;
pub mod ratelimit_file;
pub mod resource;
pub mod spec;

pub use decide::{Decision, Options, decide};
pub use limit::{Limit, LimitId, Unit};
pub use plan::{
    Count, Counter, CounterKind, Limits, Matched, Plan, PlanError, PlanOptions, Planned,
};
pub use resource::check;
