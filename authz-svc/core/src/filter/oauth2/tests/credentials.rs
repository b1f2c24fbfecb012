use serde_json::{Value as Json, json};

use super::double::{Ask, Browser, Got, World};

const URL: &str = "https://any.test/";
const CLIENT: &[(&str, &str)] =
    &[("x-ambassador-client-id", "me"), ("x-ambassador-client-secret", "s:1")];
const USER: &[(&str, &str)] =
    &[("x-ambassador-username", "ann"), ("x-ambassador-password", "right")];

fn client(change: &Json, arguments: Json) -> World {
    let mut spec = json!({"grantType": "ClientCredentials", "clientID": null, "secret": null,
        "protectedOrigins": null});
    spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    World::new(spec, arguments)
}

fn user(arguments: Json) -> World {
    World::new(json!({"grantType": "Password", "protectedOrigins": null}), arguments)
}

fn ask(world: &mut World, headers: &[(&str, &str)]) -> Got {
    Browser::default().ask(world, &Ask { method: "GET", url: URL, headers, body: "" })
}

#[test]
fn a_client_gets_a_token_that_is_kept() {
    let mut world = client(&json!({}), json!({"scope": ["a", "b"]}));
    assert!(world.found.is_empty(), "{:?}", world.found);
    let Got::Allowed(m) = ask(&mut world, CLIENT) else { panic!() };
    assert!(m.set[0].1.starts_with("Bearer ey"));
    assert_eq!(m.remove, ["x-ambassador-client-id", "x-ambassador-client-secret"]);
    let (authorization, form) = &world.idp.calls[0];
    assert_eq!(authorization.as_deref(), Some("Basic bWU6cyUzQTE="));
    assert_eq!(
        (form["grant_type"].as_str(), form["scope"].as_str()),
        ("client_credentials", "a b")
    );
    assert_eq!(ask(&mut world, CLIENT).status(), 200);
    assert_eq!(world.idp.calls.len(), 1);
    let other = [CLIENT[0], ("x-ambassador-client-secret", "other")];
    ask(&mut world, &other);
    assert_eq!(world.idp.calls.len(), 2, "other credentials, another token");
    world.now += 300;
    ask(&mut world, CLIENT);
    assert_eq!(world.idp.calls.len(), 3);
    for (key, (value, _)) in &world.store {
        let text = String::from_utf8_lossy(value).into_owned() + key;
        assert!(!text.contains("s:1") && !text.contains("access_token"));
    }
}

#[test]
fn what_is_missing_is_named() {
    let mut world = client(&json!({}), json!({}));
    let Got::Reply(reply) = ask(&mut world, &CLIENT[..1]) else { panic!() };
    assert_eq!(reply.status, 403);
    assert!(reply.body.contains("X-Ambassador-Client-Secret"), "{}", reply.body);
    let mut world = user(json!({}));
    assert_eq!(ask(&mut world, &USER[1..]).status(), 403);
    assert!(world.store.is_empty() && world.idp.calls.is_empty());
}

#[test]
fn an_assertion_goes_through_as_it_came() {
    let method = json!({"clientAuthentication": {"method": "JWTAssertion",
        "jwtAssertion": {"setClientID": true}}});
    let mut world = client(&method, json!({}));
    let headers = [("x-ambassador-client-assertion", "a.b.c"), ("x-ambassador-client-id", "me")];
    assert_eq!(ask(&mut world, &headers[..1]).status(), 403);
    assert_eq!(ask(&mut world, &headers).status(), 200);
    let (authorization, form) = &world.idp.calls[0];
    assert!(authorization.is_none());
    assert_eq!((form["client_assertion"].as_str(), form["client_id"].as_str()), ("a.b.c", "me"));
    assert!(form["client_assertion_type"].ends_with(":jwt-bearer"));
}

#[test]
fn users_have_tokens_of_their_own() {
    let mut world = user(json!({}));
    assert_eq!(ask(&mut world, USER).status(), 200);
    let form = &world.idp.calls[0].1;
    assert_eq!((form["username"].as_str(), form["password"].as_str()), ("ann", "right"));
    assert!(!form.contains_key("scope"));
    assert_eq!(world.idp.calls[0].0.as_deref(), Some("Basic Y2w6czM="));
    let wrong = [USER[0], ("x-ambassador-password", "wrong")];
    let Got::Reply(reply) = ask(&mut world, &wrong) else { panic!() };
    assert_eq!(reply.status, 403);
    assert!(!reply.body.contains("wrong") && !reply.reason.contains("wrong"));
    world.idp.down = true;
    assert_eq!(ask(&mut world, &[("x-ambassador-username", "bob"), USER[1]]).status(), 502);
}

#[test]
fn scope_that_is_not_granted_does_not_pass() {
    let mut world = client(&json!({}), json!({"scope": ["a"]}));
    world.idp.never = vec!["a".to_owned()];
    assert_eq!(ask(&mut world, CLIENT).status(), 403);
}

#[test]
fn a_token_that_is_not_accepted_is_not_kept() {
    let mut world = client(&json!({}), json!({}));
    world.idp.jwt = false;
    assert_eq!(ask(&mut world, CLIENT).status(), 401);
    assert_eq!(world.stored("token"), 0);
    world.idp.jwt = true;
    assert_eq!(ask(&mut world, CLIENT).status(), 200);
}
