//! A backend that is no HTTP server: it answers the first bytes of a connection with its name and
//! what they were, and closes it.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Hit, Hits};

pub(super) async fn serve(listener: TcpListener, name: String, hits: Hits) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream, name.clone(), hits.clone()));
    }
}

async fn answer(mut stream: TcpStream, name: String, hits: Hits) {
    let mut bytes = vec![0; 4096];
    let Ok(count) = stream.read(&mut bytes).await else { return };
    let body = String::from_utf8_lossy(&bytes[..count]).into_owned();
    hits.lock().unwrap().push(Hit { body: body.clone(), ..Hit::default() });
    let text = json!({"backend": name, "body": body}).to_string();
    // Whoever asked may be gone.
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}
