//! What a filter may see of a request, and how it asks for more.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use gotemplate::Value;
use serde_json::Value as Json;

use crate::flow::Snapshot;
use crate::keys::KeySet;
use crate::need::{
    Answer, AtHand, CallError, Document, DocumentKind, Fetch, GrpcCall, HttpAnswer, HttpCall, Job,
    Need, Pending, StoreAnswer, StoreCommand, StoreError,
};
use crate::provider::Provider;
use crate::request::{Changes, Request};

/// Most answers one filter may ask for: a bound on time.
const MAX_ANSWERS: usize = 64;

/// Who a filter found the client to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// As in a token's `sub` or a user's name.
    pub subject: String,
    /// What else is known, as in a token's claims: a JSON object.
    pub attributes: Arc<Json>,
}

impl Identity {
    /// What templates see: `.subject` and `.attributes`.
    pub fn template_value(&self) -> Value {
        Value::map([
            ("subject", Value::from(self.subject.as_str())),
            ("attributes", Value::from(Json::clone(&self.attributes))),
        ])
    }
}

/// What a filter may see.
pub struct Context<'a> {
    /// The request as it came.
    pub request: &'a Request,
    /// What filters before this one changed of it.
    pub changes: &'a Changes,
    /// Since the Unix epoch.
    pub now: Duration,
    /// The configuration that decides on this request.
    pub snapshot: &'a Snapshot,
    /// Of the last filter before this one that found one.
    pub identity: Option<&'a Identity>,
    answers: &'a RefCell<Vec<Answer>>,
    next: Cell<usize>,
    at_hand: &'a dyn AtHand,
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        request: &'a Request,
        changes: &'a Changes,
        now: Duration,
        snapshot: &'a Snapshot,
        identity: Option<&'a Identity>,
        answers: &'a RefCell<Vec<Answer>>,
        at_hand: &'a dyn AtHand,
    ) -> Self {
        Self { request, changes, now, snapshot, identity, answers, next: Cell::new(0), at_hand }
    }

    /// A header as changed so far; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.changes.header(self.request, name)
    }

    /// All headers as changed so far, without pseudo headers; lower-case names.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.changes.headers(self.request).filter(|(name, _)| !name.starts_with(':'))
    }

    /// The id of the request, for its sender to quote.
    pub fn request_id(&self) -> &str {
        self.request.id()
    }

    /// What templates see as `.httpRequestHeader`.
    pub fn header_value(&self) -> Value {
        Value::header(self.headers())
    }

    /// What templates see as `.identity`.
    pub fn identity_value(&self) -> Value {
        self.identity.map_or(Value::Nil, Identity::template_value)
    }

    /// What a filter within this one sees: it asks in the same order of asking.
    pub(crate) fn within<R>(
        &self,
        changes: &Changes,
        identity: Option<&Identity>,
        run: impl FnOnce(&Context<'_>) -> R,
    ) -> R {
        let inner = Context {
            request: self.request,
            changes,
            now: self.now,
            snapshot: self.snapshot,
            identity: identity.or(self.identity),
            answers: self.answers,
            next: self.next.clone(),
            at_hand: self.at_hand,
        };
        let result = run(&inner);
        self.next.set(inner.next.get());
        result
    }

    /// Rendered headers as changes; one that is not set is left as it is, or removed when that is
    /// set so.
    pub fn settable(
        &self,
        mut headers: Vec<(String, Option<String>)>,
    ) -> Vec<(String, Option<String>)> {
        if !self.snapshot.strip_unset {
            headers.retain(|(_, value)| value.is_some());
        }
        headers
    }

    /// A key set.
    ///
    /// # Errors
    /// While it is not there yet; inside: when it cannot be had.
    pub fn key_set(&self, fetch: &Fetch) -> Result<Result<Arc<KeySet>, CallError>, Pending> {
        debug_assert_eq!(fetch.what, DocumentKind::KeySet);
        Ok(match self.ask(Need::Document(fetch.clone()))? {
            Answer::Document(Ok(Document::KeySet(keys))) => Ok(keys),
            Answer::Document(Err(e)) => Err(e),
            _ => Err(CallError::Malformed),
        })
    }

    /// What a provider says of itself.
    ///
    /// # Errors
    /// As [`Self::key_set`].
    pub fn provider(&self, fetch: &Fetch) -> Result<Result<Arc<Provider>, CallError>, Pending> {
        debug_assert_eq!(fetch.what, DocumentKind::Provider);
        Ok(match self.ask(Need::Document(fetch.clone()))? {
            Answer::Document(Ok(Document::Provider(provider))) => Ok(provider),
            Answer::Document(Err(e)) => Err(e),
            _ => Err(CallError::Malformed),
        })
    }

    /// Makes an HTTP call.
    ///
    /// # Errors
    /// As [`Self::key_set`].
    pub fn http(&self, call: HttpCall) -> Result<Result<Arc<HttpAnswer>, CallError>, Pending> {
        Ok(match self.ask(Need::Http(Box::new(call)))? {
            Answer::Http(result) => result,
            _ => Err(CallError::Malformed),
        })
    }

    /// Makes a gRPC call.
    ///
    /// # Errors
    /// As [`Self::key_set`].
    pub fn grpc(&self, call: GrpcCall) -> Result<Result<Arc<Vec<u8>>, CallError>, Pending> {
        Ok(match self.ask(Need::Grpc(Box::new(call)))? {
            Answer::Grpc(result) => result,
            _ => Err(CallError::Malformed),
        })
    }

    /// Asks the store of sessions.
    ///
    /// # Errors
    /// As [`Self::key_set`].
    pub fn store(&self, command: StoreCommand) -> Result<Result<StoreAnswer, StoreError>, Pending> {
        Ok(match self.ask(Need::Store(command))? {
            Answer::Store(result) => result,
            _ => Err(StoreError),
        })
    }

    /// Has work done elsewhere that gives a `T`; none when it could not be.
    ///
    /// # Errors
    /// While it is not done.
    pub fn compute<T: Any + Send + Sync>(&self, job: Job) -> Result<Option<Arc<T>>, Pending> {
        Ok(match self.ask(Need::Compute(job))? {
            Answer::Computed(result) => result.and_then(|result| result.downcast().ok()),
            _ => None,
        })
    }

    /// Random bytes, other ones at each call of this method.
    ///
    /// # Errors
    /// While they are not there; inside: none are to be had.
    pub fn random(&self) -> Result<Result<[u8; 32], CallError>, Pending> {
        Ok(match self.ask(Need::Random)? {
            Answer::Random(bytes) => Ok(bytes),
            _ => Err(CallError::Malformed),
        })
    }

    /// Waits.
    ///
    /// # Errors
    /// While the time is not over.
    pub fn wait(&self, time: Duration) -> Result<(), Pending> {
        self.ask(Need::Wait(time)).map(|_| ())
    }

    /// The next answer, in the order of asking.
    fn ask(&self, need: Need) -> Result<Answer, Pending> {
        let at = self.next.get();
        self.next.set(at + 1);
        if let Some(answer) = self.answers.borrow().get(at) {
            return Ok(answer.clone());
        }
        if at < MAX_ANSWERS
            && let Some(answer) = self.at_hand.answer(&need)
        {
            self.answers.borrow_mut().push(answer.clone());
            return Ok(answer);
        }
        Err(Pending(Box::new(need)))
    }

    /// Whether the filter asks for more than it may.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.next.get() > MAX_ANSWERS
    }
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("request", &self.request.id()).finish_non_exhaustive()
    }
}
