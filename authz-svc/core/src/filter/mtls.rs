//! Filter kind MTLS: a client's certificate.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Judge;
use crate::compile::Compiling;

/// The arguments it takes.
pub(crate) const ARGUMENTS: &[&str] = &[];

/// `Filter.spec.MTLS`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct Spec {}

/// Compiles `spec`.
pub(crate) fn compile(_: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Box<dyn Judge>> {
    compiling.unsupported()
}
