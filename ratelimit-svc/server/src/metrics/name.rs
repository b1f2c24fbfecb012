//! Names of envoyproxy/ratelimit's statistics. Pure: knows no counter and no protocol's lines.

use std::borrow::Cow;
use std::sync::LazyLock;

use ratelimit_core::ratelimit_file::LEVEL;
use regex::Regex;

/// Before the domain in the names of a limit's counters.
const LIMIT: &str = "ratelimit.service.rate_limit.";

/// How names are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Naming {
    /// `SANITIZE_DESCRIPTOR_METRIC_DOTS`: dots in keys and values become `_`.
    pub without_dots: bool,
}

impl Naming {
    /// What comes before `.total_hits` and the like, of the limit at `path` of a domain. Levels of
    /// the path are divided by [`LEVEL`].
    pub(super) fn limit(self, domain: &str, path: &str) -> Box<str> {
        let path = if self.without_dots { path.replace('.', "_") } else { path.to_owned() };
        let name = [domain, &path.replace(LEVEL, ".")].join(".");
        format!("{LIMIT}{}", sanitized(&name)).into()
    }
}

/// Counts descriptors of a domain that has no limits.
pub(super) fn domain_not_found(domain: &str) -> Box<str> {
    format!("{LIMIT}{}.domain_not_found", sanitized(domain)).into()
}

/// By the original's rules `:` and `|` become `_`, and so do the dots of IPv4 addresses. So do
/// control characters, which there could end a line and begin one of the caller's own.
pub(super) fn sanitized(name: &str) -> String {
    static ADDRESS: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}").ok());
    let is_bad = |c: char| matches!(c, ':' | '|') || c.is_control();
    let name = name.replace(is_bad, "_");
    match ADDRESS
        .as_ref()
        .map(|a| a.replace_all(&name, |m: &regex::Captures<'_>| m[0].replace('.', "_")))
    {
        Some(Cow::Owned(changed)) => changed,
        _ => name,
    }
}

/// Tags of all statistics (`EXTRA_TAGS`) in order, ready for lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tags(Vec<(String, String)>);

impl Tags {
    /// Those with a key and a value; of equal keys the last.
    pub(crate) fn new(pairs: &[(String, String)]) -> Self {
        let bad_in_value = |c: char| matches!(c, '.' | ':' | '|' | ',' | '#') || c.is_control();
        let bad_in_key = |c: char| bad_in_value(c) || c == '=';
        let sorted: std::collections::BTreeMap<_, _> = pairs
            .iter()
            .filter(|(key, value)| !key.is_empty() && !value.is_empty())
            .map(|(key, value)| (key.replace(bad_in_key, "_"), value.replace(bad_in_value, "_")))
            .collect();
        Self(sorted.into_iter().collect())
    }

    /// As the original hangs them on a name: `.__key=value.__key=value`.
    pub(super) fn suffix(&self) -> String {
        self.0.iter().map(|(key, value)| format!(".__{key}={value}")).collect()
    }

    pub(super) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_those_of_the_original() {
        let name = |path: &str| Naming::default().limit("d", path).to_string();
        for (path, end) in [
            ("k", "k"),
            ("a_b.c\u{1f}e", "a_b.c.e"),
            ("v_10.0.0.1", "v_10_0_0_1"),
            ("v_a:b|c", "v_a_b_c"),
            ("v_x y", "v_x y"),
            ("v_1.2.3.4/24\u{1f}p", "v_1_2_3_4/24.p"),
        ] {
            assert_eq!(name(path), format!("ratelimit.service.rate_limit.d.{end}"));
        }
        let plain = Naming { without_dots: true };
        assert_eq!(
            &*plain.limit("d.x", "a_b.c\u{1f}e"),
            "ratelimit.service.rate_limit.d.x.a_b_c.e"
        );
        assert_eq!(
            &*domain_not_found("no.pe"),
            "ratelimit.service.rate_limit.no.pe.domain_not_found"
        );
    }

    #[test]
    fn tags_stand_in_order() {
        let pairs = [("zone", "a.b"), ("app", "x|y"), ("none", ""), ("", "x")];
        let pairs = pairs.map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(Tags::new(&pairs).suffix(), ".__app=x_y.__zone=a_b");
    }

    proptest! {
        /// A line is `NAME:VALUE|TYPE`; no name may hold what ends it, or the line.
        #[test]
        fn no_name_breaks_a_line(domain: String, path: String, without_dots: bool) {
            let name = Naming { without_dots }.limit(&domain, &path);
            prop_assert!(!name.contains([':', '|', '\n', '\r', '\0']), "{name:?}");
        }

        #[test]
        fn no_tag_breaks_a_line(key: String, value: String) {
            let suffix = Tags::new(&[(key, value)]).suffix();
            prop_assert!(!suffix.contains([':', '|', '\n', '\r', ',', '#']), "{suffix:?}");
        }
    }
}
