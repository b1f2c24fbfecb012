//! Authorization services that answer by rules.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use proto::envoy::config::core::v3::{HeaderValue as Header, HeaderValueOption};
use proto::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use proto::envoy::service::auth::v3::{
    CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use proto::envoy::r#type::v3::HttpStatus;
use proto::google::rpc::Status as RpcStatus;
use serde_json::Value;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::{Hit, Hits, rule};

/// Status, headers and body of the answer to these headers.
fn decide(rules: &Value, headers: &[(String, String)]) -> (u16, Vec<(String, String)>, String) {
    let Some(rule) = rule(rules, headers) else { return (403, Vec::new(), "denied".to_owned()) };
    let status = rule["status"].as_u64().and_then(|s| u16::try_from(s).ok()).unwrap_or(200);
    let set = rule["headers"].as_object().into_iter().flatten();
    let set = set.map(|(n, v)| (n.clone(), crate::cases::text(v))).collect();
    (status, set, rule["body"].as_str().unwrap_or_default().to_owned())
}

#[derive(Clone)]
struct Http {
    hits: Hits,
    rules: Value,
}

pub(super) async fn serve_http(listener: TcpListener, hits: Hits, rules: Value) {
    let router = Router::new().fallback(check_http).with_state(Http { hits, rules });
    let _ = axum::serve(listener, router).await;
}

async fn check_http(State(http): State<Http>, request: Request<axum::body::Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let headers: Vec<(String, String)> = parts
        .headers
        .iter()
        .map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()))
        .collect();
    http.hits.lock().unwrap().push(Hit {
        path: parts.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        headers: headers.clone(),
        body: String::from_utf8_lossy(&body).into_owned(),
        ..Hit::default()
    });
    let (status, set, text) = decide(&http.rules, &headers);
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
    let mut response = (code, Bytes::from(text)).into_response();
    for (name, value) in set {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

struct Grpc {
    hits: Hits,
    rules: Value,
}

pub(super) async fn serve_grpc(listener: TcpListener, hits: Hits, rules: Value) {
    let service = AuthorizationServer::new(Grpc { hits, rules });
    let incoming = TcpIncoming::from(listener);
    let _ = Server::builder().add_service(service).serve_with_incoming(incoming).await;
}

#[tonic::async_trait]
impl Authorization for Grpc {
    async fn check(
        &self,
        call: tonic::Request<CheckRequest>,
    ) -> Result<tonic::Response<CheckResponse>, tonic::Status> {
        let attributes = call.into_inner().attributes.unwrap_or_default();
        let context = attributes.context_extensions.into_iter().collect();
        let http = attributes.request.and_then(|r| r.http).unwrap_or_default();
        let mut headers: Vec<(String, String)> = http.headers.into_iter().collect();
        for header in http.header_map.into_iter().flat_map(|m| m.headers) {
            headers.push((header.key, String::from_utf8_lossy(&header.raw_value).into_owned()));
        }
        let (status, set, body) = decide(&self.rules, &headers);
        let hit = Hit { path: http.path, headers, body: http.body, context, descriptors: None };
        self.hits.lock().unwrap().push(hit);
        let option = |(key, value)| HeaderValueOption {
            header: Some(Header { key, value, ..Header::default() }),
            ..HeaderValueOption::default()
        };
        let headers = set.into_iter().map(option).collect();
        let (code, response) = if status == 200 {
            (0, HttpResponse::OkResponse(OkHttpResponse { headers, ..OkHttpResponse::default() }))
        } else {
            let status = Some(HttpStatus { code: i32::from(status) });
            (7, HttpResponse::DeniedResponse(DeniedHttpResponse { status, headers, body }))
        };
        Ok(tonic::Response::new(CheckResponse {
            status: Some(RpcStatus { code, ..RpcStatus::default() }),
            http_response: Some(response),
            dynamic_metadata: None,
        }))
    }
}
