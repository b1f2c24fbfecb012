//! The resources of the guide for logins, with providers that answer as those of their names do: other
//! names of endpoints, issuers with a slash, scopes under other names, tokens of other kinds.

use std::collections::HashMap;

use serde_json::{Value as Json, json};
use service_kit::{Object, yaml};

use super::double::{Ask, Browser, World};
use super::idp::{Manner, query};

const SITE: &str = "https://shop.example.org/orders";

/// The objects of a section, after those of the page's head; who comes last is in force.
fn section(title: &str) -> Vec<Object> {
    section_with(title, ("", ""))
}

/// With another text in place of one.
fn section_with(title: &str, (from, to): (&str, &str)) -> Vec<Object> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guides/logins.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (head, rest) = page.split_once("\n## ").unwrap();
    let own = rest.split("\n## ").find(|s| s.lines().any(|l| l == title)).unwrap();
    let mut objects: Vec<Object> = Vec::new();
    for part in [head, own] {
        for block in part.split("```yaml\n").skip(1) {
            let block = block.split("```").next().unwrap().replace(from, to);
            for node in yaml::parse(&block).unwrap() {
                let object = Object::from_json(node.to_json()).unwrap();
                objects.retain(|o| o.reference != object.reference);
                objects.push(object);
            }
        }
    }
    objects
}

fn world(title: &str, manner: Manner) -> World {
    let mut world = World::of_objects(&section(title));
    assert!(world.found.is_empty(), "{:?}", world.found);
    world.idp.manner = manner;
    world
}

/// The parameters of the login that a new browser is sent to.
fn asked(world: &mut World) -> HashMap<String, String> {
    let got = Browser::default().get(world, SITE);
    assert!(got.location().starts_with(world.idp.manner.authorize), "{}", got.location());
    query(got.location())
}

/// What the backend gets after a login, and the browser.
fn log_in(world: &mut World) -> (Browser, HashMap<String, String>) {
    let mut browser = Browser::default();
    let got = browser.follow(world, SITE);
    assert_eq!(got.status(), 200, "{got:?}");
    let names = ["x-user", "x-plan", "authorization"];
    let header = |name: &&str| Some(((*name).to_owned(), got.header(name)?.to_owned()));
    (browser, names.iter().filter_map(header).collect())
}

/// Where the logout leads to.
fn log_out(world: &mut World, browser: &mut Browser) -> String {
    let xsrf = browser.cookie(SITE, "ambassador_xsrf.login.edge").unwrap();
    let ask = Ask {
        method: "POST",
        url: "https://shop.example.org/.ambassador/oauth2/logout",
        headers: &[],
        body: &format!("realm=login.edge&_xsrf={xsrf}"),
    };
    browser.ask(world, &ask).location().to_owned()
}

#[test]
fn keycloak() {
    let base = "https://keycloak.example.org/realms/staff";
    let mut world = world(
        "Keycloak",
        Manner {
            issuer: base,
            authorize: "https://keycloak.example.org/realms/staff/protocol/openid-connect/auth",
            token: "https://keycloak.example.org/realms/staff/protocol/openid-connect/token",
            end_session: Some("https://keycloak.example.org/realms/staff/logout"),
            client: "shop",
            access: |_, scope| Some(json!({"scope": scope, "aud": "account"})),
            ..Manner::default()
        },
    );
    world.idp.id_claims = json!({"preferred_username": "ann"});
    let (mut browser, got) = log_in(&mut world);
    assert_eq!(got["x-user"], "ann");
    assert!(log_out(&mut world, &mut browser).starts_with(&format!("{base}/logout?")));
}

fn auth0() -> Manner {
    Manner {
        issuer: "https://example.eu.auth0.com/",
        authorize: "https://example.eu.auth0.com/authorize",
        token: "https://example.eu.auth0.com/oauth/token",
        userinfo: "https://example.eu.auth0.com/userinfo",
        keys: "https://example.eu.auth0.com/.well-known/jwks.json",
        end_session: Some("https://example.eu.auth0.com/oidc/logout"),
        client: "the application's client ID",
        secret_in_form: true,
        access: |login, scope| {
            let api = login.get("audience")?;
            Some(json!({"aud": [api, "https://example.eu.auth0.com/userinfo"], "scope": scope}))
        },
        refreshes: |login| login["scope"].contains("offline_access"),
        ..Manner::default()
    }
}

#[test]
fn auth0_with_an_api_is_not_asked_about_tokens() {
    let mut world = world("Auth0", auth0());
    world.idp.id_claims = json!({"https://example.org/plan": "gold"});
    let (mut browser, got) = log_in(&mut world);
    assert_eq!((got["x-user"].as_str(), got["x-plan"].as_str()), ("Ann", "gold"));
    assert!(got["authorization"].starts_with("Bearer ey"), "a JWT");
    assert_eq!(world.idp.userinfo_calls, 0);
    let out = log_out(&mut world, &mut browser);
    assert!(out.starts_with("https://example.eu.auth0.com/oidc/logout?id_token_hint="), "{out}");
    assert!(query(&out)["post_logout_redirect_uri"].ends_with("/oauth2/post-logout-redirect"));
}

#[test]
fn auth0_without_an_api_is_asked_and_who_has_no_plan_gets_none() {
    let mut world = world("Auth0", Manner { access: |_, _| None, ..auth0() });
    let (_, got) = log_in(&mut world);
    assert_eq!(got.get("x-plan").map(String::as_str).unwrap_or_default(), "");
    assert_eq!(world.idp.userinfo_calls, 1);
}

fn entra() -> Manner {
    Manner {
        issuer: "https://login.microsoftonline.com/99999999-8888-7777-6666-555555555555/v2.0",
        authorize: "https://login.microsoftonline.com/99999999-8888-7777-6666-555555555555/oauth2/v2.0/authorize",
        token: "https://login.microsoftonline.com/99999999-8888-7777-6666-555555555555/oauth2/v2.0/token",
        userinfo: "https://graph.microsoft.com/oidc/userinfo",
        keys: "https://login.microsoftonline.com/99999999-8888-7777-6666-555555555555/discovery/v2.0/keys",
        end_session: Some(
            "https://login.microsoftonline.com/99999999-8888-7777-6666-555555555555/oauth2/v2.0/logout",
        ),
        client: "11111111-2222-3333-4444-555555555555",
        // The scope of the API only; with its id URI here, without in the token.
        granted: |scope| scope.split(' ').filter(|s| s.contains("://")).collect(),
        access: |_, scope| {
            let own = scope.split(' ').find_map(|s| s.strip_prefix("api://")?.split('/').nth(1));
            Some(json!({"aud": "11111111-2222-3333-4444-555555555555", "ver": "2.0",
                "scp": own.unwrap_or_default()}))
        },
        refreshes: |login| login["scope"].contains("offline_access"),
        ..Manner::default()
    }
}

#[test]
fn entra_id_tells_the_scope_of_the_api_only() {
    let mut world = world("Microsoft Entra ID", entra());
    world.idp.id_claims = json!({"preferred_username": "ann@example.org"});
    let scope = asked(&mut world)["scope"].clone();
    let api = "api://11111111-2222-3333-4444-555555555555/orders.read";
    assert_eq!(scope, format!("openid profile offline_access {api}"));
    let (_, got) = log_in(&mut world);
    assert_eq!(got["x-user"], "ann@example.org");
}

#[test]
fn entra_id_with_tokens_of_another_version_or_scope_lets_nobody_in() {
    type Access = fn(&HashMap<String, String>, &str) -> Option<Json>;
    let others: [Access; 2] = [
        |_, _| Some(json!({"iss": "https://sts.windows.net/99999999/", "scp": "orders.read"})),
        |_, _| Some(json!({"aud": "11111111-2222-3333-4444-555555555555", "scp": "orders.write"})),
    ];
    for access in others {
        let mut world = world("Microsoft Entra ID", Manner { access, ..entra() });
        world.idp.id_claims = json!({"preferred_username": "ann@example.org"});
        assert_eq!(Browser::default().follow(&mut world, SITE).status(), 403);
    }
}

#[test]
fn entra_id_for_any_tenant_is_told() {
    let tenant =
        "authorizationURL: https://login.microsoftonline.com/99999999-8888-7777-6666-555555555555";
    let any = "authorizationURL: https://login.microsoftonline.com/common";
    let found = World::of_objects(&section_with("Microsoft Entra ID", (tenant, any))).found;
    assert!(found.len() == 1 && found[0].contains("`common` is no issuer"), "{found:?}");
}

fn google() -> Manner {
    Manner {
        issuer: "https://accounts.google.com",
        authorize: "https://accounts.google.com/o/oauth2/v2/auth",
        token: "https://oauth2.googleapis.com/token",
        userinfo: "https://openidconnect.googleapis.com/v1/userinfo",
        keys: "https://www.googleapis.com/oauth2/v3/certs",
        end_session: None,
        client: "000000000000-shop.apps.googleusercontent.com",
        granted: |scope| {
            let long = |s: &str| match s {
                "openid" => s.to_owned(),
                s => format!("https://www.googleapis.com/auth/userinfo.{s}"),
            };
            scope.split(' ').map(long).collect::<Vec<_>>().join(" ")
        },
        access: |_, _| None,
        refreshes: |login| login.get("access_type").is_some_and(|t| t == "offline"),
        ..Manner::default()
    }
}

#[test]
fn google_lets_people_of_the_company_in() {
    let mut world = world("Google", google());
    world.idp.id_claims = json!({"email": "ann@example.org", "hd": "example.org"});
    assert_eq!(asked(&mut world)["hd"], "example.org");
    let (mut browser, got) = log_in(&mut world);
    assert_eq!(got["x-user"], "ann@example.org");
    assert_eq!(world.idp.userinfo_calls, 1);
    world.now += 301;
    assert_eq!(browser.get(&mut world, SITE).status(), 200, "renewed");
    assert_eq!(log_out(&mut world, &mut browser), "https://shop.example.org/goodbye");
}

#[test]
fn google_accounts_of_others_are_refused() {
    for claims in [json!({"email": "eve@gmail.com"}), json!({"hd": "evil.example"})] {
        let mut world = world("Google", google());
        world.idp.id_claims = claims.clone();
        let got = Browser::default().follow(&mut world, SITE);
        assert_eq!(got.status(), 403, "{claims}");
    }
}

#[test]
fn okta_tells_scope_as_a_list() {
    let mut world = world(
        "Okta",
        Manner {
            issuer: "https://example.okta.com/oauth2/default",
            authorize: "https://example.okta.com/oauth2/default/v1/authorize",
            token: "https://example.okta.com/oauth2/default/v1/token",
            userinfo: "https://example.okta.com/oauth2/default/v1/userinfo",
            keys: "https://example.okta.com/oauth2/default/v1/keys",
            end_session: Some("https://example.okta.com/oauth2/default/v1/logout"),
            client: "the integration's client ID",
            access: |_, scope| {
                let scp: Vec<&str> = scope.split(' ').collect();
                Some(json!({"aud": "api://default", "cid": "x", "scp": scp}))
            },
            refreshes: |login| login["scope"].contains("offline_access"),
            ..Manner::default()
        },
    );
    world.idp.id_claims = json!({"preferred_username": "ann@example.org", "groups": ["editors"]});
    let (_, got) = log_in(&mut world);
    assert_eq!(got["x-user"], "ann@example.org");
    assert_eq!(world.idp.userinfo_calls, 0);
}
