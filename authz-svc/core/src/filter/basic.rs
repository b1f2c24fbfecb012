//! Filter kind Basic: a user's name and password (RFC 7617), held against hashes.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Judge;
use crate::compile::Compiling;

/// The arguments it takes.
pub(crate) const ARGUMENTS: &[&str] = &[];

/// `Filter.spec.Basic`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct Spec {}

/// Compiles `spec`.
pub(crate) fn compile(_: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Box<dyn Judge>> {
    compiling.unsupported()
}
