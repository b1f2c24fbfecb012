//! What the benchmark programs share: a load of unary gRPC calls, a histogram of latencies and the
//! processor time of a process; what authorization services are asked (`checks`) and configured
//! with (`policies`).

pub mod checks;
pub mod histogram;
pub mod load;
pub mod policies;
pub mod process;
