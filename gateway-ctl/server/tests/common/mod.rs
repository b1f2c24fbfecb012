//! What the tests of this folder share: a real Envoy, plain HTTP, folders of their own.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A program that ends with its test, however that ends.
pub struct Ends(pub std::process::Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The Envoy that `gateway-ctl run` would take; says so when it is not there yet.
pub fn envoy() -> Option<PathBuf> {
    let found = find_envoy();
    if found.is_none() {
        eprintln!("no Envoy on this machine: this part is left out (`make tools` gets one)");
    }
    found
}

/// The oldest Envoy that must take what is rendered, if `scripts/install-envoy.sh` got it.
pub fn old_envoy() -> Option<PathBuf> {
    cached_envoy("1.36.4")
}

fn find_envoy() -> Option<PathBuf> {
    let on_path = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|p| p.join("envoy")).find(|p| p.is_file())
    });
    on_path.or_else(|| cached_envoy("1.40.0"))
}

fn cached_envoy(version: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    std::fs::read_dir(cache.join(format!("tollgate/envoy-{version}/lib")))
        .ok()?
        .filter_map(Result::ok)
        .map(|e| e.path().join("site-packages/envoy/_bin/envoy"))
        .find(|p| p.is_file())
}

/// A free port of the loopback address.
pub fn free_port() -> SocketAddr {
    // Below the ports that the system gives to clients, and not given twice.
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step =
            std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let address = SocketAddr::from(([127, 0, 0, 1], 12_000 + (step % 8_000) as u16));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Status and body of a GET on a connection of its own.
pub fn get(address: SocketAddr, path: &str) -> Result<(u16, String), std::io::Error> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: test.example\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text.get(9..12).and_then(|s| s.parse().ok()).unwrap_or_default();
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Ok((status, body))
}

/// Asks again until `done` or 20 seconds are over.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A fresh folder of this test.
pub fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("gateway-ctl-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}
