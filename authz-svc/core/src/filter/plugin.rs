//! Filter kind Plugin: code of the user. Edge Stack loaded it as a Go plugin; here it is a server
//! that speaks HTTP, with all headers both ways (`deploy/plugin-shim` makes one of a Go plugin).

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Judge, Judged, Modification, Verdict};
use crate::arguments::Arguments;
use crate::compile::Compiling;
use crate::context::Context;
use crate::need::{HttpCall, Transport};
use crate::reply::Reply;
use crate::request::is_settable;
use crate::spec::unset_if_empty;

/// The arguments it takes.
pub(crate) const ARGUMENTS: &[&str] = &[];

/// Until an answer is given up.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Longest answer, in bytes.
const MAX_ANSWER: usize = 1 << 20;
/// What HTTP itself says of a message.
const FRAMING: &[&str] = &["content-length", "date", "host", "transfer-encoding"];

/// `Filter.spec.Plugin`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[schemars(extend("required" = ["name"]))]
pub struct Spec {
    /// Its name.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub name: String,
    /// Where the server is that does what the plugin did, as in `http://plugin.example:8080`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub url: Option<String>,
}

/// A compiled Plugin filter.
#[derive(Debug)]
pub struct Plugin {
    /// Without a slash at the end.
    url: String,
    transport: Arc<Transport>,
}

impl Judge for Plugin {
    fn judge(&self, context: &Context<'_>, _: &Arguments) -> Judged {
        let mut headers: Vec<(String, String)> = context
            .headers()
            .filter(|(name, _)| !FRAMING.contains(name))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        headers.push(("x-forwarded-host".to_owned(), context.request.authority().to_owned()));
        let body = context.request.body().to_vec();
        let call = HttpCall {
            method: context.request.method().to_owned(),
            url: format!("{}{}", self.url, context.request.path_and_query()),
            headers,
            body,
            transport: self.transport.clone(),
            timeout: TIMEOUT,
            max_answer: MAX_ANSWER,
        };
        let Ok(answer) = context.http(call)? else {
            let words = "the plugin did not answer";
            return Ok(Verdict::Error(Reply::json(500, words, context.request_id())));
        };
        let passed = |(name, _): &&(String, String)| !FRAMING.contains(&name.as_str());
        let headers = answer.headers.iter().filter(passed);
        if answer.status == 200 {
            let settable = headers.filter(|(name, _)| is_settable(name));
            let headers = settable.map(|(name, value)| (name.clone(), Some(value.clone())));
            let headers = headers.collect();
            return Ok(Verdict::Allow(Box::new(Modification { headers, ..Default::default() })));
        }
        Ok(Verdict::Deny(Reply {
            status: answer.status,
            headers: headers.cloned().collect(),
            body: String::from_utf8_lossy(&answer.body).into_owned(),
            reason: "the plugin refused".into(),
        }))
    }
}

/// Compiles `spec`. What is wrong is told to `compiling`.
pub(crate) fn compile(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Box<dyn Judge>> {
    if spec.name.is_empty() || spec.name.contains('/') {
        compiling.error("name", format!("`{}` is not the name of a plugin", spec.name));
        return None;
    }
    let Some(url) = &spec.url else {
        compiling
            .error("", format!("the plugin {} needs porting", spec.name))
            .hint("Go plugins cannot be loaded: run it as a server by deploy/plugin-shim, and name it by url");
        return None;
    };
    let url = url.trim_end_matches('/');
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    if rest.is_none_or(|r| r.is_empty() || r.starts_with('/') || r.contains(['?', '#', ' '])) {
        compiling
            .error("url", format!("`{url}` is not an absolute URL"))
            .hint("write it like http://plugin.example:8080");
        return None;
    }
    Some(Box::new(Plugin { url: url.to_owned(), transport: Arc::default() }))
}
