//! Filter kind Rego: a policy as the Open Policy Agent reads it. Input and decision are those of OPA's
//! plugin for Envoy, so that its policies work unchanged. Whatever is not a decision denies.

#[cfg(feature = "opa")]
mod decision;
#[cfg(feature = "opa")]
mod functions;
#[cfg(feature = "opa")]
mod input;
#[cfg(feature = "opa")]
mod judge;
#[cfg(feature = "opa")]
mod machine;
#[cfg(feature = "opa")]
mod nesting;
#[cfg(feature = "opa")]
mod syntax;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

#[cfg(not(feature = "opa"))]
use super::Judge;
#[cfg(not(feature = "opa"))]
use crate::compile::Compiling;
use crate::spec::unset_if_empty;

#[cfg(feature = "opa")]
pub(crate) use judge::compile;

/// The arguments it takes.
pub(crate) const ARGUMENTS: &[&str] = &[];

/// `Filter.spec.Rego`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["policies"]))]
pub struct Spec {
    /// The modules, by a name of their own, as of a file.
    #[serde(default)]
    #[schemars(extend("minProperties" = 1))]
    pub policies: Option<BTreeMap<String, String>>,
    /// What the policies find under `data`.
    #[serde(default)]
    pub data: Option<Map<String, Json>>,
    /// The rule that decides: `true`, `false`, or an object with `allowed`. Default:
    /// `data.envoy.authz.allow`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub query: Option<String>,
    /// Language of the modules: `v1`, or `v0`, in which rules have no `if`. Default: `v1`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    #[schemars(extend("enum" = ["", "v0", "v1"]))]
    pub rego_version: Option<String>,
}

/// Compiles nothing: this build has no Rego.
#[cfg(not(feature = "opa"))]
pub(crate) fn compile(_: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Box<dyn Judge>> {
    compiling
        .error("", "this program was built without Rego")
        .hint("build it with the feature `opa` of authz-core");
    None
}

#[cfg(test)]
#[cfg(feature = "opa")]
mod tests;
