//! Settings of traces: envoyproxy/ratelimit's, and OpenTelemetry's own.

use anyhow::bail;
use service_kit::server::otlp::{
    Protocol, SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_NAMESPACE, Settings, random_uuid,
};

use crate::environment::Environment;

/// What `TRACING_…` and `OTEL_…` say; none unless `TRACING_ENABLED`.
pub(super) fn traces(env: &Environment) -> anyhow::Result<Option<Settings>> {
    if !env.flag("TRACING_ENABLED", false)? {
        return Ok(None);
    }
    let protocol = match env.get("TRACING_EXPORTER_PROTOCOL") {
        None => None,
        Some("http") => Some(Protocol::Http),
        Some("grpc") => Some(Protocol::Grpc),
        Some(other) => bail!("TRACING_EXPORTER_PROTOCOL={other}: use http or grpc"),
    };
    let mut settings =
        Settings::read(|name| env.get(name), protocol).map_err(anyhow::Error::msg)?;
    settings.sampling = env.share("TRACING_SAMPLING_RATE", "1")?;
    for (variable, attribute) in [
        ("TRACING_SERVICE_NAME", SERVICE_NAME),
        ("TRACING_SERVICE_NAMESPACE", SERVICE_NAMESPACE),
        ("TRACING_SERVICE_INSTANCE_ID", SERVICE_INSTANCE_ID),
    ] {
        if let Some(value) = env.get(variable) {
            settings.resource.insert(attribute.to_owned(), value.to_owned());
        }
    }
    let resource = &mut settings.resource;
    resource.entry(SERVICE_NAME.to_owned()).or_insert_with(|| "RateLimit".to_owned());
    resource.entry(SERVICE_INSTANCE_ID.to_owned()).or_insert_with(random_uuid);
    Ok(Some(settings))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        let on = [("TRACING_ENABLED", "true")];
        let all: Vec<_> = on.iter().chain(variables).copied().collect();
        traces(&Environment::of(&all)).map_err(|e| e.to_string())
    }

    #[test]
    fn off_by_default_whatever_else_is_set() {
        let variables = [("TRACING_EXPORTER_PROTOCOL", "x"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "x")];
        assert!(traces(&Environment::of(&variables)).unwrap().is_none());
    }

    #[test]
    fn the_defaults_are_those_of_the_original() {
        let settings = read(&[]).unwrap().unwrap();
        assert_eq!((settings.protocol, settings.sampling), (Protocol::Http, 1.0));
        assert_eq!(settings.resource[SERVICE_NAME], "RateLimit");
        assert!(!settings.resource.contains_key(SERVICE_NAMESPACE));
        let id = &settings.resource[SERVICE_INSTANCE_ID];
        assert_ne!(*id, read(&[]).unwrap().unwrap().resource[SERVICE_INSTANCE_ID]);
    }

    #[test]
    fn its_names_go_before_those_of_opentelemetry() {
        let otel = [
            ("OTEL_SERVICE_NAME", "b"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=c"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ];
        let settings = read(&otel).unwrap().unwrap();
        assert_eq!(settings.protocol, Protocol::Grpc);
        assert_eq!(settings.resource[SERVICE_NAME], "b");
        assert_eq!(settings.resource[SERVICE_NAMESPACE], "c");
        let own = [
            ("TRACING_SERVICE_NAME", "a"),
            ("TRACING_SERVICE_NAMESPACE", "n"),
            ("TRACING_EXPORTER_PROTOCOL", "http"),
        ];
        let all: Vec<_> = otel.into_iter().chain(own).collect();
        let settings = read(&all).unwrap().unwrap();
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
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
