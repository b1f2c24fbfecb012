use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::envoy::config::core::v3::address::Address as Kind;
use proto::envoy::config::core::v3::{Address, Metadata, SocketAddress};
use proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request as R};
use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use serde_json::{Value, json};
use service_kit::Object;

use super::check::check;
use crate::compile::{Settings, compile};
use crate::flow::JudgementResult;
use crate::{Flow, Identity, Outcome, Reply, Request, Snapshot, Step};

fn snapshot(spec: &Value) -> (Arc<Snapshot>, Vec<String>) {
    let object = |kind: &str, name: &str, spec: Value| {
        Object::from_json(json!({"apiVersion": "getambassador.io/v3alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": "ns"}, "spec": spec}))
        .unwrap()
    };
    let objects = [
        object("Filter", "x", json!({"CEL": spec})),
        object("FilterPolicy", "p", json!({"rules": [{"filters": [{"name": "x"}]}]})),
    ];
    let compiled = compile(objects.iter(), &Settings::default());
    (Arc::new(compiled.snapshot), compiled.found.iter().map(ToString::to_string).collect())
}

/// A request with something of everything.
fn request(path: &str, headers: &[(&str, &str)]) -> Request {
    let socket = SocketAddress { address: "192.0.2.7".to_owned(), ..Default::default() };
    let namespace = json!({"plan": "gold"});
    let fields = namespace.as_object().unwrap().iter().map(|(name, value)| {
        let kind = prost_types::value::Kind::StringValue(value.as_str().unwrap().to_owned());
        (name.clone(), prost_types::Value { kind: Some(kind) })
    });
    let plan = prost_types::Struct { fields: fields.collect() };
    let http = HttpRequest {
        method: "POST".into(),
        host: "Shop.example:8443".into(),
        path: path.into(),
        scheme: "https".into(),
        size: 12,
        headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        ..Default::default()
    };
    Request::from_check(CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(Peer {
                address: Some(Address { address: Some(Kind::SocketAddress(socket)) }),
                principal: "spiffe://shop.example/web".into(),
                certificate: "-----BEGIN%20CERTIFICATE-----%0A".into(),
                ..Default::default()
            }),
            request: Some(R { http: Some(http), time: None }),
            context_extensions: [("tier".to_owned(), "free".to_owned())].into(),
            metadata_context: Some(Metadata {
                filter_metadata: [("envoy.filters.http.jwt_authn".to_owned(), plan)].into(),
                ..Default::default()
            }),
            ..Default::default()
        }),
    })
    .unwrap()
}

/// What becomes of `request`, and why, when the spec's rules must hold. It is 2026-11-24T09:30Z.
fn judged(spec: &Value, request: Request) -> (Outcome, JudgementResult) {
    let (snapshot, found) = snapshot(spec);
    assert!(found.is_empty(), "{found:?}");
    let mut flow = Flow::new(snapshot, request, Duration::from_secs(1_795_512_600));
    let Step::Done(outcome) = flow.step(&()) else { panic!("it asks for something") };
    (outcome, flow.judgements()[0].result.clone())
}

fn why(expression: &str, request: Request) -> Option<String> {
    match judged(&json!({"rules": [{"expression": expression}]}), request) {
        (Outcome::Allow(_), JudgementResult::Allowed) => None,
        (Outcome::Deny(Reply { status: 403, .. }), JudgementResult::Denied(403, why)) => Some(why),
        other => panic!("{other:?}"),
    }
}

#[test]
fn everything_of_a_request_can_be_asked() {
    for good in [
        "request.method == 'POST'",
        "request.method in ['GET', 'POST']",
        "request.host == 'shop.example:8443' && request.scheme == 'https'",
        "request.path == '/orders/7' && request.url_path.startsWith('/orders/')",
        "request.path.matches('^/orders/[0-9]+$')",
        "request.query == {'dry': ['1', '2'], 'q': ['a b']}",
        "'1' in request.query['dry'] && size(request.query.dry) == 2",
        "!has(request.query.wet) && !('wet' in request.query)",
        "request.headers['x-tenant'] == 'acme' && request.headers.host == 'h'",
        "has(request.headers.host) && 'x-tenant' in request.headers",
        "!('x-other' in request.headers) || request.headers['x-other'] == 'a'",
        "request.headers[?'x-other'].orValue('none') == 'none'",
        "request.headers.exists(name, name.startsWith('x-'))",
        "request.headers.all(name, name == name.lowerAscii())",
        "request.headers['x-tenant'].upperAscii() == 'ACME'",
        "request.size == 12 && request.size < 1024",
        "request.time < timestamp('2027-01-01T00:00:00Z')",
        "request.time.getHours('Europe/Berlin') == 10 && request.time.getDayOfWeek() == 2",
        "source.address == '192.0.2.7' && source.principal.startsWith('spiffe://shop.example/')",
        "source.certificate.startsWith('-----BEGIN CERTIFICATE-----\\n')",
        "destination.address == '' && connection.requested_server_name == ''",
        "identity.subject == '' && identity.claims == {}",
        "metadata['envoy.filters.http.jwt_authn'].plan == 'gold'",
        "context_extensions.tier == 'free' && !has(context_extensions.other)",
        "has(request.headers) && type(request.size) == int",
        "[1, 2, 3].map(x, x * 2).filter(x, x > 2) == [4, 6] && [1, 2].exists_one(x, x == 1)",
        "request.headers['x-tenant'] != 'other' ? true : false",
    ] {
        let headers = [("host", "h"), ("x-tenant", "acme")];
        assert_eq!(why(good, request("/orders/7?dry=1&q=a%20b&dry=2", &headers)), None, "{good}");
    }
}

#[test]
fn what_goes_wrong_denies_and_says_why() {
    let request = || request("/", &[("x-n", "seven"), ("x-token", "secret")]);
    for (bad, words) in [
        ("request.method == 'GET'", "it does not hold"),
        ("request.headers['x-admin'] != 'no'", "there is no `x-admin`"),
        ("!(request.headers['x-admin'] == 'no')", "there is no `x-admin`"),
        ("request.headers['x-admin'] == 'no' || false", "there is no `x-admin`"),
        ("request.query['a'][0] == 'b'", "there is no `a`"),
        ("identity.claims.admin", "there is no `admin`"),
        ("!identity.claims.blocked", "there is no `blocked`"),
        ("request.headers[request.headers['x-token']] == ''", "there is no such key"),
        ("int(request.headers['x-n']) > 5", "its values are not of the types it needs"),
        ("1 / request.size == 1", "it does not hold"),
        ("1 / (request.size - 12) == 1", "it divides by zero"),
        ("[1][request.size] == 1", "an index is out of bounds"),
        ("metadata['envoy.filters.http.jwt_authn'].plan", "its result is of type string"),
        ("metadata['envoy.filters.http.jwt_authn'].plan < 5", "`<` is not for (string, int)"),
    ] {
        let why = why(bad, request()).unwrap_or_else(|| panic!("{bad} passed"));
        assert!(why.starts_with("rule rules[0]: ") && why.contains(words), "{bad}: {why}");
        assert!(!why.contains("secret") && !why.contains("seven"), "{bad}: {why}");
    }
}

#[test]
fn all_rules_must_hold_and_the_first_that_does_not_answers() {
    let spec = json!({"rules": [
        {"name": "method", "expression": "request.method == 'POST'", "message": "only POST"},
        {"name": "tenant", "expression": "'x-tenant' in request.headers", "statusCode": 401,
         "message": "say who you are"},
        {"expression": "request.headers['x-tenant'] == 'acme'"},
    ]});
    let (outcome, why) = judged(&spec, request("/", &[]));
    let Outcome::Deny(reply) = outcome else { panic!("{outcome:?}") };
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(body, json!({"message": "say who you are", "status_code": 401}));
    assert_eq!(why, JudgementResult::Denied(401, "rule tenant: it does not hold".into()));
    let (outcome, _) = judged(&spec, request("/", &[("x-tenant", "other")]));
    let Outcome::Deny(reply) = outcome else { panic!("{outcome:?}") };
    assert!(reply.body.contains("the request is not permitted"), "{}", reply.body);
    let (outcome, _) = judged(&spec, request("/", &[("x-tenant", "acme")]));
    assert_eq!(outcome, Outcome::Allow(Box::default()));
}

#[test]
fn a_client_of_grpc_is_not_told_the_rule() {
    let spec = json!({"rules": [{"expression": "false", "message": "no"}]});
    let (outcome, _) = judged(&spec, request("/", &[("content-type", "application/grpc")]));
    let Outcome::Deny(reply) = outcome else { panic!("{outcome:?}") };
    assert_eq!(reply.body, "no");
}

#[test]
fn what_an_earlier_filter_found_out_is_there() {
    let claims = json!({"sub": "ann", "groups": ["staff", "ops"], "level": 3, "exp": 9e9,
        "big": u64::MAX, "nothing": null, "nested": {"a": [true]}});
    let identity = Identity { subject: "ann".into(), attributes: Arc::new(claims) };
    let request = request("/", &[]);
    let (changes, answers) = (crate::request::Changes::default(), Default::default());
    let snapshot = Snapshot::default();
    let context = crate::Context::new(
        &request,
        &changes,
        Duration::ZERO,
        &snapshot,
        Some(&identity),
        &answers,
        &(),
    );
    for (expression, passes) in [
        ("identity.subject == 'ann' && 'ops' in identity.claims.groups", true),
        ("identity.claims.level >= 3 && identity.claims.exp > 5", true),
        ("identity.claims.big == 18446744073709551615u && identity.claims.nothing == null", true),
        ("identity.claims.nested.a[0]", true),
        ("identity.claims.groups.exists(g, g == 'admin')", false),
        ("identity.claims.groups == 'staff'", false),
        ("identity.claims.level == '3'", false),
    ] {
        let spec = json!({"CEL": {"rules": [{"expression": expression}]}});
        let object = Object::from_json(json!({"apiVersion": "getambassador.io/v3alpha1",
            "kind": "Filter", "metadata": {"name": "x", "namespace": "ns"}, "spec": spec}));
        let compiled = compile([object.unwrap()].iter(), &Settings::default());
        let filter = &compiled.snapshot.filters[&("ns".to_owned(), "x".to_owned())];
        let verdict = filter.judge(&context, &Default::default()).unwrap();
        assert_eq!(matches!(verdict, crate::filter::Verdict::Allow(_)), passes, "{expression}");
    }
}

#[test]
fn mistakes_are_told_when_the_filter_is_loaded() {
    for (expression, words) in [
        ("", "the expression is missing"),
        ("request.method ==", "line 1, column 1"),
        ("request.verb == 'GET'", "`request` has no field `verb`"),
        ("req.method == 'GET'", "there is no variable `req`"),
        ("request == 'GET'", "`request` is no value by itself"),
        ("request.method.name == 'GET'", "a string has no field `name`"),
        ("request.method", "the result is a string, not a bool"),
        ("request.size + 1", "the result is a number, not a bool"),
        ("request.method == 7", "a string never equals a number"),
        ("request.query['dry'] == '1'", "a list never equals a string"),
        ("request.method && true", "a string is used as a bool"),
        ("request.headers['X-Tenant'] == 'a'", "there is never a header `X-Tenant`"),
        ("has(request.headers.Host)", "there is never a header `Host`"),
        ("request.method in 'GET'", "`in` looks into a list or a map, not into a string"),
        ("request.method.isUpper()", "there is no function `isUpper`"),
        ("request.method.startsWith()", "`startsWith` does not take so many arguments"),
        ("startsWith(request.method, 'G')", "`startsWith` is called like value.startsWith(…)"),
        ("request.size.startsWith('G')", "`startsWith` is for strings, not for a number"),
        ("request.path.matches(request.method)", "the pattern of `matches` is not a literal"),
        ("request.path.matches('(')", "is no regular expression"),
        (r"request.path.matches('(a{1000}){1000}')", "is too large"),
        ("request.path.replace('a', 'b') == ''", "there is no function `replace`"),
        ("http.get('x') == ''", "there is no variable `http`"),
        ("google.protobuf.Struct{} == 1", "there is no type"),
        ("[1].all(a, [1].all(b, [1].all(c, [1].all(d, [1].all(e, true)))))", "more than 4 loops"),
        ("request.size.all(x, true)", "a number has no elements"),
        ("'abc", "a string is not closed"),
        (r"request.path.matches('\d')", "a string has an unknown escape"),
        ("(true", "a bracket has no other one"),
    ] {
        let (_, found) = snapshot(&json!({"rules": [{"expression": expression}]}));
        assert_eq!(found.len(), 1, "{expression}: {found:?}");
        assert!(found[0].contains(words), "{expression}: {found:?}");
        assert!(found[0].contains("spec.CEL.rules[0].expression"), "{found:?}");
    }
    for (spec, words) in [
        (json!({}), "use 1 to 64 rules"),
        (json!({"rules": []}), "use 1 to 64 rules"),
        (json!({"rules": vec![json!({"expression": "true"}); 65]}), "use 1 to 64 rules"),
        (json!({"rules": [{"expression": "true", "statusCode": 200}]}), "200 is not 400 to 499"),
        (json!({"rules": [{"expression": "true", "message": "a".repeat(1025)}]}), "over 1024"),
        (json!({"rules": [{"expression": "true", "expresion": "false"}]}), "expresion"),
    ] {
        let (_, found) = snapshot(&spec);
        assert!(found.iter().any(|f| f.contains(words)), "{words}: {found:?}");
    }
}

#[test]
fn no_expression_takes_the_stack_or_the_time() {
    let long = 2000;
    let within = 60;
    for expression in [
        vec!["1"; long].join("+"),
        vec!["1"; within].join("+"),
        format!("a{}", ".b".repeat(long)),
        format!("metadata{} == 1", ".b".repeat(within)),
        format!("{}true", "!".repeat(4000)),
        format!("{}true", "!".repeat(within)),
        format!("{}1", "- ".repeat(within)),
        format!("{}true", "true?true:".repeat(within)),
        format!("{}true", "true?true:".repeat(400)),
        vec!["true"; 600].join("&&"),
        "(".repeat(4000),
        "[".repeat(within),
        format!("{}1{}", "(".repeat(8), ")".repeat(8)),
        format!("{}1{}", "[".repeat(8), "]".repeat(8)),
        format!("{}1{}", "{1:".repeat(8), "}".repeat(8)),
        format!("metadata{}", "['a']".repeat(7)),
        format!("metadata{}", ".a.size()".repeat(6)),
        "'\\q".to_owned() + &"+1".repeat(2000) + "'",
        "'a\n".to_owned() + &"+1".repeat(2000) + "'",
        "x r'\\".to_owned() + &"+1".repeat(2000) + "'",
        "1 in ".repeat(800) + "[]",
        "\u{2028}\u{0}é".to_owned(),
        "a".repeat(5000),
        "`a`".to_owned(),
    ] {
        let start = Instant::now();
        let _ = check(&expression);
        assert!(start.elapsed() < Duration::from_secs(2), "{expression}");
    }
}

#[test]
fn a_hostile_evaluation_ends() {
    let many: String = (0..2000).map(|i| format!("&a{i}=b")).collect();
    let path = format!("/{}?{many}", "a".repeat(40_000));
    let header = "a".repeat(60_000);
    for expression in [
        "request.query.all(a, request.query.all(b, request.query.all(c, a + b + c != '')))",
        "request.query.map(a, request.query).size() > 0",
        "request.query.map(a, request.path + request.path).size() > 0",
        "request.query.exists(a, request.query.exists(b, request.headers['x-a'].contains('b')))",
        "request.query.all(a, request.headers['x-a'].matches('(a|b|ab)*c') || true)",
        "[request.path].map(a, a+a+a+a+a+a+a+a).map(a, a+a+a+a+a+a+a+a+a).map(a, \
         a+a+a+a+a+a+a+a+a+a).map(a, a+a+a+a+a+a+a+a+a+a+a+a+a).size() == 1",
        "[request.query].map(a, [a,a,a,a,a,a]).map(a, [a,a,a,a,a,a]).map(a, [a,a,a,a]).size() == 1",
        // Once it is spent, an error that an operator swallows does not let it pass.
        "request.query.all(a, request.query.all(b, true)) || true",
        "request.query.filter(a, request.query.all(b, true)).size() >= 0 || true",
        "request.query.exists_one(a, request.query.exists_one(b, false)) || true",
    ] {
        let (snapshot, found) = snapshot(&json!({"rules": [{"expression": expression}]}));
        assert!(found.is_empty(), "{found:?}");
        let request = request(&path, &[("x-a", &header)]);
        let start = Instant::now();
        let mut flow = Flow::new(snapshot, request, Duration::ZERO);
        let Step::Done(Outcome::Deny(reply)) = flow.step(&()) else { panic!("{expression}") };
        assert_eq!(reply.reason, "rule rules[0]: it takes too many steps", "{expression}");
        // A build without optimisation on a busy machine; it is 5 ms at most otherwise.
        assert!(start.elapsed() < Duration::from_secs(1), "{expression}: {:?}", start.elapsed());
    }
}
