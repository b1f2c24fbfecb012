//! `Filter.spec.OAuth2` to a filter.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use service_kit::Secret;
use sha2::{Digest as _, Sha256};

use super::client::{Assertion, Client, Method};
use super::origin::{Origin, Parts};
use super::spec::{JwtAssertion, Spec};
use super::validation::{FilterRef, Validation};
use super::{Grant, Login, OAuth2};
use crate::compile::{Compiling, condition};
use crate::filter::Judge;
use crate::filter::template::HeaderTemplates;
use crate::need::{DocumentKind, Fetch, Transport};

/// The key of the client's secret in a Secret.
const SECRET_KEY: &str = "oauth2-client-secret";
/// Most protected origins of a filter.
const MAX_ORIGINS: usize = 100;
/// Parameters of the authorization request that are this program's.
const OWN_PARAMETERS: &[&str] = &[
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
];

/// The grants by name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    AuthorizationCode,
    ClientCredentials,
    Password,
}

/// Compiles `spec`. What is wrong is told to `compiling`.
pub(crate) fn compile(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Box<dyn Judge>> {
    let kind = kind(spec, compiling)?;
    let issuer = issuer(spec, compiling);
    let client = client(spec, kind, compiling);
    let validation = validation(spec, kind, compiling);
    ignored(spec, compiling);
    let grant = match kind {
        Kind::AuthorizationCode => {
            login(spec, compiling).map(|login| Grant::AuthorizationCode(Box::new(login)))
        }
        other => {
            no_login(spec, compiling);
            Some(if other == Kind::Password { Grant::Password } else { Grant::ClientCredentials })
        }
    };
    let headers = spec.inject_request_headers.as_deref().unwrap_or_default();
    let path = compiling.path("injectRequestHeaders");
    let inject = HeaderTemplates::compile(headers, &path, compiling.found);
    let (issuer, client, insecure_tls) = (issuer?, client?, spec.insecure_tls == Some(true));
    let digest = Sha256::new().chain_update(&issuer).chain_update([0]).chain_update(client.id());
    Some(Box::new(OAuth2 {
        name: format!("{}.{}", compiling.name, compiling.namespace),
        grant: grant?,
        fingerprint: URL_SAFE_NO_PAD.encode(digest.finalize()),
        client,
        discovery: Fetch {
            url: format!("{issuer}/.well-known/openid-configuration").into(),
            what: DocumentKind::Provider,
            max_stale: spec.max_stale,
            insecure_tls,
            refresh: false,
        },
        transport: Arc::new(Transport { insecure_tls, ..Transport::default() }),
        margin: spec.expiration_safety_margin,
        validation: validation?,
        allow_malformed: spec.allow_malformed_access_token == Some(true),
        inject,
        cache: compiling.settings.token_cache.clone(),
    }))
}

fn kind(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Kind> {
    match spec.grant_type.as_deref() {
        None | Some("AuthorizationCode") => Some(Kind::AuthorizationCode),
        Some("ClientCredentials") => Some(Kind::ClientCredentials),
        Some("Password") => Some(Kind::Password),
        Some(other) => {
            compiling
                .error("grantType", format!("`{other}` is not a grant"))
                .hint("use AuthorizationCode, ClientCredentials or Password");
            None
        }
    }
}

/// Whether it is an absolute URL of http or https.
fn is_absolute(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|r| !r.is_empty() && !r.starts_with(['/', '?', '#']))
        && url.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

/// Without the slash at its end.
fn issuer(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<String> {
    let Some(url) = &spec.authorization_url else {
        compiling
            .error("authorizationURL", "the identity provider is missing")
            .hint("write its issuer, like https://login.example/realms/staff");
        return None;
    };
    if !is_absolute(url) || url.contains(['?', '#']) {
        compiling
            .error("authorizationURL", format!("`{url}` is not an absolute URL"))
            .hint("write the issuer, like https://login.example/realms/staff");
        return None;
    }
    if let Some(tenant) = any_tenant(url) {
        compiling
            .warning(
                "authorizationURL",
                format!("`{tenant}` is no issuer: every login will be refused"),
            )
            .hint("write the tenant's id: https://login.microsoftonline.com/TENANT-ID/v2.0");
    }
    Some(url.strip_suffix('/').unwrap_or(url).to_owned())
}

/// What Entra ID has for the tenants of all; its tokens have issuers that its configuration does not
/// tell.
fn any_tenant(url: &str) -> Option<&str> {
    let tenant = url.strip_prefix("https://login.microsoftonline.com/")?.split('/').next()?;
    ["common", "organizations", "consumers"].contains(&tenant).then_some(tenant)
}

fn client(spec: &Spec, kind: Kind, compiling: &mut Compiling<'_, '_>) -> Option<Client> {
    let method = spec.client_authentication.as_ref().and_then(|a| a.method.as_deref());
    let assertion = spec.client_authentication.as_ref().and_then(|a| a.jwt_assertion.as_ref());
    let is_assertion = method == Some("JWTAssertion");
    if assertion.is_some_and(|a| !is_unset(a)) && !is_assertion {
        compiling
            .error("clientAuthentication.jwtAssertion", "only for the method JWTAssertion")
            .hint("set method: JWTAssertion, or remove jwtAssertion");
        return None;
    }
    if let Some(other) =
        method.filter(|m| !["HeaderPassword", "BodyPassword", "JWTAssertion"].contains(m))
    {
        compiling
            .error("clientAuthentication.method", format!("`{other}` is not a method"))
            .hint("use HeaderPassword, BodyPassword or JWTAssertion");
        return None;
    }
    if kind == Kind::ClientCredentials {
        return credentials_client(spec, method, assertion, compiling);
    }
    let Some(id) = spec.client_id.clone() else {
        compiling
            .error("clientID", "the client's id is missing")
            .hint("write the id under which the identity provider knows this client");
        return None;
    };
    let secret = secret(spec, is_assertion, compiling);
    let method = match method {
        None | Some("HeaderPassword") => Method::Header,
        Some("BodyPassword") => Method::Body,
        _ => {
            let settings = assertion.cloned().unwrap_or_default();
            Method::Assertion(Box::new(sign(&settings, secret.as_ref(), compiling)?))
        }
    };
    let secret = secret.unwrap_or_default();
    if !is_assertion && std::str::from_utf8(secret.expose()).is_err() {
        compiling.error("secretName", "the client's secret is not text").hint("correct the Secret");
        return None;
    }
    Some(Client::new(id, secret, method))
}

fn is_unset(assertion: &JwtAssertion) -> bool {
    assertion.set_client_id != Some(true)
        && assertion.audience.is_none()
        && assertion.signing_method.is_none()
        && assertion.lifetime.is_zero()
        && assertion.set_nbf != Some(true)
        && assertion.nbf_safety_margin.is_zero()
        && assertion.set_iat != Some(true)
        && assertion.other_claims.as_ref().is_none_or(|c| c.is_empty())
        && assertion.other_header_parameters.as_ref().is_none_or(|p| p.is_empty())
}

/// Of ClientCredentials: the request brings id and secret, or an assertion that is signed already.
fn credentials_client(
    spec: &Spec,
    method: Option<&str>,
    assertion: Option<&JwtAssertion>,
    compiling: &mut Compiling<'_, '_>,
) -> Option<Client> {
    let given = [
        ("clientID", spec.client_id.is_some()),
        ("secret", spec.secret.as_ref().is_some_and(|s| !s.expose().is_empty())),
        ("secretName", spec.secret_name.is_some()),
    ];
    for (field, _) in given.iter().filter(|(_, given)| *given) {
        compiling
            .error(field, "with ClientCredentials each request brings its own")
            .hint("remove it; requests have X-Ambassador-Client-ID and X-Ambassador-Client-Secret");
    }
    let set_client_id = assertion.is_some_and(|a| a.set_client_id == Some(true));
    if let Some(assertion) = assertion {
        let rest = JwtAssertion { set_client_id: None, ..assertion.clone() };
        if !is_unset(&rest) {
            compiling
                .error(
                    "clientAuthentication.jwtAssertion",
                    "with ClientCredentials requests bring an assertion that is signed already",
                )
                .hint("remove all settings but setClientID");
        }
    }
    let method = match method {
        None | Some("HeaderPassword") => Method::Header,
        Some("BodyPassword") => Method::Body,
        _ => Method::Given { set_client_id },
    };
    Some(Client::new(String::new(), Secret::default(), method))
}

/// None without errors when Secrets cannot be looked at now.
fn secret(spec: &Spec, is_key: bool, compiling: &mut Compiling<'_, '_>) -> Option<Secret<Vec<u8>>> {
    let inline = spec.secret.as_ref().filter(|s| !s.expose().is_empty());
    let (field, found) = match (inline, &spec.secret_name) {
        (Some(_), Some(name)) => {
            // Tells who follows Secrets that it is named.
            compiling.name_secret(name, spec.secret_namespace.as_deref());
            compiling
                .error("secret", "secret and secretName exclude each other")
                .hint("keep secretName: a Filter is no place for secrets");
            return None;
        }
        (None, None) => {
            compiling
                .error("secretName", "the client's secret is missing")
                .hint(format!("name a Secret that has it under the key {SECRET_KEY}"));
            return None;
        }
        (Some(text), None) => ("secret", Some(Secret::new(text.expose().clone().into_bytes()))),
        (None, Some(name)) => {
            let namespace = spec.secret_namespace.as_deref();
            let value = compiling.secret_value("secretName", name, namespace, SECRET_KEY);
            ("secretName", value.cloned())
        }
    };
    let found = found?;
    if found.expose().is_empty() {
        compiling.error(field, "the client's secret is empty").hint("correct the Secret");
    } else if !is_key && found.expose().ends_with(b"\n") {
        compiling
            .warning(field, "the client's secret ends with a line break, which is part of it")
            .hint("make the Secret without it, as by `printf %s`");
    }
    Some(found)
}

/// Without the key when it is not known now.
fn sign(
    settings: &JwtAssertion,
    key: Option<&Secret<Vec<u8>>>,
    compiling: &mut Compiling<'_, '_>,
) -> Option<Assertion> {
    const FIELD: &str = "clientAuthentication.jwtAssertion";
    match Assertion::new(settings, key) {
        Ok(assertion) => Some(assertion),
        Err((field, why)) => {
            let field =
                if field == "key" { "secretName".to_owned() } else { format!("{FIELD}.{field}") };
            compiling.error(&field, why).hint("see docs/oauth2.md, Clients with keys");
            None
        }
    }
}

fn validation(spec: &Spec, kind: Kind, compiling: &mut Compiling<'_, '_>) -> Option<Validation> {
    let filter = spec.access_token_jwt_filter.as_ref().filter(|f| f.name.is_some());
    let given = spec.access_token_validation.as_deref();
    if let (None, Some(f)) = (filter, &spec.access_token_jwt_filter)
        && (f.namespace.is_some()
            || f.arguments.is_some()
            || f.inherit_scope_argument == Some(true))
    {
        compiling
            .error("accessTokenJWTFilter.name", "the JWT Filter has no name")
            .hint("name it, or remove accessTokenJWTFilter");
        return None;
    }
    match (given, filter) {
        (None | Some("auto" | "jwt"), Some(filter)) => Some(Validation::Filter(FilterRef {
            key: (
                filter.namespace.clone().unwrap_or_else(|| compiling.namespace.to_owned()),
                filter.name.clone().unwrap_or_default(),
            ),
            inherit: filter.inherit_scope_argument == Some(true),
            strip: filter.strip_inherited_scope == Some(true),
            scope: filter.arguments.as_ref().and_then(|a| a.scope.clone()).unwrap_or_default(),
        })),
        (Some("userinfo"), Some(_)) => {
            compiling
                .error(
                    "accessTokenValidation",
                    "userinfo and accessTokenJWTFilter exclude each other",
                )
                .hint("keep one of them");
            None
        }
        (Some("userinfo"), None) if kind == Kind::ClientCredentials => {
            compiling
                .error("accessTokenValidation", "ClientCredentials has no user to ask about")
                .hint("use jwt");
            None
        }
        (Some("userinfo"), None) => Some(Validation::UserInfo),
        (Some("jwt"), None) => Some(Validation::Jwt),
        (None | Some("auto"), None) if kind == Kind::ClientCredentials => Some(Validation::Jwt),
        (None | Some("auto"), None) => Some(Validation::Auto),
        (Some(other), _) => {
            compiling
                .error("accessTokenValidation", format!("`{other}` is not a way to do it"))
                .hint("use auto, jwt or userinfo");
            None
        }
    }
}

/// What has no effect.
fn ignored(spec: &Spec, compiling: &mut Compiling<'_, '_>) {
    match spec.renegotiate_tls.as_deref() {
        None | Some("never") => {}
        Some("onceAsClient" | "freelyAsClient") => {
            compiling
                .warning("renegotiateTLS", "TLS renegotiation is never done")
                .hint("remove it, unless the identity provider cannot do without");
        }
        Some(other) => {
            compiling
                .error("renegotiateTLS", format!("`{other}` is not a policy"))
                .hint("use never");
        }
    }
    if spec.audience.is_some() {
        compiling
            .notice("audience", "it has no effect")
            .hint("write it as extraAuthorizationParameters.audience, if the provider wants it");
    }
    if spec.state_ttl.is_some() {
        compiling.notice("stateTTL", "it has no effect").hint("a login may take half an hour");
    }
}

/// What only AuthorizationCode has.
fn no_login(spec: &Spec, compiling: &mut Compiling<'_, '_>) {
    let given = [
        ("protectedOrigins", spec.protected_origins.as_ref().is_some_and(|o| !o.is_empty())),
        ("clientURL", spec.client_url.is_some()),
        (
            "useSessionCookies",
            spec.use_session_cookies
                .as_ref()
                .is_some_and(|c| c.value == Some(true) || c.if_request_header.is_some()),
        ),
        (
            "extraAuthorizationParameters",
            spec.extra_authorization_parameters.as_ref().is_some_and(|p| !p.is_empty()),
        ),
        ("clientSessionMaxIdle", !spec.client_session_max_idle.is_zero()),
        ("postLogoutRedirectURI", spec.post_logout_redirect_uri.is_some()),
        ("pkce", spec.pkce.is_some()),
    ];
    for (field, _) in given.iter().filter(|(_, given)| *given) {
        compiling
            .error(field, "only for the grant AuthorizationCode")
            .hint("remove it, or correct grantType");
    }
}

fn login(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Login> {
    let origins = origins(spec, compiling);
    let cookies = spec.use_session_cookies.as_ref();
    let path = compiling.path("useSessionCookies.ifRequestHeader");
    let only = cookies
        .and_then(|c| c.if_request_header.as_ref())
        .and_then(|c| condition(c, &path, compiling.found));
    let extra = spec.extra_authorization_parameters.clone().unwrap_or_default();
    for name in extra.keys().filter(|name| OWN_PARAMETERS.contains(&name.as_str())) {
        compiling
            .error(
                &format!("extraAuthorizationParameters.{name}"),
                "this parameter is not the user's to set",
            )
            .hint("remove it; scopes are arguments in a FilterPolicy");
    }
    if extra.get("response_mode").is_some_and(|mode| mode != "query") {
        compiling
            .error("extraAuthorizationParameters.response_mode", "only query is understood")
            .hint("remove it");
    }
    let post_logout = spec.post_logout_redirect_uri.clone();
    if post_logout.as_ref().is_some_and(|url| !is_absolute(url)) {
        compiling
            .error("postLogoutRedirectURI", "not an absolute URL")
            .hint("write it like https://www.example.org/bye");
    }
    if let Some(method) = spec.pkce.as_ref().and_then(|p| p.code_challenge_method.as_deref())
        && method != "S256"
    {
        compiling
            .error("pkce.codeChallengeMethod", format!("`{method}` is not supported"))
            .hint("use S256");
    }
    Some(Login {
        origins: origins?,
        session_cookies: (cookies.is_some_and(|c| c.value != Some(false)), only),
        max_idle: Some(spec.client_session_max_idle).filter(|d| !d.is_zero()),
        extra: extra.into_iter().collect(),
        post_logout,
        pkce: spec.pkce.is_some(),
    })
}

fn origins(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Vec<Origin>> {
    let given = spec.protected_origins.as_deref().unwrap_or_default();
    if let Some(url) = &spec.client_url {
        if !given.is_empty() {
            compiling
                .error("clientURL", "clientURL and protectedOrigins exclude each other")
                .hint("keep protectedOrigins; clientURL is deprecated");
            return None;
        }
        compiling
            .warning("clientURL", "deprecated")
            .hint("write it as protectedOrigins: [{origin: …, internalOrigin: \"*://*\"}]");
        let outside = parts("clientURL", url, false, compiling)?;
        return Some(vec![Origin::new(outside, Parts::parse("*://*", true), false)]);
    }
    if given.is_empty() {
        compiling
            .error("protectedOrigins", "no origin is protected")
            .hint("name at least one: protectedOrigins: [{origin: https://www.example.org}]");
        return None;
    }
    if given.len() > MAX_ORIGINS {
        compiling
            .error("protectedOrigins", format!("more than {MAX_ORIGINS} origins"))
            .hint("use includeSubdomains, or a Filter for each group of them");
        return None;
    }
    let mut origins = Vec::new();
    for (i, origin) in given.iter().enumerate() {
        let field = |name: &str| format!("protectedOrigins[{i}].{name}");
        let outside = parts(
            &field("origin"),
            origin.origin.as_deref().unwrap_or_default(),
            false,
            compiling,
        )?;
        let inside = match &origin.internal_origin {
            None => None,
            Some(text) => Some(parts(&field("internalOrigin"), text, true, compiling)?),
        };
        let subdomains = origin.include_subdomains == Some(true);
        if subdomains && inside.as_ref().is_some_and(|i| i.scheme == "*" || i.authority == "*") {
            compiling
                .error(&field("includeSubdomains"), "not with a wildcard in internalOrigin")
                .hint("remove one of them");
            return None;
        }
        let host = outside.host().trim_matches(['[', ']']);
        if subdomains && host.parse::<std::net::IpAddr>().is_ok() {
            compiling
                .error(&field("includeSubdomains"), "an address has no subdomains")
                .hint("remove it");
            return None;
        }
        origins.push(Origin::new(outside, inside, subdomains));
    }
    Some(origins)
}

fn parts(
    field: &str,
    text: &str,
    wildcards: bool,
    compiling: &mut Compiling<'_, '_>,
) -> Option<Parts> {
    let parts = Parts::parse(text, wildcards);
    if parts.is_none() {
        compiling
            .error(field, format!("`{text}` is not an origin"))
            .hint("write scheme and authority only, like https://www.example.org");
    }
    parts
}
