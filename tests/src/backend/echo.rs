//! A backend that answers with what it was asked, and obeys `x-echo-…` headers.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Hit, Hits};

struct Shared {
    name: String,
    hits: Hits,
    failed: Mutex<HashSet<String>>,
}

pub(super) async fn serve(listener: TcpListener, name: String, hits: Hits) {
    let shared = std::sync::Arc::new(Shared { name, hits, failed: Mutex::default() });
    let router = Router::new().fallback(answer).with_state(shared);
    let _ = axum::serve(listener, router).await;
}

async fn answer(
    State(shared): State<std::sync::Arc<Shared>>,
    request: Request<axum::body::Body>,
) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let headers: Vec<(String, String)> = parts
        .headers
        .iter()
        .map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()))
        .collect();
    let path = parts.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let text = String::from_utf8_lossy(&body).into_owned();
    shared.hits.lock().unwrap().push(Hit {
        path: path.clone(),
        headers: headers.clone(),
        body: text.clone(),
        ..Hit::default()
    });
    let of = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    if let Some(delay) = of("x-echo-delay-ms").and_then(|d| d.parse().ok()) {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    let mut status = of("x-echo-status").and_then(|s| s.parse().ok()).unwrap_or(200);
    if of("x-echo-fail-first").is_some_and(|key| shared.failed.lock().unwrap().insert(key)) {
        status = 503;
    }
    let map: serde_json::Map<String, Value> =
        headers.iter().map(|(n, v)| (n.clone(), Value::String(v.clone()))).collect();
    let answer = json!({"backend": shared.name, "method": parts.method.as_str(), "path": path, "headers": map, "body": text});
    let mut response =
        (StatusCode::from_u16(status).unwrap_or(StatusCode::OK), Bytes::from(answer.to_string()))
            .into_response();
    let kind = of("x-echo-type").unwrap_or_else(|| "application/json".to_owned());
    let set =
        headers.iter().filter_map(|(n, v)| Some((n.strip_prefix("x-echo-set-")?, v.as_str())));
    for (name, value) in set.chain([("content-type", kind.as_str())]) {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
