//! The kinds of filter. Each has a file with its specification (`Spec`), its compilation and its
//! judgement; to add one is that file and a row in [`kinds`].

pub mod api_key;
pub mod basic;
pub mod cel;
pub mod external;
pub mod hmac;
pub mod introspection;
pub mod ip;
pub mod jwt;
pub mod mtls;
pub mod oauth2;
pub mod plugin;
pub mod rego;
mod template;

use std::fmt::{self, Write as _};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use service_kit::AmbassadorId;

use crate::arguments::Arguments;
use crate::compile::Compiling;
use crate::context::{Context, Identity};
use crate::need::{Fetch, Pending};
use crate::reply::Reply;

pub use template::HeaderTemplates;

/// A compiled Filter object.
#[derive(Debug)]
pub struct Filter {
    /// `NAME.NAMESPACE`.
    pub name: String,
    /// The field of its spec, as in `JWT`; for metrics. `invalid` when there is none.
    pub kind: &'static str,
    /// What judges. None: the object is missing or broken, and every request is answered 500.
    pub judge: Option<Box<dyn Judge>>,
}

/// A compiled filter of some kind.
pub trait Judge: fmt::Debug + Send + Sync {
    /// Judges the request of `context`.
    ///
    /// # Errors
    /// While an answer of the edge is not there.
    fn judge(&self, context: &Context<'_>, arguments: &Arguments) -> Judged;

    /// Documents that it will need, so that they are there before the first request.
    fn documents(&self) -> Vec<Fetch> {
        Vec::new()
    }

    /// As a JWT filter, for filters that have tokens judged by one.
    fn as_jwt(&self) -> Option<&jwt::Jwt> {
        None
    }

    /// As an OAuth2 filter, which answers some paths before any rule.
    fn as_oauth2(&self) -> Option<&oauth2::OAuth2> {
        None
    }
}

/// A verdict, or what it waits for.
pub type Judged = Result<Verdict, Pending>;

/// What a filter says of a request.
#[derive(Debug)]
pub enum Verdict {
    /// It may pass, changed so.
    Allow(Box<Modification>),
    /// It gets this instead.
    Deny(Reply),
    /// The filter could not decide, for a fault outside of it: the client gets this, unless the
    /// policy says by `failureModeAllow` that requests pass then.
    Error(Reply),
    /// The configuration is at fault: the chain ends whatever the policy says.
    Fail(Reply),
}

impl Verdict {
    /// It may pass, unchanged.
    pub fn allow() -> Self {
        Self::Allow(Box::default())
    }

    /// It may pass; the client is `identity`.
    pub fn allow_as(identity: Identity) -> Self {
        Self::Allow(Box::new(Modification { identity: Some(identity), ..Modification::default() }))
    }
}

/// What a filter that allows a request does to it.
#[derive(Debug, Default)]
pub struct Modification {
    /// Headers (lower-case names) that are set, or removed where there is no value.
    pub headers: Vec<(String, Option<String>)>,
    /// Headers that the client's response gets besides its own.
    pub response_headers: Vec<ResponseHeader>,
    /// Parameters of the query that are set.
    pub query_set: Vec<(String, String)>,
    /// Parameters of the query that are removed.
    pub query_remove: Vec<String>,
    /// Who the client is, for filters that come later, for templates and for Envoy's metadata.
    pub identity: Option<Identity>,
    /// More dynamic metadata for Envoy.
    pub metadata: Map<String, Json>,
}

impl Modification {
    /// Takes what a later one does besides.
    pub(crate) fn absorb(&mut self, later: Self) {
        self.headers.extend(later.headers);
        self.response_headers.extend(later.response_headers);
        self.query_set.extend(later.query_set);
        self.query_remove.extend(later.query_remove);
        self.metadata.extend(later.metadata);
        self.identity = later.identity.or_else(|| self.identity.take());
    }
}

/// A header of a response that is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHeader {
    /// Lower case.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Besides those of the same name (`Set-Cookie`), or in their place.
    pub append: bool,
}

impl Filter {
    /// A filter that breaks every request.
    pub fn broken(name: String) -> Self {
        Self { name, kind: "invalid", judge: None }
    }

    /// Judges the request of `context`.
    ///
    /// # Errors
    /// While an answer of the edge is not there.
    pub fn judge(&self, context: &Context<'_>, arguments: &Arguments) -> Judged {
        match &self.judge {
            Some(judge) => judge.judge(context, arguments),
            None => Ok(Verdict::Fail(misconfigured(context.request_id()))),
        }
    }
}

/// In lower case.
fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What clients get of a broken configuration.
pub(crate) fn misconfigured(request_id: &str) -> Reply {
    Reply::json(500, "the authorization of this request is misconfigured", request_id)
}

/// The kinds: the field of a Filter's spec, its module and what it is.
macro_rules! kinds {
    ($($(#[$meta:meta])* $kind:ident => $module:ident,)+) => {
        /// How a request is judged: exactly one of the kinds.
        #[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
        #[schemars(rename = "Filter", extend("x-kubernetes-validations" = [{
            "rule": one_kind(),
            "message": format!("a Filter has exactly one of {}", KINDS.join(", ")),
        }]))]
        #[allow(non_snake_case)]
        pub struct Spec {
            /// Which installations read this; `["default"]` when absent.
            pub ambassador_id: Option<AmbassadorId>,
            $($(#[$meta])* pub $kind: Option<$module::Spec>,)+
        }

        /// The names of the kinds.
        pub const KINDS: &[&str] = &[$(stringify!($kind)),+];

        impl Spec {
            /// The kinds that are given.
            pub(crate) fn given(&self) -> Vec<&'static str> {
                let all = [$((stringify!($kind), self.$kind.is_some())),+];
                all.into_iter().filter(|(_, given)| *given).map(|(kind, _)| kind).collect()
            }

            /// Compiles the kind that is given, with its name. What is wrong is told to
            /// `compiling`; the filter is good only when no error was.
            pub(crate) fn compile(
                &self,
                compiling: &mut Compiling<'_, '_>,
            ) -> Option<(&'static str, Box<dyn Judge>)> {
                $(if let Some(spec) = &self.$kind {
                    compiling.enter(stringify!($kind));
                    let judge = $module::compile(spec, compiling)?;
                    return Some((stringify!($kind), judge));
                })+
                None
            }
        }

        /// The fields of `arguments` that a kind takes.
        pub(crate) fn arguments_of(kind: &str) -> &'static [&'static str] {
            match kind {
                $(stringify!($kind) => $module::ARGUMENTS,)+
                _ => &[],
            }
        }
    };
}

kinds! {
    /// A token in the header `Authorization`.
    JWT => jwt,
    /// A key in a header.
    #[serde(alias = "v3APIKey")]
    APIKey => api_key,
    /// A login with an identity provider.
    OAuth2 => oauth2,
    /// Another authorization service is asked.
    External => external,
    /// Code of the user.
    Plugin => plugin,
    /// A user's name and password (RFC 7617).
    Basic => basic,
    /// A token that its authorization server is asked about (RFC 7662).
    Introspection => introspection,
    /// A client's certificate.
    MTLS => mtls,
    /// A signed request (RFC 9421).
    HMAC => hmac,
    /// The client's address.
    IP => ip,
    /// A condition in the Common Expression Language.
    CEL => cel,
    /// A policy in Rego, as the Open Policy Agent reads it.
    Rego => rego,
}

/// CEL's rule of exactly one kind. Conversion to older versions leaves `v3APIKey`, and nulls for
/// the other kinds.
fn one_kind() -> String {
    let kinds: Vec<String> =
        KINDS.iter().chain(&["v3APIKey"]).map(|kind| format!("has(self.{kind})")).collect();
    format!("[{}].filter(k, k).size() == 1", kinds.join(", "))
}

/// A compiled filter that others refer to.
pub type FilterRef = Arc<Filter>;
