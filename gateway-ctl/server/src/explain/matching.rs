//! Which Host and which route fit a request.

use gateway_core::overview::{RouteOverview, ValueMatch};
use regex::Regex;

use super::Request;

/// How close `hostname` fits `host`; more is closer. A whole name is closer than a glob, a longer
/// glob closer than a shorter one.
pub(super) fn host_rank(hostname: &str, host: &str) -> Option<(u8, usize)> {
    let hostname = hostname.to_ascii_lowercase();
    if hostname == "*" || hostname.is_empty() {
        return Some((0, 0));
    }
    if let Some(end) = hostname.strip_prefix('*') {
        return (host.len() > end.len() && host.ends_with(end)).then_some((2, end.len()));
    }
    if let Some(start) = hostname.strip_suffix('*') {
        return (host.len() > start.len() && host.starts_with(start)).then_some((1, start.len()));
    }
    (hostname == host).then_some((3, 0))
}

/// Why a route does not fit.
pub(super) enum Miss {
    /// Another path.
    Path,
    /// The path fits but for this.
    NearPath(String),
    /// The path fits; the host does not.
    Hostname(String),
    /// Path and host fit; this does not.
    Other(String),
}

/// Whether `route` fits `request`.
pub(super) fn misses(request: &Request, route: &RouteOverview) -> Result<(), Miss> {
    if !path_fits(request, route) {
        return Err(near(request, route).map_or(Miss::Path, Miss::NearPath));
    }
    if !route.hostname.is_empty() && host_rank(&route.hostname, &request.host).is_none() {
        return Err(Miss::Hostname(format!("its hostname is `{}`", route.hostname)));
    }
    for condition in &route.headers {
        let value = request.header(&condition.name);
        if !value_fits(condition, value.as_deref()) {
            return Err(Miss::Other(format!("wants {}", words("header", condition))));
        }
    }
    for condition in &route.query_parameters {
        if !value_fits(condition, request.parameter(&condition.name)) {
            return Err(Miss::Other(format!("wants {}", words("query parameter", condition))));
        }
    }
    Ok(())
}

/// What a path lacks, when it is little: case, or the slash at its end.
fn near(request: &Request, route: &RouteOverview) -> Option<String> {
    let with = |path: String| {
        let request = Request { path, ..request.clone() };
        path_fits(&request, route)
    };
    if with(format!("{}/", request.path)) {
        return Some(format!("its {} `{}` ends with a slash", route.path_kind, route.path));
    }
    let lower = RouteOverview { case_sensitive: false, ..route.clone() };
    if route.path_kind != "regex" && path_fits(request, &lower) {
        return Some(format!("its {} `{}` has other capitals", route.path_kind, route.path));
    }
    None
}

fn path_fits(request: &Request, route: &RouteOverview) -> bool {
    let (path, wanted) = if route.case_sensitive {
        (request.path.clone(), route.path.clone())
    } else {
        (request.path.to_lowercase(), route.path.to_lowercase())
    };
    match route.path_kind.as_str() {
        "path" => path == wanted,
        "elements" => {
            path.strip_prefix(&wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        "regex" => is_full_match(&route.path, &request.path),
        _ => path.starts_with(&wanted),
    }
}

/// Envoy's regular expressions match whole values.
pub(super) fn is_full_match(pattern: &str, text: &str) -> bool {
    Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|r| r.is_match(text))
}

fn value_fits(condition: &ValueMatch, value: Option<&str>) -> bool {
    match (&condition.value, value) {
        (None, value) => value.is_some(),
        (Some(_), None) => false,
        (Some(wanted), Some(value)) if condition.regex => is_full_match(wanted, value),
        (Some(wanted), Some(value)) => wanted == value,
    }
}

fn words(what: &str, condition: &ValueMatch) -> String {
    match &condition.value {
        None => format!("{what} {}", condition.name),
        Some(value) if condition.regex => format!("{what} {} to fit `{value}`", condition.name),
        Some(value) => format!("{what} {} to be `{value}`", condition.name),
    }
}

/// What a route asks of a request, in words.
pub(super) fn describe(route: &RouteOverview) -> String {
    let mut parts = vec![format!("{} `{}`", route.path_kind, route.path)];
    if !route.hostname.is_empty() && route.hostname != "*" {
        parts.push(format!("hostname `{}`", route.hostname));
    }
    parts.extend(route.headers.iter().map(|c| words("header", c)));
    parts.extend(route.query_parameters.iter().map(|c| words("query parameter", c)));
    if route.precedence != 0 {
        parts.push(format!("precedence {}", route.precedence));
    }
    parts.join(", ") + " fits"
}

/// Whether both ask the same, so that they share requests by weight.
pub(super) fn is_same_group(a: &RouteOverview, b: &RouteOverview) -> bool {
    let key = |r: &RouteOverview| {
        (
            r.path_kind.clone(),
            r.path.clone(),
            r.hostname.clone(),
            r.headers.clone(),
            r.query_parameters.clone(),
            r.precedence,
        )
    };
    key(a) == key(b)
}
