//! `Module` `ambassador`: settings of the whole gateway.

mod access_log;
mod client_certificates;
mod http_filters;
mod probes;
mod unread;

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use service_kit::{AmbassadorId, Diagnostic, Diagnostics, Object, Severity};

pub(crate) use self::probes::{Probe, Raw as Probes};
pub use self::unread::UNREAD;
use super::fields::{self, Texts};
use super::label;
use super::load_balancer::LoadBalancerSpec;
use super::traffic::{
    AddHeaderSpec, BreakerSpec, CorsSpec, KeepaliveSpec, RetrySpec, read_added, read_breakers,
    read_removed,
};
use crate::crd::UNTYPED;
use crate::ir::balance::LoadBalancer;
use crate::ir::listener::{ModuleFilters, Underscores};
use crate::ir::{Cors, HeaderEdits, HttpOptions, Keepalive, RateAction, Retry, Threshold};
use crate::syntax::header;

/// The Module with the settings of the gateway.
pub const NAME: &str = "ambassador";
/// An old form of TLSContexts.
pub const TLS: &str = "tls";
/// An old form of an AuthService.
pub const AUTHENTICATION: &str = "authentication";

/// `spec.config`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Raw {
    /// Whether requests carry `l5d-dst-override` for Linkerd. Default: false.
    add_linkerd_headers: Option<bool>,
    /// Circuit breakers of Mappings that have none.
    circuit_breakers: Option<Vec<BreakerSpec>>,
    /// CORS of Mappings that have none.
    cors: Option<CorsSpec>,
    /// TCP keepalive of Mappings that have none.
    keepalive: Option<KeepaliveSpec>,
    /// How hosts are chosen for Mappings that do not say it; those that are reached by a name have
    /// one host.
    load_balancer: Option<LoadBalancerSpec>,
    /// Retries of Mappings that have none.
    retry_policy: Option<RetrySpec>,
    /// Resolver of Mappings that name none, and of the services that Envoy asks. Default:
    /// `kubernetes-service`.
    resolver: Option<String>,
    /// Bytes that are buffered for a connection. Default: Envoy's, 1 MiB.
    buffer_limit_bytes: Option<u32>,
    /// Milliseconds until an idle connection to a service is closed. Default: an hour.
    cluster_idle_timeout_ms: Option<u64>,
    /// Milliseconds until any connection to a service is closed. Default: never.
    cluster_max_connection_lifetime_ms: Option<u64>,
    /// Milliseconds until a request is given up. Default: 3000.
    cluster_request_timeout_ms: Option<u64>,
    /// Domain of a RateLimitService that names none. Default: `ambassador`.
    default_label_domain: Option<String>,
    /// Specifiers that go before those of every label group, by domain.
    #[schemars(with = "Option<label::DefaultLabelsSpec>")]
    default_labels: Option<Value>,
    /// Defaults by class of resource.
    defaults: Option<DefaultsSpec>,
    /// Whether HTTP/1.0 is served. Default: false.
    enable_http10: Option<bool>,
    /// Whether a request may have both `content-length` and `transfer-encoding`. Default: false.
    allow_chunked_length: Option<bool>,
    /// Whether HTTP/1.1 header names are sent Like-This. Default: false.
    proper_case: Option<bool>,
    /// What happens to headers with `_` in their names: `ALLOW`, `REJECT_REQUEST` or `DROP_HEADER`.
    /// Default: `ALLOW`.
    headers_with_underscores_action: Option<String>,
    /// Milliseconds until an idle connection of a client is closed. Default: an hour.
    listener_idle_timeout_ms: Option<u64>,
    /// Kilobytes that the headers of a request may have, 8192 at most. Default: 60.
    max_request_headers_kb: Option<u32>,
    /// Whether `//` in a path is taken for `/`. Default: false.
    merge_slashes: Option<bool>,
    /// Whether `%2F` or `%5C` in a path is refused. Default: false.
    reject_requests_with_escaped_slashes: Option<bool>,
    /// Whether the Listener's port is cut from the host. Default: false.
    strip_matching_host_port: Option<bool>,
    /// Whether a client's `x-request-id` is kept. Default: false.
    preserve_external_request_id: Option<bool>,
    /// The `server` header of answers. Default: `envoy`.
    server_name: Option<String>,
    /// Whether the address of the connection is the client's. Default: true.
    use_remote_address: Option<bool>,
    /// Whether `x-envoy-` headers are left out. Default: false.
    suppress_envoy_headers: Option<bool>,
    /// Whether services are reached over IPv4. Default: true.
    enable_ipv4: Option<bool>,
    /// Whether services are reached over IPv6. Default: false.
    enable_ipv6: Option<bool>,
    /// Largest program of a regular expression (RE2). Default: 200.
    regex_max_size: Option<usize>,
    /// What happens to `x-forwarded-client-cert`: SANITIZE, FORWARD_ONLY, APPEND_FORWARD,
    /// SANITIZE_SET or ALWAYS_FORWARD_ONLY. Default: SANITIZE.
    forward_client_cert_details: Option<String>,
    /// What of a client's certificate APPEND_FORWARD and SANITIZE_SET say.
    set_current_client_cert_details: Option<client_certificates::Details>,
    /// Whether names of services without a namespace are in the gateway's namespace, not the
    /// Mapping's. Default: false.
    use_ambassador_namespace_for_service_resolution: Option<bool>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct DefaultsSpec {
    /// Of Mappings.
    httpmapping: Option<MappingDefaultsSpec>,
    /// Whether `name.namespace` in a TLSContext is a Secret of another namespace. Default: true.
    tls_secret_namespacing: Option<bool>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct MappingDefaultsSpec {
    /// Headers that are set on requests, by name.
    add_request_headers: Option<BTreeMap<String, AddHeaderSpec>>,
    /// Headers that are set on responses, by name.
    add_response_headers: Option<BTreeMap<String, AddHeaderSpec>>,
    /// Headers that are removed from requests.
    remove_request_headers: Option<Texts>,
    /// Headers that are removed from responses.
    remove_response_headers: Option<Texts>,
    /// Name of services in statistics.
    stats_name: Option<String>,
}

/// Settings of the whole gateway; there is one Module, named `ambassador`.
#[derive(JsonSchema)]
#[allow(dead_code)]
struct Spec {
    /// Which installations read this; `["default"]` when absent.
    ambassador_id: Option<AmbassadorId>,
    /// The settings.
    #[schemars(default, schema_with = "config_schema")]
    config: Value,
}

/// The schema of `spec`.
pub(crate) fn schema(generator: &mut SchemaGenerator) -> Schema {
    Spec::json_schema(generator)
}

fn config_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = fields::schema::<Raw, unread::Fields>(generator, UNREAD);
    fields::add_fields::<http_filters::Raw>(&mut schema, generator, |_| "yes");
    fields::add_fields::<access_log::Raw>(&mut schema, generator, |_| "yes");
    fields::add_fields::<Probes>(&mut schema, generator, |_| "yes");
    // It was never typed, so what was accepted once must be accepted on: types are for people only.
    schema.insert(UNTYPED.to_owned(), true.into());
    schema
}

/// What the Module says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Module {
    /// What Mappings have that do not say otherwise.
    pub defaults: MappingDefaults,
    /// Rate limit labels.
    pub labels: LabelDefaults,
    /// Options of Listeners.
    pub http: HttpOptions,
    /// Whether a dot in a Secret's name is only a dot.
    pub plain_secret_names: bool,
    /// Why everything is refused, if it is.
    pub closed: Option<String>,
}

/// What Mappings have that do not say otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct MappingDefaults {
    /// Until a request is given up.
    pub timeout_ms: u64,
    /// Until an idle upstream connection is closed.
    pub cluster_idle_timeout_ms: Option<u64>,
    /// Until any upstream connection is closed.
    pub cluster_max_connection_lifetime_ms: Option<u64>,
    /// Circuit breakers.
    pub breakers: Vec<Threshold>,
    /// TCP keepalive.
    pub keepalive: Option<Keepalive>,
    /// How hosts are chosen, where there are several.
    pub load_balancer: Option<LoadBalancer>,
    /// Retries.
    pub retry: Option<Retry>,
    /// Headers.
    pub edits: HeaderEdits,
    /// Name in statistics.
    pub stats_name: Option<String>,
    /// Linkerd's header.
    pub add_linkerd_headers: bool,
    /// Other origins.
    pub cors: Option<Cors>,
    /// IPv4 upstream.
    pub ipv4: bool,
    /// IPv6 upstream.
    pub ipv6: bool,
    /// Largest program of a regular expression.
    pub regex_max_size: usize,
    /// Whether service names are left without the Mapping's namespace.
    pub unqualified_services: bool,
    /// The resolver; absent is the usual one.
    pub resolver: Option<String>,
}

impl Default for MappingDefaults {
    fn default() -> Self {
        Self {
            timeout_ms: 3000,
            cluster_idle_timeout_ms: None,
            cluster_max_connection_lifetime_ms: None,
            breakers: Vec::new(),
            keepalive: None,
            load_balancer: None,
            retry: None,
            edits: HeaderEdits::default(),
            stats_name: None,
            add_linkerd_headers: false,
            cors: None,
            ipv4: true,
            ipv6: false,
            regex_max_size: 200,
            unqualified_services: false,
            resolver: None,
        }
    }
}

/// Rate limit labels that go before those of Mappings.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelDefaults {
    /// The domain of services that name none.
    pub domain: String,
    /// Specifiers by domain.
    pub defaults: BTreeMap<String, Vec<RateAction>>,
}

impl Default for LabelDefaults {
    fn default() -> Self {
        Self { domain: "ambassador".to_owned(), defaults: BTreeMap::new() }
    }
}

impl Module {
    /// Reads a Module's `spec`. `None` when it cannot be in force.
    pub fn read(object: &Object, mut spec: Value, found: &mut Diagnostics<'_>) -> Option<Self> {
        let old = match object.reference.name.as_str() {
            TLS => Some("TLSContexts, and Hosts with tlsSecret"),
            AUTHENTICATION => Some("an AuthService"),
            _ => None,
        };
        if let Some(new) = old {
            // What it means is made by `derived`.
            found
                .notice("metadata.name", "an old form, which is read")
                .hint(format!("write {new} instead"));
            return Some(Self::default());
        }
        if object.reference.name != NAME {
            let name = &object.reference.name;
            found
                .error("metadata.name", format!("not supported yet: Module named `{name}`"))
                .hint("the settings of the gateway are in the Module named ambassador; tls and authentication are read, too");
            return None;
        }
        let config = match spec.as_object_mut().and_then(|m| m.remove("config")) {
            None | Some(Value::Null) => Value::Object(Map::new()),
            Some(config) => config,
        };
        let guarded = http_filters::is_guarded(&config);
        let read = Self::read_settings(object, config, found);
        // Whoever is kept out must stay out, also when the rest cannot be read.
        read.or_else(|| {
            guarded.then(|| Self {
                closed: Some("the Module says who may come in, and cannot be read".to_owned()),
                ..Self::default()
            })
        })
    }

    fn read_settings(
        object: &Object,
        mut config: Value,
        found: &mut Diagnostics<'_>,
    ) -> Option<Self> {
        let given = |key| config.get(key).is_some_and(|value| !fields::is_unset(value));
        if given("proper_case") && given("header_case_overrides") {
            let text =
                "proper_case and header_case_overrides exclude each other; proper_case is used";
            found.error("spec.config.header_case_overrides", text);
            if let Some(map) = config.as_object_mut() {
                map.remove("header_case_overrides");
            }
        }
        fields::strip("Module", "spec.config", &mut config, UNREAD, found);
        let filters = read_config(object, take(&mut config, http_filters::KEYS), found)?;
        let probes: Probes = read_config(object, take(&mut config, probes::KEYS), found)?;
        let probes = probes::read(&probes, found);
        let log = read_config(object, take(&mut config, access_log::KEYS), found)?;
        let log = access_log::read(&log, found);
        let raw: Raw = read_config(object, config, found)?;
        let defaults = read_mapping_defaults(&raw, found);
        let (filters, closed) = http_filters::read(&filters, found);
        let http = read_http(&raw, filters, found);
        let labels = LabelDefaults {
            domain: raw
                .default_label_domain
                .clone()
                .filter(|d| !d.is_empty())
                .unwrap_or_else(|| LabelDefaults::default().domain),
            defaults: raw
                .default_labels
                .as_ref()
                .map(|l| label::read_defaults(l, "spec.config.default_labels", found))
                .unwrap_or_default(),
        };
        let http = HttpOptions { access_log: log?, probes, ..http? };
        let namespacing = raw.defaults.as_ref().and_then(|d| d.tls_secret_namespacing);
        let plain_secret_names = namespacing == Some(false);
        Some(Self { defaults: defaults?, labels, http, plain_secret_names, closed })
    }
}

/// Takes some keys out of `spec.config`.
fn take(config: &mut Value, keys: &[&str]) -> Value {
    let Some(map) = config.as_object_mut() else { return Value::Object(Map::new()) };
    let taken = keys.iter().filter_map(|key| Some(((*key).to_owned(), map.remove(*key)?)));
    Value::Object(taken.collect())
}

/// Reads `spec.config` with paths that say so.
fn read_config<T: DeserializeOwned + JsonSchema + 'static>(
    object: &Object,
    config: Value,
    found: &mut Diagnostics<'_>,
) -> Option<T> {
    let mut inner = Diagnostics::new(object);
    let raw = fields::read(object, config, &mut inner);
    for d in inner.into_vec() {
        let path = format!("spec.config{}", d.path.strip_prefix("spec").unwrap_or_default());
        let added: &mut Diagnostic = match d.severity {
            Severity::Error => found.error(path, d.message),
            Severity::Warning => found.warning(path, d.message),
            Severity::Notice => found.notice(path, d.message),
        };
        added.hint(d.hint);
    }
    raw
}

fn read_mapping_defaults(raw: &Raw, found: &mut Diagnostics<'_>) -> Option<MappingDefaults> {
    let mut good = true;
    let mut ms = |value, field: &str| {
        fields::milliseconds(value, &format!("spec.config.{field}"), found).unwrap_or_else(|| {
            good = false;
            None
        })
    };
    let standard = MappingDefaults::default();
    let timeout = ms(raw.cluster_request_timeout_ms, "cluster_request_timeout_ms");
    let idle = ms(raw.cluster_idle_timeout_ms, "cluster_idle_timeout_ms");
    let lifetime = ms(raw.cluster_max_connection_lifetime_ms, "cluster_max_connection_lifetime_ms");
    let mut all = |ok: bool| good &= ok;
    let breakers = raw
        .circuit_breakers
        .as_ref()
        .map(|b| read_breakers(b, "spec.config.circuit_breakers", found));
    all(breakers.as_ref().is_none_or(Option::is_some));
    let load_balancer =
        raw.load_balancer.as_ref().map(|l| l.read("spec.config.load_balancer", found));
    all(load_balancer.as_ref().is_none_or(Option::is_some));
    let retry = raw.retry_policy.as_ref().map(|r| r.read("spec.config.retry_policy", found));
    all(retry.as_ref().is_none_or(Option::is_some));
    let cors = raw.cors.as_ref().map(|c| c.read("spec.config.cors", found));
    all(cors.as_ref().is_none_or(Option::is_some));
    let mapping = raw.defaults.as_ref().and_then(|d| d.httpmapping.as_ref());
    let edits = match mapping {
        None => Some(HeaderEdits::default()),
        Some(m) => read_edits(m, found),
    };
    all(edits.is_some());
    good.then(|| MappingDefaults {
        timeout_ms: timeout.unwrap_or(standard.timeout_ms),
        cluster_idle_timeout_ms: idle,
        cluster_max_connection_lifetime_ms: lifetime,
        breakers: breakers.flatten().unwrap_or_default(),
        keepalive: raw.keepalive.as_ref().map(Keepalive::from),
        load_balancer: load_balancer.flatten(),
        retry: retry.flatten(),
        edits: edits.unwrap_or_default(),
        stats_name: mapping.and_then(|m| m.stats_name.clone()).filter(|n| !n.is_empty()),
        add_linkerd_headers: raw.add_linkerd_headers.unwrap_or(false),
        cors: cors.flatten(),
        ipv4: raw.enable_ipv4.unwrap_or(standard.ipv4),
        ipv6: raw.enable_ipv6.unwrap_or(standard.ipv6),
        regex_max_size: raw.regex_max_size.unwrap_or(standard.regex_max_size),
        unqualified_services: raw.use_ambassador_namespace_for_service_resolution.unwrap_or(false),
        resolver: raw.resolver.clone().filter(|r| !r.is_empty()),
    })
}

fn read_edits(spec: &MappingDefaultsSpec, found: &mut Diagnostics<'_>) -> Option<HeaderEdits> {
    let path = |field: &str| format!("spec.config.defaults.httpmapping.{field}");
    let mut added = |headers: &Option<_>, field: &str| match headers {
        None => Some(Vec::new()),
        Some(headers) => read_added(headers, &path(field), found),
    };
    let add_request = added(&spec.add_request_headers, "add_request_headers");
    let add_response = added(&spec.add_response_headers, "add_response_headers");
    let mut removed = |names: &Option<_>, field: &str| match names {
        None => Some(Vec::new()),
        Some(names) => read_removed(names, &path(field), found),
    };
    let remove_request = removed(&spec.remove_request_headers, "remove_request_headers");
    let remove_response = removed(&spec.remove_response_headers, "remove_response_headers");
    Some(HeaderEdits {
        add_request: add_request?,
        add_response: add_response?,
        remove_request: remove_request?,
        remove_response: remove_response?,
    })
}

fn read_http(
    raw: &Raw,
    filters: Option<ModuleFilters>,
    found: &mut Diagnostics<'_>,
) -> Option<HttpOptions> {
    let standard = HttpOptions::default();
    let server_name =
        raw.server_name.clone().filter(|n| !n.is_empty()).unwrap_or(standard.server_name.clone());
    if let Err(why) = header::check_value(&server_name) {
        found.error("spec.config.server_name", why);
        return None;
    }
    let underscores = match raw.headers_with_underscores_action.as_deref() {
        None | Some("" | "ALLOW") => Underscores::Allow,
        Some("REJECT_REQUEST") => Underscores::RejectRequest,
        Some("DROP_HEADER") => Underscores::DropHeader,
        Some(other) => {
            found
                .error(
                    "spec.config.headers_with_underscores_action",
                    format!("unknown action `{other}`"),
                )
                .hint("ALLOW, REJECT_REQUEST or DROP_HEADER");
            return None;
        }
    };
    let kb = raw.max_request_headers_kb.filter(|kb| *kb > 0);
    if kb.is_some_and(|kb| kb > 8192) {
        found.error("spec.config.max_request_headers_kb", "at most 8192");
        return None;
    }
    let path = "spec.config.listener_idle_timeout_ms";
    Some(HttpOptions {
        server_name,
        use_remote_address: raw.use_remote_address.unwrap_or(true),
        merge_slashes: raw.merge_slashes.unwrap_or(false),
        reject_escaped_slashes: raw.reject_requests_with_escaped_slashes.unwrap_or(false),
        strip_matching_host_port: raw.strip_matching_host_port.unwrap_or(false),
        preserve_external_request_id: raw.preserve_external_request_id.unwrap_or(false),
        suppress_envoy_headers: raw.suppress_envoy_headers.unwrap_or(false),
        http10: raw.enable_http10.unwrap_or(false),
        allow_chunked_length: raw.allow_chunked_length.unwrap_or(false),
        proper_case: raw.proper_case.unwrap_or(false),
        underscores,
        idle_timeout_ms: fields::milliseconds(raw.listener_idle_timeout_ms, path, found)?,
        max_request_headers_kb: kb,
        buffer_limit_bytes: raw.buffer_limit_bytes,
        client_certificates: client_certificates::read(
            raw.forward_client_cert_details.as_deref(),
            raw.set_current_client_cert_details.as_ref(),
            found,
        )?,
        filters: filters?,
        ..standard
    })
}
