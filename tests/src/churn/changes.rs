//! What changes: for each kind of change its states, and which answers are right in each.
//!
//! A state is whole files, so that any change may come at any time beside any other.

use std::fmt::Write as _;

use super::load::{Answers, Probe, Word};
use super::scene::{Parts, object, slice};

/// A state of a change.
#[derive(Debug, Default)]
pub struct Plan {
    /// Files with their text; none: the file is deleted.
    pub files: Vec<(&'static str, Option<String>)>,
    /// What is right once it is in force, for the probes that it touches.
    pub answers: Answers,
}

/// A kind of change. It goes through its states in order, and from the last to the first.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// What changes.
    pub name: &'static str,
    /// How many states it has.
    pub states: usize,
    /// The state of a number.
    pub plan: fn(usize, &Parts) -> Plan,
}

/// All of them.
pub const CHANGES: &[Change] = &[
    Change { name: "service of a Mapping", states: 3, plan: service },
    Change { name: "canary", states: 6, plan: canary },
    Change { name: "settings of a Mapping", states: 4, plan: settings },
    Change { name: "settings of a cluster", states: 7, plan: cluster },
    Change { name: "rewrite", states: 2, plan: rewrite },
    Change { name: "Mapping deleted", states: 2, plan: deleted },
    Change { name: "resolver and endpoints", states: 6, plan: resolver },
    Change { name: "many Mappings", states: 4, plan: many },
    Change { name: "Module", states: 9, plan: module },
    Change { name: "Host", states: 4, plan: host },
    Change { name: "TLS settings", states: 4, plan: tls },
    Change { name: "certificate", states: 2, plan: certificate },
    Change { name: "Listener", states: 2, plan: listener },
    Change { name: "AuthService", states: 5, plan: auth_service },
    Change { name: "RateLimitService", states: 4, plan: rate_limit_service },
    Change { name: "FilterPolicy and Filter", states: 3, plan: policy },
];

/// All kinds of requests, with what is right in the first states.
pub fn probes(parts: &Parts) -> Vec<Probe> {
    let plain = |name, path: &str, answers: &[&str]| Probe {
        name,
        addr: parts.http,
        host: "gateway.test".to_owned(),
        path: path.to_owned(),
        headers: Vec::new(),
        tls: false,
        word: Word::Backend,
        answers: answers.iter().map(ToString::to_string).collect(),
    };
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let secure = |name, word, answer| Probe {
        addr: parts.https,
        host: "secure.test".to_owned(),
        tls: true,
        word,
        ..plain(name, "/inside/", &[answer])
    };
    vec![
        // What no change touches.
        plain("steady", "/steady/x", &["a"]),
        plain("fallback", "/x", &["c"]),
        plain("filler", "/filler/0/x", &["b"]),
        Probe { host: "other.test".to_owned(), ..plain("elsewhere", "/elsewhere/", &["b"]) },
        secure("secure", Word::Backend, "a"),
        Probe {
            headers: vec![header("x-api-key", "good")],
            ..plain("allowed", "/guarded/", &["a"])
        },
        Probe {
            headers: vec![header("x-guarded", "yes")],
            ..plain("denied", "/guarded/", &["401"])
        },
        plain("limited", "/limited/", &["429"]),
        // Under way for some time, so that changes come in between.
        Probe {
            headers: vec![header("x-echo-delay-ms", "60")],
            ..plain("slow", "/cluster/", &["d"])
        },
        // What a change touches.
        plain("service", "/service/", &["a"]),
        plain("canary", "/canary/", &["a"]),
        plain("settings", "/settings/", &["a"]),
        Probe { word: Word::Path, ..plain("rewrite", "/rewrite/x", &["/v1/x"]) },
        plain("deleted", "/deleted/", &["b"]),
        plain("resolver", "/resolver/", &["pod-1"]),
        Probe { host: "second.test".to_owned(), ..plain("host", "/second/", &["b"]) },
        secure("certificate", Word::Certificate, "1"),
        Probe { addr: parts.extra, ..plain("listener", "/steady/", &[]) },
    ]
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

/// A Mapping whose prefix is its name.
fn mapping(name: &str, rest: &str) -> String {
    object("Mapping", name, &format!("{{hostname: \"*\", prefix: /{name}/, {rest}}}"))
}

fn service(state: usize, _: &Parts) -> Plan {
    let name = ["a", "b", "c"][state];
    Plan {
        files: vec![(
            "service.yaml",
            Some(mapping("service", &format!("service: \"{name}:8080\""))),
        )],
        answers: vec![("service", words(&[name]))],
    }
}

/// A canary comes, grows, is promoted, and goes.
fn canary(state: usize, _: &Parts) -> Plan {
    let (base, weight, right): (_, _, &[&str]) = [
        ("a", None, ["a"].as_slice()),
        ("a", Some(10), &["a", "b"]),
        ("a", Some(60), &["a", "b"]),
        ("a", Some(100), &["b"]),
        ("b", Some(100), &["b"]),
        ("b", None, &["b"]),
    ][state];
    let canary = weight.map(|weight| {
        let spec =
            format!("{{hostname: \"*\", prefix: /canary/, service: \"b:8080\", weight: {weight}}}");
        object("Mapping", "canary-new", &spec)
    });
    let base = mapping("canary", &format!("service: \"{base}:8080\""));
    Plan {
        files: vec![("canary.yaml", Some(base)), ("canary-new.yaml", canary)],
        answers: vec![("canary", words(right))],
    }
}

fn settings(state: usize, _: &Parts) -> Plan {
    let more = [
        "timeout_ms: 9000",
        "timeout_ms: 8000, idle_timeout_ms: 20000, add_response_headers: {x-state: one}",
        "timeout_ms: 9000, retry_policy: {retry_on: connect-failure, num_retries: 2}, cors: {origins: [http://a.test]}",
        "timeout_ms: 9000, precedence: 5, remove_request_headers: [x-nothing]",
    ][state];
    Plan {
        files: vec![(
            "settings.yaml",
            Some(mapping("settings", &format!("service: \"a:8080\", {more}"))),
        )],
        answers: vec![("settings", words(&["a"]))],
    }
}

/// Settings of which Envoy makes the cluster anew, under the same name.
fn cluster(state: usize, _: &Parts) -> Plan {
    let more = [
        "connect_timeout_ms: 3000",
        "connect_timeout_ms: 4000",
        "connect_timeout_ms: 3000, circuit_breakers: [{max_connections: 500}]",
        "connect_timeout_ms: 3000, keepalive: {idle_time: 100}, cluster_max_connection_lifetime_ms: 60000",
        "connect_timeout_ms: 3000, resolver: endpoint, load_balancer: {policy: least_request}",
        "connect_timeout_ms: 4000, resolver: endpoint, load_balancer: {policy: least_request}",
        "connect_timeout_ms: 4000, resolver: endpoint, load_balancer: {policy: round_robin}, stats_name: other",
    ][state];
    let more = format!("service: \"d:8080\", timeout_ms: 9000, {more}");
    Plan {
        files: vec![("cluster.yaml", Some(mapping("cluster", &more)))],
        answers: vec![("slow", words(&["d"]))],
    }
}

fn rewrite(state: usize, _: &Parts) -> Plan {
    let to = ["/v1/", "/v2/"][state];
    Plan {
        files: vec![(
            "rewrite.yaml",
            Some(mapping("rewrite", &format!("service: \"a:8080\", rewrite: {to}"))),
        )],
        answers: vec![("rewrite", vec![format!("{to}x")])],
    }
}

/// Where it is not there, the Mapping of all paths is.
fn deleted(state: usize, _: &Parts) -> Plan {
    let there = (state == 0).then(|| mapping("deleted", "service: \"b:8080\""));
    let right = if state == 0 { "b" } else { "c" };
    Plan { files: vec![("deleted.yaml", there)], answers: vec![("deleted", words(&[right]))] }
}

/// By name, then by endpoints that shrink and move, and back.
fn resolver(state: usize, parts: &Parts) -> Plan {
    let (resolver, pods): (_, &[&str]) = [
        ("kubernetes-service", ["pod-1"].as_slice()),
        ("endpoint", &["pod-1"]),
        ("endpoint", &["pod-1", "pod-2", "pod-3"]),
        ("endpoint", &["pod-2"]),
        ("endpoint", &["pod-3", "pod-1"]),
        ("endpoint", &["pod-1"]),
    ][state];
    let addresses: Vec<_> = pods.iter().map(|pod| parts.addresses[*pod]).collect();
    let spec = format!("service: \"svc:8080\", resolver: {resolver}");
    Plan {
        files: vec![
            ("endpoints.yaml", Some(slice("svc", &addresses, 8080))),
            ("resolver.yaml", Some(mapping("resolver", &spec))),
        ],
        answers: vec![("resolver", words(pods))],
    }
}

/// Numbers with which the routes of a host are divided by path, and are not.
fn many(state: usize, _: &Parts) -> Plan {
    let mut text = String::new();
    for n in 0..[0, 150, 90, 400][state] {
        let spec = format!("{{hostname: \"*\", prefix: /s/many/{n}/, service: \"c:8080\"}}");
        let _ = write!(text, "{}", object("Mapping", &format!("many-{n}"), &spec));
    }
    let text = (state > 0).then_some(text);
    Plan { files: vec![("many.yaml", text)], answers: Answers::new() }
}

/// What all Listeners, routes and clusters have.
fn module(state: usize, parts: &Parts) -> Plan {
    let more = [
        "",
        ", server_name: gateway, gzip: {min_content_length: 100}",
        ", buffer_limit_bytes: 65536",
        ", lua_scripts: \"function envoy_on_response(handle) handle:headers():add('x-lua', 'yes') end\"",
        // Envoy refuses it, and the script before stays.
        ", lua_scripts: \"function envoy_on_response(handle\"",
        ", resolver: endpoint, load_balancer: {policy: round_robin}",
        ", cluster_request_timeout_ms: 8000, cluster_idle_timeout_ms: 30000, merge_slashes: true",
        ", listener_idle_timeout_ms: 60000, enable_http10: true, max_request_headers_kb: 70",
        ", keepalive: {idle_time: 200}, circuit_breakers: [{max_requests: 5000}]",
    ][state];
    let log = parts.log.display();
    let spec = format!(
        "{{config: {{envoy_log_path: \"{log}\", envoy_log_format: \"%REQ(x-probe)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_CLUSTER%\", default_labels: {{ambassador: {{defaults: [{{remote_address: {{key: remote_address}}}}]}}}}{more}}}}}"
    );
    Plan {
        files: vec![("module.yaml", Some(object("Module", "ambassador", &spec)))],
        answers: Answers::new(),
    }
}

/// A Host that comes, changes its name, and goes; its routes are those of the Host of all names then.
fn host(state: usize, _: &Parts) -> Plan {
    let route = "requestPolicy: {insecure: {action: Route}}";
    let spec = [
        None,
        Some(format!("{{hostname: second.test, {route}}}")),
        Some(format!("{{hostname: \"*.test\", {route}}}")),
        Some(
            "{hostname: second.test, requestPolicy: {insecure: {action: Route, additionalPort: -1}}}"
                .to_owned(),
        ),
    ][state]
        .clone();
    let second = object(
        "Mapping",
        "second",
        "{hostname: second.test, prefix: /second/, service: \"b:8080\"}",
    );
    Plan {
        files: vec![
            ("second.yaml", Some(second)),
            ("host.yaml", spec.map(|spec| object("Host", "second", &spec))),
        ],
        answers: vec![("host", words(&["b"]))],
    }
}

fn tls(state: usize, _: &Parts) -> Plan {
    let (context, more) = [
        (None, ""),
        (None, ", tls: {min_tls_version: v1.2}"),
        (
            Some("{hosts: [secure.test], secret: secure, min_tls_version: v1.2}"),
            ", tlsContext: {name: own}",
        ),
        (
            Some("{hosts: [secure.test], secret: secure, alpn_protocols: http/1.1}"),
            ", tlsContext: {name: own}",
        ),
    ][state];
    let host = format!("{{hostname: secure.test, tlsSecret: {{name: secure}}{more}}}");
    let mut files = vec![
        ("context.yaml", context.map(|spec| object("TLSContext", "own", spec))),
        ("secure.yaml", Some(object("Host", "secure", &host))),
    ];
    // Whoever takes a TLSContext away takes its name out of the Host first: without it nothing is
    // served there, as it may have said who may come in.
    if context.is_none() {
        files.reverse();
    }
    Plan { files, answers: vec![("secure", words(&["a"]))] }
}

fn certificate(state: usize, parts: &Parts) -> Plan {
    Plan {
        files: vec![("certificate.yaml", Some(parts.secrets[state].to_string()))],
        answers: vec![("certificate", vec![(state + 1).to_string()])],
    }
}

fn listener(state: usize, parts: &Parts) -> Plan {
    let port = parts.extra.port();
    let spec = format!(
        "{{port: {port}, protocol: HTTP, securityModel: INSECURE, hostBinding: {{namespace: {{from: ALL}}}}}}"
    );
    let there = (state == 1).then(|| object("Listener", "extra", &spec));
    let right: &[&str] = if state == 1 { &["a"] } else { &[] };
    Plan { files: vec![("listener.yaml", there)], answers: vec![("listener", words(right))] }
}

/// Who says who may come in; all say the same.
fn auth_service(state: usize, _: &Parts) -> Plan {
    let spec = [
        "{auth_service: \"authz:3000\", proto: grpc, protocol_version: v3, timeout_ms: 10000}",
        "{auth_service: \"authz:3000\", proto: grpc, protocol_version: v3, timeout_ms: 9000, status_on_error: {code: 503}}",
        "{auth_service: \"auth-2:3000\", proto: grpc, protocol_version: v3, timeout_ms: 10000}",
        "{auth_service: \"auth-1:3000\", allowed_request_headers: [x-api-key, x-guarded], timeout_ms: 10000}",
        "{auth_service: \"auth-1:3000\", allowed_request_headers: [x-api-key, x-guarded], timeout_ms: 10000, include_body: {max_bytes: 1000, allow_partial: true}}",
    ][state];
    Plan {
        files: vec![("auth-service.yaml", Some(object("AuthService", "authorization", spec)))],
        answers: vec![("allowed", words(&["a"])), ("denied", words(&["401"]))],
    }
}

/// Who says how many may come in; all say the same.
fn rate_limit_service(state: usize, _: &Parts) -> Plan {
    let spec = [
        "{service: \"limit-1:5000\", protocol_version: v3, timeout_ms: 10000}",
        "{service: \"limit-2:5000\", protocol_version: v3, timeout_ms: 10000}",
        "{service: \"limit-2:5000\", protocol_version: v3, timeout_ms: 9000, failure_mode_deny: true}",
        "{service: \"limit-1:5000\", protocol_version: v3, timeout_ms: 10000, stats_name: limits}",
    ][state];
    Plan {
        files: vec![("limits.yaml", Some(object("RateLimitService", "limits", spec)))],
        answers: vec![("limited", words(&["429"]))],
    }
}

/// Another policy and other keys, which all let `good` pass.
fn policy(state: usize, _: &Parts) -> Plan {
    let rules = [
        "{host: \"*\", path: /guarded/*, filters: [{name: key}]}",
        "{host: nowhere.test, path: /, filters: [{name: key}]}, {host: \"*\", path: /guarded/*, filters: [{name: other}]}",
        "{host: gateway.test, path: /guarded/*, filters: [{name: key}, {name: other}]}",
    ][state];
    let keys = ["{good: good}", "{good: good, more: better}", "{more: better, good: good}"][state];
    let mut filters = String::new();
    for name in ["key", "other"] {
        let spec = "{APIKey: {httpHeader: x-api-key, keys: [{secretName: keys}]}}";
        filters += &object("Filter", name, spec);
    }
    let _ = write!(
        filters,
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: keys}}\nstringData: {keys}\n"
    );
    let policy = object("FilterPolicy", "guard", &format!("{{rules: [{rules}]}}"));
    Plan {
        files: vec![("filters.yaml", Some(filters)), ("policy.yaml", Some(policy))],
        answers: vec![("allowed", words(&["a"])), ("denied", words(&["401"]))],
    }
}
