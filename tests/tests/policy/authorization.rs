//! Cases of Filter and FilterPolicy objects through authz-svc.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use e2e::cases;
use e2e::clock::Clock;
use e2e::process::{Process, program};
use e2e::{TempDir, free_addr};
use proto::envoy::config::core::v3::HeaderValueOption;
use proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use proto::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use serde_json::{Value, json};
use tonic::transport::Endpoint;

use crate::token;

/// The clock of cases that do not set it.
const NOW: u64 = 1_893_456_000;

pub(crate) fn run(case: &Value) {
    let keys = KeyServer::start();
    let external = External::start(&case["ext"]);
    let folder = TempDir::new("policy");
    let text = json!({"apiVersion": "v1", "kind": "List", "items": objects(case)}).to_string();
    let provider = format!("http://{}", keys.addr);
    let text = text.replace("http://jwks.test", &provider).replace("http://idp.test", &provider);
    folder.write("objects.json", &text.replace("ext.test:3000", &external.addr.to_string()));
    let requests = cases::listed(&case["req"]);
    let requests = if requests.is_empty() { vec![json!({})] } else { requests };
    let clock = Clock::at(now(&requests[0]));
    let (grpc, admin) = (free_addr(), free_addr());
    let arguments = [
        "--config",
        folder.path().to_str().unwrap(),
        "--grpc-addr",
        &grpc.to_string(),
        "--admin-addr",
        &admin.to_string(),
    ];
    let environment = clock.environment();
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let mut server = Process::start(&program("authz-svc"), &arguments, &environment);
    server.wait_ready(admin);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let channel = runtime
        .block_on(Endpoint::from_shared(format!("http://{grpc}")).unwrap().connect())
        .unwrap();
    let mut client = AuthorizationClient::new(channel);
    for (request, want) in requests.iter().zip(cases::listed(&case["want"])) {
        clock.set(now(request));
        let response = runtime.block_on(client.check(check(request))).unwrap().into_inner();
        let answer = Answer::of(response);
        let seen = external.expect(&want["ext_saw"]);
        answer.expect(&want).and(seen).unwrap_or_else(|why| {
            panic!("{request}: {why}\nin {answer:?}\nserver log:\n{}", server.log())
        });
    }
}

fn now(request: &Value) -> u64 {
    request["now"].as_u64().unwrap_or(NOW)
}

fn objects(case: &Value) -> Vec<Value> {
    let object = |kind: &str, name: &str, spec: Value| {
        json!({"apiVersion": "getambassador.io/v3alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": "ns"}, "spec": spec})
    };
    let filters = case["filters"].as_object().cloned().unwrap_or_default();
    let all: Vec<Value> = filters.keys().map(|name| json!({"name": name})).collect();
    let rules = case
        .get("rules")
        .cloned()
        .unwrap_or_else(|| json!([{"host": "*", "path": "*", "filters": all}]));
    let mut objects: Vec<Value> =
        filters.iter().map(|(name, spec)| object("Filter", name, spec.clone())).collect();
    objects.push(object("FilterPolicy", "p", json!({"rules": rules})));
    for (name, data) in case["secrets"].as_object().into_iter().flatten() {
        let data: serde_json::Map<String, Value> = data
            .as_object()
            .unwrap()
            .iter()
            .map(|(k, v)| (k.clone(), Value::from(cases::text(v))))
            .collect();
        objects.push(json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": name, "namespace": "ns"}, "stringData": data}));
    }
    objects
}

fn check(request: &Value) -> CheckRequest {
    let text = |key: &str, default: &str| request[key].as_str().unwrap_or(default).to_owned();
    let mut headers: std::collections::BTreeMap<String, String> = request["headers"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| (k.to_lowercase(), cases::text(v)))
        .collect();
    if request["jwt"].is_object() {
        let token = token::sign(&request["jwt"]);
        let header =
            headers.entry("authorization".to_owned()).or_insert_with(|| "Bearer <jwt>".to_owned());
        *header = header.replace("<jwt>", &token);
    }
    let http = HttpRequest {
        id: "envoy-1".to_owned(),
        method: text("method", "GET"),
        host: text("host", "a.test"),
        path: text("path", "/"),
        headers,
        ..HttpRequest::default()
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(Request { http: Some(http), time: None }),
            ..AttributeContext::default()
        }),
    }
}

/// The answer in the words of a case.
#[derive(Debug)]
struct Answer {
    allow: bool,
    status: u64,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn of(response: CheckResponse) -> Self {
        let pairs = |options: Vec<HeaderValueOption>| {
            options
                .into_iter()
                .filter_map(|o| o.header)
                .map(|h| (h.key.to_lowercase(), h.value))
                .collect()
        };
        let code = response.status.map_or(0, |s| s.code);
        match response.http_response {
            Some(HttpResponse::OkResponse(ok)) if code == 0 => {
                Self { allow: true, status: 200, headers: pairs(ok.headers), body: String::new() }
            }
            Some(HttpResponse::DeniedResponse(denied)) => Self {
                allow: false,
                status: denied.status.map_or(403, |s| u64::try_from(s.code).unwrap()),
                headers: pairs(denied.headers),
                body: denied.body,
            },
            other => panic!("neither allowed nor denied: {other:?}"),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    fn expect(&self, want: &Value) -> Result<(), String> {
        if want["allow"].as_bool().is_some_and(|allow| allow != self.allow) {
            return Err(format!("want allow: {}", want["allow"]));
        }
        let statuses = cases::listed(&want["status"]);
        let fits = |s: &Value| match s.as_str() {
            Some(class) => class.starts_with(&(self.status / 100).to_string()),
            None => s.as_u64() == Some(self.status),
        };
        if !statuses.is_empty() && !statuses.iter().any(fits) {
            return Err(format!("want status {}", want["status"]));
        }
        for part in ["set", "resp"] {
            for (name, value) in want[part].as_object().into_iter().flatten() {
                let (got, value) = (self.header(name), cases::text(value));
                let fits = match value.strip_prefix('~') {
                    Some(text) => got.is_some_and(|g| g.contains(text)),
                    None => got == Some(&value),
                };
                if !fits {
                    return Err(format!("header {name}: want {value}, got {got:?}"));
                }
            }
        }
        for name in cases::listed(&want["absent"]) {
            if self.header(name.as_str().unwrap()).is_some() {
                return Err(format!("header {name} is there"));
            }
        }
        if want["body"].as_str().is_some_and(|body| body != self.body) {
            return Err(format!("want body {}", want["body"]));
        }
        match want.get("body_json") {
            Some(json) => {
                let got = serde_json::from_str(&self.body)
                    .map_err(|e| format!("the body is no JSON: {e}"))?;
                cases::contains(json, &got, "body")
            }
            None => Ok(()),
        }
    }
}

/// Serves the key set of the harness, and what an identity provider says of itself.
struct KeyServer {
    addr: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl KeyServer {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let keys = token::key_set();
        let at = |path: &str| format!("http://{addr}/{path}");
        let provider = json!({"issuer": format!("http://{addr}"), "jwks_uri": at("keys"),
            "authorization_endpoint": at("auth"), "token_endpoint": at("token"),
            "userinfo_endpoint": at("userinfo"), "end_session_endpoint": at("bye")});
        let provider = provider.to_string();
        runtime.spawn(async move {
            let router = axum::Router::new()
                .route(
                    "/.well-known/openid-configuration",
                    axum::routing::get(move || std::future::ready(provider.clone())),
                )
                .fallback(move || std::future::ready(keys.clone()));
            let _ = axum::serve(listener, router).await;
        });
        Self { addr, _runtime: runtime }
    }
}

/// What the external service of a case was asked: path with query, and headers.
type Asked = Arc<Mutex<Option<(String, Vec<(String, String)>)>>>;

/// The external service of a case: answers as `ext` says.
struct External {
    addr: SocketAddr,
    asked: Asked,
    _runtime: tokio::runtime::Runtime,
}

impl External {
    fn start(ext: &Value) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let (asked, ext) = (Asked::default(), ext.clone());
        let heard = asked.clone();
        let answer = move |request: axum::extract::Request| {
            let headers = request.headers().iter();
            let headers = headers.map(|(k, v)| (k.to_string(), v.to_str().unwrap().to_owned()));
            let path = request.uri().path_and_query().unwrap().to_string();
            *heard.lock().unwrap() = Some((path, headers.collect()));
            let ext = ext.clone();
            async move {
                if ext["hang"] == true {
                    std::future::pending::<()>().await;
                }
                let status = ext["status"].as_u64().unwrap_or(200);
                let mut response = http::Response::builder().status(u16::try_from(status).unwrap());
                for (name, value) in ext["headers"].as_object().into_iter().flatten() {
                    response = response.header(name, cases::text(value));
                }
                let body = ext["body"].as_str().unwrap_or_default().to_owned();
                response.body(axum::body::Body::from(body)).unwrap()
            }
        };
        runtime.spawn(async move {
            let _ = axum::serve(listener, axum::Router::new().fallback(answer)).await;
        });
        Self { addr, asked, _runtime: runtime }
    }

    fn expect(&self, want: &Value) -> Result<(), String> {
        if want.is_null() {
            return Ok(());
        }
        let asked = self.asked.lock().unwrap().clone();
        let Some((path, headers)) = asked else { return Err("it was not asked".to_owned()) };
        let get = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        if want["path"].as_str().is_some_and(|wanted| wanted != path) {
            return Err(format!("it was asked for {path}"));
        }
        for (name, value) in want["headers"].as_object().into_iter().flatten() {
            if get(name) != Some(&cases::text(value)) {
                return Err(format!("it was sent {name}: {:?}", get(name)));
            }
        }
        for name in cases::listed(&want["absent"]) {
            if get(name.as_str().unwrap()).is_some() {
                return Err(format!("it was sent {name}"));
            }
        }
        Ok(())
    }
}
