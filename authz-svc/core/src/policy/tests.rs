use proptest::prelude::*;
use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest, attribute_context};

use super::*;

const OPEN: Chain = Chain::Links(Vec::new());

/// A rule that guards: it is broken, so nothing passes.
fn rule(host: &str, path: &str, open: bool) -> Arc<Rule> {
    Arc::new(Rule {
        name: format!("{host}{path}"),
        host: Glob::new(host).unwrap(),
        path: Glob::new(path).unwrap(),
        chain: if open { OPEN } else { Chain::Broken("guarded".to_owned()) },
        shadow: false,
        failure_mode_allow: false,
    })
}

fn request(host: &str, path: &str) -> Request {
    let http = attribute_context::HttpRequest {
        host: host.to_owned(),
        path: path.to_owned(),
        ..Default::default()
    };
    let request = attribute_context::Request { http: Some(http), time: None };
    Request::from_check(CheckRequest {
        attributes: Some(AttributeContext { request: Some(request), ..Default::default() }),
    })
    .unwrap()
}

fn find(rules: &[Arc<Rule>], host: &str, path: &str) -> Found {
    Rules::new(rules.to_vec()).find_index(&request(host, path), DefaultDecision::Allow)
}

#[test]
fn hosts_are_found_in_each_spelling() {
    let rules = [rule("a.test", "*", false), rule("*.b.test", "*", false)];
    for host in ["a.test", "A.Test", "a.test:8443", "a.test.", "a.test.:80", "a.test:"] {
        assert_eq!(find(&rules, host, "/"), Found::Rule(0), "{host}");
    }
    for host in ["x.b.test", "y.x.b.test:1", ".b.test", "x.B.test."] {
        assert_eq!(find(&rules, host, "/"), Found::Rule(1), "{host}");
    }
    for host in ["b.test", "xa.test", "a.test.c", "", ":", "[::1]:80"] {
        assert_eq!(find(&rules, host, "/"), Found::None, "{host}");
    }
}

#[test]
fn an_open_rule_does_not_open_what_another_reading_guards() {
    let rules =
        [rule("*", "/admin/*", false), rule("*", "/keys/*", false), rule("*", "/login", true)];
    for path in ["/admin%2fx", "/%61dmin/x", "/y/..;/admin/x", "//admin/x", "/login/../admin/x"] {
        assert_eq!(find(&rules, "a", path), Found::Rule(0), "{path}");
    }
    assert_eq!(find(&rules, "a", "/admin/%2e%2e/login"), Found::Rule(0), "as it came");
    assert_eq!(find(&rules, "a", "/admin/..%2fkeys/x"), Found::Ambiguous);
    assert_eq!(find(&rules, "a", "/%61dmin/%ff"), Found::Ambiguous, "malformed, and it matters");
    assert_eq!(find(&rules, "a", "/other/%ff"), Found::None, "malformed, and it does not");
    assert_eq!(find(&rules, "a", "/lo%67in"), Found::None, "open both ways");
    assert_eq!(find(&rules, "a", "/admin/a%20b"), Found::Rule(0));
    assert_eq!(find(&rules, "a", &"/x".repeat(40_000)), Found::TooLong);
}

#[test]
fn a_default_that_denies_is_a_guard() {
    let rules = Rules::new(vec![rule("*", "/open/*", true)]);
    let find = |path| rules.find_index(&request("a", path), DefaultDecision::Deny);
    assert_eq!(find("/open/x"), Found::Rule(0));
    assert_eq!(find("/open/..%2fsecret"), Found::None);
}

fn patterns() -> impl Strategy<Value = (String, String)> {
    let any = |list: &[&'static str]| prop::sample::select(list.to_vec()).prop_map(str::to_owned);
    let host =
        any(&["a.t", "b.t", "*", "*.t", "*.a.t", "*b", "{a,b,*.a}.t", "[ab]?t", "a*", "?.a.t"]);
    let path = prop_oneof![
        "/[ab]{0,3}\\*",
        "/[ab]{0,3}",
        "/[ab]{0,2}\\*[ab/]{0,2}",
        "\\*[ab]",
        any(&["{/a,/b*,*b}", "/?", "/[!a]b", "/a?*", "*", ""]),
    ];
    (host, path)
}

proptest! {
    #[test]
    fn the_index_finds_what_a_look_at_each_rule_finds(
        patterns in prop::collection::vec(patterns(), 0..30),
        hosts in prop::collection::vec("[ab]\\.t|[ab]\\.[ab]\\.t|[ab]|", 1..3),
        path in "/[ab/]{0,5}|",
    ) {
        let rules: Vec<_> = patterns.iter().map(|(h, p)| rule(h, p, false)).collect();
        let linear = rules
            .iter()
            .position(|r| r.path.matches(&path) && hosts.iter().any(|h| r.host.matches(h)));
        let index = Index::new(rules.iter().map(|r| (&r.host, &r.path)));
        let hosts = hosts.iter().map(String::as_str);
        prop_assert_eq!(index.first(hosts, &path, |i| rules[i].path.matches(&path)), linear);
    }

    /// Each byte of a guarded path as it is or encoded, with detours that servers resolve.
    #[test]
    fn no_spelling_of_a_guarded_path_is_open(
        encoded in prop::collection::vec(any::<bool>(), 12),
        upper in any::<bool>(),
        detours in prop::collection::vec(
            prop::sample::select(vec![
                "", "/.", "/x/..", "//", "/x;p/..", "/%2e", "/x/%2E%2e", "\\", "%5c", "/y/..;q", ";p",
                "/x%2f..", "/x\\..", "%2f",
            ]),
            3,
        ),
    ) {
        let rules = [rule("*", "/admin/keys", false), rule("*", "*", true)];
        let mut spelling = String::new();
        for (i, (c, encoded)) in "/admin/keys".chars().zip(encoded).enumerate() {
            if c == '/' {
                spelling.push_str(detours[usize::from(i > 0)]);
            }
            match (encoded && i > 0, upper) {
                (false, _) => spelling.push(c),
                (true, true) => spelling.push_str(&format!("%{:02X}", u32::from(c))),
                (true, false) => spelling.push_str(&format!("%{:02x}", u32::from(c))),
            }
        }
        if detours[2].starts_with(';') {
            spelling.push_str(detours[2]);
        }
        prop_assert_eq!(find(&rules, "a", &spelling), Found::Rule(0), "{}", spelling);
    }
}
