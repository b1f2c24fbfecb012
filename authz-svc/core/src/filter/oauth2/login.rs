//! The way to a session: from a request without one to the identity provider, and back.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use form_urlencoded::Serializer;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::cookie::SessionCookie;
use super::endpoints::{self, Parameters};
use super::origin::Here;
use super::seal::Id;
use super::session::Session;
use super::tokens::Refusal;
use super::{Go, Login, OAuth2, Stop, distinct};
use crate::arguments::{Arguments, Instead, SameSite};
use crate::context::Context;
use crate::filter::{Modification, Verdict};
use crate::need::StoreCommand;
use crate::policy::{Link, Then};
use crate::provider::Provider;
use crate::reply::Reply;
use crate::request::{Changes, Request};

/// How long a login may take: who never comes back costs the store something for so long.
const LIFE: Duration = Duration::from_secs(1800);
/// How often a login begins again by itself.
const MAX_ATTEMPTS: u8 = 3;

/// A login that is needed.
pub(super) struct Wanted<'a> {
    pub(super) here: &'a Here,
    /// What the browser has.
    pub(super) cookie: Option<SessionCookie>,
    /// What is asked for.
    pub(super) scope: Vec<String>,
}

/// A login that began, in the store.
#[derive(Serialize, Deserialize)]
pub(super) struct Begun {
    /// Where the browser wanted to go; of a protected origin.
    pub(super) url: String,
    scope: Vec<String>,
    /// Digest of the browser's id.
    browser: String,
    same_site: Option<String>,
}

/// `state`: what a login is known by. Only the id is a secret; whoever changes the rest of his own
/// gets nothing by it.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) id: Id,
    attempt: u8,
    /// The origin where it began.
    pub(super) origin: usize,
    /// Cookies do not come with a link from elsewhere.
    pub(super) strict: bool,
    /// `NAME.NAMESPACE`
    pub(super) filter: String,
}

impl State {
    pub(super) fn new(filter: &str, id: Id, origin: usize, same_site: Option<SameSite>) -> Self {
        let strict = same_site == Some(SameSite::Strict);
        Self { id, attempt: 0, origin, strict, filter: filter.to_owned() }
    }

    pub(super) fn text(&self) -> String {
        let Self { id, attempt, origin, strict, filter } = self;
        let strict = if *strict { "s" } else { "" };
        format!("{}.{attempt}-{origin}{strict}.{filter}", id.text())
    }

    /// Reads what [`Self::text`] wrote.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (id, rest) = text.split_once('.')?;
        let (numbers, filter) = rest.split_once('.')?;
        let (plain, strict) = match numbers.strip_suffix('s') {
            Some(plain) => (plain, true),
            None => (numbers, false),
        };
        let (attempt, origin) = plain.split_once('-')?;
        let number = |text: &str| {
            let digits = (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse::<u8>().ok()).flatten()
        };
        let (attempt, origin) = (number(attempt)?, usize::from(number(origin)?));
        (filter.len() <= 512).then_some(())?;
        Some(Self { id: Id::parse(id)?, attempt, origin, strict, filter: filter.to_owned() })
    }
}

impl OAuth2 {
    /// What a client without a usable session gets.
    pub(super) fn without_session(
        &self,
        login: &Login,
        context: &Context<'_>,
        arguments: &Arguments,
        wanted: Wanted<'_>,
    ) -> Go<Verdict> {
        let instead = arguments.instead_of_redirect.as_ref().filter(|i| {
            i.condition.as_ref().is_none_or(|c| c.holds(context.request, context.changes))
        });
        match instead.map(|i| &i.then) {
            Some(Instead::Status(status)) => {
                let words = "a login is needed";
                Ok(Verdict::Deny(Reply::json(*status, words, context.request_id())))
            }
            Some(Instead::Filters(links)) => run(context, links),
            None => {
                let url = wanted.here.url(context.request.path_and_query());
                self.begin(login, context, wanted, url, arguments.same_site, 0)
            }
        }
    }

    /// Sends the browser to the identity provider.
    fn begin(
        &self,
        login: &Login,
        context: &Context<'_>,
        wanted: Wanted<'_>,
        url: String,
        same_site: Option<SameSite>,
        attempt: u8,
    ) -> Go<Verdict> {
        let Wanted { here, cookie, scope } = wanted;
        let provider = self.provider(context)?;
        let state = State {
            attempt,
            ..State::new(&self.name, self.new_id(context)?, here.index, same_site)
        };
        // Of a request that is not a browser's way to a page nothing is kept: who makes it cannot
        // log in, and its answer must not take a login away from another tab.
        if !is_navigation(context.request) {
            let browser = self.new_id(context)?;
            let location =
                self.authorization_url(login, context, &provider, &state, &browser, &scope)?;
            return Ok(Verdict::Deny(redirect(context, location, Vec::new())));
        }
        let cookie = match cookie {
            Some(cookie) => cookie,
            None => SessionCookie::new(self.new_id(context)?),
        };
        let cookie = cookie.started(context.now).ok_or_else(|| {
            Stop::deny(context, 403, "too many logins began in this browser within a minute")
        })?;
        let location =
            self.authorization_url(login, context, &provider, &state, &cookie.id, &scope)?;
        let begun = Begun {
            url,
            scope,
            browser: digest(&cookie.id),
            same_site: same_site.map(|s| same_site_text(s).to_owned()),
        };
        self.put(context, "login", &state.id, &begun, LIFE)?;
        let cookies = self.set_cookies(login, context, here, &cookie, same_site, None);
        Ok(Verdict::Deny(redirect(context, location, cookies)))
    }

    /// Where the browser logs in.
    fn authorization_url(
        &self,
        login: &Login,
        context: &Context<'_>,
        provider: &Provider,
        state: &State,
        browser: &Id,
        scope: &[String],
    ) -> Go<String> {
        let endpoint = provider.authorization_endpoint.as_deref().ok_or_else(|| {
            Stop::error(context, 502, "the identity provider names no authorization endpoint")
        })?;
        let mut query = Serializer::new(String::new());
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", self.client.id())
            .append_pair("redirect_uri", &redirect_uri(login))
            .append_pair("scope", &scope.join(" "))
            .append_pair("state", &state.text())
            .append_pair("nonce", &nonce(browser, state));
        if login.pkce {
            let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier(browser, state)));
            query.append_pair("code_challenge", &challenge);
            query.append_pair("code_challenge_method", "S256");
        }
        query.extend_pairs(&login.extra);
        Ok(endpoints::with_query(endpoint, &query.finish()))
    }

    /// The browser comes back from the identity provider.
    pub(super) fn come_back(
        &self,
        login: &Login,
        context: &Context<'_>,
        here: &Here,
        parameters: &Parameters,
        state: Option<State>,
    ) -> Go<Verdict> {
        if let Some(error) = parameters.get("error") {
            let description = parameters.get("error_description").unwrap_or_default();
            let words = endpoints::plain(&format!("{error}: {description}"));
            let words = format!("the identity provider refused the login: {words}");
            return Ok(Verdict::Deny(Reply::json(403, words, context.request_id())));
        }
        let cookies = SessionCookie::all(context.header("cookie"), &self.session_cookie());
        if let Some(state) = &state {
            if cookies.is_empty() && state.strict && parameters.get("again").is_none() {
                return Ok(Verdict::Deny(endpoints::bounce(context, here)));
            }
            // A login ends at the origin where it began: that one has the browser's cookie.
            if state.origin != here.index
                && let Some(origin) = login.origins.get(state.origin)
                && parameters.get("relayed").is_none()
            {
                let query = context.request.query().unwrap_or_default();
                let location =
                    format!("{}{}?{query}&relayed=1", origin.text(), endpoints::REDIRECTION);
                return Ok(Verdict::Deny(redirect(context, location, Vec::new())));
            }
        }
        // While the provider is down, nothing of the login is used up.
        let provider = self.provider(context)?;
        let begun: Option<Begun> = match &state {
            None => None,
            Some(state) => {
                let place = state.id.place("login", &self.name);
                self.get(context, "login", &state.id, StoreCommand::Take(place))?
            }
        };
        let attempt = state.as_ref().map_or(0, |s| s.attempt);
        let (Some(state), Some(begun)) = (state, begun) else {
            // The way back was gone before, or long ago.
            if self.has_session(context, &cookies)? {
                return Ok(Verdict::Deny(redirect(context, here.url("/"), Vec::new())));
            }
            let wanted = Wanted { here, cookie: cookies.into_iter().next(), scope: openid() };
            return self.begin_again(login, context, wanted, here.url("/"), None, attempt);
        };
        let same_site = begun.same_site.as_deref().and_then(same_site_of);
        let is_same =
            |c: &&SessionCookie| digest(&c.id).as_bytes().ct_eq(begun.browser.as_bytes()).into();
        let Some(cookie) = cookies.iter().find(is_same) else {
            // Another tab was faster.
            if self.has_session(context, &cookies)? {
                return Ok(Verdict::Deny(redirect(context, begun.url, Vec::new())));
            }
            let wanted = Wanted { here, cookie: cookies.first().cloned(), scope: begun.scope };
            return self.begin_again(login, context, wanted, begun.url, same_site, attempt);
        };
        let Some(code) = parameters.get("code").filter(|code| !code.is_empty()) else {
            return Err(Stop::deny(context, 400, "the identity provider sent no code"));
        };
        if parameters.get("iss").is_some_and(|iss| iss != provider.issuer) {
            return Err(Stop::deny(context, 403, "the answer is of another identity provider"));
        }
        let exchanged =
            self.exchange(login, context, &provider, &state, cookie, code, &begun.scope);
        if let Err(Stop::Verdict(verdict)) = &exchanged
            && matches!(**verdict, Verdict::Error(_))
        {
            // The browser may try this URL once more.
            self.put(context, "login", &state.id, &begun, LIFE)?;
        }
        let Some(session) = exchanged? else {
            let wanted = Wanted { here, cookie: Some(cookie.clone()), scope: begun.scope };
            return self.begin_again(login, context, wanted, begun.url, same_site, attempt);
        };
        // What the browser had before the login must not be good after it.
        self.end_session(context, &cookie.id)?;
        let fresh = cookie.with_id(self.new_id(context)?);
        self.store_session(context, &fresh.id, &session)?;
        let location = self.after_login(login, context, here, &fresh, &begun.url, same_site)?;
        let cookies = self.set_cookies(login, context, here, &fresh, same_site, Some(&session));
        Ok(Verdict::Deny(redirect(context, location, cookies)))
    }

    /// Whether the browser needs no login.
    fn has_session(&self, context: &Context<'_>, cookies: &[SessionCookie]) -> Go<bool> {
        let found = self.find_session(context, cookies.to_vec())?;
        let now = context.now.as_secs();
        Ok(found.is_some_and(|f| !f.session.is_expired(now, self.margin)))
    }

    fn begin_again(
        &self,
        login: &Login,
        context: &Context<'_>,
        wanted: Wanted<'_>,
        url: String,
        same_site: Option<SameSite>,
        attempt: u8,
    ) -> Go<Verdict> {
        if attempt >= MAX_ATTEMPTS {
            let words = "the login does not come to an end; are cookies of this site accepted?";
            return Err(Stop::deny(context, 403, words));
        }
        self.begin(login, context, wanted, url, same_site, attempt + 1)
    }

    /// Tokens for a code; none when the code is not good any more.
    #[allow(clippy::too_many_arguments)]
    fn exchange(
        &self,
        login: &Login,
        context: &Context<'_>,
        provider: &Provider,
        state: &State,
        cookie: &SessionCookie,
        code: &str,
        scope: &[String],
    ) -> Go<Option<Session>> {
        let (redirect_uri, verifier) = (redirect_uri(login), verifier(&cookie.id, state));
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri.as_str()),
        ];
        if login.pkce {
            form.push(("code_verifier", verifier.as_str()));
        }
        let granted = match self.ask_as_client(context, provider, &form)? {
            Ok(granted) => granted,
            Err(Refusal::Grant) => return Ok(None),
            Err(Refusal::Down(words)) => return Err(Stop::error(context, 502, words)),
            Err(Refusal::Other(code)) => {
                let words =
                    format!("the identity provider does not let this client log in: {code}");
                let reply = Reply::json(502, words, context.request_id());
                return Err(Verdict::Error(reply).into());
            }
        };
        if let Some(token) = &granted.id_token {
            let nonce = nonce(&cookie.id, state);
            if let Err(words) = self.check_id_token(context, provider, token, Some(&nonce))? {
                return Err(Stop::deny(context, 403, words));
            }
        }
        Ok(Some(Session::new(login, granted, scope.to_vec(), context.now.as_secs())))
    }
}

fn openid() -> Vec<String> {
    distinct(["openid"])
}

/// Where the identity provider sends browsers back to.
fn redirect_uri(login: &Login) -> String {
    let origin = login.origins.first().map(|o| o.text()).unwrap_or_default();
    format!("{origin}{}", endpoints::REDIRECTION)
}

/// What ties an ID token to a login in a browser.
fn nonce(browser: &Id, state: &State) -> String {
    browser.derive(state.id.bytes(), "nonce").text()
}

/// What proves that who has the code began the login (RFC 7636).
fn verifier(browser: &Id, state: &State) -> String {
    browser.derive(state.id.bytes(), "code verifier").text()
}

/// Of a browser's id, to know it again.
pub(super) fn digest(id: &Id) -> String {
    id.derive(b"", "browser").text()
}

pub(super) fn same_site_text(same_site: SameSite) -> &'static str {
    match same_site {
        SameSite::Lax => "lax",
        SameSite::Strict => "strict",
        SameSite::None => "none",
    }
}

pub(super) fn same_site_of(text: &str) -> Option<SameSite> {
    [SameSite::Lax, SameSite::Strict, SameSite::None]
        .into_iter()
        .find(|s| same_site_text(*s) == text)
}

/// 302; 303 for requests that must not be made again elsewhere.
pub(super) fn redirect(context: &Context<'_>, location: String, cookies: Vec<String>) -> Reply {
    let status = if matches!(context.request.method(), "GET" | "HEAD" | "") { 302 } else { 303 };
    let mut headers = vec![
        ("location".to_owned(), location),
        ("cache-control".to_owned(), "no-store".to_owned()),
    ];
    headers.extend(cookies.into_iter().map(|value| ("set-cookie".to_owned(), value)));
    Reply { status, headers, body: String::new(), reason: "to log in".into() }
}

/// Whether a browser shows the answer as a page. Where it does not say so, a client that takes
/// pages is a browser.
pub(super) fn is_navigation(request: &Request) -> bool {
    let header = |name| request.header(name).filter(|v| !v.is_empty());
    if let Some(mode) = header("sec-fetch-mode") {
        return mode.eq_ignore_ascii_case("navigate");
    }
    let takes_pages = |accept: &str| {
        let accept = accept.to_ascii_lowercase();
        accept.contains("text/html") || accept.contains("*/*")
    };
    !request.is_grpc()
        && header("x-requested-with").is_none()
        && header("accept").is_none_or(takes_pages)
}

/// `insteadOfRedirect.filters`: a chain within the chain.
fn run(context: &Context<'_>, links: &[Link]) -> Go<Verdict> {
    let mut changes = Changes::clone(context.changes);
    let mut all = Modification::default();
    for link in links {
        if link.condition.as_ref().is_some_and(|c| !c.holds(context.request, &changes)) {
            continue;
        }
        let identity = all.identity.clone();
        let judged = context.within(&changes, identity.as_ref(), |inner| {
            link.filter.judge(inner, &link.arguments)
        })?;
        match judged {
            Verdict::Allow(modification) => {
                for (name, value) in &modification.headers {
                    changes.set(name.clone(), value.clone());
                }
                all.absorb(*modification);
                if link.on_allow == Then::Break {
                    break;
                }
            }
            Verdict::Fail(reply) => return Ok(Verdict::Fail(reply)),
            refused if link.on_deny == Then::Break => return Ok(refused),
            _ => {}
        }
    }
    Ok(Verdict::Allow(Box::new(all)))
}
