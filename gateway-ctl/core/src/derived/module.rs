//! The Module's probes and diagnostics: Mappings, where it names a service for them.

use std::sync::Arc;

use serde_json::json;
use service_kit::{Diagnostic, Object, Severity};

use super::{Inner, Made};
use crate::kinds::GROUP;
use crate::resource::module::{NAME, Probe, Probes};

/// Milliseconds until an answer is given up.
const TIMEOUT_MS: u32 = 10_000;

/// Reads the Mappings of a Module into `made`.
pub(super) fn read(object: &Object, made: &mut Made) {
    if object.reference.kind != "Module" || object.reference.name != NAME {
        return;
    }
    let config = object.json.pointer("/spec/config").cloned().unwrap_or_default();
    // What is wrong with it is found where the Module is read.
    let Ok(Some(probes)) = serde_json::from_value::<Option<Probes>>(config) else { return };
    for (key, prefix, probe) in [
        ("diagnostics", "/ambassador/v0/", probes.diagnostics),
        ("liveness_probe", "/ambassador/v0/check_alive", probes.liveness_probe),
        ("readiness_probe", "/ambassador/v0/check_ready", probes.readiness_probe),
    ] {
        let Some(probe) = probe.filter(|p| p.enabled != Some(false)) else { continue };
        let path = format!("spec.config.{key}");
        match mapping(object, key, prefix, &probe) {
            Some(inner) => made.inner.push(Inner {
                object: Arc::new(inner),
                path,
                words: "its Mapping".to_owned(),
            }),
            None => made.found.push(nobody(object, &path)),
        }
    }
}

fn mapping(object: &Object, key: &str, prefix: &str, probe: &Probe) -> Option<Object> {
    let some = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
    let service = some(&probe.service)?;
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
    let text = "nothing is served on Listeners for it, as it names no service";
    let mut d = Diagnostic::new(Severity::Notice, object.reference.clone(), path, text);
    d.hint("probe Envoy's ready port and look at the admin port of gateway-ctl, or name a service");
    d
}
