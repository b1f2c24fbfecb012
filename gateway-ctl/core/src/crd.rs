//! CustomResourceDefinitions and field references, from the types that read the resources.
//!
//! A field has its name, type, meaning and rules in one place, the struct that reads it;
//! `structural` turns what `schemars` makes of it into what an API server takes. Two rules are
//! above the others: what a user has is never pruned and never defaulted, and only what can never
//! work is refused. Everything else is a diagnostic.

mod reference;
mod status;
mod structural;
mod table;
#[cfg(test)]
mod tests;
pub(crate) mod unread;

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

pub use self::table::DEFINITIONS;
use crate::kinds::GROUP;

/// The Markdown page that leads to [`Definition::reference`] of every kind.
pub fn reference_index() -> String {
    reference::index(DEFINITIONS)
}

/// Says in a schema whether a field has an effect: `yes` (as without it), `not yet`, `no effect`.
pub(crate) const SUPPORT: &str = "x-support";
/// Says in a schema that the types of an object's fields are for people, not for the API server.
pub(crate) const UNTYPED: &str = "x-untyped";

/// Whose resources they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Those of Tollgate's services.
    Own,
    /// Those that Emissary has, too.
    Emissary,
}

impl Owner {
    /// The name of the folder of its files.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Emissary => "emissary",
        }
    }
}

/// A column of `kubectl get`.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    name: &'static str,
    format: &'static str,
    path: &'static str,
    /// Only with `-o wide`.
    wide: bool,
}

/// A kind, as the API server is told of it.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// As in `Mapping`.
    pub kind: &'static str,
    /// As in `mappings`.
    pub plural: &'static str,
    /// As in `rl`.
    pub short_names: &'static [&'static str],
    /// Whose it is.
    pub owner: Owner,
    /// Versions that are served; the last one is stored.
    pub versions: &'static [&'static str],
    /// The columns.
    columns: &'static [Column],
    /// The schema of `spec` in the stored version.
    schema: fn(&mut SchemaGenerator) -> Schema,
}

impl Definition {
    /// The CustomResourceDefinition.
    pub fn to_json(&self) -> Value {
        let mut names = json!({
            "kind": self.kind,
            "listKind": format!("{}List", self.kind),
            "plural": self.plural,
            "singular": self.kind.to_lowercase(),
            "categories": ["ambassador-crds", "tollgate"],
        });
        if !self.short_names.is_empty() {
            names["shortNames"] = json!(self.short_names);
        }
        let versions: Vec<Value> = self.versions.iter().map(|v| self.version(v)).collect();
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": format!("{}.{GROUP}", self.plural),
                "labels": { "app.kubernetes.io/part-of": "tollgate" },
            },
            "spec": {
                "group": GROUP,
                "names": names,
                "scope": "Namespaced",
                // The programs read every version, so there is no webhook that can fail.
                "conversion": { "strategy": "None" },
                "versions": versions,
            },
        })
    }

    fn version(&self, name: &str) -> Value {
        let stored = self.versions.last() == Some(&name);
        let mut columns: Vec<Value> = self.columns.iter().map(|c| c.to_json()).collect();
        columns.push(json!({
            "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp",
        }));
        let spec = self.spec_schema();
        let description = structural::description(&spec);
        // Emissary's older versions spell fields in other ways; those of ours only add some.
        let spec = match (self.owner, stored) {
            (Owner::Emissary, false) => json!({
                "description": format!("Spelt as in {name}; v3alpha1 has the fields one by one."),
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": true,
            }),
            _ => structural::structural(&spec),
        };
        let mut schema = json!({
            "description": description,
            "type": "object",
            "properties": { "spec": spec, "status": status::schema() },
        });
        if schema["properties"]["spec"]["required"].is_array() {
            schema["required"] = json!(["spec"]);
        }
        json!({
            "name": name,
            "served": true,
            "storage": stored,
            "subresources": { "status": {} },
            "additionalPrinterColumns": columns,
            "schema": { "openAPIV3Schema": schema },
        })
    }

    /// A page about the fields, as Markdown.
    pub fn reference(&self) -> String {
        reference::page(self)
    }

    /// What `schemars` says of `spec`, everything in place.
    fn spec_schema(&self) -> Value {
        let settings = SchemaSettings::draft2020_12().with(|s| {
            s.inline_subschemas = true;
            s.meta_schema = None;
        });
        (self.schema)(&mut SchemaGenerator::new(settings)).to_value()
    }
}

impl Column {
    fn to_json(self) -> Value {
        let mut column = Map::new();
        column.insert("name".to_owned(), self.name.into());
        column.insert("type".to_owned(), self.format.into());
        column.insert("jsonPath".to_owned(), self.path.into());
        if self.wide {
            column.insert("priority".to_owned(), 1.into());
        }
        Value::Object(column)
    }
}
