//! A browser's session in the store, and what becomes of a request that has one.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use service_kit::Secret;

use super::cookie::{Attributes, SessionCookie};
use super::login::Wanted;
use super::origin::{self, Here};
use super::scope::covers;
use super::seal::Id;
use super::tokens::Granted;
use super::validation::Good;
use super::{Go, Login, OAuth2, Passed, Stop, distinct};
use crate::arguments::{Arguments, SameSite};
use crate::context::Context;
use crate::filter::Verdict;
use crate::filter::jwt::unverified;
use crate::need::{StoreAnswer, StoreCommand};
use crate::reply::Reply;

/// A session with a refresh token that is not used.
const WITH_REFRESH: Duration = Duration::from_secs(14 * 24 * 3600);
/// A session whose tokens do not say how long they last.
const UNKNOWN_LIFE: Duration = Duration::from_secs(3600);
/// A token this young that is not accepted would not be accepted after a new login either.
const YOUNG: u64 = 10;
/// The life of a session that is used is extended when this part of it is over.
const TOUCH: u32 = 8;

/// What is known of a session. All times are in seconds since the Unix epoch.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) access_token: String,
    pub(super) refresh_token: Option<String>,
    pub(super) id_token: Option<String>,
    /// What the access token is good for.
    pub(super) granted: Vec<String>,
    /// What was asked for.
    pub(super) asked: Vec<String>,
    /// When the access token came.
    pub(super) since: u64,
    /// When it ends, if that was said.
    pub(super) expires: Option<u64>,
    /// When the session was last extended.
    touched: u64,
    /// How long it lasts from there on, in seconds.
    idle: u64,
    /// It is extended by being used.
    sliding: bool,
}

impl Session {
    /// Of tokens that just came; `asked` is what was asked for.
    pub(super) fn new(login: &Login, granted: Granted, asked: Vec<String>, now: u64) -> Self {
        let life = granted.expires_in.map(Duration::from_secs);
        let by_tokens = match granted.refresh_token {
            Some(_) => WITH_REFRESH,
            None => life.unwrap_or(UNKNOWN_LIFE),
        };
        let idle = login.max_idle.unwrap_or(by_tokens).as_secs().max(1);
        Self {
            sliding: login.max_idle.is_some() || granted.refresh_token.is_some(),
            access_token: granted.access_token,
            refresh_token: granted.refresh_token,
            id_token: granted.id_token,
            granted: granted.scope.unwrap_or_else(|| asked.clone()),
            asked,
            since: now,
            expires: granted.expires_in.map(|s| now.saturating_add(s)),
            touched: now,
            idle,
        }
    }

    /// The same session with tokens that replace its own.
    pub(super) fn renewed(&self, login: &Login, mut granted: Granted, now: u64) -> Self {
        granted.scope = granted.scope.or_else(|| Some(self.granted.clone()));
        granted.id_token = granted.id_token.or_else(|| self.id_token.clone());
        granted.refresh_token = granted.refresh_token.or_else(|| self.refresh_token.clone());
        Self::new(login, granted, self.asked.clone(), now)
    }

    /// Whether its access token is at its end.
    pub(super) fn is_expired(&self, now: u64, margin: Duration) -> bool {
        self.expires.is_some_and(|end| now.saturating_add(margin.as_secs()) >= end)
    }

    /// When it ends unless it is used.
    fn ends(&self) -> u64 {
        self.touched.saturating_add(self.idle)
    }

    fn is_over(&self, now: u64) -> bool {
        now >= self.ends()
    }

    fn needs_touch(&self, now: u64) -> bool {
        self.sliding && now.saturating_sub(self.touched) > self.idle / u64::from(TOUCH)
    }

    /// For the store.
    pub(super) fn left(&self, now: u64) -> Duration {
        Duration::from_secs(self.ends().saturating_sub(now).max(1))
    }
}

/// A session and the cookie that it was found by.
pub(super) struct Found {
    pub(super) cookie: SessionCookie,
    pub(super) session: Session,
}

impl OAuth2 {
    pub(super) fn session_cookie(&self) -> String {
        format!("ambassador_session.{}", self.name)
    }

    pub(super) fn xsrf_cookie(&self) -> String {
        format!("ambassador_xsrf.{}", self.name)
    }

    /// Judges a request by the session of its browser.
    pub(super) fn judge_session(
        &self,
        login: &Login,
        context: &Context<'_>,
        arguments: &Arguments,
    ) -> Go<Verdict> {
        let Some(here) = origin::find(&login.origins, context.request) else {
            let (scheme, authority) = (context.request.scheme(), context.request.authority());
            let words =
                format!("{scheme}://{authority} is not a protected origin of {}", self.name);
            return Err(Stop::fail(context, words));
        };
        let cookies = SessionCookie::all(context.header("cookie"), &self.session_cookie());
        let first = cookies.first().cloned();
        let wanted = |cookie, scope: &[String]| Wanted {
            here: &here,
            cookie,
            scope: distinct(["openid"].into_iter().chain(scope.iter().map(String::as_str))),
        };
        let Some(found) = self.find_session(context, cookies)? else {
            return self.without_session(
                login,
                context,
                arguments,
                wanted(first, &arguments.scope),
            );
        };
        let now = context.now.as_secs();
        let mut found = found;
        let mut renewed = false;
        if found.session.is_expired(now, self.margin) {
            match self.refresh(login, context, &found)? {
                Some(session) => (found.session, renewed) = (session, true),
                None => {
                    let wanted = wanted(Some(found.cookie), &arguments.scope);
                    return self.without_session(login, context, arguments, wanted);
                }
            }
        }
        let session = &found.session;
        if !covers(&session.granted, &arguments.scope) {
            if covers(&session.asked, &arguments.scope) {
                let words = "a scope that is needed here was not granted";
                return Err(Stop::deny(context, 403, words));
            }
            let union = distinct(session.asked.iter().chain(&arguments.scope).map(String::as_str));
            let wanted = wanted(Some(found.cookie), &union);
            return self.without_session(login, context, arguments, wanted);
        }
        let provider = self.provider(context)?;
        let good = self.validate(context, &provider, &session.access_token, &arguments.scope)?;
        let good = match good {
            Ok(good) => good,
            Err(reply) if now.saturating_sub(session.since) < YOUNG => {
                // Another login would bring such a token again.
                let words = format!("the access token is not accepted: {}", reply.reason);
                return Ok(Verdict::Deny(Reply::json(403, words, context.request_id())));
            }
            Err(_) => {
                let union =
                    distinct(session.asked.iter().chain(&arguments.scope).map(String::as_str));
                let wanted = wanted(Some(found.cookie), &union);
                return self.without_session(login, context, arguments, wanted);
            }
        };
        self.pass(login, context, arguments, &here, found, good, renewed)
    }

    #[allow(clippy::too_many_arguments)]
    fn pass(
        &self,
        login: &Login,
        context: &Context<'_>,
        arguments: &Arguments,
        here: &Here,
        found: Found,
        good: Good,
        renewed: bool,
    ) -> Go<Verdict> {
        let Found { cookie, mut session } = found;
        let touched = !renewed && session.needs_touch(context.now.as_secs());
        if touched {
            session = self.touch(context, &cookie.id, session)?;
        }
        let cookies = if touched || renewed {
            self.set_cookies(login, context, here, &cookie, arguments.same_site, Some(&session))
        } else {
            Vec::new()
        };
        self.allow(
            context,
            Passed {
                token: &session.access_token,
                verified: good.token,
                id_token: session.id_token.as_deref().and_then(unverified),
                headers: good.headers,
                remove: &[],
                cookies,
            },
        )
    }

    /// The first of these cookies that a session is known by.
    pub(super) fn find_session(
        &self,
        context: &Context<'_>,
        cookies: Vec<SessionCookie>,
    ) -> Go<Option<Found>> {
        for cookie in cookies {
            if let Some(session) = self.load_session(context, &cookie.id)? {
                return Ok(Some(Found { cookie, session }));
            }
        }
        Ok(None)
    }

    pub(super) fn load_session(&self, context: &Context<'_>, id: &Id) -> Go<Option<Session>> {
        let session: Option<Session> =
            self.get(context, "session", id, StoreCommand::Get(id.place("session", &self.name)))?;
        Ok(session.filter(|s| !s.is_over(context.now.as_secs())))
    }

    pub(super) fn store_session(
        &self,
        context: &Context<'_>,
        id: &Id,
        session: &Session,
    ) -> Go<()> {
        let left = session.left(context.now.as_secs());
        self.put(context, "session", id, session, left)
    }

    pub(super) fn end_session(&self, context: &Context<'_>, id: &Id) -> Go<()> {
        self.store(context, StoreCommand::Delete(id.place("session", &self.name))).map(|_| ())
    }

    /// A value of the store; none when there is none, or one that is not this filter's.
    pub(super) fn get<T: DeserializeOwned>(
        &self,
        context: &Context<'_>,
        kind: &str,
        id: &Id,
        command: StoreCommand,
    ) -> Go<Option<T>> {
        let StoreAnswer::Value(Some(sealed)) = self.store(context, command)? else {
            return Ok(None);
        };
        let opened = id.open(&self.seal_context(kind), &sealed).map(Secret::new);
        Ok(opened.and_then(|value| serde_json::from_slice(value.expose()).ok()))
    }

    /// Stores a value.
    pub(super) fn put<T: Serialize>(
        &self,
        context: &Context<'_>,
        kind: &str,
        id: &Id,
        value: &T,
        life: Duration,
    ) -> Go<()> {
        let fresh = self.random(context)?;
        let plain = Secret::new(serde_json::to_vec(value).unwrap_or_default());
        let sealed =
            id.seal(&fresh, &self.seal_context(kind), plain.expose()).ok_or_else(|| {
                Stop::error(context, 502, "the identity provider's tokens are too long to be kept")
            })?;
        let command = StoreCommand::Set(id.place(kind, &self.name), sealed, life);
        self.store(context, command).map(|_| ())
    }

    pub(super) fn store(&self, context: &Context<'_>, command: StoreCommand) -> Go<StoreAnswer> {
        context
            .store(command)?
            .map_err(|_| Stop::error(context, 503, "the store of sessions is not available"))
    }

    /// Values of `Set-Cookie`. Without a session they are those of a login that begins.
    pub(super) fn set_cookies(
        &self,
        login: &Login,
        context: &Context<'_>,
        here: &Here,
        cookie: &SessionCookie,
        same_site: Option<SameSite>,
        session: Option<&Session>,
    ) -> Vec<String> {
        let (short, only) = &login.session_cookies;
        let matches = only.as_ref().is_none_or(|c| c.holds(context.request, context.changes));
        let lasting = short != &matches;
        let attributes = Attributes {
            domain: here.domain.clone(),
            secure: here.secure,
            same_site,
            expires: session.filter(|_| lasting).map(|s| Duration::from_secs(s.ends())),
        };
        vec![
            attributes.set(&self.session_cookie(), &cookie.text(), true),
            attributes.set(&self.xsrf_cookie(), &cookie.xsrf(), false),
        ]
    }

    /// Values of `Set-Cookie` that remove the cookies.
    pub(super) fn clear_cookies(&self, here: &Here) -> Vec<String> {
        let attributes = Attributes {
            domain: here.domain.clone(),
            secure: here.secure,
            same_site: None,
            expires: Some(Duration::ZERO),
        };
        vec![
            attributes.set(&self.session_cookie(), "", true),
            attributes.set(&self.xsrf_cookie(), "", false),
        ]
    }

    /// The session with a new end; as it is while another request renews it.
    fn touch(&self, context: &Context<'_>, id: &Id, session: Session) -> Go<Session> {
        let mark = self.random(context)?;
        if !self.try_lock(context, id, &mark)? {
            return Ok(session);
        }
        // Another request may have renewed it since.
        let now = context.now.as_secs();
        let newest = match self.load_session(context, id)? {
            None => session,
            Some(mut newest) => {
                newest.touched = newest.touched.max(now);
                self.store_session(context, id, &newest)?;
                newest
            }
        };
        self.unlock(context, id, &mark)?;
        Ok(newest)
    }
}
