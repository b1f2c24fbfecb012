//! The log of requests.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use service_kit::Diagnostics;

use crate::ir::access_log::{AccessLog, LogFormat, LogTarget};
use crate::resource::error_page::check_texts;
use crate::syntax::format;

/// Its keys of `spec.config`.
pub(super) const KEYS: &[&str] = &["envoy_log_type", "envoy_log_format", "envoy_log_path"];

/// Its settings, as part of `spec.config`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct Raw {
    /// What a line of the log of requests is: `text`, `json` or `typed_json`. Default: `text`.
    envoy_log_type: Option<String>,
    /// A text, or for the types json and typed_json an object, with variables of Envoy. Default:
    /// the usual fields.
    envoy_log_format: Option<Value>,
    /// The file of the log of requests, as Envoy sees it. Default: Envoy's standard output.
    envoy_log_path: Option<String>,
}

/// Reads them. `None` when they are wrong: the Module is not in force then.
pub(super) fn read(raw: &Raw, found: &mut Diagnostics<'_>) -> Option<AccessLog> {
    let target = match raw.envoy_log_path.as_deref() {
        None | Some("" | "/dev/fd/1" | "/dev/stdout") => LogTarget::Stdout,
        Some("/dev/fd/2" | "/dev/stderr") => LogTarget::Stderr,
        // Envoy refuses Listeners whose log it cannot open.
        Some(path) if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') => {
            let text = format!("`{}` is not the path of a file", path.escape_debug());
            let hint = "an absolute path that Envoy can write to, or /dev/stdout";
            found.error("spec.config.envoy_log_path", text).hint(hint);
            return None;
        }
        Some(path) => LogTarget::File(path.to_owned()),
    };
    let format = match raw.envoy_log_type.as_deref() {
        None | Some("" | "text") => read_text(raw, found)?,
        // Both keep the types of values.
        Some("json" | "typed_json") => read_json(raw, found)?,
        Some(other) => {
            let text = format!("invalid log type `{other}`");
            found.error("spec.config.envoy_log_type", text).hint("text, json or typed_json");
            return None;
        }
    };
    Some(AccessLog { target, format })
}

fn read_text(raw: &Raw, found: &mut Diagnostics<'_>) -> Option<LogFormat> {
    match &raw.envoy_log_format {
        None | Some(Value::Null) => Some(LogFormat::text()),
        Some(Value::String(text)) if text.is_empty() => Some(LogFormat::text()),
        Some(Value::String(text)) => {
            checked(format::check(text), found)?;
            Some(LogFormat::Text(format!("{}\n", text.trim_end_matches('\n'))))
        }
        Some(_) => wrong("a text", found),
    }
}

fn read_json(raw: &Raw, found: &mut Diagnostics<'_>) -> Option<LogFormat> {
    match &raw.envoy_log_format {
        None | Some(Value::Null) => Some(LogFormat::json()),
        Some(Value::Object(fields)) if fields.is_empty() => Some(LogFormat::json()),
        Some(Value::Object(fields)) => {
            checked(check_texts(&Value::Object(Map::clone(fields))), found)?;
            Some(LogFormat::Json(fields.clone()))
        }
        Some(_) => wrong("an object", found),
    }
}

fn checked(result: Result<(), String>, found: &mut Diagnostics<'_>) -> Option<()> {
    if let Err(why) = result {
        found.error("spec.config.envoy_log_format", why);
        return None;
    }
    Some(())
}

fn wrong(expected: &str, found: &mut Diagnostics<'_>) -> Option<LogFormat> {
    let text = format!("for this envoy_log_type it is {expected}");
    found.error("spec.config.envoy_log_format", text);
    None
}
