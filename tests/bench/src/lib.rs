//! What the benchmark programs share: a histogram of latencies and the processor time of a process.
//! It knows neither gRPC nor the services.

pub mod histogram;
pub mod process;
