use super::*;

fn read(variables: &[(&str, &'static str)]) -> Result<Settings, String> {
    let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
    Settings::read(variable, None)
}

#[test]
fn nothing_set_is_a_collector_on_this_machine() {
    let settings = read(&[]).unwrap();
    assert_eq!(settings.endpoint, "http://localhost:4318/v1/traces");
    assert_eq!((settings.protocol, settings.timeout.as_secs()), (Protocol::Http, 10));
    assert!(settings.resource.is_empty() && settings.headers.is_empty());
    let grpc = read(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap();
    assert_eq!((grpc.protocol, grpc.shown().as_str()), (Protocol::Grpc, "http://localhost:4317"));
}

#[test]
fn endpoints_are_read_as_the_specification_says() {
    const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let http = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    for (protocol, name, value, wanted) in [
        (http, ALL, "http://c:1", "http://c:1/v1/traces"),
        (http, ALL, "http://c:1/base/", "http://c:1/base/v1/traces"),
        (http, TRACES, "http://c:1/own", "http://c:1/own"),
        (http, TRACES, "http://c:1", "http://c:1/"),
        (grpc, ALL, "http://c:1", "http://c:1/"),
        (grpc, ALL, "c:1", "https://c:1/"),
    ] {
        let settings = read(&[protocol, (name, value)]).unwrap();
        assert_eq!(settings.endpoint.to_string(), wanted, "{protocol:?} {name} {value}");
    }
    let plain = read(&[grpc, (ALL, "c:1"), ("OTEL_EXPORTER_OTLP_INSECURE", "true")]).unwrap();
    assert_eq!(plain.endpoint, "http://c:1/");
    let own = read(&[(ALL, "http://all:1"), (TRACES, "http://own:1/x")]).unwrap();
    assert_eq!(own.endpoint, "http://own:1/x");
}

#[test]
fn pairs_are_decoded() {
    let settings = read(&[
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20t,x-b=c=d, "),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,team=p%2Cq"),
        ("OTEL_SERVICE_NAME", "b"),
    ])
    .unwrap();
    assert_eq!(settings.headers["authorization"], "Bearer t");
    assert_eq!(settings.headers["x-b"], "c=d");
    assert!(!format!("{settings:?}").contains("Bearer"), "{settings:?}");
    assert_eq!(settings.resource["service.name"], "b");
    assert_eq!(settings.resource["team"], "p,q");
}

#[test]
fn what_is_wrong_is_named_and_secrets_are_not_said() {
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "secret:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:secret@c:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "unix:///secret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a b=secret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=secret%0A"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/chain"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
    ] {
        let error = read(&[(name, value)]).unwrap_err();
        assert!(error.starts_with(name) && !error.contains("secret"), "{error}");
    }
}

fn of_service(variables: &[(&str, &'static str)]) -> Result<Option<Settings>, String> {
    let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
    Settings::of_service(variable, "RateLimit")
}

fn read_service(variables: &[(&str, &'static str)]) -> Result<Option<Settings>, String> {
    let on = [("TRACING_ENABLED", "true")];
    let all: Vec<_> = on.iter().chain(variables).copied().collect();
    of_service(&all)
}

#[test]
fn off_by_default_whatever_else_is_set() {
    let variables = [("TRACING_EXPORTER_PROTOCOL", "x"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "x")];
    assert!(of_service(&variables).unwrap().is_none());
}

#[test]
fn the_defaults_are_those_of_the_original() {
    let settings = read_service(&[]).unwrap().unwrap();
    assert_eq!((settings.protocol, settings.sampling), (Protocol::Http, 1.0));
    assert_eq!(settings.resource[SERVICE_NAME], "RateLimit");
    assert!(!settings.resource.contains_key(SERVICE_NAMESPACE));
    let id = &settings.resource[SERVICE_INSTANCE_ID];
    assert_ne!(*id, read_service(&[]).unwrap().unwrap().resource[SERVICE_INSTANCE_ID]);
}

#[test]
fn its_names_go_before_those_of_opentelemetry() {
    let otel = [
        ("OTEL_SERVICE_NAME", "b"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=c"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ];
    let settings = read_service(&otel).unwrap().unwrap();
    assert_eq!(settings.protocol, Protocol::Grpc);
    assert_eq!(settings.resource[SERVICE_NAME], "b");
    assert_eq!(settings.resource[SERVICE_NAMESPACE], "c");
    let own = [
        ("TRACING_SERVICE_NAME", "a"),
        ("TRACING_SERVICE_NAMESPACE", "n"),
        ("TRACING_EXPORTER_PROTOCOL", "http"),
    ];
    let all: Vec<_> = otel.into_iter().chain(own).collect();
    let settings = read_service(&all).unwrap().unwrap();
    assert_eq!(settings.protocol, Protocol::Http);
    assert_eq!(settings.resource[SERVICE_NAME], "a");
    assert_eq!(settings.resource[SERVICE_NAMESPACE], "n");
}

#[test]
fn what_is_wrong_is_named() {
    for (name, value) in [
        ("TRACING_EXPORTER_PROTOCOL", "zipkin"),
        ("TRACING_SAMPLING_RATE", "2"),
        ("TRACING_SAMPLING_RATE", "NaN"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ] {
        let error = read_service(&[(name, value)]).unwrap_err();
        assert!(error.starts_with(name), "{error}");
    }
}
