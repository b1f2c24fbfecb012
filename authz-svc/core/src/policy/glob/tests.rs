use proptest::prelude::*;

use super::*;

fn matches(pattern: &str, text: &str) -> bool {
    Glob::new(pattern).unwrap().matches(text)
}

#[test]
fn stars_cross_separators() {
    assert!(matches("/api/*", "/api/") && matches("/api/*", "/api/v1/x"));
    assert!(!matches("/api/*", "/api"));
    assert!(matches("*.ex.org", "a.b.ex.org") && !matches("*.ex.org", "ex.org"));
    assert!(matches("a**c", "abbc") && matches("*", "") && matches("", ""));
    assert!(!matches("", "x"));
}

#[test]
fn classes_braces_and_escapes() {
    assert!(matches("/v[1-3]/x", "/v2/x") && !matches("/v[!1-3]/x", "/v2/x"));
    assert!(matches("/{a,b{c,d}}/?", "/bd/z") && !matches("/{a,b}/", "/c/"));
    assert!(matches("/\\*", "/*") && !matches("/\\*", "/x"));
    assert!(matches("[\\]a]", "]") && matches("[a-]", "-"));
    for bad in ["/a[", "[]", "{a", "a\\", "{a,{b}"] {
        assert!(Glob::new(bad).is_err(), "{bad}");
    }
    assert!(Glob::new(&"{a,b}".repeat(20)).is_err());
    assert_eq!(Glob::new("a.b").unwrap().literal(), Some("a.b"));
    assert_eq!(Glob::new("a.*").unwrap().literal(), None);
}

#[test]
fn case_matters() {
    assert!(!matches("/A", "/a"));
}

/// The definition itself, exponential.
fn reference(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], text) => text.is_empty(),
        (['*', rest @ ..], text) => (0..=text.len()).any(|n| reference(rest, &text[n..])),
        (['?', rest @ ..], [_, text @ ..]) => reference(rest, text),
        ([c, rest @ ..], [d, text @ ..]) => c == d && reference(rest, text),
        _ => false,
    }
}

proptest! {
    #[test]
    fn equals_the_definition(pattern in "[ab*?/]{0,8}", text in "[ab/]{0,10}") {
        let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
        prop_assert_eq!(matches(&pattern, &text), reference(&p, &t));
    }

    #[test]
    fn any_text_compiles_or_is_refused(pattern in "\\PC{0,24}", text in "\\PC{0,24}") {
        if let Ok(glob) = Glob::new(&pattern) {
            glob.matches(&text);
        }
    }
}

#[test]
fn says_what_it_may_match_below_a_prefix() {
    for (pattern, start, may, all) in [
        ("*", "/api/", true, true),
        ("/api/*", "/api/", true, true),
        ("/api/*", "/api/v1/", true, true),
        ("/api/admin/*", "/api/", true, false),
        ("/shop/*", "/api/", false, false),
        ("/api/", "/api/", true, false),
        ("/api", "/api/", false, false),
        ("/*/admin", "/api/", true, false),
        ("/[ab]pi/{v1,v2}/*", "/api/v2/", true, true),
        ("/?pi/*.png", "/api/", true, false),
        ("", "", true, false),
    ] {
        let glob = Glob::new(pattern).unwrap();
        assert_eq!(glob.may_match_below(start), may, "{pattern} {start}");
        assert_eq!(glob.matches_all_below(start), all, "{pattern} {start}");
    }
}
