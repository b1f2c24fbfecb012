//! Filter kind OAuth2: a login with an identity provider.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::Value;

use super::Judge;
use crate::compile::Compiling;
use crate::spec::unread;

/// The arguments it takes.
pub(crate) const ARGUMENTS: &[&str] = &["scope", "scopes", "insteadOfRedirect", "sameSite"];

/// `Filter.spec.OAuth2`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Spec(#[allow(dead_code)] Value);

impl JsonSchema for Spec {
    fn schema_name() -> Cow<'static, str> {
        "OAuth2".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        unread::OAuth2::json_schema(generator)
    }
}

/// A compiled OAuth2 filter.
#[derive(Debug)]
pub struct OAuth2 {}

/// Compiles `spec`.
pub(crate) fn compile(_: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Box<dyn Judge>> {
    compiling.unsupported()
}
