//! Which origins are protected, and how they are seen from outside.

use crate::request::Request;

/// A protected origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// As browsers see it.
    outside: Parts,
    /// As the gateway sees it; none where any will do.
    inside: (Option<String>, Option<String>),
    subdomains: bool,
}

/// Scheme and authority, lower case, without the scheme's own port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) scheme: String,
    pub(super) authority: String,
}

impl Parts {
    /// Reads `SCHEME://AUTHORITY`, either of which may be `*` with `wildcards`.
    pub(super) fn parse(text: &str, wildcards: bool) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let authority = rest.strip_suffix('/').unwrap_or(rest).to_ascii_lowercase();
        let known = matches!(scheme.as_str(), "http" | "https") || wildcards && scheme == "*";
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        let good = authority.chars().all(plain) && !authority.starts_with(':')
            || wildcards && authority == "*";
        (known && good && !authority.is_empty()).then(|| Self::new(&scheme, &authority))
    }

    fn new(scheme: &str, authority: &str) -> Self {
        let port = if scheme == "https" { ":443" } else { ":80" };
        let authority = authority.strip_suffix(port).unwrap_or(authority);
        Self { scheme: scheme.to_owned(), authority: authority.to_owned() }
    }

    /// Without the port.
    pub(super) fn host(&self) -> &str {
        match self.authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => &self.authority,
        }
    }

    fn text(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }
}

/// The origin that a request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Here {
    /// Its place among the protected ones.
    pub(super) index: usize,
    /// As browsers see it: `SCHEME://AUTHORITY`.
    pub(super) origin: String,
    /// It is https.
    pub(super) secure: bool,
    /// The domain of its cookies, when they are for subdomains, too.
    pub(super) domain: Option<String>,
}

impl Here {
    /// The URL of a path with query, as browsers see it; the origin's root when it is none.
    pub(super) fn url(&self, target: &str) -> String {
        /// Longest URL that is remembered, in bytes.
        const MAX_LEN: usize = 4 << 10;
        let plain = target.bytes().all(|b| (0x21..=0x7e).contains(&b) && b != b'\\');
        if target.starts_with('/') && plain && target.len() <= MAX_LEN {
            format!("{}{target}", self.origin)
        } else {
            format!("{}/", self.origin)
        }
    }
}

impl Origin {
    pub(super) fn new(outside: Parts, inside: Option<Parts>, subdomains: bool) -> Self {
        let given = |text: String| (text != "*").then_some(text);
        let inside = inside.unwrap_or_else(|| outside.clone());
        Self { inside: (given(inside.scheme), given(inside.authority)), outside, subdomains }
    }

    /// Without scheme and port.
    pub(super) fn host(&self) -> &str {
        self.outside.host()
    }

    /// As browsers see it.
    pub(super) fn text(&self) -> String {
        self.outside.text()
    }

    fn here(&self, index: usize, authority: &str) -> Here {
        let Parts { scheme, .. } = &self.outside;
        Here {
            index,
            origin: format!("{scheme}://{authority}"),
            secure: scheme == "https",
            domain: self.subdomains.then(|| self.outside.host().to_owned()),
        }
    }

    /// Itself, as the origin at `index`.
    pub(super) fn itself(&self, index: usize) -> Here {
        self.here(index, &self.outside.authority)
    }

    /// Whether it is exactly this one.
    fn is(&self, parts: &Parts) -> bool {
        self.inside == (Some(parts.scheme.clone()), Some(parts.authority.clone()))
    }

    fn subdomain(&self, parts: &Parts) -> bool {
        self.subdomains
            && parts.scheme == self.outside.scheme
            && parts
                .authority
                .strip_suffix(self.outside.authority.as_str())
                .is_some_and(|sub| sub.len() > 1 && sub.ends_with('.'))
    }

    fn fits(&self, parts: &Parts) -> bool {
        let fits = |wanted: &Option<String>, got: &str| wanted.as_deref().is_none_or(|w| w == got);
        fits(&self.inside.0, &parts.scheme) && fits(&self.inside.1, &parts.authority)
    }
}

/// The origin of a request; none when it is not protected.
pub(super) fn find(origins: &[Origin], request: &Request) -> Option<Here> {
    let scheme = if request.scheme() == "https" { "https" } else { "http" };
    let parts = Parts::new(scheme, request.authority());
    let all = || origins.iter().enumerate();
    if let Some((i, origin)) = all().find(|(_, o)| o.is(&parts)) {
        return Some(origin.itself(i));
    }
    if let Some((i, origin)) = all().find(|(_, o)| o.subdomain(&parts)) {
        return Some(origin.here(i, &parts.authority));
    }
    all().find(|(_, o)| o.fits(&parts)).map(|(i, o)| o.itself(i))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scheme_and_authority_make_an_origin() {
        let text = |t| Parts::parse(t, false).map(|p| p.text());
        assert_eq!(text("HTTPS://A.Test:443/").as_deref(), Some("https://a.test"));
        assert_eq!(text("http://[::1]:8080").as_deref(), Some("http://[::1]:8080"));
        for bad in
            ["a.test", "ftp://a", "https://", "https://a/b", "https://u@a", "*://*", "https://a?b"]
        {
            assert_eq!(text(bad), None, "{bad}");
        }
        assert!(Parts::parse("*://*", true).is_some());
    }
}
