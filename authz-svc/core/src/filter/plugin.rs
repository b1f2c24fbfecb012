//! Filter kind Plugin: code of the user.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::Value;

use super::Judge;
use crate::compile::Compiling;
use crate::spec::unread;

/// The arguments it takes.
pub(crate) const ARGUMENTS: &[&str] = &[];

/// `Filter.spec.Plugin`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Spec(#[allow(dead_code)] Value);

impl JsonSchema for Spec {
    fn schema_name() -> Cow<'static, str> {
        "Plugin".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        unread::Plugin::json_schema(generator)
    }
}

/// Compiles `spec`.
pub(crate) fn compile(_: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Box<dyn Judge>> {
    compiling.unsupported()
}
