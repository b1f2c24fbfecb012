//! `TracingService`: where traces go.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::Value;
use service_kit::{AmbassadorId, Diagnostics, Object};

use super::fields::{self, Texts, Treatment, Unread};
use super::service::Service;
use crate::ir::telemetry::{Driver, Sampling, Tag, TagValue};
use crate::syntax::header;

/// Fields that are not read.
pub const UNREAD: Unread = &[("ambassador_id", Treatment::NoEffect)];

/// The types of [`UNREAD`].
#[derive(JsonSchema)]
#[allow(dead_code)]
struct UnreadFields {
    /// Which installations read this; `["default"]` when absent.
    ambassador_id: Option<AmbassadorId>,
}

/// Where traces go.
#[derive(Debug, Deserialize, JsonSchema)]
struct Raw {
    /// What the collector speaks; `lightstep` is in Envoy no longer.
    #[schemars(extend("enum" = ["zipkin", "datadog", "opentelemetry", "lightstep"]))]
    driver: String,
    /// Where it is: `[http://|https://]host[:port]`.
    #[schemars(length(min = 1))]
    service: String,
    /// Settings of the driver.
    #[serde(default)]
    config: Option<ConfigSpec>,
    /// Which requests are traced.
    sampling: Option<SamplingSpec>,
    /// Tags of every trace.
    custom_tags: Option<Vec<TagSpec>>,
    /// Deprecated, use `custom_tags`: request headers that become tags.
    tag_headers: Option<Texts>,
    /// Name in statistics.
    stats_name: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
struct ConfigSpec {
    /// Was lightstep's: file of the access token. Has no effect.
    access_token_file: Option<String>,
    /// Has no effect: `service` says where the collector is.
    collector_cluster: Option<String>,
    /// zipkin: path that traces are sent to. Default: `/api/v2/spans`.
    collector_endpoint: Option<String>,
    /// zipkin: `HTTP_JSON` or `HTTP_PROTO`. Default: `HTTP_JSON`.
    collector_endpoint_version: Option<String>,
    /// zipkin: the host that is asked for. Default: the cluster.
    collector_hostname: Option<String>,
    /// Was lightstep's: how the trace is passed on. Has no effect.
    propagation_modes: Option<Vec<String>>,
    /// datadog and opentelemetry: what the gateway is called. Default: `ambassador`.
    service_name: Option<String>,
    /// zipkin: whether client and server share a span. Default: true.
    shared_span_context: Option<bool>,
    /// zipkin: whether trace ids have 128 bits. Default: true.
    trace_id_128bit: Option<bool>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct SamplingSpec {
    /// Percent of the requests with `x-client-trace-id`. Default: 100.
    client: Option<u32>,
    /// Percent of all requests. Default: 100.
    random: Option<u32>,
    /// Percent of those that the other two chose. Default: 100.
    overall: Option<u32>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct TagSpec {
    /// Its name.
    tag: String,
    /// A fixed value.
    literal: Option<LiteralSpec>,
    /// An environment variable of Envoy.
    environment: Option<NamedSpec>,
    /// A header of the request.
    request_header: Option<NamedSpec>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct LiteralSpec {
    /// The value.
    value: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct NamedSpec {
    /// Its name.
    name: String,
    /// The value when it is missing. Default: no tag then.
    default_value: Option<String>,
}

/// The schema of `spec`.
pub(crate) fn schema(generator: &mut SchemaGenerator) -> Schema {
    fields::schema::<Raw, UnreadFields>(generator, UNREAD)
}

/// A TracingService.
#[derive(Clone, Debug, PartialEq)]
pub struct TracingService {
    /// Where the collector is.
    pub service: Service,
    /// What it speaks.
    pub driver: Driver,
    /// Which requests are traced.
    pub sampling: Sampling,
    /// Tags of every trace.
    pub tags: Vec<Tag>,
    /// Name in statistics.
    pub stats_name: Option<String>,
}

impl TracingService {
    /// Reads a TracingService's `spec`. `None` when it cannot be in force.
    pub fn read(object: &Object, mut spec: Value, found: &mut Diagnostics<'_>) -> Option<Self> {
        fields::strip("TracingService", "spec", &mut spec, UNREAD, found);
        let raw: Raw = fields::read(object, spec, found)?;
        let service = Service::read(&raw.service, "spec.service", found);
        let config = raw.config.as_ref();
        let driver = read_driver(&raw.driver, config.unwrap_or(&ConfigSpec::default()), found);
        let sampling = read_sampling(raw.sampling.as_ref(), found);
        let tags = read_tags(&raw, found);
        Some(Self {
            service: service?,
            driver: driver?,
            sampling: sampling?,
            tags: tags?,
            stats_name: raw.stats_name.filter(|n| !n.is_empty()),
        })
    }
}

fn read_driver(name: &str, config: &ConfigSpec, found: &mut Diagnostics<'_>) -> Option<Driver> {
    let written = [
        ("collector_endpoint", config.collector_endpoint.is_some(), name == "zipkin"),
        (
            "collector_endpoint_version",
            config.collector_endpoint_version.is_some(),
            name == "zipkin",
        ),
        ("collector_hostname", config.collector_hostname.is_some(), name == "zipkin"),
        ("shared_span_context", config.shared_span_context.is_some(), name == "zipkin"),
        ("trace_id_128bit", config.trace_id_128bit.is_some(), name == "zipkin"),
        ("service_name", config.service_name.is_some(), name != "zipkin"),
        ("collector_cluster", config.collector_cluster.is_some(), false),
        ("access_token_file", config.access_token_file.is_some(), false),
        ("propagation_modes", config.propagation_modes.is_some(), false),
    ];
    for (field, _, _) in written.iter().filter(|(_, is_set, is_read)| *is_set && !is_read) {
        let text = format!("it has no effect with driver {name}");
        found.notice(format!("spec.config.{field}"), text).hint("remove it");
    }
    let service = || {
        let name = config.service_name.clone().filter(|n| !n.is_empty());
        name.unwrap_or_else(|| "ambassador".to_owned())
    };
    match name {
        "zipkin" => read_zipkin(config, found),
        "datadog" => Some(Driver::Datadog { service: service() }),
        "opentelemetry" => Some(Driver::OpenTelemetry { service: service() }),
        "lightstep" => {
            found
                .error("spec.driver", "lightstep is in Envoy no longer, so nothing is traced")
                .hint("LightStep takes OpenTelemetry: write `driver: opentelemetry`");
            None
        }
        other => {
            found
                .error("spec.driver", format!("unknown driver `{other}`, so nothing is traced"))
                .hint("zipkin, datadog or opentelemetry");
            None
        }
    }
}

fn read_zipkin(config: &ConfigSpec, found: &mut Diagnostics<'_>) -> Option<Driver> {
    let endpoint = config.collector_endpoint.clone().filter(|e| !e.is_empty());
    let endpoint = endpoint.unwrap_or_else(|| "/api/v2/spans".to_owned());
    let hostname = config.collector_hostname.clone().unwrap_or_default();
    let protobuf = match config.collector_endpoint_version.as_deref() {
        None | Some("" | "HTTP_JSON") => false,
        Some("HTTP_PROTO") => true,
        Some(other) => {
            found
                .error(
                    "spec.config.collector_endpoint_version",
                    format!("unknown version `{other}`"),
                )
                .hint("HTTP_JSON or HTTP_PROTO");
            return None;
        }
    };
    let starts =
        if endpoint.starts_with('/') { Ok(()) } else { Err("it starts with a slash".to_owned()) };
    let checks = [
        ("collector_endpoint", starts.and_then(|()| header::check_value(&endpoint))),
        ("collector_hostname", header::check_value(&hostname)),
    ];
    for (field, checked) in checks {
        if let Err(why) = checked {
            found.error(format!("spec.config.{field}"), why);
            return None;
        }
    }
    Some(Driver::Zipkin {
        endpoint,
        protobuf,
        hostname,
        long_ids: config.trace_id_128bit.unwrap_or(true),
        shared_spans: config.shared_span_context.unwrap_or(true),
    })
}

fn read_sampling(spec: Option<&SamplingSpec>, found: &mut Diagnostics<'_>) -> Option<Sampling> {
    let Some(spec) = spec else { return Some(Sampling::default()) };
    let mut good = true;
    let mut percent = |value: Option<u32>, field: &str| {
        let value = value.unwrap_or(100);
        if value > 100 {
            found.error(format!("spec.sampling.{field}"), format!("{value} percent are too many"));
            good = false;
        }
        value
    };
    let sampling = Sampling {
        client: percent(spec.client, "client"),
        random: percent(spec.random, "random"),
        overall: percent(spec.overall, "overall"),
    };
    good.then_some(sampling)
}

/// Custom tags, else tags of headers. A faulty one costs the whole: half of the tags would mislead.
fn read_tags(raw: &Raw, found: &mut Diagnostics<'_>) -> Option<Vec<Tag>> {
    let headers = raw.tag_headers.as_ref().map(|h| h.0.as_slice()).unwrap_or_default();
    let custom = raw.custom_tags.as_deref().unwrap_or_default();
    if !custom.is_empty() && !headers.is_empty() {
        found
            .notice("spec.tag_headers", "custom_tags are given, so tag_headers have no effect")
            .hint("write them as custom_tags with request_header");
    } else if let Some((i, why)) =
        headers.iter().enumerate().find_map(|(i, h)| Some((i, header::check_match_name(h).err()?)))
    {
        found.error(format!("spec.tag_headers[{i}]"), why);
        return None;
    } else if custom.is_empty() {
        let of = |name: &String| Tag {
            name: name.clone(),
            value: TagValue::Header(name.clone(), String::new()),
        };
        return Some(headers.iter().map(of).collect());
    }
    let mut tags = Vec::new();
    for (i, spec) in custom.iter().enumerate() {
        tags.push(spec.read(&format!("spec.custom_tags[{i}]"), found)?);
    }
    Some(tags)
}

impl TagSpec {
    fn read(&self, path: &str, found: &mut Diagnostics<'_>) -> Option<Tag> {
        if self.tag.is_empty() {
            found.error(format!("{path}.tag"), "a tag needs a name");
            return None;
        }
        let named =
            |spec: &NamedSpec| (spec.name.clone(), spec.default_value.clone().unwrap_or_default());
        let (value, checked) = match (&self.literal, &self.environment, &self.request_header) {
            (Some(literal), None, None) => {
                (TagValue::Literal(literal.value.clone()), not_empty(&literal.value))
            }
            (None, Some(variable), None) => {
                let (name, default) = named(variable);
                let checked = not_empty(&name);
                (TagValue::Environment(name, default), checked)
            }
            (None, None, Some(header)) => {
                let (name, default) = named(header);
                let checked = header::check_match_name(&name);
                (TagValue::Header(name, default), checked)
            }
            _ => {
                found
                    .error(path, "a tag is exactly one of literal, environment and request_header")
                    .hint("write one of them");
                return None;
            }
        };
        if let Err(why) = checked {
            found.error(path, why);
            return None;
        }
        Some(Tag { name: self.tag.clone(), value })
    }
}

fn not_empty(text: &str) -> Result<(), String> {
    if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(()) }
}
