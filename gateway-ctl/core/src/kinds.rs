//! The kinds table: which objects are read, in which versions, and by what.

use std::sync::Arc;

use serde_json::Value;
use service_kit::{Diagnostic, Diagnostics, Object, ObjectRef, Reason, Severity};

use crate::derived;
use crate::lower::tls;
use crate::resource::resolver::Resolver;
use crate::resource::{
    AuthService, Host, Listener, LogService, Mapping, Module, RateLimitService, SecretTls, Spec,
    TcpMapping, TlsContext, TracingService, consul, endpoints, tls_file, v2,
};

/// The API group of the gateway's own resources.
pub const GROUP: &str = "getambassador.io";

/// The API group in which Filter and FilterPolicy have a second spelling.
pub const GATEWAY_GROUP: &str = "gateway.getambassador.io";

/// The Secret of the certificate that is shown when there is no Host.
pub const FALLBACK_SECRET: &str = "fallback-self-signed-cert";

/// What is done with objects of a kind.
#[derive(Clone, Copy, Debug)]
pub enum Reading {
    /// They are read from their `spec`.
    Spec(fn(&Object, Value, &mut Diagnostics<'_>) -> Option<Spec>),
    /// They are checked and passed on whole.
    Whole(fn(&Object) -> Checked),
    /// They are Kubernetes' own, which the API server has checked.
    Builtin(fn(&Object) -> Spec),
    /// They never will be: a notice says so, and what to do instead.
    NoEffect(&'static str),
    /// They are not: an error says so.
    NotYet,
    /// They are not, and a notice says so: others may have use for them.
    NotYetNotice,
}

/// A whole object's findings, and what it is if it may be passed on although there are errors.
#[derive(Debug)]
pub struct Checked {
    /// What is wrong with it.
    pub found: Vec<Diagnostic>,
    /// What it is.
    pub spec: Spec,
    /// Whether it is passed on with errors when there is no better version: the service then
    /// refuses what it guards, where without it nothing would be guarded.
    pub guards: bool,
}

/// A row of the kinds table.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// As in `Mapping`; `*` stands for every kind of the group.
    pub name: &'static str,
    /// The API group; empty for Kubernetes' core.
    pub group: &'static str,
    /// Versions that are read.
    pub versions: &'static [&'static str],
    /// What is done.
    pub reading: Reading,
}

const SINCE_V1: &[&str] = &["v1", "v2", "v3alpha1"];
const SINCE_V2: &[&str] = &["v2", "v3alpha1"];
const OWN: &[&str] = &["v1beta1", "v1beta2", "v2", "v3alpha1"];

/// Every kind that is looked at. Others are for other programs and are passed over, except that
/// an unknown kind of [`GROUP`] is an error.
pub const KINDS: &[Kind] = &[
    own(
        "Mapping",
        SINCE_V1,
        Reading::Spec(|o, s, d| Some(Spec::Mapping(Box::new(Mapping::read(o, s, d)?)))),
    ),
    own(
        "Host",
        SINCE_V2,
        Reading::Spec(|o, s, d| Some(Spec::Host(Box::new(Host::read(o, s, d)?)))),
    ),
    own(
        "Listener",
        &["v3alpha1"],
        Reading::Spec(|o, s, d| Some(Spec::Listener(Listener::read(o, s, d)?))),
    ),
    own(
        "Module",
        SINCE_V1,
        Reading::Spec(|o, s, d| Some(Spec::Module(Box::new(Module::read(o, s, d)?)))),
    ),
    own(
        "AuthService",
        SINCE_V1,
        Reading::Spec(|o, s, d| Some(Spec::AuthService(Box::new(AuthService::read(o, s, d)?)))),
    ),
    own(
        "RateLimitService",
        SINCE_V1,
        Reading::Spec(|o, s, d| {
            Some(Spec::RateLimitService(Box::new(RateLimitService::read(o, s, d)?)))
        }),
    ),
    own(
        "TracingService",
        SINCE_V1,
        Reading::Spec(|o, s, d| {
            Some(Spec::TracingService(Box::new(TracingService::read(o, s, d)?)))
        }),
    ),
    own(
        "LogService",
        SINCE_V1,
        Reading::Spec(|o, s, d| Some(Spec::LogService(Box::new(LogService::read(o, s, d)?)))),
    ),
    own(
        "RateLimit",
        OWN,
        Reading::Whole(|o| Checked {
            found: ratelimit_core::check(o),
            spec: Spec::RateLimit,
            guards: false,
        }),
    ),
    own("Filter", OWN, Reading::Whole(check_authorization)),
    own("FilterPolicy", OWN, Reading::Whole(check_authorization)),
    Kind { name: "Secret", group: "", versions: &["v1"], reading: Reading::Whole(check_secret) },
    own(
        "TLSContext",
        SINCE_V1,
        Reading::Spec(|o, s, d| Some(Spec::TlsContext(Box::new(TlsContext::read(o, s, d)?)))),
    ),
    own(
        "KubernetesEndpointResolver",
        SINCE_V1,
        Reading::Spec(|o, s, d| Some(Spec::Resolver(Resolver::Endpoint.read(o, s, d)?))),
    ),
    own(
        "KubernetesServiceResolver",
        SINCE_V1,
        Reading::Spec(|o, s, d| Some(Spec::Resolver(Resolver::Service.read(o, s, d)?))),
    ),
    own(
        "ConsulResolver",
        SINCE_V1,
        Reading::Spec(|o, s, d| Some(Spec::Resolver(Resolver::read_consul(o, s, d)?))),
    ),
    builtin("TLSFile", tls_file::GROUP, |o| Spec::TlsFile(tls_file::read(o))),
    builtin("ConsulService", consul::GROUP, |o| Spec::Consul(consul::read(o))),
    builtin("Service", "", |o| Spec::Service(endpoints::read_service(o))),
    builtin("EndpointSlice", "discovery.k8s.io", |o| Spec::Endpoints(endpoints::read_slice(o))),
    builtin("Endpoints", "", |o| Spec::Endpoints(endpoints::read_endpoints(o))),
    builtin("Namespace", "", |o| Spec::Namespace(o.labels.clone())),
    builtin_of("Ingress", "networking.k8s.io", &["v1", "v1beta1"], |_| Spec::Ingress),
    builtin_of("Ingress", "extensions", &["v1beta1"], |_| Spec::Ingress),
    builtin_of("IngressClass", "networking.k8s.io", &["v1", "v1beta1"], |_| Spec::Ingress),
    own(
        "DevPortal",
        SINCE_V1,
        Reading::NoEffect(
            "there is no developer portal here; serve the documentation by a Mapping",
        ),
    ),
    own(
        "TCPMapping",
        SINCE_V1,
        Reading::Spec(|o, s, d| Some(Spec::TcpMapping(Box::new(TcpMapping::read(o, s, d)?)))),
    ),
    own("*", &[], Reading::NotYet),
    second("Filter", Reading::Whole(check_authorization)),
    second("FilterPolicy", Reading::Whole(check_authorization)),
    other("*", GATEWAY_GROUP),
    other("Ingress", "networking.internal.knative.dev"),
    other("*", "gateway.networking.k8s.io"),
    other("*", "networking.x-k8s.io"),
];

const fn own(name: &'static str, versions: &'static [&'static str], reading: Reading) -> Kind {
    Kind { name, group: GROUP, versions, reading }
}

const fn second(name: &'static str, reading: Reading) -> Kind {
    Kind { name, group: GATEWAY_GROUP, versions: &["v1alpha1"], reading }
}

const fn builtin(name: &'static str, group: &'static str, read: fn(&Object) -> Spec) -> Kind {
    builtin_of(name, group, &["v1"], read)
}

const fn builtin_of(
    name: &'static str,
    group: &'static str,
    versions: &'static [&'static str],
    read: fn(&Object) -> Spec,
) -> Kind {
    Kind { name, group, versions, reading: Reading::Builtin(read) }
}

const fn other(name: &'static str, group: &'static str) -> Kind {
    Kind { name, group, versions: &[], reading: Reading::NotYetNotice }
}

fn check_authorization(object: &Object) -> Checked {
    Checked {
        found: authz_core::check(object),
        spec: Spec::Authorization { secrets: secret_refs(object, "") },
        guards: true,
    }
}

/// One whose certificate is faulty may still have what a Filter needs.
fn check_secret(object: &Object) -> Checked {
    let mut found = Diagnostics::new(object);
    let tls = SecretTls::read(object, &mut found);
    Checked { found: found.into_vec(), spec: Spec::Secret(Box::new(tls)), guards: true }
}

/// The Secrets that an object may mean, whether it is in force or not, for a controller in
/// `own_namespace`.
pub fn secret_refs(object: &Object, own_namespace: &str) -> Vec<ObjectRef> {
    let mut secrets = match object.reference.kind.as_str() {
        "Filter" => authz_core::secret_refs(object),
        "Host" | "TLSContext" => tls_secret_refs(object),
        // Shown while there is no Host.
        "Listener" => vec![ObjectRef::new("Secret", own_namespace, FALLBACK_SECRET)],
        "Ingress" => derived::secret_refs(object),
        "Module" => derived::tls_contexts(object).iter().flat_map(|c| tls_secret_refs(c)).collect(),
        _ => Vec::new(),
    };
    let inner = derived::stands_in(object);
    secrets.extend(inner.iter().flat_map(|inner| secret_refs(inner, own_namespace)));
    secrets
}

/// Names with a dot are taken both ways: which one is meant, the Module may say.
fn tls_secret_refs(object: &Object) -> Vec<ObjectRef> {
    let namespace = object.reference.namespace.as_str();
    let text = |path: &str| object.json.pointer(path).and_then(Value::as_str);
    let mut refs = Vec::new();
    if let Some(name) = text("/spec/tlsSecret/name") {
        let namespace =
            text("/spec/tlsSecret/namespace").filter(|n| !n.is_empty()).unwrap_or(namespace);
        refs.push(ObjectRef::new("Secret", namespace, name));
    }
    let parent = if object.reference.kind == "Host" { "/spec/tls" } else { "/spec" };
    for field in ["secret", "ca_secret", "caSecret", "crl_secret", "crlSecret"] {
        if let Some(name) = text(&format!("{parent}/{field}")) {
            refs.push(tls::secret_ref(name, namespace, true));
            refs.push(tls::secret_ref(name, namespace, false));
        }
    }
    refs.retain(|r| !r.name.is_empty());
    refs.sort();
    refs.dedup();
    refs
}

/// Whether an object may need the labels of namespaces.
pub fn wants_namespaces(object: &Object) -> bool {
    let from = object.json.pointer("/spec/hostBinding/namespace/from");
    object.reference.kind == "Listener" && from.and_then(Value::as_str) == Some("SELECTOR")
        || derived::stands_in(object).iter().any(|inner| wants_namespaces(inner))
}

/// Whether an object may need the endpoints of Services.
pub fn wants_endpoints(object: &Object) -> bool {
    let resolver = match object.reference.kind.as_str() {
        "Mapping" | "TCPMapping" => object.json.pointer("/spec/resolver"),
        "Module" => object.json.pointer("/spec/config/resolver"),
        _ => None,
    };
    let wants = resolver
        .and_then(Value::as_str)
        .is_some_and(|name| matches!(Resolver::builtin(name), None | Some(Resolver::Endpoint)));
    wants || derived::stands_in(object).iter().any(|inner| wants_endpoints(inner))
}

/// What came of reading an object.
#[derive(Debug)]
pub enum Outcome {
    /// It is not for us.
    Foreign,
    /// It can be in force.
    Good(Spec),
    /// It cannot; the version before stays. If there is none, this is in force in its stead.
    Broken(Option<Spec>),
}

/// Reads an object, for the instance `ambassador_id`.
pub fn read(object: &Arc<Object>, ambassador_id: &str) -> (Outcome, Vec<Diagnostic>) {
    let (group, version) = object.api_version.split_once('/').unwrap_or(("", &object.api_version));
    let kind = object.reference.kind.as_str();
    let row = KINDS.iter().find(|k| k.group == group && (k.name == kind || k.name == "*"));
    let Some(row) = row else { return (Outcome::Foreign, Vec::new()) };
    if [GROUP, GATEWAY_GROUP].contains(&row.group) && !object.is_for(ambassador_id) {
        return (Outcome::Foreign, Vec::new());
    }
    let mut found = Diagnostics::new(object);
    let known = row.versions.is_empty() || row.versions.contains(&version);
    match row.reading {
        Reading::NotYet => {
            found
                .error("", format!("not supported yet: {kind}"))
                .hint("remove the object")
                .reason(Reason::NotSupported);
        }
        Reading::NoEffect(advice) => {
            found.notice("", format!("a {kind} has no effect here")).hint(advice);
        }
        Reading::NotYetNotice => {
            let text = format!("not supported yet: {kind} of {}", object.api_version);
            found.notice("", text).hint("it has no effect here").reason(Reason::NotSupported);
        }
        // Only the controller says what Consul says, and what is in files.
        Reading::Builtin(_)
            if [consul::GROUP, tls_file::GROUP].contains(&group) && object.source.is_some() =>
        {
            return (Outcome::Foreign, Vec::new());
        }
        Reading::Builtin(_) if !known => return (Outcome::Foreign, Vec::new()),
        Reading::Builtin(read) => return (Outcome::Good(read(object)), Vec::new()),
        Reading::Spec(_) | Reading::Whole(_) if !known => {
            let text = format!("not supported yet: {kind} of {}", object.api_version);
            let versions = row.versions.join(", ");
            found.error("apiVersion", text).hint(format!("{group}/ and one of {versions} work"));
        }
        Reading::Spec(read) => {
            let mut spec = object.json.get("spec").cloned().unwrap_or(Value::Null);
            if spec.is_null() {
                spec = Value::Object(serde_json::Map::new());
            }
            if version != "v3alpha1" {
                v2::convert(kind, &mut spec);
            } else if kind == "Mapping" {
                v2::convert_presence(&mut spec);
            }
            let outcome = match read(object, spec, &mut found) {
                Some(spec) => Outcome::Good(spec),
                None => Outcome::Broken(None),
            };
            return (outcome, found.into_vec());
        }
        Reading::Whole(check) => {
            let checked = check(object);
            let broken = checked.found.iter().any(|d| d.severity == Severity::Error);
            let outcome = match (broken, checked.guards) {
                (false, _) => Outcome::Good(checked.spec),
                (true, true) => Outcome::Broken(Some(checked.spec)),
                (true, false) => Outcome::Broken(None),
            };
            return (outcome, checked.found);
        }
    }
    (Outcome::Broken(None), found.into_vec())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_one(api_version: &str, kind: &str, spec: Value) -> (Outcome, Vec<String>) {
        let object = Object::from_json(json!({"apiVersion": api_version, "kind": kind,
            "metadata": {"name": "x", "namespace": "ns"}, "spec": spec}));
        let (outcome, found) = read(&Arc::new(object.unwrap()), "default");
        (outcome, found.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn filters_and_policies_have_a_second_spelling() {
        const V1ALPHA1: &str = "gateway.getambassador.io/v1alpha1";
        let filter = json!({"type": "jwt", "jwt": {"jwksURI": "https://login.example/jwks.json"}});
        let policy = json!({"rules": [{"path": "/a/*", "filterRefs": [{"name": "x"}]}]});
        for (kind, spec) in [("Filter", filter), ("FilterPolicy", policy)] {
            let (outcome, found) = read_one(V1ALPHA1, kind, spec);
            let passed_on = matches!(outcome, Outcome::Good(Spec::Authorization { .. }));
            assert!(passed_on && found.is_empty(), "{kind}: {outcome:?} {found:?}");
        }
        // A broken one guards: it is passed on, and refuses.
        let (outcome, found) = read_one(V1ALPHA1, "Filter", json!({"type": "magic"}));
        assert!(matches!(outcome, Outcome::Broken(Some(_))), "{outcome:?}");
        assert!(found[0].contains("`magic` is not supported"), "{found:?}");
        let other = json!({"ambassador_id": ["other"], "rules": []});
        let (outcome, _) = read_one(V1ALPHA1, "FilterPolicy", other);
        assert!(matches!(outcome, Outcome::Foreign), "{outcome:?}");
        let (_, found) = read_one("gateway.getambassador.io/v2", "Filter", json!({}));
        assert!(found[0].contains("not supported yet"), "{found:?}");
        let (_, found) = read_one(V1ALPHA1, "WebApplicationFirewall", json!({}));
        assert!(found[0].starts_with("notice"), "{found:?}");
    }
}
