//! What a filter may ask the edge for, and what it gets. Only words: nothing here does IO.
//!
//! A filter asks by the methods of [`Context`](crate::Context). While an answer is out, the filter
//! is left; when it is in, the filter runs again from its beginning and finds the answers to all it
//! asked before, in the order in which it asked. So a filter must ask the same things in the same
//! order when it gets the same answers: time and randomness come from the context, too.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use service_kit::Secret;

use crate::keys::KeySet;
use crate::provider::Provider;

/// What a step waits for.
#[derive(Debug)]
pub enum Need {
    /// A document that many requests share.
    Document(Fetch),
    /// One HTTP call.
    Http(Box<HttpCall>),
    /// One gRPC call.
    Grpc(Box<GrpcCall>),
    /// One command to the store of sessions.
    Store(StoreCommand),
    /// Work that takes the processor for long, such as a password's hash.
    Compute(Job),
    /// 32 random bytes that nobody can foresee.
    Random,
    /// To wait, as for another replica that holds a lock.
    Wait(Duration),
}

/// A need that has no answer yet: a filter passes it on by `?`.
#[derive(Debug)]
pub struct Pending(pub(crate) Box<Need>);

/// The answer to a [`Need`] of the same name.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To [`Need::Document`].
    Document(Result<Document, CallError>),
    /// To [`Need::Http`].
    Http(Result<Arc<HttpAnswer>, CallError>),
    /// To [`Need::Grpc`]: the message, or how the call ended.
    Grpc(Result<Arc<Vec<u8>>, CallError>),
    /// To [`Need::Store`].
    Store(Result<StoreAnswer, StoreError>),
    /// To [`Need::Compute`]; none when it could not be done, as when too much of it waits.
    Computed(Option<Computed>),
    /// To [`Need::Random`].
    Random([u8; 32]),
    /// To [`Need::Wait`].
    Waited,
}

/// A document that the edge fetches, caches and keeps while its server is down.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fetch {
    /// Absolute.
    pub url: Arc<str>,
    /// What it must be.
    pub what: DocumentKind,
    /// How stale it may be.
    pub max_stale: Duration,
    /// Accept any certificate.
    pub insecure_tls: bool,
    /// The one that is known lacks a key: fetch it anew, if it was not done just now.
    pub refresh: bool,
}

/// Kinds of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DocumentKind {
    /// JSON Web Key Set (RFC 7517).
    KeySet,
    /// What an OpenID provider says of itself (OpenID Connect Discovery 1.0).
    Provider,
}

/// A document, read.
#[derive(Clone, Debug)]
pub enum Document {
    /// Of [`DocumentKind::KeySet`]. The same `Arc` as long as the content is the same.
    KeySet(Arc<KeySet>),
    /// Of [`DocumentKind::Provider`].
    Provider(Arc<Provider>),
}

impl Document {
    /// Reads a document of `kind`.
    ///
    /// # Errors
    /// In words, when it is none.
    pub fn parse(kind: DocumentKind, text: &[u8]) -> Result<Self, String> {
        match kind {
            DocumentKind::KeySet => KeySet::parse(text).map(|k| Self::KeySet(Arc::new(k))),
            DocumentKind::Provider => Provider::parse(text).map(|p| Self::Provider(Arc::new(p))),
        }
    }
}

/// How a server is reached. Calls with equal ones to one authority share connections, the breaker
/// and the bound on calls at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Transport {
    /// Accept any certificate.
    pub insecure_tls: bool,
    /// PEM of the authorities that are trusted instead of the system's.
    pub authorities: Option<Pem>,
    /// PEM of the client's certificate and its key.
    pub identity: Option<(Pem, Pem)>,
}

/// PEM text that is not printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pem(pub Secret<Vec<u8>>);

impl std::hash::Hash for Pem {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.expose().hash(state);
    }
}

/// An HTTP call. Redirects are never followed.
pub struct HttpCall {
    /// As in `POST`.
    pub method: String,
    /// Absolute; `http` or `https`.
    pub url: String,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    /// May be empty.
    pub body: Vec<u8>,
    /// How its server is reached.
    pub transport: Arc<Transport>,
    /// For the whole call.
    pub timeout: Duration,
    /// Longest body of an answer in bytes; a longer one is an error.
    pub max_answer: usize,
}

/// Without headers, URL parameters and body: they have credentials.
impl fmt::Debug for HttpCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.split(['?', '#']).next().unwrap_or_default();
        write!(f, "{} {url}", self.method)
    }
}

/// The answer to an [`HttpCall`].
#[derive(Clone, Default)]
pub struct HttpAnswer {
    /// As the server gave it.
    pub status: u16,
    /// Lower-case names, in the order of the answer; hop-by-hop ones are not there.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl fmt::Debug for HttpAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}, {} bytes", self.status, self.body.len())
    }
}

impl HttpAnswer {
    /// The first value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// A unary gRPC call.
pub struct GrpcCall {
    /// `http://HOST:PORT` or `https://HOST:PORT`.
    pub origin: String,
    /// As in `/envoy.service.auth.v3.Authorization/Check`.
    pub path: &'static str,
    /// Metadata; lower-case names.
    pub metadata: Vec<(String, String)>,
    /// The message.
    pub message: Vec<u8>,
    /// How its server is reached.
    pub transport: Arc<Transport>,
    /// For the whole call.
    pub timeout: Duration,
}

impl fmt::Debug for GrpcCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)
    }
}

/// Why a call has no answer. Words for logs are the edge's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallError {
    /// It took too long.
    TimedOut,
    /// Its server cannot be reached, or broke off, or did not speak the protocol.
    Unavailable,
    /// It was not made: the server failed too often just now, or too many calls to it wait.
    Shed,
    /// The answer is longer than may be.
    TooLong,
    /// The address must not be called, as that of a cloud's metadata.
    Forbidden,
    /// The answer is not what was asked for.
    Malformed,
}

/// A command to the store of sessions. Keys and values are not printed.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreCommand {
    /// The value, if it is there: [`StoreAnswer::Value`].
    Get(String),
    /// Stores for so long: [`StoreAnswer::Done`].
    Set(String, Vec<u8>, Duration),
    /// Stores for so long unless it is there: [`StoreAnswer::Done`] or [`StoreAnswer::Exists`].
    Add(String, Vec<u8>, Duration),
    /// The value, which is gone then: [`StoreAnswer::Value`].
    Take(String),
    /// Removes: [`StoreAnswer::Done`].
    Delete(String),
    /// Removes if the value is this one, as a lock of one's own: [`StoreAnswer::Done`].
    DeleteIf(String, Vec<u8>),
}

impl fmt::Debug for StoreCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get(_) => "Get",
            Self::Set(..) => "Set",
            Self::Add(..) => "Add",
            Self::Take(_) => "Take",
            Self::Delete(_) => "Delete",
            Self::DeleteIf(..) => "DeleteIf",
        })
    }
}

/// The answer to a [`StoreCommand`].
#[derive(Clone, PartialEq, Eq)]
pub enum StoreAnswer {
    /// What is there.
    Value(Option<Vec<u8>>),
    /// It was done.
    Done,
    /// It was there already.
    Exists,
}

impl fmt::Debug for StoreAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Value(Some(_)) => "a value",
            Self::Value(None) => "no value",
            Self::Done => "done",
            Self::Exists => "there already",
        })
    }
}

/// The store cannot be used now, or there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreError;

/// What a [`Job`] gives.
pub type Computed = Arc<dyn Any + Send + Sync>;

/// Work for a thread that may be busy for long.
#[derive(Clone)]
pub struct Job(Arc<dyn Fn() -> Computed + Send + Sync>);

impl Job {
    /// Wraps the work. It must end by itself, and not panic on any input.
    pub fn new<T: Any + Send + Sync>(work: impl Fn() -> T + Send + Sync + 'static) -> Self {
        Self(Arc::new(move || Arc::new(work())))
    }

    /// Does the work.
    pub fn run(&self) -> Computed {
        (self.0)()
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("work")
    }
}

/// Answers that need no waiting, such as a document that is fresh. Asked first.
pub trait AtHand {
    /// The answer, if it can be had at once.
    fn answer(&self, need: &Need) -> Option<Answer>;
}

/// Nothing is at hand.
impl AtHand for () {
    fn answer(&self, _: &Need) -> Option<Answer> {
        None
    }
}

impl fmt::Display for Need {
    /// For people: what is waited for. No credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document(fetch) => write!(f, "the document {}", fetch.url),
            Self::Http(call) => write!(f, "{call:?}"),
            Self::Grpc(call) => write!(f, "{call:?}"),
            Self::Store(command) => write!(f, "the store of sessions ({command:?})"),
            Self::Compute(_) => f.write_str("a computation"),
            Self::Random => f.write_str("random bytes"),
            Self::Wait(time) => write!(f, "{time:?} to pass"),
        }
    }
}
