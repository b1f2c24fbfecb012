//! A collector of OpenTelemetry: takes spans over OTLP, by gRPC or by HTTP, and keeps them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span as OtlpSpan;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::process::PATIENCE;

/// How spans come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// Protobuf over HTTP/1.1, at `/v1/traces`.
    Http,
}

/// A span as it came.
#[derive(Clone, Debug)]
pub struct Span {
    /// As in `GET /`.
    pub name: String,
    /// 32 hexadecimal digits.
    pub trace: String,
    /// 16 hexadecimal digits.
    pub id: String,
    /// 16 hexadecimal digits; empty for the first of a trace.
    pub parent: String,
    /// The number of `SpanKind`: 2 server, 3 client.
    pub kind: i32,
    /// What it says of itself.
    pub attributes: BTreeMap<String, Value>,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// Who made it.
    pub resource: BTreeMap<String, Value>,
    /// Header `x-test` of the request it came in.
    pub header: String,
}

type Spans = Arc<Mutex<Vec<Span>>>;

/// A running collector; ends when dropped.
#[derive(Debug)]
pub struct Collector {
    spans: Spans,
    _runtime: Runtime,
}

impl Collector {
    /// Starts it.
    ///
    /// # Panics
    /// When the address cannot be bound.
    pub fn start(protocol: Protocol, addr: SocketAddr) -> Self {
        let spans = Spans::default();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind(addr)).unwrap();
        match protocol {
            Protocol::Grpc => runtime.spawn(serve_grpc(listener, spans.clone())),
            Protocol::Http => runtime.spawn(serve_http(listener, spans.clone())),
        };
        Self { spans, _runtime: runtime }
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }

    /// Waits for the first span that `is_it`.
    ///
    /// # Panics
    /// When none comes.
    pub fn wait(&self, is_it: impl Fn(&Span) -> bool) -> Span {
        let end = Instant::now() + PATIENCE;
        loop {
            let spans = self.spans();
            if let Some(span) = spans.iter().find(|span| is_it(span)) {
                return span.clone();
            }
            assert!(Instant::now() < end, "the span does not come; these did: {spans:#?}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

async fn serve_grpc(listener: TcpListener, spans: Spans) {
    let service = TraceServiceServer::new(Grpc(spans));
    let incoming = TcpIncoming::from(listener);
    let _ = Server::builder().add_service(service).serve_with_incoming(incoming).await;
}

struct Grpc(Spans);

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(
        &self,
        call: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let header = call.metadata().get("x-test").and_then(|v| v.to_str().ok());
        let header = header.unwrap_or_default().to_owned();
        self.0.lock().unwrap().extend(read(call.into_inner(), &header));
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn serve_http(listener: TcpListener, spans: Spans) {
    let router = Router::new().route("/v1/traces", post(take)).with_state(spans);
    let _ = axum::serve(listener, router).await;
}

async fn take(State(spans): State<Spans>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let is_protobuf =
        headers.get(header::CONTENT_TYPE).is_some_and(|t| t == "application/x-protobuf");
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST;
    };
    if !is_protobuf {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE;
    }
    let header = headers.get("x-test").and_then(|v| v.to_str().ok()).unwrap_or_default();
    spans.lock().unwrap().extend(read(request, header));
    StatusCode::OK
}

fn read(request: ExportTraceServiceRequest, header: &str) -> Vec<Span> {
    let mut all = Vec::new();
    for group in request.resource_spans {
        let resource = attributes(group.resource.map(|r| r.attributes).unwrap_or_default());
        let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
        all.extend(spans.map(|span| of(span, &resource, header)));
    }
    all
}

fn of(span: OtlpSpan, resource: &BTreeMap<String, Value>, header: &str) -> Span {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect();
    Span {
        name: span.name,
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        kind: span.kind,
        attributes: attributes(span.attributes),
        error: span.status.filter(|s| s.code == 2).map(|s| s.message),
        resource: resource.clone(),
        header: header.to_owned(),
    }
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, Value> {
    pairs.into_iter().map(|pair| (pair.key, value(pair.value))).collect()
}

fn value(any: Option<AnyValue>) -> Value {
    match any.and_then(|v| v.value) {
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::BoolValue(flag)) => json!(flag),
        Some(Any::IntValue(number)) => json!(number),
        Some(Any::DoubleValue(number)) => json!(number),
        Some(Any::ArrayValue(array)) => array.values.into_iter().map(|v| value(Some(v))).collect(),
        _ => Value::Null,
    }
}
