//! Each cause that `explain` knows: made on a real Envoy through the real controller, seen in the
//! access log, and told in the right words. A cause of the table without a case fails the test.

#![allow(clippy::unwrap_used)]

#[path = "explain/edge.rs"]
mod edge;
#[path = "explain/servers.rs"]
mod servers;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use e2e::backend::Backend;
use e2e::certificates::Certificates;
use e2e::consul::Stub;
use e2e::free_addr;
use e2e::http::{self, Request};
use e2e::kubernetes::Cluster;
use e2e::process::program;
use e2e::redis::Redis;
use e2e::tls::Client;
use edge::Edge;
use serde_json::{Value, json};

/// How long a change may take to be live.
const LIVE: Duration = Duration::from_secs(3);

/// How a request is sent.
type Send = Box<dyn Fn(&Edge) -> Option<TcpStream>>;

/// Something that goes wrong.
struct Case {
    cause: &'static str,
    request: Request,
    send: Option<Send>,
    marker: String,
    status: u16,
    flag: &'static str,
    says: Vec<&'static str>,
    /// Asked with method, URL and headers, too.
    has_headers: bool,
    /// What is told besides the line.
    told: &'static str,
    /// Asked with what the Envoy says of its hosts.
    with_hosts: bool,
}

/// A GET of `/CAUSE/`, answered with `status` and `flag` (`-`: none).
fn case(cause: &'static str, status: u16, flag: &'static str, says: &[&'static str]) -> Case {
    let path = format!("/{cause}/x?case={cause}");
    Case {
        cause,
        request: Request::get(&path, "gateway.test"),
        send: None,
        marker: format!("case={cause}"),
        status,
        flag,
        says: says.to_vec(),
        has_headers: false,
        told: "",
        with_hosts: false,
    }
}

impl Case {
    fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.request.headers[0].1);
        self
    }

    fn path(mut self, path: &str) -> Self {
        self.request.path = format!("{path}?case={}", self.cause);
        self
    }

    fn body(mut self, length: usize) -> Self {
        "POST".clone_into(&mut self.request.method);
        self.request.body = "x".repeat(length);
        self
    }

    fn asked_whole(mut self) -> Self {
        self.has_headers = true;
        self
    }

    fn told(mut self, words: &'static str) -> Self {
        self.told = words;
        self.has_headers = true;
        self
    }

    fn with_hosts(mut self) -> Self {
        self.with_hosts = true;
        self
    }

    /// The line of the log has this instead of the case's name.
    fn marked(mut self, marker: &str) -> Self {
        marker.clone_into(&mut self.marker);
        self
    }

    fn sent(mut self, marker: &str, send: impl Fn(&Edge) -> Option<TcpStream> + 'static) -> Self {
        marker.clone_into(&mut self.marker);
        self.send = Some(Box::new(send));
        self
    }

    /// Makes it, and sees the right words; gives what is wrong. Where the answer to a request does not
    /// tell that a change is live, it is asked again.
    fn check(&self, edge: &Edge) -> Option<String> {
        let end = Instant::now() + LIVE;
        loop {
            let wrong = self.attempt(edge)?;
            if Instant::now() > end {
                return Some(wrong);
            }
        }
    }

    fn attempt(&self, edge: &Edge) -> Option<String> {
        let cause = self.cause;
        let usual = |edge: &Edge| sent(edge, &self.request);
        let send: &dyn Fn(&Edge) -> Option<TcpStream> = self.send.as_deref().unwrap_or(&usual);
        let line = match edge.line(&self.marker, self.status, send) {
            Ok(line) => line,
            Err(wrong) => return Some(format!("{cause}: {wrong}")),
        };
        let flags = line.split(&format!("\" {} ", self.status)).nth(1).unwrap();
        let flags = flags.split(' ').next().unwrap();
        if !flags.split(',').any(|f| f == self.flag) {
            return Some(format!("{cause}: no {} in {line}", self.flag));
        }
        let text = if self.told.is_empty() { line.as_str() } else { self.told };
        let answer = if self.with_hosts {
            serde_json::from_str(&edge.command(&["--output", "json", text])).unwrap()
        } else if self.has_headers {
            let host = &self.request.headers[0].1;
            let url = format!("http://{host}:{}{}", edge.plain.port(), self.request.path);
            let headers: Vec<String> =
                self.request.headers.iter().skip(1).map(|(k, v)| format!("{k}: {v}")).collect();
            let method = &self.request.method;
            edge.ask(&[
                ("method", method),
                ("url", &url),
                ("headers", &headers.join("\n")),
                ("text", text),
            ])
        } else {
            edge.ask(&[("text", text)])
        };
        let first = &answer["causes"][0];
        if first["id"] != cause {
            let ids: Vec<_> =
                answer["causes"].as_array().into_iter().flatten().map(|c| &c["id"]).collect();
            return Some(format!("{cause}: {ids:?} for {line}\n{first:#}"));
        }
        let all = first.to_string();
        let missing = self.says.iter().find(|words| !all.contains(**words))?;
        Some(format!("{cause}: `{missing}` is not in {first:#}\n{line}"))
    }
}

fn mapping(name: &str, service: &str, more: &str) -> String {
    format!(
        "---\napiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {{name: {name}}}\nspec: {{hostname: gateway.test, prefix: /{name}/, service: \"{service}\"{more}}}\n"
    )
}

fn object(kind: &str, name: &str, spec: &str) -> String {
    let version = if kind == "Service" { "v1" } else { "getambassador.io/v3alpha1" };
    format!("---\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

/// The Listener of all tests; the edge knows what `PLAIN` is.
fn plain_listener(port: &str) -> String {
    let rest = "protocol: HTTP, securityModel: INSECURE, hostBinding: {namespace: {from: ALL}}";
    object("Listener", "plain", &format!("{{port: {port}, {rest}}}"))
}

fn host(name: &str, action: &str) -> String {
    let spec =
        format!("{{hostname: {name}.test, requestPolicy: {{insecure: {{action: {action}}}}}}}");
    object("Host", name, &spec)
}

fn slice(service: &str, ready: bool, address: SocketAddr, ports: &str) -> String {
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {service}-1, namespace: default, labels: {{kubernetes.io/service-name: {service}}}}}\naddressType: IPv4\nendpoints: [{{addresses: [\"{}\"], conditions: {{ready: {ready}}}}}]\nports: {ports}\n",
        address.ip()
    )
}

/// What all phases have: Listeners, Hosts, and what does not depend on authorization and limits.
struct Services {
    echo: SocketAddr,
    nothing: SocketAddr,
    consul: SocketAddr,
    full: SocketAddr,
    tls: SocketAddr,
    named: SocketAddr,
    wants: SocketAddr,
}

fn base(s: &Services, certificates: &Certificates) -> String {
    let echo = s.echo.to_string();
    let own = ", resolver: endpoint";
    let one_port = "[{name: http, port: 80}]";
    let mut text = String::from("# Everything that goes wrong\n");
    for secret in certificates.secrets() {
        text += &format!("---\n{secret}\n");
    }
    let objects = [
        plain_listener("PLAIN"),
        object(
            "Listener",
            "secure",
            "{port: SECURE_PORT, protocol: HTTPS, securityModel: SECURE, hostBinding: {namespace: {from: ALL}}}",
        ),
        host("gateway", "Route"),
        host("rejects", "Reject"),
        host("redirects", "Redirect"),
        host("other", "Route"),
        object("Host", "secure", "{hostname: secure.test, tlsSecret: {name: secure}}"),
        object(
            "Host",
            "mtls",
            "{hostname: mtls.test, tlsSecret: {name: secure}, tls: {ca_secret: clients, cert_required: true}}",
        ),
        object(
            "ConsulResolver",
            "consul-dc1",
            &format!("{{address: \"{}\", datacenter: dc1}}", s.consul),
        ),
        object("TLSContext", "trusting", "{ca_secret: clients}"),
        // Kubernetes.
        mapping("service-missing", "nowhere", own),
        mapping("port-unknown", "web:81", own),
        mapping("port-unnamed", "unnamed", own),
        mapping("no-pods", "lonely", own),
        mapping("pods-not-ready", "starting", own),
        object("Service", "web", &format!("{{ports: {one_port}}}")),
        object(
            "Service",
            "unnamed",
            "{ports: [{name: http, port: 80, targetPort: web}], selector: {app: unnamed}}",
        ),
        slice("unnamed", true, s.echo, "[{name: admin, port: 9}, {name: metrics, port: 10}]"),
        object("Service", "lonely", &format!("{{ports: {one_port}, selector: {{app: lonely}}}}")),
        object(
            "Service",
            "starting",
            &format!("{{ports: {one_port}, selector: {{app: starting}}}}"),
        ),
        slice("starting", false, s.echo, "[{name: http, port: 80}]"),
        object("Service", "sick", &format!("{{ports: {one_port}}}")),
        slice("sick", true, s.nothing, &format!("[{{name: http, port: {}}}]", s.nothing.port())),
        mapping("consul-no-instances", "ghost", ", resolver: consul-dc1"),
        mapping("dns-empty", "nowhere.invalid", ""),
        mapping(
            "hosts-unhealthy",
            "sick",
            &format!(
                "{own}, health_checks: [{{health_check: {{http: {{path: /health}}}}, interval: 1s, timeout: 1s, unhealthy_threshold: 1}}]"
            ),
        ),
        mapping(
            "hosts-ejected",
            &echo,
            ", outlier_detection: {consecutive_5xx: 1, interval: 1s, base_ejection_time: 60s, max_ejection_percent: 100}",
        ),
        // Connections.
        mapping("connection-refused", &s.nothing.to_string(), ""),
        mapping("connect-timeout", &s.full.to_string(), ", connect_timeout_ms: 100"),
        mapping("tls-to-plain", &format!("https://{echo}"), ""),
        mapping("plain-to-tls", &s.tls.to_string(), ""),
        mapping("tls-untrusted", &format!("https://{}", s.tls), ", tls: trusting"),
        mapping("tls-name-refused", &format!("https://{}", s.named), ", host_rewrite: wrong.test"),
        mapping("tls-wants-certificate", &format!("https://{}", s.wants), ""),
        mapping("upstream-closes", &servers::closes().to_string(), ""),
        mapping("wrong-protocol", &servers::http1().to_string(), ", grpc: true"),
        mapping("retries-exhausted", &echo, ", retry_policy: {retry_on: 5xx, num_retries: 1}"),
        mapping(
            "circuit-breaker",
            &echo,
            ", circuit_breakers: [{max_connections: 1, max_pending_requests: 1}]",
        ),
        mapping("upstream-timeout", &echo, ", timeout_ms: 120"),
        mapping(
            "try-timeout",
            &echo,
            ", timeout_ms: 5000, retry_policy: {retry_on: gateway-error, num_retries: 1, per_try_timeout: 0.1s}",
        ),
        mapping("idle-timeout", &echo, ", timeout_ms: 5000, idle_timeout_ms: 120"),
        mapping("client-gone", &echo, ""),
        mapping("cannot-connect", &format!("https://{echo}"), ", tls: nobody"),
        mapping("service-answered", &echo, ""),
        // Routes.
        mapping("condition-missed", &echo, ", method: POST"),
        object(
            "Mapping",
            "elsewhere",
            &format!("{{hostname: other.test, prefix: /hostname-missed/, service: \"{echo}\"}}"),
        ),
        mapping("other-installation", &echo, ", ambassador_id: [blue]"),
        mapping("mapping-broken", &echo, ", timeout_ms: soon"),
        object(
            "Mapping",
            "homeless",
            &format!("{{prefix: /mapping-homeless/, service: \"{echo}\"}}"),
        ),
        mapping("weights-below-100", &echo, ", weight: 1"),
        object(
            "Mapping",
            "weights-too",
            &format!(
                "{{hostname: gateway.test, prefix: /weights-below-100/, service: \"{echo}\", weight: 1, cluster_tag: two}}"
            ),
        ),
        object(
            "Mapping",
            "rejected",
            &format!("{{hostname: rejects.test, prefix: /, service: \"{echo}\"}}"),
        ),
        object(
            "Mapping",
            "redirected",
            &format!("{{hostname: redirects.test, prefix: /, service: \"{echo}\"}}"),
        ),
        object(
            "Mapping",
            "tls",
            &format!("{{hostname: \"secure.test\", prefix: /, service: \"{echo}\"}}"),
        ),
        mapping("mapping-redirects", "elsewhere.example", ", host_redirect: true"),
        mapping("mapping-shadowed", &echo, ""),
        object(
            "Mapping",
            "first",
            &format!(
                "{{hostname: gateway.test, prefix: /mapping-sha, precedence: 9, service: \"{echo}\"}}"
            ),
        ),
        // Before routes.
        mapping("script-answered", &echo, ""),
        mapping("script-failed", &echo, ""),
        mapping("upgrade-refused", &echo, ""),
        mapping("body-too-large", &echo, ""),
        mapping("headers-too-large", &echo, ""),
    ];
    text += &objects.concat();
    text
}

const MODULE: &str = "---
apiVersion: getambassador.io/v3alpha1
kind: Module
metadata: {name: ambassador}
spec:
  config:
    max_request_headers_kb: 8
    buffer: {max_request_bytes: 1000}
    reject_requests_with_escaped_slashes: true
    headers_with_underscores_action: REJECT_REQUEST
    lua_scripts: |
      function envoy_on_request(handle)
        if handle:headers():get('x-script') then handle:respond({[':status'] = '418'}, 'tea') end
        if handle:headers():get('x-broken') then handle:nothing() end
      end
";

fn raw(edge: &Edge, bytes: &[u8]) -> Option<TcpStream> {
    let mut stream = http::connect(edge.plain).unwrap();
    stream.write_all(bytes).unwrap();
    Some(stream)
}

/// Sends a request on a connection that stays open: nobody waits for its end.
fn sent(edge: &Edge, request: &Request) -> Option<TcpStream> {
    let mut text = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
    for (name, value) in &request.headers {
        text += &format!("{name}: {value}\r\n");
    }
    if !request.body.is_empty() {
        text += &format!("content-length: {}\r\n", request.body.len());
    }
    // The Listener may not be there yet.
    let mut stream = http::connect(edge.plain).ok()?;
    stream.write_all((text + "\r\n" + &request.body).as_bytes()).unwrap();
    Some(stream)
}

fn handshake(edge: &Edge, name: &str) -> Option<TcpStream> {
    let client = Client { server_name: Some(name), ..Client::default() };
    let connection = client.connect(http::connect(edge.secure).unwrap());
    if let Ok(mut connection) = connection {
        let _ = connection.stream.read(&mut [0; 64]);
    }
    None
}

/// Without services that are asked.
fn first_phase() -> Vec<Case> {
    let many = "x".repeat(9_000);
    let all_at_once = |edge: &Edge| {
        let request = Request::get("/circuit-breaker/x?case=circuit-breaker", "gateway.test");
        let request = request.header("x-echo-delay-ms", "300");
        let all: Vec<_> = (0..5).filter_map(|_| sent(edge, &request)).collect();
        std::thread::sleep(Duration::from_millis(400));
        all.into_iter().next()
    };
    vec![
        case("service-missing", 503, "UH", &["there is no Service default/nowhere", "Mapping default/service-missing"]),
        case("port-unknown", 503, "UH", &["has no port 81; its ports are 80"]),
        case("port-unnamed", 503, "UH", &["none has a port `web` for its port 80"]),
        case("no-pods", 503, "UH", &["Service default/lonely", "selects app=lonely", "kubectl -n default get pods -l app=lonely"]),
        case("pods-not-ready", 503, "UH", &["has pods (app=starting), and none is ready"]),
        case("consul-no-instances", 503, "UH", &["`dc1/ghost` has no passing instance"]),
        case("dns-empty", 503, "UH", &["`nowhere.invalid`", "has no address in DNS"]).with_hosts(),
        case("hosts-unhealthy", 503, "UF", &["no host is healthy", "its health check fails"]).with_hosts(),
        // A service that answers badly is ejected, and asked all the same where there is no other.
        case("hosts-ejected", 503, "-", &["no host is healthy", "it is ejected as an outlier"])
            .header("x-echo-status", "503")
            .with_hosts(),
        case("connection-refused", 503, "UF", &["Mapping default/connection-refused"]),
        case("connect-timeout", 503, "UF", &["given up after 100 ms"]),
        case("tls-to-plain", 503, "UF", &["over TLS"]),
        case("plain-to-tls", 502, "UPE", &["plain text", "https://"]),
        case("tls-untrusted", 503, "UF", &["ca_secret"]),
        case("tls-name-refused", 503, "UF", &["TLS asks for `wrong.test`"]),
        case("tls-wants-certificate", 503, "UF", &["mutual TLS"]),
        case("upstream-closes", 503, "UC", &["Mapping default/upstream-closes"]),
        case("wrong-protocol", 502, "UPE", &["HTTP/2"]),
        case("retries-exhausted", 503, "URX", &["5xx, 1 times"]).header("x-echo-status", "503"),
        case("circuit-breaker", 503, "UO", &["max_connections 1, max_pending_requests 1"])
            .sent("case=circuit-breaker", all_at_once),
        case("upstream-timeout", 504, "UT", &["timeout_ms 120"]).header("x-echo-delay-ms", "1000"),
        case("try-timeout", 504, "UT", &["given up after 100 ms"]).header("x-echo-delay-ms", "1000"),
        case("idle-timeout", 504, "SI", &["silent for 120 ms"]).header("x-echo-delay-ms", "1000"),
        case("client-gone", 0, "DC", &["would have waited 3000 ms"]).sent("case=client-gone", |edge| {
            let mut stream = http::connect(edge.plain).unwrap();
            let head = "GET /client-gone/?case=client-gone HTTP/1.1\r\nhost: gateway.test\r\nx-echo-delay-ms: 2000\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            // Envoy must have begun with it.
            std::thread::sleep(Duration::from_millis(50));
            None
        }),
        case("cannot-connect", 503, "-", &["cannot be connected", "nobody"]),
        case("service-answered", 503, "-", &["the status is the service's own"]).header("x-echo-status", "503"),
        case("no-host", 404, "NR", &["no Host fits `unknown.test`"]).host("unknown.test"),
        case("path-nearly-fits", 404, "NR", &["default/no-pods nearly fits", "ends with a slash"]).path("/no-pods"),
        case("condition-missed", 404, "NR", &["wants header :method to be `POST`"]),
        case("hostname-missed", 404, "NR", &["Mapping default/elsewhere", "other.test"]),
        case("other-installation", 404, "NR", &["has ambassador_id blue", "add `default`"]),
        case("mapping-broken", 404, "NR", &["spec.timeout_ms"]),
        case("mapping-homeless", 404, "NR", &["Mapping default/homeless"]),
        case("no-mapping", 404, "NR", &["fits /no-mapping/x"]),
        // gRPC clients get 200 and a status of their own.
        case("no-mapping", 200, "NR", &["fits /shop.Cart/Add"])
            .header("content-type", "application/grpc")
            .path("/shop.Cart/Add"),
        case("weights-below-100", 404, "NR", &["98 of a hundred"]),
        case("insecure-reject", 404, "NR", &["Host default/rejects"]).host("rejects.test"),
        case("insecure-redirect", 301, "-", &["Host default/redirects"]).host("redirects.test"),
        case("mapping-redirects", 301, "-", &["to elsewhere.example"]),
        case("mapping-shadowed", 200, "-", &["default/first comes before Mapping default/mapping-shadowed", "precedence is 9 against 0"])
            .told("wrong service"),
        case("tls-name-unknown", 0, "NR", &["Hosts with certificates are for", "secure.test"])
            .sent("filter_chain_not_found", |edge| handshake(edge, "nobody.test")),
        case("headers-too-large", 431, "DPE", &["max_request_headers_kb is 8"])
            .header("x-large", &many)
            .marked("\" 431 "),
        case("request-malformed", 400, "DPE", &["cannot read it"])
            .sent("codec_error", |edge| raw(edge, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n")),
        case("http10-refused", 426, "DPE", &["enable_http10"])
            .sent("low_version", |edge| raw(edge, b"GET /?case=http10-refused HTTP/1.0\r\nhost: gateway.test\r\n\r\n")),
        case("path-refused", 400, "-", &["escaped slashes"]).path("/a%2Fb/"),
        case("underscore-refused", 400, "DPE", &["`x_y` has an underscore"]).header("x_y", "1").asked_whole().marked("unexpected_underscore"),
        case("body-too-large", 413, "-", &["max_request_bytes is 1000"]).body(2_000),
        case("upgrade-refused", 403, "-", &["allows upgrades to: none"])
            .header("connection", "upgrade")
            .header("upgrade", "websocket"),
        case("script-answered", 418, "-", &["lua_scripts"]).header("x-script", "1"),
    ]
}

/// What the second phase has: authorization and limits.
fn asked(authz: SocketAddr, limits: SocketAddr, echo: SocketAddr) -> String {
    let example = e2e::root().join("../docs/examples/quickstart/2-authorization.yaml");
    let example = std::fs::read_to_string(example).unwrap();
    let (_, example) = example.split_once("---\n").unwrap();
    let policy = "{rules: [{host: \"*\", path: /filter-broken/*, filters: [{name: nowhere}]}, {host: \"*\", path: /private/*, filters: [{name: login}]}, {host: \"*\", path: /partner/*, filters: [{name: partner-key}]}, {host: \"*\", path: \"/partner;x/*\", filters: [{name: login}]}]}";
    let (_, filters) = example.split_once("---\n").unwrap();
    let echo = echo.to_string();
    let labelled = |header: &str| {
        format!(
            ", labels: {{ambassador: [{{one: [{{request_headers: {{key: user, header_name: {header}}}}}]}}]}}"
        )
    };
    [
        object("AuthService", "authorization", &format!("{{auth_service: \"{authz}\", proto: grpc, protocol_version: v3, include_body: {{max_bytes: 100}}}}")),
        object("FilterPolicy", "policy", policy),
        format!("---\n{filters}\n"),
        object("RateLimitService", "limits", &format!("{{service: \"{limits}\", protocol_version: v3, timeout_ms: 500}}")),
        object("RateLimit", "users", "{domain: ambassador, limits: [{name: per-user, pattern: [{user: \"*\"}], rate: 1, unit: hour}]}"),
        mapping("private", &echo, ""),
        mapping("partner", &echo, ""),
        mapping("filter-broken", &echo, ""),
        mapping("body-too-large-for-authorization", &echo, ""),
        mapping("authorizer-unreachable", &echo, ""),
        mapping("authorization-closed", &echo, ""),
        mapping("address-denied", &echo, ""),
        mapping("over-limit", &echo, &labelled("x-user")),
        mapping("descriptor-dropped", &echo, &labelled("x-user")),
        mapping("no-limit-fits", &echo, ", labels: {ambassador: [{one: [{generic_key: {key: tier, value: free}}]}]}"),
        mapping("route-unlabelled", &echo, ""),
        mapping("domain-without-limits", &echo, &labelled("x-user")),
        mapping("limiter-unreachable", &echo, &labelled("x-user")),
        mapping("limiter-fails-open", &echo, &labelled("x-user")),
        mapping("limiter-off", &echo, &labelled("x-user")),
        object("Mapping", "speaks-grpc", &format!("{{hostname: gateway.test, prefix: /media-type-refused/x, rewrite: /envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit, service: \"{limits}\", grpc: true}}")),
        object("Mapping", "read-twice", &format!("{{hostname: gateway.test, prefix: \"/partner;x/\", service: \"{echo}\"}}")),
    ]
    .concat()
}

fn second_phase() -> Vec<Case> {
    vec![
        case(
            "token-refused",
            401,
            "UAEX",
            &["Filter default/login (JWT) of rule policy.default[1] answers 401"],
        )
        .path("/private/x")
        .told("401 UAEX"),
        // From the line alone: authz-svc knows the request by its id.
        case(
            "token-refused",
            401,
            "UAEX",
            &["of rule policy.default[1] answered 401: a bearer token is missing"],
        )
        .path("/private/y"),
        case("filter-denies", 401, "UAEX", &["Filter default/partner-key (APIKey)"])
            .path("/partner/x")
            .asked_whole(),
        case("filter-broken", 500, "UAEX", &["nowhere"]),
        case("no-policy-allows", 400, "UAEX", &["two ways"]).path("/partner;x/y"),
        case("body-too-large-for-authorization", 413, "-", &["takes bodies of 100 bytes"])
            .body(200),
        case(
            "over-limit",
            429,
            "RL",
            &["domain `ambassador`", "limit `per-user` of RateLimit default/users: 1 per hour"],
        )
        .header("x-user", "a"),
        case("descriptor-dropped", 200, "-", &["the request has no header x-user"])
            .told("not limited"),
        // A gRPC server, called by what is no gRPC client: from the line alone, and with the headers.
        case(
            "media-type-refused",
            415,
            "-",
            &["Mapping default/speaks-grpc", "answered it itself"],
        )
        .body(9),
        case(
            "media-type-refused",
            415,
            "-",
            &["content-type is `application/grpc-web+proto`", "set `enable_grpc_web: true`"],
        )
        .header("content-type", "application/grpc-web+proto")
        .body(9)
        .asked_whole(),
        case("no-limit-fits", 200, "-", &["`tier=free` fits none of the 1 limits"])
            .told("not limited"),
        case("route-unlabelled", 200, "-", &["has no labels of domain `ambassador`"])
            .told("not limited"),
    ]
}

#[test]
fn each_cause_is_made_seen_and_told() {
    let certificates = Certificates::of(&json!({"certs": {
        "secure": {"names": ["secure.test"]},
        "clients": {"names": ["clients"], "ca_only": true},
        "service": {"names": ["right.test"]},
    }}));
    let [echo, tls, nothing, authz, limits] = std::array::from_fn(|_| free_addr());
    let _echo = Backend::start("echo", "http", &[echo], &Value::Null);
    let own = certificates.get("service");
    let _tls = Backend::start_with("tls", "https", &[tls], &Value::Null, Some(own));
    let consul = Stub::start(json!([]));
    let (full, _full) = servers::full();
    let services = Services {
        echo,
        nothing,
        consul: consul.addr,
        full,
        tls,
        named: servers::for_name("right.test", own),
        wants: servers::for_clients_of(certificates.get("clients"), own),
    };
    let edge = Edge::start(&(base(&services, &certificates) + MODULE), None);
    let (mut covered, mut wrong) = (BTreeSet::new(), Vec::new());
    for case in first_phase() {
        wrong.extend(case.check(&edge));
        covered.insert(case.cause);
    }

    let told = "rpc error: code = Unavailable desc = no healthy upstream, grpc-status: 14";
    let url = format!("http://gateway.test:{}/no-pods/x", edge.plain.port());
    let words = "selects app=lonely";
    wrong.extend(edge.tells("no-pods", words, &[("url", &url), ("text", told)]));
    wrong.extend(edge.tells(
        "no-pods",
        words,
        &[("url", &url), ("status", "503"), ("flags", "UH")],
    ));
    // Without a request all that are like that are named.
    wrong.extend(edge.tells("service-missing", "default/nowhere", &[("flags", "UH")]));

    // Where there is no line of the log.
    let port = free_addr().port();
    let url = format!("http://gateway.test:{port}/no-pods/x");
    let told = [("url", url.as_str()), ("text", "Failed to connect")];
    let words = format!("no Listener is on port {port}");
    wrong.extend(edge.tells("no-listener", &words, &told));
    let client = Client { server_name: Some("mtls.test"), ..Client::default() };
    let mut connection = client.connect(http::connect(edge.secure).unwrap()).unwrap();
    let error = connection.stream.read(&mut [0; 64]).unwrap_err().to_string();
    let words = "Host default/mtls has cert_required";
    wrong.extend(edge.tells("tls-client-certificate", words, &[("text", &error)]));
    let connections: Vec<_> =
        (0..edge::CONNECTIONS).map(|_| http::connect(edge.plain).unwrap()).collect();
    let refused = http::send(edge.plain, &Request::get("/", "gateway.test")).unwrap_err();
    drop(connections);
    let told = format!("curl: (56) Connection closed: {refused}");
    let words = "downstream_global_cx_overflow";
    wrong.extend(edge.tells("too-many-connections", words, &[("text", &told)]));
    // The client sees nothing of it: the request goes on, and Envoy's own log has why.
    let request = Request::get("/script-failed/x", "gateway.test").header("x-broken", "1");
    assert_eq!(http::send(edge.plain, &request).unwrap().status, 200);
    let line = edge.logged("script log: [string");
    let words = "line 3 of lua_scripts, `if handle:headers():get('x-broken') then handle:nothing() end`: attempt to call method 'nothing'";
    wrong.extend(edge.tells("script-failed", words, &[("text", &line)]));
    covered.extend(["no-listener", "tls-client-certificate", "too-many-connections"]);
    covered.insert("script-failed");

    let mut check = |cases: Vec<Case>| {
        for case in cases {
            wrong.extend(case.check(&edge));
            covered.insert(case.cause);
        }
    };
    let second = asked(authz, limits, echo);
    edge.folder.write("second.yaml", &second);
    let authorizer = edge.service("authz-svc", authz, &[]);
    let limiter = edge.service("ratelimit-svc", limits, &["--http-addr", "off"]);
    check(second_phase());

    let change = |from: &str, to: &str| edge.folder.write("second.yaml", &second.replace(from, to));
    change("domain: ambassador, limits", "domain: other, limits");
    check(vec![
        case("domain-without-limits", 200, "-", &["RateLimits are in other"])
            .header("x-user", "b")
            .told("not limited"),
    ]);
    change("timeout_ms: 500}", "timeout_ms: 500, failure_mode_deny: true}");
    drop(limiter);
    check(vec![
        case("limiter-unreachable", 500, "RLSE", &["failure_mode_deny is true"])
            .header("x-user", "b"),
    ]);
    change("timeout_ms: 500}", "timeout_ms: 500, failure_mode_deny: false}");
    check(vec![
        case("limiter-fails-open", 200, "-", &["requests pass then"])
            .header("x-user", "b")
            .told("not limited"),
    ]);
    drop(authorizer);
    check(vec![case("authorizer-unreachable", 403, "UAEX", &["requests are then answered 403"])]);

    // What was good once stays when it breaks, so these come broken.
    let broken = second
        .replace("protocol_version: v3, timeout_ms: 500}", "protocol_version: v2}")
        .replace("max_bytes: 100}", "max_bytes: many}");
    edge.folder.write("second.yaml", "");
    edge.until("without services", |d| d["overview"]["services"] == json!([]));
    let (rest, auth) = broken.split_at(
        broken.find("---\napiVersion: getambassador.io/v3alpha1\nkind: FilterPolicy").unwrap(),
    );
    edge.folder.write("second.yaml", auth);
    check(vec![
        case("limiter-off", 200, "-", &["RateLimitService default/limits is off"])
            .header("x-user", "b")
            .told("not limited"),
    ]);
    edge.folder.write("third.yaml", rest);
    check(vec![case("authorization-closed", 500, "-", &["spec.include_body"])]);
    edge.folder.remove("third.yaml");
    edge.folder.write("second.yaml", "");
    let denying = MODULE.replace("    buffer:", "    ip_deny: [peer: 127.0.0.1]\n    buffer:");
    let all = std::fs::read_to_string(edge.folder.path().join("base.yaml")).unwrap();
    edge.folder.write("base.yaml", &all.replace(MODULE, &denying));
    check(vec![case("address-denied", 403, "-", &["ip_deny", "127.0.0.1"])]);

    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n\n"));
    let known = std::process::Command::new(program("gateway-ctl"))
        .args(["explain", "--causes"])
        .output()
        .unwrap();
    let known = String::from_utf8(known.stdout).unwrap();
    let known: BTreeSet<&str> =
        known.split("<br>`").skip(1).filter_map(|t| t.split('`').next()).collect();
    assert_eq!(covered, known, "each cause of the table is made here");
}

/// Counters in a real Redis, as ratelimit-svc has them: how near a request is to its limits.
#[test]
fn limits_are_told_with_their_counters() {
    let [echo, limits] = std::array::from_fn(|_| free_addr());
    let _echo = Backend::start("echo", "http", &[echo], &Value::Null);
    let redis = Redis::start();
    let spec = "{domain: ambassador, limits: [{name: per-user, pattern: [{user: \"*\"}], rate: 2, unit: year}, {name: per-address, pattern: [{remote_address: \"*\"}], rate: 9, unit: year, burstFactor: 2}]}";
    let labels = ", labels: {ambassador: [{one: [{request_headers: {key: user, header_name: x-user}}]}, {two: [{remote_address: {key: remote_address}}]}]}";
    let objects = [
        plain_listener("PLAIN"),
        host("gateway", "Route"),
        object(
            "RateLimitService",
            "limits",
            &format!("{{service: \"{limits}\", protocol_version: v3, timeout_ms: 500}}"),
        ),
        object("RateLimit", "users", spec),
        mapping("limited", &echo.to_string(), labels),
    ];
    let edge = Edge::start(&objects.concat(), None);
    let url = format!("http://gateway.test:{}/limited/x", edge.plain.port());
    let asked = [("url", url.as_str()), ("headers", "x-user: alice"), ("client", "127.0.0.1")];
    let unknown = edge.ask(&asked);
    assert!(unknown["way"].to_string().contains("its counters cannot be seen"), "{unknown:#}");

    let server = format!("127.0.0.1:{}", redis.port);
    let more = ["--http-addr", "off", "--redis-url", &server];
    let _limiter = edge.service("ratelimit-svc", limits, &more);
    let request = Request::get("/limited/x", "gateway.test").header("x-user", "alice");
    let status = || http::send(edge.plain, &request).map_or(0, |r| r.status);
    let end = Instant::now() + LIVE;
    let standing = || edge.ask(&asked)["limits"].clone();
    // What is asked for is not counted, and what is not counted yet is unused.
    while standing()[0]["remaining"] != 2 {
        assert!(Instant::now() < end, "{}", edge.ask(&asked));
    }
    while standing()[0]["remaining"] == 2 {
        assert_eq!(status(), 200);
        assert!(Instant::now() < end, "{}", edge.ask(&asked));
    }
    let [user, address] = std::array::from_fn(|i| standing()[i].clone());
    assert_eq!(user["descriptor"], "user=alice");
    assert_eq!((&user["limit"], &user["object"]), (&json!("per-user"), &json!("users.default")));
    assert_eq!((&user["requests"], &user["unit"]), (&json!(2), &json!("year")));
    assert_eq!((&user["used"], &user["remaining"]), (&json!(1), &json!(1)));
    assert_eq!(user["next_in_seconds"], 0);
    assert!(user["reset_in_seconds"].as_u64().unwrap() > 0);
    assert_eq!((&address["used"], &address["remaining"]), (&json!(1), &json!(17)));

    assert_eq!([status(), status()], [200, 429]);
    let told = [("text", "429 RL")];
    let answer = edge.ask(&[&asked[..], &told].concat());
    let first = &answer["causes"][0];
    assert_eq!((&first["id"], &first["is_certain"]), (&json!("over-limit"), &json!(true)));
    let words = "counts against limit `per-user` of RateLimit default/users, 2 per year: 3 used, 0 left, and it begins anew in";
    assert!(first["found"][0].to_string().contains(words), "{first:#}");
    // The same for people, from the line of the log and what the log does not have.
    let line = edge.line("/limited/x", 429, &|edge: &Edge| sent(edge, &request)).unwrap();
    let text = edge.command(&["--client", "127.0.0.1", "-H", "x-user: alice", "GET", &url, &line]);
    assert!(text.contains("ratelimit-svc  user=alice counts against limit `per-user`"), "{text}");
    assert!(text.contains("remote_address=127.0.0.1 counts against limit `per-address`"), "{text}");
    let page = http::get(
        edge.admin,
        &format!("/explain?url={}&headers=x-user:%20alice", url.replace(':', "%3A")),
    )
    .unwrap();
    assert!(page.body.contains("How near it is to its limits"), "{}", page.body);
}

/// The controller reaches no admin page of this Envoy, only the statistics that others may read.
#[test]
fn endpoints_that_are_out_are_told_by_statistics() {
    let echo = free_addr();
    let backend = Backend::start("echo", "http", &[echo], &Value::Null);
    let port = echo.port();
    let ports = format!("[{{name: http, port: {port}}}]");
    let second = slice("web", true, SocketAddr::from(([127, 0, 0, 2], port)), &ports);
    let own = ", resolver: endpoint";
    let checks = ", health_checks: [{health_check: {http: {path: /health}}, interval: 1s, timeout: 1s, unhealthy_threshold: 1, healthy_threshold: 1}]";
    let objects = [
        plain_listener("PLAIN"),
        host("gateway", "Route"),
        object("Service", "web", "{ports: [{name: http, port: 80}]}"),
        slice("web", true, echo, &ports),
        second.replace("web-1", "web-2"),
        mapping("checked", "web", &format!("{own}{checks}")),
        mapping(
            "watched",
            &echo.to_string(),
            ", outlier_detection: {consecutive_5xx: 1, interval: 1s, base_ejection_time: 60s, max_ejection_percent: 100}",
        ),
        mapping("plain", "web", own),
    ];
    let edge = Edge::start(&objects.concat(), None);
    let cluster = |mapping: &str| {
        let all = http::get(edge.admin, "/clusters?json=true").unwrap().json();
        let owned = |c: &&Value| c["owners"][0]["name"] == mapping;
        all.as_array().unwrap().iter().find(owned).cloned().unwrap_or_default()
    };
    let until = |what: &str, mapping: &str, host: &str, why: &str| {
        let end = Instant::now() + 3 * LIVE;
        loop {
            let said = cluster(mapping)["hosts"][host].clone();
            if said[0]["unhealthy"] == why && said[0]["envoy"] == edge.stats.to_string() {
                return;
            }
            assert!(Instant::now() < end, "{what}: {}", cluster(mapping));
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let (here, elsewhere) = (echo.to_string(), format!("127.0.0.2:{port}"));
    until("well", "checked", &here, "");
    until("out", "checked", &elsewhere, "its health check fails");
    until("well yet", "watched", &here, "");
    // What nothing can put out has no statistics of its own.
    assert_eq!(cluster("plain")["hosts"], json!({}));
    let page = http::get(edge.admin, "/clusters").unwrap().body;
    assert!(page.contains("healthy") && page.contains("its health check fails"), "{page}");

    let request = Request::get("/watched/x", "gateway.test").header("x-echo-status", "503");
    assert_eq!(http::send(edge.plain, &request).unwrap().status, 503);
    until("ejected", "watched", &here, "it is ejected as an outlier");
    let url = |path: &str| format!("http://gateway.test:{}/{path}/x", edge.plain.port());
    let told = |path: &str| [("url", url(path)), ("text", "503".to_owned())];
    let tells = |cause: &str, words: &str| {
        let name = if cause == "hosts-ejected" { "watched" } else { "checked" };
        let asked = told(name);
        let asked: Vec<(&str, &str)> = asked.iter().map(|(k, v)| (*k, v.as_str())).collect();
        edge.tells(cause, words, &asked)
    };
    assert_eq!(tells("hosts-ejected", "it is ejected as an outlier"), None);
    drop(backend);
    until("out, too", "checked", &here, "its health check fails");
    assert_eq!(tells("hosts-unhealthy", "no host is healthy"), None);

    // Of the admin page others read this and the readiness, and nothing else.
    let status = |path: &str| http::get(edge.stats, path).unwrap().status;
    let statuses =
        ["/ready", "/stats/prometheus", "/clusters", "/config_dump", "/stats", "/quitquitquit"]
            .map(status);
    assert_eq!(statuses, [200, 200, 404, 404, 404, 404]);
    let Edge { envoy, admin, .. } = edge;
    drop(envoy);
    let page = http::get(admin, "/clusters").unwrap();
    assert_eq!(page.status, 200);
    assert!(page.body.contains("Connection refused"), "{}", page.body);
}

/// A real API server: Services and EndpointSlices as it has them.
#[test]
fn services_without_pods_are_told_in_a_cluster() {
    let cluster = Cluster::start();
    let folder = e2e::root().join("../deploy/charts/tollgate-crds/files/emissary");
    for file in std::fs::read_dir(folder).unwrap().flatten() {
        cluster.apply(&std::fs::read_to_string(file.path()).unwrap());
    }
    let edge = Edge::start("", Some(("KUBECONFIG", &cluster.kubeconfig())));
    let own = ", resolver: endpoint";
    let pod = SocketAddr::from(([10, 1, 2, 3], 80));
    let service = |name: &str| {
        object(
            "Service",
            name,
            &format!("{{ports: [{{name: http, port: 80}}], selector: {{app: {name}}}}}"),
        )
    };
    let objects = [
        service("lonely"),
        service("starting"),
        slice("starting", false, pod, "[{name: http, port: 80, protocol: TCP}]"),
        plain_listener(&edge.plain.port().to_string()),
        host("gateway", "Route"),
        mapping("no-pods", "lonely", own),
        mapping("pods-not-ready", "starting", own),
        mapping("port-unknown", "lonely:81", own),
        mapping("service-missing", "nowhere", own),
    ];
    cluster.apply(&objects.concat());
    for case in [
        case("no-pods", 503, "UH", &["selects app=lonely"]),
        case("pods-not-ready", 503, "UH", &["app=starting", "none is ready"]),
        case("port-unknown", 503, "UH", &["its ports are 80"]),
        case("service-missing", 503, "UH", &["there is no Service default/nowhere"]),
    ] {
        assert_eq!(case.check(&edge), None);
    }
}
