//! An identity provider that is played, as far as these tests need it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as B64};
use form_urlencoded::parse;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use crate::keys::KeySet;
use crate::need::{CallError, HttpAnswer, HttpCall};
use crate::provider::Provider;

pub(super) const ISSUER: &str = "http://idp.test";

struct Keys {
    key: EncodingKey,
    public: Arc<KeySet>,
    pub(super) pem: String,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der.as_ref())
    );
    let n = B64.encode(pair.public_key().modulus().big_endian_without_leading_zero());
    let e = B64.encode(pair.public_key().exponent().big_endian_without_leading_zero());
    let set = json!({"keys": [{"kty": "RSA", "kid": "k", "alg": "RS256", "n": n, "e": e}]});
    Keys {
        key: EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(),
        public: Arc::new(KeySet::from_json(&set).unwrap()),
        pem,
    }
});

pub(super) fn pem() -> &'static str {
    &KEYS.pem
}

pub(super) fn public_keys() -> Arc<KeySet> {
    KEYS.public.clone()
}

pub(super) fn sign(claims: &Json) -> String {
    let part = |json: &Json| B64.encode(json.to_string());
    let signed = format!("{}.{}", part(&json!({"alg": "RS256", "kid": "k"})), part(claims));
    let signature = crypto::sign(signed.as_bytes(), &KEYS.key, Algorithm::RS256).unwrap();
    format!("{signed}.{signature}")
}

/// In what providers differ.
pub(super) struct Manner {
    pub(super) issuer: &'static str,
    pub(super) authorize: &'static str,
    pub(super) token: &'static str,
    pub(super) userinfo: &'static str,
    pub(super) keys: &'static str,
    pub(super) end_session: Option<&'static str>,
    pub(super) client: &'static str,
    /// The client's secret comes in the form.
    pub(super) secret_in_form: bool,
    /// The scope that is granted, as the token endpoint tells it.
    pub(super) granted: fn(&str) -> String,
    /// Claims of an access token by the login's parameters and scope; none: it is opaque.
    pub(super) access: fn(&HashMap<String, String>, &str) -> Option<Json>,
    /// Whether there is a refresh token, by the login's parameters.
    pub(super) refreshes: fn(&HashMap<String, String>) -> bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            issuer: ISSUER,
            authorize: "http://idp.test/auth",
            token: "http://idp.test/token",
            userinfo: "http://idp.test/userinfo",
            keys: "http://idp.test/keys",
            end_session: Some("http://idp.test/bye"),
            client: "cl",
            secret_in_form: false,
            granted: str::to_owned,
            access: |_, _| Some(json!({})),
            refreshes: |_| true,
        }
    }
}

/// A login at the provider that waits for its code to be shown.
pub(super) struct Code {
    query: HashMap<String, String>,
}

/// The identity provider.
pub(super) struct Idp {
    pub(super) manner: Manner,
    pub(super) down: bool,
    /// Only its token endpoint.
    pub(super) tokens_down: bool,
    /// Seconds.
    pub(super) life: u64,
    /// Access tokens are JWTs.
    pub(super) jwt: bool,
    pub(super) end_session: bool,
    pub(super) refresh_tokens: bool,
    /// What is never granted.
    pub(super) never: Vec<String>,
    /// What of the ID token is other than it should be.
    pub(super) id_claims: Json,
    pub(super) id_token: bool,
    /// Status of the userinfo endpoint.
    pub(super) userinfo: u16,
    /// Calls of the token endpoint: `Authorization` and form.
    pub(super) calls: Vec<(Option<String>, HashMap<String, String>)>,
    pub(super) userinfo_calls: usize,
    codes: HashMap<String, Code>,
    /// The only refresh token that is good: they rotate.
    pub(super) refresh_token: String,
    count: usize,
}

impl Default for Idp {
    fn default() -> Self {
        Self {
            manner: Manner::default(),
            down: false,
            tokens_down: false,
            life: 300,
            jwt: true,
            end_session: true,
            refresh_tokens: true,
            never: Vec::new(),
            id_claims: json!({}),
            id_token: true,
            userinfo: 200,
            calls: Vec::new(),
            userinfo_calls: 0,
            codes: HashMap::new(),
            refresh_token: String::new(),
            count: 0,
        }
    }
}

impl Idp {
    /// A user logs in; where the browser goes then.
    pub(super) fn authorize(&mut self, url: &str) -> String {
        let query: HashMap<String, String> = query(url);
        assert_eq!(query["response_type"], "code");
        self.count += 1;
        let code = format!("code-{}", self.count);
        let back = query["redirect_uri"].clone();
        let state = query["state"].clone();
        self.codes.insert(code.clone(), Code { query });
        format!("{back}?code={code}&state={state}")
    }

    pub(super) fn provider(&self) -> Provider {
        let manner = &self.manner;
        Provider {
            issuer: manner.issuer.to_owned(),
            authorization_endpoint: Some(manner.authorize.to_owned()),
            token_endpoint: Some(manner.token.to_owned()),
            userinfo_endpoint: Some(manner.userinfo.to_owned()),
            jwks_uri: Some(manner.keys.to_owned()),
            end_session_endpoint: manner
                .end_session
                .filter(|_| self.end_session)
                .map(str::to_owned),
            introspection_endpoint: None,
        }
    }

    pub(super) fn http(&mut self, call: &HttpCall, now: u64) -> Result<HttpAnswer, CallError> {
        if self.down {
            return Err(CallError::Unavailable);
        }
        let header =
            |name: &str| call.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        match call.url.as_str() {
            url if url == self.manner.token && self.tokens_down => {
                Ok(HttpAnswer { status: 503, ..HttpAnswer::default() })
            }
            url if url == self.manner.token => {
                let form: HashMap<String, String> = parse(&call.body).into_owned().collect();
                self.calls.push((header("authorization"), form.clone()));
                let (status, body) = self.token(&form, now);
                Ok(HttpAnswer { status, headers: vec![], body: body.to_string().into_bytes() })
            }
            url if url == self.manner.userinfo => {
                self.userinfo_calls += 1;
                Ok(HttpAnswer { status: self.userinfo, ..HttpAnswer::default() })
            }
            _ => panic!("{}", call.url),
        }
    }

    fn token(&mut self, form: &HashMap<String, String>, now: u64) -> (u16, Json) {
        let invalid = (400, json!({"error": "invalid_grant"}));
        match form["grant_type"].as_str() {
            "authorization_code" => {
                let Some(code) = self.codes.remove(&form["code"]) else { return invalid };
                let query = code.query;
                assert_eq!(form["redirect_uri"], query["redirect_uri"]);
                assert_eq!(form.contains_key("client_secret"), self.manner.secret_in_form);
                if let Some(challenge) = query.get("code_challenge") {
                    let verifier = form.get("code_verifier").map(Sha256::digest);
                    if verifier.map(|v| B64.encode(v)).as_ref() != Some(challenge) {
                        return invalid;
                    }
                }
                (200, self.grant(&query["scope"], &query, now))
            }
            "refresh_token" if form["refresh_token"] == self.refresh_token => {
                let mut answer = self.grant("", &HashMap::new(), now);
                let map = answer.as_object_mut().unwrap();
                map.remove("scope");
                map.remove("id_token");
                (200, answer)
            }
            "refresh_token" => invalid,
            "password" if form["password"] != "right" => invalid,
            _ => {
                let scope = form.get("scope").cloned().unwrap_or_default();
                (200, self.grant(&scope, &HashMap::new(), now))
            }
        }
    }

    /// Tokens for a login with these parameters.
    fn grant(&mut self, scope: &str, login: &HashMap<String, String>, now: u64) -> Json {
        self.count += 1;
        let (count, issuer) = (self.count, self.manner.issuer);
        let scope: Vec<&str> =
            scope.split(' ').filter(|s| !self.never.iter().any(|n| n == s)).collect();
        let scope = scope.join(" ");
        let own = (self.manner.access)(login, &scope).filter(|_| self.jwt);
        let access = own.map_or_else(
            || format!("opaque-{count}"),
            |own| {
                let usual =
                    json!({"iss": issuer, "sub": "ann", "exp": now + self.life, "n": count});
                sign(&with(usual, &own))
            },
        );
        let mut answer = json!({
            "access_token": access, "token_type": "Bearer", "expires_in": self.life,
            "scope": (self.manner.granted)(&scope),
        });
        if self.refresh_tokens && (self.manner.refreshes)(login) {
            self.refresh_token = format!("refresh-{count}");
            answer["refresh_token"] = self.refresh_token.clone().into();
        }
        if self.id_token {
            let mut claims = json!({"iss": issuer, "aud": self.manner.client, "sub": "ann",
                "exp": now + 300, "iat": now, "name": "Ann"});
            if let Some(nonce) = login.get("nonce") {
                claims["nonce"] = nonce.clone().into();
            }
            answer["id_token"] = sign(&with(claims, &self.id_claims)).into();
        }
        answer
    }
}

fn with(mut claims: Json, more: &Json) -> Json {
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    claims
}

pub(super) fn query(url: &str) -> HashMap<String, String> {
    let text = url.split_once('?').map_or("", |(_, q)| q);
    parse(text.as_bytes()).into_owned().collect()
}
