//! Tokens for credentials that each request brings: those of a client (RFC 6749 section 4.4) or of
//! a user (section 4.3).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::client::{Method, Proof, by_assertion, by_body, by_header};
use super::scope::covers;
use super::seal::Id;
use super::tokens::{Granted, Refusal};
use super::{Go, OAuth2, Passed, Stop, distinct};
use crate::arguments::Arguments;
use crate::context::Context;
use crate::filter::Verdict;
use crate::filter::jwt::unverified;
use crate::need::StoreCommand;
use crate::reply::Reply;

const CLIENT_ID: &str = "x-ambassador-client-id";
const CLIENT_SECRET: &str = "x-ambassador-client-secret";
const CLIENT_ASSERTION: &str = "x-ambassador-client-assertion";
const USERNAME: &str = "x-ambassador-username";
const PASSWORD: &str = "x-ambassador-password";
/// Headers that are not for the backend.
const CREDENTIALS: &[&str] = &[CLIENT_ID, CLIENT_SECRET, CLIENT_ASSERTION, USERNAME, PASSWORD];
/// A token that does not say how long it lasts is kept for so long, in seconds.
const UNKNOWN_LIFE: u64 = 60;

/// A token in the store. Times in seconds since the Unix epoch.
#[derive(Serialize, Deserialize)]
struct Kept {
    access_token: String,
    id_token: Option<String>,
    granted: Vec<String>,
    expires: u64,
}

impl OAuth2 {
    /// Judges a request by the client's credentials in it.
    pub(super) fn judge_client(&self, context: &Context<'_>, arguments: &Arguments) -> Go<Verdict> {
        let (parts, proof) = match self.client.method() {
            Method::Given { set_client_id } => {
                let assertion = needed(context, CLIENT_ASSERTION, "X-Ambassador-Client-Assertion")?;
                let id = if *set_client_id {
                    Some(needed(context, CLIENT_ID, "X-Ambassador-Client-ID")?)
                } else {
                    None
                };
                let proof = by_assertion(assertion.to_owned(), id.map(str::to_owned));
                (vec!["assertion", assertion, id.unwrap_or_default()], proof)
            }
            method => {
                let id = needed(context, CLIENT_ID, "X-Ambassador-Client-ID")?;
                let secret = needed(context, CLIENT_SECRET, "X-Ambassador-Client-Secret")?;
                let in_body = matches!(method, Method::Body);
                let proof = if in_body { by_body(id, secret) } else { by_header(id, secret) };
                (vec!["client", id, secret], proof)
            }
        };
        let id = self.credentials_id(&parts, &arguments.scope);
        let form = vec![("grant_type", "client_credentials")];
        self.judge_credentials(context, arguments, &id, form, Some(proof))
    }

    /// Judges a request by the user's credentials in it.
    pub(super) fn judge_user(&self, context: &Context<'_>, arguments: &Arguments) -> Go<Verdict> {
        let name = needed(context, USERNAME, "X-Ambassador-Username")?;
        let password = needed(context, PASSWORD, "X-Ambassador-Password")?;
        let id = self.credentials_id(&["user", name, password], &arguments.scope);
        let form = vec![("grant_type", "password"), ("username", name), ("password", password)];
        self.judge_credentials(context, arguments, &id, form, None)
    }

    /// What a token for these credentials is kept under. The client's secret is part of it, so that
    /// the store does not help to guess a user's password.
    fn credentials_id(&self, parts: &[&str], scope: &[String]) -> Id {
        let mut hash = Sha256::new();
        let secret = [self.client.secret()];
        let parts = parts.iter().map(|p| p.as_bytes());
        for part in secret.into_iter().chain(parts).chain(scope.iter().map(|s| s.as_bytes())) {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        Id::new(hash.finalize().into())
    }

    fn judge_credentials(
        &self,
        context: &Context<'_>,
        arguments: &Arguments,
        id: &Id,
        form: Vec<(&str, &str)>,
        proof: Option<Proof>,
    ) -> Go<Verdict> {
        let place = id.place("token", &self.name);
        let kept: Option<Kept> =
            self.get(context, "token", id, StoreCommand::Get(place.clone()))?;
        let now = context.now.as_secs();
        let provider = self.provider(context)?;
        let kept = match kept.filter(|k| now.saturating_add(self.margin.as_secs()) < k.expires) {
            Some(kept) => kept,
            None => {
                let scope = distinct(arguments.scope.iter().map(String::as_str));
                let text = scope.join(" ");
                let mut form = form;
                if !text.is_empty() {
                    form.push(("scope", &text));
                }
                let answer = match proof {
                    Some(proof) => {
                        let endpoint = self.token_endpoint(context, &provider)?;
                        self.ask(context, endpoint, &form, proof)?
                    }
                    None => self.ask_as_client(context, &provider, &form)?,
                };
                self.keep(context, id, answer, scope)?
            }
        };
        if !covers(&kept.granted, &arguments.scope) {
            let words = "a scope that is needed here was not granted";
            return Err(Stop::deny(context, 403, words));
        }
        let good = self.validate(context, &provider, &kept.access_token, &arguments.scope)?;
        let good = match good {
            Ok(good) => good,
            Err(reply) => {
                // The next request gets a new one.
                self.store(context, StoreCommand::Delete(place))?;
                return Ok(Verdict::Deny(reply));
            }
        };
        self.allow(
            context,
            Passed {
                token: &kept.access_token,
                verified: good.token,
                id_token: kept.id_token.as_deref().and_then(unverified),
                headers: good.headers,
                remove: CREDENTIALS,
                cookies: Vec::new(),
            },
        )
    }

    /// Keeps a token that just came.
    fn keep(
        &self,
        context: &Context<'_>,
        id: &Id,
        answer: Result<Granted, Refusal>,
        asked: Vec<String>,
    ) -> Go<Kept> {
        let granted = match answer {
            Ok(granted) => granted,
            Err(Refusal::Down(words)) => return Err(Stop::error(context, 502, words)),
            Err(refusal) => {
                let code = match &refusal {
                    Refusal::Other(code) => code.as_str(),
                    _ => "invalid_grant",
                };
                let words =
                    format!("the identity provider does not accept the credentials: {code}");
                let reply = Reply::json(403, words, context.request_id());
                return Err(Verdict::Deny(reply).into());
            }
        };
        let life = granted.expires_in.unwrap_or(UNKNOWN_LIFE);
        let kept = Kept {
            access_token: granted.access_token,
            id_token: granted.id_token,
            granted: granted.scope.unwrap_or(asked),
            expires: context.now.as_secs().saturating_add(life),
        };
        let left = Duration::from_secs(life).saturating_sub(self.margin);
        if left >= Duration::from_secs(1) {
            self.put(context, "token", id, &kept, left)?;
        }
        Ok(kept)
    }
}

/// A header that the request must have.
fn needed<'a>(context: &'a Context<'_>, name: &str, shown: &str) -> Go<&'a str> {
    context.header(name).filter(|v| !v.is_empty()).ok_or_else(|| {
        let words = format!("the header {shown} is missing");
        Verdict::Deny(Reply::json(403, words, context.request_id())).into()
    })
}
