//! Fields of a Mapping that are not read, with their types for the schema.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;
use service_kit::AmbassadorId;

use crate::resource::fields::{Treatment, Unread};

/// Fields that are not read.
pub const UNREAD: Unread = &[
    ("ambassador_id", Treatment::NoEffect),
    (
        "docs",
        Treatment::Elsewhere(
            "there is no developer portal here; serve the documentation by a Mapping of its own",
        ),
    ),
    ("envoy_override", Treatment::Elsewhere("it has no effect since Emissary 2; remove the field")),
    ("modules", Treatment::Elsewhere("it has no effect since Emissary 2; remove the field")),
    ("v2BoolHeaders", Treatment::NoEffect),
    ("v2BoolQueryParameters", Treatment::NoEffect),
    ("v2ExplicitTLS", Treatment::NoEffect),
];

/// The types of [`UNREAD`].
#[derive(JsonSchema)]
#[allow(dead_code, non_snake_case)]
pub(super) struct Fields {
    /// Which installations read this; `["default"]` when absent.
    ambassador_id: Option<AmbassadorId>,
    /// Where the documentation of the service's API is.
    docs: Option<BTreeMap<String, Value>>,
    /// Was to change Envoy's route directly.
    envoy_override: Option<BTreeMap<String, Value>>,
    /// Was settings of modules.
    modules: Option<Vec<BTreeMap<String, Value>>>,
    /// Kept by conversion from v2.
    v2BoolHeaders: Option<Vec<String>>,
    /// Kept by conversion from v2.
    v2BoolQueryParameters: Option<Vec<String>>,
    /// Kept by conversion from v2.
    v2ExplicitTLS: Option<BTreeMap<String, Value>>,
}
