//! JSON Web Key Sets (RFC 7517).

use std::collections::{HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Longest text of a key set, in bytes.
pub const MAX_LEN: usize = 1 << 20;
/// Most keys of a set.
const MAX_KEYS: usize = 1_000;
/// Most keys tried for a token that names none.
const MAX_TRIES: usize = 16;
/// Most words about keys that are left out.
const MAX_WORDS: usize = 10;

/// SHA-256 of all that matters of a key: its id, its algorithms and itself.
pub type Fingerprint = [u8; 32];

/// The usable keys of a set.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
    by_id: HashMap<String, Vec<usize>>,
    fingerprints: HashSet<Fingerprint>,
    digest: Fingerprint,
    left_out: Vec<String>,
}

/// A key that signatures are verified with.
#[derive(Clone, Debug)]
pub struct Key {
    id: Option<String>,
    /// The algorithms it may be used with.
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
    fingerprint: Fingerprint,
}

impl KeySet {
    /// Reads a key set. A key of an unknown type, for another use, or that is broken is left out.
    ///
    /// # Errors
    /// In words, when it is no key set, longer than 1 MiB, or of more than 1,000 keys.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        if text.len() > MAX_LEN {
            return Err("the key set is longer than 1 MiB".to_owned());
        }
        let json: Value =
            serde_json::from_slice(text).map_err(|e| format!("the key set is not JSON: {e}"))?;
        Self::from_json(&json)
    }

    /// As [`Self::parse`], from JSON.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn from_json(json: &Value) -> Result<Self, String> {
        let keys = json
            .get("keys")
            .and_then(Value::as_array)
            .ok_or("a key set is a JSON object with a list `keys`")?;
        if keys.len() > MAX_KEYS {
            return Err(format!("the key set has {} keys; the most are {MAX_KEYS}", keys.len()));
        }
        let mut set = Self::default();
        let mut digest = Sha256::new();
        for (i, json) in keys.iter().enumerate() {
            match Key::read(json) {
                Ok(key) if set.fingerprints.insert(key.fingerprint) => {
                    digest.update(key.fingerprint);
                    if let Some(id) = &key.id {
                        set.by_id.entry(id.clone()).or_default().push(set.keys.len());
                    }
                    set.keys.push(key);
                }
                Ok(_) => {}
                Err(why) if set.left_out.len() < MAX_WORDS => {
                    set.left_out.push(format!("keys[{i}] is left out: {why}"));
                }
                Err(_) => {}
            }
        }
        set.digest = digest.finalize().into();
        Ok(set)
    }

    /// How many keys are usable.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key is usable.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Of the usable keys: equal ones say the same of every token.
    pub fn digest(&self) -> &Fingerprint {
        &self.digest
    }

    /// Why keys of the set are not used; the first ten.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// The keys to try for a token: those with its key id, or all that fit when it names none.
    pub fn candidates(&self, id: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &Key> {
        let named = id.map(|id| self.by_id.get(id).map_or(&[][..], Vec::as_slice));
        let all = if named.is_none() { self.keys.as_slice() } else { &[] };
        let named = named.unwrap_or_default().iter().filter_map(|i| self.keys.get(*i));
        named.chain(all).filter(move |k| k.algorithms.contains(&algorithm)).take(MAX_TRIES)
    }

    /// Whether a key has this id.
    pub fn has(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    /// Whether this very key is in the set.
    pub fn has_key(&self, fingerprint: &Fingerprint) -> bool {
        self.fingerprints.contains(fingerprint)
    }
}

impl Key {
    /// Reads a JSON Web Key; the error is in words.
    fn read(json: &Value) -> Result<Self, &'static str> {
        if json.get("use").is_some_and(|u| u.as_str() != Some("sig")) {
            return Err("its `use` is not sig");
        }
        let verifies = |ops: &Value| {
            ops.as_array().is_some_and(|list| list.iter().any(|op| op.as_str() == Some("verify")))
        };
        if json.get("key_ops").is_some_and(|ops| !verifies(ops)) {
            return Err("its `key_ops` have no verify");
        }
        let jwk: Jwk = serde_json::from_value(json.clone())
            .map_err(|_| "it is no JSON Web Key of a type that is known (RFC 7517)")?;
        let mut algorithms = algorithms(&jwk.algorithm)?;
        if let Some(only) = json.get("alg") {
            algorithms.retain(|a| only.as_str() == Some(name(*a)));
            if algorithms.is_empty() {
                return Err("its `alg` is not supported, or not one of its type");
            }
        }
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| "it is broken")?;
        let fingerprint = fingerprint(json, &algorithms);
        Ok(Self { id: jwk.common.key_id, algorithms, key, fingerprint })
    }

    /// Whether `signature` (base64url) is this key's of `signed`.
    pub fn verifies(&self, signature: &str, signed: &[u8], algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
            && jsonwebtoken::crypto::verify(signature, signed, &self.key, algorithm)
                .unwrap_or(false)
    }

    /// What tells it from all other keys.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

/// What a key may be used with (RFC 7518 section 3), by its type and size.
fn algorithms(parameters: &AlgorithmParameters) -> Result<Vec<Algorithm>, &'static str> {
    use Algorithm::{
        ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512,
    };
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).map_or(0, |b| b.len());
    Ok(match parameters {
        AlgorithmParameters::RSA(p) => match bytes(&p.n) {
            256..=1025 => vec![RS256, RS384, RS512, PS256, PS384, PS512],
            _ => return Err("its modulus is not of 2048 to 8192 bits"),
        },
        AlgorithmParameters::EllipticCurve(p) => match p.curve {
            EllipticCurve::P256 => vec![ES256],
            EllipticCurve::P384 => vec![ES384],
            _ => return Err("its curve is not supported; P-256 and P-384 are"),
        },
        AlgorithmParameters::OctetKeyPair(p) => match p.curve {
            EllipticCurve::Ed25519 => vec![EdDSA],
            _ => return Err("its curve is not supported; Ed25519 is"),
        },
        AlgorithmParameters::OctetKey(p) => match bytes(&p.value) {
            0..32 => return Err("it is shorter than 32 bytes (RFC 7518 section 3.2)"),
            32..48 => vec![HS256],
            48..64 => vec![HS256, HS384],
            _ => vec![HS256, HS384, HS512],
        },
        _ => return Err("its type is not supported"),
    })
}

/// Of the fields that make the key; each with its length, so that none runs into the next.
fn fingerprint(json: &Value, algorithms: &[Algorithm]) -> Fingerprint {
    let mut hash = Sha256::new();
    let fields = ["kty", "kid", "crv", "n", "e", "x", "y", "k"];
    let values = fields.map(|f| json.get(f).and_then(Value::as_str).unwrap_or_default());
    for text in values.into_iter().chain(algorithms.iter().map(|a| name(*a))) {
        hash.update(text.len().to_be_bytes());
        hash.update(text);
    }
    hash.finalize().into()
}

/// The name of an algorithm in RFC 7518.
pub fn name(algorithm: Algorithm) -> &'static str {
    SUPPORTED.iter().find(|(_, a)| *a == algorithm).map_or("", |(name, _)| name)
}

/// The supported algorithms by name. Not ES512, ES256K and Ed448: the library has none of them.
pub const SUPPORTED: &[(&str, Algorithm)] = &[
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
    ("HS256", Algorithm::HS256),
    ("HS384", Algorithm::HS384),
    ("HS512", Algorithm::HS512),
];

#[cfg(test)]
#[path = "keys/tests.rs"]
mod tests;
