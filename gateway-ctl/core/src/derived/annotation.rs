//! `getambassador.io/config`: objects in the annotation of a Service or an Ingress, as YAML
//! documents without `metadata` and `spec`.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use service_kit::{Diagnostic, Object, Severity, yaml};

use super::{Inner, Made};
use crate::kinds::{GROUP, KINDS, Reading};

/// The annotation.
const NAME: &str = "getambassador.io/config";
/// Longest annotation that is read, in bytes. An API server takes 256 KiB.
const MOST: usize = 1 << 20;
/// Where it is, as the path of a diagnostic.
const PATH: &str = "metadata.annotations[getambassador.io/config]";

/// The objects in the annotation of an object; none where there is no readable one.
pub fn stands_in(object: &Object) -> Vec<Arc<Object>> {
    read(object).inner.into_iter().map(|inner| inner.object).collect()
}

/// Reads the annotation, if the object has one and is of a kind whose annotations are read.
pub(super) fn read(object: &Object) -> Made {
    let mut made = Made::default();
    if !matches!(object.reference.kind.as_str(), "Service" | "Ingress") {
        return made;
    }
    let Some(text) = object.annotations.get(NAME) else { return made };
    if text.len() > MOST {
        let text = format!("{} bytes are more than {MOST}, the most that is read", text.len());
        let mut d = error(object, text);
        d.hint("make its documents objects of their own");
        made.found.push(d);
        made.unreadable = true;
        return made;
    }
    let mut references = BTreeSet::new();
    let documents = match yaml::parse(text) {
        Ok(documents) => documents,
        Err(e) => {
            let text = format!("not YAML: {} (line {} of the annotation)", e.message, e.line);
            made.found.push(error(object, text));
            made.unreadable = true;
            return made;
        }
    };
    for (i, document) in documents.iter().enumerate() {
        let json = document.to_json();
        if json.is_null() {
            continue;
        }
        let number = i + 1;
        match read_document(object, json) {
            Ok(inner) => {
                if !references.insert(inner.reference.clone()) {
                    let text = format!("document {number}: {} is here twice", inner.reference);
                    made.found.push(error(object, text));
                    continue;
                }
                let words = format!("document {number} ({})", inner.reference);
                let path = PATH.to_owned();
                made.inner.push(Inner { object: Arc::new(inner), path, words });
            }
            Err(why) => made.found.push(error(object, format!("document {number}: {why}"))),
        }
    }
    made
}

fn error(object: &Object, text: String) -> Diagnostic {
    let mut d = Diagnostic::new(Severity::Error, object.reference.clone(), PATH, text);
    d.hint("the other documents are in force");
    d.locate(object);
    d
}

/// The object that a document means: what is no metadata is `spec`.
fn read_document(outer: &Object, json: Value) -> Result<Object, String> {
    let Value::Object(mut map) = json else {
        return Err("it is no map with apiVersion, kind and name".to_owned());
    };
    let mut text = |key: &str| match map.remove(key) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        _ => Err(format!("it needs `{key}`")),
    };
    let (api_version, kind) = (text("apiVersion")?, text("kind")?);
    let version = version(&api_version)
        .ok_or_else(|| format!("apiVersion `{api_version}` is none of getambassador.io"))?;
    check_kind(&kind)?;
    let whole = map.contains_key("metadata") && map.contains_key("spec");
    let (metadata, spec) = if whole {
        (map.remove("metadata").unwrap_or_default(), map.remove("spec").unwrap_or_default())
    } else {
        let mut metadata = Map::new();
        for (field, of_metadata) in [
            ("name", "name"),
            ("namespace", "namespace"),
            ("generation", "generation"),
            ("metadata_labels", "labels"),
        ] {
            if let Some(value) = map.remove(field) {
                metadata.insert(of_metadata.to_owned(), value);
            }
        }
        (Value::Object(metadata), Value::Object(map))
    };
    let Value::Object(mut metadata) = metadata else {
        return Err("its metadata is no map".to_owned());
    };
    if metadata.get("name").and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err("it needs `name`".to_owned());
    }
    metadata.entry("namespace").or_insert_with(|| json!(outer.reference.namespace));
    metadata.entry("labels").or_insert_with(|| json!(outer.labels));
    let object = json!({
        "apiVersion": format!("{GROUP}/{version}"),
        "kind": kind,
        "metadata": metadata,
        "spec": spec,
    });
    Object::from_json(object).map_err(|d| d.message)
}

/// `v2` of `getambassador.io/v2`, `ambassador/v2` and such.
fn version(api_version: &str) -> Option<&str> {
    let (group, version) = api_version.split_once('/')?;
    let known = matches!(group, GROUP | "x.getambassador.io" | "ambassador");
    match version {
        // The words of v1 are those of v0 and more.
        "v0" if known => Some("v1"),
        _ => Some(version).filter(|_| known),
    }
}

/// Whether a kind may be in an annotation: one that is passed on to a service must be an object of
/// its own, so that nothing depends on whether its Service is there.
fn check_kind(kind: &str) -> Result<(), String> {
    let row = KINDS.iter().find(|k| k.group == GROUP && k.name == kind);
    match row.map(|k| k.reading) {
        Some(Reading::Whole(_)) => Err(format!("a {kind} must be an object of its own")),
        Some(_) => Ok(()),
        None => Err(format!("kind `{kind}` is unknown")),
    }
}
