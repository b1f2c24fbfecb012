//! `Filter.spec.MTLS` to a filter.

use quick_cache::sync::Cache;
use rustls_pki_types::TrustAnchor;
use webpki::anchor_from_trusted_cert;

use super::certificate::{read_pem, trust_domain};
use super::{Accepted, Mtls, REMEMBERED, Source, Spec};
use crate::compile::Compiling;
use crate::filter::{HeaderTemplates, Judge};
use crate::policy::Glob;

/// Most authorities.
const MAX_AUTHORITIES: usize = 1_000;
/// Most globs of a list.
const MAX_GLOBS: usize = 1_000;

/// Compiles `spec`. What is wrong is told to `compiling`.
pub(crate) fn compile(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Box<dyn Judge>> {
    let source = match spec.source.as_deref() {
        None | Some("connection") => Source::Connection,
        Some("xfcc") => Source::Xfcc,
        Some("clientCert") => Source::ClientCert,
        Some(other) => {
            compiling
                .error("source", format!("`{other}` is not a source"))
                .hint("use connection, xfcc or clientCert");
            return None;
        }
    };
    let mut list = |field, texts: &Option<Vec<String>>| globs(field, texts.as_deref(), compiling);
    let accepted = Accepted {
        subjects: list("subjects", &spec.subjects),
        dns_names: list("dnsNames", &spec.dns_names),
        uris: list("uris", &spec.uris),
        principals: list("principals", &spec.principals),
        trust_domains: trust_domains(spec, compiling),
    };
    if accepted.principals.is_some() && source != Source::Connection {
        compiling
            .error("principals", "they are Envoy's names of who connects to it")
            .hint("use subjects, dnsNames, uris or trustDomains, or source: connection");
    }
    let is_open = !accepted.needs_certificate()
        && accepted.principals.is_none()
        && accepted.trust_domains.is_none();
    let authorities = authorities(spec, compiling);
    if is_open && spec.authorities.is_none() {
        compiling
            .error("", "nothing says which certificates are accepted")
            .hint("set authorities, or names; subjects: ['*'] accepts all that Envoy does");
    }
    let path = compiling.path("injectRequestHeaders");
    let headers = spec.inject_request_headers.as_deref().unwrap_or_default();
    Some(Box::new(Mtls {
        source,
        authorities,
        accepted,
        strip: spec.strip_header == Some(true),
        inject: HeaderTemplates::compile(headers, &path, compiling.found),
        known: Cache::new(REMEMBERED),
    }))
}

fn globs(
    field: &str,
    texts: Option<&[String]>,
    compiling: &mut Compiling<'_, '_>,
) -> Option<Vec<Glob>> {
    let texts = texts?;
    if texts.is_empty() || texts.len() > MAX_GLOBS {
        compiling
            .error(field, format!("use 1 to {MAX_GLOBS} patterns"))
            .hint("with none nobody could pass; remove the list, or name one");
    }
    let mut globs = Vec::new();
    for (i, text) in texts.iter().enumerate().take(MAX_GLOBS) {
        match Glob::new(text) {
            Ok(_) if text.is_empty() => {
                compiling.error(&format!("{field}[{i}]"), "the pattern is empty");
            }
            Ok(glob) => globs.push(glob),
            Err(why) => {
                compiling.error(&format!("{field}[{i}]"), format!("`{text}` is no glob: {why}"));
            }
        }
    }
    Some(globs)
}

fn trust_domains(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Vec<String>> {
    let domains = spec.trust_domains.as_ref()?;
    if domains.is_empty() {
        compiling.error("trustDomains", "no trust domain, so nobody could pass");
    }
    for (i, domain) in domains.iter().enumerate() {
        if trust_domain(&format!("spiffe://{domain}")) != Some(domain.as_str()) {
            compiling
                .error(&format!("trustDomains[{i}]"), format!("`{domain}` is no trust domain"))
                .hint("write it like example.org, without spiffe:// and path");
        }
    }
    Some(domains.clone())
}

fn authorities(
    spec: &Spec,
    compiling: &mut Compiling<'_, '_>,
) -> Option<Vec<TrustAnchor<'static>>> {
    let named = spec.authorities.as_ref()?;
    if named.is_empty() {
        compiling
            .error("authorities", "no authorities are named, so nobody could pass")
            .hint("name at least one Secret: authorities: [{secretName: …}]");
    }
    let mut anchors = Vec::new();
    for (i, secret) in named.iter().enumerate() {
        let field = format!("authorities[{i}].secretName");
        let key = secret.key.as_deref().unwrap_or("ca.crt");
        let namespace = secret.namespace.as_deref();
        let Some(pem) = compiling.secret_value(&field, &secret.secret_name, namespace, key) else {
            continue;
        };
        let Some(chain) = read_pem(pem.expose(), MAX_AUTHORITIES) else {
            compiling.error(&field, format!("`{key}` has no certificates in PEM"));
            continue;
        };
        for certificate in chain {
            match anchor_from_trusted_cert(&certificate) {
                Ok(anchor) => anchors.push(anchor.to_owned()),
                Err(why) => {
                    compiling.error(&field, format!("a certificate of `{key}`: {why}"));
                }
            }
        }
    }
    Some(anchors)
}
