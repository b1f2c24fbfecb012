//! Counters on the admin port: to look at, and to begin anew. Nothing is counted by it. Guarded, for keys name clients.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use ratelimit_core::request::Request;
use ratelimit_core::resource::Action;
use ratelimit_core::{Kept, Matched, Plan, Planned, Reading};
use serde::Deserialize;
use serde_json::{Value, json};
use service_kit::Secret;
use service_kit::server::admin;
use tokio::runtime::Handle;

use crate::http;
use crate::service::{LookError, RateLimits};
use crate::store::{Found, StoreError};

/// Most counters of a list.
const MOST: usize = 10_000;
/// Longest body, in bytes.
const MAX_BODY: usize = 64 << 10;

#[derive(Clone)]
struct Shared {
    limits: Arc<RateLimits>,
    /// The admin port has a runtime of its own, which connections to the store must not live in.
    runtime: Handle,
}

/// `/counters`, `/counters/read` and `/counters/reset`. Needs a tokio runtime, that of the store.
pub(crate) fn routes(limits: Arc<RateLimits>, token: Option<Secret<String>>) -> Router {
    let shared = Shared { limits, runtime: Handle::current() };
    let routes = Router::new()
        .route("/counters", get(list))
        .route("/counters/read", post(read))
        .route("/counters/reset", post(reset))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(shared);
    admin::guard(routes, token)
}

#[derive(Deserialize)]
struct Wanted {
    /// Whose counters.
    domain: String,
    /// Beginning of the rest of the key, as in `user_alice`.
    #[serde(default)]
    prefix: String,
    #[serde(default = "hundred")]
    limit: usize,
}

fn hundred() -> usize {
    100
}

async fn list(State(shared): State<Shared>, Query(wanted): Query<Wanted>) -> Response {
    if wanted.domain.is_empty() {
        return told(StatusCode::BAD_REQUEST, "name a domain, as in /counters?domain=shop");
    }
    let work = shared.runtime.spawn(async move {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let prefix = shared.limits.key_of(&wanted.domain, &wanted.prefix);
        shared.limits.store().list(prefix.as_bytes(), wanted.limit.min(MOST), now).await
    });
    match work.await {
        Ok(Ok(found)) => {
            Json(json!({"counters": found.iter().map(shown).collect::<Vec<_>>()})).into_response()
        }
        Ok(Err(e)) => failed(&e),
        Err(_) => told(StatusCode::INTERNAL_SERVER_ERROR, "the counters could not be listed"),
    }
}

fn shown(found: &Found) -> Value {
    let mut value = json!({"key": found.key, "seconds": found.seconds});
    match found.stored {
        Kept::Hits(hits) => value["hits"] = hits.into(),
        Kept::Sliding(hits) => value["hits"] = hits.current.into(),
        Kept::Bucket(level) => value["tokens"] = level.tokens.into(),
    }
    value
}

/// The body is a request, as for `/json`; the answer is how near it is to each limit it meets.
async fn read(State(shared): State<Shared>, body: Bytes) -> Response {
    let Some(bytes) = http::read(&body) else {
        return told(StatusCode::BAD_REQUEST, "write a request as for /json");
    };
    let work = shared.runtime.spawn(async move {
        let request = Request::decode(&bytes).map_err(|e| Err(e.to_string()))?;
        let looked = shared.limits.look(&request, readings).await;
        looked.map_err(|e| match e {
            LookError::Plan(e) => Err(e.to_string()),
            LookError::Store(e) => Ok(e),
        })
    });
    match work.await {
        Ok(Ok(descriptors)) => Json(json!({"descriptors": descriptors})).into_response(),
        Ok(Err(Err(why))) => told(StatusCode::BAD_REQUEST, &why),
        Ok(Err(Ok(e))) => failed(&e),
        Err(_) => told(StatusCode::INTERNAL_SERVER_ERROR, "the counters could not be read"),
    }
}

/// In the order of the request.
fn readings(plan: &Plan<'_>, readings: &[Reading]) -> Vec<Value> {
    let one = |planned: &Planned<'_>| match planned {
        Planned::NoLimit => json!({"limit": null}),
        Planned::Unlimited => json!({"limit": null, "unlimited": true}),
        Planned::Limited(matched, index) => {
            let key = plan.counters.get(*index).map(|c| plan.key(c)).unwrap_or_default();
            let mut value = json!({
                "limit": limit(matched),
                "key": String::from_utf8_lossy(key),
            });
            if let Some(reading) = readings.get(*index) {
                value["used"] = reading.used.into();
                value["remaining"] = reading.remaining.into();
                value["next_in_seconds"] = seconds_up(reading.next).into();
                value["reset_in_seconds"] = seconds_up(reading.reset).into();
            }
            value
        }
    };
    plan.descriptors.iter().map(one).collect()
}

fn limit(matched: &Matched<'_>) -> Value {
    let limit = matched.limit();
    let quota = &limit.quota;
    let mut value = json!({
        "name": *limit.name,
        "requests": quota.requests,
        "unit": format!("{:?}", quota.unit).to_lowercase(),
        "units": quota.multiplier,
        "algorithm": quota.algorithm.name(),
        "enforced": !limit.shadow,
    });
    if let Matched::Resource(resource) = matched {
        let (namespace, name, _) = &resource.place;
        value["object"] = format!("{name}.{namespace}").into();
        value["enforced"] = (!limit.shadow && resource.action == Action::Enforce).into();
    }
    value
}

/// Nobody may be told to come back too early.
fn seconds_up(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

/// The body names a key, as `/counters` shows it, or is a request whose counters are meant.
async fn reset(State(shared): State<Shared>, body: Bytes) -> Response {
    let keys = match keys(&shared.limits, &body) {
        Ok(keys) => keys,
        Err(why) => return told(StatusCode::BAD_REQUEST, &why),
    };
    let work = shared.runtime.spawn(async move {
        let mut done = Vec::new();
        for key in keys {
            let known = shared.limits.store().forget(key.as_bytes()).await?;
            tracing::info!(key, known, "counter reset by the admin port");
            done.push(json!({"key": key, "known": known}));
        }
        Ok::<_, StoreError>(done)
    });
    match work.await {
        Ok(Ok(done)) => Json(json!({"reset": done})).into_response(),
        Ok(Err(e)) => failed(&e),
        Err(_) => told(StatusCode::INTERNAL_SERVER_ERROR, "the counters could not be reset"),
    }
}

fn keys(limits: &RateLimits, body: &[u8]) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct ByKey {
        key: String,
    }
    if let Ok(ByKey { key }) = serde_json::from_slice(body) {
        return match limits.owns(&key) {
            true => Ok(vec![key]),
            false => Err(format!("`{key}` is the key of no domain that has limits")),
        };
    }
    let bytes = http::read(body).ok_or_else(|| {
        "write {\"key\": KEY} with a key of /counters, or a request as for /json".to_owned()
    })?;
    let request = Request::decode(&bytes).map_err(|e| e.to_string())?;
    limits.keys(&request).map_err(|e| e.to_string())
}

fn failed(error: &StoreError) -> Response {
    told(StatusCode::BAD_GATEWAY, &error.to_string())
}

fn told(status: StatusCode, words: &str) -> Response {
    (status, Json(json!({"error": words}))).into_response()
}
