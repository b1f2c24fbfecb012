//! `Filter.spec.JWT` to a filter.

use std::sync::Arc;

use gotemplate::Functions;
use jsonwebtoken::Algorithm;
use serde_json::Value as Json;
use service_kit::{Diagnostics, Reason};

use super::claims::TimeRule;
use super::{ClaimRules, Jwt, Keys, Refusal};
use crate::context::Fetch;
use crate::filter::template::{HeaderTemplates, compile as compile_template};
use crate::keys::{KeySet, SUPPORTED};
use crate::secrets::Secrets;
use crate::spec;

/// Compiles `spec` of the Filter `name` in `namespace`. Everything that is wrong is in `found`;
/// the result is only good when no error was added. Without `secrets` what is in them is not
/// looked at.
pub fn compile(
    spec: &spec::Jwt,
    name: &str,
    namespace: &str,
    secrets: Option<&Secrets<'_>>,
    found: &mut Diagnostics<'_>,
) -> Jwt {
    let (algorithms, unsigned) = algorithms(spec, found);
    if spec.require_audience == Some(true) && spec.audience.is_none() {
        found
            .error("spec.JWT.requireAudience", "an audience is required, but none is named")
            .hint("set audience, or remove requireAudience");
    }
    if spec.require_issuer == Some(true) && spec.issuer.is_none() {
        found
            .error("spec.JWT.requireIssuer", "an issuer is required, but none is named")
            .hint("set issuer, or remove requireIssuer");
    }
    renegotiation(spec, found);
    let headers = spec.inject_request_headers.as_deref().unwrap_or_default();
    Jwt {
        keys: keys(spec, namespace, algorithms.is_empty() && unsigned, secrets, found),
        algorithms,
        unsigned,
        claims: claims(spec),
        inject: HeaderTemplates::compile(headers, "spec.JWT.injectRequestHeaders", found),
        refusal: refusal(spec, name, namespace, found),
    }
}

fn claims(spec: &spec::Jwt) -> ClaimRules {
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
fn algorithms(spec: &spec::Jwt, found: &mut Diagnostics<'_>) -> (Vec<Algorithm>, bool) {
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

fn renegotiation(spec: &spec::Jwt, found: &mut Diagnostics<'_>) {
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

fn keys(
    spec: &spec::Jwt,
    namespace: &str,
    unsigned_only: bool,
    secrets: Option<&Secrets<'_>>,
    found: &mut Diagnostics<'_>,
) -> Keys {
    let given = [spec.jwks_uri.is_some(), spec.jwks.is_some(), spec.jwks_secret.is_some()];
    match given.iter().filter(|g| **g).count() {
        0 if unsigned_only => return Keys::None,
        0 => {
            found
                .error("spec.JWT.jwksURI", "the keys of the tokens are missing")
                .hint("name them by one of jwksURI, jwks or jwksSecret");
            return Keys::None;
        }
        1 => {}
        _ => {
            found
                .error("spec.JWT", "the keys of the tokens are given more than once")
                .hint("keep one of jwksURI, jwks and jwksSecret");
            return Keys::None;
        }
    }
    if let Some(url) = &spec.jwks_uri {
        return remote(url, spec, found);
    }
    if let Some(jwks) = &spec.jwks {
        let set = match jwks {
            Json::String(text) => KeySet::parse(text.as_bytes()),
            json => KeySet::from_json(json),
        };
        return fixed("spec.JWT.jwks", set, found);
    }
    match &spec.jwks_secret {
        Some(secret) => from_secret(secret, namespace, secrets, found),
        None => Keys::None,
    }
}

fn remote(url: &str, spec: &spec::Jwt, found: &mut Diagnostics<'_>) -> Keys {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    if rest.is_none_or(|r| r.is_empty() || r.starts_with('/') || url.contains(char::is_whitespace))
    {
        found
            .error("spec.JWT.jwksURI", format!("`{url}` is not an absolute URL"))
            .hint("write it like https://login.example/jwks.json");
    }
    Keys::Remote(Fetch {
        url: url.into(),
        max_stale: spec.max_stale,
        insecure_tls: spec.insecure_tls == Some(true),
        refresh: false,
    })
}

fn from_secret(
    secret: &spec::KeySetSecret,
    namespace: &str,
    secrets: Option<&Secrets<'_>>,
    found: &mut Diagnostics<'_>,
) -> Keys {
    const PATH: &str = "spec.JWT.jwksSecret";
    if secret.name.is_empty() {
        found.error(format!("{PATH}.name"), "the Secret has no name");
        return Keys::None;
    }
    let Some(secrets) = secrets else { return Keys::None };
    let namespace = secret.namespace.as_deref().unwrap_or(namespace);
    let key = secret.key.as_deref().unwrap_or("jwks.json");
    let Some(data) = secrets.get(namespace, &secret.name) else {
        found
            .error(PATH, format!("there is no Secret {}.{namespace}", secret.name))
            .hint("create it, or correct the name")
            .reason(Reason::RefNotResolved);
        return Keys::None;
    };
    match data.get(key) {
        Some(text) => fixed(PATH, KeySet::parse(text.expose()), found),
        None => {
            found
                .error(PATH, format!("Secret {}.{namespace} has no key `{key}`", secret.name))
                .reason(Reason::RefNotResolved);
            Keys::None
        }
    }
}

fn fixed(path: &str, set: Result<KeySet, String>, found: &mut Diagnostics<'_>) -> Keys {
    match set {
        Ok(set) if !set.is_empty() => return Keys::Fixed(Arc::new(set)),
        Ok(_) => found.error(path, "the key set has no key that can be used"),
        Err(why) => found.error(path, why),
    }
    .hint("it is a JSON object as in {\"keys\": [{\"kty\": \"RSA\", …}]} (RFC 7517)");
    Keys::None
}

fn refusal(spec: &spec::Jwt, name: &str, namespace: &str, found: &mut Diagnostics<'_>) -> Refusal {
    const PATH: &str = "spec.JWT.errorResponse";
    let response = spec.error_response.clone().unwrap_or_default();
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
    Refusal { realm: plain.replace('\\', "\\\\").replace('"', "\\\""), headers, body }
}
