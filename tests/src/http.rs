//! HTTP/1.1 as small as it gets: paths and headers go out exactly as they are given.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::tls::Stream;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// As in `GET`.
    pub method: String,
    /// With query.
    pub path: String,
    /// Names and values; `host` must be among them.
    pub headers: Vec<(String, String)>,
    /// May be empty.
    pub body: String,
}

impl Request {
    /// A GET with a host.
    pub fn get(path: &str, host: &str) -> Self {
        Self {
            method: "GET".to_owned(),
            path: path.to_owned(),
            headers: vec![("host".to_owned(), host.to_owned())],
            body: String::new(),
        }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
}

impl Response {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The body as JSON, or null.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// GET over a connection of its own.
///
/// # Errors
/// When there is no answer within 10 s.
pub fn get(addr: SocketAddr, path: &str) -> io::Result<Response> {
    send(addr, &Request::get(path, &addr.to_string()))
}

/// Sends a request over a connection of its own.
///
/// # Errors
/// When there is no answer within 10 s.
pub fn send(addr: SocketAddr, request: &Request) -> io::Result<Response> {
    exchange(&mut connect(addr)?, request)
}

/// A connection that is waited for 5 s, and for each answer 10 s.
///
/// # Errors
/// When there is none.
pub fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

/// Sends a request as the only one of a connection.
///
/// # Errors
/// When there is no answer.
pub fn exchange(stream: &mut dyn Stream, request: &Request) -> io::Result<Response> {
    let mut text = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
    for (name, value) in &request.headers {
        text += &format!("{name}: {value}\r\n");
    }
    if !request.body.is_empty() {
        text += &format!("content-length: {}\r\n", request.body.len());
    }
    text += "connection: close\r\n\r\n";
    text += &request.body;
    stream.write_all(text.as_bytes())?;
    let bytes = read_all(stream)?;
    parse(&bytes).ok_or_else(|| io::Error::other("no HTTP response"))
}

/// Everything until the end of the connection; TLS may end without saying so.
///
/// # Errors
/// When there is nothing.
pub fn read_all(stream: &mut dyn Stream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(e) if bytes.is_empty() => Err(e),
        Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => Err(e),
        _ => Ok(bytes),
    }
}

fn parse(bytes: &[u8]) -> Option<Response> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|l| l.split_once(':'))
        .map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()))
        .collect();
    let body = &bytes[end + 4..];
    let chunked = headers.iter().any(|(n, v)| n == "transfer-encoding" && v.contains("chunked"));
    let body = if chunked { dechunk(body) } else { body.to_vec() };
    Some(Response { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

fn dechunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = bytes.windows(2).position(|w| w == b"\r\n") {
        let size = String::from_utf8_lossy(&bytes[..end]);
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else { break };
        let start = end + 2;
        if size == 0 || bytes.len() < start + size {
            break;
        }
        out.extend_from_slice(&bytes[start..start + size]);
        bytes = bytes.get(start + size + 2..).unwrap_or_default();
    }
    out
}
