//! What a denied client gets.

use std::borrow::Cow;

use gotemplate::Value;

/// A response instead of the backend's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Name and value.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
    /// Why, for logs, and for clients that cannot read the body. No credentials.
    pub reason: Cow<'static, str>,
}

impl Reply {
    /// The default form of an error: JSON with `message`, `status_code` and, from 500 on,
    /// `request_id`.
    pub fn json(status: u16, message: impl Into<Cow<'static, str>>, request_id: &str) -> Self {
        let reason = message.into();
        Self {
            status,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: json_body(status, &reason, request_id),
            reason,
        }
    }

    /// With the reason as the body, for clients that cannot read another one.
    #[must_use]
    pub(crate) fn in_plain_words(mut self) -> Self {
        self.body = self.reason.to_string();
        self
    }

    /// With another reason.
    #[must_use]
    pub(crate) fn because(mut self, reason: &'static str) -> Self {
        self.reason = reason.into();
        self
    }

    /// With one more header; `name` in lower case.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// The JSON of the default form, indented by tabs.
pub(crate) fn json_body(status: u16, message: &str, request_id: &str) -> String {
    let mut object = serde_json::Map::new();
    object.insert("message".to_owned(), message.into());
    if status >= 500 {
        object.insert("request_id".to_owned(), request_id.into());
    }
    object.insert("status_code".to_owned(), status.into());
    let mut body = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut body, format);
    // A map of strings and numbers always has a JSON form.
    let _ = serde::Serialize::serialize(&object, &mut serializer);
    String::from_utf8(body).unwrap_or_default()
}

/// The data of an `errorResponse` template; `validation` is golang-jwt's bit mask.
pub(crate) fn template_data(
    status: u16,
    message: &str,
    request_id: &str,
    validation: Option<u32>,
    headers: Value,
) -> Value {
    let mut shown =
        vec![("message", Value::from(message)), ("status_code", Value::Int(i64::from(status)))];
    let mut hidden = vec![
        ("httpStatus", Value::Int(i64::from(status))),
        ("requestId", Value::from(request_id)),
        ("httpRequestHeader", headers),
    ];
    let id = ("request_id", Value::from(request_id));
    if status >= 500 {
        shown.push(id);
    } else {
        hidden.push(id);
    }
    let mask = validation
        .map_or(Value::Nil, |bits| Value::structure([("Errors", Value::Uint(u64::from(bits)))]));
    hidden.push(("error", Value::error(message, [("ValidationError", mask)])));
    Value::map_with_hidden(shown, hidden)
}
