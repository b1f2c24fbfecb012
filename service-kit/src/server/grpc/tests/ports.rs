//! Connections: how many, how long, over what.

use std::path::PathBuf;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsConnector;

use super::hot::{Caller, GRPC, Hot, framed};
use super::*;
use crate::server::tls::tests::{Ca, ca, client, nameless};
use crate::server::tls::{Clients, Source};

/// Until the other side closes.
async fn closes(stream: &mut TcpStream) {
    let mut bytes = Vec::new();
    // A reset is an end, too.
    let _ = soon(stream.read_to_end(&mut bytes)).await;
}

fn metrics(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    text
}

#[tokio::test]
async fn connections_are_counted_and_one_too_many_is_refused() {
    let port = Hot::new(Limits { connections: 1, ..Limits::default() }).await;
    let first = port.caller().await;
    assert_eq!(first.call("hello").await.body, framed("hello"));
    closes(&mut port.tcp().await).await;
    let text = metrics(&port.registry);
    assert!(text.contains("tollgate_grpc_connections 1\n"), "{text}");
    assert!(text.contains("tollgate_grpc_connections_refused_total 1\n"), "{text}");
    first.ended.abort();
    let place_again = async {
        loop {
            if let Ok(caller) = Caller::try_on(port.tcp().await).await
                && let Ok(begun) = caller.begin(GRPC).await
            {
                return begun;
            }
            tokio::task::yield_now().await;
        }
    };
    soon(place_again).await;
}

#[tokio::test]
async fn who_says_nothing_is_let_go() {
    let limits = Limits { handshake: Duration::from_millis(50), ..Limits::default() };
    let port = Hot::new(limits).await;
    closes(&mut port.tcp().await).await;
}

#[tokio::test]
async fn who_answers_no_ping_is_let_go_and_who_does_is_not() {
    let time = Duration::from_millis(50);
    let port = Hot::new(Limits { ping: time, pong: time * 20, ..Limits::default() }).await;
    let lives = port.caller().await;
    let mut dead = port.tcp().await;
    dead.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    closes(&mut dead).await;
    assert_eq!(lives.call("hello").await.body, framed("hello"));
}

#[tokio::test]
async fn an_old_connection_leaves_and_its_calls_finish() {
    let limits = Limits { age: Some(Duration::from_millis(100)), ..Limits::default() };
    let mut port = Hot::new(limits).await;
    let caller = port.caller().await;
    let waits = caller.start("wait").await;
    soon(port.came.recv()).await.unwrap();
    caller.is_told_to_go().await;
    port.may_answer.add_permits(1);
    assert_eq!(waits.answer().await.unwrap().body, framed("wait"));
    soon(caller.ended).await.unwrap().unwrap();
    assert_eq!(port.caller().await.call("hello").await.body, framed("hello"));
}

#[tokio::test]
async fn an_old_connection_ends_with_its_calls_when_the_grace_is_over() {
    let time = Duration::from_millis(50);
    let limits = Limits { age: Some(time), age_grace: time, ..Limits::default() };
    let mut port = Hot::new(limits).await;
    let caller = port.caller().await;
    let waits = caller.start("wait").await;
    soon(port.gone.recv()).await.unwrap();
    assert!(waits.answer().await.is_err());
}

fn socket_path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("grpc-{}-{name}.sock", std::process::id()))
}

#[tokio::test]
async fn a_unix_socket_serves_and_leaves_nothing_behind() {
    let path = socket_path("serves");
    // Of a server that did not end well.
    drop(UnixListener::bind(&path).unwrap());
    let address: Address = format!("unix:{}", path.display()).parse().unwrap();
    let listener = Listener::bind(&address).await.unwrap();
    let port = Hot::on(listener, None, Limits::default());
    assert_eq!(port.address, address);
    let caller = Caller::on(UnixStream::connect(&path).await.unwrap()).await;
    assert_eq!(caller.call("hello").await.body, framed("hello"));
    let second = Listener::bind(&address).await.unwrap_err();
    assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
    assert_eq!(caller.call("hello").await.body, framed("hello"));
    port.trigger.fire();
    soon(port.served).await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let path = socket_path("file");
    std::fs::write(&path, "precious").unwrap();
    let error = Listener::bind(&Address::Unix(path.clone())).await.unwrap_err();
    assert!(error.to_string().contains("no socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn addresses_are_read() {
    for text in ["127.0.0.1:1", "[::1]:2", "unix:/run/a.sock"] {
        assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
    }
    for text in ["", "unix:", "8081", "localhost:1"] {
        assert!(text.parse::<Address>().is_err(), "{text}");
    }
}

/// TLS of the files in `folder`, for clients named `client_name`.
fn files(folder: &std::path::Path, client_name: Option<&str>) -> Source {
    Source {
        setting: "GRPC_SERVER_USE_TLS",
        chain: folder.join("tls.crt"),
        key: folder.join("tls.key"),
        ca: client_name.map(|_| folder.join("ca.crt")),
        clients: Clients::Require,
        client_name: client_name.map(str::to_owned),
    }
}

async fn tls_port(source: Source) -> Hot {
    let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    Hot::on(listener.into(), Some(Tls::open_files(source).unwrap()), Limits::default())
}

/// The certificate that the port shows a client that it serves.
async fn served(port: &Hot, config: Arc<rustls::ClientConfig>) -> io::Result<Vec<u8>> {
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(config).connect(name, port.tcp().await).await?;
    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let shown = shown.first().map(|c| c.to_vec()).unwrap_or_default();
    let caller = Caller::try_on(stream).await.map_err(io::Error::other)?;
    let mut begun = caller.begin(GRPC).await.map_err(io::Error::other)?;
    begun.1.send_data(framed("hello"), true).map_err(io::Error::other)?;
    let answer = begun.answer().await.map_err(io::Error::other)?;
    assert_eq!(answer.body, framed("hello"));
    Ok(shown)
}

#[tokio::test]
async fn clients_need_the_name_that_is_asked_for() {
    let ours = ca();
    let port = tls_port(files(&ours.folder(), Some("envoy.example"))).await;
    let with = |ca: &Ca, name: &str| client(&ca.folder_for(name));
    served(&port, with(&ours, "envoy.example")).await.unwrap();
    assert!(served(&port, with(&ours, "other.example")).await.is_err(), "another name");
    let stranger = with(&ca(), "envoy.example");
    assert!(served(&port, stranger).await.is_err(), "another authority");
    assert!(served(&port, nameless(&ours.folder())).await.is_err(), "no certificate");
    let open = tls_port(files(&ours.folder(), None)).await;
    served(&open, nameless(&ours.folder())).await.unwrap();
}

#[tokio::test]
async fn single_files_are_followed_and_a_bad_pair_changes_nothing() {
    let ours = ca();
    let folder = ours.folder();
    let port = tls_port(files(&folder, None)).await;
    let config = nameless(&folder);
    let before = served(&port, config.clone()).await.unwrap();
    let (chain, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    let other = ours.folder();
    std::fs::copy(other.join("tls.crt"), &chain).unwrap();
    assert!(Tls::open_files(files(&folder, None)).unwrap_err().contains("does not fit"));
    assert_eq!(served(&port, config.clone()).await.unwrap(), before);
    std::fs::copy(other.join("tls.key"), &key).unwrap();
    let renewed = async {
        while served(&port, config.clone()).await.unwrap() == before {
            tokio::task::yield_now().await;
        }
    };
    soon(renewed).await;
}

#[test]
fn a_name_that_is_none_is_refused_at_start() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _guard = runtime.enter();
    let error = Tls::open_files(files(&ca().folder(), Some("10.0.0.1"))).unwrap_err();
    assert!(error.contains("`10.0.0.1`, which is no DNS name"), "{error}");
}
