//! DNS globs: `*`, `*.x`, `x.*` or a plain name; case does not matter.

use std::fmt;

/// A hostname or DNS glob, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hostname {
    /// `*`
    Any,
    /// A plain name, maybe with a port.
    Exact(String),
    /// What follows the star of `*.x`; the star stands for at least one character.
    Suffix(String),
    /// What precedes the star of `x.*`.
    Prefix(String),
}

impl Hostname {
    /// Reads a hostname or glob.
    ///
    /// # Errors
    /// The text for the user: empty, a star in the middle, or a character no hostname has.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > 255 {
            return Err("a hostname has 1 to 255 characters".to_owned());
        }
        let text = text.to_ascii_lowercase();
        let host = if text == "*" {
            Self::Any
        } else if let Some(rest) = text.strip_prefix('*') {
            Self::Suffix(rest.to_owned())
        } else if let Some(rest) = text.strip_suffix('*') {
            Self::Prefix(rest.to_owned())
        } else {
            Self::Exact(text.clone())
        };
        let plain = match &host {
            Self::Any => "",
            Self::Exact(t) | Self::Suffix(t) | Self::Prefix(t) => t,
        };
        if plain.contains('*') {
            return Err(format!("`{text}`: a `*` may stand only at the start or at the end"));
        }
        let wrong = |c: &char| !(c.is_ascii_alphanumeric() || "-_.:[]".contains(*c));
        match plain.chars().find(wrong) {
            Some(c) => Err(format!("`{text}`: `{}` is in no hostname", c.escape_debug())),
            None => Ok(host),
        }
    }

    /// Whether some name fits both.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Suffix(_), Self::Prefix(_)) | (Self::Prefix(_), Self::Suffix(_)) => true,
            _ => self.covers(other) || other.covers(self),
        }
    }

    /// Whether every name that fits `other` fits this one.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Suffix(s), Self::Exact(b)) => b.len() > s.len() && b.ends_with(s),
            (Self::Suffix(s), Self::Suffix(t)) => t.ends_with(s),
            (Self::Prefix(p), Self::Exact(b)) => b.len() > p.len() && b.starts_with(p),
            (Self::Prefix(p), Self::Prefix(q)) => q.starts_with(p),
            _ => false,
        }
    }

    /// Whether it names a port.
    pub fn has_port(&self) -> bool {
        match self {
            Self::Exact(t) | Self::Suffix(t) => t.rsplit_once(':').is_some_and(|(host, port)| {
                (!host.contains(':') || host.ends_with(']'))
                    && port.bytes().all(|b| b.is_ascii_digit())
            }),
            Self::Any | Self::Prefix(_) => false,
        }
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(t) => f.write_str(t),
            Self::Suffix(t) => write!(f, "*{t}"),
            Self::Prefix(t) => write!(f, "{t}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Hostname {
        Hostname::parse(text).unwrap()
    }

    #[test]
    fn globs_overlap_when_a_name_fits_both() {
        for (a, b, overlap) in [
            ("*", "x.test", true),
            ("*.a", "x.a", true),
            ("*.a", "*.b.a", true),
            ("a.*", "*.b", true),
            ("*.x", ".x", false),
            ("x.a", "y.a", false),
            ("*.a", "*.b", false),
            ("a.*", "b.*", false),
            ("X.Test", "x.tesT", true),
        ] {
            assert_eq!(host(a).overlaps(&host(b)), overlap, "{a} {b}");
            assert_eq!(host(b).overlaps(&host(a)), overlap, "{b} {a}");
        }
    }

    #[test]
    fn refuses_what_is_no_hostname() {
        for text in ["", "a*b", "*a*", "a b", "a/b", "a\nb", "%x"] {
            assert!(Hostname::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn knows_ports() {
        assert!(host("a.test:8080").has_port());
        assert!(!host("a.test").has_port());
        assert!(!host("[::1]").has_port());
        assert!(host("[::1]:80").has_port());
    }
}
