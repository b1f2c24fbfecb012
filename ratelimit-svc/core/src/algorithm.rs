//! How hits are counted. A store keeps the state; what becomes of it is here.

pub mod fixed_window;
pub mod token_bucket;
