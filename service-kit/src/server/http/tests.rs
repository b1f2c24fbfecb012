//! The port, asked over sockets.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};

use super::super::shutdown::{Shutdown, Trigger};
use super::{Address, Drain, Handler, Limits, Listener, Server};

/// Says what came.
struct Echo;

impl Handler for Echo {
    async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        assert_ne!(request.uri().path(), "/panic");
        let version = if request.version() == Version::HTTP_2 { "2" } else { "1" };
        let (head, body) = request.into_parts();
        let text = format!("{version} {} {} {}", head.method, head.uri.path(), body.len());
        Response::new(Bytes::from(text))
    }
}

struct Running {
    addr: SocketAddr,
    trigger: Trigger,
    served: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn start(limits: Limits) -> Self {
        let listener = Listener::bind(&Address::Tcp(([127, 0, 0, 1], 0).into())).await.unwrap();
        let Ok(Address::Tcp(addr)) = listener.address() else { panic!("no port") };
        let (shutdown, trigger) = Shutdown::manual();
        let drain = Drain { delay: Duration::ZERO, timeout: Duration::from_secs(5) };
        let server = Server::new(Echo, limits);
        let served = tokio::spawn(server.serve(listener, None, drain, shutdown));
        Self { addr, trigger, served }
    }

    /// What comes back for these bytes until the connection ends or rests.
    async fn say(&self, bytes: &[u8]) -> String {
        let (addr, bytes) = (self.addr, bytes.to_vec());
        let said = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            // It may be closed before all was sent.
            let _ = stream.write_all(&bytes);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            String::from_utf8_lossy(&answer).into_owned()
        });
        said.await.unwrap()
    }
}

fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n{more}connection: close\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_come_whole_and_within_bounds() {
    let limits = Limits {
        head: 64 << 10,
        headers: 20,
        body: 1000,
        patience: Duration::from_millis(300),
        ..Limits::default()
    };
    let port = Running::start(limits).await;
    let post = |body: &str| format!("POST /p HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{body}");
    let many = |n: usize| (0..n).map(|i| format!("x-{i}: 1\r\n")).collect::<String>();
    let long = format!("x: {}\r\n", "y".repeat(100 << 10));
    for (what, request, begins, has) in [
        ("a GET", get("/a?b", ""), "HTTP/1.1 200", "1 GET /a 0"),
        ("a body", post("content-length: 3\r\n\r\nabc"), "HTTP/1.1 200", "1 POST /p 3"),
        (
            "a body in chunks",
            post("transfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"),
            "HTTP/1.1 200",
            "1 POST /p 3",
        ),
        ("a long body", post("content-length: 1001\r\n\r\n"), "HTTP/1.1 413", ""),
        (
            "a long body in chunks",
            post(&format!(
                "transfer-encoding: chunked\r\n\r\n3e9\r\n{}\r\n0\r\n\r\n",
                "x".repeat(1001)
            )),
            "HTTP/1.1 413",
            "",
        ),
        ("a body that does not come", post("content-length: 5\r\n\r\nab"), "HTTP/1.1 408", ""),
        ("many headers", get("/", &many(30)), "HTTP/1.1 431", ""),
        ("long headers", get("/", &long), "HTTP/1.1 431", ""),
        ("a head that does not come", "GET / HTTP/1.1\r\nhost: a\r\n".to_owned(), "", ""),
        ("half a preface", "PRI * HT".to_owned(), "", ""),
        ("no HTTP", "garbage\r\n\r\n".to_owned(), "HTTP/1.1 400", ""),
        ("a fault of ours", get("/panic", ""), "HTTP/1.1 500", ""),
    ] {
        let answer = port.say(request.as_bytes()).await;
        assert!(answer.starts_with(begins) && answer.ends_with(has), "{what}: {answer:?}");
        assert!(!answer.to_lowercase().contains("\r\ndate:"), "{answer:?}");
    }
    assert!(port.say(get("/", "").as_bytes()).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_connection_that_rests_is_kept() {
    let patience = Duration::from_millis(100);
    let port = Running::start(Limits { patience, ..Limits::default() }).await;
    let addr = port.addr;
    let client = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(addr).unwrap();
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(350));
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
            let mut answer = [0; 256];
            let n = stream.read(&mut answer).unwrap();
            assert!(answer[..n].starts_with(b"HTTP/1.1 200"), "{:?}", &answer[..n]);
        }
    });
    client.await.unwrap();
}

#[tokio::test]
async fn speaks_http_2_and_drains() {
    let patience = Duration::from_millis(100);
    let port = Running::start(Limits { patience, ..Limits::default() }).await;
    let socket = tokio::net::TcpStream::connect(port.addr).await.unwrap();
    let (mut http, connection) = h2::client::handshake(socket).await.unwrap();
    let client = tokio::spawn(connection);
    // It may rest, too.
    tokio::time::sleep(Duration::from_millis(350)).await;
    let request = Request::get("http://a/x").body(()).unwrap();
    let (response, _) = http.send_request(request, true).unwrap();
    let mut body = response.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "2 GET /x 0");
    port.trigger.fire();
    port.served.await.unwrap();
    client.await.unwrap().unwrap();
    assert!(TcpStream::connect(port.addr).is_err(), "no more connections are taken");
}
