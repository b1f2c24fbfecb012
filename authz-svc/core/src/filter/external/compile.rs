//! `Filter.spec.External` to a filter.

use std::sync::Arc;
use std::time::Duration;

use super::spec::{FromSecret, Spec};
use super::{External, IncludeBody, Protocol};
use crate::compile::Compiling;
use crate::filter::Judge;
use crate::need::{Pem, Transport};
use crate::request::is_settable;

/// Until an answer is given up, when nothing is said.
const TIMEOUT_MS: u64 = 5_000;
/// What is always sent.
const REQUEST_HEADERS: &[&str] = &[
    "authorization",
    "cookie",
    "from",
    "proxy-authorization",
    "user-agent",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];
/// What is always taken.
const AUTHORIZATION_HEADERS: &[&str] =
    &["authorization", "location", "proxy-authenticate", "set-cookie", "www-authenticate"];

/// Compiles `spec`. What is wrong is told to `compiling`.
pub(crate) fn compile(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Box<dyn Judge>> {
    let service = service(spec, compiling);
    let protocol = protocol(spec, compiling);
    let body = body(spec, compiling);
    let status_on_error = status_on_error(spec, compiling);
    let (https, host, port) = service?;
    let transport = transport(spec, https, compiling);
    let timeout = spec.timeout_ms.filter(|ms| *ms > 0).unwrap_or(TIMEOUT_MS);
    let scheme = if https { "https" } else { "http" };
    let authority = format!("{host}:{port}");
    Some(Box::new(External {
        origin: format!("{scheme}://{authority}"),
        authority,
        transport: Arc::new(transport),
        timeout: Duration::from_millis(timeout),
        body: body?,
        status_on_error: status_on_error?,
        failure_mode_allow: spec.failure_mode_allow == Some(true),
        linkerd: spec.add_linkerd_headers == Some(true),
        protocol: protocol?,
    }))
}

/// Whether it is asked over TLS, its host and its port.
fn service(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<(bool, String, u16)> {
    let text = spec.auth_service.trim();
    let (scheme, rest) = match text.split_once("://") {
        None => (None, text),
        Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
    };
    let https = match scheme.as_deref() {
        None => spec.tls == Some(true),
        Some("http") => spec.tls == Some(true),
        Some("https") => {
            if spec.tls == Some(false) {
                compiling
                    .warning("tls", "auth_service says https, so it is asked over TLS")
                    .hint("remove tls");
            }
            true
        }
        Some(_) => {
            compiling
                .error("auth_service", format!("`{text}` has an unknown scheme"))
                .hint("write it like https://authz.example:8443");
            return None;
        }
    };
    let default = if https { 443 } else { 80 };
    let parsed = host_and_port(rest, default);
    if parsed.is_none() {
        compiling
            .error("auth_service", format!("`{text}` is not like [http://|https://]host[:port]"))
            .hint("write it like authz.example:3000; a path goes into path_prefix");
    }
    let (host, port) = parsed?;
    Some((https, host, port))
}

fn host_and_port(text: &str, default: u16) -> Option<(String, u16)> {
    let ends = text.rfind(']').map_or(0, |i| i + 1);
    let (host, port) = match text[ends..].rfind(':') {
        None => (text, default),
        Some(colon) => {
            let (host, port) = text.split_at(ends + colon);
            (host, port[1..].parse().ok().filter(|port| *port > 0)?)
        }
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let is_address = || {
        let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        inner.is_some_and(|h| h.parse::<std::net::Ipv6Addr>().is_ok())
    };
    let good = !host.is_empty() && (host.chars().all(is_plain) || is_address());
    good.then(|| (host.to_owned(), port))
}

fn protocol(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Protocol> {
    match spec.proto.as_deref() {
        Some("grpc") => {
            match spec.protocol_version.as_deref() {
                None | Some("v3") => {}
                Some(other) => {
                    compiling
                        .error("protocol_version", format!("`{other}` is not spoken"))
                        .hint("use v3, and a service that speaks it");
                    return None;
                }
            }
            for (field, given) in [
                ("path_prefix", spec.path_prefix.is_some()),
                ("allowed_request_headers", is_given(spec.allowed_request_headers.as_deref())),
                (
                    "allowed_authorization_headers",
                    is_given(spec.allowed_authorization_headers.as_deref()),
                ),
            ] {
                if given {
                    compiling.warning(field, "has no effect over gRPC").hint("remove it");
                }
            }
            Some(Protocol::Grpc)
        }
        None | Some("http") => {
            let path_prefix = spec.path_prefix.clone().unwrap_or_default();
            if !path_prefix.is_empty() && !path_prefix.starts_with('/') {
                compiling
                    .error("path_prefix", format!("`{path_prefix}` does not begin with a slash"))
                    .hint("write it like /check");
                return None;
            }
            let request = names(
                "allowed_request_headers",
                spec.allowed_request_headers.as_deref(),
                REQUEST_HEADERS,
                compiling,
            );
            let authorization = names(
                "allowed_authorization_headers",
                spec.allowed_authorization_headers.as_deref(),
                AUTHORIZATION_HEADERS,
                compiling,
            );
            Some(Protocol::Http {
                path_prefix,
                request_headers: request?,
                authorization_headers: authorization?,
            })
        }
        Some(other) => {
            compiling
                .error("proto", format!("`{other}` is neither http nor grpc"))
                .hint("use http or grpc");
            None
        }
    }
}

fn is_given(list: Option<&[String]>) -> bool {
    list.is_some_and(|list| !list.is_empty())
}

/// The names that are given, and those that always are; lower case.
fn names(
    field: &str,
    given: Option<&[String]>,
    always: &[&str],
    compiling: &mut Compiling<'_, '_>,
) -> Option<Vec<String>> {
    let mut names: Vec<String> = always.iter().map(|name| (*name).to_owned()).collect();
    for (i, name) in given.unwrap_or_default().iter().enumerate() {
        let lower = name.to_ascii_lowercase();
        if !is_settable(&lower) {
            compiling.error(&format!("{field}[{i}]"), format!("`{name}` is not a header name"));
            return None;
        }
        names.push(lower);
    }
    names.sort();
    names.dedup();
    Some(names)
}

fn body(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Option<IncludeBody>> {
    let old = spec.allow_request_body == Some(true);
    match (&spec.include_body, old) {
        (Some(_), true) => {
            compiling
                .error("allow_request_body", "include_body says it already")
                .hint("keep include_body");
            None
        }
        (None, false) => Some(None),
        (None, true) => {
            compiling
                .warning("allow_request_body", "deprecated")
                .hint("write include_body: {max_bytes: 4096, allow_partial: true}");
            Some(Some(IncludeBody { max_bytes: 4096, allow_partial: true }))
        }
        (Some(include), false) => match (include.max_bytes, include.allow_partial) {
            (Some(max), Some(allow_partial)) if max > 0 => {
                let max_bytes = usize::try_from(max).unwrap_or(usize::MAX);
                Some(Some(IncludeBody { max_bytes, allow_partial }))
            }
            _ => {
                compiling
                    .error("include_body", "max_bytes and allow_partial are both needed")
                    .hint("write it like {max_bytes: 4096, allow_partial: true}");
                None
            }
        },
    }
}

fn status_on_error(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<u16> {
    let code = spec.status_on_error.as_ref().and_then(|s| s.code).filter(|code| *code != 0);
    match u16::try_from(code.unwrap_or(403)) {
        Ok(code @ 200..=599) => Some(code),
        _ => {
            compiling
                .error("status_on_error.code", "not an HTTP status")
                .hint("use one like 403 or 503");
            None
        }
    }
}

fn transport(spec: &Spec, https: bool, compiling: &mut Compiling<'_, '_>) -> Transport {
    let mut transport = Transport::default();
    // Only looked at when TLS is on.
    let Some(config) = spec.tls_config.as_ref().filter(|_| https) else { return transport };
    let reference = |from: &Option<FromSecret>| from.as_ref().and_then(|f| f.from_secret.clone());
    if let Some(secret) = reference(&config.ca_certificate) {
        let field = "tlsConfig.caCertificate.fromSecret";
        let namespace = secret.namespace.as_deref();
        let pem = compiling.secret_value(field, &secret.name, namespace, "tls.crt");
        transport.authorities = pem.map(|pem| Pem(pem.clone()));
    }
    if let Some(secret) = reference(&config.certificate) {
        let field = "tlsConfig.certificate.fromSecret";
        let namespace = secret.namespace.as_deref();
        let chain = compiling.secret_value(field, &secret.name, namespace, "tls.crt");
        let key = compiling.secret_value(field, &secret.name, namespace, "tls.key");
        if let (Some(chain), Some(key)) = (chain, key) {
            transport.identity = Some((Pem(chain.clone()), Pem(key.clone())));
        }
    }
    transport
}

#[cfg(test)]
mod tests {
    use super::host_and_port;

    #[test]
    fn hosts_have_a_port_or_the_default() {
        let of = |text| host_and_port(text, 80);
        assert_eq!(of("a.test"), Some(("a.test".to_owned(), 80)));
        assert_eq!(of("a.test:3000"), Some(("a.test".to_owned(), 3000)));
        assert_eq!(of("[::1]:9"), Some(("[::1]".to_owned(), 9)));
        assert_eq!(of("[::1]"), Some(("[::1]".to_owned(), 80)));
        for bad in ["", ":80", "a:0", "a:x", "a/b", "a b", "a@b", "[x]:1", "::1"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
