//! Authorization: specification, compilation and the step machine. Pure: no IO, no clock of its own.

use service_kit::{Diagnostic, Object, ObjectRef};

/// Everything that is wrong with one `Filter` or `FilterPolicy` object by itself; whether what it
/// refers to exists is not looked at.
pub fn check(_object: &Object) -> Vec<Diagnostic> {
    Vec::new()
}

/// The Secrets that a `Filter` object names.
pub fn secret_refs(_object: &Object) -> Vec<ObjectRef> {
    Vec::new()
}
