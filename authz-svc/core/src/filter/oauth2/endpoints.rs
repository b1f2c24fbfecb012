//! Paths that are answered before any rule, on hosts that are protected origins of some filter.

use form_urlencoded::parse;

use super::login::State;
use super::origin::{self, Here};
use super::{Go, Login, OAuth2, judged};
use crate::context::Context;
use crate::filter::{Judged, Verdict};
use crate::flow::Snapshot;
use crate::reply::Reply;
use crate::request::Request;

/// Where the identity provider sends browsers back to.
pub(super) const REDIRECTION: &str = "/.ambassador/oauth2/redirection-endpoint";
/// Where pages send their logout form.
const LOGOUT: &str = "/.ambassador/oauth2/logout";
/// Where further origins get their cookies.
pub(super) const MULTICOOKIE: &str = "/.ambassador/oauth2/multicookie";
/// Where the identity provider sends browsers back to after a logout.
pub(super) const POST_LOGOUT: &str = "/.ambassador/oauth2/post-logout-redirect";
/// Most parameters that are read.
const MAX_PARAMETERS: usize = 64;
/// Longest form or query that is read, in bytes.
const MAX_LEN: usize = 64 << 10;

/// One of the paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// The way back from the identity provider.
    Redirection,
    /// A logout begins.
    Logout,
    /// A further origin gets its cookies.
    Multicookie,
    /// A logout ends.
    PostLogout,
}

impl Endpoint {
    /// The one that a request is for, if it came to a protected origin.
    pub(crate) fn of(snapshot: &Snapshot, request: &Request) -> Option<Self> {
        let endpoint = match request.path() {
            REDIRECTION => Self::Redirection,
            LOGOUT => Self::Logout,
            MULTICOOKIE => Self::Multicookie,
            POST_LOGOUT => Self::PostLogout,
            _ => return None,
        };
        filters(snapshot, request).next().is_some().then_some(endpoint)
    }

    /// Answers.
    ///
    /// # Errors
    /// While an answer of the edge is not there.
    pub(crate) fn answer(self, context: &Context<'_>) -> Judged {
        judged(match self {
            Self::Redirection => redirection(context),
            Self::Logout => super::logout::begin(context),
            Self::Multicookie => super::multicookie::answer(context),
            Self::PostLogout => super::logout::end(context),
        })
    }
}

/// A filter that protects the origin of a request.
pub(super) struct Protecting<'a> {
    pub(super) filter: &'a OAuth2,
    pub(super) login: &'a Login,
    pub(super) here: Here,
}

/// The filters that protect the origin of the request, in any order.
pub(super) fn protecting<'a>(context: &Context<'a>) -> impl Iterator<Item = Protecting<'a>> {
    filters(context.snapshot, context.request)
}

/// The filters that protect the origin of a request, in any order.
fn filters<'a>(
    snapshot: &'a Snapshot,
    request: &'a Request,
) -> impl Iterator<Item = Protecting<'a>> {
    let judges = snapshot.filters.values().filter_map(|f| f.judge.as_ref());
    judges.filter_map(|judge| {
        let filter = judge.as_oauth2()?;
        let login = filter.login()?;
        let here = origin::find(&login.origins, request)?;
        Some(Protecting { filter, login, here })
    })
}

/// The filter of this name (`NAME.NAMESPACE`), if it protects the origin of the request.
pub(super) fn named<'a>(context: &Context<'a>, name: &str) -> Option<Protecting<'a>> {
    let (name, namespace) = name.rsplit_once('.')?;
    let key = (namespace.to_owned(), name.to_owned());
    let filter = context.snapshot.filters.get(&key)?.judge.as_ref()?.as_oauth2()?;
    let login = filter.login()?;
    let here = origin::find(&login.origins, context.request)?;
    Some(Protecting { filter, login, here })
}

/// The only filter that protects the origin of the request.
fn only<'a>(context: &Context<'a>) -> Option<Protecting<'a>> {
    let mut all = protecting(context);
    let first = all.next()?;
    all.next().is_none().then_some(first)
}

/// The filter that a request is for by its `state`, and the state.
pub(super) fn by_state<'a>(
    context: &Context<'a>,
    parameters: &Parameters,
) -> Option<(Protecting<'a>, Option<State>)> {
    let state = parameters.get("state").and_then(State::parse);
    match state.as_ref().and_then(|s| named(context, &s.filter)) {
        Some(found) => Some((found, state)),
        None => only(context).map(|found| (found, None)),
    }
}

fn redirection(context: &Context<'_>) -> Go<Verdict> {
    if let Some(reply) = wrong_method(context, &["GET", "HEAD"]) {
        return Ok(reply);
    }
    let parameters = Parameters::of_query(context.request);
    match by_state(context, &parameters) {
        Some((Protecting { filter, login, here }, state)) => {
            filter.come_back(login, context, &here, &parameters, state)
        }
        None => Ok(bad(context, "the state is not one of this site")),
    }
}

/// 400.
pub(super) fn bad(context: &Context<'_>, words: &'static str) -> Verdict {
    Verdict::Deny(Reply::json(400, words, context.request_id()))
}

/// 405, when the request has none of these methods.
pub(super) fn wrong_method(context: &Context<'_>, methods: &[&str]) -> Option<Verdict> {
    let method = context.request.method();
    // An empty one is GET: some clients of this service leave it out.
    if methods.contains(&method) || method.is_empty() && methods.contains(&"GET") {
        return None;
    }
    let reply = Reply::json(405, "this method is not for this path", context.request_id());
    Some(Verdict::Deny(reply.with_header("allow", methods.join(", "))))
}

/// The parameters of a query or a form; of several with one name the first counts.
#[derive(Debug, Default)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn read(text: &[u8]) -> Self {
        if text.len() > MAX_LEN {
            return Self::default();
        }
        let pairs = parse(text).take(MAX_PARAMETERS);
        Self(pairs.map(|(k, v)| (k.into_owned(), v.into_owned())).collect())
    }

    pub(super) fn of_query(request: &Request) -> Self {
        Self::read(request.query().unwrap_or_default().as_bytes())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }
}

/// A URL with more parameters; a fragment is left out.
pub(super) fn with_query(url: &str, query: &str) -> String {
    let url = url.split('#').next().unwrap_or_default();
    match url.split_once('?') {
        None => format!("{url}?{query}"),
        Some((_, "")) => format!("{url}{query}"),
        Some(_) => format!("{url}&{query}"),
    }
}

/// Words of others, as they may be shown: short, and without control characters.
pub(super) fn plain(text: &str) -> String {
    let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300);
    shown.collect::<String>().trim_end_matches([' ', ':']).to_owned()
}

/// A page that goes to the same URL once more. Cookies with `SameSite=Strict` come with a link of
/// one's own pages only.
pub(super) fn bounce(context: &Context<'_>, here: &Here) -> Reply {
    let target = context.request.path_and_query();
    let join = if target.contains('?') { '&' } else { '?' };
    page(&format!("{}{join}again=1", here.url(target)))
}

/// A page that goes to a URL.
pub(super) fn page(url: &str) -> Reply {
    let escaped: String = url
        .chars()
        .map(|c| match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            '\'' => "&#39;".to_owned(),
            c => c.to_string(),
        })
        .collect();
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Reply {
        status: 200,
        headers: vec![
            header("content-type", "text/html; charset=utf-8"),
            header("cache-control", "no-store"),
            header("content-security-policy", "default-src 'none'"),
            header("referrer-policy", "no-referrer"),
        ],
        body: format!(
            "<!DOCTYPE html><meta http-equiv=\"refresh\" content=\"0;url={escaped}\">\
             <title>…</title><a href=\"{escaped}\">…</a>\n"
        ),
        reason: "to come again with cookies".into(),
    }
}
