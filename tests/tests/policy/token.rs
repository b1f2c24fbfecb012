//! Tokens and key sets that the harness makes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};

fn key_file(name: &str) -> Vec<u8> {
    std::fs::read(e2e::root().join("cases/keys").join(name)).unwrap()
}

/// The key set that goes with tokens of [`sign`].
pub(crate) fn key_set() -> String {
    let key = EncodingKey::from_rsa_pem(&key_file("rs256.pem")).unwrap();
    let mut jwk =
        serde_json::to_value(Jwk::from_encoding_key(&key, Algorithm::RS256).unwrap()).unwrap();
    jwk["kid"] = json!("k1");
    json!({"keys": [jwk]}).to_string()
}

/// A token as a case describes it: `alg`, `claims`, `key`.
pub(crate) fn sign(spec: &Value) -> String {
    let algorithm = spec["alg"].as_str().unwrap_or("none");
    let mut header = json!({"alg": algorithm, "typ": "JWT"});
    if algorithm != "none" && spec.get("kid").is_none() {
        header["kid"] = json!("k1");
    } else if let Some(kid) = spec.get("kid").filter(|k| !k.is_null()) {
        header["kid"] = kid.clone();
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&header), part(&spec["claims"]));
    let signature = match algorithm {
        "none" => String::new(),
        "HS256" => {
            let key = EncodingKey::from_secret(&key_file("rs256.pub.pem"));
            crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap()
        }
        name => {
            let key = EncodingKey::from_rsa_pem(&key_file("rs256.pem")).unwrap();
            crypto::sign(message.as_bytes(), &key, name.parse().unwrap()).unwrap()
        }
    };
    format!("{message}.{signature}")
}
