//! Refuses every request when what would decide about them is misconfigured.

use prost_types::Any;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;

use crate::ir::{HttpFilters, HttpOptions};

pub(super) fn make(filters: &HttpFilters, _: &HttpOptions) -> Option<HttpFilter> {
    let reason = filters.closed.as_ref()?;
    Some(super::lua::filter(super::CLOSED, script(reason)))
}

/// The configuration alone.
pub(super) fn config(reason: &str) -> Any {
    super::lua::config(script(reason))
}

fn script(reason: &str) -> String {
    // Only plain words get into the script.
    let reason: String =
        reason.chars().filter(|c| c.is_ascii_alphanumeric() || " ().,_-".contains(*c)).collect();
    format!(
        r#"function envoy_on_request(handle)
  local id = (handle:headers():get("x-request-id") or ""):gsub("[^%w%-]", "")
  handle:respond(
    {{[":status"] = "500", ["content-type"] = "application/json"}},
    '{{"message": "{reason}; see the diagnostics of the gateway", "request_id": "' .. id .. '", "status_code": 500}}\n')
end
"#
    )
}
