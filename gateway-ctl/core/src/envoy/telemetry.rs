//! Traces and access logs of a Listener.

use proto::envoy::config::accesslog::v3 as accesslog;
use proto::envoy::config::core::v3 as core;
use proto::envoy::config::trace::v3 as trace;
use proto::envoy::extensions::access_loggers::grpc::v3 as grpc;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::Tracing as Message;
use proto::envoy::r#type::tracing::v3 as tag;
use proto::envoy::r#type::v3::Percent;

use super::{any, milliseconds};
use crate::ir::telemetry::{About, AccessLog, Driver, Tag, TagValue, Telemetry, Tracing};

/// The connection manager's half of tracing.
pub(super) fn tracing(ir: &Telemetry) -> Option<Message> {
    let ir = ir.tracing.as_ref()?;
    let percent = |value: u32| Some(Percent { value: f64::from(value) });
    Some(Message {
        client_sampling: percent(ir.sampling.client),
        random_sampling: percent(ir.sampling.random),
        overall_sampling: percent(ir.sampling.overall),
        custom_tags: ir.tags.iter().map(custom_tag).collect(),
        provider: Some(provider(ir)),
        // A gateway is a hop of its own: the call to the service has its own span.
        spawn_upstream_span: Some(true),
        ..Message::default()
    })
}

fn provider(ir: &Tracing) -> trace::tracing::Http {
    let (name, config) = match &ir.driver {
        Driver::Zipkin { endpoint, protobuf, hostname, long_ids, shared_spans } => {
            use trace::zipkin_config::CollectorEndpointVersion;
            let version = if *protobuf {
                CollectorEndpointVersion::HttpProto
            } else {
                CollectorEndpointVersion::HttpJson
            };
            let message = trace::ZipkinConfig {
                collector_cluster: ir.cluster.clone(),
                collector_endpoint: endpoint.clone(),
                collector_endpoint_version: version.into(),
                collector_hostname: hostname.clone(),
                trace_id_128bit: *long_ids,
                shared_span_context: Some(*shared_spans),
                ..trace::ZipkinConfig::default()
            };
            ("zipkin", any("envoy.config.trace.v3.ZipkinConfig", &message))
        }
        Driver::Datadog { service } => {
            let message = trace::DatadogConfig {
                collector_cluster: ir.cluster.clone(),
                service_name: service.clone(),
                ..trace::DatadogConfig::default()
            };
            ("datadog", any("envoy.config.trace.v3.DatadogConfig", &message))
        }
        Driver::OpenTelemetry { service } => {
            let message = trace::OpenTelemetryConfig {
                grpc_service: Some(grpc_service(&ir.cluster)),
                service_name: service.clone(),
                ..trace::OpenTelemetryConfig::default()
            };
            ("opentelemetry", any("envoy.config.trace.v3.OpenTelemetryConfig", &message))
        }
    };
    trace::tracing::Http {
        name: format!("envoy.tracers.{name}"),
        config_type: Some(trace::tracing::http::ConfigType::TypedConfig(config)),
    }
}

fn custom_tag(ir: &Tag) -> tag::CustomTag {
    use tag::custom_tag::{Environment, Header, Literal, Type};
    let (name, default_value) = match &ir.value {
        TagValue::Literal(value) => (value.clone(), String::new()),
        TagValue::Environment(name, default) | TagValue::Header(name, default) => {
            (name.clone(), default.clone())
        }
    };
    let value = match &ir.value {
        TagValue::Literal(_) => Type::Literal(Literal { value: name }),
        TagValue::Environment(..) => Type::Environment(Environment { name, default_value }),
        TagValue::Header(..) => Type::RequestHeader(Header { name, default_value }),
    };
    tag::CustomTag { tag: ir.name.clone(), r#type: Some(value) }
}

/// The logs of requests, which the connection manager writes.
pub(super) fn of_requests(ir: &Telemetry) -> impl Iterator<Item = accesslog::AccessLog> {
    ir.logs.iter().filter(|log| log.about != About::Connections).map(access_log)
}

/// The logs of connections, which the Listener writes.
pub(super) fn of_connections(ir: &Telemetry) -> impl Iterator<Item = accesslog::AccessLog> {
    ir.logs.iter().filter(|log| log.about == About::Connections).map(access_log)
}

fn access_log(ir: &AccessLog) -> accesslog::AccessLog {
    let common_config = Some(grpc::CommonGrpcAccessLogConfig {
        log_name: ir.name.clone(),
        grpc_service: Some(grpc_service(&ir.cluster)),
        transport_api_version: core::ApiVersion::V3.into(),
        buffer_flush_interval: Some(milliseconds(ir.flush_ms)),
        buffer_size_bytes: Some(ir.flush_bytes),
        ..grpc::CommonGrpcAccessLogConfig::default()
    });
    let (name, config) = match &ir.about {
        About::Requests { request, response, trailer } => {
            let message = grpc::HttpGrpcAccessLogConfig {
                common_config,
                additional_request_headers_to_log: request.clone(),
                additional_response_headers_to_log: response.clone(),
                additional_response_trailers_to_log: trailer.clone(),
            };
            let kind = "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig";
            ("http_grpc", any(kind, &message))
        }
        About::Connections => {
            let message = grpc::TcpGrpcAccessLogConfig { common_config };
            let kind = "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig";
            ("tcp_grpc", any(kind, &message))
        }
    };
    accesslog::AccessLog {
        name: format!("envoy.access_loggers.{name}"),
        config_type: Some(accesslog::access_log::ConfigType::TypedConfig(config)),
        ..accesslog::AccessLog::default()
    }
}

fn grpc_service(cluster: &str) -> core::GrpcService {
    use core::grpc_service::{EnvoyGrpc, TargetSpecifier};
    core::GrpcService {
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
            cluster_name: cluster.to_owned(),
            ..EnvoyGrpc::default()
        })),
        ..core::GrpcService::default()
    }
}
