//! The configurations that go with the workloads of `checks`: of this project's service as objects,
//! of others in their own words.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::Jwk;
use serde_json::{Value, json};

use crate::checks::{
    AUDIENCE, ISSUER, KEYS, LOGIN_HOST, PASSWORD, POLICIES_OF_HOST, USERS, host_name, key,
    signing_key, user_name,
};

/// Accepted keys in one Secret.
const KEYS_OF_SECRET: usize = 1000;
/// Of bcrypt; a hash of it takes about 15 ms.
const COST: u32 = 8;

/// Writes a folder of objects for each workload, and `jwks.json`, `opa.rego` and `authorino.json`,
/// which are the workload `jwt` to others.
///
/// # Errors
/// When a file cannot be written.
pub fn write(folder: &Path) -> anyhow::Result<()> {
    let key_set = key_set()?;
    let objects = |name: &str, items: Vec<Value>| {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        put(&folder.join(name).join("objects.json"), &list.to_string())
    };
    objects("jwt", jwt(&key_set))?;
    objects("api-key", api_key())?;
    objects("logins", logins()?)?;
    objects("few-policies", policies(1))?;
    objects("many-policies", policies(1000))?;
    put(&folder.join("jwks.json"), &key_set.to_string())?;
    put(&folder.join("opa.rego"), &rego(&key_set))?;
    put(&folder.join("authorino.json"), &AUTH_CONFIG.replace('\n', ""))
}

fn put(file: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::write(file, text).with_context(|| file.display().to_string())
}

fn key_set() -> anyhow::Result<Value> {
    let jwk = Jwk::from_encoding_key(&signing_key()?, Algorithm::RS256)?;
    let mut jwk = serde_json::to_value(jwk)?;
    jwk["kid"] = json!("k1");
    jwk["use"] = json!("sig");
    Ok(json!({"keys": [jwk]}))
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "getambassador.io/v3alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": "bench"}, "spec": spec})
}

fn secret(name: &str, keys: impl Iterator<Item = usize>) -> Value {
    let data: serde_json::Map<String, Value> =
        keys.map(|k| (format!("k{k}"), Value::from(key(k)))).collect();
    json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "namespace": "bench"}, "stringData": data})
}

fn policy(name: &str, host: &str, path: &str) -> Value {
    let rule = json!({"host": host, "path": path, "filters": [{"name": "filter"}]});
    object("FilterPolicy", name, json!({"rules": [rule]}))
}

fn jwt(key_set: &Value) -> Vec<Value> {
    let filter = json!({"JWT": {
        "jwks": key_set, "validAlgorithms": ["RS256"], "requireExpiresAt": true,
        "issuer": ISSUER, "requireIssuer": true, "audience": AUDIENCE, "requireAudience": true,
    }});
    vec![object("Filter", "filter", filter), policy("all", "*", "*")]
}

fn api_key() -> Vec<Value> {
    let secrets = (0..KEYS / KEYS_OF_SECRET)
        .map(|s| secret(&format!("keys-{s}"), s * KEYS_OF_SECRET..(s + 1) * KEYS_OF_SECRET));
    let names: Vec<Value> =
        (0..KEYS / KEYS_OF_SECRET).map(|s| json!({"secretName": format!("keys-{s}")})).collect();
    let filter = object("Filter", "filter", json!({"APIKey": {"keys": names}}));
    secrets.chain([filter, policy("all", "*", "*")]).collect()
}

/// API keys, and passwords on a host of their own.
fn logins() -> anyhow::Result<Vec<Value>> {
    // One hash for all: what it costs does not depend on whose it is.
    let hash = bcrypt::hash(PASSWORD, COST).map_err(|e| anyhow::anyhow!("bcrypt: {e}"))?;
    let file: String = (0..USERS).map(|u| format!("{}:{hash}\n", user_name(u))).collect();
    let users = json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "users", "namespace": "bench"}, "stringData": {"auth": file}});
    let filter = json!({"Basic": {"users": [{"secretName": "users"}]}});
    let rule = json!({"host": LOGIN_HOST, "filters": [{"name": "logins"}]});
    let mut objects = api_key();
    objects.extend([users, object("Filter", "logins", filter)]);
    // Before the policy for all.
    objects.push(object("FilterPolicy", "a-logins", json!({"rules": [rule]})));
    Ok(objects)
}

fn policies(hosts: usize) -> Vec<Value> {
    let filter = json!({"APIKey": {"keys": [{"secretName": "keys"}]}});
    let mut objects = vec![object("Filter", "filter", filter), secret("keys", 0..1)];
    for host in 0..hosts {
        let name = host_name(host);
        objects.extend(
            (0..POLICIES_OF_HOST)
                .map(|p| policy(&format!("policy-{host}-{p}"), &name, &format!("/p{p}/*"))),
        );
    }
    objects
}

/// The same rules for OPA's plugin for Envoy: signature, algorithm, issuer, audience, and an expiry
/// that is there.
fn rego(key_set: &Value) -> String {
    format!(
        r#"package envoy.authz

import rego.v1

default allow := false

keys := `{key_set}`

token := substring(header, 7, -1) if {{
	header := input.attributes.request.http.headers.authorization
	startswith(header, "Bearer ")
}}

allow if {{
	[valid, _, claims] := io.jwt.decode_verify(token, {{
		"cert": keys, "alg": "RS256", "iss": "{ISSUER}", "aud": "{AUDIENCE}",
	}})
	valid
	claims.exp
}}
"#
    )
}

/// The same for Authorino, which reads keys from `JWKS_URL`; it checks neither issuer nor audience
/// of a token with it, so that rules of its own do.
const AUTH_CONFIG: &str = r#"{"apiVersion": "authorino.kuadrant.io/v1beta3", "kind": "AuthConfig",
 "metadata": {"name": "bench", "namespace": "default"},
 "spec": {"hosts": ["api.example.com"],
 "authentication": {"token": {"jwt": {"jwksUrl": "JWKS_URL"}}},
 "authorization": {"claims": {"patternMatching": {"patterns": [
 {"selector": "auth.identity.iss", "operator": "eq", "value": "https://issuer.example.com"},
 {"selector": "auth.identity.aud", "operator": "eq", "value": "api"}]}}}}}"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_policies_have_a_thousand_hosts() {
        let objects = policies(1000);
        let hosts: std::collections::BTreeSet<_> =
            objects.iter().filter_map(|o| o["spec"]["rules"][0]["host"].as_str()).collect();
        assert_eq!((objects.len(), hosts.len()), (10_002, 1000));
    }

    #[test]
    fn all_keys_are_in_secrets_that_the_filter_names() {
        let objects = api_key();
        let keys: usize =
            objects.iter().filter_map(|o| o["stringData"].as_object()).map(|d| d.len()).sum();
        let filter = objects.iter().find(|o| o["kind"] == "Filter").unwrap();
        assert_eq!(keys, KEYS);
        assert_eq!(filter["spec"]["APIKey"]["keys"].as_array().unwrap().len(), 100);
    }

    #[test]
    fn the_configuration_for_another_service_is_json() {
        assert!(serde_json::from_str::<Value>(AUTH_CONFIG).is_ok());
    }
}
