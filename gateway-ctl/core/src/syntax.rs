//! Notations inside fields that Envoy would refuse if they were wrong: checked at the door, so
//! that a bad one costs its own object only. Knows no resource.

pub mod format;
pub mod header;
pub mod hostname;
pub mod regex;

pub use hostname::Hostname;
