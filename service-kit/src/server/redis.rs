//! Servers of Redis (or Valkey) in every way they are run: alone, behind Sentinels, as a Cluster;
//! over TCP, TLS or a socket. How to reach them, and how settings name them; not what is kept there.

mod cluster;
mod dial;
mod settings;
#[cfg(feature = "testing")]
pub mod testing;
mod tls;
mod variables;

pub use cluster::{Cluster, Node};
pub use dial::{Address, Credentials, Dial, Sentinels, Target};
pub use settings::{RedisServer, Topology};
pub use tls::{Tls, Trust};

/// How a server is: in words when it cannot be relied on.
pub type State = Result<(), std::sync::Arc<str>>;
