//! Schemas of what is not read yet. Its CRDs exist all the same, so that users' resources can be
//! applied; a kind or a field that becomes supported moves to `resource`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;
use service_kit::AmbassadorId;

/// Documentation of services' APIs; has no effect.
#[derive(JsonSchema)]
#[allow(dead_code)]
pub(crate) struct DevPortal {
    /// Which installations read this; `["default"]` when absent.
    ambassador_id: Option<AmbassadorId>,
    /// Where its pages are: `url`, `branch`, `dir`.
    content: Option<BTreeMap<String, Value>>,
    /// Whether this is the one that is shown.
    default: Option<bool>,
    /// Documentation that is shown: `service`, `url`, `timeout_ms`.
    docs: Option<Vec<BTreeMap<String, Value>>>,
    /// How services are named: `namespace.name` or `name.prefix`.
    naming_scheme: Option<String>,
    /// Whether the servers in a documentation are kept.
    preserve_servers: Option<bool>,
    /// The search: `enabled`, `type`.
    search: Option<BTreeMap<String, Value>>,
    /// Which Mappings are shown: `matchLabels`, `matchNamespaces`.
    selector: Option<BTreeMap<String, Value>>,
}
