use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use proto::envoy::service::auth::v3::attribute_context::{self, HttpRequest, Peer};
use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, SanType, date_time_ymd,
};
use serde_json::{Value as Json, json};
use service_kit::Object;

use super::xfcc::{self, Element};
use crate::compile::{Settings, compile};
use crate::{Flow, Outcome, Request, Step};

/// Within the life of all certificates of rcgen.
const NOW: u64 = 1_800_000_000;
const SPIFFE: &str = "spiffe://example.org/ns/shop/sa/web";

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str, over: Option<&Self>) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let certificate = match over {
            Some(over) => parameters.signed_by(&key, &over.issuer).unwrap(),
            None => parameters.self_signed(&key).unwrap(),
        };
        Self { issuer: Issuer::new(parameters, key), pem: certificate.pem() }
    }

    fn sign(&self, change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let mut parameters = CertificateParams::new(vec!["Web.Shop.Example".to_owned()]).unwrap();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        let name = &mut parameters.distinguished_name;
        name.push(DnType::CountryName, "DE");
        name.push(DnType::OrganizationName, "Shop, Inc.");
        name.push(DnType::CommonName, "web");
        parameters.subject_alt_names.push(SanType::URI(SPIFFE.try_into().unwrap()));
        change(&mut parameters);
        parameters.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap()
    }
}

fn encoded(pem: &str) -> String {
    utf8_percent_encode(pem, NON_ALPHANUMERIC).to_string()
}

#[derive(Default)]
struct Asked<'a> {
    certificate: &'a str,
    principal: &'a str,
    headers: &'a [(&'a str, &'a str)],
}

fn judged(spec: &Json, authority: &str, asked: &Asked<'_>) -> Result<Outcome, Vec<String>> {
    let object = |kind: &str, name: &str, rest: (&str, Json)| {
        let version = if kind == "Secret" { "v1" } else { "getambassador.io/v3alpha1" };
        let mut json = json!({"apiVersion": version, "kind": kind,
            "metadata": {"name": name, "namespace": "ns"}});
        json[rest.0] = rest.1;
        Object::from_json(json).unwrap()
    };
    let objects = [
        object("Secret", "ca", ("stringData", json!({"ca.crt": authority}))),
        object("Filter", "x", ("spec", json!({"MTLS": spec}))),
        object("FilterPolicy", "p", ("spec", json!({"rules": [{"filters": [{"name": "x"}]}]}))),
    ];
    let compiled = compile(objects.iter(), &Settings::default());
    if !compiled.found.is_empty() {
        return Err(compiled.found.iter().map(ToString::to_string).collect());
    }
    let headers = asked.headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let http = HttpRequest { headers: headers.collect(), ..HttpRequest::default() };
    let source = Peer {
        principal: asked.principal.to_owned(),
        certificate: asked.certificate.to_owned(),
        ..Peer::default()
    };
    let request = Request::from_check(CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(source),
            request: Some(attribute_context::Request { http: Some(http), time: None }),
            ..AttributeContext::default()
        }),
    })
    .unwrap();
    let snapshot = std::sync::Arc::new(compiled.snapshot);
    // Twice: what is remembered says the same.
    let ask = || {
        let now = Duration::from_secs(NOW);
        match Flow::new(snapshot.clone(), request.clone(), now).step(&()) {
            Step::Done(outcome) => outcome,
            Step::Need(need) => panic!("{need}"),
        }
    };
    let first = ask();
    assert_eq!(first, ask());
    Ok(first)
}

fn status(spec: &Json, authority: &str, asked: &Asked<'_>) -> u16 {
    match judged(spec, authority, asked).unwrap_or_else(|found| panic!("{found:?}")) {
        Outcome::Allow(_) => 200,
        Outcome::Deny(reply) | Outcome::Error(reply) => reply.status,
    }
}

fn trusting(more: &Json) -> Json {
    let mut spec = json!({"authorities": [{"secretName": "ca"}]});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    spec
}

fn by_connection(spec: &Json, authority: &str, pem: &str) -> u16 {
    let certificate = encoded(pem);
    let asked = Asked { certificate: &certificate, principal: "x", ..Asked::default() };
    status(spec, authority, &asked)
}

#[test]
fn only_certificates_of_the_authorities_for_clients_and_of_this_time_pass() {
    let (ca, other) = (Authority::new("ca", None), Authority::new("other", None));
    let between = Authority::new("between", Some(&ca));
    let spec = trusting(&json!({}));
    let check = |pem: &str| by_connection(&spec, &ca.pem, pem);
    let good = ca.sign(|_| {});
    assert_eq!(check(&good.pem()), 200);
    assert_eq!(check(&other.sign(|_| {}).pem()), 401);
    let server = ca.sign(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    assert_eq!(check(&server.pem()), 401);
    let client = ca.sign(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    assert_eq!(check(&client.pem()), 200);
    assert_eq!(check(&ca.sign(|p| p.not_after = date_time_ymd(2026, 1, 1)).pem()), 401);
    assert_eq!(check(&ca.sign(|p| p.not_before = date_time_ymd(2030, 1, 1)).pem()), 401);
    let below = between.sign(|_| {});
    assert_eq!(check(&below.pem()), 401);
    assert_eq!(check(&format!("{}{}", below.pem(), between.pem)), 200);
    for bad in ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert_eq!(check(bad), if bad.is_empty() { 500 } else { 401 }, "{bad}");
    }
    assert_eq!(status(&spec, &ca.pem, &Asked::default()), 401);
}

#[test]
fn each_list_of_names_must_be_met() {
    let ca = Authority::new("ca", None);
    let pem = ca.sign(|_| {}).pem();
    for (more, expected) in [
        (json!({"dnsNames": ["*.shop.example"]}), 200),
        (json!({"dnsNames": ["*.example.org", "web.shop.example"]}), 200),
        (json!({"dnsNames": ["shop.example"]}), 403),
        (json!({"uris": ["spiffe://example.org/ns/shop/*"]}), 200),
        (json!({"uris": ["spiffe://example.org/ns/other/*"]}), 403),
        (json!({"trustDomains": ["example.org"]}), 200),
        (json!({"trustDomains": ["example.com"]}), 403),
        (json!({"subjects": ["CN=web,O=Shop\\\\\\, Inc.,C=DE"]}), 200),
        (json!({"subjects": ["CN=web,*"]}), 200),
        (json!({"subjects": ["CN=admin,*"]}), 403),
        (json!({"principals": ["x"]}), 200),
        (json!({"principals": ["y"]}), 403),
        (json!({"uris": ["*"], "dnsNames": ["other"]}), 403),
    ] {
        assert_eq!(by_connection(&trusting(&more), &ca.pem, &pem), expected, "{more}");
    }
}

#[test]
fn who_the_client_is_goes_on() {
    let ca = Authority::new("ca", None);
    let spec = trusting(&json!({"injectRequestHeaders": [
        {"name": "x-id", "value": "{{ .identity }}"},
        {"name": "x-subject", "value": "{{ .subject }} by {{ .issuer }}"},
        {"name": "x-dns", "value": "{{ index .dnsNames 0 }} {{ len .uris }}"},
        {"name": "x-print", "value": "{{ len .fingerprint }} {{ .serialNumber }}"}]}));
    let own = ca.sign(|p| p.serial_number = Some(vec![1, 0xab].into()));
    let certificate = encoded(&own.pem());
    let asked = Asked { certificate: &certificate, ..Asked::default() };
    let Outcome::Allow(changes) = judged(&spec, &ca.pem, &asked).unwrap() else { panic!() };
    let set: Vec<&str> = changes.set.iter().map(|(_, v)| v.as_str()).collect();
    let subject = "CN=web,O=Shop\\, Inc.,C=DE by CN=ca";
    let mut expected = vec![SPIFFE, subject, "web.shop.example 1", "64 01ab"];
    expected.sort_unstable();
    let mut sorted = set.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    assert_eq!(changes.metadata["identity"], SPIFFE);
}

#[test]
fn two_uris_are_no_spiffe_id() {
    let ca = Authority::new("ca", None);
    let pem = ca
        .sign(|p| p.subject_alt_names.push(SanType::URI("https://a.test/".try_into().unwrap())))
        .pem();
    let spec = trusting(&json!({"trustDomains": ["example.org"]}));
    assert_eq!(by_connection(&spec, &ca.pem, &pem), 403);
}

#[test]
fn envoys_name_is_enough_where_only_it_is_asked_for() {
    let ask =
        |spec: Json, principal: &str| status(&spec, "", &Asked { principal, ..Asked::default() });
    assert_eq!(ask(json!({"principals": ["spiffe://example.org/*"]}), SPIFFE), 200);
    assert_eq!(ask(json!({"trustDomains": ["example.org"]}), SPIFFE), 200);
    assert_eq!(ask(json!({"trustDomains": ["example.org"]}), "CN=x"), 403);
    assert_eq!(ask(json!({"principals": ["*"]}), ""), 401);
    // Envoy does not send what this is about.
    assert_eq!(ask(json!({"uris": ["*"]}), SPIFFE), 500);
}

#[test]
fn the_last_element_of_a_forwarded_certificate_counts() {
    let ca = Authority::new("ca", None);
    let own = ca.sign(|_| {});
    let cert = encoded(&own.pem());
    let told = json!({"source": "xfcc", "uris": ["spiffe://example.org/*"]});
    let whole = trusting(&told);
    for (header, by_words, by_certificate) in [
        ("By=x;URI=spiffe://example.org/a".to_owned(), 200, 500),
        ("URI=spiffe://example.org/a,URI=spiffe://evil.example/a".to_owned(), 403, 500),
        (format!("Hash=00;Cert=\"{cert}\";Subject=\"CN=a\""), 200, 200),
        // The certificate counts, not the words beside it.
        (format!("URI=spiffe://evil.example/a;Cert=\"{cert}\""), 200, 200),
        (format!("Chain=\"{cert}\""), 200, 200),
        (format!("Cert=\"{cert}\";Cert=\"{cert}\""), 401, 401),
        ("Subject=\"CN=a\"b\"".to_owned(), 401, 401),
        ("garbage".to_owned(), 401, 401),
        ("By=spiffe://example.org/a".to_owned(), 401, 500),
    ] {
        let asked = Asked { headers: &[("x-forwarded-client-cert", &header)], ..Asked::default() };
        assert_eq!(status(&told, "", &asked), by_words, "{header}");
        assert_eq!(status(&whole, &ca.pem, &asked), by_certificate, "{header}");
    }
    assert_eq!(status(&told, "", &Asked { principal: SPIFFE, ..Asked::default() }), 401);
}

#[test]
fn the_certificate_may_come_in_the_field_of_rfc_9440() {
    let ca = Authority::new("ca", None);
    let between = Authority::new("between", Some(&ca));
    let own = between.sign(|_| {});
    let field = |der: &[u8]| format!(":{}:", STANDARD.encode(der));
    let (_, middle) = x509_parser::pem::parse_x509_pem(between.pem.as_bytes()).unwrap();
    let (own, middle) = (field(own.der()), field(&middle.contents));
    let spec = trusting(&json!({"source": "clientCert", "stripHeader": true}));
    let ask = |headers: &[(&str, &str)]| {
        judged(&spec, &ca.pem, &Asked { headers, ..Asked::default() }).unwrap()
    };
    let Outcome::Allow(changes) = ask(&[("client-cert", &own), ("client-cert-chain", &middle)])
    else {
        panic!()
    };
    assert_eq!(changes.remove, ["client-cert", "client-cert-chain"]);
    for headers in [
        vec![("client-cert", own.as_str())],
        vec![("client-cert", "abc"), ("client-cert-chain", middle.as_str())],
        vec![("client-cert-chain", middle.as_str())],
        vec![],
    ] {
        assert!(matches!(ask(&headers), Outcome::Deny(r) if r.status == 401));
    }
}

#[test]
fn what_is_wrong_is_told() {
    let ca = Authority::new("ca", None).pem;
    for (spec, authority, words) in [
        (json!({}), "", "nothing says which certificates"),
        (json!({"authorities": []}), "", "nobody could pass"),
        (json!({"authorities": [{"secretName": "none"}]}), "", "there is no Secret"),
        (trusting(&json!({})), "x", "no certificates in PEM"),
        (trusting(&json!({"uris": []})), &ca, "use 1 to"),
        (trusting(&json!({"dnsNames": ["[a"]})), &ca, "no glob"),
        (trusting(&json!({"trustDomains": ["spiffe://a/b"]})), &ca, "no trust domain"),
        (trusting(&json!({"source": "header"})), &ca, "not a source"),
        (trusting(&json!({"source": "xfcc", "principals": ["*"]})), &ca, "who connects to it"),
    ] {
        let found = judged(&spec, authority, &Asked::default()).unwrap_err();
        assert!(found.iter().any(|f| f.contains(words)), "{words}: {found:?}");
    }
}

#[test]
fn values_may_be_quoted_and_escaped() {
    let element = xfcc::last(
        "By=a , By=spiffe://b;Hash=aa; Subject=\"CN=\\\"x\\\\y\\\",O=a;b\" ;URI=u1;URI=;URI=u2;DNS=d",
    );
    let list = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        element,
        Some(Element {
            hash: Some("aa".to_owned()),
            subject: Some("CN=\"x\\y\",O=a;b".to_owned()),
            uris: list(&["u1", "u2"]),
            dns_names: list(&["d"]),
            ..Element::default()
        })
    );
    for bad in ["", ",", "a", "=b", "By=\"x", "By=x,", "By=x;", "By=\"x\"y", "B y=x", "By=x\"y\""] {
        assert_eq!(xfcc::last(bad), None, "{bad}");
    }
}

proptest! {
    /// What a proxy quotes is read back, whatever a certificate's names are.
    #[test]
    fn a_quoted_value_is_read_back(subject in "\\PC*", before in "[a-z]{0,9}") {
        let quoted = subject.replace('\\', "\\\\").replace('"', "\\\"");
        let header = format!("URI={before},Subject=\"{quoted}\";URI=last");
        let element = xfcc::last(&header).unwrap();
        prop_assert_eq!(element.subject, Some(subject));
        prop_assert_eq!(element.uris, ["last"]);
    }
}
