//! What a Mapping does with requests: how it rewrites them, or where it redirects.

use service_kit::Diagnostics;

use super::{Raw, RegexSpec, Target};
use crate::ir::{HostRewrite, PathKind, Redirect, RedirectPath, Rewrite, RouteKey};
use crate::resource::service::Service;
use crate::syntax::{header, regex};

/// Reads a pattern and what replaces it.
fn read_regex(
    spec: &RegexSpec,
    path: &str,
    found: &mut Diagnostics<'_>,
) -> Option<(String, String)> {
    let checked = regex::check(&spec.pattern)
        .and_then(|_| regex::check_substitution(&spec.pattern, &spec.substitution));
    match checked {
        Ok(()) => Some((spec.pattern.clone(), spec.substitution.clone())),
        Err(why) => {
            found.error(path, why);
            None
        }
    }
}

pub(super) fn read_rewrite(
    raw: &Raw,
    key: &RouteKey,
    found: &mut Diagnostics<'_>,
) -> Option<Rewrite> {
    if let Some(spec) = raw.regex_rewrite.as_ref().filter(|r| !r.pattern.is_empty()) {
        if raw.rewrite.as_ref().is_some_and(|r| r != "/") {
            found.notice("spec.rewrite", "regex_rewrite is given, so rewrite has no effect");
        }
        let (pattern, substitution) = read_regex(spec, "spec.regex_rewrite", found)?;
        return Some(Rewrite::Regex { pattern, substitution });
    }
    let rewrite = raw.rewrite.as_deref().unwrap_or("/");
    if let Err(why) = header::check_value(rewrite) {
        found.error("spec.rewrite", why);
        return None;
    }
    Some(match rewrite {
        "" => Rewrite::Keep,
        // The slash behind the elements goes with them: `/a/b` is not to become `//b`.
        _ if key.path_kind == PathKind::Element && rewrite.ends_with('/') => Rewrite::Regex {
            pattern: format!("^{}/?", regex_syntax::escape(&key.path)),
            substitution: rewrite.replace('\\', "\\\\"),
        },
        _ => Rewrite::Prefix(rewrite.to_owned()),
    })
}

pub(super) fn read_host_rewrite(raw: &Raw, found: &mut Diagnostics<'_>) -> Option<HostRewrite> {
    let literal = raw.host_rewrite.as_deref().filter(|h| !h.is_empty());
    let auto = raw.auto_host_rewrite.unwrap_or(false);
    let Some(literal) = literal else {
        return Some(if auto { HostRewrite::Upstream } else { HostRewrite::Keep });
    };
    if auto {
        found.warning("spec.auto_host_rewrite", "host_rewrite is given, so this has no effect");
    }
    match header::check_value(literal) {
        Ok(()) => Some(HostRewrite::Literal(literal.to_owned())),
        Err(why) => {
            found.error("spec.host_rewrite", why);
            None
        }
    }
}

pub(super) fn read_target(
    raw: &Raw,
    service: &Service,
    found: &mut Diagnostics<'_>,
) -> Option<Target> {
    let redirect = raw.host_redirect.unwrap_or(false);
    if raw.shadow.unwrap_or(false) {
        if redirect {
            found.error(
                "spec.host_redirect",
                "at most one of host_redirect and shadow may be set; ignoring host_redirect",
            );
        }
        return Some(Target::Shadow);
    }
    if !redirect {
        return Some(Target::Service);
    }
    say_no_effect(raw, found);
    let status = match raw.redirect_response_code {
        None => 301,
        Some(code @ (301 | 302 | 303 | 307 | 308)) => code,
        Some(code) => {
            found.error(
                "spec.redirect_response_code",
                format!("invalid redirect_response_code {code}: must be one of 301, 302, 303, 307, 308; 301 is used"),
            );
            301
        }
    };
    let host = match service.port {
        Some(port) if service.host.contains(':') => format!("[{}]:{port}", service.host),
        Some(port) => format!("{}:{port}", service.host),
        None => service.host.clone(),
    };
    let scheme = service.scheme.map(|_| if service.is_tls() { "https" } else { "http" });
    let path = read_redirect_path(raw, found)?;
    Some(Target::Redirect(Redirect { host, scheme, path, status }))
}

/// Names what has no effect because no service is asked.
fn say_no_effect(raw: &Raw, found: &mut Diagnostics<'_>) {
    let given = [
        ("labels", raw.labels.is_some()),
        ("cors", raw.cors.is_some()),
        ("add_request_headers", raw.add_request_headers.is_some()),
        ("remove_request_headers", raw.remove_request_headers.is_some()),
        ("rewrite", raw.rewrite.as_ref().is_some_and(|r| !r.is_empty() && r != "/")),
        ("regex_rewrite", raw.regex_rewrite.as_ref().is_some_and(|r| !r.pattern.is_empty())),
        ("host_rewrite", raw.host_rewrite.as_ref().is_some_and(|h| !h.is_empty())),
        ("timeout_ms", raw.timeout_ms.is_some_and(|t| t > 0)),
        ("idle_timeout_ms", raw.idle_timeout_ms.is_some_and(|t| t > 0)),
        ("retry_policy", raw.retry_policy.is_some()),
        ("load_balancer", raw.load_balancer.is_some()),
        ("circuit_breakers", raw.circuit_breakers.as_ref().is_some_and(|b| !b.is_empty())),
        ("health_checks", raw.health_checks.as_ref().is_some_and(|h| !h.is_empty())),
        ("auth_context_extensions", raw.auth_context_extensions.is_some()),
        ("error_response_overrides", raw.error_response_overrides.is_some()),
        ("tls", raw.tls.as_ref().is_some_and(|t| !t.is_empty())),
        ("grpc", raw.grpc == Some(true)),
    ];
    for (field, _) in given.iter().filter(|(_, is_given)| *is_given) {
        found
            .notice(format!("spec.{field}"), "it has no effect: host_redirect asks no service")
            .hint("remove it");
    }
}

/// Path before prefix before regular expression; an error names what is dropped.
fn read_redirect_path(raw: &Raw, found: &mut Diagnostics<'_>) -> Option<RedirectPath> {
    let path = raw.path_redirect.as_deref().filter(|p| !p.is_empty());
    let prefix = raw.prefix_redirect.as_deref().filter(|p| !p.is_empty());
    let regex = raw.regex_redirect.as_ref().filter(|r| !r.pattern.is_empty());
    let given = [
        ("path_redirect", path.is_some()),
        ("prefix_redirect", prefix.is_some()),
        ("regex_redirect", regex.is_some()),
    ];
    let mut given = given.iter().filter(|(_, is)| *is).map(|(name, _)| name);
    if let Some(first) = given.next() {
        for dropped in given {
            found.error(
                format!("spec.{dropped}"),
                format!("Cannot specify both {first} and {dropped}; using {first}"),
            );
        }
    }
    for (field, text) in [("path_redirect", path), ("prefix_redirect", prefix)] {
        if let Some(Err(why)) = text.map(header::check_value) {
            found.error(format!("spec.{field}"), why);
            return None;
        }
    }
    if let Some(path) = path {
        return Some(RedirectPath::Path(path.to_owned()));
    }
    if let Some(prefix) = prefix {
        return Some(RedirectPath::Prefix(prefix.to_owned()));
    }
    match regex {
        None => Some(RedirectPath::Keep),
        Some(spec) => {
            let (pattern, substitution) = read_regex(spec, "spec.regex_redirect", found)?;
            Some(RedirectPath::Regex { pattern, substitution })
        }
    }
}
