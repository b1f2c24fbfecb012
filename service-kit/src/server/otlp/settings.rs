//! What OpenTelemetry's variables say, with its defaults. Pure; the rules are those of "OpenTelemetry
//! Protocol Exporter", "Environment Variable Specification" and "Resource SDK" of OpenTelemetry.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use super::random_uuid;
use crate::go;

/// Resource attribute: what the program is called.
pub const SERVICE_NAME: &str = "service.name";
/// Resource attribute: in which group of services its name is unique.
pub const SERVICE_NAMESPACE: &str = "service.namespace";
/// Resource attribute: which of its replicas it is.
pub const SERVICE_INSTANCE_ID: &str = "service.instance.id";

/// Most spans in the queue: memory for some tens of megabytes.
const MAX_QUEUE: u64 = 65_536;

/// How spans travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// Protobuf over HTTP.
    Http,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Grpc => "gRPC",
            Self::Http => "HTTP",
        })
    }
}

/// Where spans go, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How they travel.
    pub protocol: Protocol,
    /// The collector; with its path, for HTTP. Without credentials.
    pub(super) endpoint: Uri,
    /// Sent with every request; values are marked as secret.
    pub(super) headers: HeaderMap,
    /// For the collector to take a batch.
    pub(super) timeout: Duration,
    /// Certificates (PEM) that are trusted instead of the system's.
    pub(super) ca: Option<PathBuf>,
    /// Certificate chain and key (PEM) to show.
    pub(super) client: Option<(PathBuf, PathBuf)>,
    /// Part of traces that begin here which is recorded, from 0 to 1.
    pub sampling: f64,
    /// Who makes the spans; by [`SERVICE_NAME`] and others.
    pub resource: BTreeMap<String, String>,
    /// Most spans that wait; more are dropped.
    pub(super) queue: usize,
    /// Most spans of one request.
    pub(super) batch: usize,
    /// How long a span waits for others.
    pub(super) delay: Duration,
}

impl Settings {
    /// As [`Self::read`], with envoyproxy/ratelimit's variables, which go before OpenTelemetry's;
    /// none unless `TRACING_ENABLED` is true. `name` is what the program is called unless a
    /// variable says otherwise.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn of_service<'e>(
        variable: impl Fn(&str) -> Option<&'e str>,
        name: &str,
    ) -> Result<Option<Self>, String> {
        match variable("TRACING_ENABLED").map(|text| (text, go::parse_bool(text))) {
            None | Some((_, Some(false))) => return Ok(None),
            Some((_, Some(true))) => {}
            Some((text, None)) => {
                return Err(format!("TRACING_ENABLED={text}: neither true nor false"));
            }
        }
        let protocol = match variable("TRACING_EXPORTER_PROTOCOL") {
            None => None,
            Some("http") => Some(Protocol::Http),
            Some("grpc") => Some(Protocol::Grpc),
            Some(other) => {
                return Err(format!("TRACING_EXPORTER_PROTOCOL={other}: use http or grpc"));
            }
        };
        let mut settings = Self::read(&variable, protocol)?;
        if let Some(text) = variable("TRACING_SAMPLING_RATE") {
            let share = text.parse().ok().filter(|s| (0.0..=1.0).contains(s));
            settings.sampling = share
                .ok_or_else(|| format!("TRACING_SAMPLING_RATE={text}: not a number from 0 to 1"))?;
        }
        for (variable_name, attribute) in [
            ("TRACING_SERVICE_NAME", SERVICE_NAME),
            ("TRACING_SERVICE_NAMESPACE", SERVICE_NAMESPACE),
            ("TRACING_SERVICE_INSTANCE_ID", SERVICE_INSTANCE_ID),
        ] {
            if let Some(value) = variable(variable_name) {
                settings.resource.insert(attribute.to_owned(), value.to_owned());
            }
        }
        let resource = &mut settings.resource;
        resource.entry(SERVICE_NAME.to_owned()).or_insert_with(|| name.to_owned());
        resource.entry(SERVICE_INSTANCE_ID.to_owned()).or_insert_with(random_uuid);
        Ok(Some(settings))
    }

    /// Reads the variables; `variable` gives one that is set to something. `protocol` goes before
    /// theirs; every trace is recorded.
    ///
    /// # Errors
    /// Which variable is wrong and what to do, without its value where that may be a secret.
    pub fn read<'e>(
        variable: impl Fn(&str) -> Option<&'e str>,
        protocol: Option<Protocol>,
    ) -> Result<Self, String> {
        let variables = Variables(&variable);
        variables.refuse_compression()?;
        let protocol = protocol.map_or_else(|| variables.protocol(), Ok)?;
        let batch = variables.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512, 1..=MAX_QUEUE)?;
        let queue = variables.number("OTEL_BSP_MAX_QUEUE_SIZE", 2_048, 1..=MAX_QUEUE)?;
        let delay = variables.number("OTEL_BSP_SCHEDULE_DELAY", 5_000, 0..=3_600_000)?;
        Ok(Self {
            protocol,
            endpoint: variables.endpoint(protocol)?,
            headers: variables.headers()?,
            timeout: variables.timeout()?,
            ca: variables.own("CERTIFICATE").map(|(_, path)| path.into()),
            client: variables.client()?,
            sampling: 1.0,
            resource: variables.resource()?,
            queue: usize::try_from(queue).unwrap_or(usize::MAX),
            batch: usize::try_from(batch.min(queue)).unwrap_or(usize::MAX),
            delay: Duration::from_millis(delay),
        })
    }

    /// Where spans go, for people; without the path, which may have a token in it.
    pub fn shown(&self) -> String {
        let authority = self.endpoint.authority().map_or("", |a| a.as_str());
        format!("{}://{authority}", self.endpoint.scheme_str().unwrap_or_default())
    }
}

/// The variables, one by one.
struct Variables<F>(F);

impl<'e, F: Fn(&str) -> Option<&'e str>> Variables<F> {
    /// The variable for traces, else that for all signals; and its name.
    fn own(&self, name: &str) -> Option<(String, &'e str)> {
        ["TRACES_", ""].into_iter().find_map(|signal| {
            let name = format!("OTEL_EXPORTER_OTLP_{signal}{name}");
            self.0(&name).map(|value| (name, value.trim()))
        })
    }

    fn refuse_compression(&self) -> Result<(), String> {
        match self.own("COMPRESSION") {
            Some((name, value)) if !value.eq_ignore_ascii_case("none") => Err(format!(
                "{name}={value}: spans are sent as they are; leave it out, or set it to none"
            )),
            _ => Ok(()),
        }
    }

    fn protocol(&self) -> Result<Protocol, String> {
        match self.own("PROTOCOL") {
            None | Some((_, "http/protobuf")) => Ok(Protocol::Http),
            Some((_, "grpc")) => Ok(Protocol::Grpc),
            Some((name, value)) => Err(format!("{name}={value}: use grpc or http/protobuf")),
        }
    }

    fn endpoint(&self, protocol: Protocol) -> Result<Uri, String> {
        let is_plain = self.own("INSECURE").is_some_and(|(_, v)| v.eq_ignore_ascii_case("true"));
        let (name, text) = match (self.own("ENDPOINT"), protocol) {
            (None, Protocol::Grpc) => (String::new(), "http://localhost:4317".to_owned()),
            (None, Protocol::Http) => (String::new(), "http://localhost:4318/v1/traces".to_owned()),
            (Some((name, text)), Protocol::Grpc) if !text.contains("://") => {
                (name, format!("{}://{text}", if is_plain { "http" } else { "https" }))
            }
            (Some((name, text)), Protocol::Http) if !name.contains("TRACES") => {
                (name, format!("{}/v1/traces", text.trim_end_matches('/')))
            }
            (Some((name, text)), _) => (name, text.to_owned()),
        };
        let wrong = || format!("{name}: not a URL like http://collector:4318 or https://…");
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let is_url = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
        if !is_url {
            return Err(wrong());
        }
        if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
            let headers = name.replace("ENDPOINT", "HEADERS");
            return Err(format!(
                "{name}: has credentials; send them by {headers}, and leave them out"
            ));
        }
        Ok(uri)
    }

    fn headers(&self) -> Result<HeaderMap, String> {
        let Some((name, text)) = self.own("HEADERS") else { return Ok(HeaderMap::new()) };
        pairs(&name, text)?
            .into_iter()
            .map(|(key, value)| {
                let key: HeaderName = key.parse().ok()?;
                let mut value = HeaderValue::from_str(&value).ok()?;
                value.set_sensitive(true);
                Some((key, value))
            })
            .collect::<Option<HeaderMap>>()
            .ok_or_else(|| format!("{name}: has a name or value that no HTTP header can have"))
    }

    fn timeout(&self) -> Result<Duration, String> {
        let name = self.own("TIMEOUT").map_or_else(String::new, |(name, _)| name);
        self.number(&name, 10_000, 1..=3_600_000).map(Duration::from_millis)
    }

    fn client(&self) -> Result<Option<(PathBuf, PathBuf)>, String> {
        match (self.own("CLIENT_CERTIFICATE"), self.own("CLIENT_KEY")) {
            (None, None) => Ok(None),
            (Some((_, chain)), Some((_, key))) => Ok(Some((chain.into(), key.into()))),
            (Some((name, _)), None) => {
                Err(format!("{name}: set OTEL_EXPORTER_OTLP_CLIENT_KEY too"))
            }
            (None, Some((name, _))) => {
                Err(format!("{name}: set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE too"))
            }
        }
    }

    fn resource(&self) -> Result<BTreeMap<String, String>, String> {
        let name = "OTEL_RESOURCE_ATTRIBUTES";
        let mut resource: BTreeMap<_, _> =
            pairs(name, self.0(name).unwrap_or_default())?.into_iter().collect();
        if let Some(service) = self.0("OTEL_SERVICE_NAME") {
            resource.insert(SERVICE_NAME.to_owned(), service.to_owned());
        }
        Ok(resource)
    }

    fn number(
        &self,
        name: &str,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<u64, String> {
        let Some(text) = self.0(name) else { return Ok(default) };
        text.trim().parse().ok().filter(|n| range.contains(n)).ok_or_else(|| {
            format!("{name}={text}: use a whole number from {} to {}", range.start(), range.end())
        })
    }
}

/// `name=value,…` with percent encoding.
fn pairs(variable: &str, text: &str) -> Result<Vec<(String, String)>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=')?;
            let decoded = |text: &str| {
                percent_decode_str(text.trim()).decode_utf8().ok().map(|t| t.into_owned())
            };
            Some((decoded(name)?, decoded(value)?)).filter(|(name, _)| !name.is_empty())
        })
        .collect::<Option<_>>()
        .ok_or_else(|| format!("{variable}: write it like name=value,name=value"))
}

#[cfg(test)]
#[path = "settings/tests.rs"]
mod tests;
