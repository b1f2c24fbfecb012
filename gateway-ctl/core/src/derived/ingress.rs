//! `Ingress`: the Hosts and Mappings that it means.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use service_kit::{Diagnostic, Object, ObjectRef, Reason, Severity};

use super::{Inner, Made};
use crate::kinds::GROUP;
use crate::resource::Spec;
use crate::store::Store;

/// The controller that IngressClasses for us name.
const CONTROLLER: &str = "getambassador.io/ingress-controller";
/// The class in the annotation that is older than IngressClass.
const CLASS: &str = "ambassador";
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const ID_ANNOTATION: &str = "getambassador.io/ambassador-id";
/// Most paths of one Ingress; an API server takes 1 MiB.
const MAX_PATHS: usize = 10_000;

/// Start of the names of Hosts that are made of Ingresses. No object of the API has a colon in its name.
const HOST_PREFIX: &str = "ingress:";

/// Whether a Host was made of an Ingress.
pub fn is_of_ingress(host: &ObjectRef) -> bool {
    host.name.starts_with(HOST_PREFIX)
}

/// How paths of an Ingress are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ways {
    /// As the Ingress API has it: the service sees the path as it came, and a `Prefix` ends where
    /// an element of the path ends.
    #[default]
    Kubernetes,
    /// As Emissary does: what matched is replaced by `/`, and a `Prefix` is the start of a text.
    Emissary,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Raw {
    // `backend` and the flat names in it are of v1beta1.
    #[serde(alias = "backend")]
    default_backend: Option<Backend>,
    rules: Option<Vec<Rule>>,
    tls: Option<Vec<Tls>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Rule {
    host: Option<String>,
    http: Option<Http>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Http {
    paths: Option<Vec<Path>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Path {
    path: Option<String>,
    path_type: Option<String>,
    backend: Backend,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Backend {
    service: Option<Service>,
    service_name: Option<String>,
    service_port: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Service {
    name: String,
    port: Option<Port>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Port {
    name: Option<String>,
    number: Option<u16>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Tls {
    hosts: Option<Vec<String>>,
    secret_name: Option<String>,
}

impl Backend {
    /// The Service's name, and its port by number or name.
    fn service(&self) -> Option<(&str, Result<u16, &str>)> {
        if let Some(service) = &self.service {
            let port = service.port.as_ref();
            let number = port.and_then(|p| p.number);
            let name = port.and_then(|p| p.name.as_deref()).unwrap_or_default();
            return Some((&service.name, number.ok_or(name)));
        }
        let port = match &self.service_port {
            Some(Value::Number(n)) => n.as_u64().and_then(|n| u16::try_from(n).ok()).ok_or(""),
            Some(Value::String(text)) => text.parse().map_err(|_| text.as_str()),
            _ => Err(""),
        };
        Some((self.service_name.as_deref()?, port))
    }
}

fn spec(object: &Object) -> Result<Raw, String> {
    let spec = object.json.get("spec").cloned().unwrap_or_default();
    if spec.is_null() {
        return Ok(Raw::default());
    }
    serde_path_to_error::deserialize(spec).map_err(|e| format!("spec.{}: {}", e.path(), e.inner()))
}

/// The IngressClass that an Ingress names.
pub(super) fn class_name(object: &Object) -> Option<&str> {
    object.json.pointer("/spec/ingressClassName").and_then(Value::as_str)
}

/// The Secrets that an Ingress names, whoever it is for.
pub fn secret_refs(object: &Object) -> Vec<ObjectRef> {
    let tls = spec(object).ok().and_then(|s| s.tls).unwrap_or_default();
    let names = tls.into_iter().filter_map(|t| t.secret_name).filter(|n| !n.is_empty());
    names.map(|name| ObjectRef::new("Secret", &object.reference.namespace, name)).collect()
}

/// The Services whose ports an Ingress calls by name.
pub(super) fn named_ports(object: &Object) -> BTreeSet<ObjectRef> {
    let Ok(raw) = spec(object) else { return BTreeSet::new() };
    let paths =
        raw.rules.iter().flatten().filter_map(|r| r.http.as_ref()?.paths.as_ref()).flatten();
    let backends = paths.map(|p| &p.backend).chain(&raw.default_backend);
    let named = backends.filter_map(Backend::service).filter(|(_, port)| port.is_err());
    named.map(|(name, _)| ObjectRef::new("Service", &object.reference.namespace, name)).collect()
}

/// Whether the annotation `getambassador.io/ambassador-id` names this installation.
fn is_for(object: &Object, id: &str) -> bool {
    let written = object.annotations.get(ID_ANNOTATION).map_or("default", String::as_str);
    written.split(',').map(str::trim).any(|w| w == id || w == "_automatic_")
}

/// Whether an Ingress is for this installation; and what is to be said if its class is not there.
fn is_ours(object: &Object, store: &Store, id: &str, made: &mut Made) -> bool {
    if !is_for(object, id) {
        return false;
    }
    let class = object.annotations.get(CLASS_ANNOTATION);
    if class.is_some_and(|class| class.eq_ignore_ascii_case(CLASS)) {
        return true;
    }
    let Some(name) = class_name(object) else { return false };
    // Classes have no namespace; objects without one are in `default`.
    let class = store.get(&ObjectRef::new("IngressClass", "default", name));
    let Some(class) = class else {
        if name == CLASS {
            let text = format!("there is no IngressClass `{name}`");
            let mut d = Diagnostic::new(
                Severity::Notice,
                object.reference.clone(),
                "spec.ingressClassName",
                text,
            );
            d.hint(format!("create one with the controller {CONTROLLER}"))
                .reason(Reason::RefNotResolved);
            made.found.push(d);
        }
        return false;
    };
    let controller = class.latest.json.pointer("/spec/controller").and_then(Value::as_str);
    controller.is_some_and(|c| c.eq_ignore_ascii_case(CONTROLLER)) && is_for(&class.latest, id)
}

/// Reads an Ingress into `made`, if it is for the installation `id`.
pub(super) fn read(object: &Object, store: &Store, ways: Ways, id: &str, made: &mut Made) {
    if !is_ours(object, store, id, made) {
        return;
    }
    let raw = match spec(object) {
        Ok(raw) => raw,
        Err(why) => {
            made.found.push(Diagnostic::new(Severity::Error, object.reference.clone(), "", why));
            made.unreadable = true;
            return;
        }
    };
    let mut reader = Reader { object, store, ways, made };
    for (i, tls) in raw.tls.iter().flatten().enumerate() {
        reader.tls(tls, &format!("spec.tls[{i}]"));
    }
    let mut count = 0;
    for (i, rule) in raw.rules.iter().flatten().enumerate() {
        let paths = rule.http.as_ref().and_then(|h| h.paths.as_ref()).into_iter().flatten();
        for (j, path) in paths.enumerate() {
            count += 1;
            if count > MAX_PATHS {
                reader.error(
                    "spec.rules",
                    format!("more than {MAX_PATHS} paths; the rest is not in force"),
                    "make several Ingresses of it",
                );
                return;
            }
            let at = format!("spec.rules[{i}].http.paths[{j}]");
            reader.path(rule.host.as_deref().unwrap_or_default(), path, &format!("{i}:{j}"), &at);
        }
    }
    if let Some(backend) = &raw.default_backend {
        let path = Path { path: Some("/".to_owned()), ..Path::default() };
        reader.mapping("", &path, backend, "default", "spec.defaultBackend");
    }
}

struct Reader<'a> {
    object: &'a Object,
    store: &'a Store,
    ways: Ways,
    made: &'a mut Made,
}

impl Reader<'_> {
    fn error(&mut self, path: &str, text: String, hint: &str) {
        let mut d = Diagnostic::new(Severity::Error, self.object.reference.clone(), path, text);
        d.hint(hint);
        self.made.found.push(d);
    }

    /// Adds an object, unless it has one of this name already.
    fn add(&mut self, kind: &str, name: &str, spec: Value, path: &str) {
        let json = json!({
            "apiVersion": format!("{GROUP}/v3alpha1"),
            "kind": kind,
            "metadata": {
                "name": name,
                "namespace": self.object.reference.namespace,
                "labels": self.object.labels,
            },
            "spec": spec,
        });
        match Object::from_json(json) {
            Ok(inner) => self.made.inner.push(Inner {
                object: Arc::new(inner),
                path: path.to_owned(),
                words: String::new(),
            }),
            Err(why) => self.error(path, why.message, ""),
        }
    }

    /// The Hosts of `tls`. Several Ingresses may name one host, so the host is the name.
    fn tls(&mut self, tls: &Tls, path: &str) {
        let Some(secret) = tls.secret_name.as_deref().filter(|s| !s.is_empty()) else {
            self.error(
                &format!("{path}.secretName"),
                "it names no Secret".to_owned(),
                "its hosts have no certificate without one",
            );
            return;
        };
        let any = vec!["*".to_owned()];
        let hosts = tls.hosts.as_ref().filter(|h| !h.is_empty()).unwrap_or(&any);
        for host in hosts.iter().map(|host| host.to_ascii_lowercase()) {
            let spec = json!({
                "ambassador_id": "_automatic_",
                "hostname": host,
                "tlsSecret": {"name": secret},
                "requestPolicy": {"insecure": {"action": "Route"}},
            });
            let name = format!("{HOST_PREFIX}{host}");
            let twice = |i: &Inner| i.object.reference.name == name;
            if self.made.inner.iter().any(twice) {
                continue;
            }
            self.add("Host", &name, spec, path);
        }
    }

    fn path(&mut self, host: &str, path: &Path, number: &str, at: &str) {
        self.mapping(host, path, &path.backend, number, at);
    }

    fn mapping(&mut self, host: &str, path: &Path, backend: &Backend, number: &str, at: &str) {
        let Some((service, port)) = backend.service() else {
            self.error(
                at,
                "not supported yet: a backend that is no Service".to_owned(),
                "name a Service",
            );
            return;
        };
        let port = match port {
            Ok(port) => port,
            Err(name) => match self.port(service, name) {
                Ok(port) => port,
                Err(why) => {
                    self.error(at, why, "requests to it are not routed until then");
                    return;
                }
            },
        };
        let namespace = &self.object.reference.namespace;
        let mut spec = json!({
            "ambassador_id": "_automatic_",
            "service": format!("{service}.{namespace}:{port}"),
        });
        match host.strip_prefix("*.") {
            None if host.is_empty() => spec["hostname"] = json!("*"),
            None => spec["hostname"] = json!(host),
            Some(rest) => {
                // The star is one label of the name.
                let rest = regex_syntax::escape(rest);
                spec["hostname"] = json!(host);
                spec["regex_headers"] =
                    json!({":authority": format!("(?i)[^.:]+\\.{rest}(:[0-9]+)?")});
            }
        }
        let text = path.path.as_deref().filter(|p| !p.is_empty()).unwrap_or("/");
        spec["prefix"] = json!(text);
        match (path.path_type.as_deref(), self.ways) {
            (Some("Exact"), ways) => {
                spec["prefix_exact"] = json!(true);
                if ways == Ways::Emissary {
                    spec["precedence"] = json!(1);
                }
            }
            (Some("Prefix"), Ways::Kubernetes) => spec["prefix_separated"] = json!(true),
            (None | Some("Prefix" | "ImplementationSpecific" | ""), _) => {}
            (Some(other), _) => {
                let text = format!("unknown pathType `{other}`");
                self.error(
                    &format!("{at}.pathType"),
                    text,
                    "Prefix, Exact or ImplementationSpecific",
                );
                return;
            }
        }
        match self.ways {
            Ways::Kubernetes => spec["rewrite"] = json!(""),
            // Not what a Mapping's own `rewrite` does without a slash at the end: `/a/b` is `/b`.
            Ways::Emissary if !text.ends_with('/') && spec["prefix_exact"].is_null() => {
                let pattern = format!("^{}/?", regex_syntax::escape(text));
                spec["regex_rewrite"] = json!({"pattern": pattern, "substitution": "/"});
            }
            Ways::Emissary => {}
        }
        let name = format!("{}:{number}", self.object.reference.name);
        self.add("Mapping", &name, spec, at);
    }

    /// The number of a port that is called by its name.
    fn port(&self, service: &str, name: &str) -> Result<u16, String> {
        let namespace = &self.object.reference.namespace;
        let reference = ObjectRef::new("Service", namespace, service);
        let ports = match self.store.good(&reference).map(|g| &g.spec) {
            Some(Spec::Service(ports)) => &ports.0,
            _ => {
                return Err(format!(
                    "there is no Service `{service}` in namespace `{namespace}`, so what its port `{name}` is cannot be told"
                ));
            }
        };
        let found = match ports.as_slice() {
            [only] if name.is_empty() => Some(only),
            ports => ports.iter().find(|p| p.name == name && !name.is_empty()),
        };
        found.map(|p| p.port).ok_or_else(|| match name {
            "" => format!("it names no port of Service `{service}`"),
            name => format!("Service `{service}` has no port named `{name}`"),
        })
    }
}
