use std::sync::Arc;

use serde_json::{Value, json};
use service_kit::Object;

use crate::compile::{Settings, compile};
use crate::need::{Answer, CallError, HttpAnswer, Need};
use crate::{Flow, Outcome, Request, Step};

fn snapshot(external: &Value) -> (Arc<crate::Snapshot>, Vec<String>) {
    let object = |kind: &str, name: &str, spec: Value| {
        Object::from_json(json!({"apiVersion": "getambassador.io/v3alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": "ns"}, "spec": spec}))
        .unwrap()
    };
    let objects = [
        object("Filter", "x", json!({"External": external})),
        object("FilterPolicy", "p", json!({"rules": [{"filters": [{"name": "x"}]}]})),
    ];
    let compiled = compile(objects.iter(), &Settings::default());
    (Arc::new(compiled.snapshot), compiled.found.iter().map(ToString::to_string).collect())
}

fn flow(external: &Value, body: &str, headers: &[(&str, &str)]) -> Flow {
    use proto::envoy::service::auth::v3::attribute_context::{self, HttpRequest};
    use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest};
    let http = HttpRequest {
        method: "POST".to_owned(),
        host: "a.test".to_owned(),
        path: "/p?q=1".to_owned(),
        headers: headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        body: body.to_owned(),
        ..HttpRequest::default()
    };
    let request = attribute_context::Request { http: Some(http), time: None };
    let attributes = AttributeContext { request: Some(request), ..AttributeContext::default() };
    let request = Request::from_check(CheckRequest { attributes: Some(attributes) }).unwrap();
    let (snapshot, found) = snapshot(external);
    assert!(found.is_empty(), "{found:?}");
    Flow::new(snapshot, request, std::time::Duration::ZERO)
}

fn call(flow: &mut Flow) -> Box<crate::need::HttpCall> {
    match flow.step(&()) {
        Step::Need(Need::Http(call)) => call,
        other => panic!("no call: {other:?}"),
    }
}

fn end(flow: &mut Flow, answer: Result<HttpAnswer, CallError>) -> Outcome {
    flow.answer(Answer::Http(answer.map(Arc::new)));
    match flow.step(&()) {
        Step::Done(outcome) => outcome,
        Step::Need(need) => panic!("needs {need}"),
    }
}

fn answer(status: u16, headers: &[(&str, &str)]) -> HttpAnswer {
    let headers = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    HttpAnswer { status, headers, body: b"words".to_vec() }
}

#[test]
fn the_question_has_the_path_and_only_what_is_allowed() {
    let spec = json!({"auth_service": "HTTP://authz.test:3000", "path_prefix": "/pre",
        "allowed_request_headers": ["X-In"], "add_linkerd_headers": true, "timeout_ms": 70});
    let sent = [("x-in", "1"), ("cookie", "c"), ("x-secret", "2"), (":path", "/")];
    let call = call(&mut flow(&spec, "body", &sent));
    assert_eq!(call.url, "http://authz.test:3000/pre/p?q=1");
    assert_eq!((call.method.as_str(), call.timeout.as_millis(), call.body.len()), ("POST", 70, 0));
    let names: Vec<&str> = call.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["cookie", "x-in", "x-tollgate-external-hops", "content-length", "l5d-dst-override"]
    );
}

#[test]
fn a_body_is_sent_as_far_as_it_may() {
    let with = |partial| json!({"auth_service": "a", "include_body": {"max_bytes": 4, "allow_partial": partial}});
    assert_eq!(call(&mut flow(&with(true), "12345", &[])).body, b"1234");
    assert_eq!(call(&mut flow(&with(false), "1234", &[])).body, b"1234");
    let Step::Done(Outcome::Deny(reply)) = flow(&with(false), "12345", &[]).step(&()) else {
        panic!("not refused");
    };
    assert_eq!(reply.status, 413);
}

#[test]
fn only_200_lets_pass_and_only_what_is_allowed_is_taken() {
    let spec = json!({"auth_service": "a", "allowed_authorization_headers": ["X-Out"]});
    let mut f = flow(&spec, "", &[("x-out", "client's")]);
    call(&mut f);
    let headers = [("x-out", "o"), ("x-out", "p"), ("x-other", "n"), ("set-cookie", "s")];
    let Outcome::Allow(mutations) = end(&mut f, Ok(answer(200, &headers))) else {
        panic!("denied");
    };
    let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(mutations.set, [set("set-cookie", "s"), set("x-out", "o,p")]);
    for status in [201, 204, 302, 401, 403, 404, 429] {
        let mut f = flow(&spec, "", &[]);
        call(&mut f);
        let headers = [("location", "/l"), ("x-any", "a"), ("content-length", "5")];
        let Outcome::Deny(reply) = end(&mut f, Ok(answer(status, &headers))) else {
            panic!("{status} is no refusal");
        };
        assert_eq!((reply.status, reply.body.as_str()), (status, "words"));
        assert_eq!(reply.headers, [set("location", "/l"), set("x-any", "a")]);
    }
}

#[test]
fn a_service_that_fails_refuses_unless_told_otherwise() {
    for bad in [Ok(answer(500, &[])), Err(CallError::TimedOut), Err(CallError::Shed)] {
        for (more, status) in [
            (json!({}), Some(403)),
            (json!({"status_on_error": {"code": 503}}), Some(503)),
            (json!({"failure_mode_allow": true}), None),
        ] {
            let mut spec = more.clone();
            spec["auth_service"] = "a".into();
            let mut f = flow(&spec, "", &[]);
            call(&mut f);
            match end(&mut f, bad.clone()) {
                Outcome::Allow(_) => assert_eq!(status, None),
                Outcome::Error(reply) => assert_eq!(Some(reply.status), status),
                Outcome::Deny(_) => panic!("a failure is no refusal"),
            }
        }
    }
}

#[test]
fn a_question_that_goes_round_ends() {
    let spec = json!({"auth_service": "a"});
    let hops = |n: &str| {
        let call = call(&mut flow(&spec, "", &[("x-tollgate-external-hops", n)]));
        call.headers.iter().find(|(name, _)| name.ends_with("hops")).unwrap().1.clone()
    };
    assert_eq!(hops("3"), "4");
    let last = [("x-tollgate-external-hops", "8")];
    assert!(matches!(flow(&spec, "", &last).step(&()), Step::Done(Outcome::Error(_))));
}

#[test]
fn what_is_wrong_is_told() {
    for (spec, words) in [
        (json!({"auth_service": ""}), "is not like"),
        (json!({"auth_service": "ftp://a"}), "unknown scheme"),
        (json!({"auth_service": "a/b"}), "is not like"),
        (json!({"auth_service": "a", "proto": "smtp"}), "neither http nor grpc"),
        (json!({"auth_service": "a", "proto": "grpc", "protocol_version": "v2"}), "not spoken"),
        (json!({"auth_service": "a", "include_body": {"max_bytes": 1}}), "both needed"),
        (
            json!({"auth_service": "a", "allow_request_body": true,
                "include_body": {"max_bytes": 1, "allow_partial": true}}),
            "says it already",
        ),
        (json!({"auth_service": "a", "tls": "context"}), "invalid type"),
        (json!({"auth_service": "a", "status_on_error": {"code": 99}}), "not an HTTP status"),
        (json!({"auth_service": "a", "stats_name": "x"}), "unknown field"),
        (
            json!({"auth_service": "https://a",
                "tlsConfig": {"caCertificate": {"fromSecret": {"name": "ca"}}}}),
            "no Secret ca.ns",
        ),
    ] {
        let (_, found) = snapshot(&spec);
        assert!(found.iter().any(|f| f.contains(words)), "{words}: {found:?}");
    }
}

mod over_grpc {
    use prost::Message as _;
    use proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
    use proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
    use proto::envoy::service::auth::v3::check_response::HttpResponse;
    use proto::envoy::service::auth::v3::{
        CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
    };
    use proto::envoy::r#type::v3::HttpStatus;
    use proto::google::rpc::Status;

    use super::*;

    fn spec() -> Value {
        json!({"auth_service": "a:9", "proto": "grpc"})
    }

    fn asked(flow: &mut Flow) -> CheckRequest {
        match flow.step(&()) {
            Step::Need(Need::Grpc(call)) => CheckRequest::decode(call.message.as_slice()).unwrap(),
            other => panic!("no call: {other:?}"),
        }
    }

    fn end(response: &CheckResponse, headers: &[(&str, &str)]) -> Outcome {
        let mut f = flow(&spec(), "", headers);
        asked(&mut f);
        f.answer(Answer::Grpc(Ok(Arc::new(response.encode_to_vec()))));
        match f.step(&()) {
            Step::Done(outcome) => outcome,
            Step::Need(need) => panic!("needs {need}"),
        }
    }

    fn option(key: &str, value: &str, action: HeaderAppendAction) -> HeaderValueOption {
        let (key, value) = (key.to_owned(), value.to_owned());
        HeaderValueOption {
            header: Some(HeaderValue { key, value, ..HeaderValue::default() }),
            append_action: action.into(),
            ..HeaderValueOption::default()
        }
    }

    #[test]
    fn the_question_is_envoys_without_the_body() {
        let check = asked(&mut flow(&spec(), "secret", &[("x-a", "1")]));
        let http = check.attributes.unwrap().request.unwrap().http.unwrap();
        assert_eq!((http.path.as_str(), http.body.as_str()), ("/p?q=1", ""));
        assert_eq!(http.headers["x-a"], "1");
    }

    #[test]
    fn an_answer_is_taken_as_the_service_says() {
        use HeaderAppendAction::{AddIfAbsent, AppendIfExistsOrAdd, OverwriteIfExists};
        let ok = OkHttpResponse {
            headers: vec![
                option("X-User", "ann", AppendIfExistsOrAdd),
                option("x-there", "new", AddIfAbsent),
                option("x-absent", "new", OverwriteIfExists),
                option(":path", "/evil", OverwriteIfExists),
                option("host", "evil", AppendIfExistsOrAdd),
            ],
            headers_to_remove: vec!["X-Gone".to_owned(), ":path".to_owned()],
            response_headers_to_add: vec![option("set-cookie", "a=1", AppendIfExistsOrAdd)],
            ..OkHttpResponse::default()
        };
        let response = CheckResponse {
            http_response: Some(HttpResponse::OkResponse(ok)),
            ..CheckResponse::default()
        };
        let client = [("x-user", "root"), ("x-there", "old"), ("x-gone", "g")];
        let Outcome::Allow(mutations) = end(&response, &client) else { panic!("denied") };
        assert_eq!(mutations.set, [("x-user".to_owned(), "ann".to_owned())]);
        assert_eq!(mutations.remove, ["x-gone"]);
        assert!(mutations.response_headers[0].append);
    }

    /// Linear in what the service sends.
    #[test]
    fn many_headers_cost_no_more_each_than_few() {
        let appended = |key: &str| {
            let mut option = option(key, "1", HeaderAppendAction::AppendIfExistsOrAdd);
            #[expect(deprecated)]
            {
                option.append = Some(true);
            }
            option
        };
        let one = (0..20_000).map(|_| appended("x-roles"));
        let others = (0..20_000).map(|i| appended(&format!("x-{i}")));
        let ok =
            OkHttpResponse { headers: one.chain(others).collect(), ..OkHttpResponse::default() };
        let response = CheckResponse {
            http_response: Some(HttpResponse::OkResponse(ok)),
            ..CheckResponse::default()
        };
        let begun = std::time::Instant::now();
        let client = [("x-roles", "0")];
        let Outcome::Allow(mutations) = end(&response, &client) else { panic!("denied") };
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(mutations.set.len(), 20_001);
        let roles = mutations.set.iter().find(|(name, _)| name == "x-roles").unwrap();
        assert_eq!(roles.1, format!("0{}", ",1".repeat(20_000)));
    }

    #[test]
    fn a_refusal_is_passed_on_and_nothing_else_lets_pass() {
        let denied = DeniedHttpResponse {
            status: Some(HttpStatus { code: 418 }),
            headers: vec![option("x-why", "tea", HeaderAppendAction::AppendIfExistsOrAdd)],
            body: "short".to_owned(),
        };
        let status = |code| Some(Status { code, ..Status::default() });
        let refused = CheckResponse {
            status: status(7),
            http_response: Some(HttpResponse::DeniedResponse(denied)),
            ..CheckResponse::default()
        };
        let Outcome::Deny(reply) = end(&refused, &[]) else { panic!("not denied") };
        assert_eq!((reply.status, reply.body.as_str()), (418, "short"));
        let bare = CheckResponse { status: status(16), ..CheckResponse::default() };
        assert!(matches!(end(&bare, &[]), Outcome::Deny(_)));
        let mixed = CheckResponse {
            status: status(7),
            http_response: Some(HttpResponse::OkResponse(OkHttpResponse::default())),
            ..CheckResponse::default()
        };
        assert!(matches!(end(&mixed, &[]), Outcome::Error(_)));
    }
}
