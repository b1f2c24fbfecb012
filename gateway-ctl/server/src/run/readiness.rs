//! When requests can come: Envoy and both services have everything, and Envoy says that it lives.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::progress::with_progress;
use crate::plane::Plane;
use crate::xds::clients::ClientKind;

/// Longer than any start; something is wrong then.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two questions to Envoy.
const PAUSE: Duration = Duration::from_millis(25);

/// Waits for it.
///
/// # Errors
/// One line after a minute: who is not ready.
pub(super) async fn wait(plane: &Plane, envoy_admin: SocketAddr) -> Result<(), String> {
    let waiting = async {
        let mut changes = plane.clients.changes();
        while !missing(plane).is_empty() {
            // The list outlives this wait.
            let _ = changes.changed().await;
        }
        while !is_live(envoy_admin).await {
            tokio::time::sleep(PAUSE).await;
        }
    };
    let what = || match missing(plane).as_slice() {
        [] => "waiting for Envoy to warm up".to_owned(),
        names => format!("waiting for {} to take the configuration", names.join(", ")),
    };
    timeout(LIMIT, with_progress(what, waiting)).await.map_err(|_| {
        format!(
            "not ready after {} s: still {}; see the lines above, or http://{}/",
            LIMIT.as_secs(),
            what(),
            plane.admin.addr
        )
    })
}

/// Who has not yet acknowledged everything.
fn missing(plane: &Plane) -> Vec<&'static str> {
    let clients = plane.clients.list();
    [
        (ClientKind::Envoy, "listener"),
        (ClientKind::RateLimit, "rate_limit"),
        (ClientKind::Authorization, "authorization"),
    ]
    .into_iter()
    .filter(|(kind, word)| {
        !clients.iter().any(|c| c.kind == *kind && c.has(word) && c.is_in_sync(0))
    })
    .map(|(kind, _)| kind.word())
    .collect()
}

/// Envoy's `/ready`: all listeners and their routes are there.
async fn is_live(admin: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(admin).await?;
        stream
            .write_all(b"GET /ready HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n\r\n")
            .await?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await?;
        Ok::<_, std::io::Error>(head.ends_with(b"200"))
    };
    matches!(timeout(Duration::from_secs(1), ask).await, Ok(Ok(true)))
}
