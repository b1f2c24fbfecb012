//! What the benchmark programs share: a load of unary gRPC calls, a histogram of latencies and the
//! processor time of a process; what authorization services are asked (`checks`) and configured
//! with (`policies`); what a gateway is (`mappings`),
//! and one that runs (`gateway`).

pub mod checks;
pub mod gateway;
pub mod histogram;
pub mod load;
pub mod mappings;
pub mod policies;
pub mod process;
