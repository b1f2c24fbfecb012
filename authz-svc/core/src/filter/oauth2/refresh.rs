//! New tokens for a session whose access token is at its end: by one request at a time, on all
//! replicas together, as many providers take a refresh token once only.

use std::time::Duration;

use super::seal::Id;
use super::session::{Found, Session};
use super::tokens::{Granted, Refusal};
use super::{Go, Login, OAuth2, Stop};
use crate::context::Context;
use crate::need::{StoreAnswer, StoreCommand};

/// A lock ends by itself then, should its holder be gone. Longer than any request may take.
const LOCK: Duration = Duration::from_secs(10);
/// How long one waits for the lock's holder, in steps of milliseconds: 2.3 seconds. Each
/// step asks three times, and a filter may ask 64 times.
const WAITS: &[u64] = &[50, 50, 50, 50, 100, 100, 100, 200, 200, 200, 300, 400, 500];

impl OAuth2 {
    /// The session with new tokens; none when it is at its end.
    pub(super) fn refresh(
        &self,
        login: &Login,
        context: &Context<'_>,
        found: &Found,
    ) -> Go<Option<Session>> {
        let id = &found.cookie.id;
        if found.session.refresh_token.is_none() {
            return Ok(None);
        }
        let now = context.now.as_secs();
        let mark = self.random(context)?;
        let mut waits = WAITS.iter();
        loop {
            if self.try_lock(context, id, &mark)? {
                let renewed = self.renew(login, context, id);
                // Whatever came of it, the next one need not wait; but only when that is known.
                if !matches!(renewed, Err(Stop::Pending(_))) {
                    self.unlock(context, id, &mark)?;
                }
                return renewed;
            }
            let Some(wait) = waits.next() else {
                return Err(Stop::error(context, 503, "the session is being renewed for too long"));
            };
            context.wait(Duration::from_millis(*wait))?;
            match self.load_session(context, id)? {
                None => return Ok(None),
                Some(session) if !session.is_expired(now, self.margin) => return Ok(Some(session)),
                Some(_) => {}
            }
        }
    }

    /// Renews the session; the caller has the lock.
    fn renew(&self, login: &Login, context: &Context<'_>, id: &Id) -> Go<Option<Session>> {
        let now = context.now.as_secs();
        // It may have been renewed before the lock was free.
        let Some(session) = self.load_session(context, id)? else { return Ok(None) };
        if !session.is_expired(now, self.margin) {
            return Ok(Some(session));
        }
        let Some(token) = session.refresh_token.as_deref() else { return Ok(None) };
        let provider = self.provider(context)?;
        let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
        let mut granted = match self.ask_as_client(context, &provider, &form)? {
            Ok(granted) => granted,
            Err(Refusal::Grant) => return self.after_refusal(context, id, token),
            Err(Refusal::Down(words)) => return Err(Stop::error(context, 502, words)),
            Err(Refusal::Other(_)) => {
                let words = "the identity provider does not renew sessions for this client";
                return Err(Stop::error(context, 502, words));
            }
        };
        self.keep_if_good(context, &provider, &session, &mut granted)?;
        // Nobody may have logged out since.
        if self.load_session(context, id)?.is_none() {
            return Ok(None);
        }
        let renewed = session.renewed(login, granted, now);
        self.store_session(context, id, &renewed)?;
        Ok(Some(renewed))
    }

    /// A new ID token is taken when it is good and of the same user; else the old one stays.
    fn keep_if_good(
        &self,
        context: &Context<'_>,
        provider: &crate::provider::Provider,
        session: &Session,
        granted: &mut Granted,
    ) -> Go<()> {
        let Some(new) = granted.id_token.take() else { return Ok(()) };
        let Ok(Some(token)) = self.check_id_token(context, provider, &new, None)? else {
            return Ok(());
        };
        let old = session.id_token.as_deref().and_then(crate::filter::jwt::unverified);
        if old.is_none_or(|old| old.claims().get("sub") == token.claims().get("sub")) {
            granted.id_token = Some(new);
        }
        Ok(())
    }

    /// The refresh token is not good any more: the session ends, unless it has another one by now.
    fn after_refusal(&self, context: &Context<'_>, id: &Id, token: &str) -> Go<Option<Session>> {
        let newest = self.load_session(context, id)?;
        let now = context.now.as_secs();
        match newest {
            Some(s)
                if s.refresh_token.as_deref() != Some(token) && !s.is_expired(now, self.margin) =>
            {
                Ok(Some(s))
            }
            _ => self.end_session(context, id).map(|()| None),
        }
    }

    /// Takes the lock of a session, if nobody has it; `mark` is of its holder.
    pub(super) fn try_lock(&self, context: &Context<'_>, id: &Id, mark: &[u8; 32]) -> Go<bool> {
        let command = StoreCommand::Add(id.place("lock", &self.name), mark.to_vec(), LOCK);
        Ok(self.store(context, command)? == StoreAnswer::Done)
    }

    /// Frees it, if it is one's own still.
    pub(super) fn unlock(&self, context: &Context<'_>, id: &Id, mark: &[u8; 32]) -> Go<()> {
        let command = StoreCommand::DeleteIf(id.place("lock", &self.name), mark.to_vec());
        self.store(context, command).map(|_| ())
    }
}
