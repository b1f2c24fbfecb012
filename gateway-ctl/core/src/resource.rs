//! Resources as the engine keeps them: read once at the door, checked, with typed fields.
//!
//! Reading needs nothing but the object itself (and who we are), so an object's findings change
//! only when the object does. What depends on other objects is found in `lower`.

pub mod auth_service;
pub mod consul;
pub mod endpoints;
pub mod environment;
pub mod error_page;
pub mod fields;
mod health_check;
pub mod host;
pub mod label;
pub mod listener;
pub mod load_balancer;
pub mod log_service;
pub mod mapping;
pub mod module;
mod outlier_detection;
pub mod rate_limit_service;
pub mod resolver;
pub mod secret;
pub mod selector;
pub mod service;
pub mod tcp_mapping;
pub mod tls;
pub mod tls_context;
pub mod tls_file;
pub mod tracing_service;
pub mod traffic;
pub mod v2;

pub use auth_service::AuthService;
pub use host::Host;
pub use listener::Listener;
pub use log_service::LogService;
pub use mapping::Mapping;
pub use module::Module;
pub use rate_limit_service::RateLimitService;
pub use secret::SecretTls;
pub use tcp_mapping::TcpMapping;
pub use tls_context::TlsContext;
pub use tracing_service::TracingService;

/// A resource of one of the kinds that are read.
#[derive(Clone, Debug, PartialEq)]
pub enum Spec {
    /// Routes requests to a service.
    Mapping(Box<Mapping>),
    /// A domain and how it is served.
    Host(Box<Host>),
    /// A port that is listened on.
    Listener(Listener),
    /// Settings of the whole gateway.
    Module(Box<Module>),
    /// The service that authorizes requests.
    AuthService(Box<AuthService>),
    /// The service that limits requests.
    RateLimitService(Box<RateLimitService>),
    /// Where traces go.
    TracingService(Box<TracingService>),
    /// Where access logs go.
    LogService(Box<LogService>),
    /// How hosts are found.
    Resolver(resolver::Resolver),
    /// The labels of a Namespace.
    Namespace(std::collections::BTreeMap<String, String>),
    /// Whether files that TLS settings name can be used.
    TlsFile(tls_file::Usable),
    /// The ports of a Kubernetes Service.
    Service(endpoints::ServicePorts),
    /// Where the hosts of Services are.
    Endpoints(Vec<endpoints::Subset>),
    /// The instances of a service in Consul.
    Consul(consul::Instances),
    /// An Ingress or an IngressClass; what it means is made by `derived`.
    Ingress,
    /// Passed on to ratelimit-svc.
    RateLimit,
    /// A `Filter` or `FilterPolicy`, passed on to authz-svc with the Secrets it names.
    Authorization {
        /// The Secrets.
        secrets: Vec<service_kit::ObjectRef>,
    },
    /// Sends connections of a port to a service.
    TcpMapping(Box<TcpMapping>),
    /// Settings of TLS.
    TlsContext(Box<TlsContext>),
    /// What it has for TLS; passed on to authz-svc if it is named there.
    Secret(Box<SecretTls>),
}
