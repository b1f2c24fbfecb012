//! The user's script.

use proto::envoy::config::core::v3::{DataSource, data_source::Specifier};
use proto::envoy::extensions::filters::http::lua::v3::Lua;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;

use crate::ir::{HttpFilters, HttpOptions};

pub(super) fn make(_: &HttpFilters, options: &HttpOptions) -> Option<HttpFilter> {
    let script = options.filters.lua.as_ref()?;
    Some(filter(super::LUA, script.clone()))
}

/// A filter that runs `script`.
pub(super) fn filter(name: &str, script: String) -> HttpFilter {
    let lua = Lua { default_source_code: Some(inline(script)), ..Lua::default() };
    super::filter(name, "envoy.extensions.filters.http.lua.v3.Lua", &lua)
}

fn inline(text: String) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineString(text)), ..DataSource::default() }
}
