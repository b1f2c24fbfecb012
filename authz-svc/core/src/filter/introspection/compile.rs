//! `Filter.spec.Introspection` to a filter.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use service_kit::Secret;

use super::{Authentication, Endpoint, Introspection, Spec};
use crate::compile::Compiling;
use crate::filter::{HeaderTemplates, Judge};
use crate::need::{DocumentKind, Fetch, Transport};

/// How long an answer is believed when nothing is said.
const LIFETIME: Duration = Duration::from_secs(60);
/// Longest time.
const MAX_LIFETIME: Duration = Duration::from_secs(3600);
/// Most tokens that are remembered.
const MOST: usize = 10_000;

/// Compiles `spec`. What is wrong is told to `compiling`.
pub(crate) fn compile(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Box<dyn Judge>> {
    let endpoint = endpoint(spec, compiling);
    let authentication = match spec.client_authentication.as_deref() {
        None | Some("HeaderPassword") => Authentication::Header,
        Some("BodyPassword") => Authentication::Body,
        Some(other) => {
            compiling
                .error("clientAuthentication", format!("`{other}` is not known"))
                .hint("use HeaderPassword or BodyPassword");
            return None;
        }
    };
    if spec.client_id.is_empty() {
        compiling.error("clientID", "the client has no id");
    }
    if spec.cache_ttl > MAX_LIFETIME {
        compiling.error("cacheTTL", "longer than an hour");
    }
    if spec.insecure_tls == Some(true) {
        compiling
            .warning("insecureTLS", "whoever is in between can say that any token is good")
            .hint("remove it");
    }
    let namespace = spec.secret_namespace.as_deref();
    let key = "oauth2-client-secret";
    let secret = compiling.secret_value("secretName", &spec.secret_name, namespace, key);
    let secret = secret.map(|s| String::from_utf8_lossy(s.expose()).trim_end().to_owned());
    let realm = spec.realm.clone();
    let realm = realm.unwrap_or_else(|| format!("{}.{}", compiling.name, compiling.namespace));
    let plain: String = realm.chars().filter(|c| !c.is_control()).collect();
    let headers = spec.inject_request_headers.as_deref().unwrap_or_default();
    let path = compiling.path("injectRequestHeaders");
    Some(Box::new(Introspection {
        endpoint: endpoint?,
        authentication,
        client_id: spec.client_id.clone(),
        secret: Secret::new(secret.unwrap_or_default()),
        transport: Arc::new(Transport {
            insecure_tls: spec.insecure_tls == Some(true),
            ..Transport::default()
        }),
        audience: spec.audience.clone(),
        issuer: spec.issuer.clone(),
        lifetime: if spec.cache_ttl.is_zero() { LIFETIME } else { spec.cache_ttl },
        realm: plain.replace('\\', "\\\\").replace('"', "\\\""),
        strip: spec.strip_authorization == Some(true),
        inject: HeaderTemplates::compile(headers, &path, compiling.found),
        known: Cache::new(MOST),
    }))
}

fn endpoint(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Endpoint> {
    for (field, url) in [("introspectionURL", &spec.introspection_url), ("issuer", &spec.issuer)] {
        let Some(url) = url else { continue };
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let is_url = rest.is_some_and(|r| !r.is_empty() && !r.starts_with('/'));
        if !is_url || url.contains(char::is_whitespace) {
            compiling
                .error(field, format!("`{url}` is not an absolute URL"))
                .hint("write it like https://login.example/introspect");
            return None;
        }
    }
    match (&spec.introspection_url, &spec.issuer) {
        (Some(url), _) => Some(Endpoint::Given(url.as_str().into())),
        (None, Some(issuer)) => {
            let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
            Some(Endpoint::Discovered(Fetch {
                url: format!("{issuer}/.well-known/openid-configuration").into(),
                what: DocumentKind::Provider,
                max_stale: Duration::ZERO,
                insecure_tls: spec.insecure_tls == Some(true),
                refresh: false,
            }))
        }
        (None, None) => {
            compiling
                .error("introspectionURL", "it is not said where tokens are asked about")
                .hint("name introspectionURL, or the issuer");
            None
        }
    }
}
