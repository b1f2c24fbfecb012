//! A token that another filter has as text, judged as one in a request.

use std::sync::Arc;

use jsonwebtoken::Algorithm;

use super::token::Challenge;
use super::{
    ClaimRules, HeaderTemplates, Jwt, Keys, Problem, Refusal, TokenCache, Verified, token,
};
use crate::context::Context;
use crate::filter::Verdict;
use crate::need::Pending;

/// What is said of a token: it is good, or what its client would get.
pub(in crate::filter) type Said = Result<Arc<Verified>, Box<Verdict>>;

impl Jwt {
    /// Judges tokens by these rules, with the default answers.
    pub(in crate::filter) fn of_texts(
        keys: Keys,
        algorithms: Vec<Algorithm>,
        claims: ClaimRules,
        realm: &str,
        cache: TokenCache,
    ) -> Self {
        let mut headers = HeaderTemplates::default();
        headers.push_text("content-type", "application/json");
        Self {
            keys,
            algorithms,
            unsigned: false,
            claims,
            strip_authorization: false,
            inject: HeaderTemplates::default(),
            refusal: Refusal { realm: realm.to_owned(), headers, body: None, is_plain: true },
            cache,
        }
    }

    /// Whether the token has a good signature.
    pub(in crate::filter) fn signed(
        &self,
        context: &Context<'_>,
        text: &str,
    ) -> Result<Said, Pending> {
        let result = self.check_signature(context, text);
        self.said(context, result)
    }

    /// Whether the token is good.
    pub(in crate::filter) fn good(
        &self,
        context: &Context<'_>,
        text: &str,
        scope: &[String],
    ) -> Result<Said, Pending> {
        let result = self.verify(context, text, scope);
        self.said(context, result)
    }

    /// Whether a token with a good signature is good; scope is looked at only where it is claimed.
    pub(in crate::filter) fn claims_fit(
        &self,
        context: &Context<'_>,
        token: &Verified,
        scope: &[String],
    ) -> Result<(), Box<Verdict>> {
        let claimed = ["scope", "scp"].iter().any(|name| token.claims().get(name).is_some());
        let fit = self
            .claims
            .check(token.claims(), context.now)
            .map_err(|(bits, words)| Challenge::invalid_token(bits, words));
        let scope = if claimed { scope } else { &[] };
        fit.and_then(|()| token::check_scope(token.claims(), scope))
            .map_err(|challenge| Box::new(self.refused(context, &challenge)))
    }

    /// What becomes of a request with this token.
    pub(in crate::filter) fn passed(&self, context: &Context<'_>, token: &Verified) -> Verdict {
        self.allow(context, token)
    }

    fn said(
        &self,
        context: &Context<'_>,
        result: Result<Arc<Verified>, Problem>,
    ) -> Result<Said, Pending> {
        match result {
            Ok(token) => Ok(Ok(token)),
            Err(Problem::Pending(pending)) => Err(pending),
            Err(Problem::Refused(challenge)) => {
                Ok(Err(Box::new(self.refused(context, &challenge))))
            }
        }
    }
}

/// Takes a token apart without a look at its signature; none when it is no JWT.
pub(in crate::filter) fn unverified(text: &str) -> Option<Arc<Verified>> {
    token::Token::parse(text).ok().map(|token| Arc::new(token.verified(None)))
}
