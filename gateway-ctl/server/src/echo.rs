//! A backend to try a gateway with: it answers with what it was asked, and obeys a few headers.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;

use service_kit::server::shutdown::Shutdown;

/// Longest `x-echo-delay-ms`.
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// Largest body that is read.
const LARGEST_BODY: usize = 1 << 20;
/// Keys of `x-echo-fail-first` that are remembered; more begin anew.
const MOST_KEYS: usize = 10_000;

struct Backend {
    name: String,
    failed: Mutex<HashSet<String>>,
}

/// Answers on `listener` as the backend `name`, until `shutdown`.
///
/// # Errors
/// When the port fails.
pub async fn serve(listener: TcpListener, name: String, shutdown: Shutdown) -> std::io::Result<()> {
    let served = axum::serve(listener, router(name));
    tokio::select! {
        served = served => served,
        () = shutdown.wait() => Ok(()),
    }
}

fn router(name: String) -> Router {
    Router::new()
        .fallback(answer)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(Arc::new(Backend { name, failed: Mutex::default() }))
}

async fn answer(
    State(backend): State<Arc<Backend>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let asked = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    if let Some(ms) = asked("x-echo-delay-ms").and_then(|ms| ms.parse().ok()) {
        tokio::time::sleep(Duration::from_millis(ms).min(LONGEST_DELAY)).await;
    }
    let mut status = asked("x-echo-status")
        .and_then(|s| s.parse::<u16>().ok())
        .filter(|s| (200..=599).contains(s))
        .and_then(|s| StatusCode::from_u16(s).ok())
        .unwrap_or(StatusCode::OK);
    if asked("x-echo-fail-first").is_some_and(|key| backend.fails_first(key)) {
        status = StatusCode::SERVICE_UNAVAILABLE;
    }
    let host = asked("host").or_else(|| uri.host()).unwrap_or_default();
    let seen = json!({
        "backend": backend.name,
        "method": method.as_str(),
        "path": uri.path(),
        "query": uri.query().unwrap_or_default(),
        "host": host,
        "headers": texts(&headers),
        "body": String::from_utf8_lossy(&body),
    });
    let mut response = (status, Json(seen)).into_response();
    for (name, value) in &headers {
        if let Some(set) = name.as_str().strip_prefix("x-echo-set-")
            && let Ok(set) = HeaderName::try_from(set)
        {
            response.headers_mut().insert(set, value.clone());
        }
    }
    if let Some(kind) = asked("x-echo-type").and_then(|k| HeaderValue::from_str(k).ok()) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

impl Backend {
    /// Whether `key` is seen for the first time.
    fn fails_first(&self, key: &str) -> bool {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() >= MOST_KEYS {
            failed.clear();
        }
        failed.insert(key.to_owned())
    }
}

/// A header that came several times is joined by `, `.
fn texts(headers: &HeaderMap) -> BTreeMap<&str, String> {
    let mut texts: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        texts
            .entry(name.as_str())
            .and_modify(|text| {
                text.push_str(", ");
                text.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(backend: &Arc<Backend>, headers: &[(&'static str, &str)]) -> Response {
        let headers = headers
            .iter()
            .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_str(v).unwrap()))
            .collect();
        answer(
            State(backend.clone()),
            Method::POST,
            Uri::from_static("/a/b?c=d"),
            headers,
            Bytes::from_static(b"hello"),
        )
        .await
    }

    async fn json(response: Response) -> serde_json::Value {
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    #[tokio::test]
    async fn says_what_it_was_asked_and_obeys() {
        let backend = Arc::new(Backend { name: "b".to_owned(), failed: Mutex::default() });
        let seen =
            json(ask(&backend, &[("host", "x.example"), ("a", "1"), ("a", "2")]).await).await;
        assert_eq!(
            seen,
            json!({
                "backend": "b", "method": "POST", "path": "/a/b", "query": "c=d",
                "host": "x.example", "headers": {"host": "x.example", "a": "1, 2"}, "body": "hello",
            })
        );
        let response = ask(
            &backend,
            &[("x-echo-status", "418"), ("x-echo-set-a", "b"), ("x-echo-type", "text/x")],
        )
        .await;
        assert_eq!(response.status(), 418);
        assert_eq!(response.headers()["a"], "b");
        assert_eq!(response.headers()["content-type"], "text/x");
        let first = ask(&backend, &[("x-echo-fail-first", "k")]).await;
        let second = ask(&backend, &[("x-echo-fail-first", "k")]).await;
        assert_eq!((first.status().as_u16(), second.status().as_u16()), (503, 200));
        assert_eq!(ask(&backend, &[("x-echo-status", "9999")]).await.status(), 200);
    }
}
