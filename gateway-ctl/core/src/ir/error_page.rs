//! Other bodies for answers that are errors.

use serde_json::{Map, Value};

/// What takes the place of an answer with this status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorPage {
    /// 400 to 599.
    pub status: u16,
    /// The body.
    pub body: ErrorBody,
    /// Its `content-type`.
    pub content_type: String,
}

/// A body, in Envoy's format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorBody {
    /// A text.
    Text(String),
    /// A JSON object.
    Json(Map<String, Value>),
}

/// The bodies of a route's errors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ErrorPages {
    /// Those of all routes.
    #[default]
    Common,
    /// None: answers stay as they are.
    Kept,
    /// These, and not those of all routes.
    Own(Vec<ErrorPage>),
}
