//! `envoy.config.route.v3.Route`

use std::collections::BTreeMap;

use prost::Message as _;
use prost_types::Any;
use proto::envoy::config::core::v3 as core;
use proto::envoy::config::route::v3 as route;
use proto::envoy::extensions::filters::http::cors::v3 as cors;
use proto::envoy::extensions::filters::http::ext_authz::v3 as ext_authz;
use proto::envoy::r#type::matcher::v3 as matcher;
use proto::envoy::r#type::metadata::v3::{MetadataKey, metadata_key};

use super::{any, exact, filter, milliseconds, percent, regex, string};
use crate::ir::balance::HashOn;
use crate::ir::{
    Action, Auth, Cors, HeaderEdit, HostRewrite, PathKind, RateAction, Redirect, RedirectPath,
    Rewrite, Route, RouteKey, ValueMatch,
};
use crate::lower::binding::Mode;
use crate::syntax::Hostname;

/// Requests below it are always routed: certificates are proven over plain HTTP.
const ACME_PREFIX: &str = "/.well-known/acme-challenge/";
/// The name, in access logs, of routes that send clients to https.
pub const INSECURE_REDIRECT: &str = "insecure-redirect";

/// The routes of a group in the way a Listener serves them, encoded one by one. `narrow` says that
/// the Host has names that the Mappings have not.
pub fn encode(key: &RouteKey, routes: &[Route], mode: Mode, narrow: bool) -> Vec<Vec<u8>> {
    let acme = key.path == ACME_PREFIX && key.path_kind == PathKind::Prefix;
    let (when_https, otherwise) = match mode {
        _ if acme => (None, None),
        Mode::Route => (None, None),
        Mode::Redirect if routes.is_empty() => return Vec::new(),
        Mode::Redirect => return vec![https_redirect(key, narrow).encode_to_vec()],
        Mode::Reject => return Vec::new(),
        Mode::RouteHttpsElseRedirect => (Some(is_https()), Some(https_redirect(key, narrow))),
        Mode::RouteHttpsElseReject => (Some(is_https()), None),
    };
    let mut encoded: Vec<Vec<u8>> = routes
        .iter()
        .map(|r| {
            let mut message = message(key, r, narrow);
            if let (Some(condition), Some(m)) = (&when_https, &mut message.r#match) {
                m.headers.push(condition.clone());
            }
            message.encode_to_vec()
        })
        .collect();
    if !routes.is_empty() {
        encoded.extend(otherwise.map(|r| r.encode_to_vec()));
    }
    encoded
}

fn is_https() -> route::HeaderMatcher {
    header_matcher("x-forwarded-proto", exact("https"))
}

fn https_redirect(key: &RouteKey, narrow: bool) -> route::Route {
    use route::redirect_action::SchemeRewriteSpecifier;
    let action = route::RedirectAction {
        scheme_rewrite_specifier: Some(SchemeRewriteSpecifier::HttpsRedirect(true)),
        ..route::RedirectAction::default()
    };
    route::Route {
        name: INSECURE_REDIRECT.to_owned(),
        r#match: Some(route_match(key, 100, "", narrow)),
        action: Some(route::route::Action::Redirect(action)),
        typed_per_filter_config: per_filter(&Auth::Bypass, None),
        ..route::Route::default()
    }
}

fn message(key: &RouteKey, ir: &Route, narrow: bool) -> route::Route {
    let (cluster, action) = match &ir.action {
        Action::Forward { cluster, .. } => {
            (cluster.as_str(), route::route::Action::Route(forward(&ir.action)))
        }
        Action::Redirect(r) => ("", route::route::Action::Redirect(redirect(r))),
        Action::Unavailable => ("", route::route::Action::DirectResponse(unavailable())),
    };
    let mut filters = per_filter(&ir.auth, ir.cors.as_ref());
    let pages = filter::custom_response::of_route(&ir.error_pages);
    filters.extend(pages.into_iter().map(|(name, config)| (name.to_owned(), config)));
    route::Route {
        // Access logs name it.
        name: format!("{}/{}", ir.mapping.namespace, ir.mapping.name),
        r#match: Some(route_match(key, ir.below, cluster, narrow)),
        action: Some(action),
        request_headers_to_add: ir.edits.add_request.iter().map(header_to_add).collect(),
        response_headers_to_add: ir.edits.add_response.iter().map(header_to_add).collect(),
        request_headers_to_remove: ir.edits.remove_request.clone(),
        response_headers_to_remove: ir.edits.remove_response.clone(),
        typed_per_filter_config: filters,
        ..route::Route::default()
    }
}

fn unavailable() -> route::DirectResponseAction {
    let text = "no connection can be made to the service\n".to_owned();
    route::DirectResponseAction {
        status: 503,
        body: Some(core::DataSource {
            specifier: Some(core::data_source::Specifier::InlineString(text)),
            ..core::DataSource::default()
        }),
        ..route::DirectResponseAction::default()
    }
}

fn route_match(key: &RouteKey, below: u32, cluster: &str, narrow: bool) -> route::RouteMatch {
    use route::route_match::PathSpecifier;
    let path = key.path.clone();
    let path_specifier = match key.path_kind {
        PathKind::Prefix => PathSpecifier::Prefix(path),
        PathKind::Element => PathSpecifier::PathSeparatedPrefix(path),
        PathKind::Exact => PathSpecifier::Path(path),
        // Envoy's case_sensitive does not reach regular expressions.
        PathKind::Regex if !key.case_sensitive => {
            PathSpecifier::SafeRegex(regex(&format!("(?i){path}")))
        }
        PathKind::Regex => PathSpecifier::SafeRegex(regex(&path)),
    };
    let mut headers: Vec<_> = authority(key).filter(|_| narrow).into_iter().collect();
    headers.extend(key.headers.iter().map(header_condition));
    let fraction = (below < 100).then(|| core::RuntimeFractionalPercent {
        default_value: Some(percent(below)),
        runtime_key: format!("routing.traffic_shift.{cluster}"),
    });
    route::RouteMatch {
        case_sensitive: (!key.case_sensitive).then_some(false),
        runtime_fraction: fraction,
        headers,
        query_parameters: key.query_parameters.iter().map(query_condition).collect(),
        path_specifier: Some(path_specifier),
        ..route::RouteMatch::default()
    }
}

/// The condition that keeps a Mapping to its own hostname inside a wider Host.
fn authority(key: &RouteKey) -> Option<route::HeaderMatcher> {
    use matcher::string_matcher::MatchPattern;
    let pattern = match (&key.hostname, &key.hostname_regex) {
        (None | Some(Hostname::Any), None) => return None,
        (None, Some(pattern)) => MatchPattern::SafeRegex(regex(pattern)),
        (Some(Hostname::Exact(name)), _) => MatchPattern::Exact(name.clone()),
        (Some(Hostname::Suffix(end)), _) => MatchPattern::Suffix(end.clone()),
        (Some(Hostname::Prefix(start)), _) => MatchPattern::Prefix(start.clone()),
        (Some(Hostname::Any), Some(_)) => return None,
    };
    let ignore_case = !matches!(pattern, MatchPattern::SafeRegex(_));
    Some(header_matcher(":authority", string(pattern, ignore_case)))
}

fn header_matcher(name: &str, value: matcher::StringMatcher) -> route::HeaderMatcher {
    use route::header_matcher::HeaderMatchSpecifier;
    route::HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(value)),
        ..route::HeaderMatcher::default()
    }
}

fn value_matcher(condition: &ValueMatch) -> Option<matcher::StringMatcher> {
    use matcher::string_matcher::MatchPattern;
    let value = condition.value.as_ref()?;
    Some(if condition.regex {
        string(MatchPattern::SafeRegex(regex(value)), false)
    } else {
        exact(value)
    })
}

fn header_condition(condition: &ValueMatch) -> route::HeaderMatcher {
    match value_matcher(condition) {
        Some(value) => header_matcher(&condition.name, value),
        None => route::HeaderMatcher {
            name: condition.name.clone(),
            header_match_specifier: Some(
                route::header_matcher::HeaderMatchSpecifier::PresentMatch(true),
            ),
            ..route::HeaderMatcher::default()
        },
    }
}

fn query_condition(condition: &ValueMatch) -> route::QueryParameterMatcher {
    use route::query_parameter_matcher::QueryParameterMatchSpecifier;
    let specifier = match value_matcher(condition) {
        Some(value) => QueryParameterMatchSpecifier::StringMatch(value),
        None => QueryParameterMatchSpecifier::PresentMatch(true),
    };
    route::QueryParameterMatcher {
        name: condition.name.clone(),
        query_parameter_match_specifier: Some(specifier),
    }
}

fn forward(action: &Action) -> route::RouteAction {
    use route::route_action::{ClusterSpecifier, HostRewriteSpecifier, UpgradeConfig};
    let Action::Forward {
        cluster,
        rewrite,
        host_rewrite,
        timeout_ms,
        idle_timeout_ms,
        retry,
        upgrades,
        high_priority,
        hash_on,
        shadows,
        rate_limits,
    } = action
    else {
        return route::RouteAction::default();
    };
    let (prefix_rewrite, regex_rewrite) = match rewrite {
        Rewrite::Keep => (String::new(), None),
        Rewrite::Prefix(prefix) => (prefix.clone(), None),
        Rewrite::Regex { pattern, substitution } => {
            (String::new(), Some(substitute(pattern, substitution)))
        }
    };
    let host_rewrite_specifier = match host_rewrite {
        HostRewrite::Keep => None,
        HostRewrite::Literal(host) => Some(HostRewriteSpecifier::HostRewriteLiteral(host.clone())),
        HostRewrite::Upstream => Some(HostRewriteSpecifier::AutoHostRewrite(true)),
    };
    let retry_policy = retry.as_ref().map(|r| route::RetryPolicy {
        retry_on: r.retry_on.clone(),
        num_retries: r.num_retries,
        per_try_timeout: r.per_try_timeout_ms.map(milliseconds),
        ..route::RetryPolicy::default()
    });
    let priority =
        if *high_priority { core::RoutingPriority::High } else { core::RoutingPriority::Default };
    route::RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.clone())),
        prefix_rewrite,
        regex_rewrite,
        host_rewrite_specifier,
        timeout: Some(milliseconds(*timeout_ms)),
        idle_timeout: idle_timeout_ms.map(milliseconds),
        retry_policy,
        priority: priority.into(),
        upgrade_configs: upgrades
            .iter()
            .map(|u| UpgradeConfig { upgrade_type: u.clone(), ..UpgradeConfig::default() })
            .collect(),
        hash_policy: hash_on.iter().map(|h| hash_policy(h)).collect(),
        request_mirror_policies: shadows.iter().map(mirror).collect(),
        rate_limits: rate_limits.iter().map(|actions| rate_limit(actions)).collect(),
        ..route::RouteAction::default()
    }
}

fn hash_policy(hash_on: &HashOn) -> route::route_action::HashPolicy {
    use route::route_action::hash_policy::{ConnectionProperties, Cookie, Header, PolicySpecifier};
    let specifier = match hash_on {
        HashOn::Header(name) => {
            PolicySpecifier::Header(Header { header_name: name.clone(), ..Header::default() })
        }
        HashOn::Cookie { name, path, ttl_ms } => PolicySpecifier::Cookie(Cookie {
            name: name.clone(),
            path: path.clone(),
            ttl: ttl_ms.map(milliseconds),
            ..Cookie::default()
        }),
        HashOn::SourceIp => {
            PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true })
        }
    };
    route::route_action::HashPolicy { policy_specifier: Some(specifier), terminal: false }
}

fn substitute(pattern: &str, substitution: &str) -> matcher::RegexMatchAndSubstitute {
    matcher::RegexMatchAndSubstitute {
        pattern: Some(regex(pattern)),
        substitution: substitution.to_owned(),
    }
}

fn mirror(shadow: &crate::ir::Shadow) -> route::route_action::RequestMirrorPolicy {
    let fraction = (shadow.percent < 100).then(|| core::RuntimeFractionalPercent {
        default_value: Some(percent(shadow.percent)),
        runtime_key: String::new(),
    });
    route::route_action::RequestMirrorPolicy {
        cluster: shadow.cluster.clone(),
        runtime_fraction: fraction,
        ..route::route_action::RequestMirrorPolicy::default()
    }
}

fn redirect(r: &Redirect) -> route::RedirectAction {
    use route::redirect_action::{
        PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
    };
    let code = match r.status {
        302 => RedirectResponseCode::Found,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::MovedPermanently,
    };
    let path = match &r.path {
        RedirectPath::Keep => None,
        RedirectPath::Path(path) => Some(PathRewriteSpecifier::PathRedirect(path.clone())),
        RedirectPath::Prefix(prefix) => Some(PathRewriteSpecifier::PrefixRewrite(prefix.clone())),
        RedirectPath::Regex { pattern, substitution } => {
            Some(PathRewriteSpecifier::RegexRewrite(substitute(pattern, substitution)))
        }
    };
    route::RedirectAction {
        host_redirect: r.host.clone(),
        response_code: code.into(),
        scheme_rewrite_specifier: r
            .scheme
            .map(|s| SchemeRewriteSpecifier::SchemeRedirect(s.to_owned())),
        path_rewrite_specifier: path,
        ..route::RedirectAction::default()
    }
}

fn rate_limit(actions: &[RateAction]) -> route::RateLimit {
    use route::rate_limit::{Action, action};
    let actions = actions.iter().map(|a| Action {
        action_specifier: Some(match a {
            RateAction::GenericKey { key, value } => {
                action::ActionSpecifier::GenericKey(action::GenericKey {
                    descriptor_key: if key == "generic_key" { String::new() } else { key.clone() },
                    descriptor_value: value.clone(),
                    ..action::GenericKey::default()
                })
            }
            RateAction::RemoteAddress => {
                action::ActionSpecifier::RemoteAddress(action::RemoteAddress {})
            }
            RateAction::RequestHeader { header, key } => {
                action::ActionSpecifier::RequestHeaders(action::RequestHeaders {
                    header_name: header.clone(),
                    descriptor_key: key.clone(),
                    skip_if_absent: false,
                })
            }
            RateAction::Authorization { key, path, default } => {
                action::ActionSpecifier::Metadata(action::MetaData {
                    descriptor_key: key.clone(),
                    metadata_key: Some(said_by_authorization(path)),
                    default_value: default.clone(),
                    source: action::meta_data::Source::Dynamic.into(),
                    skip_if_absent: false,
                })
            }
            RateAction::SourceCluster => {
                action::ActionSpecifier::SourceCluster(action::SourceCluster {})
            }
            RateAction::DestinationCluster => {
                action::ActionSpecifier::DestinationCluster(action::DestinationCluster {})
            }
        }),
    });
    route::RateLimit { actions: actions.collect(), ..route::RateLimit::default() }
}

/// A value of what the filter ext_authz left as dynamic metadata.
fn said_by_authorization(path: &[String]) -> MetadataKey {
    use metadata_key::{PathSegment, path_segment::Segment};
    let segment = |key: &String| PathSegment { segment: Some(Segment::Key(key.clone())) };
    MetadataKey {
        key: "envoy.filters.http.ext_authz".to_owned(),
        path: path.iter().map(segment).collect(),
    }
}

pub(super) fn header_to_add(edit: &HeaderEdit) -> core::HeaderValueOption {
    use core::header_value_option::HeaderAppendAction;
    let action = if edit.append {
        HeaderAppendAction::AppendIfExistsOrAdd
    } else {
        HeaderAppendAction::OverwriteIfExistsOrAdd
    };
    core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: edit.name.clone(),
            value: edit.value.clone(),
            ..core::HeaderValue::default()
        }),
        append_action: action.into(),
        ..core::HeaderValueOption::default()
    }
}

/// What a route says to filters. An entry for a filter that is not there has no effect.
fn per_filter(auth: &Auth, cross: Option<&Cors>) -> BTreeMap<String, Any> {
    use ext_authz::ext_authz_per_route::Override;
    let mut config = BTreeMap::new();
    let auth = match auth {
        Auth::Bypass => Some(Override::Disabled(true)),
        Auth::Ask(context) if context.is_empty() => None,
        Auth::Ask(context) => Some(Override::CheckSettings(ext_authz::CheckSettings {
            context_extensions: context.clone(),
            ..ext_authz::CheckSettings::default()
        })),
    };
    if let Some(setting) = auth {
        let message = ext_authz::ExtAuthzPerRoute { r#override: Some(setting) };
        let name = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute";
        config.insert(filter::EXT_AUTHZ.to_owned(), any(name, &message));
    }
    if let Some(cross) = cross {
        let message = cors::CorsPolicy {
            allow_origin_string_match: cross.origins.iter().map(|o| origin(o)).collect(),
            allow_methods: cross.methods.clone(),
            allow_headers: cross.headers.clone(),
            expose_headers: cross.exposed_headers.clone(),
            max_age: cross.max_age.clone(),
            allow_credentials: Some(cross.credentials),
            ..cors::CorsPolicy::default()
        };
        let name = "envoy.extensions.filters.http.cors.v3.CorsPolicy";
        config.insert(filter::CORS.to_owned(), any(name, &message));
    }
    config
}

fn origin(text: &str) -> matcher::StringMatcher {
    match text {
        "*" => string(matcher::string_matcher::MatchPattern::SafeRegex(regex(".*")), false),
        _ => exact(text),
    }
}
