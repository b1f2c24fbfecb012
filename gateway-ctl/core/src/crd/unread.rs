//! Schemas of what is not read yet. Its CRDs exist all the same, so that users' resources can be
//! applied; a kind or a field that becomes supported moves to `resource`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;
use service_kit::AmbassadorId;

use crate::resource::traffic::BreakerSpec;

/// TLS of a Host or a TLSContext.
#[derive(JsonSchema)]
#[allow(dead_code)]
pub(crate) struct Tls {
    /// Protocols that are offered (ALPN), separated by commas.
    alpn_protocols: Option<String>,
    /// Secret with the authorities of clients' certificates.
    ca_secret: Option<String>,
    /// File with the authorities of clients' certificates.
    cacert_chain_file: Option<String>,
    /// File with the certificate.
    cert_chain_file: Option<String>,
    /// Whether clients need a certificate. Default: false.
    cert_required: Option<bool>,
    /// Ciphers of TLS 1.2.
    cipher_suites: Option<Vec<String>>,
    /// File with revoked certificates.
    crl_file: Option<String>,
    /// Secret with revoked certificates.
    crl_secret: Option<String>,
    /// Curves of the key exchange.
    ecdh_curves: Option<Vec<String>>,
    /// Newest version: `v1.0` to `v1.3`.
    max_tls_version: Option<String>,
    /// Oldest version: `v1.0` to `v1.3`.
    min_tls_version: Option<String>,
    /// File with the key of the certificate.
    private_key_file: Option<String>,
    /// Had to do with redirects; has no effect.
    redirect_cleartext_from: Option<i64>,
    /// The name that is asked for when connecting to a service (SNI).
    sni: Option<String>,
}

/// Settings of TLS: for Hosts, or for connections to services.
#[derive(JsonSchema)]
#[allow(dead_code)]
pub(crate) struct TlsContext {
    /// Which installations read this; `["default"]` when absent.
    ambassador_id: Option<AmbassadorId>,
    /// Names that this serves; none: for connections to services.
    hosts: Option<Vec<String>>,
    /// Secret with certificate and key.
    secret: Option<String>,
    /// Whether `name.namespace` is a Secret of another namespace. Default: the Module's, else true.
    secret_namespacing: Option<bool>,
    #[schemars(flatten)]
    tls: Tls,
}

/// Sends connections of a port to a service.
#[derive(JsonSchema)]
#[allow(dead_code)]
pub(crate) struct TcpMapping {
    /// Which installations read this; `["default"]` when absent.
    ambassador_id: Option<AmbassadorId>,
    /// The port.
    #[schemars(range(min = 1, max = 65535))]
    port: u16,
    /// The name that clients ask for (SNI); needs a Host or a TLSContext of that name.
    host: Option<String>,
    /// The address that is listened on. Default: all.
    address: Option<String>,
    /// Where connections go: `host[:port]`.
    #[schemars(length(min = 1))]
    service: String,
    /// Name of the TLSContext that connections to the service use.
    tls: Option<Value>,
    /// Name of the resolver that finds the addresses of the service. Default: the Module's.
    resolver: Option<String>,
    /// Share of the connections, percent.
    weight: Option<u32>,
    /// Whether the service is reached over IPv4. Default: the Module's, else true.
    enable_ipv4: Option<bool>,
    /// Whether the service is reached over IPv6. Default: the Module's, else false.
    enable_ipv6: Option<bool>,
    /// Limits of what is under way to the service, by priority.
    circuit_breakers: Option<Vec<BreakerSpec>>,
    /// Keeps connections apart from those of other TCPMappings with the same service.
    cluster_tag: Option<String>,
    /// Milliseconds until a silent connection is closed, as a number or a text.
    idle_timeout_ms: Option<Value>,
    /// Name in statistics.
    stats_name: Option<String>,
    /// Kept by conversion from v2.
    #[schemars(rename = "v2ExplicitTLS")]
    v2_explicit_tls: Option<BTreeMap<String, Value>>,
}

/// Documentation of services' APIs; has no effect.
#[derive(JsonSchema)]
#[allow(dead_code)]
pub(crate) struct DevPortal {
    /// Which installations read this; `["default"]` when absent.
    ambassador_id: Option<AmbassadorId>,
    /// Where its pages are: `url`, `branch`, `dir`.
    content: Option<BTreeMap<String, Value>>,
    /// Whether this is the one that is shown.
    default: Option<bool>,
    /// Documentation that is shown: `service`, `url`, `timeout_ms`.
    docs: Option<Vec<BTreeMap<String, Value>>>,
    /// How services are named: `namespace.name` or `name.prefix`.
    naming_scheme: Option<String>,
    /// Whether the servers in a documentation are kept.
    preserve_servers: Option<bool>,
    /// The search: `enabled`, `type`.
    search: Option<BTreeMap<String, Value>>,
    /// Which Mappings are shown: `matchLabels`, `matchNamespaces`.
    selector: Option<BTreeMap<String, Value>>,
}
