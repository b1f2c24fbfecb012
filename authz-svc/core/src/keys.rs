//! JSON Web Key Sets (RFC 7517).

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

/// Longest text of a key set, in bytes.
pub const MAX_LEN: usize = 1 << 20;
/// Most keys of a set.
const MAX_KEYS: usize = 1_000;
/// Most keys tried for a token that names none.
const MAX_TRIES: usize = 16;

/// The usable keys of a set.
#[derive(Clone, Debug, Default)]
pub struct KeySet(Vec<Key>);

#[derive(Clone, Debug)]
struct Key {
    id: Option<String>,
    /// The algorithms it may be used with.
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl KeySet {
    /// Reads a key set. A key of an unknown type, for encryption, or that is broken is left out.
    ///
    /// # Errors
    /// In words, when it is no key set or longer than 1 MiB.
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
    /// In words, when it is no key set.
    pub fn from_json(json: &Value) -> Result<Self, String> {
        let keys = json
            .get("keys")
            .and_then(Value::as_array)
            .ok_or("a key set is a JSON object with a list `keys`")?;
        Ok(Self(keys.iter().take(MAX_KEYS).filter_map(Key::read).collect()))
    }

    /// How many keys are usable.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no key is usable.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys to try for a token: those with its key id, or all that fit when it names none.
    pub fn candidates<'a>(
        &'a self,
        id: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a DecodingKey> {
        self.0
            .iter()
            .filter(move |k| id.is_none_or(|id| k.id.as_deref() == Some(id)))
            .filter(move |k| k.algorithms.contains(&algorithm))
            .map(|k| &k.key)
            .take(MAX_TRIES)
    }

    /// Whether a key has this id.
    pub fn has(&self, id: &str) -> bool {
        self.0.iter().any(|k| k.id.as_deref() == Some(id))
    }
}

impl Key {
    fn read(json: &Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(json.clone()).ok()?;
        if jwk.common.public_key_use == Some(PublicKeyUse::Encryption) {
            return None;
        }
        let mut algorithms = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => vec![
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            AlgorithmParameters::EllipticCurve(p) if p.curve == EllipticCurve::P256 => {
                vec![Algorithm::ES256]
            }
            AlgorithmParameters::EllipticCurve(p) if p.curve == EllipticCurve::P384 => {
                vec![Algorithm::ES384]
            }
            AlgorithmParameters::OctetKeyPair(p) if p.curve == EllipticCurve::Ed25519 => {
                vec![Algorithm::EdDSA]
            }
            AlgorithmParameters::OctetKey(_) => {
                vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512]
            }
            _ => return None,
        };
        if let Some(only) = json.get("alg").and_then(Value::as_str) {
            algorithms.retain(|a| name(*a) == only);
        }
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Self { id: jwk.common.key_id, algorithms, key })
    }
}

/// The name of an algorithm in RFC 7518.
pub fn name(algorithm: Algorithm) -> &'static str {
    SUPPORTED.iter().find(|(_, a)| *a == algorithm).map_or("", |(name, _)| name)
}

/// The supported algorithms by name.
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
