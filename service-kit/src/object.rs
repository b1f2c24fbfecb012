//! A Kubernetes object as the programs pass it around, whichever door it came through.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::{spelling, yaml};

/// Which object: kind, namespace, name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// As in `Mapping`.
    pub kind: String,
    /// As in `default`; empty for objects that have none.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl ObjectRef {
    /// A reference from its parts.
    pub fn new(
        kind: impl Into<String>,
        namespace: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Self { kind: kind.into(), namespace: namespace.into(), name: name.into() }
    }
}

/// `Kind namespace/name`.
/// `Kind namespace/name`.
impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for text in [self.kind.as_str(), " ", &self.namespace, "/", &self.name] {
            write_plain(f, text, |_| false)?;
        }
        Ok(())
    }
}

/// Writes a text that a file may have made up: characters that control a terminal become escapes, but
/// for those that are `kept`.
pub(crate) fn write_plain(
    f: &mut fmt::Formatter<'_>,
    text: &str,
    kept: impl Fn(char) -> bool,
) -> fmt::Result {
    use fmt::Write as _;
    for c in text.chars() {
        if c.is_control() && !kept(c) {
            write!(f, "{}", c.escape_default())?;
        } else {
            f.write_char(c)?;
        }
    }
    Ok(())
}

/// `spec.ambassador_id` of a resource: the installations that read it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AmbassadorId {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// Where an object was read from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file's path as people would type it.
    pub file: Arc<str>,
    lines: yaml::Lines,
}

impl Source {
    /// The line of the field `path`, from 1; of the object itself when `path` is empty.
    pub fn line_of(&self, path: &str) -> Option<usize> {
        Some(self.lines.line_of(path))
    }
}

/// A Kubernetes object: what every kind has, and the rest as JSON.
#[derive(Clone, Debug)]
pub struct Object {
    /// As in `getambassador.io/v3alpha1`.
    pub api_version: String,
    /// Kind, namespace and name.
    pub reference: ObjectRef,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `metadata.generation`; 0 outside a cluster.
    pub generation: i64,
    /// `metadata.uid`; empty outside a cluster.
    pub uid: String,
    /// The whole object but its status.
    pub json: Value,
    /// `status`, which is not part of what the object says, so ignored by `==`.
    pub status: Value,
    /// Where it was read from; not part of what the object says, so ignored by `==`.
    pub source: Option<Source>,
}

/// A document (or an item of a `List`) that is no [`Object`].
#[derive(Debug)]
pub struct NoObject {
    /// The whole of it.
    pub json: Value,
    /// Why.
    pub why: Diagnostic,
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.api_version == other.api_version
            && self.reference == other.reference
            && self.json == other.json
    }
}

/// The part of `metadata` that the programs read.
#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    generation: i64,
    #[serde(default)]
    uid: String,
}

impl Object {
    /// Reads an object from its JSON. Without `metadata.namespace` it is in `default`.
    ///
    /// # Errors
    /// A finding that says which of `apiVersion`, `kind`, `metadata` is missing or wrong.
    pub fn from_json(json: Value) -> Result<Self, Box<Diagnostic>> {
        Self::take_json(json).map_err(|no_object| Box::new(no_object.why))
    }

    fn take_json(mut json: Value) -> Result<Self, Box<NoObject>> {
        let status = json.as_object_mut().and_then(|o| o.remove("status")).unwrap_or_default();
        let text = |key: &str| json.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let metadata = match metadata(&json, &api_version, &kind) {
            Ok(metadata) => metadata,
            Err((path, message)) => {
                let object = ObjectRef::new(kind, "", "");
                let why = Diagnostic::new(Severity::Error, object, path, message);
                return Err(Box::new(NoObject { json, why }));
            }
        };
        let namespace = metadata.namespace.filter(|n| !n.is_empty());
        Ok(Self {
            reference: ObjectRef {
                kind,
                namespace: namespace.unwrap_or_else(|| "default".to_owned()),
                name: metadata.name,
            },
            api_version,
            labels: metadata.labels.unwrap_or_default(),
            annotations: metadata.annotations.unwrap_or_default(),
            generation: metadata.generation,
            uid: metadata.uid,
            json,
            status,
            source: None,
        })
    }

    /// Reads every document of a YAML (or JSON) text; `file` is named in findings. A `List` gives
    /// its items. A document that is no object costs itself only.
    ///
    /// # Errors
    /// When the text is no YAML nothing of it is read; the finding has the line.
    pub fn from_yaml(
        text: &str,
        file: &str,
    ) -> Result<(Vec<Self>, Vec<Diagnostic>), Box<Diagnostic>> {
        let (mut objects, mut found) = (Vec::new(), Vec::new());
        for document in Self::read_documents(text, file)? {
            match document {
                Ok(object) => objects.push(object),
                Err(no_object) => found.push(no_object.why),
            }
        }
        Ok((objects, found))
    }

    /// As [`Self::from_yaml`], with what stands in place of an object.
    ///
    /// # Errors
    /// As [`Self::from_yaml`].
    pub fn read_documents(
        text: &str,
        file: &str,
    ) -> Result<Vec<Result<Self, NoObject>>, Box<Diagnostic>> {
        let file: Arc<str> = file.into();
        let documents = yaml::parse(text).map_err(|e| {
            let message = format!("not YAML: {} (column {})", e.message, e.column);
            let mut d = Diagnostic::new(Severity::Error, ObjectRef::default(), "", message);
            d.file = Some(file.to_string());
            d.line = Some(e.line);
            Box::new(d)
        })?;
        let mut read = Vec::new();
        for node in documents {
            let items = match node.get("items").map(|n| n.kind.clone()) {
                Some(yaml::Kind::Sequence(items)) if is_list(&node) => items,
                _ => vec![node],
            };
            for node in items {
                let source = Source { file: file.clone(), lines: yaml::Lines::of(&node) };
                let json = node.to_json();
                if is_kustomization(&json) {
                    continue;
                }
                read.push(match Self::take_json(json) {
                    Ok(object) => Ok(Self { source: Some(source), ..object }),
                    Err(mut no_object) => {
                        no_object.why.line = source.line_of(&no_object.why.path);
                        no_object.why.file = Some(file.to_string());
                        Err(*no_object)
                    }
                });
            }
        }
        Ok(read)
    }

    /// Whether the installation `id` reads this object: its `spec.ambassador_id` names it (or
    /// `_automatic_`, which is every one), or is unset and `id` is `default`. One that cannot be
    /// read fits, so that its fault is seen and nothing it guards is opened.
    pub fn is_for(&self, id: &str) -> bool {
        let fits = |text: &str| {
            // What the conversion to v2 put in front so that old controllers do not see the object.
            let text = text.strip_prefix("--apiVersion-v3alpha1-only--").unwrap_or(text);
            text == id || text == "_automatic_"
        };
        let spec = &self.json["spec"];
        let written = match (&spec["ambassador_id"], self.reference.kind.as_str()) {
            // The older spelling, which only Hosts had.
            (Value::Null, "Host") => &spec["ambassadorId"],
            (written, _) => written,
        };
        match written {
            Value::Null => fits("default"),
            Value::String(text) if text.is_empty() => fits("default"),
            Value::Array(list) if list.is_empty() => fits("default"),
            Value::String(text) => fits(text),
            Value::Array(list) => list.iter().any(|v| v.as_str().is_none_or(fits)),
            _ => true,
        }
    }

    /// Reads `spec` into `T`. A wrong type or a missing field is an error at its path; a field
    /// that `T` does not have is reported with `unknown`.
    pub fn read_spec<T: DeserializeOwned + JsonSchema + 'static>(
        &self,
        unknown: Severity,
        found: &mut Diagnostics<'_>,
    ) -> Option<T> {
        let null = Value::Null;
        let spec = self.json.get("spec").unwrap_or(&null);
        let mut ignored = Vec::new();
        let mut track = serde_path_to_error::Track::new();
        let inner = serde_path_to_error::Deserializer::new(spec, &mut track);
        let mut note = |path: serde_ignored::Path<'_>| ignored.push(path.to_string());
        let result = T::deserialize(serde_ignored::Deserializer::new(inner, &mut note));
        for written in ignored {
            let path = field_path(&written);
            let message = "unknown field; it has no effect";
            match unknown {
                Severity::Error => found.error(path, "unknown field"),
                Severity::Warning => found.warning(path, message),
                Severity::Notice => found.notice(path, message),
            }
            .hint(spelling::hint::<T>(
                &written,
                "check its spelling and its place against the reference of this kind",
            ));
        }
        match result {
            Ok(spec) => Some(spec),
            Err(e) => {
                found.error(field_path(&track.path().to_string()), e.to_string());
                None
            }
        }
    }
}

/// The metadata of what has all that an object needs; else the field that is wrong, and why.
fn metadata(json: &Value, api_version: &str, kind: &str) -> Result<Metadata, (String, String)> {
    if api_version.is_empty() || kind.is_empty() {
        let missing = if kind.is_empty() { "kind" } else { "apiVersion" };
        return Err((missing.to_owned(), format!("a Kubernetes object needs `{missing}`")));
    }
    let metadata = json.get("metadata").unwrap_or(&Value::Null);
    let metadata: Metadata = serde_path_to_error::deserialize(metadata)
        .map_err(|e| (format!("metadata.{}", e.path()), e.inner().to_string()))?;
    if metadata.name.is_empty() {
        return Err(("metadata.name".to_owned(), "an object needs a name".to_owned()));
    }
    Ok(metadata)
}

/// The file that tells Kustomize what is in a folder stands among the objects and is none.
fn is_kustomization(json: &Value) -> bool {
    let version = json.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    version.starts_with("kustomize.config.k8s.io/")
}

fn is_list(node: &yaml::Node) -> bool {
    node.get("kind").and_then(yaml::Node::text).is_some_and(|k| k.ends_with("List"))
}

/// `limits.0.rate` or `limits[0].rate` as `spec.limits[0].rate`; serde's `?` steps (an optional
/// value) are left out.
fn field_path(path: &str) -> String {
    let mut out = String::from("spec");
    for step in path.split('.').filter(|s| !s.is_empty() && *s != "?") {
        if step.bytes().all(|b| b.is_ascii_digit()) {
            out += &format!("[{step}]");
        } else {
            out.push('.');
            out += step;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[allow(dead_code)]
    struct Spec {
        #[serde(default)]
        limits: Vec<Limit>,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[allow(dead_code)]
    struct Limit {
        #[serde(default)]
        rate: Option<u32>,
    }

    #[test]
    fn a_name_controls_no_terminal() {
        let reference = ObjectRef::new("A\u{0}B", "n\n", "ü");
        assert_eq!(reference.to_string(), "A\\u{0}B n\\n/ü");
    }

    const TEXT: &str = "apiVersion: v1\nkind: RateLimit\nmetadata: {name: a}\nspec:\n  limits:\n  - rate: 1\n    color: red\n  - rate: many\n";

    #[test]
    fn findings_name_file_line_object_and_field() {
        let (objects, found) = Object::from_yaml(TEXT, "x.yaml").unwrap();
        assert!(found.is_empty());
        let mut found = Diagnostics::new(&objects[0]);
        assert!(objects[0].read_spec::<Spec>(Severity::Warning, &mut found).is_none());
        let texts: Vec<String> = found.into_vec().iter().map(ToString::to_string).collect();
        assert!(
            texts[0].starts_with(
                "x.yaml:7: warning: RateLimit default/a: spec.limits[0].color: unknown field"
            ),
            "{texts:?}"
        );
        assert!(
            texts[1].starts_with(
                "x.yaml:8: error: RateLimit default/a: spec.limits[1].rate: invalid type"
            ),
            "{texts:?}"
        );
    }

    #[test]
    fn a_bad_document_costs_itself_only() {
        let text = "kind: Host\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Host, metadata: {name: h, namespace: n}}\n";
        let (objects, found) = Object::from_yaml(text, "x.yaml").unwrap();
        assert_eq!(objects[0].reference.to_string(), "Host n/h");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "apiVersion");
    }

    #[test]
    fn broken_yaml_names_the_line() {
        let found = Object::from_yaml("a: [\nb: {\n", "x.yaml").unwrap_err();
        assert_eq!((found.file.as_deref(), found.line.is_some()), (Some("x.yaml"), true));
    }

    #[test]
    fn an_installation_reads_what_names_it() {
        for (spec, default, blue) in [
            ("{}", true, false),
            ("{ambassador_id: ''}", true, false),
            ("{ambassador_id: []}", true, false),
            ("{ambassador_id: blue}", false, true),
            ("{ambassador_id: [green, blue]}", false, true),
            ("{ambassador_id: [--apiVersion-v3alpha1-only--blue]}", false, true),
            ("{ambassador_id: _automatic_}", true, true),
            ("{ambassador_id: [5]}", true, true),
            ("{ambassador_id: {a: b}}", true, true),
            ("{ambassadorId: [blue]}", false, true),
            ("{ambassador_id: green, ambassadorId: blue}", false, false),
        ] {
            let text = format!("apiVersion: v1\nkind: Host\nmetadata: {{name: h}}\nspec: {spec}\n");
            let (objects, _) = Object::from_yaml(&text, "x.yaml").unwrap();
            assert_eq!(
                (objects[0].is_for("default"), objects[0].is_for("blue")),
                (default, blue),
                "{spec}"
            );
        }
    }

    #[test]
    fn where_it_was_read_does_not_make_it_another() {
        let (a, _) = Object::from_yaml(TEXT, "x.yaml").unwrap();
        let (b, _) = Object::from_yaml(&format!("\n\n{TEXT}"), "y.yaml").unwrap();
        assert_eq!(a[0], b[0]);
    }
}
