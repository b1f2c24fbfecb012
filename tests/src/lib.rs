//! The harness: starts the real programs and the parts they talk to, on free ports, and speaks to
//! them as their users do.

#![allow(clippy::unwrap_used)] // a harness that cannot go on says so by failing

pub mod authorizer;
pub mod backend;
pub mod browser;
pub mod cases;
pub mod certificates;
pub mod churn;
pub mod clock;
pub mod collector;
pub mod consul;
pub mod control_plane;
pub mod dns;
pub mod envoy;
pub mod gateway;
pub mod http;
pub mod keycloak;
pub mod kubernetes;
pub mod limiter;
pub mod process;
pub mod redis;
pub mod run;
pub mod signature;
pub mod tls;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

/// A free port of 127.0.0.1 that no other test gets. It is below the ports that the system gives to
/// clients, so that no connection takes it before it is used.
pub fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step =
            std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 20_000 + u16::try_from(step % 12_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A free address of loopback.
pub fn free_addr() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// The folder of this crate.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Where `make tools` puts what it gets.
pub fn cache() -> PathBuf {
    let home = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    home.join("tollgate")
}

/// A new folder, gone when dropped.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes the folder.
    pub fn new(name: &str) -> Self {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let unique = format!(
            "tollgate-{name}-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &std::path::Path {
        &self.0
    }

    /// Writes a file so that a reader sees the old or the new text, never a part.
    pub fn write(&self, name: &str, text: &str) {
        let hidden = self.0.join(format!(".{name}.new"));
        std::fs::write(&hidden, text).unwrap();
        std::fs::rename(hidden, self.0.join(name)).unwrap();
    }

    /// Deletes a file.
    pub fn remove(&self, name: &str) {
        let _ = std::fs::remove_file(self.0.join(name));
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
