//! The checks that authorization services are measured with, as Envoy 1.40 sends them, and what each
//! must be answered. `policies` has the configuration that goes with them.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use prost::Message as _;
use proto::envoy::config::core::v3::address::Address as AddressKind;
use proto::envoy::config::core::v3::socket_address::PortSpecifier;
use proto::envoy::config::core::v3::{Address, Metadata, SocketAddress};
use proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use serde_json::json;

use crate::load::{Calls, framed};

/// Accepted API keys.
pub const KEYS: usize = 100_000;
/// Different tokens.
pub const TOKENS: usize = 200;
/// One token in so many has a bad signature.
pub const BAD_TOKEN: usize = 10;
/// One API key in so many is not accepted.
const BAD_KEY: usize = 101;
/// Policies of a host.
pub const POLICIES_OF_HOST: usize = 10;
/// Users of the workload of logins.
pub const USERS: usize = 5000;
/// Their password.
pub const PASSWORD: &str = "correct horse";
/// Where they log in.
pub const LOGIN_HOST: &str = "login.example.com";
/// `iss` of the tokens.
pub const ISSUER: &str = "https://issuer.example.com";
/// `aud` of the tokens.
pub const AUDIENCE: &str = "api";

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Workload {
    /// 200 tokens RS256, of which one in ten has a bad signature.
    Jwt,
    /// 100,000 API keys; one request in 101 has another one.
    ApiKey,
    /// An API key; 10 policies on one host.
    FewPolicies,
    /// An API key; 10,000 policies on 1,000 hosts.
    ManyPolicies,
    /// 5,000 users with a password, each once: a hash for each. Beside the workload of API keys.
    Login,
}

/// The requests of a workload.
#[derive(Debug)]
pub struct Checks {
    requests: Requests,
    undecided: bool,
}

#[derive(Debug)]
enum Requests {
    /// Each with whether it is allowed.
    Ready(Vec<(Bytes, bool)>),
    /// One request, and where in it the API key is.
    Keys { request: Bytes, place: usize },
}

impl Checks {
    /// The requests of `workload`. An `undecided` server has to allow them all.
    ///
    /// # Errors
    /// When no tokens can be made.
    pub fn new(workload: Workload, undecided: bool) -> anyhow::Result<Self> {
        let requests = match workload {
            Workload::Jwt => {
                let one = |token: String| {
                    check("api.example.com", "/api/v1/things/42", ("authorization", &token))
                };
                let tokens = tokens()?.into_iter().enumerate();
                Requests::Ready(
                    tokens.map(|(i, t)| (one(format!("Bearer {t}")), is_good(i))).collect(),
                )
            }
            Workload::ApiKey => {
                let first = key(0);
                let request = check("api.example.com", "/api/v1/things/42", ("x-api-key", &first));
                let place = request
                    .windows(first.len())
                    .position(|bytes| bytes == first.as_bytes())
                    .context("the key is not in the request")?;
                Requests::Keys { request, place }
            }
            Workload::FewPolicies => Requests::Ready(policy_requests(1)),
            Workload::ManyPolicies => Requests::Ready(policy_requests(1000)),
            Workload::Login => Requests::Ready((0..USERS).map(|i| (login(i), true)).collect()),
        };
        Ok(Self { requests, undecided })
    }

    fn is_allowed(&self, turn: usize) -> bool {
        self.undecided
            || match &self.requests {
                Requests::Ready(all) => all.get(turn % all.len()).is_some_and(|(_, good)| *good),
                Requests::Keys { .. } => key_of(turn) < KEYS,
            }
    }
}

impl Calls for Checks {
    const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

    fn request(&self, turn: usize) -> Bytes {
        match &self.requests {
            Requests::Ready(all) => {
                all.get(turn % all.len()).map(|(bytes, _)| bytes.clone()).unwrap_or_default()
            }
            Requests::Keys { request, place } => {
                let mut request = BytesMut::from(&request[..]);
                let key = key(key_of(turn));
                request[*place..*place + key.len()].copy_from_slice(key.as_bytes());
                request.freeze()
            }
        }
    }

    fn check(&self, turn: usize, message: &[u8]) -> anyhow::Result<()> {
        let answer = CheckResponse::decode(message)?;
        let code = answer.status.as_ref().map_or(0, |s| s.code);
        let is_allowed = match (code, &answer.http_response) {
            (0, None | Some(HttpResponse::OkResponse(_))) => true,
            (7 | 16, Some(HttpResponse::DeniedResponse(denied))) => {
                let status = denied.status.as_ref().map_or(403, |s| s.code);
                ensure!(status < 500, "the server could not decide: {status} {}", denied.body);
                false
            }
            // A denial may have no words of its own.
            (7 | 16, None) => false,
            (code, _) => bail!("status {code} and not the answer that goes with it"),
        };
        let expected = self.is_allowed(turn);
        ensure!(is_allowed == expected, "allowed is {is_allowed}, and should be {expected}");
        Ok(())
    }
}

/// The API key of a turn: an accepted one, now and then the first that is not.
fn key_of(turn: usize) -> usize {
    if turn.is_multiple_of(BAD_KEY) { KEYS } else { turn % KEYS }
}

/// An API key of 32 letters; the first [`KEYS`] are accepted.
pub fn key(number: usize) -> String {
    // splitmix64: keys that have nothing in common, and are the same in each run.
    let mix = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let seed = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{:016x}{:016x}", mix(seed), mix(!seed))
}

const fn is_good(token: usize) -> bool {
    token % BAD_TOKEN != BAD_TOKEN - 1
}

/// The private key of the tokens.
///
/// # Errors
/// When the file of it cannot be read.
pub fn signing_key() -> anyhow::Result<EncodingKey> {
    let file = e2e::root().join("cases/keys/rs256.pem");
    let pem = std::fs::read(&file).with_context(|| file.display().to_string())?;
    Ok(EncodingKey::from_rsa_pem(&pem)?)
}

fn tokens() -> anyhow::Result<Vec<String>> {
    let signing_key = signing_key()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some("k1".to_owned());
    let token = |i: usize| {
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": format!("user-{i}"), "iat": now,
            "exp": now + 24 * 3600, "scope": "read write", "jti": format!("{i:08x}"),
            "email": format!("user{i}@example.com"),
        });
        let mut token = jsonwebtoken::encode(&header, &claims, &signing_key)?;
        if !is_good(i) {
            // Well-formed still, so that a server has to look at the signature.
            let middle = token.len() - 100;
            let other = if token.as_bytes().get(middle) == Some(&b'A') { "B" } else { "A" };
            token.replace_range(middle..=middle, other);
        }
        Ok(token)
    };
    (0..TOKENS).map(token).collect()
}

fn login(user: usize) -> Bytes {
    let credentials = STANDARD.encode(format!("{}:{PASSWORD}", user_name(user)));
    check(LOGIN_HOST, "/", ("authorization", &format!("Basic {credentials}")))
}

/// The name of a user of the workload of logins.
pub fn user_name(number: usize) -> String {
    format!("user{number}")
}

fn policy_requests(hosts: usize) -> Vec<(Bytes, bool)> {
    let key = key(0);
    let one = |i: usize| {
        let (host, policy) = (i / POLICIES_OF_HOST, i % POLICIES_OF_HOST);
        check(&host_name(host), &format!("/p{policy}/things/42"), ("x-api-key", &key))
    };
    (0..hosts * POLICIES_OF_HOST).map(|i| (one(i), true)).collect()
}

/// The name of a host that has policies.
pub fn host_name(number: usize) -> String {
    format!("h{number}.example.com")
}

/// A check of a request with one header of its own, as [`framed`].
fn check(host: &str, path: &str, header: (&str, &str)) -> Bytes {
    let headers = [
        (":authority", host),
        (":method", "GET"),
        (":path", path),
        (":scheme", "https"),
        ("accept", "application/json, text/plain, */*"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("accept-language", "en-GB,en;q=0.9"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"),
        ("x-envoy-external-address", "10.1.2.3"),
        ("x-forwarded-for", "10.1.2.3"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "6a2a5e0e-0f3c-4b6e-9d53-2f1c6a7f0001"),
        header,
    ];
    let headers: BTreeMap<String, String> =
        headers.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let http = HttpRequest {
        id: "1234567890123456789".to_owned(),
        method: "GET".to_owned(),
        headers,
        path: path.to_owned(),
        host: host.to_owned(),
        scheme: "https".to_owned(),
        protocol: "HTTP/2".to_owned(),
        size: -1,
        ..HttpRequest::default()
    };
    let time = Some(SystemTime::now().into());
    framed(&CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(peer("10.1.2.3", 51_234)),
            destination: Some(peer("10.1.0.1", 8443)),
            request: Some(Request { time, http: Some(http) }),
            metadata_context: Some(Metadata::default()),
            route_metadata_context: Some(Metadata::default()),
            ..AttributeContext::default()
        }),
    })
}

fn peer(address: &str, port: u32) -> Peer {
    let socket = SocketAddress {
        address: address.to_owned(),
        port_specifier: Some(PortSpecifier::PortValue(port)),
        ..SocketAddress::default()
    };
    let address = Some(Address { address: Some(AddressKind::SocketAddress(socket)) });
    Peer { address, ..Peer::default() }
}

#[cfg(test)]
mod tests {
    use proto::envoy::service::auth::v3::DeniedHttpResponse;
    use proto::envoy::r#type::v3::HttpStatus;
    use proto::google::rpc::Status;

    use super::*;

    fn answer(code: i32, http_status: Option<i32>) -> Vec<u8> {
        let denied = |code| {
            let status = Some(HttpStatus { code });
            HttpResponse::DeniedResponse(DeniedHttpResponse {
                status,
                ..DeniedHttpResponse::default()
            })
        };
        CheckResponse {
            status: Some(Status { code, ..Status::default() }),
            http_response: http_status.map(denied),
            dynamic_metadata: None,
        }
        .encode_to_vec()
    }

    fn sent(checks: &Checks, turn: usize) -> HttpRequest {
        let request = CheckRequest::decode(&checks.request(turn)[5..]).unwrap();
        request.attributes.unwrap().request.unwrap().http.unwrap()
    }

    #[test]
    fn each_turn_has_the_key_and_the_answer_that_belong_together() {
        let checks = Checks::new(Workload::ApiKey, false).unwrap();
        for (turn, number, allowed) in
            [(1, 1, true), (KEYS - 1, KEYS - 1, true), (101, KEYS, false)]
        {
            assert_eq!(sent(&checks, turn).headers["x-api-key"], key(number));
            assert_eq!(checks.check(turn, &answer(0, None)).is_ok(), allowed);
            assert_eq!(checks.check(turn, &answer(16, Some(401))).is_ok(), !allowed);
        }
        assert!(Checks::new(Workload::ApiKey, true).unwrap().check(101, &answer(0, None)).is_ok());
        let failed = checks.check(101, &answer(7, Some(500))).unwrap_err().to_string();
        assert!(failed.contains("could not decide"), "{failed}");
        assert!(checks.check(101, &answer(13, None)).is_err());
    }

    #[test]
    fn one_token_in_ten_is_bad_and_all_differ() {
        let checks = Checks::new(Workload::Jwt, false).unwrap();
        let allowed = (0..TOKENS).filter(|t| checks.is_allowed(*t)).count();
        assert_eq!(allowed, 180);
        let mut tokens: Vec<_> =
            (0..TOKENS).map(|t| sent(&checks, t).headers["authorization"].clone()).collect();
        tokens.sort();
        tokens.dedup();
        assert_eq!(tokens.len(), TOKENS);
    }

    #[test]
    fn requests_of_policies_go_to_all_hosts() {
        let checks = Checks::new(Workload::ManyPolicies, false).unwrap();
        let last = sent(&checks, 9_999);
        assert_eq!((last.host.as_str(), last.path.as_str()), ("h999.example.com", "/p9/things/42"));
    }
}
