//! The question over HTTP: the request's own method and path, without its body unless asked for.

use crate::context::Context;
use crate::filter::{Judged, Modification, Verdict};
use crate::need::{HttpAnswer, HttpCall};
use crate::reply::Reply;
use crate::request::is_settable;

use super::{External, HOPS};

/// Longest answer, in bytes.
const MAX_ANSWER: usize = 1 << 20;
/// What is not the service's to say of an answer that Envoy gives.
const NOT_PASSED: &[&str] = &["content-length", "date", "server", "transfer-encoding"];

impl External {
    pub(super) fn ask_http(
        &self,
        context: &Context<'_>,
        body: &[u8],
        hops: String,
        path_prefix: &str,
        request_headers: &[String],
        authorization_headers: &[String],
    ) -> Judged {
        let mut headers: Vec<(String, String)> = context
            .headers()
            .filter(|(name, _)| request_headers.iter().any(|allowed| allowed == name))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        headers.push((HOPS.to_owned(), hops));
        if body.is_empty() {
            headers.push(("content-length".to_owned(), "0".to_owned()));
        }
        if self.linkerd {
            headers.push(("l5d-dst-override".to_owned(), self.authority.clone()));
        }
        let call = HttpCall {
            method: context.request.method().to_owned(),
            url: format!("{}{path_prefix}{}", self.origin, context.request.path_and_query()),
            headers,
            body: body.to_vec(),
            transport: self.transport.clone(),
            timeout: self.timeout,
            max_answer: MAX_ANSWER,
        };
        Ok(match context.http(call)? {
            Err(error) => self.no_answer(context, error),
            Ok(answer) if answer.status >= 500 => {
                self.failed(context, "the authorization service failed")
            }
            Ok(answer) if answer.status == 200 => {
                let headers = taken(&answer, authorization_headers);
                Verdict::Allow(Box::new(Modification { headers, ..Modification::default() }))
            }
            Ok(answer) => Verdict::Deny(refused(&answer)),
        })
    }
}

/// Headers of the answer for the backend; several of one name are joined.
fn taken(answer: &HttpAnswer, allowed: &[String]) -> Vec<(String, Option<String>)> {
    let mut taken: Vec<(String, Option<String>)> = Vec::new();
    for (name, value) in &answer.headers {
        if !allowed.contains(name) || !is_settable(name) {
            continue;
        }
        match taken.iter_mut().find(|(known, _)| known == name) {
            Some((_, Some(joined))) => {
                joined.push(',');
                joined.push_str(value);
            }
            _ => taken.push((name.clone(), Some(value.clone()))),
        }
    }
    taken
}

/// The answer as it is.
fn refused(answer: &HttpAnswer) -> Reply {
    let passed = |(name, _): &&(String, String)| !NOT_PASSED.contains(&name.as_str());
    Reply {
        status: answer.status,
        headers: answer.headers.iter().filter(passed).cloned().collect(),
        body: String::from_utf8_lossy(&answer.body).into_owned(),
        reason: "the authorization service refused".into(),
    }
}
