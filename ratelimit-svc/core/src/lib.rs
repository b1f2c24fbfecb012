//! Rate limits: specification, compilation, plan and decision. Pure: no IO, no clock of its own.

use service_kit::{Diagnostic, Object};

/// Everything that is wrong with one `RateLimit` object.
pub fn check(_object: &Object) -> Vec<Diagnostic> {
    Vec::new()
}
