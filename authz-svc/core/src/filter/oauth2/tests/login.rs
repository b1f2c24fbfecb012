use serde_json::json;

use super::double::{Ask, Browser, Got, World, host, request};
use super::idp::{ISSUER, query, sign};
use super::{CALLBACK, PAGE, logged_in};
use crate::Outcome;

const COOKIE: &str = "ambassador_session.o.ns";

#[test]
fn a_browser_logs_in_and_comes_back_to_its_page() {
    let mut world = World::new(
        json!({"injectRequestHeaders": [
            {"name": "X-User", "value": "{{.idToken.Claims.name}} {{.token.Claims.sub}}"}]}),
        json!({"scope": ["orders"]}),
    );
    assert!(world.found.is_empty(), "{:?}", world.found);
    let mut browser = Browser::default();
    let got = browser.get(&mut world, PAGE);
    assert_eq!(got.status(), 302);
    let asked = query(got.location());
    assert_eq!(asked["redirect_uri"], CALLBACK);
    assert_eq!((asked["scope"].as_str(), asked["client_id"].as_str()), ("openid orders", "cl"));
    assert!(!asked.contains_key("code_challenge"));
    assert_eq!(browser.set.len(), 2);
    assert!(browser.set[0].starts_with("ambassador_session.o.ns="), "{:?}", browser.set);
    assert!(browser.set[0].ends_with("; Path=/; HttpOnly; Secure"), "{:?}", browser.set);
    assert!(browser.set[1].starts_with("ambassador_xsrf.o.ns="), "{:?}", browser.set);
    assert!(browser.set[1].ends_with("; Path=/; Secure"), "{:?}", browser.set);
    let before = browser.cookie(PAGE, COOKIE).unwrap();
    let back = world.idp.authorize(got.location());
    let got = browser.get(&mut world, &back);
    assert_eq!((got.status(), got.location()), (302, PAGE));
    assert!(browser.set[0].contains("; Expires="), "{:?}", browser.set);
    assert_ne!(browser.cookie(PAGE, COOKIE).unwrap(), before);
    let Got::Allowed(m) = browser.get(&mut world, PAGE) else { panic!("no session") };
    let header = |name: &str| m.set.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    assert_eq!(header("x-user"), Some("Ann ann"));
    assert!(header("authorization").unwrap().starts_with("Bearer ey"));
    assert_eq!(m.metadata["identity"], "ann");
    assert!(m.response_headers.is_empty());
    let (authorization, form) = &world.idp.calls[0];
    assert_eq!(authorization.as_deref(), Some("Basic Y2w6czM="));
    assert_eq!((form["code"].as_str(), form["redirect_uri"].as_str()), ("code-1", CALLBACK));
}

#[test]
fn what_the_store_has_tells_nothing() {
    let mut world = World::new(json!({}), json!({}));
    let browser = logged_in(&mut world);
    let cookie = browser.cookie(PAGE, COOKIE).unwrap();
    let id = cookie.split('.').next().unwrap();
    let refresh = world.idp.refresh_token.clone();
    for (key, (value, _)) in &world.store {
        assert!(!key.contains(id));
        for secret in [id, refresh.as_str(), "access_token", "ann"] {
            assert!(!value.windows(secret.len()).any(|w| w == secret.as_bytes()), "{key}");
        }
    }
    assert_eq!(world.stored("login"), 0, "a state is taken");
    assert_eq!(world.stored("session"), 1);
}

#[test]
fn pkce_is_for_who_asks_for_it() {
    let mut world = World::new(json!({"pkce": {"codeChallengeMethod": "S256"}}), json!({}));
    logged_in(&mut world);
    assert_eq!(world.idp.calls[0].1["code_verifier"].len(), 43);
}

#[test]
fn tabs_do_not_disturb_each_other() {
    let mut world = World::new(json!({}), json!({}));
    let mut browser = Browser::default();
    let (one, two) = ("https://a.test/one", "https://a.test/two");
    let first = browser.get(&mut world, one).location().to_owned();
    let second = browser.get(&mut world, two).location().to_owned();
    let (first, second) = (world.idp.authorize(&first), world.idp.authorize(&second));
    assert_eq!(browser.get(&mut world, &second).location(), two);
    assert_eq!(browser.get(&mut world, &first).location(), one, "the session of the other tab");
    assert_eq!(browser.get(&mut world, one).status(), 200);
    assert_eq!(world.idp.calls.len(), 1);
}

#[test]
fn tabs_that_begin_at_once_all_come_to_their_pages() {
    let mut world = World::new(json!({}), json!({}));
    let mut browser = Browser::default();
    let mut locations = Vec::new();
    for path in ["/one", "/two", "/three"] {
        let mut tab = Browser::default();
        let url = format!("https://a.test{path}");
        locations.push((tab.get(&mut world, &url).location().to_owned(), url));
        browser.jar.extend(tab.jar);
    }
    for (location, url) in locations {
        let mut at = location;
        while at.starts_with(ISSUER) {
            let back = world.idp.authorize(&at);
            at = browser.get(&mut world, &back).location().to_owned();
        }
        assert_eq!(at, url);
        assert_eq!(browser.get(&mut world, &url).status(), 200);
    }
}

#[test]
fn a_planted_cookie_is_worth_nothing_after_the_login() {
    let mut world = World::new(json!({}), json!({}));
    let mut attacker = Browser::default();
    attacker.get(&mut world, PAGE);
    let mut victim = attacker.clone();
    assert_eq!(victim.follow(&mut world, PAGE).status(), 200);
    assert_eq!(attacker.get(&mut world, PAGE).status(), 302);
    // Nor is an old session's after the next login.
    let old = victim.clone();
    let mut world2 = world;
    let state = {
        world2.now += 100;
        world2.idp.refresh_tokens = false;
        let mut other = World::new(json!({}), json!({"scope": ["more"]}));
        other.store = std::mem::take(&mut world2.store);
        other.now = world2.now;
        other
    };
    let mut world = state;
    assert_eq!(victim.follow(&mut world, PAGE).status(), 200);
    assert_eq!(old.clone().get(&mut world, PAGE).status(), 302);
}

#[test]
fn a_way_back_is_good_once_and_in_one_browser() {
    let mut world = World::new(json!({}), json!({}));
    let mut browser = Browser::default();
    let location = browser.get(&mut world, PAGE).location().to_owned();
    let back = world.idp.authorize(&location);
    // Somebody else's browser begins anew, and does not get the session.
    let mut other = Browser::default();
    let got = other.get(&mut world, &back);
    assert!(got.location().starts_with("http://idp.test/auth?"), "{got:?}");
    assert!(world.idp.calls.is_empty());
    assert_eq!(world.stored("session"), 0);
    // It used the state up: the right browser begins anew, too, and comes to the site.
    let got = browser.follow(&mut world, &back);
    assert_eq!(got.status(), 200);
    let calls = world.idp.calls.len();
    let got = browser.get(&mut world, &back);
    assert_eq!(got.location(), "https://a.test/", "a replay changes nothing");
    assert_eq!(world.idp.calls.len(), calls);
}

#[test]
fn bad_states_begin_anew_and_other_bad_ways_back_end() {
    let mut world = World::new(json!({}), json!({}));
    for state in ["", "x", "AAAA.0-0.o.ns", &format!("{}.0-0.o.ns", "A".repeat(43)), "%ff%00"] {
        let got = Browser::default().get(&mut world, &format!("{CALLBACK}?code=c&state={state}"));
        assert_eq!(got.status(), 302, "{state}");
        assert!(got.location().starts_with("http://idp.test/auth?"), "{state}");
    }
    let refused =
        format!("{CALLBACK}?error=access_denied&error_description=no%0d%0away<b>&state=x");
    let Got::Reply(reply) = Browser::default().get(&mut world, &refused) else { panic!() };
    assert_eq!(reply.status, 403);
    assert!(reply.reason.contains("access_denied: no  way<b>"), "{}", reply.reason);
    assert!(reply.headers.contains(&("content-type".to_owned(), "application/json".to_owned())));
    let post = Ask { method: "POST", url: CALLBACK, headers: &[], body: "" };
    assert_eq!(Browser::default().ask(&mut world, &post).status(), 405);
    let elsewhere = CALLBACK.replace("a.test", "b.test");
    let got = Browser::default().get(&mut world, &elsewhere);
    assert_eq!(got.status(), 500, "no protected origin: the rules judge");
    let mut browser = Browser::default();
    let location = browser.get(&mut world, PAGE).location().to_owned();
    let back = format!("{}&iss=http://evil.test", world.idp.authorize(&location));
    assert_eq!(browser.get(&mut world, &back).status(), 403);
    let location = browser.get(&mut world, PAGE).location().to_owned();
    let back = world.idp.authorize(&location).replace("code=", "kode=");
    assert_eq!(browser.get(&mut world, &back).status(), 400);
}

#[test]
fn nobody_is_sent_elsewhere() {
    let mut world = World::new(json!({}), json!({}));
    for path in
        ["//evil.test/", "/\\evil.test", "/..//evil.test", "/@evil.test", "/%0d%0aLocation:x"]
    {
        let mut browser = Browser::default();
        let location =
            browser.get(&mut world, &format!("https://a.test{path}")).location().to_owned();
        let back = world.idp.authorize(&location);
        let got = browser.get(&mut world, &back);
        assert!(got.location().starts_with("https://a.test/"), "{path}: {}", got.location());
        assert!(!got.location().contains(['\\', '\r', '\n']));
    }
    // A target that is not a path, as of CONNECT or with an absolute form.
    let ask = Ask { method: "GET", url: "https://a.test/", headers: &[], body: "" };
    let mut check = request(&ask).check().clone();
    let http = check.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap();
    http.path = "https://evil.test/".to_owned();
    let mut browser = Browser::default();
    let outcome = world.run(crate::Request::from_check(check).unwrap());
    let location = browser.take(ask.url, outcome).location().to_owned();
    let back = world.idp.authorize(&location);
    assert_eq!(browser.get(&mut world, &back).location(), "https://a.test/");
}

#[test]
fn a_browser_without_cookies_does_not_go_round_for_ever() {
    let mut world = World::new(json!({}), json!({}));
    let mut url = PAGE.to_owned();
    for round in 0.. {
        assert!(round < 5, "no end");
        let got = Browser::default().get(&mut world, &url);
        if got.status() == 403 {
            break;
        }
        url = world.idp.authorize(got.location());
    }
    // Nor one whose sessions get lost.
    let mut browser = Browser::default();
    let mut rounds = 0;
    loop {
        let got = browser.get(&mut world, PAGE);
        if got.status() == 403 {
            break;
        }
        let back = world.idp.authorize(got.location());
        assert_eq!(browser.get(&mut world, &back).location(), PAGE);
        world.store.clear();
        rounds += 1;
        assert!(rounds <= 10, "no end");
    }
    world.now += 60;
    assert_eq!(browser.follow(&mut world, PAGE).status(), 200, "a minute later all is good");
}

#[test]
fn cookies_that_are_not_ours_are_no_sessions() {
    let mut world = World::new(json!({}), json!({}));
    let good = logged_in(&mut world).cookie(PAGE, COOKIE).unwrap();
    let ask = |world: &mut World, cookie: &str| {
        let text = format!("a=b; {COOKIE}={cookie}");
        let headers = [("cookie", text.as_str())];
        world.run(request(&Ask { method: "GET", url: PAGE, headers: &headers, body: "" }))
    };
    assert!(matches!(ask(&mut world, &good), Outcome::Allow(_)));
    assert!(matches!(ask(&mut world, &format!("\"{good}\"")), Outcome::Allow(_)));
    let long = "A".repeat(100_000);
    let other = good.replace(&good[..3], if good.starts_with("AAA") { "BBB" } else { "AAA" });
    let padded = good.replacen('.', "=.", 1);
    for bad in [
        "",
        "x",
        &good[1..],
        &format!("{good}.1"),
        &other,
        &padded,
        &long,
        "a.b.c",
        "..",
        &"9".repeat(43),
    ] {
        assert!(matches!(ask(&mut world, bad), Outcome::Deny(r) if r.status == 302), "{bad}");
    }
    // Of several with the name, as with one for a parent domain, the good one counts.
    let several = format!("{other}; {COOKIE}={good}");
    assert!(matches!(ask(&mut world, &several), Outcome::Allow(_)));
}

#[test]
fn a_session_is_of_one_filter_and_one_client() {
    let mut world = World::new(json!({}), json!({}));
    let browser = logged_in(&mut world);
    let mut other = World::new(json!({"clientID": "other"}), json!({}));
    other.store = world.store.clone();
    assert_eq!(browser.clone().get(&mut other, PAGE).status(), 302);
    let mut same = World::new(json!({"secret": "rotated"}), json!({}));
    same.store = world.store;
    assert_eq!(browser.clone().get(&mut same, PAGE).status(), 200);
}

#[test]
fn who_shows_no_pages_gets_no_cookies_and_keeps_nothing() {
    let mut world = World::new(json!({}), json!({}));
    for headers in [
        vec![("accept", "application/json")],
        vec![("x-requested-with", "XMLHttpRequest")],
        vec![("sec-fetch-mode", "cors")],
        vec![("content-type", "application/grpc")],
    ] {
        for method in ["GET", "POST"] {
            let ask = Ask { method, url: PAGE, headers: &headers, body: "" };
            let mut browser = Browser::default();
            let got = browser.ask(&mut world, &ask);
            assert_eq!(got.status(), if method == "GET" { 302 } else { 303 }, "{headers:?}");
            assert!(browser.set.is_empty() && world.store.is_empty(), "{headers:?}");
        }
    }
    let ask =
        Ask { method: "POST", url: PAGE, headers: &[("sec-fetch-mode", "navigate")], body: "" };
    let mut browser = Browser::default();
    assert_eq!(browser.ask(&mut world, &ask).status(), 303);
    assert_eq!(browser.set.len(), 2);
}

#[test]
fn instead_of_a_redirect() {
    let instead = json!({"insteadOfRedirect": {"httpStatusCode": 401,
        "ifRequestHeader": {"name": "x-api"}}});
    let mut world = World::new(json!({}), instead);
    let api = Ask { method: "GET", url: PAGE, headers: &[("x-api", "1")], body: "" };
    let mut browser = Browser::default();
    let got = browser.ask(&mut world, &api);
    assert_eq!(got.status(), 401);
    assert!(got.header("www-authenticate").is_none() && browser.set.is_empty());
    assert!(world.store.is_empty());
    assert_eq!(browser.get(&mut world, PAGE).status(), 302);
    let mut world = World::new(json!({}), json!({"insteadOfRedirect": {}}));
    assert_eq!(Browser::default().get(&mut world, PAGE).status(), 403);
}

#[test]
fn instead_of_a_redirect_other_filters_judge() {
    let jwt = json!({"JWT": {"validAlgorithms": ["none"],
        "injectRequestHeaders": [{"name": "x-sub", "value": "{{.token.Claims.sub}}"}]}});
    let oauth = json!({"OAuth2": {"authorizationURL": ISSUER, "clientID": "cl", "secret": "s",
        "protectedOrigins": [{"origin": "https://a.test"}]}});
    let rules = json!([{"filters": [{"name": "o", "arguments": {"insteadOfRedirect": {
        "filters": [{"name": "j"}]}}}]}]);
    let mut world = World::of(&[("o", oauth), ("j", jwt)], &rules);
    // {"alg":"none"}.{"sub":"bob"}.
    let headers = [("authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJib2IifQ.")];
    let got = Browser::default()
        .ask(&mut world, &Ask { method: "GET", url: PAGE, headers: &headers, body: "" });
    assert_eq!(got.header("x-sub"), Some("bob"), "{got:?}");
    assert_eq!(Browser::default().get(&mut world, PAGE).status(), 401);
}

#[test]
fn a_clients_own_authorization_does_not_count() {
    let mut world = World::new(json!({}), json!({}));
    let token = format!("Bearer {}", sign(&json!({"iss": ISSUER, "sub": "eve"})));
    let headers = [("authorization", token.as_str())];
    let ask = Ask { method: "GET", url: PAGE, headers: &headers, body: "" };
    assert_eq!(Browser::default().ask(&mut world, &ask).status(), 302);
    let mut browser = logged_in(&mut world);
    let got = browser.ask(&mut world, &ask);
    assert_ne!(got.header("authorization").unwrap(), token);
}

#[test]
fn more_scope_is_asked_for_once() {
    let mut world = World::new(json!({}), json!({"scope": ["a", "offline_access"]}));
    let mut browser = logged_in(&mut world);
    let before = browser.cookie(PAGE, COOKIE);
    let mut more = World::new(json!({}), json!({"scope": ["b"]}));
    (more.store, more.idp) = (world.store, world.idp);
    let got = browser.get(&mut more, PAGE);
    assert_eq!(query(got.location())["scope"], "openid a offline_access b");
    let id = |c: &Option<String>| c.as_ref().unwrap().split('.').next().unwrap().to_owned();
    assert_eq!(id(&browser.cookie(PAGE, COOKIE)), id(&before), "the session stays meanwhile");
    more.idp.never = vec!["b".to_owned()];
    assert_eq!(browser.follow(&mut more, PAGE).status(), 403, "asked, and not granted");
    let mut world = World::new(json!({}), json!({"scope": ["a"]}));
    (world.store, world.idp) = (more.store, more.idp);
    assert_eq!(browser.get(&mut world, PAGE).status(), 200, "what needs less goes on");
}

#[test]
fn id_tokens_of_others_log_nobody_in() {
    for claims in [
        json!({"nonce": "other"}),
        json!({"aud": "other"}),
        json!({"aud": ["cl", "other"], "azp": "other"}),
        json!({"iss": "http://evil.test"}),
        json!({"exp": 1_700_000_000}),
        json!({"nonce": null}),
    ] {
        let mut world = World::new(json!({}), json!({}));
        world.idp.id_claims = claims.clone();
        let got = Browser::default().follow(&mut world, PAGE);
        assert_eq!(got.status(), 403, "{claims}");
        assert_eq!(world.stored("session"), 0);
    }
    let mut world = World::new(json!({}), json!({}));
    world.idp.id_token = false;
    logged_in(&mut world);
}

#[test]
fn what_is_down_denies_and_says_so() {
    let mut world = World::new(json!({}), json!({}));
    let mut browser = logged_in(&mut world);
    world.idp.down = true;
    let outcome = world.run(Browser::default().request(&Ask {
        method: "GET",
        url: PAGE,
        headers: &[],
        body: "",
    }));
    assert!(matches!(outcome, Outcome::Error(r) if r.status == 502));
    world.idp.down = false;
    world.store_down = true;
    assert_eq!(browser.get(&mut world, PAGE).status(), 503);
    assert!(browser.set.is_empty());
    let got =
        browser.get(&mut world, &format!("{CALLBACK}?code=c&state={}.0-0.o.ns", "A".repeat(43)));
    assert_eq!(got.status(), 503);
    world.store_down = false;
    assert_eq!(browser.get(&mut world, PAGE).status(), 200);
}

#[test]
fn a_way_back_while_the_provider_is_down_is_not_lost() {
    let mut world = World::new(json!({}), json!({}));
    let mut browser = Browser::default();
    let location = browser.get(&mut world, PAGE).location().to_owned();
    let back = world.idp.authorize(&location);
    world.idp.down = true;
    assert_eq!(browser.get(&mut world, &back).status(), 502);
    world.idp.down = false;
    // Its configuration is known, but it gives no tokens.
    world.idp.tokens_down = true;
    assert_eq!(browser.get(&mut world, &back).status(), 502);
    world.idp.tokens_down = false;
    assert_eq!(browser.get(&mut world, &back).location(), PAGE);
    assert_eq!(browser.get(&mut world, PAGE).status(), 200);
}

#[test]
fn a_code_that_is_not_good_begins_anew() {
    let mut world = World::new(json!({"pkce": {}}), json!({}));
    let mut browser = Browser::default();
    let location = browser.get(&mut world, PAGE).location().to_owned();
    let back = world.idp.authorize(&location).replace("code=code-1", "code=guessed");
    assert!(browser.get(&mut world, &back).location().starts_with("http://idp.test/auth?"));
    // Nor is somebody else's code, which PKCE tells.
    let mut other = Browser::default();
    let theirs = other.get(&mut world, PAGE).location().to_owned();
    let code = query(&world.idp.authorize(&theirs))["code"].clone();
    let location = browser.get(&mut world, PAGE).location().to_owned();
    let back = world.idp.authorize(&location);
    let mine = query(&back)["code"].clone();
    let got = browser.get(&mut world, &back.replace(&mine, &code));
    assert!(got.location().starts_with("http://idp.test/auth?"));
    assert_eq!(world.stored("session"), 0);
}

#[test]
fn a_token_that_is_not_accepted_does_not_go_round() {
    let mut world = World::new(json!({"accessTokenValidation": "userinfo"}), json!({}));
    let mut browser = logged_in(&mut world);
    assert_eq!(world.idp.userinfo_calls, 1);
    world.idp.userinfo = 401;
    assert_eq!(browser.get(&mut world, PAGE).status(), 403, "it came just now");
    world.now += 10;
    assert_eq!(browser.get(&mut world, PAGE).status(), 302);
    world.idp.userinfo = 503;
    assert_eq!(browser.get(&mut world, PAGE).status(), 502);
}

#[test]
fn opaque_tokens_are_asked_about_and_others_verified() {
    let mut world = World::new(json!({}), json!({}));
    let mut browser = logged_in(&mut world);
    browser.get(&mut world, PAGE);
    assert_eq!(world.idp.userinfo_calls, 0);
    let mut world = World::new(json!({}), json!({}));
    world.idp.jwt = false;
    let mut browser = logged_in(&mut world);
    let got = browser.get(&mut world, PAGE);
    assert!(got.header("authorization").unwrap().starts_with("Bearer opaque-"));
    assert_eq!(world.idp.userinfo_calls, 2);
}

#[test]
fn strict_cookies_come_by_way_of_a_page() {
    let mut world = World::new(json!({}), json!({"sameSite": "strict"}));
    let mut browser = Browser::default();
    let location = browser.get(&mut world, PAGE).location().to_owned();
    assert!(browser.set.iter().all(|c| c.ends_with("; SameSite=Strict")), "{:?}", browser.set);
    let back = world.idp.authorize(&location);
    // The browser comes from elsewhere, so without cookies.
    let Got::Reply(reply) = Browser::default().get(&mut world, &back) else { panic!() };
    assert_eq!(reply.status, 200);
    let target = format!("{back}&again=1").replace('&', "&amp;");
    assert!(reply.body.contains(&format!("content=\"0;url={target}\"")), "{}", reply.body);
    let got = browser.get(&mut world, &format!("{back}&again=1"));
    assert_eq!(got.location(), PAGE);
    assert_eq!(host(got.location()), "a.test");
}

#[test]
fn cookies_last_as_they_are_told() {
    let session = |c: &[String]| !c[0].contains("Expires=");
    let conditional = json!({"value": true, "ifRequestHeader": {"name": "x-kiosk"}});
    for (setting, kiosk, want) in [
        (json!(null), false, false),
        (json!({}), false, true),
        (json!({"value": false}), false, false),
        (conditional.clone(), true, true),
        (conditional, false, false),
        (json!({"value": false, "ifRequestHeader": {"name": "x-kiosk"}}), false, true),
    ] {
        let mut world = World::new(json!({"useSessionCookies": setting}), json!({}));
        let mut browser = Browser::default();
        let location = browser.get(&mut world, PAGE).location().to_owned();
        let back = world.idp.authorize(&location);
        let headers: &[(&str, &str)] = if kiosk { &[("x-kiosk", "1")] } else { &[] };
        browser.ask(&mut world, &Ask { method: "GET", url: &back, headers, body: "" });
        assert_eq!(session(&browser.set), want, "{setting}, {kiosk}");
    }
}
