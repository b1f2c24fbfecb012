//! Objects written anew: in the words of v3alpha1, without what only Edge Stack had, and the objects
//! that older versions did without.

use serde::Serialize;
use serde_json::{Value, json};
use service_kit::Object;

use super::survey::Survey;
use crate::kinds::GROUP;
use crate::resource::v2;

/// Where the two services are, in place of Edge Stack's.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// authz-svc as `host:port`; empty when the AuthService is to be deleted, as the chart brings one.
    pub authz: String,
    /// ratelimit-svc as `host:port`; empty when the RateLimitService is to be deleted.
    pub ratelimit: String,
}

/// An object written anew.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rewrite {
    /// The object; none when it is to be deleted.
    pub object: Option<Value>,
    /// What was changed and why, in words.
    pub changes: Vec<String>,
    /// An object that goes with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside: Option<Value>,
}

/// Where Edge Stack's own services listened, beside Envoy.
const EDGE_STACK_PORT: &str = "8500";

/// The object as it would be written today; none when that changes nothing.
pub(super) fn rewrite(object: &Object, addresses: &Addresses) -> Option<Rewrite> {
    if !object.api_version.starts_with(GROUP) {
        return None;
    }
    let mut changes = Vec::new();
    let mut json = without_server_fields(&object.json);
    let kind = object.reference.kind.as_str();
    let (_, version) = object.api_version.split_once('/').unwrap_or_default();
    if version != "v3alpha1" && object.api_version.starts_with(&format!("{GROUP}/")) {
        let api_version = format!("{GROUP}/v3alpha1");
        changes.push(format!("{} is written as {api_version}", object.api_version));
        json["apiVersion"] = json!(api_version);
        if let Some(spec) = json.get_mut("spec") {
            v2::convert(kind, spec);
        }
    }
    let mut beside = None;
    let spec = json.get_mut("spec")?;
    match kind {
        "AuthService" if is_edge_stack(&spec["auth_service"]) => {
            if addresses.authz.is_empty() {
                return Some(deleted("the chart brings an AuthService for authz-svc"));
            }
            spec["auth_service"] = json!(addresses.authz);
            changes.push(format!("Edge Stack's service is {} now", addresses.authz));
        }
        "RateLimitService" if is_edge_stack(&spec["service"]) => {
            if addresses.ratelimit.is_empty() {
                return Some(deleted("the chart brings a RateLimitService for ratelimit-svc"));
            }
            spec["service"] = json!(addresses.ratelimit);
            changes.push(format!("Edge Stack's service is {} now", addresses.ratelimit));
        }
        "Mapping" if is_edge_stack(&spec["service"]) => {
            return Some(deleted("it leads to a part of Edge Stack that is not here"));
        }
        "DevPortal" => return Some(deleted("there is no developer portal here")),
        "Host" => beside = certificate(object, spec, &mut changes),
        _ => {}
    }
    if asks_for_v3(kind, spec) {
        spec["protocol_version"] = json!("v3");
        changes.push(
            "protocol_version is v3: Envoy speaks nothing else; see that the service does"
                .to_owned(),
        );
    }
    if changes.is_empty() {
        return None;
    }
    Some(Rewrite { object: Some(json), changes, beside })
}

fn deleted(why: &str) -> Rewrite {
    Rewrite { object: None, changes: vec![format!("delete it: {why}")], beside: None }
}

/// Whether an address is that of Edge Stack's own process.
fn is_edge_stack(service: &Value) -> bool {
    let text = service.as_str().unwrap_or_default();
    let bare = text.rsplit("://").next().unwrap_or(text);
    bare.rsplit_once(':').is_some_and(|(host, port)| {
        port == EDGE_STACK_PORT && matches!(host, "127.0.0.1" | "localhost" | "[::1]")
    })
}

fn asks_for_v3(kind: &str, spec: &Value) -> bool {
    let is_grpc = match kind {
        "AuthService" => spec["proto"].as_str() == Some("grpc"),
        "RateLimitService" | "LogService" => true,
        _ => false,
    };
    is_grpc && spec["protocol_version"].as_str() != Some("v3")
}

/// A Host whose certificate Edge Stack got by ACME: cert-manager's Certificate for the same Secret.
fn certificate(object: &Object, spec: &mut Value, changes: &mut Vec<String>) -> Option<Value> {
    let field = ["acmeProvider", "acme_provider"].into_iter().find(|f| spec.get(f).is_some())?;
    let authority =
        spec[field]["authority"].as_str().unwrap_or("https://acme-v02.api.letsencrypt.org");
    if authority.eq_ignore_ascii_case("none") {
        return None;
    }
    let email = spec[field]["email"].as_str().unwrap_or_default().to_owned();
    let hostname = spec["hostname"].as_str().unwrap_or(&object.reference.name).to_owned();
    let reference = &object.reference;
    let secret = spec.pointer("/tlsSecret/name").and_then(Value::as_str);
    let secret = secret.unwrap_or(&reference.name).to_owned();
    spec[field] = json!({"authority": "none"});
    spec["tlsSecret"] = json!({"name": secret});
    let of = if email.is_empty() { String::new() } else { format!(" of {email}") };
    changes.push(format!(
        "cert-manager gets its certificate into the Secret {secret}, by a ClusterIssuer `letsencrypt`{of} that you make"
    ));
    Some(json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {"name": reference.name, "namespace": reference.namespace},
        "spec": {
            "secretName": secret,
            "dnsNames": [hostname],
            "issuerRef": {"kind": "ClusterIssuer", "name": "letsencrypt"},
        },
    }))
}

/// An object as people write it: what the API server adds is left out.
fn without_server_fields(json: &Value) -> Value {
    let mut json = json.clone();
    if let Some(map) = json.as_object_mut() {
        map.remove("status");
    }
    let Some(metadata) = json.get_mut("metadata").and_then(Value::as_object_mut) else {
        return json;
    };
    for field in
        ["creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"]
    {
        metadata.remove(field);
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    json
}

/// Listeners for resources that have none, as versions before 2 did without.
pub(super) fn additions(survey: &Survey, ambassador_id: &str) -> Vec<Rewrite> {
    let routes = ["Mapping", "Host", "TCPMapping"].iter().any(|k| survey.kinds.contains(*k));
    if survey.kinds.contains("Listener") || !routes {
        return Vec::new();
    }
    let why = "nothing listens without a Listener; these are the ports of versions before 2";
    let ports = [("http", 8080, "HTTP"), ("https", 8443, "HTTPS")];
    ports.map(|(name, port, protocol)| listener(name, port, protocol, ambassador_id, why)).to_vec()
}

fn listener(name: &str, port: u16, protocol: &str, ambassador_id: &str, why: &str) -> Rewrite {
    let mut object = json!({
        "apiVersion": format!("{GROUP}/v3alpha1"),
        "kind": "Listener",
        "metadata": {"name": name},
        "spec": {
            "port": port,
            "protocol": protocol,
            "securityModel": "XFP",
            "hostBinding": {"namespace": {"from": "ALL"}},
        },
    });
    if ambassador_id != "default" {
        object["spec"]["ambassador_id"] = json!([ambassador_id]);
    }
    Rewrite { object: Some(object), changes: vec![why.to_owned()], beside: None }
}
