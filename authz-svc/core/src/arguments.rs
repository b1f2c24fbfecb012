//! `arguments` of a filter in a FilterPolicy, compiled.

use crate::policy::{Condition, Link};

/// What a rule asks of a filter besides what the filter asks itself.
#[derive(Debug, Default)]
pub struct Arguments {
    /// All of these must be in a token's scope.
    pub scope: Vec<String>,
    /// OAuth2: what a client without a session gets instead of a redirect.
    pub instead_of_redirect: Option<InsteadOfRedirect>,
    /// OAuth2: `SameSite` of cookies; none: not said.
    pub same_site: Option<SameSite>,
}

/// `insteadOfRedirect`.
#[derive(Debug)]
pub struct InsteadOfRedirect {
    /// Only for these requests; none: for all.
    pub condition: Option<Condition>,
    /// What such a client gets.
    pub then: Instead,
}

/// What a client without a session gets.
#[derive(Debug)]
pub enum Instead {
    /// This HTTP status.
    Status(u16),
    /// These filters judge (deprecated).
    Filters(Vec<Link>),
}

/// `SameSite` of a cookie (RFC 6265bis).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// Sent when a user follows a link here.
    Lax,
    /// Sent only from here.
    Strict,
    /// Always sent; for `Secure` cookies only.
    None,
}
