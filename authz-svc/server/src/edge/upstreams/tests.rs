use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::*;

fn upstreams() -> Upstreams {
    Upstreams::new(Addresses::default(), &mut Registry::default())
}

fn call(url: String) -> HttpCall {
    HttpCall {
        method: "GET".to_owned(),
        url,
        headers: vec![("x-a".to_owned(), "1".to_owned())],
        body: Vec::new(),
        transport: Arc::default(),
        timeout: Duration::from_millis(500),
        max_answer: 10,
    }
}

/// Answers each connection with this text, and tells what it was asked.
fn server(answer: &'static str) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/p", listener.local_addr().unwrap());
    let (heard, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = [0; 4096];
            let n = stream.read(&mut bytes).unwrap_or(0);
            let _ = heard.send(String::from_utf8_lossy(&bytes[..n]).into_owned());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (url, asked)
}

#[tokio::test]
async fn a_call_goes_out_and_its_answer_comes_back() {
    let (url, asked) = server(
        "HTTP/1.1 302 Found\r\nlocation: http://x/\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\
         connection: close\r\ncontent-length: 2\r\n\r\nok",
    );
    let answer = upstreams().http(call(url)).await.unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (302, b"ok".as_slice()));
    let cookies = answer.headers.iter().filter(|(n, _)| n == "set-cookie").count();
    assert_eq!((cookies, answer.header("connection")), (2, None));
    assert!(asked.recv().unwrap().contains("x-a: 1"));
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_none() {
    let (url, _asked) =
        server("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 11\r\n\r\n12345678901");
    assert_eq!(upstreams().http(call(url)).await.unwrap_err(), CallError::TooLong);
}

#[tokio::test]
async fn metadata_is_not_called() {
    let metadata = call("http://169.254.169.254/latest/".to_owned());
    assert_eq!(upstreams().http(metadata).await.unwrap_err(), CallError::Forbidden);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_not_asked_for_a_while() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let upstreams = upstreams();
    let mut results = Vec::new();
    for _ in 0..8 {
        let call = HttpCall { timeout: Duration::from_millis(20), ..call(url.clone()) };
        results.push(upstreams.http(call).await.unwrap_err());
    }
    assert_eq!(results[..5], [CallError::TimedOut; 5]);
    assert!(results[5..].contains(&CallError::Shed), "{results:?}");
    // Another server is not concerned.
    let (other, _asked) =
        server("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(upstreams.http(call(other)).await.unwrap().status, 200);
}
