//! What goes wrong, one case for each cause: how it is asked for, what comes back, and what must be told.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use e2e::http::{self, Request};
use e2e::tls::Client;

use super::edge::Edge;

/// How long a change may take to be live.
pub(crate) const LIVE: Duration = Duration::from_secs(3);

/// How a request is sent.
type Send = Box<dyn Fn(&Edge) -> Option<TcpStream>>;

/// Something that goes wrong.
pub(crate) struct Case {
    pub(crate) cause: &'static str,
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
pub(crate) fn case(
    cause: &'static str,
    status: u16,
    flag: &'static str,
    says: &[&'static str],
) -> Case {
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
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.request.headers[0].1);
        self
    }

    pub(crate) fn path(mut self, path: &str) -> Self {
        self.request.path = format!("{path}?case={}", self.cause);
        self
    }

    pub(crate) fn body(mut self, length: usize) -> Self {
        "POST".clone_into(&mut self.request.method);
        self.request.body = "x".repeat(length);
        self
    }

    pub(crate) fn asked_whole(mut self) -> Self {
        self.has_headers = true;
        self
    }

    pub(crate) fn told(mut self, words: &'static str) -> Self {
        self.told = words;
        self.has_headers = true;
        self
    }

    pub(crate) fn with_hosts(mut self) -> Self {
        self.with_hosts = true;
        self
    }

    /// The line of the log has this instead of the case's name.
    pub(crate) fn marked(mut self, marker: &str) -> Self {
        marker.clone_into(&mut self.marker);
        self
    }

    pub(crate) fn sent(
        mut self,
        marker: &str,
        send: impl Fn(&Edge) -> Option<TcpStream> + 'static,
    ) -> Self {
        marker.clone_into(&mut self.marker);
        self.send = Some(Box::new(send));
        self
    }

    /// Makes it, and sees the right words; gives what is wrong. Where the answer to a request does not
    /// tell that a change is live, it is asked again.
    pub(crate) fn check(&self, edge: &Edge) -> Option<String> {
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

pub(crate) fn raw(edge: &Edge, bytes: &[u8]) -> Option<TcpStream> {
    let mut stream = http::connect(edge.plain).unwrap();
    stream.write_all(bytes).unwrap();
    Some(stream)
}

/// Sends a request on a connection that stays open: nobody waits for its end.
pub(crate) fn sent(edge: &Edge, request: &Request) -> Option<TcpStream> {
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

pub(crate) fn handshake(edge: &Edge, name: &str) -> Option<TcpStream> {
    let client = Client { server_name: Some(name), ..Client::default() };
    let connection = client.connect(http::connect(edge.secure).unwrap());
    if let Ok(mut connection) = connection {
        let _ = connection.stream.read(&mut [0; 64]);
    }
    None
}

/// Without services that are asked.
pub(crate) fn first_phase() -> Vec<Case> {
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

pub(crate) fn second_phase() -> Vec<Case> {
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
