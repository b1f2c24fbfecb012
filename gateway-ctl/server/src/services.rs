//! What ratelimit-svc and authz-svc say of themselves: asked on their admin ports when somebody looks
//! at a page, and kept nowhere. A service that does not answer costs its own part of the page.

mod exposition;

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use gateway_core::overview::ClusterOverview;
use serde::{Serialize, Serializer};
use serde_json::Value;
use service_kit::Secret;

pub use self::exposition::Sample;
use crate::explain::EnvoyHosts;

/// A replica that does not answer within this time is told as such.
const ANSWER: Duration = Duration::from_secs(1);
/// Bytes of an answer that are read at most.
const MOST: usize = 8 << 20;
/// Replicas of a service that are asked at most.
const REPLICAS: usize = 16;

/// The statistics of hosts, and no others.
const HOSTS: &str = "/stats/prometheus?filter=%5Ecluster%5C..*%5C.(endpoint%5C..*%5C.healthy%7Cmembership_total%7Coutlier_detection%5C.ejections_active)%24";

/// Where the admin ports of the services are.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// ratelimit-svc's, as `HOST:PORT`; a name may have several addresses, one for each replica.
    pub ratelimit: Option<String>,
    /// authz-svc's.
    pub authz: Option<String>,
    /// That of an Envoy on this machine.
    pub envoy: Option<SocketAddr>,
    /// Where Envoys serve `/stats/prometheus`, as `HOST:PORT`; a name may have an address for each.
    pub envoys: Option<String>,
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// ratelimit-svc
    RateLimit,
    /// authz-svc
    Authz,
}

/// Asks the services.
#[derive(Clone)]
pub struct Services {
    addresses: Addresses,
    /// Theirs is the same as ours: what names clients needs it from elsewhere than their machine.
    token: Option<Secret<String>>,
    http: reqwest::Client,
}

/// What a replica of a service says.
#[derive(Debug, Serialize)]
pub struct Replica {
    /// Its admin port.
    pub address: SocketAddr,
    /// `/readyz`, or why there is no answer.
    #[serde(serialize_with = "or_error")]
    pub ready: Result<Value, String>,
    /// `/metrics`.
    #[serde(skip)]
    pub samples: Vec<Sample>,
    /// What was asked for besides, or why it cannot be had.
    #[serde(serialize_with = "or_error")]
    pub more: Result<Value, String>,
}

impl Replica {
    /// Components that are not well, each with why.
    pub fn faults(&self) -> Vec<(String, String)> {
        let ready = match &self.ready {
            Ok(ready) => ready,
            Err(why) => return vec![("no answer".to_owned(), why.clone())],
        };
        let components = ready["components"].as_object().into_iter().flatten();
        components
            .filter_map(|(name, state)| Some((name.clone(), state.as_str()?.to_owned())))
            .filter(|(_, state)| state != "ok")
            .collect()
    }
}

/// What an Envoy says of the hosts of its clusters.
#[derive(Debug, Serialize)]
pub struct Envoy {
    /// Where it was asked.
    pub address: SocketAddr,
    /// By cluster, or why there is no answer.
    #[serde(serialize_with = "or_error")]
    pub hosts: Result<EnvoyHosts, String>,
}

/// A service: where its admin port should be, and what its replicas say. None when nobody said where
/// it is.
pub type Answer = Option<Result<Vec<Replica>, String>>;

/// What each replica shows of a page, as [`Answer`].
pub type Pages = Option<Result<Vec<Result<Value, String>>, String>>;

/// Writes an answer, or `{"error": WHY}`.
///
/// # Errors
/// Those of the writer.
pub fn or_error<T: Serialize, S: Serializer>(
    answer: &Result<T, String>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match answer {
        Ok(answer) => answer.serialize(to),
        Err(why) => serde_json::json!({"error": why}).serialize(to),
    }
}

/// Writes what the replicas say, null when nobody said where they are.
///
/// # Errors
/// Those of the writer.
pub fn if_known<S: Serializer>(answer: &Answer, to: S) -> Result<S::Ok, S::Error> {
    match answer {
        Some(answer) => or_error(answer, to),
        None => to.serialize_none(),
    }
}

impl Services {
    /// Services at `addresses`.
    pub fn new(addresses: Addresses, token: Option<Secret<String>>) -> Self {
        Self { addresses, token, http: reqwest::Client::new() }
    }

    /// Whether the replicas of a service are well.
    pub async fn health(&self, of: Service) -> Answer {
        let ask = |address| async move {
            let ready = self.ready(address).await;
            Replica { address, ready, samples: Vec::new(), more: Ok(Value::Null) }
        };
        self.ask(of, ask).await
    }

    /// Whether the replicas of a service are well, with their numbers and, unless it is empty, `page`,
    /// as `/decisions`.
    pub async fn report(&self, of: Service, page: &str) -> Answer {
        let ask = |address| async move {
            let (ready, metrics, more) =
                tokio::join!(self.ready(address), self.get(address, "/metrics", false), async {
                    match page {
                        "" => Ok(Value::Null),
                        page => self.page(address, page).await,
                    }
                },);
            let samples = metrics.map(|text| exposition::read(&text)).unwrap_or_default();
            Replica { address, ready, samples, more }
        };
        self.ask(of, ask).await
    }

    /// What each replica of a service shows of a page, as `/counters?domain=shop`.
    pub async fn pages(&self, of: Service, page: &str) -> Pages {
        self.ask(of, |address| self.page(address, page)).await
    }

    /// What each replica of ratelimit-svc says of the counters of a request; nothing is counted.
    pub async fn counters(&self, request: &Value) -> Pages {
        let ask = |address: SocketAddr| async move {
            let url = format!("http://{address}/counters/read");
            let body = request.to_string();
            read(&self.send(self.http.post(url).body(body), false).await?)
        };
        self.ask(Service::RateLimit, ask).await
    }

    /// What each Envoy that can be asked says of the hosts of clusters; none when nobody said where they are.
    pub async fn envoys(&self, clusters: &[ClusterOverview]) -> Option<Result<Vec<Envoy>, String>> {
        if let Some(address) = self.addresses.envoy {
            let said = self.page(address, "/clusters?format=json").await;
            return Some(Ok(vec![Envoy { address, hosts: said.map(|s| EnvoyHosts::read(&s)) }]));
        }
        let ask = |address| async move {
            let said = self.get(address, HOSTS, false).await;
            let hosts =
                said.map(|text| EnvoyHosts::of_statistics(&exposition::read(&text), clusters));
            Envoy { address, hosts }
        };
        Some(self.ask_all(self.addresses.envoys.as_deref()?, ask).await)
    }

    /// What all Envoys together say of their hosts.
    pub async fn envoy_hosts(&self, clusters: &[ClusterOverview]) -> Option<EnvoyHosts> {
        let said = self.envoys(clusters).await?.ok()?;
        let hosts: Vec<EnvoyHosts> = said.into_iter().filter_map(|e| e.hosts.ok()).collect();
        (!hosts.is_empty()).then(|| EnvoyHosts::merged(hosts))
    }

    /// Asks every replica of a service; none when nobody said where it is.
    async fn ask<T, F: Future<Output = T>>(
        &self,
        of: Service,
        ask: impl Fn(SocketAddr) -> F,
    ) -> Option<Result<Vec<T>, String>> {
        let address = match of {
            Service::RateLimit => self.addresses.ratelimit.as_deref()?,
            Service::Authz => self.addresses.authz.as_deref()?,
        };
        Some(self.ask_all(address, ask).await)
    }

    /// Asks every address that a name has.
    async fn ask_all<T, F: Future<Output = T>>(
        &self,
        address: &str,
        ask: impl Fn(SocketAddr) -> F,
    ) -> Result<Vec<T>, String> {
        let mut found: Vec<_> = match tokio::net::lookup_host(address).await {
            Ok(found) => found.collect(),
            Err(e) => return Err(format!("{address}: {e}")),
        };
        found.sort();
        found.dedup();
        found.truncate(REPLICAS);
        Ok(join_all(found.into_iter().map(ask)).await)
    }

    async fn ready(&self, address: SocketAddr) -> Result<Value, String> {
        read(&self.get(address, "/readyz", true).await?)
    }

    async fn page(&self, address: SocketAddr, page: &str) -> Result<Value, String> {
        read(&self.get(address, page, false).await?)
    }

    /// The body of an answer; `any_status`: of one that says it is not well, too.
    async fn get(
        &self,
        address: SocketAddr,
        path: &str,
        any_status: bool,
    ) -> Result<String, String> {
        self.send(self.http.get(format!("http://{address}{path}")), any_status).await
    }

    async fn send(
        &self,
        request: reqwest::RequestBuilder,
        any_status: bool,
    ) -> Result<String, String> {
        let mut request = request.timeout(ANSWER);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let mut answer = request.send().await.map_err(|e| plain(&e))?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| plain(&e))? {
            body.extend_from_slice(&chunk);
            if body.len() > MOST {
                return Err(format!("more than {MOST} bytes"));
            }
        }
        let text = String::from_utf8_lossy(&body).into_owned();
        if status.is_success() || any_status {
            return Ok(text);
        }
        Err(format!("{}: {}", status.as_u16(), text.trim()))
    }
}

fn read(json: &str) -> Result<Value, String> {
    serde_json::from_str(json).map_err(|e| e.to_string())
}

/// An error without the URL, of which the page says enough.
fn plain(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", ANSWER.as_secs());
    }
    let mut source: &dyn std::error::Error = error;
    while let Some(next) = source.source() {
        source = next;
    }
    source.to_string()
}
