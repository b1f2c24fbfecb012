use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::envoy::config::core::v3::address::Address as Kind;
use proto::envoy::config::core::v3::socket_address::PortSpecifier;
use proto::envoy::config::core::v3::{Address, Metadata, SocketAddress};
use proto::envoy::service::auth::v3::attribute_context::{
    HttpRequest, Peer, Request as R, TlsSession,
};
use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use serde_json::{Value, json};
use service_kit::Object;

use crate::compile::{Settings, compile};
use crate::flow::JudgementResult;
use crate::need::{Answer, Need};
use crate::{Flow, Mutations, Outcome, Reply, Request, Snapshot, Step};

/// 2026-11-24T09:30:00Z.
const NOW: Duration = Duration::from_secs(1_795_512_600);

fn snapshot(spec: &Value) -> (Arc<Snapshot>, Vec<String>) {
    let object = |kind: &str, name: &str, spec: Value| {
        Object::from_json(json!({"apiVersion": "getambassador.io/v3alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": "ns"}, "spec": spec}))
        .unwrap()
    };
    let objects = [
        object("Filter", "x", json!({"Rego": spec})),
        object("FilterPolicy", "p", json!({"rules": [{"filters": [{"name": "x"}]}]})),
    ];
    let compiled = compile(objects.iter(), &Settings::default());
    (Arc::new(compiled.snapshot), compiled.found.iter().map(ToString::to_string).collect())
}

fn spec(policy: &str) -> Value {
    json!({"policies": {"authz.rego": policy}})
}

fn http(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> HttpRequest {
    HttpRequest {
        method: method.into(),
        path: path.into(),
        host: "Shop.example".into(),
        headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        raw_body: body.to_vec().into(),
        ..Default::default()
    }
}

fn check(http: HttpRequest) -> CheckRequest {
    CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(R { http: Some(http), time: None }),
            ..Default::default()
        }),
    }
}

/// What becomes of a request, and why; long work is done here.
fn judged(spec: &Value, check: CheckRequest) -> (Outcome, JudgementResult) {
    let (snapshot, found) = snapshot(spec);
    assert!(found.is_empty(), "{found:?}");
    let mut flow = Flow::new(snapshot, Request::from_check(check).unwrap(), NOW);
    loop {
        match flow.step(&()) {
            Step::Done(outcome) => return (outcome, flow.judgements()[0].result.clone()),
            Step::Need(Need::Compute(job)) => flow.answer(Answer::Computed(Some(job.run()))),
            Step::Need(need) => panic!("{need}"),
        }
    }
}

fn outcome(policy: &str, http: HttpRequest) -> Outcome {
    judged(&spec(policy), check(http)).0
}

fn allowed(outcome: Outcome) -> Mutations {
    match outcome {
        Outcome::Allow(mutations) => *mutations,
        other => panic!("{other:?}"),
    }
}

fn denied(outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Deny(reply) => reply,
        other => panic!("{other:?}"),
    }
}

/// Roles of users may do things: a policy in the form of OPA's documentation for Envoy.
const ROLES: &str = r#"
package envoy.authz

import input.attributes.request.http

default allow := false

allow if action_allowed

user_name := split(base64.decode(split(http.headers.authorization, " ")[1]), ":")[0]

roles_of_user contains role if some role in data.users[user_name]

action_allowed if {
	"guest" in roles_of_user
	http.method == "GET"
	glob.match("/people*", ["/"], http.path)
}

action_allowed if {
	"admin" in roles_of_user
	http.method == "POST"
	glob.match("/people", ["/"], http.path)
	lower(input.parsed_body.firstname) != user_name
}
"#;

#[test]
fn a_policy_of_roles_decides_as_it_does_with_opa() {
    let spec = json!({"policies": {"authz.rego": ROLES},
        "data": {"users": {"alice": ["guest"], "bob": ["guest", "admin"]}}});
    let basic = |user: &str| {
        use base64::Engine as _;
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(user))
    };
    let (alice, bob) = (basic("alice:password"), basic("bob:password"));
    let json = ("content-type", "application/json");
    for (user, method, path, body, passes) in [
        (Some(&alice), "GET", "/people", "", true),
        (Some(&alice), "GET", "/people/1", "", false),
        (Some(&alice), "POST", "/people", r#"{"firstname": "Charlie"}"#, false),
        (Some(&bob), "POST", "/people", r#"{"firstname": "Charlie"}"#, true),
        (Some(&bob), "POST", "/people", r#"{"firstname": "Bob"}"#, false),
        (Some(&bob), "POST", "/people", r#"{"lastname": "Opa"}"#, false),
        (Some(&bob), "DELETE", "/people", "", false),
        (Some(&basic("eve:x")), "GET", "/people", "", false),
        (None, "GET", "/people", "", false),
    ] {
        let mut headers = vec![json];
        headers.extend(user.map(|u| ("authorization", u.as_str())));
        let (outcome, why) = judged(&spec, check(http(method, path, &headers, body.as_bytes())));
        assert_eq!(matches!(outcome, Outcome::Allow(_)), passes, "{method} {path} {body}: {why:?}");
    }
}

#[test]
fn the_input_is_that_of_opas_plugin() {
    let policy =
        "package envoy.authz\nallow := {\"allowed\": false, \"body\": json.marshal(input)}";
    let mut request = check(HttpRequest {
        id: "7".into(),
        scheme: "https".into(),
        protocol: "HTTP/1.1".into(),
        size: 13,
        ..http(
            "POST",
            "/api/v1/a%20b?lang=en&lang=de&x=",
            &[("content-type", "application/json"), (":path", "/api"), ("content-length", "13")],
            br#"{"a": [1, 2]}"#,
        )
    });
    let attributes = request.attributes.as_mut().unwrap();
    let time = prost_types::Timestamp { seconds: 1_795_512_600, nanos: 5_000_000 };
    attributes.request.as_mut().unwrap().time = Some(time);
    let socket = |address: &str, port| Address {
        address: Some(Kind::SocketAddress(SocketAddress {
            address: address.into(),
            port_specifier: Some(PortSpecifier::PortValue(port)),
            ..Default::default()
        })),
    };
    attributes.source = Some(Peer {
        address: Some(socket("192.0.2.7", 4711)),
        principal: "spiffe://a/b".into(),
        labels: [("app".to_owned(), "web".to_owned())].into(),
        ..Default::default()
    });
    let address = Some(socket("10.0.0.1", 8000));
    attributes.destination = Some(Peer { address, ..Default::default() });
    attributes.context_extensions = [("tier".to_owned(), "free".to_owned())].into();
    let flag = prost_types::Value { kind: Some(prost_types::value::Kind::BoolValue(true)) };
    let fields = prost_types::Struct { fields: [("verified".to_owned(), flag)].into() };
    attributes.metadata_context = Some(Metadata {
        filter_metadata: [("envoy.filters.http.jwt_authn".to_owned(), fields)].into(),
        ..Default::default()
    });
    attributes.tls_session = Some(TlsSession { sni: "shop.example".into() });
    let reply = denied(judged(&spec(policy), request).0);
    let input: Value = serde_json::from_str(&reply.body).unwrap();
    let expected = json!({
        "attributes": {
            "source": {
                "address": {"socketAddress": {"address": "192.0.2.7", "portValue": 4711}},
                "labels": {"app": "web"},
                "principal": "spiffe://a/b",
            },
            "destination": {
                "address": {"socketAddress": {"address": "10.0.0.1", "portValue": 8000}},
            },
            "request": {
                "time": "2026-11-24T09:30:00.005Z",
                "http": {
                    "id": "7", "method": "POST", "host": "Shop.example", "scheme": "https",
                    "path": "/api/v1/a%20b?lang=en&lang=de&x=", "protocol": "HTTP/1.1",
                    "size": "13", "rawBody": "eyJhIjogWzEsIDJdfQ==",
                    "headers": {
                        "content-type": "application/json", "content-length": "13",
                        ":path": "/api",
                    },
                },
            },
            "contextExtensions": {"tier": "free"},
            "metadataContext": {
                "filterMetadata": {"envoy.filters.http.jwt_authn": {"verified": true}},
            },
            "tlsSession": {"sni": "shop.example"},
        },
        "parsed_path": ["api", "v1", "a b"],
        "parsed_query": {"lang": ["en", "de"], "x": [""]},
        "parsed_body": {"a": [1, 2]},
        "truncated_body": false,
        "version": {"encoding": "protojson", "ext_authz": "v3"},
    });
    assert_eq!(input, expected, "{input:#}");
}

#[test]
fn paths_and_bodies_are_parsed_or_refused_never_taken_for_absent() {
    let policy = |field: &str| {
        format!(
            "package envoy.authz\nallow := {{\"allowed\": false, \"body\": json.marshal(input.{field})}}"
        )
    };
    let of = |field: &str, http| denied(outcome(&policy(field), http));
    for (path, segments) in [
        ("/", json!([""])),
        ("/a/b/", json!(["a", "b", ""])),
        ("//a/b", json!(["a", "b"])),
        ("/a%2Fb", json!(["a", "b"])),
        ("/%ff", json!(["\u{fffd}"])),
        ("", json!([""])),
    ] {
        let body = of("parsed_path", http("GET", path, &[], b"")).body;
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), segments, "{path}");
    }
    assert_eq!(of("parsed_path", http("GET", "/%zz", &[], b"")).status, 400);
    assert_eq!(of("version", http("GET", "/%zz", &[], b"")).status, 403, "it is not read");

    let json = ("content-type", "application/json; charset=utf-8");
    let form = ("content-type", "application/x-www-form-urlencoded");
    let deep = "[".repeat(100_000);
    for (headers, body, parsed) in [
        (vec![json], r#"{"a":1}"#, Some(json!({"a": 1}))),
        (vec![json], "", Some(Value::Null)),
        (vec![json], "{", None),
        (vec![json], deep.as_str(), None),
        (vec![json], "\u{feff}{}", None),
        (vec![form], "a=1&a=2&b=%20", Some(json!({"a": ["1", "2"], "b": [" "]}))),
        (vec![], r#"{"a":1}"#, Some(Value::Null)),
        (vec![("content-type", "text/plain")], "x", Some(Value::Null)),
        (vec![json, ("content-length", "99")], r#"{"a":1}"#, Some(Value::Null)),
        (vec![json, ("x-envoy-auth-partial-body", "true")], "{\"a\"", Some(Value::Null)),
    ] {
        let reply = of("parsed_body", http("POST", "/", &headers, body.as_bytes()));
        match parsed {
            Some(parsed) => {
                assert_eq!(serde_json::from_str::<Value>(&reply.body).unwrap(), parsed, "{body}");
            }
            None => assert_eq!((reply.status, &*reply.reason), (400, "the body is no JSON")),
        }
    }
    assert_eq!(of("parsed_body", http("POST", "/", &[json], b"\xff\xfe")).status, 400);
    let truncated = [json, ("content-length", "99")];
    assert_eq!(of("truncated_body", http("POST", "/", &truncated, b"{}")).body, "true");
    assert_eq!(of("truncated_body", http("POST", "/", &[json], b"{")).body, "false");
}

#[test]
fn an_object_decides_on_everything_opas_plugin_knows() {
    let policy = r#"
package envoy.authz
allow := {
	"allowed": input.attributes.request.http.method == "GET",
	"headers": {"X-User": "ann", "x-groups": ["staff", "ops"]},
	"request_headers_to_remove": ["Authorization"],
	"response_headers_to_add": {"X-Policy": "7"},
	"query_parameters_to_set": {"lang": "en"},
	"query_parameters_to_remove": ["token"],
	"dynamic_metadata": {"plan": "gold", "limit": 5},
	"body": "not so",
	"http_status": 302,
}"#;
    let headers = [("authorization", "secret")];
    let mutations = allowed(outcome(policy, http("GET", "/", &headers, b"")));
    let set = [("x-groups", "staff,ops"), ("x-user", "ann")];
    assert_eq!(mutations.set, set.map(|(n, v)| (n.to_owned(), v.to_owned())));
    assert_eq!(mutations.remove, ["authorization"]);
    let header = &mutations.response_headers[0];
    assert_eq!(
        (header.name.as_str(), header.value.as_str(), header.append),
        ("x-policy", "7", true)
    );
    assert_eq!(mutations.query_set, [("lang".to_owned(), "en".to_owned())]);
    assert_eq!(mutations.query_remove, ["token"]);
    assert_eq!(Value::Object(mutations.metadata), json!({"plan": "gold", "limit": 5}));

    let reply = denied(outcome(policy, http("POST", "/", &[], b"")));
    assert_eq!((reply.status, reply.body.as_str(), &*reply.reason), (302, "not so", "not so"));
    let headers = [("x-user", "ann"), ("x-groups", "staff"), ("x-groups", "ops")];
    assert_eq!(reply.headers, headers.map(|(n, v)| (n.to_owned(), v.to_owned())));
}

#[test]
fn what_is_no_decision_denies() {
    for (rule, status, words) in [
        ("allow := false", 403, "the policy does not allow this request"),
        ("allow if input.x == 1", 403, "data.envoy.authz.allow is undefined"),
        ("allow := \"yes\"", 500, "not a bool or an object"),
        ("allow := 1", 500, "not a bool or an object"),
        ("allow := null", 500, "not a bool or an object"),
        ("allow := [true]", 500, "not a bool or an object"),
        ("allow := {\"headers\": {}}", 500, "`allowed`"),
        ("allow := {\"allowed\": \"true\"}", 500, "`allowed`"),
        ("allow := {\"allowed\": true, \"headers\": \"x\"}", 500, "`headers`"),
        ("allow := {\"allowed\": true, \"headers\": {\"host\": \"x\"}}", 500, "`headers`"),
        ("allow := {\"allowed\": true, \"headers\": {\"a\": \"x\\r\\ny\"}}", 500, "`headers`"),
        ("allow := {\"allowed\": true, \"dynamic_metadata\": 1}", 500, "`dynamic_metadata`"),
        ("allow := {\"allowed\": false, \"http_status\": 99}", 500, "`http_status`"),
        ("allow := {\"allowed\": false, \"http_status\": \"403\"}", 500, "`http_status`"),
        ("allow := {\"allowed\": false, \"body\": {}}", 500, "`body`"),
        ("allow := {\"allowed\": false, \"http_status\": 404}", 404, "does not allow"),
        ("allow := x if some x in [true, false]", 500, "could not be evaluated"),
    ] {
        let policy = format!("package envoy.authz\n{rule}\n");
        let reply = denied(outcome(&policy, http("GET", "/", &[], b"")));
        assert_eq!(reply.status, status, "{rule}: {reply:?}");
        assert!(reply.reason.contains(words), "{rule}: {}", reply.reason);
    }
    // What a builtin cannot do is undefined, as with OPA.
    let policy = "package envoy.authz\nallow if not to_number(\"x\") == 1";
    allowed(outcome(policy, http("GET", "/", &[], b"")));
}

#[test]
fn who_an_earlier_filter_found_and_the_time_are_there() {
    let policy = "package envoy.authz\nimport data.tools\n\
                  allow if {\n\tnot input.identity\n\ttime.now_ns() == 1795512600000000000\n\
                  \ttools.is_get(input.attributes.request.http.method)\n\tcount(numbers.range(3, 1)) == 3\n\
                  \tio.jwt.decode(\"eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ.\")[1].sub == \"ann\"\n}";
    let spec = json!({"policies": {"a": policy,
        "b": "package tools\nis_get(method) if method == \"GET\""}});
    allowed(judged(&spec, check(http("GET", "/", &[], b""))).0);
    denied(judged(&spec, check(http("POST", "/", &[], b""))).0);
}

#[test]
fn older_policies_and_other_rules_can_be_named() {
    let old = "package istio.authz\ndefault allow = false\nallow { input.attributes.request.http.method == \"GET\" }";
    let spec = json!({"policies": {"a.rego": old}, "regoVersion": "v0",
        "query": "data.istio.authz.allow"});
    allowed(judged(&spec, check(http("GET", "/", &[], b""))).0);
    denied(judged(&spec, check(http("PUT", "/", &[], b""))).0);
}

#[test]
fn mistakes_are_told_when_the_filter_is_loaded() {
    let package = |text: &str| spec(&format!("package envoy.authz\n{text}\n"));
    for (spec, words) in [
        (json!({}), "there is no policy"),
        (json!({"policies": {}}), "there is no policy"),
        (spec("allow := true"), "authz.rego:1:1"),
        (package("allow if {"), "authz.rego:3"),
        (package("allow { true }"), "regoVersion: v0"),
        (package("deny := true"), "the policies have no rule data.envoy.authz.allow"),
        (package("allow if http.send({\"url\": \"x\"}).status_code == 200"), "`http.send`"),
        (package("allow if opa.runtime().env.A == \"b\""), "`opa.runtime`"),
        (package("allow if rand.intn(\"a\", 2) == 1"), "`rand.intn`"),
        (package("allow if io.jwt.verify_hs256(\"a\", \"b\")"), "`io.jwt.verify_hs256`"),
        (package("allow if startwith(\"a\", \"b\")"), "`startwith`"),
        (package("allow if x == 1"), "x"),
        (
            json!({"policies": {"a": "package envoy.authz\nallow := true"}, "query": "allow"}),
            "`allow` is no rule",
        ),
        (
            json!({"policies": {"a": "package a\nallow := true"}, "query": "data.a"}),
            "no rule data.a",
        ),
        (
            json!({"policies": {"a": "package a\nb := 1"}, "regoVersion": "2"}),
            "`2` is not v0 or v1",
        ),
        (json!({"policies": {"a": " ".repeat(257 << 10)}}), "longer than 256 KiB"),
        (json!({"policies": {"a": "package a"}, "data": {"x": "a".repeat(1 << 20)}}), "1024 KiB"),
        (json!({"policies": {"a": "package a"}, "dta": {}}), "dta"),
        (
            package(&format!("allow if {}1{} == 1", "[".repeat(300), "]".repeat(300))),
            "nested too deeply",
        ),
        (
            package(&format!("x := {}\n", "[[[[[[[[1]]]]]]]]\n".repeat(100)).repeat(2)),
            "nested too deeply",
        ),
    ] {
        let (_, found) = snapshot(&spec);
        assert!(found.iter().any(|f| f.contains(words)), "{words}: {found:?}");
        assert!(!found.iter().any(|f| f.contains('\n')), "{found:?}");
    }
}

#[test]
fn a_policy_that_takes_too_long_is_stopped() {
    let loops = "count([1 | some a in input.parsed_body; some b in input.parsed_body; a > b]) == 0";
    for body in [
        loops,
        "count([1 | some i in numbers.range(1, 9999); some j in numbers.range(1, 9999); i > j]) > 0",
    ] {
        let (snapshot, found) = snapshot(&spec(&format!("package envoy.authz\nallow if {body}")));
        assert!(found.is_empty(), "{found:?}");
        let list = serde_json::to_vec(&(0..20_000).collect::<Vec<u32>>()).unwrap();
        let request = http("POST", "/", &[("content-type", "application/json")], &list);
        let request = Request::from_check(check(request)).unwrap();
        for is_known in [false, true] {
            let mut flow = Flow::new(snapshot.clone(), request.clone(), NOW);
            let start = Instant::now();
            let Step::Need(Need::Compute(job)) = flow.step(&()) else { panic!("{body}") };
            // It takes a millisecond, and is not even tried when it is known to take long. This is a
            // build without optimisation on a busy machine.
            let limit = if is_known { 200 } else { 500 };
            assert!(start.elapsed() < Duration::from_millis(limit), "{:?}", start.elapsed());
            flow.answer(Answer::Computed(Some(job.run())));
            let Step::Done(outcome) = flow.step(&()) else { panic!("{body}") };
            let why = "the policy could not be evaluated: it takes too long";
            assert_eq!(denied(outcome).reason, why);
            assert!(start.elapsed() < Duration::from_secs(3), "{body}: {:?}", start.elapsed());
        }
        // Too much of it waits: nobody passes, and nobody is refused for good.
        let mut flow = Flow::new(snapshot, request, NOW);
        let Step::Need(Need::Compute(_)) = flow.step(&()) else { panic!("{body}") };
        flow.answer(Answer::Computed(None));
        let Step::Done(Outcome::Error(reply)) = flow.step(&()) else { panic!("{body}") };
        assert_eq!(reply.status, 503);
    }
    let range = "package envoy.authz\nallow if count(numbers.range(1, 1000000000)) > 0";
    denied(outcome(range, http("GET", "/", &[], b"")));
}

#[test]
fn no_policy_takes_the_stack() {
    let passes = |policy: &str| {
        let spec = spec(&format!("package envoy.authz\n{policy}\n"));
        let (outcome, _) = judged(&spec, check(http("GET", "/", &[], b"")));
        matches!(outcome, Outcome::Allow(_))
    };
    // Rules in rules and functions in functions, as many as may be. A slow machine stops them.
    for (first, next, last) in [
        ("allow if r0 == 1", "rI := [[[rJ]]][0][0][0]", "r900 := 1"),
        ("allow if f0(1) == 1", "fI(x) := fJ(x)", "f900(x) := x"),
        ("allow if f0(1)", "fI(x) if { every y in [x] { fJ(y) } }", "f900(x) := x"),
    ] {
        let name = |i: usize| next.replace('I', &i.to_string()).replace('J', &(i + 1).to_string());
        let chain: Vec<String> = (0..900).map(name).collect();
        passes(&format!("{first}\n{}\n{last}", chain.join("\n")));
    }
    for policy in [
        "allow if f(1)\nf(x) := y if y := f(x + 1)",
        "allow if f(1)\nf(x) := g(x)\ng(x) := h(x)\nh(x) := f(x)",
        "allow if f(1)\nf(x) := data.envoy.authz.f(x)",
        "allow if f(1)\nf(x) := y if y := count([x]) with count as f",
        "allow if f(1) with upper as g\nf(x) := upper(x)\ng(x) := f(x)",
        "allow if f(1) with upper as f\nf(x) := upper(x)",
    ] {
        let (_, found) = snapshot(&spec(&format!("package envoy.authz\n{policy}\n")));
        assert!(found.iter().any(|f| f.contains("calls itself")), "{policy}: {found:?}");
    }
    for policy in [
        "allow if allow",
        "allow if a\na if b\nb if a",
        "allow if f(1)\nf(x) if allow",
        "allow if a\na := f(1)\nf(x) := a",
    ] {
        assert!(!passes(policy), "{policy}");
    }
    let many: String = (0..1100).map(|i| format!("r{i} := 1\n")).collect();
    let (_, found) = snapshot(&spec(&format!("package envoy.authz\nallow := true\n{many}")));
    assert!(found[0].contains("more than 1000 rules"), "{found:?}");
}
