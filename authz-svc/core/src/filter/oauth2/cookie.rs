//! The cookies of a browser: `ambassador_session.NAME.NAMESPACE`, which scripts cannot read, and
//! `ambassador_xsrf.NAME.NAMESPACE`, which the page puts into its logout form.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::seal::Id;
use crate::arguments::SameSite;

/// Most cookies of one name that are looked at: one for the host and some for its parent domains.
const MAX_SAME: usize = 3;
/// Logins that may begin in [`WINDOW`] until a browser is told that they do not come to an end.
const MAX_STARTS: u32 = 10;
/// Seconds.
const WINDOW: u64 = 60;

/// What the session cookie says: `ID.STARTS.SINCE`.
#[derive(Clone, Debug)]
pub(super) struct SessionCookie {
    /// Of the session, or of a browser on its way to one.
    pub(super) id: Id,
    /// Logins that began.
    starts: u32,
    /// The first of them, in seconds since the Unix epoch.
    since: u64,
}

impl SessionCookie {
    pub(super) fn new(id: Id) -> Self {
        Self { id, starts: 0, since: 0 }
    }

    /// Reads a value; none unless it is exactly one of ours.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let mut parts = value.split('.');
        let (id, starts, since) = (parts.next()?, parts.next()?, parts.next()?);
        let number = |text: &str| {
            let plain = text.len() <= 19 && text.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| text.parse::<u64>().ok()).flatten()
        };
        let starts = u32::try_from(number(starts)?).ok()?;
        let since = number(since)?;
        parts.next().is_none().then_some(())?;
        Some(Self { id: Id::parse(id)?, starts, since })
    }

    /// The ones of this name in a `Cookie` header, in its order.
    pub(super) fn all(header: Option<&str>, name: &str) -> Vec<Self> {
        values(header, name).filter_map(Self::parse).take(MAX_SAME).collect()
    }

    pub(super) fn text(&self) -> String {
        format!("{}.{}.{}", self.id.text(), self.starts, self.since)
    }

    /// After one more login began; none when there were too many.
    pub(super) fn started(mut self, now: Duration) -> Option<Self> {
        let now = now.as_secs();
        if now.saturating_sub(self.since) >= WINDOW || self.since > now {
            (self.starts, self.since) = (0, now);
        }
        self.starts = self.starts.saturating_add(1);
        (self.starts <= MAX_STARTS).then_some(self)
    }

    /// The same history with another id.
    pub(super) fn with_id(&self, id: Id) -> Self {
        Self { id, ..self.clone() }
    }

    /// What the page must send to log out.
    pub(super) fn xsrf(&self) -> String {
        self.id.derive(b"", "xsrf").text()
    }
}

/// The values of a cookie, in their order.
pub(super) fn values<'a>(
    header: Option<&'a str>,
    name: &'a str,
) -> impl Iterator<Item = &'a str> + 'a {
    header.unwrap_or_default().split(';').filter_map(move |pair| {
        let (key, value) = pair.split_once('=')?;
        let value = value.trim();
        let unquoted = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
        (key.trim() == name).then_some(unquoted.unwrap_or(value))
    })
}

/// How cookies of an origin are set.
#[derive(Clone, Debug)]
pub(super) struct Attributes {
    /// With subdomains: the domain.
    pub(super) domain: Option<String>,
    /// The origin is https.
    pub(super) secure: bool,
    pub(super) same_site: Option<SameSite>,
    /// Since the Unix epoch; none: when the browser is closed.
    pub(super) expires: Option<Duration>,
}

impl Attributes {
    /// `Set-Cookie`.
    pub(super) fn set(&self, name: &str, value: &str, http_only: bool) -> String {
        let mut text = format!("{name}={value}; Path=/");
        if let Some(domain) = &self.domain {
            text += &format!("; Domain={domain}");
        }
        if let Some(date) = self.expires.and_then(date) {
            text += &format!("; Expires={date}");
        }
        if http_only {
            text += "; HttpOnly";
        }
        if self.secure {
            text += "; Secure";
        }
        match self.same_site {
            None => {}
            Some(SameSite::Lax) => text += "; SameSite=Lax",
            Some(SameSite::Strict) => text += "; SameSite=Strict",
            Some(SameSite::None) => text += "; SameSite=None",
        }
        text
    }
}

/// As HTTP writes it (RFC 9110 section 5.6.7).
fn date(time: Duration) -> Option<String> {
    let seconds = i64::try_from(time.as_secs()).ok()?;
    let time = Timestamp::from_second(seconds).ok()?;
    DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok()
}
