//! Which requests a Mapping matches.

use std::collections::BTreeMap;

use service_kit::Diagnostics;

use super::Raw;
use crate::ir::{PathKind, RouteKey, ValueMatch};
use crate::syntax::{Hostname, header, regex};

/// Collects conditions and remembers the size of the largest regular expression.
struct Conditions<'f, 'o> {
    found: &'f mut Diagnostics<'o>,
    size: usize,
    good: bool,
}

impl Conditions<'_, '_> {
    fn regex(&mut self, path: &str, pattern: &str) {
        match regex::check(pattern) {
            Ok(size) => self.size = self.size.max(size),
            Err(why) => {
                self.found.error(path, why);
                self.good = false;
            }
        }
    }

    fn check(&mut self, path: &str, result: Result<(), String>) {
        if let Err(why) = result {
            self.found.error(path, why);
            self.good = false;
        }
    }

    fn values(
        &mut self,
        exact: Option<&BTreeMap<String, String>>,
        pattern: Option<&BTreeMap<String, String>>,
        fields: [&str; 2],
        headers: bool,
    ) -> Vec<ValueMatch> {
        let mut values = Vec::new();
        for (map, field, is_regex) in [(exact, fields[0], false), (pattern, fields[1], true)] {
            for (name, value) in map.into_iter().flatten() {
                let path = format!("{field}.{name}");
                if name.is_empty() {
                    self.check(&path, Err("it has no name".to_owned()));
                } else if headers {
                    self.check(&path, header::check_match_name(name));
                    self.check(&path, header::check_value(value));
                }
                if is_regex {
                    self.regex(&path, value);
                }
                values.push(ValueMatch {
                    name: if headers { name.to_ascii_lowercase() } else { name.clone() },
                    value: Some(value.clone()),
                    regex: is_regex,
                });
            }
        }
        values
    }
}

pub(super) fn read_key(
    raw: &Raw,
    regex_size: &mut usize,
    found: &mut Diagnostics<'_>,
) -> Option<RouteKey> {
    let mut c = Conditions { found, size: 0, good: true };
    let is = |flag: Option<bool>| flag.unwrap_or(false);
    let (path_kind, path) = match raw.prefix.trim_end_matches('/') {
        _ if is(raw.prefix_regex) => (PathKind::Regex, raw.prefix.as_str()),
        _ if is(raw.prefix_exact) => (PathKind::Exact, raw.prefix.as_str()),
        elements if is(raw.prefix_separated) && elements.len() > 1 => (PathKind::Element, elements),
        _ => (PathKind::Prefix, raw.prefix.as_str()),
    };
    if path_kind == PathKind::Element && path.contains(['?', '#']) {
        c.check("spec.prefix", Err("a path has neither `?` nor `#`".to_owned()));
    }
    if raw.prefix.is_empty() {
        c.check("spec.prefix", Err("a Mapping needs a prefix; `/` fits every path".to_owned()));
    } else if path_kind == PathKind::Regex {
        c.regex("spec.prefix", &raw.prefix);
    } else if !raw.prefix.starts_with('/') {
        c.found
            .warning("spec.prefix", "no path starts like this")
            .hint("let it start with a slash");
    }
    let mut headers = c.values(
        raw.headers.as_ref(),
        raw.regex_headers.as_ref(),
        ["spec.headers", "spec.regex_headers"],
        true,
    );
    let (hostname, hostname_regex) = read_hostname(raw, &mut headers, &mut c);
    if let Some(method) = raw.method.as_ref().filter(|m| !m.is_empty()) {
        let is_regex = raw.method_regex.unwrap_or(false);
        if is_regex {
            c.regex("spec.method", method);
        } else {
            c.check("spec.method", header::check_method(method));
        }
        let value = Some(method.clone());
        headers.push(ValueMatch { name: ":method".to_owned(), value, regex: is_regex });
    }
    let mut query_parameters = c.values(
        raw.query_parameters.as_ref(),
        raw.regex_query_parameters.as_ref(),
        ["spec.query_parameters", "spec.regex_query_parameters"],
        false,
    );
    headers.sort();
    headers.dedup();
    query_parameters.sort();
    *regex_size = c.size;
    if !c.good {
        return None;
    }
    let authority = match (&hostname, &hostname_regex) {
        (None | Some(Hostname::Any), None) => 0,
        (Some(host), _) => ":authority".len() + host.to_string().len(),
        (None, Some(regex)) => ":authority".len() + regex.len() + 1,
    };
    Some(RouteKey {
        precedence: raw.precedence.unwrap_or(0),
        path_len: path.len(),
        header_weight: authority + headers.iter().map(ValueMatch::weight).sum::<usize>(),
        query_weight: query_parameters.iter().map(ValueMatch::weight).sum(),
        path: path.to_owned(),
        path_kind,
        case_sensitive: raw.case_sensitive.unwrap_or(true),
        hostname,
        hostname_regex,
        headers,
        query_parameters,
    })
}

/// The host that is matched: `hostname`, else the deprecated `host`, else a condition on the
/// header `:authority`, which works like `host`.
fn read_hostname(
    raw: &Raw,
    headers: &mut Vec<ValueMatch>,
    c: &mut Conditions<'_, '_>,
) -> (Option<Hostname>, Option<String>) {
    let hostname = raw.hostname.as_deref().filter(|h| !h.is_empty());
    let host = raw.host.as_deref().filter(|h| !h.is_empty());
    // Beside a hostname it is one more condition.
    let position = headers.iter().position(|h| h.name == ":authority");
    let position = position.filter(|_| hostname.is_none() && host.is_none());
    let authority = position.map(|i| headers.remove(i));
    if let Some(text) = hostname {
        if host.is_some() {
            c.found.warning("spec.host", "hostname is given, so host has no effect");
        }
        return match Hostname::parse(text) {
            Ok(hostname) => (Some(hostname), None),
            Err(why) => {
                c.check("spec.hostname", Err(why));
                (None, None)
            }
        };
    }
    let (text, is_regex, path) = match (host, authority) {
        (Some(host), _) => (host.to_owned(), raw.host_regex.unwrap_or(false), "spec.host"),
        (None, Some(h)) => (h.value.unwrap_or_default(), h.regex, "spec.headers.:authority"),
        (None, None) => return (None, None),
    };
    if is_regex {
        c.regex(path, &text);
        return (None, Some(text));
    }
    if text.contains('*') {
        let why = format!("`{text}`: an exact host with a `*` cannot match anything");
        c.check(path, Err(why));
        return (None, None);
    }
    match Hostname::parse(&text) {
        Ok(hostname) => (Some(hostname), None),
        Err(why) => {
            c.check(path, Err(why));
            (None, None)
        }
    }
}
