//! What a filter may see of a request, and what it may ask for.

use std::sync::Arc;
use std::time::Duration;

use gotemplate::Value;

use crate::keys::KeySet;
use crate::request::{Changes, Request};

/// A key set that a step needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fetch {
    /// Absolute.
    pub url: Arc<str>,
    /// How stale it may be.
    pub max_stale: Duration,
    /// Accept any certificate.
    pub insecure_tls: bool,
    /// The one that is known lacks a key: fetch it anew, if it was not done just now.
    pub refresh: bool,
}

/// How fetches went; the words of a failure are for the log, not for filters.
pub type Answers = Vec<(Fetch, Result<Arc<KeySet>, ()>)>;

/// What a filter may see.
#[derive(Debug)]
pub struct Context<'a> {
    /// The request as it came.
    pub request: &'a Request,
    /// What filters before this one changed of it.
    pub changes: &'a Changes,
    /// Since the Unix epoch.
    pub now: Duration,
    /// How fetches went so far.
    pub answers: &'a Answers,
    /// Remove a client's header where `doNotSet` ran.
    pub strip_unset: bool,
}

impl Context<'_> {
    /// A header as changed so far; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.changes.header(self.request, name)
    }

    /// The id of the request, for its sender to quote.
    pub fn request_id(&self) -> &str {
        &self.request.id
    }

    /// How a fetch went; none when it was not made yet.
    pub fn answer(&self, fetch: &Fetch) -> Option<Result<Arc<KeySet>, ()>> {
        self.answers.iter().find(|(f, _)| f == fetch).map(|(_, result)| result.clone())
    }

    /// What templates see as `.httpRequestHeader`.
    pub fn header_value(&self) -> Value {
        let headers = self.changes.headers(self.request);
        Value::header(headers.filter(|(name, _)| !name.starts_with(':')))
    }

    /// Rendered headers as changes; one that is not set is left as it is, or removed when that is
    /// set so.
    pub fn settable(
        &self,
        mut headers: Vec<(String, Option<String>)>,
    ) -> Vec<(String, Option<String>)> {
        if !self.strip_unset {
            headers.retain(|(_, value)| value.is_some());
        }
        headers
    }
}
