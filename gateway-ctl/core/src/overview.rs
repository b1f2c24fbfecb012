//! What is in force, for people: the diagnostics page and `explain`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use service_kit::{Diagnostic, ObjectRef};

use crate::output::ResourceType;

/// Everything in force now, sorted.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Overview {
    /// The Listeners that listen.
    pub listeners: Vec<ListenerOverview>,
    /// The Hosts.
    pub hosts: Vec<HostOverview>,
    /// The routes of every Host, in the order in which Envoy tries them.
    pub routes: Vec<RouteOverview>,
    /// The clusters.
    pub clusters: Vec<ClusterOverview>,
    /// The services that Envoy asks about requests.
    pub services: Vec<ServiceOverview>,
    /// Mappings and Hosts that are for other installations.
    pub foreign: Vec<ForeignOverview>,
    /// Why every request is refused, if it is: what would decide about requests is misconfigured.
    pub closed: Option<String>,
}

/// A Mapping or Host that is for other installations.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ForeignOverview {
    /// The object.
    pub object: ObjectRef,
    /// Its `ambassador_id`.
    pub ids: Vec<String>,
    /// Its DNS glob.
    pub hostname: String,
    /// Its prefix; empty for a Host.
    pub prefix: String,
}

/// A Listener in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ListenerOverview {
    /// The object.
    pub listener: ObjectRef,
    /// The name of its Listener and Route resources.
    pub resource: String,
    /// The bound address.
    pub address: String,
    /// The bound port.
    pub port: u16,
    /// `XFP`, `SECURE` or `INSECURE`.
    pub security_model: String,
    /// The Hosts it serves.
    pub hosts: Vec<ObjectRef>,
}

/// A Host in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HostOverview {
    /// The object; the default Host is one without a name.
    pub host: ObjectRef,
    /// Its DNS glob.
    pub hostname: String,
    /// `Redirect`, `Route` or `Reject`.
    pub insecure_action: String,
    /// How many routes it has.
    pub routes: usize,
}

/// How values of a header or query parameter are compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ValueMatch {
    /// Header or parameter.
    pub name: String,
    /// The text to compare with; absent when presence is enough.
    pub value: Option<String>,
    /// Whether `value` is a regular expression (full match).
    pub regex: bool,
}

/// One route of a Host.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RouteOverview {
    /// The Host it belongs to.
    pub host: ObjectRef,
    /// The Mapping it was made of.
    pub mapping: ObjectRef,
    /// `prefix`, `elements` (a prefix of whole elements), `path` or `regex`: how [`Self::path`] is
    /// compared.
    pub path_kind: String,
    /// The prefix, path or regular expression.
    pub path: String,
    /// Whether upper and lower case differ in the path.
    pub case_sensitive: bool,
    /// The DNS glob of the Mapping; empty when it has none.
    pub hostname: String,
    /// Conditions on headers, `:method` and `:authority` among them.
    pub headers: Vec<ValueMatch>,
    /// Conditions on query parameters.
    pub query_parameters: Vec<ValueMatch>,
    /// The Mapping's precedence.
    pub precedence: i64,
    /// The share of requests of its group, in percent.
    pub weight: u32,
    /// Where it goes: the cluster; absent for a redirect.
    pub cluster: Option<String>,
    /// The service as the Mapping writes it.
    pub service: String,
    /// The clusters that get a copy.
    pub shadows: Vec<String>,
    /// The redirect's status code, if it is one.
    pub redirect: Option<u32>,
    /// What happens to the path, in words; empty when nothing.
    pub rewrite: String,
    /// Milliseconds until the request is given up; 0 is never.
    pub timeout_ms: u64,
    /// Milliseconds until a silent stream is given up; 0 is never, absent Envoy's default.
    pub idle_timeout_ms: Option<u64>,
    /// When and how often it is tried again, in words; empty when never.
    pub retry: String,
    /// Milliseconds that each try may take.
    pub per_try_timeout_ms: Option<u64>,
    /// Protocols that a connection may change to.
    pub upgrades: Vec<String>,
    /// Whether the authorization service is asked.
    pub authorized: bool,
    /// What the authorization service is told about the route.
    pub auth_context: BTreeMap<String, String>,
    /// Descriptors that go to the rate limit service: each a list of entries, written
    /// `key=value`, with `key=<source>` where the value comes from the request.
    pub descriptors: Vec<Vec<String>>,
}

/// A cluster in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ClusterOverview {
    /// Its name in Envoy.
    pub name: String,
    /// The name in Envoy's statistics.
    pub alt_stat_name: String,
    /// `host:port`.
    pub address: String,
    /// Whether it speaks HTTP/2 to it.
    pub http2: bool,
    /// Whether connections are TLS.
    pub tls: bool,
    /// The name that TLS asks for; none: that of the host, if it has one.
    pub server_name: Option<String>,
    /// Whether the certificate of the service must be of a known authority.
    pub verified: bool,
    /// Whether a certificate is shown to the service.
    pub shows_certificate: bool,
    /// Milliseconds until connecting is given up.
    pub connect_timeout_ms: u64,
    /// What its circuit breakers allow, in words; empty: Envoy's defaults.
    pub breakers: String,
    /// Whether the health of its hosts is checked.
    pub health_checks: bool,
    /// Whether hosts are left out because of their answers.
    pub outlier_detection: bool,
    /// The objects that use it.
    pub owners: Vec<ObjectRef>,
}

/// The AuthService or RateLimitService in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ServiceOverview {
    /// The object.
    pub service: ObjectRef,
    /// Its cluster; absent when it cannot be used.
    pub cluster: Option<String>,
    /// `in force`, `closed` (every request is refused because it is misconfigured) or `off`.
    pub state: String,
    /// Milliseconds until an answer is given up.
    pub timeout_ms: u64,
    /// Whether requests pass when it does not answer.
    pub fails_open: bool,
    /// The rate limit service's domain; empty for an AuthService.
    pub domain: String,
}

/// An object in a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ObjectRow {
    /// Which.
    pub object: ObjectRef,
    /// The version it was written in, as in `getambassador.io/v3alpha1`.
    pub api_version: String,
    /// Whether what it says now is in force; an older version may be.
    pub in_force: bool,
}

/// All that is known of an object. Without secrets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ObjectOverview {
    /// Which, and whether it is in force.
    #[serde(flatten)]
    pub row: ObjectRow,
    /// As it was written, but for what must not be shown.
    pub json: Value,
    /// The file it is from; none in a cluster.
    pub file: Option<String>,
    /// Its status as it was read; null where there is none.
    pub status: Value,
    /// What is wrong with it.
    pub diagnostics: Vec<Diagnostic>,
    /// The resources that were made of it, by type and name.
    pub resources: Vec<(ResourceType, String)>,
}
