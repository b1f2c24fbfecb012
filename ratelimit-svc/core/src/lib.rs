//! Rate limits: specification, compilation, plan and decision. Pure: no IO, no clock of its own.
//!
//! A request and the [`Limits`] in force give a [`Plan`]: which limits it meets and which counters
//! they have. A store runs the plan and gives [`Count`]s; [`decide`] makes the response of them.
//! Nothing looks back.

pub mod algorithm;
mod decide;
mod key;
mod limit;
mod plan;
mod quota;
pub mod ratelimit_file;
mod reading;
pub mod request;
pub mod resource;
pub mod spec;

pub use decide::{Decision, Options, StandardHeaders, decide};
pub use limit::{Limit, LimitId, Unit};
pub use plan::{
    Charge, Count, Counter, CounterKind, Counts, Limits, Matched, Plan, PlanError, PlanOptions,
    Planned,
};
pub use quota::{OnStoreError, Quota};
pub use reading::{Kept, Reading};
pub use resource::check;
