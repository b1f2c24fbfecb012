//! envoyproxy/ratelimit's HTTP port: `/json` and `/healthcheck`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use proto::envoy::service::ratelimit::v3::RateLimitResponse;
use proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use proto::reflect::POOL;
use ratelimit_core::Decision;
use ratelimit_core::request::Request;
use service_kit::server::admin::Readiness;
use service_kit::server::shutdown::Shutdown;

use crate::service::RateLimits;

/// Longest body, in bytes: several times that of the largest request worth asking, as what is read of
/// it takes up to seventy times its length.
const MAX_BODY: usize = 256 << 10;

#[derive(Clone)]
struct Shared {
    limits: Arc<RateLimits>,
    health: Readiness,
}

/// Serves until `shutdown`. The port is bound when this returns.
pub(crate) async fn serve(
    addr: SocketAddr,
    limits: Arc<RateLimits>,
    health: Readiness,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(addr).await?;
    tracing::info!("listening for HTTP on {}", listener.local_addr()?);
    let router = Router::new()
        .route("/json", any(json))
        .route("/healthcheck", any(healthcheck))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Shared { limits, health });
    tokio::spawn(async move {
        let ended = axum::serve(listener, router)
            .with_graceful_shutdown(async move { shutdown.wait().await })
            .await;
        if let Err(e) = ended {
            tracing::error!("the HTTP port stopped: {e}");
        }
    });
    Ok(())
}

async fn healthcheck(State(shared): State<Shared>) -> Response {
    if shared.health.is_ready() {
        "OK".into_response()
    } else {
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

async fn json(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let bad = || (StatusCode::BAD_REQUEST, "Bad Request\n").into_response();
    let Some(bytes) = read(&body) else { return bad() };
    let request = match Request::decode(&bytes) {
        Ok(request) => request,
        Err(e) => {
            shared.limits.refuse(e);
            return bad();
        }
    };
    let message = |decision: &Decision<'_>| decision.message();
    let Ok(response) = shared.limits.answer(&request, &headers, message).await else {
        return bad();
    };
    let status = match Code::try_from(response.overall_code) {
        Ok(Code::Ok) => StatusCode::OK,
        Ok(Code::OverLimit) => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    match write(&response) {
        Some(text) => (status, [(header::CONTENT_TYPE, "application/json")], text).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn descriptor(name: &str) -> Option<MessageDescriptor> {
    POOL.get_message_by_name(&format!("envoy.service.ratelimit.v3.{name}"))
}

/// The bytes of a `RateLimitRequest` in protobuf's JSON; an unknown field is a fault.
pub(crate) fn read(body: &[u8]) -> Option<Vec<u8>> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let message =
        DynamicMessage::deserialize(descriptor("RateLimitRequest")?, &mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some(message.encode_to_vec())
}

fn write(response: &RateLimitResponse) -> Option<String> {
    let bytes = response.encode_to_vec();
    let message =
        DynamicMessage::decode(descriptor("RateLimitResponse")?, bytes.as_slice()).ok()?;
    serde_json::to_string(&message).ok()
}
