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
    let matcher = string(MatchPattern::SafeRegex(regex(&pattern(&options.probes))), false);
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

/// The paths, whatever stands behind a question mark or a slash. What they begin with is there once:
/// Envoy has opinions about the size of expressions.
fn pattern(paths: &[String]) -> String {
    let Some((first, rest)) = paths.split_first() else { return String::new() };
    let common =
        |path: &String| first.chars().zip(path.chars()).take_while(|(a, b)| a == b).count();
    let length = rest.iter().map(common).min().unwrap_or(first.chars().count());
    let head: String = first.chars().take(length).collect();
    let ends: Vec<String> = paths
        .iter()
        .map(|path| regex_syntax::escape(&path.chars().skip(length).collect::<String>()))
        .collect();
    format!("{}(?:{})(?:[/?].*)?", regex_syntax::escape(&head), ends.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_paths_begin_with_is_written_once() {
        let of =
            |paths: &[&str]| pattern(&paths.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["/a/live", "/a/ready"]), "/a/(?:live|ready)(?:[/?].*)?");
        assert_eq!(of(&["/ready"]), "/ready(?:)(?:[/?].*)?");
        assert_eq!(of(&["/x.y", "/x.y/z"]), "/x\\.y(?:|/z)(?:[/?].*)?");
    }
}
