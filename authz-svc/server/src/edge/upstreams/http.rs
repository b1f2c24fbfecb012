//! HTTP calls, by a client for each way of reaching servers.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use authz_core::need::{CallError, HttpAnswer, HttpCall, Transport};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, Identity, Method};

use crate::edge::addresses::{Addresses, Forbidden};

/// Most clients that are kept.
const MOST: usize = 256;
/// For the connection alone.
const CONNECT: Duration = Duration::from_secs(3);
/// Headers of one connection (RFC 9110 section 7.6.1): not of the answer.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The clients.
#[derive(Debug)]
pub(super) struct Clients {
    addresses: Addresses,
    known: Mutex<HashMap<Arc<Transport>, Client>>,
}

impl Clients {
    pub(super) fn new(addresses: Addresses) -> Self {
        Self { addresses, known: Mutex::default() }
    }

    /// Makes a call; its time is the caller's business.
    pub(super) async fn call(
        &self,
        url: reqwest::Url,
        call: HttpCall,
    ) -> Result<Arc<HttpAnswer>, CallError> {
        if !self.addresses.may_call_url(&url) {
            tracing::warn!("{call:?} is not made: {Forbidden}");
            return Err(CallError::Forbidden);
        }
        let client = self.client(&call.transport)?;
        let method =
            Method::from_bytes(call.method.as_bytes()).map_err(|_| CallError::Malformed)?;
        let headers = headers(&call.headers)?;
        let shown = format!("{call:?}");
        let request = client.request(method, url).headers(headers).body(call.body);
        let mut response = request.send().await.map_err(|e| failed(&shown, &e))?;
        let mut answer = HttpAnswer {
            status: response.status().as_u16(),
            headers: answer_headers(response.headers()),
            body: Vec::new(),
        };
        while let Some(chunk) = response.chunk().await.map_err(|e| failed(&shown, &e))? {
            if answer.body.len() + chunk.len() > call.max_answer {
                tracing::warn!("{shown}: the answer is longer than {} bytes", call.max_answer);
                return Err(CallError::TooLong);
            }
            answer.body.extend_from_slice(&chunk);
        }
        Ok(Arc::new(answer))
    }

    fn client(&self, transport: &Arc<Transport>) -> Result<Client, CallError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = known.get(transport) {
            return Ok(client.clone());
        }
        let client = build(&self.addresses, transport).map_err(|why| {
            tracing::warn!("a server cannot be called: {why}");
            CallError::Malformed
        })?;
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(transport.clone(), client.clone());
        Ok(client)
    }
}

fn build(addresses: &Addresses, transport: &Transport) -> Result<Client, String> {
    let mut builder = addresses.client().connect_timeout(CONNECT).no_proxy();
    if transport.insecure_tls {
        builder = builder.danger_accept_invalid_certs(true);
    }
    if let Some(pem) = &transport.authorities {
        let authorities = Certificate::from_pem_bundle(pem.0.expose())
            .map_err(|_| "its authorities are no certificates (PEM)")?;
        builder = builder.tls_certs_only(authorities);
    }
    if let Some((chain, key)) = &transport.identity {
        let pem = [chain.0.expose().as_slice(), b"\n", key.0.expose().as_slice()].concat();
        let identity = Identity::from_pem(&pem)
            .map_err(|_| "the client's certificate or key is none (PEM)")?;
        builder = builder.identity(identity);
    }
    builder.build().map_err(|e| e.to_string())
}

fn headers(pairs: &[(String, String)]) -> Result<HeaderMap, CallError> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| CallError::Malformed)?;
        let value = HeaderValue::from_str(value).map_err(|_| CallError::Malformed)?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn answer_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .filter(|(name, _)| !HOP_BY_HOP.contains(&name.as_str()))
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
        .collect()
}

/// What failed, in a line of the log; the URL's parameters are not told.
fn failed(call: &str, error: &reqwest::Error) -> CallError {
    let mut cause: Option<&dyn Error> = error.source();
    let mut last = None;
    while let Some(inner) = cause {
        if inner.is::<Forbidden>() {
            tracing::warn!("{call} is not made: {Forbidden}");
            return CallError::Forbidden;
        }
        last = Some(inner);
        cause = inner.source();
    }
    let why = last.map_or_else(|| "no answer".to_owned(), ToString::to_string);
    tracing::warn!("{call}: {why}");
    if error.is_timeout() { CallError::TimedOut } else { CallError::Unavailable }
}
