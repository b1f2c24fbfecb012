//! What Modules mean: Mappings for probes and diagnostics, where the Module names a service for them;
//! and of the oldest versions the Module `tls`, which is TLSContexts, and the Module `authentication`,
//! which is an AuthService.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use service_kit::{Diagnostic, Object, Severity};

use super::{Inner, Made};
use crate::ir::listener::PROBES;
use crate::kinds::GROUP;
use crate::resource::module::{AUTHENTICATION, NAME, Probe, Probes, TLS};

/// Milliseconds until an answer is given up.
const TIMEOUT_MS: u32 = 10_000;

/// Reads what a Module means into `made`.
pub(super) fn read(object: &Object, made: &mut Made) {
    if object.reference.kind != "Module" {
        return;
    }
    match object.reference.name.as_str() {
        NAME => read_probes(object, made),
        TLS => made.inner.extend(contexts(object)),
        AUTHENTICATION => made.inner.extend(authentication(object)),
        _ => {}
    }
}

/// The TLSContexts that a Module `tls` means; none of others.
pub fn tls_contexts(object: &Object) -> Vec<Arc<Object>> {
    if object.reference.kind != "Module" || object.reference.name != TLS {
        return Vec::new();
    }
    contexts(object).into_iter().map(|inner| inner.object).collect()
}

fn config(object: &Object) -> Map<String, Value> {
    let config = object.json.pointer("/spec/config").and_then(Value::as_object);
    config.cloned().unwrap_or_default()
}

fn is_off(entry: &Map<String, Value>) -> bool {
    entry.get("enabled") == Some(&Value::Bool(false))
}

/// A TLSContext for each entry but `client`, which says what clients of `server` must show. Without a
/// certificate the usual Secrets are meant.
fn contexts(object: &Object) -> Vec<Inner> {
    let config = config(object);
    let entry = |key: &str| config.get(key).and_then(Value::as_object).filter(|e| !is_off(e));
    let named = |e: &Map<String, Value>, keys: &[&str]| keys.iter().any(|key| e.contains_key(*key));
    let mut made = Vec::new();
    for key in config.keys().filter(|key| *key != "client") {
        let Some(mut spec) = entry(key).cloned() else { continue };
        spec.remove("enabled");
        if !named(&spec, &["secret", "cert_chain_file", "private_key_file"]) {
            spec.insert("secret".to_owned(), json!("ambassador-certs"));
        }
        if key == "server" {
            spec.insert("hosts".to_owned(), json!(["*"]));
            if let Some(client) = entry("client") {
                let mut client = client.clone();
                client.remove("enabled");
                if let Some(secret) = client.remove("secret") {
                    client.insert("ca_secret".to_owned(), secret);
                } else if !named(&client, &["cacert_chain_file"]) {
                    client.insert("ca_secret".to_owned(), json!("ambassador-cacert"));
                }
                spec.extend(client);
            }
        }
        made.extend(inner(object, "TLSContext", key, spec, &format!("spec.config.{key}")));
    }
    made
}

/// The AuthService. One that cannot be read is made, too: nothing is open because of that.
fn authentication(object: &Object) -> Option<Inner> {
    let mut spec = config(object);
    if let Some(names) = spec.remove("allowed_headers") {
        for key in ["allowed_request_headers", "allowed_authorization_headers"] {
            spec.entry(key).or_insert_with(|| names.clone());
        }
    }
    spec.entry("auth_service").or_insert_with(|| json!(""));
    inner(object, "AuthService", AUTHENTICATION, spec, "spec.config")
}

fn inner(
    object: &Object,
    kind: &str,
    name: &str,
    mut spec: Map<String, Value>,
    path: &str,
) -> Option<Inner> {
    spec.insert("ambassador_id".to_owned(), json!("_automatic_"));
    let json = json!({
        "apiVersion": format!("{GROUP}/v2"),
        "kind": kind,
        "metadata": {"name": name, "namespace": object.reference.namespace},
        "spec": spec,
    });
    let object = Arc::new(Object::from_json(json).ok()?);
    Some(Inner { object, path: path.to_owned(), words: format!("its {kind}") })
}

fn read_probes(object: &Object, made: &mut Made) {
    let config = object.json.pointer("/spec/config").cloned().unwrap_or_default();
    // What is wrong with it is found where the Module is read.
    let Ok(Some(probes)) = serde_json::from_value::<Option<Probes>>(config) else { return };
    for (key, prefix, probe) in [
        ("diagnostics", "/ambassador/v0/", probes.diagnostics),
        ("liveness_probe", PROBES[0], probes.liveness_probe),
        ("readiness_probe", PROBES[1], probes.readiness_probe),
    ] {
        let Some(probe) = probe.filter(Probe::is_enabled) else { continue };
        let path = format!("spec.config.{key}");
        match mapping(object, key, prefix, &probe) {
            Some(inner) => made.inner.push(Inner {
                object: Arc::new(inner),
                path,
                words: "its Mapping".to_owned(),
            }),
            None if key == "diagnostics" => made.found.push(nobody(object, &path)),
            // Envoy itself answers.
            None => {}
        }
    }
}

fn mapping(object: &Object, key: &str, prefix: &str, probe: &Probe) -> Option<Object> {
    let some = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
    let service = probe.service()?;
    let prefix = some(&probe.prefix).unwrap_or_else(|| prefix.to_owned());
    let json = json!({
        "apiVersion": format!("{GROUP}/v3alpha1"),
        "kind": "Mapping",
        "metadata": {
            "name": format!("{NAME}:{key}"),
            "namespace": object.reference.namespace,
        },
        "spec": {
            "ambassador_id": "_automatic_",
            "hostname": "*",
            "rewrite": some(&probe.rewrite).unwrap_or_else(|| prefix.clone()),
            "prefix": prefix,
            "service": service,
            "timeout_ms": TIMEOUT_MS,
        },
    });
    Object::from_json(json).ok()
}

fn nobody(object: &Object, path: &str) -> Diagnostic {
    let text = "the page is not on Listeners, as it names no service";
    let mut d = Diagnostic::new(Severity::Notice, object.reference.clone(), path, text);
    d.hint("look at the admin port of gateway-ctl, or name a service");
    d
}
