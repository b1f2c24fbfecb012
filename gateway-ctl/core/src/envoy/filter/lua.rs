//! The user's script.

use prost_types::Any;
use proto::envoy::config::core::v3::{DataSource, data_source::Specifier};
use proto::envoy::extensions::filters::http::lua::v3::Lua;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;

use crate::ir::{HttpFilters, HttpOptions};

const NAME: &str = "envoy.extensions.filters.http.lua.v3.Lua";

pub(super) fn make(_: &HttpFilters, options: &HttpOptions) -> Option<HttpFilter> {
    let nothing = super::super::any(NAME, &Lua::default());
    Some(super::discovered(super::LUA, &of_user(options)?, nothing))
}

/// The configuration that is fetched apart.
pub(super) fn of_user(options: &HttpOptions) -> Option<Any> {
    options.filters.lua.clone().map(config)
}

/// A filter that runs `script`.
pub(super) fn filter(name: &str, script: String) -> HttpFilter {
    super::filter(name, NAME, &message(script))
}

/// The configuration alone.
pub(super) fn config(script: String) -> Any {
    super::super::any(NAME, &message(script))
}

fn message(script: String) -> Lua {
    Lua { default_source_code: Some(inline(script)), ..Lua::default() }
}

fn inline(text: String) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineString(text)), ..DataSource::default() }
}
