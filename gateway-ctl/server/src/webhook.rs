//! Validating admission: what would be an error in an object's status is said when it is applied.
//!
//! It looks at one object by itself, as the controller does at its door. What needs other objects
//! is found later and is in the status.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::routing::post;
use axum::{Json, Router};
use gateway_core::kinds;
use serde::Deserialize;
use serde_json::{Value, json};
use service_kit::server::shutdown::Shutdown;
use service_kit::server::tls::{Listener, Tls};
use service_kit::{Diagnostic, Object, Reason, Severity};
use tokio::net::TcpListener;

/// Longest review, in bytes; an object of etcd has 1.5 MiB at most, and an update has two.
const MAX_BYTES: usize = 4 << 20;
/// Longest warning; API servers cut longer ones.
const MAX_WARNING: usize = 256;

/// An `admission.k8s.io/v1` AdmissionReview, as far as it is read.
#[derive(Debug, Deserialize)]
struct Review {
    request: Request,
}

#[derive(Debug, Deserialize)]
struct Request {
    uid: String,
    #[serde(default)]
    object: Value,
}

/// Answers reviews at `/validate` until `shutdown`.
///
/// # Errors
/// When the port cannot be served.
pub async fn serve(
    listener: TcpListener,
    tls: Tls,
    ambassador_id: String,
    shutdown: Shutdown,
) -> std::io::Result<SocketAddr> {
    let router = Router::new()
        .route("/validate", post(validate))
        .layer(DefaultBodyLimit::max(MAX_BYTES))
        .with_state(Arc::from(ambassador_id));
    let listener = Listener::new(listener, tls)?;
    let addr = axum::serve::Listener::local_addr(&listener)?;
    tokio::spawn(async move {
        let served = axum::serve(listener, router)
            .with_graceful_shutdown(async move { shutdown.wait().await })
            .await;
        if let Err(e) = served {
            tracing::error!("the webhook port stopped: {e}");
        }
    });
    Ok(addr)
}

async fn validate(State(id): State<Arc<str>>, Json(review): Json<Review>) -> Json<Value> {
    Json(json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": judge(review.request, &id),
    }))
}

fn judge(request: Request, ambassador_id: &str) -> Value {
    let uid = request.uid;
    // A deletion has no object.
    if request.object.is_null() {
        return json!({"uid": uid, "allowed": true});
    }
    let found = match Object::from_json(request.object) {
        Ok(object) => kinds::read(&Arc::new(object), ambassador_id).1,
        Err(why) => vec![*why],
    };
    // What this version does not do is no mistake of the object: it may be for a newer one.
    let refuses = |d: &&Diagnostic| d.severity == Severity::Error && d.reason == Reason::Invalid;
    let errors: Vec<String> = found.iter().filter(refuses).map(Diagnostic::words).collect();
    let warnings: Vec<String> = found
        .iter()
        .filter(|d| !refuses(d))
        .map(|d| d.words().chars().take(MAX_WARNING).collect())
        .collect();
    let mut answer = json!({"uid": uid, "allowed": errors.is_empty(), "warnings": warnings});
    if !errors.is_empty() {
        answer["status"] = json!({"code": 422, "reason": "Invalid", "message": errors.join("\n")});
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(object: Value) -> Value {
        judge(Request { uid: "u".to_owned(), object }, "default")
    }

    fn mapping(spec: Value) -> Value {
        json!({
            "apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping",
            "metadata": {"name": "a", "namespace": "n"}, "spec": spec,
        })
    }

    #[test]
    fn a_mistake_is_refused_in_the_words_of_the_status() {
        let bad = ask(mapping(json!({"prefix": "/", "service": "a:99999"})));
        assert_eq!(bad["allowed"], false);
        let message = bad["status"]["message"].as_str().unwrap();
        assert!(message.starts_with("spec.service: ") && message.contains("99999"), "{message}");
        assert_eq!(ask(mapping(json!({"prefix": "/", "service": "a"})))["allowed"], true);
        assert_eq!(ask(Value::Null), json!({"uid": "u", "allowed": true}));
        assert_eq!(ask(json!({"kind": "Mapping"}))["allowed"], false);
    }

    #[test]
    fn what_is_not_supported_or_of_others_is_let_in() {
        let answer = ask(json!({
            "apiVersion": "getambassador.io/v3alpha1", "kind": "Module",
            "metadata": {"name": "ambassador"},
            "spec": {"config": {"header_case_overrides": ["X-Foo"]}},
        }));
        assert_eq!(answer["allowed"], true);
        assert!(answer["warnings"][0].as_str().unwrap().contains("not supported yet"));
        let other = json!({"prefix": "/", "service": "a:0", "ambassador_id": ["blue"]});
        assert_eq!(ask(mapping(other))["allowed"], true);
    }
}
