//! Calls to other servers: identity providers, other authorization services. Each server (scheme,
//! host and port, and how it is reached) has its own bound and breaker, so that one that hangs costs
//! nobody else. Knows nothing of what a call is for.

mod grpc;
mod guard;
mod http;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use authz_core::need::{CallError, GrpcCall, HttpAnswer, HttpCall, Transport};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::addresses::Addresses;
use guard::Breaker;

/// Most calls to one server at a time.
const AT_A_TIME: usize = 256;
/// How long a call waits for one of them to end.
const PATIENCE: Duration = Duration::from_millis(100);
/// Most servers that are remembered; beyond, those without calls are forgotten.
const MOST: usize = 1_000;

/// Who is called, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    origin: String,
    transport: Arc<Transport>,
}

/// The servers that are called.
#[derive(Debug)]
pub(crate) struct Upstreams {
    servers: Mutex<HashMap<Key, Arc<Server>>>,
    http: http::Clients,
    grpc: grpc::Channels,
    calls: Family<CallLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabel {
    upstream: String,
    result: &'static str,
}

#[derive(Debug)]
struct Server {
    origin: String,
    bulkhead: Semaphore,
    breaker: Breaker,
}

impl Upstreams {
    /// Calls only what `addresses` allow.
    pub(crate) fn new(addresses: Addresses, registry: &mut Registry) -> Self {
        let calls = Family::default();
        let text = "Calls to other servers by result: ok, timed_out, unavailable, shed, refused";
        registry.register("authz_upstream_calls", text, calls.clone());
        Self {
            servers: Mutex::default(),
            http: http::Clients::new(addresses.clone()),
            grpc: grpc::Channels::new(addresses),
            calls,
        }
    }

    /// Makes an HTTP call.
    pub(crate) async fn http(&self, call: HttpCall) -> Result<Arc<HttpAnswer>, CallError> {
        let url: reqwest::Url = call.url.parse().map_err(|_| CallError::Malformed)?;
        let origin = url.origin().ascii_serialization();
        let transport = call.transport.clone();
        let timeout = call.timeout;
        // A server that answers 5xx is there, but does not work.
        let works = |answer: &Arc<HttpAnswer>| answer.status < 500;
        self.call(origin, transport, timeout, works, self.http.call(url, call)).await
    }

    /// Makes a gRPC call.
    pub(crate) async fn grpc(&self, call: GrpcCall) -> Result<Arc<Vec<u8>>, CallError> {
        let (origin, transport) = (call.origin.clone(), call.transport.clone());
        let timeout = call.timeout;
        self.call(origin, transport, timeout, |_| true, self.grpc.call(call)).await
    }

    async fn call<T>(
        &self,
        origin: String,
        transport: Arc<Transport>,
        timeout: Duration,
        works: impl FnOnce(&T) -> bool,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let server = self.server(Key { origin, transport });
        let result = server.guarded(timeout, works, call).await;
        let told = match &result {
            Ok(_) => "ok",
            Err(CallError::TimedOut) => "timed_out",
            Err(CallError::Unavailable) => "unavailable",
            Err(CallError::Shed) => "shed",
            Err(CallError::TooLong | CallError::Forbidden | CallError::Malformed) => "refused",
        };
        let upstream = server.origin.clone();
        self.calls.get_or_create(&CallLabel { upstream, result: told }).inc();
        result
    }

    fn server(&self, key: Key) -> Arc<Server> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = servers.get(&key) {
            return server.clone();
        }
        if servers.len() >= MOST {
            servers.retain(|_, server| Arc::strong_count(server) > 1);
        }
        let server = Arc::new(Server {
            origin: key.origin.clone(),
            bulkhead: Semaphore::new(AT_A_TIME),
            breaker: Breaker::default(),
        });
        if servers.len() < MOST {
            servers.insert(key, server.clone());
        }
        server
    }
}

impl Server {
    /// Makes the call if it may be made; the breaker learns how it went.
    async fn guarded<T>(
        &self,
        timeout: Duration,
        works: impl FnOnce(&T) -> bool,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let _permit = self.admit().await?;
        if !self.breaker.may_call(Instant::now()) {
            return Err(CallError::Shed);
        }
        let mut out = Out { server: self, ended: false };
        let result = tokio::time::timeout(timeout, call).await;
        let result = result.unwrap_or(Err(CallError::TimedOut));
        out.ended = true;
        let good = match &result {
            Ok(answer) => works(answer),
            Err(CallError::TimedOut | CallError::Unavailable) => false,
            // The call itself was wrong, or what it asked for: no fault of the connection.
            Err(_) => true,
        };
        match self.breaker.ended(good, Instant::now()) {
            Some(true) => tracing::info!("{} answers again", self.origin),
            Some(false) => tracing::warn!(
                "{} does not answer; it is asked only now and then until it does",
                self.origin
            ),
            None => {}
        }
        result
    }

    async fn admit(&self) -> Result<SemaphorePermit<'_>, CallError> {
        if let Ok(permit) = self.bulkhead.try_acquire() {
            return Ok(permit);
        }
        match tokio::time::timeout(PATIENCE, self.bulkhead.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(CallError::Shed),
        }
    }
}

/// A call that is out; tells the breaker when it is given up.
struct Out<'a> {
    server: &'a Server,
    ended: bool,
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.server.breaker.abandoned();
        }
    }
}

#[cfg(test)]
mod tests;
