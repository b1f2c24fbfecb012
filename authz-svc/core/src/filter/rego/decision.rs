//! The value of the rule that decides, as OPA's plugin for Envoy reads it.

use regorus::Value;
use serde_json::{Map, Value as Json};

use crate::context::Context;
use crate::filter::{Modification, ResponseHeader, Verdict};
use crate::reply::Reply;
use crate::request::is_settable;

/// Longest reason that is made of a body, in bytes.
const MAX_REASON: usize = 256;

/// A decision that cannot be read: the field, and what it must be.
pub(super) type Unreadable = (&'static str, &'static str);

/// What the policy says.
///
/// # Errors
/// When it says something else than a decision. None of it counts then.
pub(super) fn read(
    value: &Value,
    rule: &str,
    context: &Context<'_>,
) -> Result<Verdict, Unreadable> {
    match value {
        Value::Bool(true) => Ok(Verdict::allow()),
        Value::Bool(false) => Ok(Verdict::Deny(refused(context))),
        Value::Undefined => {
            let why = format!("the policy makes no decision: {rule} is undefined");
            Ok(Verdict::Deny(Reply { reason: why.into(), ..refused(context) }))
        }
        Value::Object(_) => {
            let json = serde_json::to_value(value).ok();
            let Some(Json::Object(decision)) = json else {
                return Err(("", "an object whose keys are strings"));
            };
            object(&decision, context)
        }
        _ => Err(("", "a bool or an object")),
    }
}

fn refused(context: &Context<'_>) -> Reply {
    Reply::json(403, "the policy does not allow this request", context.request_id())
}

fn object(decision: &Map<String, Json>, context: &Context<'_>) -> Result<Verdict, Unreadable> {
    let Some(allowed) = decision.get("allowed").and_then(Json::as_bool) else {
        return Err(("allowed", "a bool"));
    };
    let headers = headers("headers", decision)?;
    if !allowed {
        return deny(decision, headers, context).map(Verdict::Deny);
    }
    // A header of several values is one with all of them.
    let mut set: Vec<(String, Option<String>)> = Vec::new();
    for (name, value) in headers {
        match set.iter_mut().find(|(n, _)| *n == name) {
            Some((_, Some(values))) => {
                values.push(',');
                values.push_str(&value);
            }
            _ => set.push((name, Some(value))),
        }
    }
    for name in texts("request_headers_to_remove", decision)? {
        let name = header_name("request_headers_to_remove", &name)?;
        if !set.iter().any(|(n, _)| *n == name) {
            set.push((name, None));
        }
    }
    let response = self::headers("response_headers_to_add", decision)?;
    let response = response.into_iter().map(|(name, value)| {
        let append = true;
        ResponseHeader { name, value, append }
    });
    let metadata = match decision.get("dynamic_metadata") {
        None | Some(Json::Null) => Map::new(),
        Some(Json::Object(fields)) => fields.clone(),
        Some(_) => return Err(("dynamic_metadata", "an object")),
    };
    Ok(Verdict::Allow(Box::new(Modification {
        headers: set,
        response_headers: response.collect(),
        query_set: pairs("query_parameters_to_set", decision)?,
        query_remove: texts("query_parameters_to_remove", decision)?,
        identity: None,
        metadata,
    })))
}

fn deny(
    decision: &Map<String, Json>,
    headers: Vec<(String, String)>,
    context: &Context<'_>,
) -> Result<Reply, Unreadable> {
    let mut reply = refused(context);
    match decision.get("http_status") {
        None | Some(Json::Null) => {}
        Some(status) => {
            let number = status.as_u64().or_else(|| {
                let number = status.as_f64()?;
                (number.fract() == 0.0 && (0.0..1000.0).contains(&number)).then_some(number as u64)
            });
            let number = number.and_then(|n| u16::try_from(n).ok());
            let number = number.filter(|n| (200..=599).contains(n));
            reply.status = number.ok_or(("http_status", "200 to 599"))?;
            reply.body = crate::reply::json_body(reply.status, &reply.reason, context.request_id());
        }
    }
    match decision.get("body") {
        None | Some(Json::Null) => reply.headers.extend(headers),
        Some(Json::String(body)) => {
            // The policy says what its body is.
            reply.headers = headers;
            let short = body.len() <= MAX_REASON && !body.chars().any(char::is_control);
            if short && !body.is_empty() {
                reply.reason = body.clone().into();
            }
            reply.body.clone_from(body);
        }
        Some(_) => return Err(("body", "a string")),
    }
    Ok(reply)
}

/// Header names in lower case with their values: an object, or a list of objects.
fn headers(
    field: &'static str,
    decision: &Map<String, Json>,
) -> Result<Vec<(String, String)>, Unreadable> {
    pairs(field, decision)?
        .into_iter()
        .map(|(name, value)| {
            let is_value = !value.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0));
            if !is_value {
                return Err((field, "values without line breaks"));
            }
            Ok((header_name(field, &name)?, value))
        })
        .collect()
}

fn header_name(field: &'static str, name: &str) -> Result<String, Unreadable> {
    let name = name.to_ascii_lowercase();
    if is_settable(&name) { Ok(name) } else { Err((field, "names of headers")) }
}

fn pairs(
    field: &'static str,
    decision: &Map<String, Json>,
) -> Result<Vec<(String, String)>, Unreadable> {
    const WANTED: &str = "an object of strings, or of lists of strings";
    let objects: Vec<&Json> = match decision.get(field) {
        None | Some(Json::Null) => Vec::new(),
        Some(Json::Array(many)) => many.iter().collect(),
        Some(one) => vec![one],
    };
    let mut pairs = Vec::new();
    for object in objects {
        for (name, value) in object.as_object().ok_or((field, WANTED))? {
            let values = match value {
                Json::Array(values) => values.as_slice(),
                value => std::slice::from_ref(value),
            };
            for value in values {
                let value = value.as_str().ok_or((field, WANTED))?;
                pairs.push((name.clone(), value.to_owned()));
            }
        }
    }
    Ok(pairs)
}

fn texts(field: &'static str, decision: &Map<String, Json>) -> Result<Vec<String>, Unreadable> {
    let items = match decision.get(field) {
        None | Some(Json::Null) => &Vec::new(),
        Some(Json::Array(items)) => items,
        Some(_) => return Err((field, "a list of strings")),
    };
    let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
    texts.collect::<Option<_>>().ok_or((field, "a list of strings"))
}
