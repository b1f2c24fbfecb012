//! `error_response_overrides` of a Mapping and of the Module: other bodies for errors, whether the
//! service or Envoy answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use service_kit::{Diagnostics, Object};

use crate::ir::error_page::{ErrorBody, ErrorPage};
use crate::syntax::{format, header};

/// Largest body, in bytes.
const MAX_BODY: usize = 64 << 10;
/// Most of one list.
const MAX_PAGES: usize = 200;

/// An entry of `error_response_overrides`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ErrorPageSpec {
    /// The status of answers that get the body, 400 to 599.
    #[serde(deserialize_with = "number_or_text")]
    #[schemars(range(min = 400, max = 599))]
    on_status_code: u16,
    /// The body.
    body: BodySpec,
}

/// A status as a number, or quoted as users of Emissary's Module may have it.
fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    use serde::de::{Error, Unexpected};
    let value = Value::deserialize(deserializer)?;
    let digits = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    digits.parse().map_err(|_| D::Error::invalid_value(Unexpected::Other(&digits), &"a status"))
}

/// A body: one of `text_format`, `json_format` and `text_format_source`.
#[derive(Debug, Deserialize, JsonSchema)]
struct BodySpec {
    /// A text; `%…%` are variables of Envoy.
    text_format: Option<String>,
    /// An object whose texts may have variables of Envoy.
    json_format: Option<Map<String, Value>>,
    /// A file with the text. Only what is in the folder `--error-page-dir` of gateway-ctl can be
    /// named.
    text_format_source: Option<SourceSpec>,
    /// The `content-type`. Default: `text/plain`, of `json_format` `application/json`.
    content_type: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct SourceSpec {
    /// The file's name; folders before it do not matter.
    filename: Option<String>,
}

/// Texts by the names of their files.
pub type Files = BTreeMap<String, String>;

/// The object with the texts of the files that it names; itself when it names none that is there.
pub fn inline(object: Arc<Object>, files: &Files) -> Arc<Object> {
    let place = match object.reference.kind.as_str() {
        "Mapping" => "/spec/error_response_overrides",
        "Module" => "/spec/config/error_response_overrides",
        _ => return object,
    };
    if files.is_empty() || object.json.pointer(place).is_none() {
        return object;
    }
    let mut inlined = Object::clone(&object);
    let list = inlined.json.pointer_mut(place).and_then(Value::as_array_mut);
    for body in list.into_iter().flatten().filter_map(|entry| entry.get_mut("body")) {
        let Some(body) = body.as_object_mut() else { continue };
        let named = body.get("text_format_source").and_then(|s| s["filename"].as_str());
        if let Some(text) = named.and_then(|name| files.get(file_name(name))) {
            body.remove("text_format_source");
            body.entry("text_format").or_insert_with(|| text.clone().into());
        }
    }
    Arc::new(inlined)
}

/// What follows the last slash.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Reads a list. An entry that is wrong is left out and reported.
pub(super) fn read(
    list: &[ErrorPageSpec],
    path: &str,
    found: &mut Diagnostics<'_>,
) -> Vec<ErrorPage> {
    let mut pages: Vec<ErrorPage> = Vec::new();
    for (i, spec) in list.iter().enumerate() {
        let path = format!("{path}[{i}]");
        if pages.len() == MAX_PAGES {
            found.error(path, format!("more than {MAX_PAGES}; the rest is left out"));
            break;
        }
        match read_page(spec) {
            Ok(page) if pages.iter().any(|p| p.status == page.status) => {
                let text =
                    format!("status {} has a body already; this one is left out", page.status);
                found.error(format!("{path}.on_status_code"), text);
            }
            Ok(page) => pages.push(page),
            Err((field, why)) => {
                let path = if field.is_empty() { path } else { format!("{path}.{field}") };
                found.error(path, format!("{why}; this body is left out"));
            }
        }
    }
    pages
}

fn read_page(spec: &ErrorPageSpec) -> Result<ErrorPage, (&'static str, String)> {
    if !(400..600).contains(&spec.on_status_code) {
        return Err(("on_status_code", "only 400 to 599 are errors".to_owned()));
    }
    let body = &spec.body;
    let at = |field: &'static str| move |why: String| (field, why);
    let read = match (&body.text_format, &body.json_format, &body.text_format_source) {
        (Some(text), None, None) => {
            check_text(text).map_err(at("body.text_format"))?;
            ErrorBody::Text(text.clone())
        }
        (None, Some(object), None) => {
            check_json(&Value::Object(object.clone())).map_err(at("body.json_format"))?;
            ErrorBody::Json(object.clone())
        }
        (None, None, Some(source)) => {
            let name = source.filename.as_deref().map(file_name).unwrap_or_default();
            let why = format!("there is no file `{name}` in the folder of --error-page-dir");
            return Err(("body.text_format_source", why));
        }
        _ => {
            let why = "exactly one of text_format, json_format and text_format_source is needed";
            return Err(("body", why.to_owned()));
        }
    };
    let standard = match read {
        ErrorBody::Text(_) => "text/plain",
        ErrorBody::Json(_) => "application/json",
    };
    let content_type = body.content_type.clone().filter(|t| !t.is_empty());
    let content_type = content_type.unwrap_or_else(|| standard.to_owned());
    header::check_value(&content_type)
        .and_then(|()| format::check(&content_type))
        .map_err(at("body.content_type"))?;
    Ok(ErrorPage { status: spec.on_status_code, body: read, content_type })
}

fn check_text(text: &str) -> Result<(), String> {
    if text.len() > MAX_BODY {
        return Err("longer than 64 KiB".to_owned());
    }
    format::check(text)
}

fn check_json(value: &Value) -> Result<(), String> {
    if value.to_string().len() > MAX_BODY {
        return Err("longer than 64 KiB".to_owned());
    }
    check_texts(value)
}

/// Checks every text in a value.
pub(super) fn check_texts(value: &Value) -> Result<(), String> {
    match value {
        Value::String(text) => format::check(text),
        Value::Array(items) => items.iter().try_for_each(check_texts),
        Value::Object(fields) => fields.values().try_for_each(check_texts),
        _ => Ok(()),
    }
}
