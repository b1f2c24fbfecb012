//! `Filter.spec.JWT` to a filter.

use std::sync::Arc;

use gotemplate::Functions;
use jsonwebtoken::Algorithm;
use serde_json::Value as Json;
use service_kit::Diagnostics;

use super::claims::TimeRule;
use super::{ClaimRules, Jwt, Keys, Refusal, Spec};
use crate::compile::Compiling;
use crate::filter::Judge;
use crate::filter::template::{HeaderTemplates, compile as compile_template};
use crate::keys::{KeySet, SUPPORTED};
use crate::need::{DocumentKind, Fetch};

/// Compiles `spec`. What is wrong is told to `compiling`.
pub(crate) fn compile(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Box<dyn Judge>> {
    let (algorithms, unsigned) = algorithms(spec, compiling.found);
    if spec.require_audience == Some(true) && spec.audience.is_none() {
        compiling
            .error("requireAudience", "an audience is required, but none is named")
            .hint("set audience, or remove requireAudience");
    }
    if spec.require_issuer == Some(true) && spec.issuer.is_none() {
        compiling
            .error("requireIssuer", "an issuer is required, but none is named")
            .hint("set issuer, or remove requireIssuer");
    }
    renegotiation(spec, compiling.found);
    let headers = spec.inject_request_headers.as_deref().unwrap_or_default();
    Some(Box::new(Jwt {
        keys: keys(spec, algorithms.is_empty() && unsigned, compiling),
        algorithms,
        unsigned,
        claims: claims(spec),
        inject: HeaderTemplates::compile(headers, "spec.JWT.injectRequestHeaders", compiling.found),
        strip_authorization: spec.strip_authorization == Some(true),
        refusal: refusal(spec, compiling),
        cache: compiling.settings.token_cache.clone(),
    }))
}

fn claims(spec: &Spec) -> ClaimRules {
    let time =
        |required: Option<bool>, leeway| TimeRule { required: required == Some(true), leeway };
    ClaimRules {
        audience: spec.audience.clone(),
        require_audience: spec.require_audience == Some(true),
        issuer: spec.issuer.clone(),
        require_issuer: spec.require_issuer == Some(true),
        expires_at: time(spec.require_expires_at, spec.leeway_for_expires_at),
        not_before: time(spec.require_not_before, spec.leeway_for_not_before),
        issued_at: time(spec.require_issued_at, spec.leeway_for_issued_at),
    }
}

/// The accepted algorithms, and whether unsigned tokens are.
fn algorithms(spec: &Spec, found: &mut Diagnostics<'_>) -> (Vec<Algorithm>, bool) {
    let named = match spec.valid_algorithms.as_deref() {
        None | Some([]) => return (SUPPORTED.iter().map(|(_, a)| *a).collect(), false),
        Some(named) => named,
    };
    let mut algorithms = Vec::new();
    let mut unsigned = false;
    for (i, name) in named.iter().enumerate() {
        match SUPPORTED.iter().find(|(n, _)| n == name) {
            Some((_, algorithm)) => algorithms.push(*algorithm),
            None if name == "none" => unsigned = true,
            None => {
                let known: Vec<_> = SUPPORTED.iter().map(|(n, _)| *n).collect();
                found
                    .error(
                        format!("spec.JWT.validAlgorithms[{i}]"),
                        format!("`{name}` is not supported"),
                    )
                    .hint(format!("use some of {}, none", known.join(", ")));
            }
        }
    }
    (algorithms, unsigned)
}

fn renegotiation(spec: &Spec, found: &mut Diagnostics<'_>) {
    match spec.renegotiate_tls.as_deref() {
        None | Some("never") => {}
        Some("onceAsClient" | "freelyAsClient") => {
            found
                .warning("spec.JWT.renegotiateTLS", "TLS renegotiation is never done")
                .hint("remove it, unless the key server cannot do without");
        }
        Some(other) => {
            found
                .error("spec.JWT.renegotiateTLS", format!("`{other}` is not a policy"))
                .hint("use never");
        }
    }
}

fn keys(spec: &Spec, unsigned_only: bool, compiling: &mut Compiling<'_, '_>) -> Keys {
    let given = [spec.jwks_uri.is_some(), spec.jwks.is_some(), spec.jwks_secret.is_some()];
    match given.iter().filter(|g| **g).count() {
        0 if unsigned_only => return Keys::None,
        0 => {
            compiling
                .error("jwksURI", "the keys of the tokens are missing")
                .hint("name them by one of jwksURI, jwks or jwksSecret");
            return Keys::None;
        }
        1 => {}
        _ => {
            compiling
                .error("", "the keys of the tokens are given more than once")
                .hint("keep one of jwksURI, jwks and jwksSecret");
            return Keys::None;
        }
    }
    if let Some(url) = &spec.jwks_uri {
        return remote(url, spec, compiling.found);
    }
    if let Some(jwks) = &spec.jwks {
        let set = match jwks {
            Json::String(text) => KeySet::parse(text.as_bytes()),
            json => KeySet::from_json(json),
        };
        return fixed("spec.JWT.jwks", set, compiling.found);
    }
    let Some(secret) = &spec.jwks_secret else { return Keys::None };
    let key = secret.key.as_deref().unwrap_or("jwks.json");
    let namespace = secret.namespace.as_deref();
    match compiling.secret_value("jwksSecret", &secret.name, namespace, key) {
        Some(text) => fixed("spec.JWT.jwksSecret", KeySet::parse(text.expose()), compiling.found),
        None => Keys::None,
    }
}

fn remote(url: &str, spec: &Spec, found: &mut Diagnostics<'_>) -> Keys {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    if rest.is_none_or(|r| r.is_empty() || r.starts_with('/') || url.contains(char::is_whitespace))
    {
        found
            .error("spec.JWT.jwksURI", format!("`{url}` is not an absolute URL"))
            .hint("write it like https://login.example/jwks.json");
    }
    Keys::Remote(Fetch {
        url: url.into(),
        what: DocumentKind::KeySet,
        max_stale: spec.max_stale,
        insecure_tls: spec.insecure_tls == Some(true),
        refresh: false,
    })
}

fn fixed(path: &str, set: Result<KeySet, String>, found: &mut Diagnostics<'_>) -> Keys {
    match set {
        Ok(set) if !set.is_empty() => {
            for words in set.left_out() {
                found.warning(path, words.as_str());
            }
            return Keys::Fixed(Arc::new(set));
        }
        Ok(set) => {
            let mut words = vec!["the key set has no key that can be used".to_owned()];
            words.extend_from_slice(set.left_out());
            found.error(path, words.join("; "))
        }
        Err(why) => found.error(path, why),
    }
    .hint("it is a JSON object as in {\"keys\": [{\"kty\": \"RSA\", …}]} (RFC 7517)");
    Keys::None
}

fn refusal(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Refusal {
    const PATH: &str = "spec.JWT.errorResponse";
    let Compiling { name, namespace, ref mut found, .. } = *compiling;
    let response = spec.error_response.clone().unwrap_or_default();
    let is_plain =
        response.headers.as_deref().is_none_or(<[_]>::is_empty) && response.body_template.is_none();
    let mut headers = match response.headers.as_deref() {
        None | Some([]) if response.content_type.is_none() => {
            let mut headers = HeaderTemplates::default();
            headers.push_text("content-type", "application/json");
            headers
        }
        headers => {
            HeaderTemplates::compile(headers.unwrap_or_default(), &format!("{PATH}.headers"), found)
        }
    };
    if let Some(kind) = &response.content_type {
        found
            .warning(format!("{PATH}.contentType"), "deprecated")
            .hint("write it as a header Content-Type under headers");
        headers.push_text("content-type", kind);
    }
    let body = response.body_template.as_deref().and_then(|text| {
        compile_template(text, Functions::body(), &format!("{PATH}.bodyTemplate"), found)
    });
    let realm = response.realm.unwrap_or_else(|| format!("{name}.{namespace}"));
    let plain: String = realm.chars().filter(|c| !c.is_control()).collect();
    let realm = plain.replace('\\', "\\\\").replace('"', "\\\"");
    Refusal { realm, headers, body, is_plain }
}
