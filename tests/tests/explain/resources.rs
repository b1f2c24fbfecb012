//! The resources that things go wrong with.

use std::net::SocketAddr;

use e2e::certificates::Certificates;

use super::servers;

pub(crate) fn mapping(name: &str, service: &str, more: &str) -> String {
    format!(
        "---\napiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {{name: {name}}}\nspec: {{hostname: gateway.test, prefix: /{name}/, service: \"{service}\"{more}}}\n"
    )
}

pub(crate) fn object(kind: &str, name: &str, spec: &str) -> String {
    let version = if kind == "Service" { "v1" } else { "getambassador.io/v3alpha1" };
    format!("---\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

/// The Listener of all tests; the edge knows what `PLAIN` is.
pub(crate) fn plain_listener(port: &str) -> String {
    let rest = "protocol: HTTP, securityModel: INSECURE, hostBinding: {namespace: {from: ALL}}";
    object("Listener", "plain", &format!("{{port: {port}, {rest}}}"))
}

pub(crate) fn host(name: &str, action: &str) -> String {
    let spec =
        format!("{{hostname: {name}.test, requestPolicy: {{insecure: {{action: {action}}}}}}}");
    object("Host", name, &spec)
}

pub(crate) fn slice(service: &str, ready: bool, address: SocketAddr, ports: &str) -> String {
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {service}-1, namespace: default, labels: {{kubernetes.io/service-name: {service}}}}}\naddressType: IPv4\nendpoints: [{{addresses: [\"{}\"], conditions: {{ready: {ready}}}}}]\nports: {ports}\n",
        address.ip()
    )
}

/// What all phases have: Listeners, Hosts, and what does not depend on authorization and limits.
pub(crate) struct Services {
    pub(crate) echo: SocketAddr,
    pub(crate) nothing: SocketAddr,
    pub(crate) consul: SocketAddr,
    pub(crate) full: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) named: SocketAddr,
    pub(crate) wants: SocketAddr,
}

pub(crate) fn base(s: &Services, certificates: &Certificates) -> String {
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

pub(crate) const MODULE: &str = "---
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

/// What the second phase has: authorization and limits.
pub(crate) fn asked(authz: SocketAddr, limits: SocketAddr, echo: SocketAddr) -> String {
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
