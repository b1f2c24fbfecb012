//! The end of a session: here, and at the identity provider (OpenID Connect RP-Initiated Logout
//! 1.0).

use std::time::Duration;

use form_urlencoded::Serializer;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::cookie::{self, SessionCookie};
use super::endpoints::{
    self, POST_LOGOUT, Parameters, Protecting, bad, by_state, named, protecting, wrong_method,
};
use super::login::{State, redirect};
use super::origin::Here;
use super::seal::Id;
use super::session::Found;
use super::{Go, Login, OAuth2};
use crate::context::Context;
use crate::filter::Verdict;
use crate::need::StoreCommand;
use crate::reply::Reply;

/// How long the identity provider may take.
const LIFE: Duration = Duration::from_secs(3600);
/// Longest ID token that is put into a URL, in bytes.
const MAX_HINT: usize = 6 << 10;

/// A logout that began, in the store.
#[derive(Serialize, Deserialize)]
struct Begun {
    /// The session that ends with it.
    session: Option<String>,
}

/// A page asks for it.
pub(super) fn begin(context: &Context<'_>) -> Go<Verdict> {
    if context.request.method() == "OPTIONS" {
        return Ok(preflight(context));
    }
    if let Some(reply) = wrong_method(context, &["POST"]) {
        return Ok(reply);
    }
    let form = Parameters::read(context.request.body());
    let query = Parameters::of_query(context.request);
    let realm = form.get("realm").or_else(|| query.get("realm"));
    let Some(Protecting { filter, login, here }) = realm.and_then(|r| named(context, r)) else {
        return Ok(bad(context, "the realm is not one of this site"));
    };
    let header = context.header("cookie");
    let given = form.get("_xsrf").unwrap_or_default();
    let equals = |value: &str| -> bool { value.as_bytes().ct_eq(given.as_bytes()).into() };
    let name = filter.xsrf_cookie();
    if given.is_empty() || !cookie::values(header, &name).any(equals) {
        return Ok(refused(context));
    }
    let cookies = SessionCookie::all(header, &filter.session_cookie());
    let found = filter.find_session(context, cookies)?;
    // A cookie can be planted by a neighbour site; what goes with the session cannot.
    if found.as_ref().is_some_and(|f| !equals(&f.cookie.xsrf())) {
        return Ok(refused(context));
    }
    let verdict = filter.log_out(login, context, &here, found)?;
    Ok(allow_origin(context, verdict))
}

fn refused(context: &Context<'_>) -> Verdict {
    let words = if context.request.body().is_empty() {
        "the form did not arrive: Envoy must send bodies to this service (include_body)"
    } else {
        "the form's _xsrf is not that of the cookie"
    };
    Verdict::Deny(Reply::json(403, words, context.request_id()))
}

impl OAuth2 {
    fn log_out(
        &self,
        login: &Login,
        context: &Context<'_>,
        here: &Here,
        found: Option<Found>,
    ) -> Go<Verdict> {
        // A provider that is down keeps nobody logged in here.
        let provider = context.provider(&self.discovery)?.ok();
        let endpoint = provider.as_ref().and_then(|p| p.end_session_endpoint.as_deref());
        let Some(endpoint) = endpoint else {
            let url = login.post_logout.clone().unwrap_or_else(|| here.url("/"));
            return self.end_here(context, here, found, url);
        };
        let mut query = Serializer::new(String::new());
        let hint = found.as_ref().and_then(|f| f.session.id_token.as_deref());
        match hint.filter(|token| token.len() <= MAX_HINT) {
            Some(token) => query.append_pair("id_token_hint", token),
            None => query.append_pair("client_id", self.client.id()),
        };
        if login.post_logout.is_none() {
            let url = endpoints::with_query(endpoint, &query.finish());
            return self.end_here(context, here, found, url);
        }
        let state = State::new(&self.name, self.new_id(context)?, here.index, None);
        let begun = Begun { session: found.map(|f| f.cookie.id.text()) };
        self.put(context, "logout", &state.id, &begun, LIFE)?;
        let origin = login.origins.first().map(|o| o.text()).unwrap_or_default();
        query.append_pair("post_logout_redirect_uri", &format!("{origin}{POST_LOGOUT}"));
        query.append_pair("state", &state.text());
        let url = endpoints::with_query(endpoint, &query.finish());
        Ok(Verdict::Deny(redirect(context, url, Vec::new()).because("to log out")))
    }

    fn end_here(
        &self,
        context: &Context<'_>,
        here: &Here,
        found: Option<Found>,
        url: String,
    ) -> Go<Verdict> {
        if let Some(found) = found {
            self.end_session(context, &found.cookie.id)?;
        }
        let cookies = self.clear_cookies(here);
        Ok(Verdict::Deny(redirect(context, url, cookies).because("logged out")))
    }
}

/// The identity provider is done with it.
pub(super) fn end(context: &Context<'_>) -> Go<Verdict> {
    if let Some(reply) = wrong_method(context, &["GET", "HEAD"]) {
        return Ok(reply);
    }
    let parameters = Parameters::of_query(context.request);
    let Some((Protecting { filter, login, here }, state)) = by_state(context, &parameters) else {
        return Ok(bad(context, "the state is not one of this site"));
    };
    let begun: Option<Begun> = match &state {
        None => None,
        Some(state) => {
            let command = StoreCommand::Take(state.id.place("logout", &filter.name));
            filter.get(context, "logout", &state.id, command)?
        }
    };
    let ended = begun.is_some();
    if let Some(id) = begun.and_then(|b| b.session).as_deref().and_then(Id::parse) {
        filter.end_session(context, &id)?;
    }
    // A link to here must not log anybody out.
    let cookies = if ended { filter.clear_cookies(&here) } else { Vec::new() };
    let url = login.post_logout.clone().unwrap_or_else(|| here.url("/"));
    Ok(Verdict::Deny(redirect(context, url, cookies).because("logged out")))
}

/// The answer to a preflight (CORS) of a page of one of the origins.
pub(super) fn preflight(context: &Context<'_>) -> Verdict {
    let reply = Reply { status: 204, headers: Vec::new(), body: String::new(), reason: "".into() }
        .with_header("access-control-allow-methods", "GET, POST")
        .with_header("access-control-allow-headers", "content-type, x-requested-with")
        .with_header("access-control-max-age", "600");
    allow_origin(context, Verdict::Deny(reply))
}

/// Lets pages of the protected origins read the answer.
pub(super) fn allow_origin(context: &Context<'_>, verdict: Verdict) -> Verdict {
    let Verdict::Deny(reply) = verdict else { return verdict };
    let reply = reply.with_header("vary", "origin");
    let Some(origin) = context.request.header("origin") else { return Verdict::Deny(reply) };
    let is_own = protecting(context).any(|p| p.login.origins.iter().any(|o| o.text() == origin));
    Verdict::Deny(if is_own {
        reply
            .with_header("access-control-allow-origin", origin)
            .with_header("access-control-allow-credentials", "true")
    } else {
        reply
    })
}
