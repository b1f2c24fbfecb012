use serde_json::json;

use super::PAGE;
use super::double::{Browser, Got, World, host};
use super::idp::query;

const COOKIE: &str = "ambassador_session.o.ns";

fn three() -> World {
    World::new(
        json!({"protectedOrigins": [{"origin": "https://a.test"}, {"origin": "https://b.test"},
            {"origin": "http://c.test:8080"}]}),
        json!({}),
    )
}

#[test]
fn one_login_is_for_all_origins() {
    for page in [PAGE, "https://b.test/b?q", "http://c.test:8080/c"] {
        let mut world = three();
        let mut browser = Browser::default();
        assert_eq!(browser.follow(&mut world, page).status(), 200);
        assert_eq!(browser.way.last().unwrap(), page);
        for other in [PAGE, "https://b.test/x", "http://c.test:8080/y"] {
            assert_eq!(browser.get(&mut world, other).status(), 200, "{page} {other}");
        }
        let one = browser.cookie(PAGE, COOKIE).unwrap();
        assert_eq!(browser.cookie("https://b.test/", COOKIE).unwrap()[..43], one[..43]);
        assert_eq!(world.idp.calls.len(), 1);
        assert_eq!(world.stored("session"), 1);
        assert_eq!(world.stored("ticket"), 0);
    }
}

#[test]
fn secure_is_for_https_only() {
    let mut world = three();
    let mut browser = Browser::default();
    browser.get(&mut world, "http://c.test:8080/");
    assert!(browser.set.iter().all(|c| !c.contains("Secure")), "{:?}", browser.set);
}

#[test]
fn a_ticket_is_for_the_browser_that_asked() {
    let mut world = three();
    let mut attacker = Browser::default();
    // The attacker's way, stopped where a ticket is to be taken.
    let mut url = PAGE.to_owned();
    let take = loop {
        if url.starts_with("http://idp.test") {
            url = world.idp.authorize(&url);
        }
        url = attacker.get(&mut world, &url).location().to_owned();
        if url.contains("step=take") {
            break url;
        }
    };
    let ask = take.split("&ticket").next().unwrap().replace("step=take", "step=ask");
    let mut victim = Browser::default();
    assert_eq!(victim.get(&mut world, &take).status(), 400);
    assert!(victim.set.is_empty());
    assert_eq!(attacker.get(&mut world, &take).status(), 400, "a ticket is good once");
    // Nor does the whole way lead into the attacker's session.
    let give = victim.get(&mut world, &ask).location().to_owned();
    assert_eq!(host(&give), "a.test");
    assert_eq!(victim.get(&mut world, &give).status(), 400);
}

#[test]
fn steps_out_of_place_are_refused() {
    let mut world = three();
    let path = "/.ambassador/oauth2/multicookie";
    let state = format!("{}.0-0.o.ns", "A".repeat(43));
    for rest in [
        String::new(),
        format!("?state={state}"),
        format!("?state={state}&step=ask&at=0x"),
        format!("?state={state}&step=ask&at=2"),
        format!("?state={state}&step=take&at=1&ticket=x"),
        format!("?state={state}&step=done&at=1"),
        format!("?state={state}&step=give&at=77&for=x"),
    ] {
        let got = Browser::default().get(&mut world, &format!("https://b.test{path}{rest}"));
        assert_eq!(got.status(), 400, "{rest}");
    }
}

#[test]
fn a_way_back_is_relayed_to_where_it_began_and_nowhere_else() {
    let mut world = three();
    let mut browser = Browser::default();
    let location = browser.get(&mut world, "https://b.test/p").location().to_owned();
    let back = world.idp.authorize(&location);
    assert_eq!(host(&back), "a.test");
    let relay = browser.get(&mut world, &back).location().to_owned();
    assert!(
        relay.starts_with("https://b.test/.ambassador/oauth2/redirection-endpoint?"),
        "{relay}"
    );
    assert_eq!(query(&relay)["code"], query(&back)["code"]);
    // An origin that is none goes nowhere.
    let forged = back.replace(".0-1.o.ns", ".0-9.o.ns");
    assert_ne!(forged, back);
    let got = browser.get(&mut world, &forged);
    assert!(got.location().starts_with("http://idp.test/auth"), "{got:?}");
}

#[test]
fn subdomains_share_the_cookies() {
    let mut world = World::new(
        json!({"protectedOrigins": [{"origin": "https://a.test", "includeSubdomains": true}]}),
        json!({}),
    );
    let mut browser = Browser::default();
    let page = "https://deep.sub.a.test/p?q=1";
    let location = browser.get(&mut world, page).location().to_owned();
    assert!(browser.set[0].contains("; Domain=a.test;"), "{:?}", browser.set);
    browser.jar.insert("a.test".to_owned(), browser.jar["deep.sub.a.test"].clone());
    let back = world.idp.authorize(&location);
    assert_eq!(browser.get(&mut world, &back).location(), page);
    for outside in
        ["https://xa.test/", "https://a.test.evil/", "http://x.a.test/", "https://.a.test/"]
    {
        let got = Browser::default().get(&mut world, outside);
        assert_eq!(got.status(), 500, "{outside}");
    }
}

#[test]
fn what_the_gateway_sees_may_differ() {
    for (origin, seen) in [
        (
            json!({"origin": "https://a.test", "internalOrigin": "http://in.test:8080"}),
            "http://in.test:8080/page?x=1",
        ),
        (json!({"origin": "https://a.test", "internalOrigin": "*://*"}), "http://any/page?x=1"),
        (json!({"origin": "https://A.test:443"}), "https://a.test:443/page?x=1"),
    ] {
        let mut world = World::new(json!({"protectedOrigins": [origin]}), json!({}));
        let mut browser = Browser::default();
        let location = browser.get(&mut world, seen).location().to_owned();
        assert!(browser.set[0].contains("Secure"));
        let back = world.idp.authorize(&location);
        assert!(back.starts_with("https://a.test/"), "{back}");
        let inside = back.replace("https://a.test", seen.split("/page").next().unwrap());
        assert_eq!(browser.get(&mut world, &inside).location(), PAGE);
    }
    let mut world = World::new(
        json!({"protectedOrigins": [{"origin": "https://a.test", "internalOrigin": "http://in.test"}]}),
        json!({}),
    );
    let Got::Reply(reply) = Browser::default().get(&mut world, PAGE) else { panic!() };
    assert_eq!(reply.status, 500);
    assert!(reply.body.contains("https://a.test is not a protected origin"), "{}", reply.body);
}
