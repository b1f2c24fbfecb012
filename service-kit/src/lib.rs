//! Words that the three programs share, and (feature `server`) the shell their processes run in.
//!
//! The words are plain data and pure functions: [`Diagnostic`] tells people what is wrong with an
//! [`Object`], [`Secret`] keeps a value out of logs, [`go`] reads the notations that users of
//! Go programs write in their settings, [`yaml`] reads files and remembers lines.
//! This crate knows no rule of any resource.

pub mod diagnostic;
pub mod go;
pub mod object;
pub mod secret;
pub mod spelling;
pub mod yaml;

pub use diagnostic::{Diagnostic, Diagnostics, Reason, Severity};
pub use object::{AmbassadorId, Object, ObjectRef};
pub use secret::Secret;

#[cfg(feature = "server")]
pub mod server;
