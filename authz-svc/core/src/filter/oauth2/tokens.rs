//! Calls to the identity provider's token endpoint (RFC 6749 section 5).

use std::sync::Arc;
use std::time::Duration;

use form_urlencoded::Serializer;
use serde::Deserialize;
use serde_json::Value as Json;

use super::client::Proof;
use super::{Go, OAuth2, Stop};
use crate::context::Context;
use crate::need::{CallError, HttpAnswer, HttpCall};
use crate::provider::Provider;

/// For one call to the identity provider.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer of it, in bytes.
pub(super) const MAX_ANSWER: usize = 128 << 10;
/// Longest access token, in bytes: it becomes a header.
const MAX_TOKEN: usize = 16 << 10;
/// No token lasts longer: a year, in seconds.
const MAX_LIFE: u64 = 366 * 24 * 3600;

/// What the provider grants.
pub(super) struct Granted {
    pub(super) access_token: String,
    pub(super) refresh_token: Option<String>,
    pub(super) id_token: Option<String>,
    /// None: as it was asked for.
    pub(super) scope: Option<Vec<String>>,
    /// Seconds; none: not said.
    pub(super) expires_in: Option<u64>,
}

/// Why there are no tokens.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// What was shown is not good, or not any more: `invalid_grant`.
    Grant,
    /// Anything else that the provider has against the request: its error code.
    Other(String),
    /// The provider does not work.
    Down(&'static str),
}

#[derive(Deserialize)]
struct Body {
    access_token: Option<String>,
    token_type: Option<String>,
    refresh_token: Option<String>,
    id_token: Option<String>,
    scope: Option<String>,
    expires_in: Option<Json>,
    error: Option<String>,
}

/// Reads an answer of the token endpoint.
pub(super) fn read(answer: &HttpAnswer, allow_malformed: bool) -> Result<Granted, Refusal> {
    let body = serde_json::from_slice::<Body>(&answer.body).ok();
    match (answer.status, body) {
        (200, Some(body)) if body.error.is_none() => granted(body, allow_malformed),
        (200..=499, Some(Body { error: Some(error), .. })) if answer.status != 429 => {
            Err(if error == "invalid_grant" {
                Refusal::Grant
            } else {
                Refusal::Other(code(&error))
            })
        }
        (400 | 401 | 403, _) => Err(Refusal::Other(format!("status {}", answer.status))),
        _ => Err(Refusal::Down("the identity provider does not give tokens")),
    }
}

fn granted(body: Body, allow_malformed: bool) -> Result<Granted, Refusal> {
    let access_token = body.access_token.filter(|t| !t.is_empty());
    let Some(access_token) = access_token else {
        return Err(Refusal::Down("the identity provider gave no access token"));
    };
    if body.token_type.is_some_and(|t| !t.eq_ignore_ascii_case("bearer")) {
        return Err(Refusal::Down("the identity provider gave a token that is no bearer token"));
    }
    if !is_token(&access_token, allow_malformed) {
        return Err(Refusal::Down("the identity provider gave a malformed access token"));
    }
    let expires_in = match body.expires_in {
        Some(Json::Number(n)) => n.as_f64(),
        Some(Json::String(text)) => text.parse::<f64>().ok(),
        _ => None,
    };
    let filled = |text: Option<String>| text.filter(|t| !t.is_empty());
    let words = |text: String| text.split_whitespace().map(str::to_owned).collect();
    Ok(Granted {
        access_token,
        refresh_token: filled(body.refresh_token),
        id_token: filled(body.id_token),
        // One that is empty grants nothing.
        scope: body.scope.map(words),
        // As a cast from a float is saturating, NaN and negative numbers become 0.
        expires_in: expires_in.map(|s| (s as u64).min(MAX_LIFE)),
    })
}

/// Whether it may be sent as a bearer token (RFC 6750 section 2.1), or at least as a header.
fn is_token(text: &str, allow_malformed: bool) -> bool {
    let strict = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    let lax = |b: u8| b == b' ' || b.is_ascii_graphic();
    text.len() <= MAX_TOKEN && text.bytes().all(|b| strict(b) || allow_malformed && lax(b))
}

/// An error code, as far as it is one.
fn code(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || "_-.".contains(*c)).take(64).collect()
}

impl OAuth2 {
    /// Asks the token endpoint, this client being who asks.
    pub(super) fn ask_as_client(
        &self,
        context: &Context<'_>,
        provider: &Provider,
        form: &[(&str, &str)],
    ) -> Go<Result<Granted, Refusal>> {
        let endpoint = self.token_endpoint(context, provider)?;
        let random = if self.client.needs_random() { self.random(context)? } else { [0; 32] };
        let proof = self
            .client
            .proof(endpoint, context.now, &random)
            .ok_or_else(|| Stop::fail(context, "the client's key cannot sign"))?;
        self.ask(context, endpoint, form, proof)
    }

    pub(super) fn token_endpoint<'p>(
        &self,
        context: &Context<'_>,
        provider: &'p Provider,
    ) -> Go<&'p str> {
        provider.token_endpoint.as_deref().ok_or_else(|| {
            Stop::error(context, 502, "the identity provider names no token endpoint")
        })
    }

    /// Asks the token endpoint.
    pub(super) fn ask(
        &self,
        context: &Context<'_>,
        endpoint: &str,
        form: &[(&str, &str)],
        proof: Proof,
    ) -> Go<Result<Granted, Refusal>> {
        let mut body = Serializer::new(String::new());
        body.extend_pairs(form);
        body.extend_pairs(&proof.form);
        let mut headers = vec![
            ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()),
            ("accept".to_owned(), "application/json".to_owned()),
        ];
        headers.extend(proof.header.map(|value| ("authorization".to_owned(), value)));
        let answer = self.call(context, "POST", endpoint, headers, body.finish().into_bytes())?;
        Ok(match answer {
            Ok(answer) => read(&answer, self.allow_malformed),
            Err(CallError::TimedOut) => Err(Refusal::Down("the identity provider took too long")),
            Err(_) => Err(Refusal::Down("the identity provider cannot be reached")),
        })
    }

    /// Calls the identity provider.
    pub(super) fn call(
        &self,
        context: &Context<'_>,
        method: &str,
        url: &str,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    ) -> Go<Result<Arc<HttpAnswer>, CallError>> {
        Ok(context.http(HttpCall {
            method: method.to_owned(),
            url: url.to_owned(),
            headers,
            body,
            transport: self.transport.clone(),
            timeout: TIMEOUT,
            max_answer: MAX_ANSWER,
        })?)
    }
}
