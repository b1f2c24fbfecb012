use serde_json::json;

use super::double::{Ask, Browser, World};
use super::{PAGE, logged_in};
use crate::need::{Answer, Need, StoreCommand};
use crate::{Flow, Outcome, Step};

fn page(browser: &Browser, world: &World) -> Flow {
    world.flow(browser.request(&Ask { method: "GET", url: PAGE, headers: &[], body: "" }))
}

fn refreshes(world: &World) -> usize {
    world.idp.calls.iter().filter(|(_, form)| form["grant_type"] == "refresh_token").count()
}

#[test]
fn twenty_requests_renew_a_session_once() {
    let mut world = World::new(json!({}), json!({}));
    let browser = logged_in(&mut world);
    world.now += 300;
    // In turns, so that all of them see the expired token; the provider is slow.
    let mut flows: Vec<(Flow, usize)> = (0..20).map(|_| (page(&browser, &world), 0)).collect();
    let mut outcomes = Vec::new();
    let mut slow = 30;
    while !flows.is_empty() {
        let mut left = Vec::new();
        for (mut flow, waited) in flows {
            match flow.step(&()) {
                Step::Done(outcome) => outcomes.push(outcome),
                Step::Need(Need::Http(_)) if slow > 0 => {
                    slow -= 1;
                    left.push((flow, waited));
                }
                Step::Need(need) => {
                    flow.answer(world.perform(&need));
                    left.push((flow, waited + usize::from(matches!(need, Need::Wait(_)))));
                }
            }
        }
        flows = left;
    }
    assert_eq!(refreshes(&world), 1);
    let token = |o: &Outcome| match o {
        Outcome::Allow(m) => m.set[0].1.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(outcomes.len(), 20);
    assert!(outcomes.iter().all(|o| token(o) == token(&outcomes[0])));
    let with_cookies =
        outcomes.iter().filter(|o| matches!(o, Outcome::Allow(m) if m.response_headers.len() == 2));
    assert_eq!(with_cookies.count(), 20, "each tells when the session ends now");
    assert_eq!(world.stored("lock"), 0);
    // What rotated is kept: the next time goes well, too.
    world.now += 300;
    assert_eq!(browser.clone().get(&mut world, PAGE).status(), 200);
    assert_eq!(refreshes(&world), 2);
}

#[test]
fn a_new_token_keeps_what_came_with_the_old_one() {
    let inject =
        json!({"injectRequestHeaders": [{"name": "x-user", "value": "{{.idToken.Claims.name}}"}]});
    let mut world = World::new(inject, json!({"scope": ["a"]}));
    let mut browser = logged_in(&mut world);
    let before = browser.get(&mut world, PAGE).header("authorization").unwrap().to_owned();
    let cookie = browser.cookie(PAGE, "ambassador_session.o.ns");
    world.now += 300;
    let got = browser.get(&mut world, PAGE);
    assert_ne!(got.header("authorization").unwrap(), before);
    assert_eq!(got.header("x-user"), Some("Ann"));
    assert_eq!(browser.cookie(PAGE, "ambassador_session.o.ns"), cookie, "the same session");
    assert!(browser.set[0].contains("; Expires="), "{:?}", browser.set);
}

#[test]
fn a_provider_that_is_down_ends_no_session() {
    let mut world = World::new(json!({}), json!({}));
    let mut browser = logged_in(&mut world);
    world.now += 300;
    world.idp.down = true;
    let got = browser.get(&mut world, PAGE);
    assert_eq!(got.status(), 502);
    assert!(browser.set.is_empty());
    assert_eq!((world.stored("session"), world.stored("lock")), (1, 0));
    world.idp.down = false;
    assert_eq!(browser.get(&mut world, PAGE).status(), 200);
}

#[test]
fn a_session_whose_refresh_token_is_gone_ends() {
    let mut world = World::new(json!({}), json!({}));
    let mut browser = logged_in(&mut world);
    world.now += 300;
    world.idp.refresh_token = "revoked".to_owned();
    assert_eq!(browser.get(&mut world, PAGE).status(), 302);
    assert_eq!((world.stored("session"), world.stored("lock")), (0, 0));
    assert_eq!(browser.follow(&mut world, PAGE).status(), 200);
}

#[test]
fn without_a_refresh_token_a_session_lasts_as_its_token() {
    let mut world = World::new(json!({"expirationSafetyMargin": "20s"}), json!({}));
    world.idp.refresh_tokens = false;
    let mut browser = logged_in(&mut world);
    world.now += 279;
    assert_eq!(browser.get(&mut world, PAGE).status(), 200);
    world.now += 1;
    assert_eq!(browser.get(&mut world, PAGE).status(), 302);
    assert_eq!(refreshes(&world), 0);
}

#[test]
fn a_session_that_is_used_goes_on() {
    let mut world = World::new(json!({"clientSessionMaxIdle": "80s"}), json!({}));
    let mut browser = logged_in(&mut world);
    for _ in 0..10 {
        world.now += 79;
        assert_eq!(browser.get(&mut world, PAGE).status(), 200);
        assert!(browser.set[0].contains("; Expires="), "{:?}", browser.set);
        world.now += 5;
        browser.get(&mut world, PAGE);
        assert!(browser.set.is_empty() || world.now % 300 < 100);
        world.now -= 5;
    }
    world.now += 85;
    assert_eq!(browser.get(&mut world, PAGE).status(), 302);
}

#[test]
fn a_lock_whose_holder_is_gone_ends() {
    let mut world = World::new(json!({}), json!({}));
    let mut browser = logged_in(&mut world);
    world.now += 300;
    // A replica dies after it took the lock.
    let mut dying = page(&browser, &world);
    loop {
        let Step::Need(need) = dying.step(&()) else { panic!("done") };
        let locks = matches!(need, Need::Store(StoreCommand::Add(..)));
        assert_eq!(dying.must_finish(), locks || world.stored("lock") == 1);
        if matches!(need, Need::Http(_)) {
            break;
        }
        dying.answer(world.perform(&need));
    }
    assert_eq!(world.stored("lock"), 1);
    assert_eq!(browser.get(&mut world, PAGE).status(), 503, "it does not wait for ever");
    assert_eq!(refreshes(&world), 0);
    world.now += 10;
    assert_eq!(browser.get(&mut world, PAGE).status(), 200);
}

#[test]
fn a_logout_during_a_renewal_counts() {
    let mut world = World::new(json!({}), json!({}));
    let mut browser = logged_in(&mut world);
    world.now += 300;
    let mut flow = page(&browser, &world);
    let http = loop {
        let Step::Need(need) = flow.step(&()) else { panic!("done") };
        if matches!(need, Need::Http(_)) {
            break need;
        }
        flow.answer(world.perform(&need));
    };
    super::logout::log_out(&mut world, &mut browser);
    flow.answer(world.perform(&http));
    let outcome = loop {
        match flow.step(&()) {
            Step::Done(outcome) => break outcome,
            Step::Need(need) => flow.answer(world.perform(&need)),
        }
    };
    assert!(matches!(outcome, Outcome::Deny(r) if r.status == 302));
    assert_eq!(world.stored("session"), 0);
}

#[test]
fn an_answer_that_fails_denies() {
    // At each point of the way something else answers.
    for at in 0.. {
        let mut world = World::new(json!({}), json!({}));
        let browser = logged_in(&mut world);
        world.now += 300;
        let mut flow = page(&browser, &world);
        let mut asked = 0;
        let outcome = loop {
            match flow.step(&()) {
                Step::Done(outcome) => break outcome,
                Step::Need(_) if asked == at => flow.answer(Answer::Computed(None)),
                Step::Need(need) => flow.answer(world.perform(&need)),
            }
            asked += 1;
            assert!(asked < 64);
        };
        if asked <= at {
            assert!(matches!(outcome, Outcome::Allow(_)), "{outcome:?}");
            assert!(at >= 10, "the whole way was gone");
            break;
        }
        assert!(matches!(outcome, Outcome::Error(_)), "{at}: {outcome:?}");
    }
}
