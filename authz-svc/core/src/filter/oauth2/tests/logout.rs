use serde_json::json;

use super::double::{Ask, Browser, Got, World};
use super::idp::query;
use super::{PAGE, logged_in};

const LOGOUT: &str = "https://a.test/.ambassador/oauth2/logout";
const XSRF: &str = "ambassador_xsrf.o.ns";

fn post(world: &mut World, browser: &mut Browser, url: &str, body: &str) -> Got {
    browser.ask(world, &Ask { method: "POST", url, headers: &[], body })
}

pub(super) fn log_out(world: &mut World, browser: &mut Browser) -> Got {
    let xsrf = browser.cookie(PAGE, XSRF).unwrap();
    post(world, browser, LOGOUT, &format!("realm=o.ns&_xsrf={xsrf}"))
}

#[test]
fn the_provider_is_told() {
    let mut world = World::new(json!({}), json!({}));
    let mut browser = logged_in(&mut world);
    let got = log_out(&mut world, &mut browser);
    assert_eq!(got.status(), 303);
    assert!(got.location().starts_with("http://idp.test/bye?id_token_hint=ey"));
    assert!(!got.location().contains("post_logout"));
    assert_eq!(world.stored("session"), 0);
    assert!(
        browser.set.iter().all(|c| c.contains("Expires=Thu, 01 Jan 1970")),
        "{:?}",
        browser.set
    );
    assert_eq!(browser.get(&mut world, PAGE).status(), 302);
}

#[test]
fn with_a_page_for_afterwards_the_session_ends_when_the_provider_is_done() {
    let mut world = World::new(json!({"postLogoutRedirectURI": "https://www.test/bye"}), json!({}));
    let mut browser = logged_in(&mut world);
    let got = log_out(&mut world, &mut browser);
    let asked = query(got.location());
    let back = "https://a.test/.ambassador/oauth2/post-logout-redirect";
    assert_eq!(asked["post_logout_redirect_uri"], back);
    assert!(browser.set.is_empty());
    assert_eq!(browser.get(&mut world, PAGE).status(), 200, "not yet");
    // A link that somebody sends logs nobody out.
    let got = browser.get(&mut world, &format!("{back}?state=x"));
    assert_eq!((got.location(), browser.set.len()), ("https://www.test/bye", 0));
    assert_eq!(world.stored("session"), 1);
    let got = browser.get(&mut world, &format!("{back}?state={}", asked["state"]));
    assert_eq!((got.status(), got.location()), (302, "https://www.test/bye"));
    assert_eq!((world.stored("session"), browser.set.len()), (0, 2));
}

#[test]
fn without_the_providers_help_the_session_ends_here() {
    for (setting, want) in
        [(json!(null), "https://a.test/"), (json!("https://w.test/"), "https://w.test/")]
    {
        let mut world = World::new(json!({"postLogoutRedirectURI": setting}), json!({}));
        world.idp.end_session = false;
        let mut browser = logged_in(&mut world);
        assert_eq!(log_out(&mut world, &mut browser).location(), want);
        assert_eq!(world.stored("session"), 0);
        let mut browser = logged_in(&mut world);
        world.idp.down = true;
        assert_eq!(log_out(&mut world, &mut browser).location(), want);
        assert_eq!(world.stored("session"), 0);
    }
}

#[test]
fn only_a_page_of_the_site_logs_out() {
    let mut world = World::new(json!({}), json!({}));
    let mut browser = logged_in(&mut world);
    let xsrf = browser.cookie(PAGE, XSRF).unwrap();
    let good = format!("_xsrf={xsrf}&realm=o.ns");
    for (url, body, status) in [
        (LOGOUT.to_owned(), String::new(), 400),
        (LOGOUT.to_owned(), format!("_xsrf={xsrf}"), 400),
        (LOGOUT.to_owned(), format!("_xsrf={xsrf}&realm=x.ns"), 400),
        (format!("{LOGOUT}?realm=o.ns"), String::new(), 403),
        (format!("{LOGOUT}?realm=o.ns&_xsrf={xsrf}"), String::new(), 403),
        (format!("{LOGOUT}?realm=o.ns"), "_xsrf=".to_owned(), 403),
        (format!("{LOGOUT}?realm=o.ns"), "_xsrf=other".to_owned(), 403),
        (format!("{LOGOUT}?realm=o.ns"), format!("_xsrf={xsrf}x"), 403),
    ] {
        assert_eq!(post(&mut world, &mut browser, &url, &body).status(), status, "{url} {body}");
    }
    let get = format!("{LOGOUT}?{good}");
    assert_eq!(browser.get(&mut world, &get).status(), 405);
    // A neighbour site that can plant a cookie cannot log out.
    browser.jar.get_mut("a.test").unwrap().insert(XSRF.to_owned(), "planted".to_owned());
    let got = post(&mut world, &mut browser, LOGOUT, "realm=o.ns&_xsrf=planted");
    assert_eq!(got.status(), 403);
    assert_eq!(world.stored("session"), 1);
    let got = browser.get(&mut world, PAGE);
    assert_eq!(got.status(), 200);
}

#[test]
fn pages_of_the_site_may_ask_by_script() {
    let mut world = World::new(json!({}), json!({}));
    let ask = |world: &mut World, origin| {
        let headers = [("origin", origin), ("access-control-request-method", "POST")];
        let ask = Ask { method: "OPTIONS", url: LOGOUT, headers: &headers, body: "" };
        let got = Browser::default().ask(world, &ask);
        (got.status(), got.header("access-control-allow-origin").map(str::to_owned))
    };
    assert_eq!(ask(&mut world, "https://a.test"), (204, Some("https://a.test".to_owned())));
    assert_eq!(ask(&mut world, "https://evil.test"), (204, None));
}
