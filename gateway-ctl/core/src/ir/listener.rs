//! Listeners and what their HTTP traffic passes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::Telemetry;
use super::tls::ServerTls;

use super::access_log::AccessLog;
use super::error_page::ErrorPage;

/// A port that is listened on.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// The name of its Listener resource.
    pub name: String,
    /// Address.
    pub address: String,
    /// Port.
    pub port: u16,
    /// Whether connections begin with the PROXY protocol.
    pub proxy_protocol: bool,
    /// Whether TLS is told from what is not, and its names are read.
    pub inspects_tls: bool,
    /// Whether it is QUIC over UDP.
    pub quic: bool,
    /// The prefix of its statistics.
    pub stat_prefix: String,
    /// Proxies in front whose `x-forwarded-for` is trusted.
    pub trusted_hops: u32,
    /// HTTP/2 streams on one connection.
    pub max_concurrent_streams: Option<u32>,
    /// Options of all Listeners.
    pub options: HttpOptions,
    /// Filters of all Listeners.
    pub filters: HttpFilters,
    /// What is told of traffic.
    pub telemetry: Telemetry,
    /// What is done with which connections.
    pub chains: Vec<Chain>,
}

/// Which connections a chain takes. The more is said, the earlier it is looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Match {
    /// TLS that asks for this name; `*.` at its start stands for any labels.
    Name(String),
    /// Other TLS.
    AnyName,
    /// What is no TLS.
    Clear,
    /// All others.
    Everything,
}

/// What is done with some connections.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// Which.
    pub matches: Match,
    /// How TLS is served.
    pub tls: Option<Arc<ServerTls>>,
    /// What then.
    pub content: Content,
}

/// What a connection carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// HTTP; the name of the route table.
    Http(String),
    /// Bytes, for clusters by weight.
    Tcp {
        /// Clusters and their weights, relative to each other.
        clusters: Vec<(String, u32)>,
        /// Until a silent connection is closed; 0 is never.
        idle_timeout_ms: Option<u64>,
    },
}

/// Options that all Listeners share; the Module sets them.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpOptions {
    /// The `server` header.
    pub server_name: String,
    /// Whether the peer's address is the client's.
    pub use_remote_address: bool,
    /// Whether `//` counts as `/`.
    pub merge_slashes: bool,
    /// Whether `%2F` in a path is refused.
    pub reject_escaped_slashes: bool,
    /// Whether a port in `host` that is the Listener's is dropped.
    pub strip_matching_host_port: bool,
    /// Whether a client's `x-request-id` is kept.
    pub preserve_external_request_id: bool,
    /// Whether Envoy's own headers are left out.
    pub suppress_envoy_headers: bool,
    /// Whether HTTP/1.0 is answered.
    pub http10: bool,
    /// Whether a request may have both a length and chunks.
    pub allow_chunked_length: bool,
    /// Whether HTTP/1 header names are written Like-This.
    pub proper_case: bool,
    /// `REJECT_REQUEST` and such; Envoy's word.
    pub underscores: Underscores,
    /// Until an idle connection is closed.
    pub idle_timeout_ms: Option<u64>,
    /// Largest request headers, KiB.
    pub max_request_headers_kb: Option<u32>,
    /// Most bytes that wait on a connection.
    pub buffer_limit_bytes: Option<u32>,
    /// What of a client's certificate services are told.
    pub client_certificates: ClientCertificates,
    /// Filters that the Module asks for.
    pub filters: ModuleFilters,
    /// The log of requests.
    pub access_log: AccessLog,
    /// Paths at which this Envoy answers how it is.
    pub probes: Vec<String>,
}

/// Paths of probes where nobody says otherwise.
pub const PROBES: [&str; 2] = ["/ambassador/v0/check_alive", "/ambassador/v0/check_ready"];

/// What happens to the header `x-forwarded-client-cert`; Envoy's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forwarding {
    /// It is removed.
    #[default]
    Sanitize,
    /// It passes where the client has a certificate.
    ForwardOnly,
    /// The client's certificate is added to it.
    AppendForward,
    /// It is replaced by what the client's certificate says.
    SanitizeSet,
    /// It always passes.
    AlwaysForwardOnly,
}

/// What of a client's certificate services are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientCertificates {
    /// What happens to the header.
    pub forwarding: Forwarding,
    /// The subject.
    pub subject: bool,
    /// The certificate.
    pub certificate: bool,
    /// The chain.
    pub chain: bool,
    /// DNS names.
    pub dns: bool,
    /// URIs.
    pub uri: bool,
}

/// Filters that only the Module asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModuleFilters {
    /// HTTP/1.1 clients may speak to gRPC services.
    pub grpc_http1_bridge: bool,
    /// gRPC-Web clients may speak to gRPC services.
    pub grpc_web: bool,
    /// Statistics of gRPC calls.
    pub grpc_stats: Option<GrpcStats>,
    /// A Lua script that sees every request.
    pub lua: Option<String>,
    /// Answers are compressed.
    pub gzip: Option<Gzip>,
    /// Largest request that is buffered whole, in bytes.
    pub buffer: Option<u32>,
    /// Addresses that may or may not come in.
    pub addresses: Option<AddressRule>,
    /// Other bodies for errors.
    pub error_pages: Vec<ErrorPage>,
    /// Whether routes have bodies of their own.
    pub own_error_pages: bool,
}

/// Statistics of gRPC calls.
#[derive(Clone, Debug, PartialEq)]
pub struct GrpcStats {
    /// Services and their methods that have statistics; none: all of them.
    pub services: Option<BTreeMap<String, Vec<String>>>,
    /// Whether the time of services is counted.
    pub upstream: bool,
}

/// How answers are compressed; what is absent is Envoy's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gzip {
    /// 1 to 9.
    pub memory_level: Option<u32>,
    /// 9 to 15.
    pub window_bits: Option<u32>,
    /// Number of Envoy's `Gzip.CompressionLevel`.
    pub level: i32,
    /// Number of Envoy's `Gzip.CompressionStrategy`.
    pub strategy: i32,
    /// Shorter answers are left as they are, in bytes.
    pub min_content_length: Option<u32>,
    /// Only these; empty: Envoy's list.
    pub content_type: Vec<String>,
    /// Answers with an `etag` are left as they are.
    pub disable_on_etag_header: bool,
    /// Services do not see `accept-encoding`.
    pub remove_accept_encoding_header: bool,
}

/// Which addresses may come in.
#[derive(Clone, Debug, PartialEq)]
pub struct AddressRule {
    /// Only these may, or all but these.
    pub allow: bool,
    /// The addresses.
    pub ranges: Vec<AddressRange>,
}

/// A range of addresses.
#[derive(Clone, Debug, PartialEq)]
pub struct AddressRange {
    /// The other end of the connection, or the client behind trusted proxies.
    pub peer: bool,
    /// As in `10.0.0.0`.
    pub address: IpAddr,
    /// Bits that count.
    pub prefix_length: u8,
}

/// What happens to headers with an underscore in their name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Underscores {
    /// They pass.
    #[default]
    Allow,
    /// The request is refused.
    RejectRequest,
    /// They are dropped.
    DropHeader,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            server_name: "envoy".to_owned(),
            use_remote_address: true,
            merge_slashes: false,
            reject_escaped_slashes: false,
            strip_matching_host_port: false,
            preserve_external_request_id: false,
            suppress_envoy_headers: false,
            http10: false,
            allow_chunked_length: false,
            proper_case: false,
            underscores: Underscores::Allow,
            idle_timeout_ms: None,
            max_request_headers_kb: None,
            buffer_limit_bytes: None,
            client_certificates: ClientCertificates::default(),
            filters: ModuleFilters::default(),
            access_log: AccessLog::default(),
            probes: PROBES.map(str::to_owned).to_vec(),
        }
    }
}

/// What decides about requests before they are routed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpFilters {
    /// Every request is refused, for this reason.
    pub closed: Option<String>,
    /// The authorization service.
    pub authorizer: Option<Authorizer>,
    /// The rate limit service.
    pub limiter: Option<Limiter>,
}

/// The authorization service.
#[derive(Clone, Debug, PartialEq)]
pub struct Authorizer {
    /// Its cluster.
    pub cluster: String,
    /// `host:port`, for the `host` header of checks over HTTP.
    pub authority: String,
    /// HTTP's settings; none for gRPC.
    pub http: Option<AuthorizerHttp>,
    /// Until an answer is given up.
    pub timeout_ms: u64,
    /// Bytes of the body that are sent along, and whether a longer body is cut.
    pub body: Option<(u32, bool)>,
    /// Whether requests pass when there is no answer.
    pub failure_mode_allow: bool,
    /// The status when there is no answer.
    pub status_on_error: Option<u32>,
}

/// What only checks over HTTP have.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthorizerHttp {
    /// Put before the path.
    pub path_prefix: String,
    /// Headers of the request that are sent.
    pub request_headers: Vec<String>,
    /// Headers of the answer that are taken.
    pub response_headers: Vec<String>,
    /// Headers that are added to checks.
    pub add_headers: BTreeMap<String, String>,
}

/// The rate limit service.
#[derive(Clone, Debug, PartialEq)]
pub struct Limiter {
    /// Its cluster.
    pub cluster: String,
    /// The domain of every request.
    pub domain: String,
    /// Until an answer is given up.
    pub timeout_ms: u64,
    /// Whether requests are refused when there is no answer.
    pub failure_mode_deny: bool,
    /// Whether gRPC clients see RESOURCE_EXHAUSTED.
    pub resource_exhausted: bool,
}
