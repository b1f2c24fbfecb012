//! Other bodies for errors: those of all routes, and those that routes have for themselves. Two
//! filters, because the bodies of a route go instead of the common ones, not before them.

use prost_types::Any;
use proto::envoy::config::core::v3 as core;
use proto::envoy::config::route::v3::FilterConfig;
use proto::envoy::extensions::filters::http::custom_response::v3::CustomResponse;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use proto::envoy::extensions::http::custom_response::local_response_policy::v3::LocalResponsePolicy;
use proto::envoy::r#type::matcher::v3::HttpResponseStatusCodeMatchInput;
use proto::xds::core::v3::TypedExtensionConfig;
use proto::xds::r#type::matcher::v3::{Matcher, matcher};

use crate::envoy::{any, structure};
use crate::ir::error_page::{ErrorBody, ErrorPage, ErrorPages};
use crate::ir::{HttpFilters, HttpOptions};

const MESSAGE: &str = "envoy.extensions.filters.http.custom_response.v3.CustomResponse";

/// The filter of the common bodies.
pub(super) fn make_common(_: &HttpFilters, options: &HttpOptions) -> Option<HttpFilter> {
    let pages = &options.filters.error_pages;
    (!pages.is_empty()).then(|| super::filter(super::ERROR_PAGES, MESSAGE, &config(pages)))
}

/// The filter of routes' own bodies.
pub(super) fn make_own(_: &HttpFilters, options: &HttpOptions) -> Option<HttpFilter> {
    let wanted = options.filters.own_error_pages;
    wanted.then(|| super::filter(super::OWN_ERROR_PAGES, MESSAGE, &CustomResponse::default()))
}

/// What a route says to the two.
pub(in crate::envoy) fn of_route(pages: &ErrorPages) -> Vec<(&'static str, Any)> {
    let off = || {
        let message = FilterConfig { disabled: true, ..FilterConfig::default() };
        (super::ERROR_PAGES, any("envoy.config.route.v3.FilterConfig", &message))
    };
    match pages {
        ErrorPages::Common => Vec::new(),
        ErrorPages::Kept => vec![off()],
        ErrorPages::Own(pages) => {
            vec![off(), (super::OWN_ERROR_PAGES, any(MESSAGE, &config(pages)))]
        }
    }
}

fn config(pages: &[ErrorPage]) -> CustomResponse {
    use matcher::matcher_tree::{MatchMap, TreeType};
    use matcher::{MatcherTree, MatcherType, OnMatch, on_match};
    let map = pages.iter().map(|page| {
        let name =
            "envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy";
        let action = TypedExtensionConfig {
            name: page.status.to_string(),
            typed_config: Some(any(name, &policy(page))),
        };
        let on_match =
            OnMatch { on_match: Some(on_match::OnMatch::Action(action)), ..OnMatch::default() };
        (page.status.to_string(), on_match)
    });
    let input = TypedExtensionConfig {
        name: "status".to_owned(),
        typed_config: Some(any(
            "envoy.type.matcher.v3.HttpResponseStatusCodeMatchInput",
            &HttpResponseStatusCodeMatchInput {},
        )),
    };
    let tree = MatcherTree {
        input: Some(input),
        tree_type: Some(TreeType::ExactMatchMap(MatchMap { map: map.collect() })),
    };
    CustomResponse {
        custom_response_matcher: Some(Matcher {
            matcher_type: Some(MatcherType::MatcherTree(tree)),
            ..Matcher::default()
        }),
    }
}

fn policy(page: &ErrorPage) -> LocalResponsePolicy {
    use core::header_value_option::HeaderAppendAction;
    use core::substitution_format_string::Format;
    let format = match &page.body {
        ErrorBody::Text(text) => Format::TextFormatSource(core::DataSource {
            specifier: Some(core::data_source::Specifier::InlineString(text.clone())),
            ..core::DataSource::default()
        }),
        ErrorBody::Json(object) => Format::JsonFormat(structure(object)),
    };
    // The filter does not look at the format's own `content_type`.
    let content_type = core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: "content-type".to_owned(),
            value: page.content_type.clone(),
            ..core::HeaderValue::default()
        }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..core::HeaderValueOption::default()
    };
    LocalResponsePolicy {
        body_format: Some(core::SubstitutionFormatString {
            format: Some(format),
            ..core::SubstitutionFormatString::default()
        }),
        response_headers_to_add: vec![content_type],
        ..LocalResponsePolicy::default()
    }
}
