//! How this client proves to the identity provider who it is (RFC 6749 section 2.3, RFC 7523).

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use form_urlencoded::byte_serialize;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Map, Value as Json, json};
use service_kit::Secret;

use super::spec::JwtAssertion;
use crate::keys::{SUPPORTED, name};

/// Of an assertion, when nothing is said.
const LIFETIME: Duration = Duration::from_secs(60);
/// Claims that are this program's.
const OWN_CLAIMS: &[&str] = &["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];
/// `client_assertion_type`.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// This program, as the identity provider knows it.
#[derive(Debug)]
pub(super) struct Client {
    id: String,
    secret: Secret<Vec<u8>>,
    method: Method,
}

/// How it proves who it is.
#[derive(Debug)]
pub(super) enum Method {
    /// By `Authorization: Basic`.
    Header,
    /// By `client_id` and `client_secret`.
    Body,
    /// By a token that is signed here.
    Assertion(Box<Assertion>),
    /// By a token that the request brings.
    Given {
        /// `client_id` is sent besides.
        set_client_id: bool,
    },
}

/// What of a call to the token endpoint says who calls.
#[derive(Default)]
pub(super) struct Proof {
    /// `Authorization`.
    pub(super) header: Option<String>,
    /// Parameters of the form.
    pub(super) form: Vec<(&'static str, String)>,
}

impl Client {
    pub(super) fn new(id: String, secret: Secret<Vec<u8>>, method: Method) -> Self {
        Self { id, secret, method }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    pub(super) fn secret(&self) -> &[u8] {
        self.secret.expose()
    }

    /// Whether a proof needs random bytes.
    pub(super) fn needs_random(&self) -> bool {
        matches!(self.method, Method::Assertion(_))
    }

    /// A proof for the token endpoint at `endpoint`; none when it cannot be made.
    pub(super) fn proof(&self, endpoint: &str, now: Duration, random: &[u8; 32]) -> Option<Proof> {
        let secret = String::from_utf8_lossy(self.secret.expose());
        match &self.method {
            Method::Header => Some(by_header(&self.id, &secret)),
            Method::Body => Some(by_body(&self.id, &secret)),
            Method::Assertion(assertion) => {
                let token = assertion.sign(&self.id, endpoint, now, random)?;
                Some(by_assertion(token, assertion.set_client_id.then(|| self.id.clone())))
            }
            Method::Given { .. } => None,
        }
    }
}

/// Id and secret are form-encoded first (RFC 6749 section 2.3.1).
pub(super) fn by_header(id: &str, secret: &str) -> Proof {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(id), encoded(secret));
    Proof { header: Some(format!("Basic {}", STANDARD.encode(pair))), form: Vec::new() }
}

pub(super) fn by_body(id: &str, secret: &str) -> Proof {
    let form = vec![("client_id", id.to_owned()), ("client_secret", secret.to_owned())];
    Proof { header: None, form }
}

pub(super) fn by_assertion(token: String, id: Option<String>) -> Proof {
    let mut form =
        vec![("client_assertion_type", ASSERTION_TYPE.to_owned()), ("client_assertion", token)];
    form.extend(id.map(|id| ("client_id", id)));
    Proof { header: None, form }
}

/// Makes tokens that say who this client is.
pub(super) struct Assertion {
    set_client_id: bool,
    audience: Option<String>,
    algorithm: Algorithm,
    /// None while it is not known.
    key: Option<EncodingKey>,
    lifetime: Duration,
    /// How long ago `nbf` is.
    not_before: Option<Duration>,
    issued_at: bool,
    claims: Map<String, Json>,
    header: Map<String, Json>,
}

/// Without the key.
impl fmt::Debug for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assertion").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl Assertion {
    /// Without a key it cannot sign.
    ///
    /// # Errors
    /// The field that is wrong (`key` for the key), and why.
    pub(super) fn new(
        settings: &JwtAssertion,
        key: Option<&Secret<Vec<u8>>>,
    ) -> Result<Self, (&'static str, String)> {
        let method = settings.signing_method.as_deref().unwrap_or("RS256");
        let algorithm = SUPPORTED.iter().find(|(n, _)| *n == method).map(|(_, a)| *a);
        let algorithm = algorithm.filter(|a| *a != Algorithm::EdDSA).ok_or_else(|| {
            (
                "signingMethod",
                format!("`{method}` is not one of RS, PS, HS 256·384·512, ES256, ES384"),
            )
        })?;
        let claims = settings.other_claims.clone().unwrap_or_default();
        if let Some(own) = claims.keys().find(|k| OWN_CLAIMS.contains(&k.as_str())) {
            return Err(("otherClaims", format!("`{own}` is not the user's to set here")));
        }
        let header = settings.other_header_parameters.clone().unwrap_or_default();
        if let Some(own) = header.keys().find(|k| ["alg", "crit", "b64"].contains(&k.as_str())) {
            return Err(("otherHeaderParameters", format!("`{own}` is not the user's to set")));
        }
        let key = key.map(|key| encoding_key(algorithm, key.expose())).transpose()?;
        let lifetime = Some(settings.lifetime).filter(|l| !l.is_zero());
        let assertion = Self {
            set_client_id: settings.set_client_id == Some(true),
            audience: settings.audience.clone(),
            algorithm,
            key,
            lifetime: lifetime.unwrap_or(LIFETIME),
            not_before: (settings.set_nbf == Some(true)).then_some(settings.nbf_safety_margin),
            issued_at: settings.set_iat == Some(true),
            claims: claims.into_iter().collect(),
            header: header.into_iter().collect(),
        };
        if assertion.key.is_some() && assertion.sign("", "", Duration::ZERO, &[0; 32]).is_none() {
            return Err(("key", format!("the key cannot sign {method}")));
        }
        Ok(assertion)
    }

    /// The token.
    fn sign(&self, id: &str, endpoint: &str, now: Duration, random: &[u8; 32]) -> Option<String> {
        let mut header = self.header.clone();
        header.entry("typ").or_insert_with(|| "JWT".into());
        header.insert("alg".to_owned(), name(self.algorithm).into());
        let mut claims = self.claims.clone();
        let audience = self.audience.as_deref().unwrap_or(endpoint);
        let own = json!({
            "iss": id, "sub": id, "aud": audience,
            "exp": now.saturating_add(self.lifetime).as_secs(),
            "jti": URL_SAFE_NO_PAD.encode(random),
        });
        claims.extend(own.as_object().cloned().unwrap_or_default());
        if let Some(margin) = self.not_before {
            claims.insert("nbf".to_owned(), now.saturating_sub(margin).as_secs().into());
        }
        if self.issued_at {
            claims.insert("iat".to_owned(), now.as_secs().into());
        }
        let part = |map| URL_SAFE_NO_PAD.encode(Json::Object(map).to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = crypto::sign(signed.as_bytes(), self.key.as_ref()?, self.algorithm).ok()?;
        Some(format!("{signed}.{signature}"))
    }
}

fn encoding_key(algorithm: Algorithm, key: &[u8]) -> Result<EncodingKey, (&'static str, String)> {
    use Algorithm::{ES256, ES384, HS256, HS384, HS512};
    let wrong = |what: &str| ("key", format!("the client's secret is no {what}"));
    match algorithm {
        HS256 | HS384 | HS512 => Ok(EncodingKey::from_secret(key)),
        ES256 | ES384 => EncodingKey::from_ec_pem(key)
            .map_err(|_| wrong("private key of an elliptic curve in PEM (PKCS #8)")),
        _ => EncodingKey::from_rsa_pem(key).map_err(|_| wrong("private RSA key in PEM")),
    }
}
