//! Whether an access token is good.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Value as Json, json};

use super::scope::{asks_for_claims, by_name, demanded};
use super::{Go, OAuth2, Stop};
use crate::context::Context;
use crate::filter::Verdict;
use crate::filter::jwt::{ClaimRules, Jwt, Keys, TimeRule, TokenCache, Verified, unverified};
use crate::keys::{KeySet, SUPPORTED};
use crate::need::{DocumentKind, Fetch};
use crate::provider::Provider;
use crate::reply::Reply;

/// By how much the identity provider's clock may differ when it says who logged in.
const LEEWAY: Duration = Duration::from_secs(60);

/// How it is found out.
#[derive(Debug)]
pub(super) enum Validation {
    /// `Jwt` when it is a JWT of the provider, else `UserInfo`.
    Auto,
    /// By the provider's keys.
    Jwt,
    /// By the provider's answer about the user.
    UserInfo,
    /// By another filter.
    Filter(FilterRef),
}

/// A JWT filter that judges access tokens.
#[derive(Debug)]
pub(super) struct FilterRef {
    /// Namespace and name.
    pub(super) key: (String, String),
    /// The rule's scope is demanded.
    pub(super) inherit: bool,
    /// Its values are cut up to their last `/`.
    pub(super) strip: bool,
    /// Demanded besides.
    pub(super) scope: Vec<String>,
}

/// A good token.
#[derive(Default)]
pub(super) struct Good {
    /// When it is a JWT.
    pub(super) token: Option<Arc<Verified>>,
    /// What the other filter makes of the request.
    pub(super) headers: Vec<(String, Option<String>)>,
}

impl Validation {
    pub(super) fn filter(&self) -> Option<&(String, String)> {
        match self {
            Self::Filter(filter) => Some(&filter.key),
            _ => None,
        }
    }
}

impl FilterRef {
    fn wanted(&self, rule: &[String]) -> Vec<String> {
        let inherited = rule.iter().filter(|s| self.inherit && *s != "offline_access");
        let stripped = inherited.map(|s| match s.rsplit_once('/') {
            Some((_, last)) if self.strip => last,
            _ => s.as_str(),
        });
        super::distinct(stripped.chain(self.scope.iter().map(String::as_str)))
    }
}

impl OAuth2 {
    /// Judges an access token. `scope` is the rule's. Inside: what the client would get.
    pub(super) fn validate(
        &self,
        context: &Context<'_>,
        provider: &Provider,
        token: &str,
        scope: &[String],
    ) -> Go<Result<Good, Reply>> {
        match &self.validation {
            Validation::Filter(filter) => self.by_filter(context, filter, token, scope),
            Validation::Jwt => self.by_keys(context, provider, token, scope),
            Validation::UserInfo => self.by_user_info(context, provider, token),
            // A provider without keys signs nothing that could be verified.
            Validation::Auto => match self.keys(provider).filter(|_| looks_like_jwt(token)) {
                Some(keys) => self.by_keys_if_signed(context, provider, keys, token, scope),
                None => self.by_user_info(context, provider, token),
            },
        }
    }

    fn by_filter(
        &self,
        context: &Context<'_>,
        filter: &FilterRef,
        token: &str,
        scope: &[String],
    ) -> Go<Result<Good, Reply>> {
        let found = context.snapshot.filters.get(&filter.key);
        let jwt = found.and_then(|f| f.judge.as_ref()).and_then(|judge| judge.as_jwt());
        let Some(jwt) = jwt else {
            return Err(Stop::fail(context, "the JWT Filter of access tokens is not there"));
        };
        let mut wanted = filter.wanted(scope);
        // A token that is known is not read again without need.
        if asks_for_claims(&wanted)
            && let Some(token) = unverified(token)
        {
            wanted = by_name(token.claims(), wanted);
        }
        let token = match jwt.good(context, token, &wanted)? {
            Ok(token) => token,
            Err(verdict) => return refused(*verdict),
        };
        match jwt.passed(context, &token) {
            Verdict::Allow(modification) => {
                Ok(Ok(Good { token: Some(token), headers: modification.headers }))
            }
            other => refused(other),
        }
    }

    fn by_keys(
        &self,
        context: &Context<'_>,
        provider: &Provider,
        token: &str,
        scope: &[String],
    ) -> Go<Result<Good, Reply>> {
        let keys = self.keys(provider).ok_or_else(|| {
            Stop::error(context, 502, "the identity provider names no keys (jwks_uri)")
        })?;
        let jwt = self.access_tokens(provider, keys);
        match jwt.signed(context, token)? {
            Ok(token) => claims_fit(context, &jwt, token, scope),
            Err(verdict) => refused(*verdict),
        }
    }

    /// By the keys when the token is signed with one of them, else by the answer about the user.
    fn by_keys_if_signed(
        &self,
        context: &Context<'_>,
        provider: &Provider,
        keys: Keys,
        token: &str,
        scope: &[String],
    ) -> Go<Result<Good, Reply>> {
        let jwt = self.access_tokens(provider, keys);
        match jwt.signed(context, token)? {
            Ok(token) => claims_fit(context, &jwt, token, scope),
            Err(verdict) => match *verdict {
                Verdict::Deny(_) => self.by_user_info(context, provider, token),
                other => Err(other.into()),
            },
        }
    }

    fn by_user_info(
        &self,
        context: &Context<'_>,
        provider: &Provider,
        token: &str,
    ) -> Go<Result<Good, Reply>> {
        let url = provider.userinfo_endpoint.as_deref().ok_or_else(|| {
            Stop::error(context, 502, "the identity provider names no userinfo endpoint")
        })?;
        let headers = vec![("authorization".to_owned(), format!("Bearer {token}"))];
        let answer = self.call(context, "GET", url, headers, Vec::new())?;
        match answer.map(|a| a.status) {
            Ok(200..=299) => Ok(Ok(Good { token: unverified(token), headers: Vec::new() })),
            Ok(status @ 400..=499) if status != 429 && status != 408 => {
                let reply =
                    Reply::json(401, "the access token is not accepted", context.request_id());
                let challenge = format!("Bearer realm=\"{}\", error=\"invalid_token\"", self.name);
                Ok(Err(reply.with_header("www-authenticate", challenge)))
            }
            _ => Err(Stop::error(
                context,
                502,
                "the identity provider cannot be asked about a token",
            )),
        }
    }

    fn keys(&self, provider: &Provider) -> Option<Keys> {
        Some(Keys::Remote(Fetch {
            url: provider.jwks_uri.as_deref()?.into(),
            what: DocumentKind::KeySet,
            ..self.discovery.clone()
        }))
    }

    fn access_tokens(&self, provider: &Provider, keys: Keys) -> Jwt {
        let algorithms = vec![Algorithm::RS256, Algorithm::RS384, Algorithm::RS512];
        let claims = ClaimRules { issuer: Some(provider.issuer.clone()), ..ClaimRules::default() };
        Jwt::of_texts(keys, algorithms, claims, &self.name, self.cache.clone())
    }

    /// Checks the ID token of a login (OpenID Connect Core 1.0 section 3.1.3.7). None when it is no
    /// JWT. Inside: it is not to be trusted.
    pub(super) fn check_id_token(
        &self,
        context: &Context<'_>,
        provider: &Provider,
        token: &str,
        nonce: Option<&str>,
    ) -> Go<Result<Option<Arc<Verified>>, &'static str>> {
        let Some(parsed) = unverified(token) else { return Ok(Ok(None)) };
        let symmetric = |name: &str| name.starts_with("HS");
        let algorithm = parsed.algorithm().unwrap_or_default();
        let keys = if symmetric(algorithm) { self.own_key() } else { self.keys(provider) };
        let Some(keys) = keys else { return Ok(Err("the ID token cannot be verified")) };
        let same = |(name, _): &&(&str, Algorithm)| symmetric(name) == symmetric(algorithm);
        let algorithms = SUPPORTED.iter().filter(same).map(|(_, a)| *a).collect();
        let time = |required| TimeRule { required, leeway: LEEWAY };
        let claims = ClaimRules {
            audience: Some(self.client.id().to_owned()),
            require_audience: true,
            issuer: Some(provider.issuer.clone()),
            require_issuer: true,
            expires_at: time(true),
            not_before: time(false),
            issued_at: time(false),
        };
        let jwt = Jwt::of_texts(keys, algorithms, claims, &self.name, TokenCache::default());
        let token = match jwt.good(context, token, &[])? {
            Ok(token) => token,
            Err(verdict) => match *verdict {
                Verdict::Deny(_) => return Ok(Err("the ID token is not valid")),
                other => return Err(other.into()),
            },
        };
        let text = |name: &str| token.claims().get(name).and_then(Json::as_str);
        let authorized =
            token.claims().get("azp").is_none() || text("azp") == Some(self.client.id());
        if !authorized {
            return Ok(Err("the ID token is for another client"));
        }
        if nonce.is_some() && text("nonce") != nonce {
            return Ok(Err("the ID token is of another login"));
        }
        Ok(Ok(Some(token)))
    }

    /// The client's secret as a key.
    fn own_key(&self) -> Option<Keys> {
        let key = URL_SAFE_NO_PAD.encode(self.client.secret());
        let set = KeySet::from_json(&json!({"keys": [{"kty": "oct", "k": key}]})).ok()?;
        Some(Keys::Fixed(Arc::new(set)))
    }
}

fn looks_like_jwt(token: &str) -> bool {
    token.bytes().filter(|b| *b == b'.').count() == 2
}

fn claims_fit(
    context: &Context<'_>,
    jwt: &Jwt,
    token: Arc<Verified>,
    scope: &[String],
) -> Go<Result<Good, Reply>> {
    let wanted = by_name(token.claims(), demanded(scope).map(str::to_owned).collect());
    match jwt.claims_fit(context, &token, &wanted) {
        Ok(()) => Ok(Ok(Good { token: Some(token), headers: Vec::new() })),
        Err(verdict) => refused(*verdict),
    }
}

fn refused(verdict: Verdict) -> Go<Result<Good, Reply>> {
    match verdict {
        Verdict::Deny(reply) => Ok(Err(reply)),
        other => Err(other.into()),
    }
}
