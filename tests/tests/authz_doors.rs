//! The ways into authz-svc besides gRPC over TCP: HTTP as Envoy's `http_service` and others speak it,
//! and sockets that are files; by a real Envoy, by gateway-ctl's AuthService, and by callers that mean
//! harm.

#![allow(clippy::unwrap_used)]

use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use e2e::authorizer::Authorizer;
use e2e::backend::Backend;
use e2e::http::{self, Request, Response};
use e2e::process::{Process, envoy, program, start_envoy};
use e2e::{TempDir, free_addr};
use serde_json::Value;

const POLICIES: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: keys, namespace: edge}
stringData: {ann: open-sesame}
---
apiVersion: getambassador.io/v3alpha1
kind: Filter
metadata: {name: key, namespace: edge}
spec: {APIKey: {keys: [{secretName: keys}]}}
---
apiVersion: getambassador.io/v3alpha1
kind: Filter
metadata: {name: members, namespace: edge}
spec:
  JWT:
    jwksSecret: {name: member-keys}
    injectRequestHeaders:
    - {name: x-user, value: "{{ .token.Claims.sub }}"}
    - {name: x-secret, value: "{{ doNotSet }}"}
---
apiVersion: getambassador.io/v3alpha1
kind: Filter
metadata: {name: near, namespace: edge}
spec: {IP: {allow: [127.0.0.0/8, 192.0.2.0/24]}}
---
apiVersion: getambassador.io/v3alpha1
kind: FilterPolicy
metadata: {name: shop, namespace: edge}
spec:
  rules:
  - {path: /open/*}
  - {path: /key/*, filters: [{name: key}]}
  - {path: /near/*, filters: [{name: near}]}
  - {path: "*", filters: [{name: members}]}
"#;

fn read(name: &str) -> String {
    std::fs::read_to_string(e2e::root().join("..").join(name)).unwrap()
}

fn token(user: &str) -> String {
    format!("Bearer {}", read(&format!("docs/examples/tokens/{user}.jwt")).trim())
}

fn policies() -> TempDir {
    let folder = TempDir::new("doors");
    let keys = read("deploy/examples/plain-envoy-policies.yaml");
    let secret = &keys[keys.find("apiVersion: v1\n").unwrap()..];
    folder.write("a.yaml", &format!("{POLICIES}---\n{secret}"));
    folder
}

/// Asks as a proxy does.
fn ask(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Request::get(path, "shop.test");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    http::send(addr, &request).unwrap()
}

#[test]
fn http_callers_get_what_is_to_be_done() {
    let folder = policies();
    let addr = free_addr();
    let text = addr.to_string();
    let service = Authorizer::start(
        &folder,
        &["--http-addr", &text, "--http-path-prefix", "/auth"],
        &[("AUTHZ_STRIP_UNSET", "true"), ("AUTHZ_HTTP_CLIENT_ADDRESS", "x-real-ip")],
    );
    let alice = token("alice");
    let answer =
        ask(addr, "/auth/basket?q", &[("authorization", &alice), ("x-secret", "of-the-client")]);
    assert_eq!((answer.status, answer.header("x-user")), (200, Some("alice")));
    assert_eq!(answer.header("x-envoy-auth-headers-to-remove"), Some("x-secret"));
    assert_eq!(answer.header("x-authz-identity"), Some("alice"));
    let refused = ask(addr, "/auth/basket", &[("x-request-id", "r-1")]);
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").unwrap().starts_with("Bearer"));
    assert_eq!(refused.json()["status_code"], 401);
    assert_eq!(ask(addr, "/auth/near/x", &[]).status, 403, "the client's address is not known");
    assert_eq!(ask(addr, "/auth/near/x", &[("x-real-ip", "8.8.8.8")]).status, 403);
    assert_eq!(ask(addr, "/auth/near/x", &[("x-real-ip", "192.0.2.7")]).status, 200);
    for (path, status) in [
        ("/auth/open/x", 200),
        ("/auth/open/..%2fbasket", 401),
        ("/auth/open/../basket", 401),
        ("/open/x", 400),
        ("/authors", 400),
        ("/auth", 400),
    ] {
        assert_eq!(ask(addr, path, &[]).status, status, "{path}");
    }
    // A decision is one of all, however it was asked for.
    assert_eq!(service.metric("authz_checks_total{outcome=\"allowed\"}"), Some(3.0));
    let decision = http::get(service.admin, "/decisions/r-1").unwrap().json();
    assert_eq!(decision["path"], "/basket", "{decision}");
}

#[test]
fn over_http_2_too() {
    let folder = policies();
    let addr = free_addr();
    let _service = Authorizer::start(&folder, &["--http-addr", &addr.to_string()], &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(addr).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        for (path, key, status) in
            [("/key/x", "open-sesame", 200), ("/key/x", "guess", 401), ("/open/x", "", 200)]
        {
            let request = ::http::Request::get(format!("https://shop.test{path}"))
                .header("x-api-key", key)
                .body(())
                .unwrap();
            let (response, _) = sender.send_request(request, true).unwrap();
            assert_eq!(response.await.unwrap().status(), status, "{path} {key}");
        }
    });
}

/// What comes back for these bytes.
fn raw(mut stream: impl std::io::Read + std::io::Write, bytes: &[u8]) -> String {
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn nothing_strange_passes_over_http() {
    let folder = policies();
    let addr = free_addr();
    let service = Authorizer::start(&folder, &["--http-addr", &addr.to_string()], &[]);
    let connect = || {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    };
    let many: String = (0..20_000).map(|i| format!("x-{i}: 1\r\n")).collect();
    let long = format!("x-long: {}\r\n", "y".repeat(1 << 20));
    let get =
        |head: &str| format!("GET /open/x HTTP/1.1\r\nhost: a\r\n{head}connection: close\r\n\r\n");
    for (what, text) in [
        ("20,000 headers", get(&many)),
        ("a header of 1 MiB", get(&long)),
        ("two hosts", get("host: b\r\n")),
        ("no host", "GET /open/x HTTP/1.1\r\nconnection: close\r\n\r\n".to_owned()),
        ("two lengths", get("content-length: 1\r\ncontent-length: 2\r\n")),
        ("chunks and a length", get("content-length: 1\r\ntransfer-encoding: gzip\r\n")),
        ("a header with a bare CR", get("x: a\rb\r\n")),
        ("a name with a blank", get("x : a\r\n")),
        ("CONNECT", "CONNECT /open/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".to_owned()),
        (
            "CONNECT to a host",
            "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\nconnection: close\r\n\r\n".to_owned(),
        ),
        ("a body of 17 MiB", get("content-length: 17825792\r\n")),
        ("no HTTP", "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\r\n\r\n".to_owned()),
    ] {
        let answer = raw(connect(), text.as_bytes());
        assert!(!answer.starts_with("HTTP/1.1 2"), "{what}: {answer}");
    }
    let answer = raw(connect(), get("").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(!service.process.log().contains("panicked"), "{}", service.process.log());
}

/// A folder for `--tls-dir`, and how a client with the same identity speaks TLS; or one without any.
fn identity(folder: &TempDir) -> impl Fn(bool) -> rustls::ClientConfig {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = ca.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(ca, key);
    let key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let own = own.signed_by(&key, &issuer).unwrap();
    folder.write("ca.crt", &authority.pem());
    folder.write("tls.crt", &own.pem());
    folder.write("tls.key", &key.serialize_pem());
    move |with_certificate| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let config = rustls::ClientConfig::builder().with_root_certificates(roots);
        if !with_certificate {
            return config.with_no_client_auth();
        }
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        config.with_client_auth_cert(vec![own.der().clone()], key).unwrap()
    }
}

#[test]
fn over_tls_callers_show_a_certificate() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (folder, tls, addr) = (policies(), TempDir::new("doors-tls"), free_addr());
    let client = identity(&tls);
    let tls_dir = tls.path().display().to_string();
    let _service =
        Authorizer::start(&folder, &["--http-addr", &addr.to_string(), "--tls-dir", &tls_dir], &[]);
    let get = |config: rustls::ClientConfig| {
        let name = "localhost".try_into().unwrap();
        let connection = rustls::ClientConnection::new(config.into(), name).unwrap();
        let stream = rustls::StreamOwned::new(connection, TcpStream::connect(addr).unwrap());
        raw(stream, b"GET /open/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    };
    let answer = get(client(true));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(get(client(false)), "");
    let clear = TcpStream::connect(addr).unwrap();
    let answer = raw(clear, b"GET /open/x HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(!answer.contains("200"), "{answer}");
}

/// A filter that asks this service itself, over the door that it came in by: it ends soon, and denies.
#[test]
fn who_asks_himself_is_refused() {
    let folder = policies();
    let addr = free_addr();
    let more = format!(
        "---\napiVersion: getambassador.io/v3alpha1\nkind: Filter\n\
         metadata: {{name: loop, namespace: edge}}\n\
         spec: {{External: {{auth_service: \"http://{addr}\", proto: http}}}}\n---\n\
         apiVersion: getambassador.io/v3alpha1\nkind: FilterPolicy\n\
         metadata: {{name: a-loop, namespace: edge}}\n\
         spec: {{rules: [{{path: /loop/*, filters: [{{name: loop}}]}}]}}\n"
    );
    folder.write("b.yaml", &more);
    let service = Authorizer::start(&folder, &["--http-addr", &addr.to_string()], &[]);
    assert_eq!(ask(addr, "/loop/x", &[]).status, 403);
    let asked = service.metric("authz_stage_seconds_count{stage=\"http\"}").unwrap_or_default();
    assert!((1.0..=8.0).contains(&asked), "{asked}");
}

/// An Envoy with a listener for each way to ask; `clusters` are those of `grpc` and `http`.
fn envoy_config(
    admin: SocketAddr,
    listeners: [SocketAddr; 2],
    app: SocketAddr,
    sockets: [&str; 2],
) -> String {
    let asks = [
        "grpc_service: {envoy_grpc: {cluster_name: grpc}, timeout: 10s}",
        "allowed_headers: {patterns: [{safe_regex: {regex: \".*\"}}]}\n              \
         http_service:\n                \
         server_uri: {uri: \"http://authz\", cluster: http, timeout: 10s}\n                \
         authorization_response: {allowed_upstream_headers: {patterns: [{exact: x-user}]}}",
    ];
    let listener = |at: usize| {
        format!(
            r#"
  - name: l{at}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: l{at}
          use_remote_address: true
          http_filters:
          - name: envoy.filters.http.ext_authz
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
              transport_api_version: V3
              # What is no answer must be seen to deny.
              failure_mode_allow: true
              {ask}
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: app}}}}]}}"#,
            port = listeners[at].port(),
            ask = asks[at],
        )
    };
    let pipe = |path: &str| format!("pipe: {{path: {path}}}");
    let cluster = |name: &str, address: &str, more: &str| {
        format!(
            "\n  - name: {name}\n    type: STATIC\n    load_assignment: {{cluster_name: {name}, endpoints: \
             [{{lb_endpoints: [{{endpoint: {{address: {{{address}}}}}}}]}}]}}{more}"
        )
    };
    let h2 = "\n    typed_extension_protocol_options:\n      \
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:\n        \
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\n        \
        explicit_http_config: {http2_protocol_options: {}}";
    let app = format!("socket_address: {{address: 127.0.0.1, port_value: {}}}", app.port());
    format!(
        "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}\n\
         static_resources:\n  listeners:{}{}\n  clusters:{}{}{}\n",
        admin.port(),
        listener(0),
        listener(1),
        cluster("app", &app, ""),
        cluster("grpc", &pipe(sockets[0]), h2),
        cluster("http", &pipe(sockets[1]), ""),
    )
}

#[test]
fn a_real_envoy_asks_over_sockets_that_are_files() {
    let folder = policies();
    let place = TempDir::new("doors-sockets");
    let [grpc, http] = ["g", "h"].map(|name| place.path().join(name).display().to_string());
    let [admin, envoy_admin, app, first, second] = std::array::from_fn(|_| free_addr());
    let start = || {
        let arguments = [
            "--config",
            folder.path().to_str().unwrap(),
            "--admin-addr",
            &admin.to_string(),
            "--grpc-addr",
            &format!("unix:{grpc}"),
            "--http-addr",
            &format!("unix:{http}"),
            "--http-client-address",
            "x-forwarded-for",
        ];
        let strip = [("AUTHZ_STRIP_UNSET", "true")];
        let mut process = Process::start(&program("authz-svc"), &arguments, &strip);
        process.wait_ready(admin);
        process
    };
    let mut service = start();
    let backend = Backend::start("app", "http", &[app], &Value::Null);
    let file = place.path().join("envoy.yaml");
    std::fs::write(&file, envoy_config(envoy_admin, [first, second], app, [&grpc, &http])).unwrap();
    let mut proxy = start_envoy(&file, &[]);
    proxy.wait_ready_envoy(envoy_admin);
    let alice = token("alice");
    // Both ways say the same.
    for listener in [first, second] {
        assert_eq!(ask(listener, "/basket", &[]).status, 401);
        let sent = [("authorization", alice.as_str()), ("x-secret", "s"), ("x-user", "mallory")];
        assert_eq!(ask(listener, "/basket?q=1", &sent).status, 200);
        let hits = backend.take_hits();
        assert_eq!(hits.len(), 1);
        let of =
            |name: &str| hits[0].headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        assert_eq!((of("x-user"), of("x-secret")), (Some("alice"), None));
        assert_eq!(ask(listener, "/key/x", &[("x-api-key", "open-sesame")]).status, 200);
        assert_eq!(ask(listener, "/key/x", &[("x-api-key", "guess")]).status, 401);
        assert_eq!(ask(listener, "/near/x", &[("x-forwarded-for", "8.8.8.8")]).status, 200);
        backend.take_hits();
    }
    // A misconfigured filter is no error that Envoy may let pass.
    let broken = POLICIES.replace("name: member-keys", "name: no-such-secret");
    folder.write("a.yaml", &broken);
    service.wait("refusing", |_| ask(first, "/basket", &[("authorization", &alice)]).status == 500);
    backend.take_hits();
    let answer = ask(second, "/basket", &[("authorization", &alice)]);
    assert_eq!((answer.status, answer.json()["status_code"].as_u64()), (403, Some(500)));
    assert!(backend.take_hits().is_empty());
    // Its end takes the files away, and the next one's are found.
    service.terminate();
    assert!(service.wait_end().success(), "{}", service.log());
    assert!([&grpc, &http].iter().all(|path| !std::path::Path::new(path).exists()));
    let _service = start();
    for listener in [first, second] {
        proxy.wait("asking again", |_| {
            ask(listener, "/key/x", &[("x-api-key", "guess")]).status == 401
        });
    }
    let stream = UnixStream::connect(&http).unwrap();
    let answer = raw(stream, b"GET /open/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn an_auth_service_over_http_may_be_authz_svc() {
    let folder = policies();
    let [authz, listener, xds, admin, envoy_admin, ready, app] =
        std::array::from_fn(|_| free_addr());
    let text = authz.to_string();
    let _service =
        Authorizer::start(&folder, &["--http-addr", &text, "--http-path-prefix", "/auth"], &[]);
    let backend = Backend::start("app", "http", &[app], &Value::Null);
    let objects = TempDir::new("doors-gateway");
    objects.write(
        "a.yaml",
        &format!(
            r#"
apiVersion: getambassador.io/v3alpha1
kind: Listener
metadata: {{name: l, namespace: edge}}
spec: {{port: {}, protocol: HTTP, securityModel: INSECURE, hostBinding: {{namespace: {{from: ALL}}}}}}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {{name: all, namespace: edge}}
spec: {{hostname: "*", prefix: /, service: "{app}"}}
---
apiVersion: getambassador.io/v3alpha1
kind: AuthService
metadata: {{name: authz, namespace: edge}}
spec:
  auth_service: "{authz}"
  proto: http
  path_prefix: /auth
  timeout_ms: 10000
  allowed_request_headers: [x-api-key]
  allowed_authorization_headers: [x-user]
"#,
            listener.port()
        ),
    );
    let folder = objects.path().display().to_string();
    let controller = Process::start(
        &program("gateway-ctl"),
        &[
            "serve",
            "--config",
            &folder,
            "--xds-addr",
            &xds.to_string(),
            "--admin-addr",
            &admin.to_string(),
        ],
        &[],
    );
    let file = objects.path().join("envoy.json").display().to_string();
    let made = Command::new(program("gateway-ctl"))
        .args(["envoy-bootstrap", "--xds", &xds.to_string(), "--format", "json", "--output", &file])
        .args(["--ready-addr", &ready.to_string(), "--envoy-admin-addr", &envoy_admin.to_string()])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let own = ["--disable-hot-restart", "--concurrency", "1", "-l", "warning", "-c", &file];
    let mut proxy = Process::start(&envoy(), &own, &[]);
    let get = |path: &str, headers: &[(&str, &str)]| {
        let mut request = Request::get(path, "shop.test");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        http::send(listener, &request).map_or(0, |response| response.status)
    };
    proxy.wait("asking", |_| get("/basket", &[]) == 401);
    assert_eq!(get("/basket", &[("authorization", &token("alice"))]), 200, "{}", controller.log());
    let hits = backend.take_hits();
    assert!(hits[0].headers.contains(&("x-user".to_owned(), "alice".to_owned())), "{hits:?}");
    assert_eq!(get("/key/x", &[("x-api-key", "open-sesame")]), 200);
    assert_eq!(get("/key/x", &[("x-api-key", "guess")]), 401);
    assert_eq!(get("/open/x", &[]), 200);
}
