//! An identity provider, a store and browsers, as far as these tests need them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as B64};
use form_urlencoded::parse;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest, attribute_context};
use serde_json::{Value as Json, json};
use service_kit::Object;
use sha2::{Digest as _, Sha256};

use crate::keys::KeySet;
use crate::need::{
    Answer, CallError, Document, DocumentKind, HttpAnswer, HttpCall, Need, StoreAnswer,
    StoreCommand, StoreError,
};
use crate::provider::Provider;
use crate::{Flow, Mutations, Outcome, Reply, Request, Settings, Snapshot, Step, compile};

pub(super) const NOW: u64 = 1_800_000_000;
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

    fn provider(&self) -> Provider {
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

    fn http(&mut self, call: &HttpCall, now: u64) -> Result<HttpAnswer, CallError> {
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

/// Everything outside of the filter.
pub(super) struct World {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) found: Vec<String>,
    pub(super) now: u64,
    pub(super) idp: Idp,
    pub(super) store: BTreeMap<String, (Vec<u8>, u64)>,
    pub(super) store_down: bool,
    pub(super) commands: usize,
    random: u64,
}

impl World {
    /// A filter `o.ns`: `change` is put over its usual fields; `arguments` of the only rule.
    pub(super) fn new(change: Json, arguments: Json) -> Self {
        let mut spec = json!({"authorizationURL": ISSUER, "clientID": "cl", "secret": "s3",
            "protectedOrigins": [{"origin": "https://a.test"}]});
        for (name, value) in change.as_object().unwrap() {
            spec[name] = value.clone();
        }
        spec.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let rules = json!([{"filters": [{"name": "o", "arguments": arguments}]}]);
        Self::of(&[("o", json!({"OAuth2": spec}))], &rules)
    }

    pub(super) fn of(filters: &[(&str, Json)], rules: &Json) -> Self {
        let object = |kind: &str, name: &str, spec: &Json| {
            Object::from_json(json!({"apiVersion": "getambassador.io/v3alpha1", "kind": kind,
                "metadata": {"name": name, "namespace": "ns"}, "spec": spec}))
            .unwrap()
        };
        let mut objects: Vec<Object> =
            filters.iter().map(|(name, spec)| object("Filter", name, spec)).collect();
        objects.push(object("FilterPolicy", "p", &json!({"rules": rules})));
        Self::of_objects(&objects)
    }

    pub(super) fn of_objects(objects: &[Object]) -> Self {
        let compiled = compile(objects.iter(), &Settings::default());
        Self {
            snapshot: Arc::new(compiled.snapshot),
            found: compiled.found.iter().map(ToString::to_string).collect(),
            now: NOW,
            idp: Idp::default(),
            store: BTreeMap::new(),
            store_down: false,
            commands: 0,
            random: 0,
        }
    }

    pub(super) fn flow(&self, request: Request) -> Flow {
        Flow::new(self.snapshot.clone(), request, Duration::from_secs(self.now))
    }

    /// Runs a request to its end.
    pub(super) fn run(&mut self, request: Request) -> Outcome {
        let mut flow = self.flow(request);
        loop {
            match flow.step(&()) {
                Step::Done(outcome) => return outcome,
                Step::Need(need) => flow.answer(self.perform(&need)),
            }
        }
    }

    pub(super) fn perform(&mut self, need: &Need) -> Answer {
        match need {
            Need::Random => {
                self.random += 1;
                Answer::Random(Sha256::digest(self.random.to_be_bytes()).into())
            }
            Need::Wait(_) => Answer::Waited,
            Need::Document(fetch) => Answer::Document(match fetch.what {
                _ if self.idp.down => Err(CallError::Unavailable),
                DocumentKind::KeySet => {
                    assert_eq!(&*fetch.url, self.idp.manner.keys);
                    Ok(Document::KeySet(public_keys()))
                }
                DocumentKind::Provider => {
                    let issuer = self.idp.manner.issuer.trim_end_matches('/');
                    assert_eq!(*fetch.url, format!("{issuer}/.well-known/openid-configuration"));
                    Ok(Document::Provider(Arc::new(self.idp.provider())))
                }
            }),
            Need::Http(call) => Answer::Http(self.idp.http(call, self.now).map(Arc::new)),
            Need::Store(command) => {
                self.commands += 1;
                Answer::Store(if self.store_down {
                    Err(StoreError)
                } else {
                    Ok(self.command(command.clone()))
                })
            }
            other => panic!("{other}"),
        }
    }

    fn command(&mut self, command: StoreCommand) -> StoreAnswer {
        let now = self.now;
        self.store.retain(|_, (_, end)| *end > now);
        match command {
            StoreCommand::Get(key) => StoreAnswer::Value(self.store.get(&key).map(|v| v.0.clone())),
            StoreCommand::Take(key) => StoreAnswer::Value(self.store.remove(&key).map(|v| v.0)),
            StoreCommand::Set(key, value, life) => {
                self.store.insert(key, (value, now + life.as_secs()));
                StoreAnswer::Done
            }
            StoreCommand::Add(key, ..) if self.store.contains_key(&key) => StoreAnswer::Exists,
            StoreCommand::Add(key, value, life) => {
                self.store.insert(key, (value, now + life.as_secs()));
                StoreAnswer::Done
            }
            StoreCommand::Delete(key) => {
                self.store.remove(&key);
                StoreAnswer::Done
            }
            StoreCommand::DeleteIf(key, value) => {
                if self.store.get(&key).is_some_and(|v| v.0 == value) {
                    self.store.remove(&key);
                }
                StoreAnswer::Done
            }
        }
    }

    /// Values of a kind in the store.
    pub(super) fn stored(&self, kind: &str) -> usize {
        let prefix = format!("oauth2/{kind}/");
        self.store.iter().filter(|(k, v)| k.starts_with(&prefix) && v.1 > self.now).count()
    }
}

/// What of a request matters here.
pub(super) struct Ask<'a> {
    pub(super) method: &'a str,
    pub(super) url: &'a str,
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a str,
}

pub(super) fn request(ask: &Ask<'_>) -> Request {
    let (scheme, rest) = ask.url.split_once("://").unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut headers: HashMap<String, String> =
        ask.headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    headers.insert("x-forwarded-proto".to_owned(), scheme.to_owned());
    let http = attribute_context::HttpRequest {
        method: ask.method.to_owned(),
        host: host.to_owned(),
        path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
        headers: headers.into_iter().collect(),
        body: ask.body.to_owned(),
        ..Default::default()
    };
    let request = attribute_context::Request { http: Some(http), time: None };
    let attributes = AttributeContext { request: Some(request), ..Default::default() };
    Request::from_check(CheckRequest { attributes: Some(attributes) }).unwrap()
}

/// A browser: keeps cookies by host, and follows redirects.
#[derive(Clone, Default)]
pub(super) struct Browser {
    pub(super) jar: HashMap<String, BTreeMap<String, String>>,
    /// `Set-Cookie` of the last answer.
    pub(super) set: Vec<String>,
    /// URLs that it went to.
    pub(super) way: Vec<String>,
}

/// What a browser got.
#[derive(Debug)]
pub(super) enum Got {
    Allowed(Box<Mutations>),
    Reply(Reply),
}

impl Got {
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Allowed(_) => 200,
            Self::Reply(reply) => reply.status,
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        match self {
            Self::Allowed(m) => m.set.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()),
            Self::Reply(r) => r.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()),
        }
    }

    pub(super) fn location(&self) -> &str {
        self.header("location").unwrap_or_else(|| panic!("{self:?}"))
    }
}

pub(super) fn host(url: &str) -> String {
    url.split("://").nth(1).unwrap().split(['/', '?']).next().unwrap().to_owned()
}

impl Browser {
    pub(super) fn cookies(&self, url: &str) -> String {
        let jar = self.jar.get(&host(url));
        let pairs = jar.into_iter().flatten().map(|(k, v)| format!("{k}={v}"));
        pairs.collect::<Vec<_>>().join("; ")
    }

    pub(super) fn cookie(&self, url: &str, name: &str) -> Option<String> {
        self.jar.get(&host(url))?.get(name).cloned()
    }

    /// One request; cookies are kept.
    pub(super) fn ask(&mut self, world: &mut World, ask: &Ask<'_>) -> Got {
        let request = self.request(ask);
        let outcome = world.run(request);
        self.take(ask.url, outcome)
    }

    pub(super) fn request(&self, ask: &Ask<'_>) -> Request {
        let cookies = self.cookies(ask.url);
        let mut headers = vec![("accept", "text/html,*/*;q=0.8")];
        headers.extend((!cookies.is_empty()).then_some(("cookie", cookies.as_str())));
        headers.extend_from_slice(ask.headers);
        request(&Ask { headers: &headers, ..*ask })
    }

    pub(super) fn take(&mut self, url: &str, outcome: Outcome) -> Got {
        self.way.push(url.to_owned());
        let (got, set): (Got, Vec<String>) = match outcome {
            Outcome::Allow(m) => {
                let set = m.response_headers.iter().map(|h| h.value.clone()).collect();
                (Got::Allowed(m), set)
            }
            Outcome::Deny(r) | Outcome::Error(r) => {
                let cookies = r.headers.iter().filter(|(n, _)| n == "set-cookie");
                let set = cookies.map(|(_, v)| v.clone()).collect();
                (Got::Reply(r), set)
            }
        };
        let jar = self.jar.entry(host(url)).or_default();
        for cookie in &set {
            let (name, rest) = cookie.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if value.is_empty() {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
        self.set = set;
        got
    }

    pub(super) fn get(&mut self, world: &mut World, url: &str) -> Got {
        self.ask(world, &Ask { method: "GET", url, headers: &[], body: "" })
    }

    /// Follows redirects, through the provider, too; at most 20.
    pub(super) fn follow(&mut self, world: &mut World, url: &str) -> Got {
        let mut url = url.to_owned();
        for _ in 0..20 {
            if url.starts_with(world.idp.manner.authorize) {
                url = world.idp.authorize(&url);
            }
            let got = self.get(world, &url);
            match got.header("location") {
                Some(location) => url = location.to_owned(),
                None => return got,
            }
        }
        panic!("no end of redirects: {:?}", self.way);
    }
}
