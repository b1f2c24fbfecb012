//! Routes.

use std::collections::BTreeMap;

use service_kit::ObjectRef;

use super::balance::HashOn;
use super::error_page::ErrorPages;
use crate::syntax::Hostname;

/// How a path is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathKind {
    /// The path starts with the text.
    Prefix,
    /// The path is the text, or goes on behind it with a slash.
    Element,
    /// The path is the text.
    Exact,
    /// The path fits the regular expression as a whole.
    Regex,
}

/// A condition on a header or query parameter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueMatch {
    /// Header (in lower case, or a pseudo-header) or parameter.
    pub name: String,
    /// What its value must be; without it presence is enough.
    pub value: Option<String>,
    /// Whether `value` is a regular expression for the whole.
    pub regex: bool,
}

impl ValueMatch {
    /// How much it counts in the order of routes.
    pub fn weight(&self) -> usize {
        let value = self.value.as_ref().map_or(1, String::len);
        self.name.len() + value + usize::from(self.regex)
    }
}

/// What a route matches. Mappings with one key share its requests by weight; the order of keys,
/// highest first, is the order in which Envoy tries routes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    /// Higher is tried first.
    pub precedence: i64,
    /// Length of `path`: longer is tried first.
    pub path_len: usize,
    /// Sum of the weights of `headers` (and of the hostname): more is tried first.
    pub header_weight: usize,
    /// The same of `query_parameters`.
    pub query_weight: usize,
    /// Prefix, path or regular expression.
    pub path: String,
    /// How `path` is compared.
    pub path_kind: PathKind,
    /// Whether case matters in `path`.
    pub case_sensitive: bool,
    /// The Mapping's DNS glob; none fits every host.
    pub hostname: Option<Hostname>,
    /// A regular expression for the host instead.
    pub hostname_regex: Option<String>,
    /// Conditions on headers and the method, sorted.
    pub headers: Vec<ValueMatch>,
    /// Conditions on query parameters, sorted.
    pub query_parameters: Vec<ValueMatch>,
}

/// Part of a rate limit descriptor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RateAction {
    /// A fixed entry.
    GenericKey {
        /// Its key.
        key: String,
        /// Its value.
        value: String,
    },
    /// The address of the client.
    RemoteAddress,
    /// The value of a header; without the header there is no descriptor.
    RequestHeader {
        /// The header.
        header: String,
        /// The entry's key.
        key: String,
    },
    /// What the AuthService said of the request, in dynamic metadata; without it, and without a
    /// default, there is no descriptor.
    Authorization {
        /// The entry's key.
        key: String,
        /// Where the value is in the metadata.
        path: Vec<String>,
        /// The value where there is none.
        default: String,
    },
    /// The cluster that this Envoy belongs to.
    SourceCluster,
    /// The cluster that the request goes to.
    DestinationCluster,
}

/// A header to be set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderEdit {
    /// Its name.
    pub name: String,
    /// Its value, in Envoy's format.
    pub value: String,
    /// Whether it is added to what is there instead of replacing it.
    pub append: bool,
}

/// What is done to headers on the way in and out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Set on the request.
    pub add_request: Vec<HeaderEdit>,
    /// Set on the response.
    pub add_response: Vec<HeaderEdit>,
    /// Removed from the request.
    pub remove_request: Vec<String>,
    /// Removed from the response.
    pub remove_response: Vec<String>,
}

/// What happens to the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// Nothing.
    Keep,
    /// What matched is replaced.
    Prefix(String),
    /// A pattern is replaced.
    Regex {
        /// What is looked for.
        pattern: String,
        /// What it is replaced by.
        substitution: String,
    },
}

/// What happens to the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostRewrite {
    /// Nothing.
    Keep,
    /// It is replaced.
    Literal(String),
    /// It becomes the name of the upstream host.
    Upstream,
}

/// A copy of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// Where it goes.
    pub cluster: String,
    /// Of how many requests in a hundred.
    pub percent: u32,
}

/// When a request is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Envoy's word for the condition.
    pub retry_on: String,
    /// How often.
    pub num_retries: Option<u32>,
    /// How long each may take, in milliseconds.
    pub per_try_timeout_ms: Option<u64>,
}

/// What other origins may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    /// Origins, exact, or `*`.
    pub origins: Vec<String>,
    /// `access-control-allow-methods`
    pub methods: String,
    /// `access-control-allow-headers`
    pub headers: String,
    /// `access-control-expose-headers`
    pub exposed_headers: String,
    /// `access-control-allow-credentials`
    pub credentials: bool,
    /// `access-control-max-age`, seconds.
    pub max_age: String,
}

/// What the authorization service is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// As everywhere.
    Ask(BTreeMap<String, String>),
    /// Not at all.
    Bypass,
}

/// Where a redirect leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Host and maybe port.
    pub host: String,
    /// `http` or `https`; the request's otherwise.
    pub scheme: Option<&'static str>,
    /// The path.
    pub path: RedirectPath,
    /// 301, 302, 303, 307 or 308.
    pub status: u32,
}

/// The path of a redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectPath {
    /// The request's.
    Keep,
    /// This one.
    Path(String),
    /// The request's with what matched replaced.
    Prefix(String),
    /// The request's with a pattern replaced.
    Regex {
        /// What is looked for.
        pattern: String,
        /// What it is replaced by.
        substitution: String,
    },
}

/// What happens to a request that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes to a cluster.
    Forward {
        /// The cluster.
        cluster: String,
        /// The path.
        rewrite: Rewrite,
        /// The host.
        host_rewrite: HostRewrite,
        /// Until the whole is given up; 0 is never.
        timeout_ms: u64,
        /// Until a silent stream is given up; 0 is never, none Envoy's default.
        idle_timeout_ms: Option<u64>,
        /// Retries.
        retry: Option<Retry>,
        /// Protocols that the connection may change to.
        upgrades: Vec<String>,
        /// Whether it takes the circuit breakers of high priority.
        high_priority: bool,
        /// What is hashed to choose a host.
        hash_on: Option<Box<HashOn>>,
        /// Copies.
        shadows: Vec<Shadow>,
        /// Descriptors for the rate limit service.
        rate_limits: Vec<Vec<RateAction>>,
    },
    /// The client is sent elsewhere.
    Redirect(Redirect),
    /// The service cannot be reached in the way that was asked for: 503.
    Unavailable,
}

/// One route: a Mapping's part of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The Mapping.
    pub mapping: ObjectRef,
    /// The service as the Mapping writes it.
    pub service: String,
    /// Which of a hundred requests that come to this route it takes: those below this number.
    /// Cumulative over the group; 100 takes all that are left.
    pub below: u32,
    /// The Mapping's own share, in percent.
    pub share: u32,
    /// What it does.
    pub action: Action,
    /// Headers.
    pub edits: HeaderEdits,
    /// Authorization.
    pub auth: Auth,
    /// Other origins.
    pub cors: Option<Cors>,
    /// Bodies of errors.
    pub error_pages: ErrorPages,
}
