//! What must be known of all objects to judge one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use service_kit::Object;

use crate::kinds::GROUP;
use crate::resource::v2;

/// What objects say together.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Kinds of the gateway's own group that are there.
    pub(super) kinds: BTreeSet<String>,
    /// `spec.config` of the Module `ambassador`.
    pub(super) module: Value,
    /// Ingresses of a hostname.
    pub(super) ingresses_of_host: BTreeMap<String, usize>,
    /// Whether a Mapping has a precedence.
    pub(super) has_precedence: bool,
    /// TCPMappings of a port and name.
    pub(super) tcp_groups: BTreeMap<(u64, String), usize>,
    /// Whether a Host has TLS.
    pub(super) has_tls: bool,
    /// The hostnames of Hosts.
    pub(super) hostnames: BTreeSet<String>,
    /// The TLSContexts that Hosts name, or that are called after one with a Secret.
    pub(super) named_contexts: BTreeSet<String>,
    /// TLSContexts of a name.
    pub(super) contexts: BTreeMap<String, usize>,
    /// Whether a Listener takes nothing for secure.
    pub(super) has_insecure_listener: bool,
    /// What the settings of clusters say, by service.
    pub(super) settings_of_service: BTreeMap<String, BTreeSet<String>>,
    /// How Mappings compare paths, by [`path_text`].
    pub(super) kinds_of_path: BTreeMap<String, BTreeSet<String>>,
    /// The [`path_text`]s of Mappings with `regex_rewrite`.
    pub(super) rewritten_by_pattern: BTreeSet<String>,
}

/// Settings of a Mapping that become its cluster's.
pub(super) const OF_CLUSTERS: [&str; 6] = [
    "connect_timeout_ms",
    "cluster_idle_timeout_ms",
    "cluster_max_connection_lifetime_ms",
    "keepalive",
    "dns_type",
    "respect_dns_ttl",
];

impl Survey {
    pub(super) fn of(objects: &[Arc<Object>]) -> Self {
        let mut this = Self::default();
        for object in objects {
            this.add(object);
        }
        this
    }

    fn add(&mut self, object: &Object) {
        let kind = object.reference.kind.as_str();
        if kind == "Ingress" {
            for host in hosts_of_ingress(object) {
                *self.ingresses_of_host.entry(host).or_default() += 1;
            }
        }
        if !object.api_version.starts_with(GROUP) {
            return;
        }
        let spec = spec_of(object);
        self.kinds.insert(kind.to_owned());
        match kind {
            "Module" if object.reference.name == "ambassador" => {
                self.module = spec.get("config").cloned().unwrap_or_default();
            }
            "Mapping" => {
                self.has_precedence |= spec["precedence"].as_i64().is_some_and(|p| p != 0);
                let path = path_text(&spec);
                if spec.get("regex_rewrite").is_some() {
                    self.rewritten_by_pattern.insert(path.clone());
                }
                self.kinds_of_path.entry(path).or_default().insert(path_kind(&spec));
                let service = spec["service"].as_str().unwrap_or_default().to_owned();
                self.settings_of_service
                    .entry(service)
                    .or_default()
                    .insert(cluster_settings(&spec));
            }
            "TCPMapping" => {
                *self.tcp_groups.entry(tcp_group(&spec)).or_default() += 1;
            }
            "Host" => {
                self.has_tls |= ["tlsSecret", "tls", "tlsContext", "acmeProvider"]
                    .iter()
                    .any(|field| spec.get(field).is_some());
                let hostname = spec["hostname"].as_str().filter(|h| !h.is_empty()).unwrap_or("*");
                self.hostnames.insert(hostname.to_owned());
                if let Some(name) = spec["tlsContext"]["name"].as_str() {
                    self.named_contexts.insert(name.to_owned());
                } else if spec.get("tlsSecret").is_some() && spec.get("tls").is_none() {
                    self.named_contexts.insert(format!("{}-context", object.reference.name));
                }
            }
            "TLSContext" => {
                *self.contexts.entry(object.reference.name.clone()).or_default() += 1;
            }
            "Listener" => self.has_insecure_listener |= spec["securityModel"] == "INSECURE",
            _ => {}
        }
    }
}

/// The `spec` of an object in the words of v3alpha1.
pub(super) fn spec_of(object: &Object) -> Value {
    let mut spec = object.json.get("spec").cloned().unwrap_or_default();
    if !object.api_version.ends_with("/v3alpha1") && object.api_version.starts_with(GROUP) {
        v2::convert(&object.reference.kind, &mut spec);
    }
    spec
}

/// The group that a TCPMapping is in: port and name.
pub(super) fn tcp_group(spec: &Value) -> (u64, String) {
    (spec["port"].as_u64().unwrap_or_default(), spec["host"].as_str().unwrap_or("*").to_owned())
}

/// The host and the path of a Mapping, and the names and texts of its conditions: what Emissary's
/// groups are known by.
pub(super) fn path_text(spec: &Value) -> String {
    let mut text = ["hostname", "host", "prefix", "method"].map(|f| spec[f].to_string()).join("\n");
    for (exact, pattern) in CONDITIONS {
        let mut pairs: Vec<(&String, &Value)> =
            [exact, pattern].iter().filter_map(|f| spec[*f].as_object()).flatten().collect();
        pairs.sort_by_key(|(name, _)| *name);
        text += &format!("\n{pairs:?}");
    }
    text
}

/// What is compared exactly, and by patterns.
const CONDITIONS: [(&str, &str); 2] =
    [("headers", "regex_headers"), ("query_parameters", "regex_query_parameters")];

/// How a Mapping compares what [`path_text`] has.
fn path_kind(spec: &Value) -> String {
    let is = |field: &str, usual: bool| spec[field].as_bool().unwrap_or(usual);
    let patterns = CONDITIONS.map(|(_, pattern)| {
        spec[pattern].as_object().map(|m| m.keys().cloned().collect::<Vec<_>>())
    });
    format!(
        "{} {} {} {patterns:?}",
        is("prefix_exact", false),
        is("prefix_regex", false),
        is("case_sensitive", true)
    )
}

/// What a Mapping says of its cluster, as a text that is equal when it is.
pub(super) fn cluster_settings(spec: &Value) -> String {
    let said = OF_CLUSTERS.iter().map(|f| spec[f].to_string());
    said.collect::<Vec<_>>().join("\n")
}

pub(super) fn hosts_of_ingress(object: &Object) -> BTreeSet<String> {
    let rules = object.json.pointer("/spec/rules").and_then(Value::as_array);
    let hosts = rules.into_iter().flatten().filter_map(|r| r["host"].as_str());
    hosts.map(str::to_owned).collect()
}

/// The paths of an Ingress: `path` and `pathType`.
pub(super) fn paths_of_ingress(object: &Object) -> Vec<(String, String)> {
    let rules = object.json.pointer("/spec/rules").and_then(Value::as_array);
    let paths = rules.into_iter().flatten().filter_map(|r| r.pointer("/http/paths")?.as_array());
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    paths.flatten().map(|p| (text(&p["path"]), text(&p["pathType"]))).collect()
}
