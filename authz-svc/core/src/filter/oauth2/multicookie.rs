//! Cookies for further origins after a login, hop by hop: a further origin makes itself known to
//! the browser (`ask`), the origin of the login gives a ticket for that browser (`give`), the further
//! origin takes it (`take`). A ticket is good once, and only in the browser that asked: a link with
//! somebody's ticket logs nobody in.

use std::time::Duration;

use form_urlencoded::Serializer;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::cookie::SessionCookie;
use super::endpoints::{self, MULTICOOKIE, Parameters, Protecting, bad, bounce, named, page};
use super::login::{State, digest, redirect, same_site_of, same_site_text};
use super::logout::{allow_origin, preflight};
use super::origin::Here;
use super::seal::Id;
use super::{Go, Login, OAuth2};
use crate::arguments::SameSite;
use crate::context::Context;
use crate::filter::Verdict;
use crate::need::StoreCommand;

/// For all hops.
const LIFE: Duration = Duration::from_secs(120);

/// A browser on its way through the further origins.
#[derive(Serialize, Deserialize)]
struct Chain {
    /// Of the session.
    session: String,
    /// Where the browser goes at the end; of a protected origin.
    url: String,
    same_site: Option<String>,
}

/// A session for one browser at one origin.
#[derive(Serialize, Deserialize)]
struct Ticket {
    session: String,
    /// Digest of what the browser has at that origin.
    browser: String,
}

/// Answers.
pub(super) fn answer(context: &Context<'_>) -> Go<Verdict> {
    if context.request.method() == "OPTIONS" {
        return Ok(preflight(context));
    }
    if let Some(reply) = endpoints::wrong_method(context, &["GET", "HEAD"]) {
        return Ok(reply);
    }
    let parameters = Parameters::of_query(context.request);
    let state = parameters.get("state").and_then(State::parse);
    let Some((state, found)) = state.and_then(|s| named(context, &s.filter).map(|f| (s, f))) else {
        return Ok(bad(context, "the state is not one of this site"));
    };
    let at = parameters.get("at").and_then(|at| at.parse::<usize>().ok());
    let verdict = found.hop(context, &parameters, &state, at)?;
    Ok(allow_origin(context, verdict))
}

impl Protecting<'_> {
    fn hop(
        &self,
        context: &Context<'_>,
        parameters: &Parameters,
        state: &State,
        at: Option<usize>,
    ) -> Go<Verdict> {
        let Self { filter, login, here } = self;
        let cookies = SessionCookie::all(context.header("cookie"), &filter.session_cookie());
        let late = cookies.is_empty() && state.strict && parameters.get("again").is_none();
        match (parameters.get("step"), at) {
            (Some("ask"), Some(at)) if at == here.index => {
                filter.ask_for_ticket(login, context, here, state, cookies.into_iter().next())
            }
            (Some("give"), Some(at)) if state.origin == here.index => {
                if late {
                    return Ok(Verdict::Deny(bounce(context, here)));
                }
                let browser = parameters.get("for").unwrap_or_default();
                filter.give_ticket(login, context, state, at, browser, &cookies)
            }
            (Some("take"), Some(at)) if at == here.index => {
                if late {
                    return Ok(Verdict::Deny(bounce(context, here)));
                }
                let ticket = parameters.get("ticket").and_then(Id::parse);
                filter.take_ticket(login, context, here, state, ticket.as_ref(), &cookies)
            }
            (Some("done"), _) if state.origin == here.index => {
                let command = StoreCommand::Take(state.id.place("chain", &filter.name));
                let chain: Option<Chain> = filter.get(context, "chain", &state.id, command)?;
                Ok(chain.map_or_else(|| gone(context), |c| Verdict::Deny(page(&c.url))))
            }
            _ => Ok(bad(context, "not a step of a login")),
        }
    }
}

fn gone(context: &Context<'_>) -> Verdict {
    bad(context, "this step of the login is over; go to the page again")
}

impl OAuth2 {
    /// Where the browser goes after a login: through the further origins, or to `url`.
    pub(super) fn after_login(
        &self,
        login: &Login,
        context: &Context<'_>,
        here: &Here,
        cookie: &SessionCookie,
        url: &str,
        same_site: Option<SameSite>,
    ) -> Go<String> {
        let Some(first) = next(login, here.index, None) else { return Ok(url.to_owned()) };
        let state = State::new(&self.name, self.new_id(context)?, here.index, same_site);
        let chain = Chain {
            session: cookie.id.text(),
            url: url.to_owned(),
            same_site: same_site.map(|s| same_site_text(s).to_owned()),
        };
        self.put(context, "chain", &state.id, &chain, LIFE)?;
        Ok(step(login, first, &state, "ask", &[("at", first.to_string())]))
    }

    fn ask_for_ticket(
        &self,
        login: &Login,
        context: &Context<'_>,
        here: &Here,
        state: &State,
        cookie: Option<SessionCookie>,
    ) -> Go<Verdict> {
        let (cookie, cookies) = match cookie {
            Some(cookie) => (cookie, Vec::new()),
            None => {
                let cookie = SessionCookie::new(self.new_id(context)?);
                let same_site = state.strict.then_some(SameSite::Strict);
                let cookies = self.set_cookies(login, context, here, &cookie, same_site, None);
                (cookie, cookies)
            }
        };
        let more = [("at", here.index.to_string()), ("for", digest(&cookie.id))];
        let location = step(login, state.origin, state, "give", &more);
        Ok(Verdict::Deny(redirect(context, location, cookies)))
    }

    fn give_ticket(
        &self,
        login: &Login,
        context: &Context<'_>,
        state: &State,
        at: usize,
        browser: &str,
        cookies: &[SessionCookie],
    ) -> Go<Verdict> {
        let command = StoreCommand::Get(state.id.place("chain", &self.name));
        let chain: Option<Chain> = self.get(context, "chain", &state.id, command)?;
        let same = |session: &str| {
            cookies.iter().any(|c| c.id.text().as_bytes().ct_eq(session.as_bytes()).into())
        };
        let chain = chain.filter(|c| same(&c.session));
        let (Some(chain), Some(_)) = (chain, login.origins.get(at)) else {
            return Ok(gone(context));
        };
        let id = self.new_id(context)?;
        let ticket = Ticket { session: chain.session, browser: browser.to_owned() };
        self.put(context, "ticket", &id, &ticket, LIFE)?;
        let more = [("at", at.to_string()), ("ticket", id.text())];
        let location = step(login, at, state, "take", &more);
        Ok(Verdict::Deny(redirect(context, location, Vec::new())))
    }

    fn take_ticket(
        &self,
        login: &Login,
        context: &Context<'_>,
        here: &Here,
        state: &State,
        ticket: Option<&Id>,
        cookies: &[SessionCookie],
    ) -> Go<Verdict> {
        let Some(ticket) = ticket else { return Ok(gone(context)) };
        let command = StoreCommand::Take(ticket.place("ticket", &self.name));
        let taken: Option<Ticket> = self.get(context, "ticket", ticket, command)?;
        let Some(taken) = taken else { return Ok(gone(context)) };
        let same =
            |c: &&SessionCookie| digest(&c.id).as_bytes().ct_eq(taken.browser.as_bytes()).into();
        let (Some(cookie), Some(id)) = (cookies.iter().find(same), Id::parse(&taken.session))
        else {
            return Ok(gone(context));
        };
        let command = StoreCommand::Get(state.id.place("chain", &self.name));
        let chain: Option<Chain> = self.get(context, "chain", &state.id, command)?;
        let session = self.load_session(context, &id)?;
        let (Some(chain), Some(session)) = (chain, session) else { return Ok(gone(context)) };
        let same_site = chain.same_site.as_deref().and_then(same_site_of);
        let cookie = cookie.with_id(id);
        let cookies = self.set_cookies(login, context, here, &cookie, same_site, Some(&session));
        let location = match next(login, state.origin, Some(here.index)) {
            Some(at) => step(login, at, state, "ask", &[("at", at.to_string())]),
            // From here the browser's strict cookies would not come along.
            None if state.strict => step::<&str>(login, state.origin, state, "done", &[]),
            None => chain.url,
        };
        Ok(Verdict::Deny(redirect(context, location, cookies)))
    }
}

/// The further origin after `last`, or the first one. Cookies are by host: an origin that has the
/// host of an earlier one needs none.
fn next(login: &Login, home: usize, last: Option<usize>) -> Option<usize> {
    let host = |i: usize| login.origins.get(i).map(|o| o.host());
    let is_new =
        |i: &usize| *i != home && host(*i) != host(home) && (0..*i).all(|j| host(j) != host(*i));
    (last.map_or(0, |i| i + 1)..login.origins.len()).find(is_new)
}

/// The URL of a step at an origin.
fn step<V: AsRef<str>>(
    login: &Login,
    at: usize,
    state: &State,
    name: &str,
    more: &[(&str, V)],
) -> String {
    let origin = login.origins.get(at).map(|o| o.text()).unwrap_or_default();
    let mut query = Serializer::new(String::new());
    query.append_pair("state", &state.text()).append_pair("step", name);
    query.extend_pairs(more);
    format!("{origin}{MULTICOOKIE}?{}", query.finish())
}
