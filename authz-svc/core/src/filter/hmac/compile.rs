//! `Filter.spec.HMAC` to a filter.

use std::collections::HashMap;
use std::time::Duration;

use super::key::{HMAC, Key};
use super::{Digests, Hmac, Keys, Profile, Spec};
use crate::compile::Compiling;
use crate::filter::{HeaderTemplates, Judge};
use crate::request::is_settable;

/// Most keys.
const MAX_KEYS: usize = 10_000;
/// When `maxAge` is not given, and the longest that may be.
const MAX_AGE: [Duration; 2] = [Duration::from_secs(300), Duration::from_secs(24 * 3600)];
/// The same of `clockSkew`.
const CLOCK_SKEW: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(3600)];
/// What a signature must cover when nothing is said.
const COMPONENTS: [&str; 4] = ["@method", "@authority", "@path", "@query"];
/// What may be required of a request beside its headers.
const DERIVED: [&str; 7] =
    ["@method", "@authority", "@scheme", "@target-uri", "@request-target", "@path", "@query"];

/// Compiles `spec`. What is wrong is told to `compiling`.
pub(crate) fn compile(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Box<dyn Judge>> {
    let profile = profile(spec, compiling);
    let digests = match spec.content_digest.as_deref() {
        None | Some("auto") => Digests::Auto,
        Some("always") => Digests::Always,
        Some("never") => Digests::Never,
        Some(other) => {
            compiling
                .error("contentDigest", format!("`{other}` is not a choice"))
                .hint("use auto, always or never");
            Digests::Always
        }
    };
    let keys = keys(spec, matches!(profile, Profile::Simple), compiling);
    let max_age = time("maxAge", spec.max_age, MAX_AGE, compiling);
    let clock_skew = time("clockSkew", spec.clock_skew, CLOCK_SKEW, compiling);
    let name = format!("{}.{}", compiling.name, compiling.namespace);
    let challenge = challenge(spec.realm.as_deref().unwrap_or(&name), &profile);
    let path = compiling.path("injectRequestHeaders");
    let headers = spec.inject_request_headers.as_deref().unwrap_or_default();
    Some(Box::new(Hmac {
        name,
        profile,
        keys,
        digests,
        max_age,
        clock_skew,
        once: spec.replay_protection != Some(false),
        challenge,
        strip: spec.strip_signature == Some(true),
        inject: HeaderTemplates::compile(headers, &path, compiling.found),
    }))
}

fn profile(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Profile {
    match spec.profile.as_deref() {
        None | Some("httpSignatures") => {}
        Some("simple") => {
            let others = [
                ("components", spec.components.is_some()),
                ("requireNonce", spec.require_nonce == Some(true)),
                ("tag", spec.tag.is_some()),
            ];
            for (field, _) in others.into_iter().filter(|(_, given)| *given) {
                compiling
                    .error(field, "the profile simple has no such thing")
                    .hint("remove it, or use the profile httpSignatures");
            }
            return Profile::Simple;
        }
        Some(other) => {
            compiling
                .error("profile", format!("`{other}` is not a profile"))
                .hint("use httpSignatures or simple");
        }
    }
    Profile::HttpSignatures {
        components: components(spec, compiling),
        require_nonce: spec.require_nonce == Some(true),
        tag: spec.tag.clone(),
    }
}

fn components(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Vec<String> {
    let Some(named) = &spec.components else {
        return COMPONENTS.map(str::to_owned).to_vec();
    };
    if named.is_empty() {
        compiling
            .error("components", "a signature of nothing would pass")
            .hint("remove it for the default: @method, @authority, @path, @query");
    }
    let mut components = Vec::new();
    for (i, name) in named.iter().enumerate() {
        let name = name.to_ascii_lowercase();
        // `host` cannot be set, but signed.
        let is_header = !name.starts_with('@') && (is_settable(&name) || name == "host");
        if is_header || DERIVED.contains(&name.as_str()) {
            components.push(name);
        } else {
            compiling
                .error(&format!("components[{i}]"), format!("`{name}` is no component"))
                .hint(format!("use the name of a header, or one of {}", DERIVED.join(", ")));
        }
    }
    components
}

/// What is given, or the first of `bounds`, which must not be more than the second.
fn time(
    field: &str,
    given: Duration,
    [default, most]: [Duration; 2],
    compiling: &mut Compiling<'_, '_>,
) -> Duration {
    if given > most {
        compiling.error(field, format!("longer than {}h", most.as_secs() / 3600));
    }
    if given.is_zero() { default } else { given }
}

fn keys(spec: &Spec, is_simple: bool, compiling: &mut Compiling<'_, '_>) -> HashMap<String, Key> {
    let named = spec.keys.as_deref().unwrap_or_default();
    if named.is_empty() {
        compiling
            .error("keys", "no keys are named, so nobody could pass")
            .hint("name at least one Secret: keys: [{secretName: …}]");
    }
    let mut keys = HashMap::new();
    for (i, source) in named.iter().enumerate() {
        let algorithm = source.algorithm.as_deref().unwrap_or(HMAC);
        if is_simple && algorithm != HMAC {
            compiling
                .error(&format!("keys[{i}].algorithm"), format!("the profile simple is {HMAC}"))
                .hint("use the profile httpSignatures for public keys");
        }
        let field = format!("keys[{i}].secretName");
        for (id, bytes) in found(source, &field, compiling) {
            if bytes.ends_with(b"\n") && algorithm == HMAC {
                compiling.warning(
                    &field,
                    format!("the key `{id}` ends with a line break, which is a part of it"),
                );
            }
            match Key::read(algorithm, bytes) {
                Ok(key) => {
                    if keys.insert(id.clone(), key).is_some() {
                        compiling.error(&field, format!("the key id `{id}` is there twice"));
                    }
                }
                Err(why) => {
                    compiling.error(&field, format!("the key `{id}`: {why}"));
                }
            }
        }
    }
    if keys.len() > MAX_KEYS {
        compiling.error("keys", format!("more than {MAX_KEYS} keys"));
    }
    keys
}

/// Key ids and keys of a Secret.
fn found<'a>(
    source: &Keys,
    field: &str,
    compiling: &mut Compiling<'a, '_>,
) -> Vec<(String, &'a [u8])> {
    let namespace = source.namespace.as_deref();
    match &source.key {
        Some(key) => {
            let value = compiling.secret_value(field, &source.secret_name, namespace, key);
            let id = source.key_id.as_ref().unwrap_or(key).clone();
            value.map(|v| (id, v.expose().as_slice())).into_iter().collect()
        }
        None => {
            if source.key_id.is_some() {
                compiling
                    .error(field, "keyID is for one key of the Secret")
                    .hint("name it by `key`, or remove keyID");
            }
            let data = compiling.secret(field, &source.secret_name, namespace);
            let data = data.into_iter().flatten();
            data.map(|(id, v)| (id.clone(), v.expose().as_slice())).collect()
        }
    }
}

/// Headers of the answer 401: the scheme, and for RFC 9421 what is to be signed.
fn challenge(realm: &str, profile: &Profile) -> Vec<(&'static str, String)> {
    let plain: String = realm.chars().filter(|c| !c.is_control()).collect();
    let realm = plain.replace('\\', "\\\\").replace('"', "\\\"");
    match profile {
        Profile::Simple => vec![("www-authenticate", format!("HMAC realm=\"{realm}\""))],
        Profile::HttpSignatures { components, tag, .. } => {
            let names: Vec<String> = components.iter().map(|c| format!("\"{c}\"")).collect();
            let mut wanted = format!("sig=({});created;keyid", names.join(" "));
            if let Some(tag) = tag.as_ref().filter(|t| t.bytes().all(|b| b.is_ascii_alphanumeric()))
            {
                wanted.push_str(&format!(";tag=\"{tag}\""));
            }
            vec![
                ("www-authenticate", format!("Signature realm=\"{realm}\"")),
                ("accept-signature", wanted),
            ]
        }
    }
}
