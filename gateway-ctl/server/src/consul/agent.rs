//! One agent of Consul, asked about the instances of services by questions that it answers when
//! something changed ("blocking queries").

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gateway_core::ir::balance::ConsulService;
use reqwest::header::{HeaderMap, HeaderValue};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::Environment;
use super::name::Named;

/// How long an agent may wait for a change until it answers that there is none.
const WAIT: Duration = Duration::from_secs(60);
/// The same when more services are followed than may be asked about at a time.
const SHORT_WAIT: Duration = Duration::from_secs(2);
/// Questions at a time. An agent takes 200 connections of one client unless told otherwise.
const AT_A_TIME: usize = 128;
/// An answer must begin so long after the wait was over; Consul adds up to a sixteenth to the wait.
const PATIENCE: Duration = Duration::from_secs(10);
/// Until connecting is given up.
const CONNECT: Duration = Duration::from_secs(3);
/// Longest answer.
const MOST_BYTES: usize = 16 << 20;

/// An agent.
pub(super) struct Agent {
    base: reqwest::Url,
    http: reqwest::Client,
    environment: Environment,
    permits: Semaphore,
    followed: AtomicUsize,
}

/// The instances of a service.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// Address and port of those whose checks pass.
    pub(super) instances: BTreeSet<(String, u16)>,
    /// Those that have names instead of addresses.
    pub(super) named: Vec<Named>,
    /// Those that cannot be used, and why.
    pub(super) left_out: Vec<String>,
    /// What to wait for a change of.
    pub(super) index: u64,
    /// How long the answer took.
    pub(super) took: Duration,
}

impl Agent {
    /// An agent at an address as a resolver writes it.
    pub(super) fn new(address: &str, environment: &Environment) -> Result<Self, String> {
        let base = environment.url(address)?;
        let http = environment
            .client()?
            .connect_timeout(CONNECT)
            .tcp_keepalive(Duration::from_secs(15))
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("gateway-ctl/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| words(&e))?;
        Ok(Self {
            base,
            http,
            environment: environment.clone(),
            permits: Semaphore::new(AT_A_TIME),
            followed: AtomicUsize::new(0),
        })
    }

    /// Asks about a service; with an `index` other than 0 the answer comes when it changed.
    pub(super) async fn ask(&self, service: &ConsulService, index: u64) -> Result<Answer, String> {
        let _asking = Asking::new(&self.followed);
        let Ok(_permit) = self.permits.acquire().await else { return Err("closed".to_owned()) };
        let crowded = self.followed.load(Ordering::Relaxed) > AT_A_TIME;
        let wait = if crowded { SHORT_WAIT } else { WAIT };
        let begun = Instant::now();
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().extend(["v1", "health", "service", &service.service]);
        }
        url.query_pairs_mut()
            .append_pair("dc", &service.datacenter)
            .append_pair("passing", "true")
            .append_pair("index", &index.to_string())
            .append_pair("wait", &format!("{}s", wait.as_secs()));
        let mut request = self.http.get(url).timeout(wait + wait / 16 + PATIENCE);
        if service.trusted
            && let Some(token) = self.environment.token()?
        {
            let mut value = HeaderValue::from_str(token.expose())
                .map_err(|_| "the token is no header's value".to_owned())?;
            value.set_sensitive(true);
            request = request.header("x-consul-token", value);
        }
        let mut response = request.send().await.map_err(|e| words(&e))?;
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        let limit = if status.is_success() { MOST_BYTES } else { 1024 };
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| words(&e))? {
            body.extend_from_slice(&chunk);
            if body.len() > limit {
                if status.is_success() {
                    return Err(format!("its answer is longer than {MOST_BYTES} bytes"));
                }
                break;
            }
        }
        if !status.is_success() {
            let text: String =
                String::from_utf8_lossy(&body).split_whitespace().collect::<Vec<_>>().join(" ");
            let text: String = text.chars().take(200).collect();
            return Err(format!("it answered {} ({text})", status.as_u16()));
        }
        let mut answer = read(&body)?;
        answer.index = index_of(&headers);
        answer.took = begun.elapsed();
        Ok(answer)
    }
}

/// Counts who asks or waits to.
struct Asking<'a>(&'a AtomicUsize);

impl<'a> Asking<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The index of an answer; at least 1, because a question with 0 does not wait.
fn index_of(headers: &HeaderMap) -> u64 {
    let text = headers.get("x-consul-index").and_then(|v| v.to_str().ok());
    text.and_then(|t| t.parse().ok()).unwrap_or(1).max(1)
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "Node")]
    node: Node,
    #[serde(rename = "Service")]
    service: Instance,
}

#[derive(Deserialize)]
struct Node {
    #[serde(rename = "Address", default)]
    address: String,
}

#[derive(Deserialize)]
struct Instance {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(rename = "Address", default)]
    address: String,
    #[serde(rename = "Port", default)]
    port: i64,
}

/// Reads an answer's body.
fn read(body: &[u8]) -> Result<Answer, String> {
    let entries: Vec<Entry> = serde_json::from_slice(body)
        .map_err(|_| "its answer is no list of instances".to_owned())?;
    let mut answer = Answer::default();
    for Entry { node, service } in entries {
        let id = service.id;
        // An instance without an address is where its node is.
        let host = if service.address.is_empty() { node.address } else { service.address };
        let Some(port) = u16::try_from(service.port).ok().filter(|p| *p > 0) else {
            answer.left_out.push(format!("instance {id} has no port"));
            continue;
        };
        match host.parse::<IpAddr>() {
            Ok(ip) => {
                answer.instances.insert((ip.to_string(), port));
            }
            Err(_) => answer.named.push(Named { id, host, port }),
        }
    }
    Ok(answer)
}

/// The innermost reason.
fn words(e: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = e;
    while let Some(source) = inner.source() {
        inner = source;
    }
    if e.is_timeout() { "no answer in time".to_owned() } else { inner.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_at_its_own_address_or_its_nodes() {
        let body = r#"[
            {"Node": {"Address": "10.0.0.1"}, "Service": {"ID": "a", "Address": "", "Port": 80}, "Checks": []},
            {"Node": {"Address": "10.0.0.1"}, "Service": {"ID": "b", "Address": "fd00::1", "Port": 81}},
            {"Node": {"Address": "10.0.0.1"}, "Service": {"ID": "c", "Address": "c.test", "Port": 82}},
            {"Node": {"Address": "10.0.0.1"}, "Service": {"ID": "d", "Port": 0}}
        ]"#;
        let answer = read(body.as_bytes()).unwrap();
        let instances: Vec<_> = answer.instances.into_iter().collect();
        assert_eq!(instances, [("10.0.0.1".to_owned(), 80), ("fd00::1".to_owned(), 81)]);
        let named = Named { id: "c".to_owned(), host: "c.test".to_owned(), port: 82 };
        assert_eq!(answer.named, [named]);
        assert_eq!(answer.left_out, ["instance d has no port"]);
        assert!(read(b"{}").is_err());
    }
}
