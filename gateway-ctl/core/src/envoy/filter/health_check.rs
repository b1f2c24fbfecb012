//! Answers the probes of load balancers: 200, or 503 while this Envoy is drained.

use proto::envoy::config::route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier};
use proto::envoy::extensions::filters::http::health_check::v3::HealthCheck;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

use super::super::{regex, string};
use crate::ir::{HttpFilters, HttpOptions};

pub(super) fn make(_: &HttpFilters, options: &HttpOptions) -> Option<HttpFilter> {
    if options.probes.is_empty() {
        return None;
    }
    let paths: Vec<String> = options.probes.iter().map(|p| regex_syntax::escape(p)).collect();
    // What stands behind a question mark or a slash is not looked at.
    let pattern = format!("(?:{})(?:[/?].*)?", paths.join("|"));
    let matcher = string(MatchPattern::SafeRegex(regex(&pattern)), false);
    let path = HeaderMatcher {
        name: ":path".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(matcher)),
        ..HeaderMatcher::default()
    };
    let message = HealthCheck {
        pass_through_mode: Some(false),
        headers: vec![path],
        ..HealthCheck::default()
    };
    let name = "envoy.extensions.filters.http.health_check.v3.HealthCheck";
    Some(super::filter(super::HEALTH_CHECK, name, &message))
}
