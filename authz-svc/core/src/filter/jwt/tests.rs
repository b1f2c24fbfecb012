use jsonwebtoken::{EncodingKey, crypto};
use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest, attribute_context};
use serde_json::{Value as Json, json};
use service_kit::Object;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;

use super::*;
use crate::need::{Answer, AtHand, CallError, Document, Need};
use crate::{Flow, Mutations, Outcome, Request, Settings, Snapshot, Step, compile};

use std::cell::RefCell;
use std::time::Duration;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: u64 = 1_800_000_000;

fn keys(secrets: &[(&str, &[u8])]) -> Arc<KeySet> {
    let keys: Vec<Json> = secrets
        .iter()
        .map(|(kid, k)| json!({"kty": "oct", "kid": kid, "k": B64.encode(k)}))
        .collect();
    Arc::new(KeySet::from_json(&json!({"keys": keys})).unwrap())
}

fn raw_token(header: &str, claims: &str, secret: &[u8]) -> String {
    let signed = format!("{}.{}", B64.encode(header), B64.encode(claims));
    let key = EncodingKey::from_secret(secret);
    let signature = crypto::sign(signed.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{signed}.{signature}")
}

fn token(kid: &str, claims: &Json) -> String {
    raw_token(&json!({"alg": "HS256", "kid": kid}).to_string(), &claims.to_string(), SECRET)
}

/// A key server that answers at once and counts.
struct Server {
    keys: Result<Arc<KeySet>, CallError>,
    refreshes: RefCell<usize>,
}

impl AtHand for Server {
    fn answer(&self, need: &Need) -> Option<Answer> {
        let Need::Document(fetch) = need else { panic!("{need}") };
        *self.refreshes.borrow_mut() += usize::from(fetch.refresh);
        Some(Answer::Document(self.keys.clone().map(Document::KeySet)))
    }
}

fn server(secrets: &[(&str, &[u8])]) -> Server {
    Server { keys: Ok(keys(secrets)), refreshes: RefCell::default() }
}

struct Setting {
    snapshot: Arc<Snapshot>,
    cache: TokenCache,
}

impl Setting {
    fn new(jwt: Json) -> Self {
        let mut spec = json!({"jwksURI": "https://idp.test/keys"});
        spec.as_object_mut().unwrap().extend(jwt.as_object().unwrap().clone());
        let object = |kind: &str, spec: Json| {
            Object::from_json(json!({"apiVersion": "getambassador.io/v3alpha1", "kind": kind,
                "metadata": {"name": "j", "namespace": "ns"}, "spec": spec}))
            .unwrap()
        };
        let objects = [
            object("Filter", json!({"JWT": spec})),
            object("FilterPolicy", json!({"rules": [{"filters": [{"name": "j"}]}]})),
        ];
        let cache = TokenCache::new(100);
        let settings = Settings { token_cache: cache.clone(), ..Settings::default() };
        let compiled = compile(&objects, &settings);
        assert!(compiled.found.is_empty(), "{:?}", compiled.found);
        Self { snapshot: Arc::new(compiled.snapshot), cache }
    }

    fn ask(&self, server: &Server, token: &str, now: u64) -> Result<Mutations, Reply> {
        let headers = [("authorization".to_owned(), format!("Bearer {token}"))].into();
        let http = attribute_context::HttpRequest { headers, ..Default::default() };
        let request = attribute_context::Request { http: Some(http), time: None };
        let attributes = AttributeContext { request: Some(request), ..Default::default() };
        let request = Request::from_check(CheckRequest { attributes: Some(attributes) }).unwrap();
        match Flow::new(self.snapshot.clone(), request, Duration::from_secs(now)).step(server) {
            Step::Done(Outcome::Allow(mutations)) => Ok(*mutations),
            Step::Done(Outcome::Deny(reply) | Outcome::Error(reply)) => Err(reply),
            Step::Need(need) => panic!("{need}"),
        }
    }

    fn status(&self, server: &Server, token: &str, now: u64) -> u16 {
        self.ask(server, token, now).map_or_else(|reply| reply.status, |_| 200)
    }
}

#[test]
fn a_token_is_verified_once_and_judged_each_time() {
    let setting = Setting::new(json!({"audience": "shop", "leewayForExpiresAt": "5s"}));
    let server = server(&[("k", SECRET)]);
    let good = token("k", &json!({"sub": "ann", "aud": "shop", "exp": NOW + 100}));
    assert_eq!(setting.status(&server, &good, NOW), 200);
    assert_eq!(setting.status(&server, &good, NOW + 50), 200);
    assert_eq!(setting.cache.counts(), (1, 1));
    assert_eq!(setting.status(&server, &good, NOW + 104), 200, "within the leeway");
    assert_eq!(setting.cache.counts(), (2, 1));
    assert_eq!(setting.status(&server, &good, NOW + 105), 401, "expired, though remembered");
    let other = token("k", &json!({"sub": "ann", "aud": "blog"}));
    assert_eq!(setting.status(&server, &other, NOW), 401);
    assert_eq!(setting.status(&server, &other, NOW), 401, "a remembered one is for others, too");
}

#[test]
fn a_remembered_token_ends_with_its_key() {
    let setting = Setting::new(json!({}));
    let endless = token("k", &json!({"sub": "ann"}));
    assert_eq!(setting.status(&server(&[("k", SECRET)]), &endless, NOW), 200);
    let another: &[u8] = b"another key of thirty two bytes!";
    assert_eq!(setting.status(&server(&[("l", another)]), &endless, NOW), 401, "gone");
    assert_eq!(setting.status(&server(&[("l", SECRET)]), &endless, NOW), 401, "renamed");
    assert_eq!(setting.status(&server(&[("k", another)]), &endless, NOW), 401, "replaced");
    let both = server(&[("l", another), ("k", SECRET)]);
    assert_eq!(setting.status(&both, &endless, NOW), 200, "one key more");
    let down = Server { keys: Err(CallError::Unavailable), refreshes: RefCell::default() };
    assert_eq!(setting.status(&down, &endless, NOW), 500, "no keys, no tokens");
}

#[test]
fn a_remembered_token_counts_only_where_its_algorithm_does() {
    let wide = Setting::new(json!({}));
    let good = token("k", &json!({}));
    assert_eq!(wide.status(&server(&[("k", SECRET)]), &good, NOW), 200);
    let narrow = Setting::new(json!({"validAlgorithms": ["RS256"]}));
    let id = narrow.cache.id(&good).unwrap();
    let Some(Known::Good(verified)) = wide.cache.get(&id, Duration::from_secs(NOW)) else {
        panic!("not remembered")
    };
    narrow.cache.put(id, &verified, Duration::ZERO, Duration::from_secs(NOW));
    assert_eq!(narrow.status(&server(&[("k", SECRET)]), &good, NOW), 401);
}

#[test]
fn a_bad_signature_is_remembered_for_these_keys_only() {
    let setting = Setting::new(json!({}));
    let other: &[u8] = b"another key of thirty two bytes!";
    let text = token("k", &json!({}));
    assert_eq!(setting.status(&server(&[("k", other)]), &text, NOW), 401);
    assert_eq!(setting.cache.counts(), (0, 1));
    let reply = setting.ask(&server(&[("k", other)]), &text, NOW + 9).unwrap_err();
    assert!(reply.body.contains("the signature is not valid"));
    assert_eq!(setting.cache.counts(), (1, 1));
    assert_eq!(setting.status(&server(&[("k", SECRET)]), &text, NOW + 9), 200, "the right key");
}

#[test]
fn an_unknown_key_id_is_asked_for_a_while_and_then_no_more() {
    let setting = Setting::new(json!({}));
    let server = server(&[("k", SECRET)]);
    let text = token("strange", &json!({}));
    for now in [NOW, NOW + 5, NOW + 11, NOW + 12, NOW + 30, NOW + 59] {
        assert_eq!(setting.status(&server, &text, now), 401);
    }
    assert_eq!(*server.refreshes.borrow(), 3);
    assert_eq!(setting.status(&server, &text, NOW + 60), 401);
    assert_eq!(*server.refreshes.borrow(), 4, "once in a while it is asked for anew");
    let bad = raw_token(r#"{"alg":"HS256","kid":"k"}"#, "{}", b"x");
    assert_eq!(setting.status(&server, &bad, NOW), 401);
    assert_eq!(*server.refreshes.borrow(), 4, "a bad signature fetches nothing");
}

#[test]
fn what_can_be_read_in_two_ways_is_no_token() {
    let setting = Setting::new(json!({}));
    let server = server(&[("k", SECRET)]);
    for (header, claims, words) in [
        (r#"{"alg":"HS256","alg":"none"}"#, "{}", "not a JWT"),
        (r#"{"alg":"HS256"}"#, r#"{"sub":"a","sub":"b"}"#, "not a JWT"),
        (r#"{"alg":"HS256"}"#, r#"{"x":[{"a":1,"\u0061":2}]}"#, "not a JWT"),
        (r#"{"alg":"HS256","kid":7}"#, "{}", "not a JWT"),
        (r#"{"alg":"HS256","crit":["exp"]}"#, "{}", "not understood"),
        (r#"{"alg":"none"}"#, "{}", "unsigned tokens are not accepted"),
        (r#"{"alg":"None"}"#, "{}", "algorithm is not accepted"),
        (r#"{"alg":"hs256"}"#, "{}", "algorithm is not accepted"),
        (r#"{"alg":"RS256"}"#, "{}", "no key fits"),
        (r#"{"alg":"HS256"}"#, "[]", "not a JWT"),
        (r#"{"alg":"HS256"}"#, r#"{"exp":1e400}"#, "not a JWT"),
        (r#"{"alg":"HS256"}"#, r#"{"exp":"9999999999"}"#, "no valid exp"),
    ] {
        let reply = setting.ask(&server, &raw_token(header, claims, SECRET), NOW).unwrap_err();
        assert_eq!(reply.status, 401, "{header} {claims}");
        assert!(reply.body.contains(words), "{header} {claims}: {}", reply.body);
    }
    let long = token("k", &json!({"x": "y".repeat(20_000)}));
    assert!(setting.ask(&server, &long, NOW).unwrap_err().body.contains("16 KiB"));
    let nested = raw_token(r#"{"alg":"HS256"}"#, &"[".repeat(5_000), SECRET);
    assert_eq!(setting.status(&server, &nested, NOW), 401);
}

#[test]
fn the_header_can_be_stripped_and_replaced() {
    let server = server(&[("k", SECRET)]);
    let text = token("k", &json!({"sub": "ann"}));
    let kept = Setting::new(json!({})).ask(&server, &text, NOW).unwrap();
    assert!(kept.remove.is_empty());
    let stripped = Setting::new(json!({"stripAuthorization": true}));
    assert_eq!(stripped.ask(&server, &text, NOW).unwrap().remove, ["authorization"]);
    let replaced = Setting::new(json!({"stripAuthorization": true, "injectRequestHeaders":
        [{"name": "Authorization", "value": "for {{.token.Claims.sub}}"}]}));
    let set = replaced.ask(&server, &text, NOW).unwrap().set;
    assert_eq!(set, [("authorization".to_owned(), "for ann".to_owned())]);
}

#[test]
fn an_error_response_sees_all_its_names() {
    let template = "{{.status_code}} {{.httpStatus}} {{.message}} {{.error}} \
        {{.error.ValidationError.Errors}} {{.request_id}}{{.requestId}} \
        {{.httpRequestHeader.Get \"authorization\" | len}}";
    let setting = Setting::new(json!({"errorResponse": {"bodyTemplate": template, "realm": "a\"b",
        "headers": [{"name": "x-status", "value": "{{.status_code}}"}]}}));
    let text = token("k", &json!({"exp": 1}));
    let reply = setting.ask(&server(&[("k", SECRET)]), &text, NOW).unwrap_err();
    let words = "the token is expired";
    assert_eq!(reply.body, format!("401 401 {words} {words} 16  {}", text.len() + 7));
    assert_eq!(reply.headers[0], ("x-status".to_owned(), "401".to_owned()));
    assert!(reply.headers[1].1.starts_with("Bearer realm=\"a\\\"b\", error=\"invalid_token\""));
}

#[test]
fn the_cache_is_bounded_by_bytes() {
    let cache = TokenCache::new(50);
    for i in 0..500 {
        let text =
            token("k", &json!({"n": i, "x": "y".repeat(if i % 2 == 0 { 4 } else { 6_000 })}));
        let verified = Token::parse(&text).unwrap().verified(None);
        cache.put(cache.id(&text).unwrap(), &Arc::new(verified), Duration::ZERO, Duration::ZERO);
    }
    assert!(cache.size() <= 50 * 4096, "{}", cache.size());
}
