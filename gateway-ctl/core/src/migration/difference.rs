//! Where this gateway does something else than Emissary: the rows of `docs/emissary-differences.md`,
//! and which objects meet which. The page is the only place where the words stand.

use std::sync::LazyLock;

use serde::Serialize;
use serde_json::Value;
use service_kit::Object;

use super::Met;
use super::survey::{
    Survey, cluster_settings, hosts_of_ingress, path_text, paths_of_ingress, spec_of, tcp_group,
};
use crate::resource::environment;

/// The page.
const PAGE: &str = include_str!("../../../../docs/emissary-differences.md");

/// A row of the page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The page's section, as in `Upstreams`.
    pub section: String,
    /// What it is about.
    pub what: String,
    /// What Emissary does.
    pub emissary: String,
    /// What Tollgate does.
    pub here: String,
    /// Why; may be empty.
    pub why: String,
}

/// Who meets a difference.
#[derive(Clone, Copy)]
enum Meets {
    /// Objects of these kinds for which the function names a field.
    Field(&'static [&'static str], fn(&Case<'_>) -> Option<&'static str>),
    /// Objects that get a diagnostic that says so.
    Told,
    /// Every installation.
    All,
    /// Nobody who comes from Emissary: it does not know the field.
    Nobody,
}

/// An object in its surroundings.
struct Case<'a> {
    object: &'a Object,
    /// In the words of v3alpha1.
    spec: &'a Value,
    survey: &'a Survey,
}

impl Case<'_> {
    fn has(&self, field: &str) -> bool {
        self.spec.pointer(&format!("/{}", field.replace('.', "/"))).is_some_and(|v| !v.is_null())
    }

    /// The first of these fields of `spec` that is given.
    fn first(&self, paths: &[&'static str]) -> Option<&'static str> {
        paths.iter().copied().find(|p| p.strip_prefix("spec.").is_some_and(|field| self.has(field)))
    }

    fn text(&self, field: &str) -> &str {
        self.spec[field].as_str().unwrap_or_default()
    }

    /// Whether a Host takes a TLSContext by its name.
    fn is_named_by_host(&self) -> bool {
        self.survey.named_contexts.contains(&self.object.reference.name)
    }

    /// Whether the header of Linkerd is added.
    fn for_linkerd(&self) -> bool {
        let of_module = self.survey.module["add_linkerd_headers"].as_bool();
        self.spec["add_linkerd_headers"].as_bool().or(of_module) == Some(true)
    }
}

fn when(holds: bool, path: &'static str) -> Option<&'static str> {
    holds.then_some(path)
}

const CALLED: &[&str] = &["AuthService", "RateLimitService", "TracingService", "LogService"];

/// Each row, by its section and the start of its first cell.
const ROWS: &[(&str, &str, Meets)] = &[
    (
        "Ingress",
        "the path a service sees",
        Meets::Field(&["Ingress"], |c| {
            when(
                paths_of_ingress(c.object).iter().any(|(p, _)| !matches!(p.as_str(), "" | "/")),
                "spec.rules",
            )
        }),
    ),
    (
        "Ingress",
        "`pathType: Prefix`",
        Meets::Field(&["Ingress"], |c| {
            let elements = |(path, kind): &(String, String)| kind == "Prefix" && path != "/";
            when(paths_of_ingress(c.object).iter().any(elements), "spec.rules")
        }),
    ),
    (
        "Ingress",
        "`pathType: Exact`",
        Meets::Field(&["Ingress"], |c| {
            let exact = paths_of_ingress(c.object).iter().any(|(_, kind)| kind == "Exact");
            when(exact && c.survey.has_precedence, "spec.rules")
        }),
    ),
    ("Ingress", "the status of one", Meets::Nobody),
    ("Ingress", "Hosts of `tls`", Meets::Field(&["Ingress"], |c| c.first(&["spec.tls"]))),
    (
        "Ingress",
        "one host in several",
        Meets::Field(&["Ingress"], |c| {
            let several = |h: &String| c.survey.ingresses_of_host.get(h).is_some_and(|n| *n > 1);
            when(hosts_of_ingress(c.object).iter().any(several), "spec.rules")
        }),
    ),
    ("Ingress", "a host of `tls`", Meets::Told),
    ("Ingress", "a port by a name", Meets::Told),
    (
        "Ingress",
        "`getambassador.io/ambassador-id`",
        Meets::Field(&["Ingress", "IngressClass"], |c| {
            let id = c.object.annotations.get("getambassador.io/ambassador-id")?;
            when(id.contains(',') || id == "_automatic_", "metadata.annotations")
        }),
    ),
    (
        "Environment variables in resources",
        "`$NAME` and `${NAME}` in other",
        Meets::Field(environment::KINDS, |c| {
            let kind = c.object.reference.kind.as_str();
            when(environment::is_named_elsewhere(kind, c.spec), "spec")
        }),
    ),
    (
        "Environment variables in resources",
        "which variables",
        Meets::Field(environment::KINDS, |c| when(environment::is_named(c.spec), "spec")),
    ),
    ("Mappings", "`prefix_separated`", Meets::Nobody),
    (
        "Mappings",
        "a `host_redirect` without `hostname`",
        Meets::Field(&["Mapping"], |c| {
            let redirects = c.spec["host_redirect"] == true;
            let labelled = !c.object.labels.is_empty();
            when(redirects && labelled && !c.has("hostname") && !c.has("host"), "spec.hostname")
        }),
    ),
    (
        "Mappings",
        "the condition `:authority`",
        Meets::Field(&["Mapping"], |c| {
            let named = c.spec.pointer("/headers/:authority").is_some();
            when(named && c.has("hostname") && c.text("hostname") != "*", "spec.headers.:authority")
        }),
    ),
    ("Mappings", "letters of another case", Meets::All),
    ("Mappings", "a port in the host", Meets::All),
    (
        "Mappings",
        "two Mappings whose paths",
        Meets::Field(&["Mapping"], |c| {
            let kinds = c.survey.kinds_of_path.get(&path_text(c.spec));
            when(kinds.is_some_and(|kinds| kinds.len() > 1), "spec.prefix")
        }),
    ),
    (
        "Mappings",
        "`regex_rewrite` beside",
        Meets::Field(&["Mapping"], |c| {
            let shared = c.has("weight") && c.has("rewrite") && c.text("rewrite") != "/";
            let regex = c.survey.rewritten_by_pattern.contains(&path_text(c.spec));
            when(shared && regex, "spec.rewrite")
        }),
    ),
    (
        "Mappings",
        "a condition on `x-forwarded-proto`",
        Meets::Field(&["Mapping"], |c| {
            c.first(&["spec.headers.x-forwarded-proto", "spec.regex_headers.x-forwarded-proto"])
        }),
    ),
    (
        "Mappings",
        "`host_redirect` with a scheme",
        Meets::Field(&["Mapping"], |c| {
            let redirects = c.spec["host_redirect"] == true;
            when(redirects && c.text("service").contains("://"), "spec.service")
        }),
    ),
    ("Mappings", "an expression, `%FORMAT%`", Meets::Told),
    ("Mappings", "a scheme of `service`", Meets::Told),
    ("Mappings", "a word or a type", Meets::Told),
    (
        "Mappings",
        "`cors.origins` as one text",
        Meets::Field(&["Mapping", "Module"], |c| {
            let origins = ["/spec/cors/origins", "/spec/config/cors/origins"];
            let text = origins.iter().find_map(|p| c.object.json.pointer(p)?.as_str());
            let module = c.object.reference.kind == "Module";
            let path = if module { "spec.config.cors.origins" } else { "spec.cors.origins" };
            when(text.is_some_and(|text| text.contains(", ")), path)
        }),
    ),
    ("Mappings", "a Mapping that fits no Host", Meets::Told),
    ("Mappings", "a group whose weights", Meets::Told),
    (
        "Mappings",
        "`error_response_overrides`",
        Meets::Field(&["Mapping", "Module"], |c| {
            c.first(&["spec.error_response_overrides", "spec.config.error_response_overrides"])
        }),
    ),
    (
        "Mappings",
        "`text_format_source`",
        Meets::Field(&["Mapping", "Module"], |c| {
            let named = c.spec.to_string().contains("\"text_format_source\"");
            when(named, "spec.error_response_overrides")
        }),
    ),
    ("Mappings", "`docs`", Meets::Told),
    (
        "Mappings",
        "`outlier_detection`",
        Meets::Field(&["Mapping"], |c| c.first(&["spec.outlier_detection"])),
    ),
    (
        "Mappings",
        "headers that a redirect's Mapping",
        Meets::Field(&["Mapping"], |c| {
            let edits = |field: &str| {
                let of_module = c.survey.module.pointer(&format!("/defaults/httpmapping/{field}"));
                c.has(field) || of_module.is_some()
            };
            let edited = edits("add_response_headers") || edits("remove_response_headers");
            let redirects = c.spec["host_redirect"] == Value::Bool(true);
            when(redirects && edited, "spec.host_redirect")
        }),
    ),
    ("Mappings", "what has no effect on a redirect", Meets::Told),
    (
        "Hosts and Listeners",
        "`matchExpressions`",
        Meets::Field(&["Host", "Listener"], |c| {
            let path = match c.object.reference.kind.as_str() {
                "Host" => "mappingSelector.matchExpressions",
                _ => "hostBinding.selector.matchExpressions",
            };
            when(c.has(path), "spec")
        }),
    ),
    (
        "Hosts and Listeners",
        "`hostBinding.namespace.from: SELECTOR`",
        Meets::Field(&["Listener"], |c| {
            let from = c.spec.pointer("/hostBinding/namespace/from").and_then(Value::as_str);
            when(from == Some("SELECTOR"), "spec.hostBinding.namespace.from")
        }),
    ),
    ("Hosts and Listeners", "`requestPolicy.insecure.additionalPort`", Meets::Told),
    ("Hosts and Listeners", "two Hosts with one hostname", Meets::Told),
    (
        "Hosts and Listeners",
        "`requestPolicy.insecure.action: Reject`",
        Meets::Field(&["Host"], |c| {
            let action = c.spec.pointer("/requestPolicy/insecure/action").and_then(Value::as_str);
            when(
                action == Some("Reject") && c.survey.has_insecure_listener,
                "spec.requestPolicy.insecure.action",
            )
        }),
    ),
    (
        "Hosts and Listeners",
        "PROXY and TLS on one port",
        Meets::Field(&["Listener"], |c| {
            let place =
                |layer: &str| c.spec["protocolStack"].as_array()?.iter().position(|l| l == layer);
            let tls_first =
                place("TLS").zip(place("PROXY")).is_some_and(|(tls, proxy)| tls < proxy);
            match tls_first {
                true => Some("spec.protocolStack"),
                false => when(c.text("protocol") == "HTTPSPROXY", "spec.protocol"),
            }
        }),
    ),
    (
        "Hosts and Listeners",
        "`protocolStack: [HTTP, UDP]`",
        Meets::Field(&["Listener"], |c| {
            let stack = c.spec["protocolStack"].to_string();
            when(stack.contains("\"UDP\"") && !stack.contains("\"TLS\""), "spec.protocolStack")
        }),
    ),
    ("Module", "probes on Listeners", Meets::All),
    ("Module", "a Mapping with the path of a probe", Meets::Told),
    ("Module", "diagnostics on Listeners", Meets::All),
    (
        "Module",
        "`enable_grpc_web: false`",
        Meets::Field(&["Module"], |c| {
            let off = |field: &str| c.spec["config"][field] == Value::Bool(false);
            match off("enable_grpc_web") {
                true => Some("spec.config.enable_grpc_web"),
                false => {
                    when(off("enable_grpc_http11_bridge"), "spec.config.enable_grpc_http11_bridge")
                }
            }
        }),
    ),
    ("Module", "Modules `tls` and", Meets::Told),
    ("Module", "a TLSContext with `hosts`", Meets::Told),
    ("Module", "fields whose place", Meets::Told),
    (
        "Module",
        "`runtime_flags`",
        Meets::Field(&["Module"], |c| {
            let flags = ["config.runtime_flags", "config.statsd", "config.admin_port"];
            when(flags.iter().any(|f| c.has(f)), "spec.config")
        }),
    ),
    ("Module", "`header_case_overrides`", Meets::Told),
    ("Module", "an entry of `ip_allow`", Meets::Told),
    ("Module", "one fault in the Module", Meets::All),
    ("Metrics and diagnostics", "`/metrics` of port", Meets::All),
    ("Metrics and diagnostics", "`/ambassador/v0/diag/", Meets::All),
    (
        "Metrics and diagnostics",
        "the gateway's name in traces",
        Meets::Field(&["TracingService", "Mapping"], |c| {
            let named = c.spec["labels"].to_string().contains("source_cluster");
            when(named, "spec.labels").or_else(|| when(c.text("driver") == "zipkin", "spec.driver"))
        }),
    ),
    (
        "Upstreams",
        "two Mappings with one cluster name",
        Meets::Field(&["Mapping"], |c| {
            let service = c.survey.settings_of_service.get(c.text("service"));
            let differ = service.is_some_and(|s| s.len() > 1);
            when(
                differ && cluster_settings(c.spec) != cluster_settings(&Value::Null),
                "spec.service",
            )
        }),
    ),
    (
        "Upstreams",
        "`keepalive.idle_time`",
        Meets::Field(&["Mapping", "Module"], |c| {
            c.first(&["spec.keepalive.idle_time", "spec.config.keepalive.idle_time"])
        }),
    ),
    ("Upstreams", "`health_checks` without", Meets::Told),
    (
        "Upstreams",
        "health checks without traffic",
        Meets::Field(&["Mapping"], |c| c.first(&["spec.health_checks"])),
    ),
    (
        "Upstreams",
        "a checked host",
        Meets::Field(&["Mapping"], |c| c.first(&["spec.health_checks"])),
    ),
    ("Upstreams", "unknown `dns_type`", Meets::Told),
    (
        "Upstreams",
        "the name that is asked for in TLS",
        Meets::Field(
            &[
                "Mapping",
                "TCPMapping",
                "AuthService",
                "RateLimitService",
                "TracingService",
                "LogService",
            ],
            |c| {
                let field = if c.object.reference.kind == "AuthService" {
                    "auth_service"
                } else {
                    "service"
                };
                let tls =
                    c.text(field).to_ascii_lowercase().starts_with("https://") || c.has("tls");
                let redirects = c.spec["host_redirect"] == true;
                when(tls && !redirects, "spec.service")
                    .map(|path| if field == "auth_service" { "spec.auth_service" } else { path })
            },
        ),
    ),
    (
        "Upstreams",
        "the cluster's name of an AuthService",
        Meets::Field(CALLED, |c| c.first(&["spec.stats_name", "spec.tls"])),
    ),
    ("Upstreams", "an AuthService that breaks", Meets::Told),
    (
        "Upstreams",
        "a service named without a namespace",
        Meets::Field(CALLED, |c| {
            let of_gateway =
                c.survey.module["use_ambassador_namespace_for_service_resolution"] == true;
            let field = c.first(&["spec.auth_service", "spec.service"])?;
            let text = c.text(&field["spec.".len()..]);
            let host = text.rsplit("//").next().unwrap_or_default();
            when(!of_gateway && !host.contains(['.', '[']), field)
        }),
    ),
    ("Upstreams", "the body of the 500", Meets::Told),
    ("Upstreams", "a RateLimitService that cannot be used", Meets::Told),
    (
        "Upstreams",
        "`grpc.use_resource_exhausted_code`",
        Meets::Field(&["RateLimitService"], |c| {
            c.first(&["spec.grpc.use_resource_exhausted_code"])
        }),
    ),
    (
        "Upstreams",
        "`tag_headers` of a TracingService",
        Meets::Field(&["TracingService"], |c| {
            let converts = !c.object.api_version.ends_with("/v3alpha1");
            if converts { None } else { c.first(&["spec.tag_headers"]) }
        }),
    ),
    ("Upstreams", "usual lines of the access log", Meets::All),
    (
        "Upstreams",
        "AuthService, RateLimitService, TracingService, LogService with",
        Meets::Field(CALLED, |c| {
            let resolver = c.survey.module["resolver"].as_str().unwrap_or_default();
            when(!matches!(resolver, "" | "kubernetes-service"), "spec")
        }),
    ),
    (
        "Upstreams",
        "`l5d-dst-override` of the",
        Meets::Field(&["AuthService"], |c| when(c.for_linkerd(), "spec.add_linkerd_headers")),
    ),
    (
        "Upstreams",
        "`l5d-dst-override` that",
        Meets::Field(&["Mapping"], |c| when(c.for_linkerd(), "spec.add_linkerd_headers")),
    ),
    ("Upstreams", "EndpointSlices", Meets::All),
    (
        "Upstreams",
        "Consul that does not answer",
        Meets::Field(&["ConsulResolver"], |_| Some("spec.address")),
    ),
    (
        "Upstreams",
        "`CONSUL_HTTP_TOKEN`",
        Meets::Field(&["ConsulResolver"], |_| Some("metadata.namespace")),
    ),
    ("Upstreams", "several AuthServices", Meets::Told),
    ("Upstreams", "several TracingServices", Meets::Told),
    (
        "Upstreams",
        "TracingService, LogService",
        Meets::Field(&["TracingService", "LogService"], |_| Some("spec")),
    ),
    (
        "Upstreams",
        "`grpc` of a LogService",
        Meets::Field(&["LogService"], |c| when(c.spec["grpc"] == Value::Bool(false), "spec.grpc")),
    ),
    ("TLS and TCP", "a Host whose Secret", Meets::Told),
    ("TLS and TCP", "a Secret that becomes wrong", Meets::All),
    ("TLS and TCP", "TLS for a name without a certificate", Meets::All),
    (
        "TLS and TCP",
        "a TLSContext that nothing names",
        Meets::Field(&["TLSContext"], |c| {
            let hosts = c.spec["hosts"].as_array().into_iter().flatten().filter_map(Value::as_str);
            when(
                !c.is_named_by_host() && hosts.into_iter().any(|h| c.survey.hostnames.contains(h)),
                "spec.hosts",
            )
        }),
    ),
    (
        "TLS and TCP",
        "`tls` and `tlsContext` of a Host",
        Meets::Field(&["Host"], |c| match c.has("tlsSecret.name") {
            true => None,
            false => c.first(&["spec.tlsContext.name", "spec.tls"]),
        }),
    ),
    (
        "TLS and TCP",
        "fields of `Host.tls` in camel case",
        Meets::Field(&["Host"], |c| {
            let camel = |field: &String| field.contains(|c: char| c.is_ascii_uppercase());
            let fields = c.spec["tls"].as_object();
            when(fields.is_some_and(|f| f.keys().any(camel)), "spec.tls")
        }),
    ),
    (
        "TLS and TCP",
        "TLSContexts of one name",
        Meets::Field(&["TLSContext"], |c| {
            let count = c.survey.contexts.get(&c.object.reference.name);
            when(count.is_some_and(|n| *n > 1), "metadata.name")
        }),
    ),
    (
        "TLS and TCP",
        "`secret: name.namespace`",
        Meets::Field(&["TLSContext"], |c| {
            when(c.is_named_by_host() && c.text("secret").contains('.'), "spec.secret")
        }),
    ),
    ("TLS and TCP", "a star that TLS has no word for", Meets::Told),
    (
        "TLS and TCP",
        "two Hosts of one name and different ports",
        Meets::Field(&["Host"], |c| {
            when(c.text("hostname").contains(':') && c.has("tlsSecret"), "spec.hostname")
        }),
    ),
    ("TLS and TCP", "a Secret of another type", Meets::All),
    (
        "TLS and TCP",
        "`cert_required` of a TLSContext",
        Meets::Field(&["TLSContext"], |c| match c.has("hosts") || c.is_named_by_host() {
            true => c.first(&["spec.sni"]),
            false => c.first(&["spec.cert_required"]),
        }),
    ),
    ("TLS and TCP", "a TCPMapping without `host`", Meets::Told),
    (
        "TLS and TCP",
        "no TLS on a port",
        Meets::Field(&["Listener"], |c| {
            let model = c.spec["securityModel"].as_str().or(c.spec["security_model"].as_str());
            when(model == Some("SECURE") && c.survey.has_tls, "spec.securityModel")
        }),
    ),
    ("TLS and TCP", "an unknown TLSContext", Meets::Told),
    (
        "TLS and TCP",
        "TCPMappings of one port",
        Meets::Field(&["TCPMapping"], |c| {
            let shared = c.survey.tcp_groups.get(&tcp_group(c.spec)).is_some_and(|n| *n > 1);
            let fields =
                ["spec.tls", "spec.circuit_breakers", "spec.enable_ipv6", "spec.enable_ipv4"];
            c.first(&fields).filter(|_| shared)
        }),
    ),
    (
        "TLS and TCP",
        "weights of TCPMappings",
        Meets::Field(&["TCPMapping"], |c| {
            let shared = c.survey.tcp_groups.get(&tcp_group(c.spec)).is_some_and(|n| *n > 1);
            when(shared && c.has("weight"), "spec.weight")
        }),
    ),
    (
        "TLS and TCP",
        "`TCPMapping.idle_timeout_ms`",
        Meets::Field(&["TCPMapping"], |c| c.first(&["spec.idle_timeout_ms", "spec.stats_name"])),
    ),
    (
        "TLS and TCP",
        "a TLSContext with `hosts`",
        Meets::Field(&["TLSContext"], |c| {
            let certificate = ["secret", "cert_chain_file"].iter().any(|f| c.has(f));
            when(c.has("hosts") && !certificate, "spec.hosts")
        }),
    ),
    (
        "TLS and TCP",
        "`alt-svc`",
        Meets::Field(&["Listener"], |c| {
            let stack = c.spec["protocolStack"].to_string();
            when(stack.contains("\"UDP\""), "spec.protocolStack")
        }),
    ),
    (
        "TLS and TCP",
        "a TLSContext without a certificate",
        Meets::Field(&["TLSContext"], |c| {
            let certificates =
                ["secret", "cert_chain_file", "ca_secret", "cacert_chain_file", "hosts"];
            when(!certificates.iter().any(|field| c.has(field)), "spec")
        }),
    ),
    (
        "TLS and TCP",
        "`alpn_protocols` with spaces",
        Meets::Field(&["TLSContext"], |c| {
            when(c.text("alpn_protocols").contains(", "), "spec.alpn_protocols")
        }),
    ),
    ("TLS and TCP", "a name of TLS", Meets::Told),
];

/// The page's rows with who meets them, in the page's order.
static DIFFERENCES: LazyLock<Vec<(Difference, Meets)>> = LazyLock::new(|| {
    let meets = |d: &Difference| {
        let row = ROWS
            .iter()
            .filter(|(section, what, _)| *section == d.section && d.what.starts_with(what));
        // The longest start is the row's own.
        row.max_by_key(|(_, what, _)| what.len()).map_or(Meets::All, |(_, _, meets)| *meets)
    };
    rows(PAGE).map(|d| (d.clone(), meets(&d))).collect()
});

/// The rows of a page's tables; each is below the heading of its section.
fn rows(page: &str) -> impl Iterator<Item = Difference> {
    let mut section = "";
    page.lines().filter_map(move |line| {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.trim();
        }
        let row = line.strip_prefix("| ")?.strip_suffix('|')?;
        let mut cells = row.split(" | ").map(|c| c.trim().to_owned());
        let what = cells.next().filter(|w| w != "what")?;
        let (emissary, here) = (cells.next()?, cells.next()?);
        let why = cells.next().unwrap_or_default();
        let why = why.trim_matches('|').trim().to_owned();
        Some(Difference { section: section.to_owned(), what, emissary, here, why })
    })
}

/// What an object meets.
pub(super) fn met_by(object: &Object, survey: &Survey) -> Vec<Met> {
    let spec = spec_of(object);
    let case = Case { object, spec: &spec, survey };
    let kind = object.reference.kind.as_str();
    DIFFERENCES
        .iter()
        .filter_map(|(difference, meets)| match meets {
            Meets::Field(kinds, path) if kinds.contains(&kind) => {
                Some(Met { difference, path: path(&case)?.to_owned() })
            }
            _ => None,
        })
        .collect()
}

/// What every installation meets.
pub(super) fn of_the_gateway() -> impl Iterator<Item = &'static Difference> {
    DIFFERENCES.iter().filter(|(_, meets)| matches!(meets, Meets::All)).map(|(d, _)| d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_page_says_who_meets_it_and_the_reverse() {
        let page: Vec<_> = rows(PAGE).collect();
        assert!(page.len() > 30, "{}", page.len());
        for row in &page {
            let known = ROWS.iter().any(|(s, w, _)| *s == row.section && row.what.starts_with(w));
            assert!(known, "no row of ROWS for: {} / {}", row.section, row.what);
        }
        for (section, what, _) in ROWS {
            let known = page.iter().any(|r| r.section == *section && r.what.starts_with(what));
            assert!(known, "not on the page: {section} / {what}");
        }
    }
}
