//! Filters that need the store of sessions, and those that look at certificates, through the real
//! program: a signature passes once for all replicas, a Redis that is gone hurts nobody else.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use e2e::authorizer::{Answer, Authorizer, check};
use e2e::redis::Redis;
use e2e::{TempDir, http, signature};

const OBJECTS: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: secrets, namespace: edge}
stringData: {acme: 0123456789abcdef0123456789abcdef}
---
apiVersion: getambassador.io/v3alpha1
kind: Filter
metadata: {name: signed, namespace: edge}
spec: {HMAC: {profile: simple, keys: [{secretName: secrets}], injectRequestHeaders: [{name: x-partner, value: "{{ .keyID }}"}]}}
---
apiVersion: getambassador.io/v3alpha1
kind: Filter
metadata: {name: keys, namespace: edge}
spec: {APIKey: {keys: [{secretName: secrets}]}}
---
apiVersion: getambassador.io/v3alpha1
kind: FilterPolicy
metadata: {name: all, namespace: edge}
spec: {rules: [{host: signed.test, filters: [{name: signed}]}, {host: key.test, filters: [{name: keys}]}]}
"#;

fn objects(name: &str) -> TempDir {
    let folder = TempDir::new(name);
    folder.write("a.yaml", OBJECTS);
    folder
}

fn signed(path: &str, seconds: u64) -> Vec<(String, String)> {
    signature::signed("signed.test", path, seconds)
}

fn ask(service: &mut Authorizer, path: &str, headers: &[(String, String)]) -> Answer {
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    service.get("signed.test", path, &headers)
}

#[test]
fn a_signature_passes_once() {
    let mut service = Authorizer::start(&objects("once"), &[], &[]);
    let first = signed("/a?b=1", 0);
    let passed = ask(&mut service, "/a?b=1", &first);
    assert_eq!((passed.allow, passed.header("x-partner")), (true, Some("acme")));
    let again = ask(&mut service, "/a?b=1", &first);
    assert_eq!((again.status, again.body.contains("used before")), (401, true), "{again:?}");
    assert_eq!(again.header("www-authenticate"), Some("HMAC realm=\"signed.edge\""));
    assert_eq!(ask(&mut service, "/b", &signed("/a?b=1", 1)).status, 401);
    assert!(ask(&mut service, "/a?b=1", &signed("/a?b=1", 1)).allow);
    assert_eq!(ask(&mut service, "/", &signed("/", 400)).status, 401);
    let config = http::get(service.admin, "/config").unwrap().body;
    assert!(config.contains("\"store\":\"memory"), "{config}");
    assert!(service.process.log().contains("sessions are kept in memory"));
}

#[test]
fn a_signature_passes_once_for_all_replicas_and_without_redis_nobody_else_is_hurt() {
    let redis = Redis::start();
    let url = format!("redis://127.0.0.1:{}", redis.port);
    let folder = objects("replicas");
    let start = || Authorizer::start(&folder, &["--redis-url", &url], &[("REDIS_TIMEOUT", "1s")]);
    let (mut one, mut other) = (start(), start());
    let first = signed("/", 0);
    assert!(ask(&mut one, "/", &first).allow);
    assert_eq!(ask(&mut other, "/", &first).status, 401);
    drop(redis);
    let key = [("x-api-key", "0123456789abcdef0123456789abcdef")];
    let begin = Instant::now();
    assert_eq!(ask(&mut one, "/", &signed("/", 2)).status, 503);
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert!(one.get("key.test", "/", &key).allow);
    // It is told, and the process goes on to get requests.
    let told = || http::get(one.admin, "/readyz").unwrap();
    while !told().body.contains("refused") {
        assert!(begin.elapsed() < Duration::from_secs(10), "{}", told().body);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(told().status, 200);
    let begin = Instant::now();
    for i in 0..50 {
        assert_eq!(ask(&mut one, "/", &signed("/", 3 + i)).status, 503);
    }
    assert!(begin.elapsed() < Duration::from_secs(2), "it does not wait for what is gone");
    assert!(one.metric("authz_store_commands_total{outcome=\"failed\"}").unwrap() >= 51.0);
}

#[test]
fn a_certificate_of_the_authority_passes() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = ca.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(ca, key);
    let own = |name: &str| {
        let mut own = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        own.distinguished_name.push(rcgen::DnType::CommonName, name);
        let own = own.signed_by(&rcgen::KeyPair::generate().unwrap(), &issuer).unwrap().pem();
        own.replace('\n', "%0A").replace(' ', "%20").replace('+', "%2B")
    };
    let folder = TempDir::new("mtls");
    let lines: String = pem.lines().map(|l| format!("    {l}\n")).collect();
    folder.write(
        "a.yaml",
        &format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: ca, namespace: edge}}\n\
             stringData:\n  ca.crt: |\n{lines}---\n\
             apiVersion: getambassador.io/v3alpha1\nkind: Filter\n\
             metadata: {{name: m, namespace: edge}}\n\
             spec: {{MTLS: {{authorities: [{{secretName: ca}}], dnsNames: ['*.good.test'], \
             injectRequestHeaders: [{{name: x-client, value: '{{{{ .subject }}}}'}}]}}}}\n---\n\
             apiVersion: getambassador.io/v3alpha1\nkind: FilterPolicy\n\
             metadata: {{name: p, namespace: edge}}\nspec: {{rules: [{{filters: [{{name: m}}]}}]}}\n"
        ),
    );
    let mut service = Authorizer::start(&folder, &[], &[]);
    let mut ask = |certificate: &str| {
        let mut request = check("a.test", "/", &[]);
        let peer = proto::envoy::service::auth::v3::attribute_context::Peer {
            certificate: certificate.to_owned(),
            principal: "somebody".to_owned(),
            ..Default::default()
        };
        request.attributes.as_mut().unwrap().source = Some(peer);
        Answer::of(service.call(request).unwrap())
    };
    let good = ask(&own("web.good.test"));
    let client = good.header("x-client").unwrap_or_default().to_owned();
    assert!(good.allow && client.contains("CN=web.good.test"), "{client}");
    assert_eq!(ask(&own("web.bad.test")).status, 403);
    assert_eq!(ask("-----BEGIN%20CERTIFICATE-----").status, 401);
    assert_eq!(ask("").status, 500);
}
