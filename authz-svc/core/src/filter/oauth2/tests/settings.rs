use serde_json::{Value as Json, json};

use super::double::{Browser, World};
use super::idp::{ISSUER, pem};
use super::{PAGE, logged_in};

#[test]
fn what_is_wrong_is_told_and_answered_500() {
    let direct = json!({"grantType": "ClientCredentials", "clientID": null, "secret": null, "protectedOrigins": null});
    let with = |base: &Json, more: Json| {
        let mut all = base.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    for (change, words) in [
        (json!({"authorizationURL": null}), "the identity provider is missing"),
        (json!({"authorizationURL": "idp.test"}), "is not an absolute URL"),
        (json!({"grantType": "ResourceOwner"}), "is not a grant"),
        (json!({"clientID": ""}), "the client's id is missing"),
        (json!({"secret": ""}), "the client's secret is missing"),
        (json!({"secretName": "x"}), "secret and secretName exclude each other"),
        (json!({"secret": null, "secretName": "x"}), "there is no Secret x.ns"),
        (json!({"protectedOrigins": []}), "no origin is protected"),
        (json!({"protectedOrigins": [{"origin": "https://a.test/path"}]}), "is not an origin"),
        (
            json!({"protectedOrigins": vec![json!({"origin": "https://a.test"}); 101]}),
            "more than 100 origins",
        ),
        (json!({"protectedOrigins": [{"origin": "*://*"}]}), "is not an origin"),
        (
            json!({"protectedOrigins": [{"origin": "https://a.test", "internalOrigin": "*://*", "includeSubdomains": true}]}),
            "not with a wildcard",
        ),
        (
            json!({"protectedOrigins": [{"origin": "https://10.0.0.1", "includeSubdomains": true}]}),
            "an address has no subdomains",
        ),
        (json!({"clientURL": "https://a.test"}), "exclude each other"),
        (json!({"extraAuthorizationParameters": {"state": "x"}}), "not the user's to set"),
        (
            json!({"extraAuthorizationParameters": {"response_mode": "form_post"}}),
            "only query is understood",
        ),
        (json!({"postLogoutRedirectURI": "/bye"}), "not an absolute URL"),
        (json!({"pkce": {"codeChallengeMethod": "plain"}}), "`plain` is not supported"),
        (json!({"accessTokenValidation": "introspection"}), "is not a way to do it"),
        (
            json!({"accessTokenValidation": "userinfo", "accessTokenJWTFilter": {"name": "j"}}),
            "exclude each other",
        ),
        (json!({"accessTokenJWTFilter": {"namespace": "x"}}), "has no name"),
        (json!({"accessTokenJWTFilter": {"name": "o"}}), "is of kind OAuth2, not JWT"),
        (json!({"accessTokenJWTFilter": {"name": "j"}}), "there is no Filter j.ns"),
        (json!({"renegotiateTLS": "always"}), "is not a policy"),
        (json!({"clientAuthentication": {"method": "None"}}), "is not a method"),
        (
            json!({"clientAuthentication": {"jwtAssertion": {"setIAT": true}}}),
            "only for the method JWTAssertion",
        ),
        (json!({"clientAuthentication": {"method": "JWTAssertion"}}), "is no private RSA key"),
        (
            json!({"secret": pem(), "clientAuthentication": {"method": "JWTAssertion", "jwtAssertion": {"signingMethod": "ES512"}}}),
            "`ES512` is not one of",
        ),
        (
            json!({"secret": pem(), "clientAuthentication": {"method": "JWTAssertion", "jwtAssertion": {"otherClaims": {"sub": "x"}}}}),
            "`sub` is not the user's",
        ),
        (
            json!({"secret": pem(), "clientAuthentication": {"method": "JWTAssertion", "jwtAssertion": {"otherHeaderParameters": {"alg": "none"}}}}),
            "`alg` is not the user's",
        ),
        (json!({"useSessionCookies": {"ifRequestHeader": {"name": ""}}}), "the header has no name"),
        (json!({"colour": 1}), "unknown field"),
        (with(&direct, json!({"clientID": "x"})), "each request brings its own"),
        (with(&direct, json!({"accessTokenValidation": "userinfo"})), "has no user to ask about"),
        (
            with(&direct, json!({"protectedOrigins": [{"origin": "https://a.test"}]})),
            "only for the grant AuthorizationCode",
        ),
        (
            with(&direct, json!({"clientSessionMaxIdle": "1m"})),
            "only for the grant AuthorizationCode",
        ),
    ] {
        let mut world = World::new(change.clone(), json!({}));
        assert!(world.found.iter().any(|f| f.contains(words)), "{words}: {:?}", world.found);
        let status = match Browser::default().get(&mut world, PAGE).status() {
            // The name of another filter counts when a token is to be judged.
            302 if change.get("accessTokenJWTFilter").is_some() => {
                Browser::default().follow(&mut world, PAGE).status()
            }
            status => status,
        };
        assert_eq!(status, 500, "{change}");
    }
}

#[test]
fn zero_values_are_unset() {
    let mut world = World::new(
        json!({"grantType": "", "secretName": "", "clientURL": "", "maxStale": "0s", "audience": "",
            "clientAuthentication": {"method": "", "jwtAssertion": {"lifetime": "0s", "audience": "", "setClientID": false}},
            "extraAuthorizationParameters": {}, "accessTokenJWTFilter": {"name": "", "namespace": ""},
            "useSessionCookies": null, "accessTokenValidation": "", "renegotiateTLS": "", "stateTTL": "",
            "clientSessionMaxIdle": "0s", "v3postLogoutRedirectURI": ""}),
        json!({}),
    );
    assert!(world.found.is_empty(), "{:?}", world.found);
    logged_in(&mut world);
}

#[test]
fn what_has_no_effect_is_told() {
    let world = World::new(
        json!({"audience": "x", "stateTTL": "5m", "renegotiateTLS": "onceAsClient",
            "protectedOrigins": null, "clientURL": "https://a.test", "secret": "s\n"}),
        json!({}),
    );
    for words in [
        "extraAuthorizationParameters.audience",
        "stateTTL",
        "never done",
        "deprecated",
        "line break",
    ] {
        assert!(world.found.iter().any(|f| f.contains(words)), "{words}: {:?}", world.found);
    }
    assert!(world.found.iter().all(|f| !f.contains("error")), "{:?}", world.found);
}

#[test]
fn a_client_may_have_a_key() {
    for (secret, settings) in [
        (pem(), json!({})),
        (
            pem(),
            json!({"signingMethod": "PS256", "setClientID": true, "audience": "https://idp/",
            "lifetime": "30s", "setNBF": true, "nbfSafetyMargin": "5s", "setIAT": true,
            "otherClaims": {"x": [1]}, "otherHeaderParameters": {"kid": "k7"}}),
        ),
        ("0123456789abcdef0123456789abcdef", json!({"signingMethod": "HS256"})),
    ] {
        let method = json!({"method": "JWTAssertion", "jwtAssertion": settings});
        let mut world =
            World::new(json!({"secret": secret, "clientAuthentication": method}), json!({}));
        logged_in(&mut world);
        let (authorization, form) = &world.idp.calls[0];
        assert!(authorization.is_none() && !form.contains_key("client_secret"));
        let token = crate::filter::jwt::unverified(&form["client_assertion"]).unwrap();
        let claims = token.claims();
        assert_eq!((claims["iss"].as_str(), claims["sub"].as_str()), (Some("cl"), Some("cl")));
        assert!(claims["jti"].as_str().unwrap().len() == 43);
        let now = world.now;
        if settings.get("setNBF").is_some() {
            assert_eq!(
                (claims["exp"].as_u64(), claims["nbf"].as_u64()),
                (Some(now + 30), Some(now - 5))
            );
            assert_eq!(
                (claims["iat"].as_u64(), claims["aud"].as_str()),
                (Some(now), Some("https://idp/"))
            );
            assert_eq!((claims["x"][0].as_u64(), form["client_id"].as_str()), (Some(1), "cl"));
            assert_eq!(token.algorithm(), Some("PS256"));
        } else {
            assert_eq!(claims["exp"].as_u64(), Some(now + 60));
            assert_eq!(claims["aud"].as_str(), Some("http://idp.test/token"));
            assert!(claims.get("nbf").is_none() && !form.contains_key("client_id"));
        }
    }
}

#[test]
fn a_client_may_say_its_secret_in_the_body() {
    let method = json!({"clientAuthentication": {"method": "BodyPassword"}});
    let mut world = World::new(method, json!({}));
    world.idp.manner.secret_in_form = true;
    logged_in(&mut world);
    let (authorization, form) = &world.idp.calls[0];
    assert!(authorization.is_none());
    assert_eq!((form["client_id"].as_str(), form["client_secret"].as_str()), ("cl", "s3"));
}

#[test]
fn another_filter_may_judge_the_tokens() {
    let jwt = |issuer: &str| {
        json!({"JWT": {"jwksURI": format!("{ISSUER}/keys"), "issuer": issuer,
            "injectRequestHeaders": [{"name": "x-both", "value": "inner"}, {"name": "x-inner", "value": "{{.token.Claims.sub}}"}]}})
    };
    let oauth = |filter: Json| {
        json!({"OAuth2": {"authorizationURL": ISSUER, "clientID": "cl", "secret": "s",
            "protectedOrigins": [{"origin": "https://a.test"}], "accessTokenJWTFilter": filter,
            "injectRequestHeaders": [{"name": "x-both", "value": "outer"}]}})
    };
    let rules =
        json!([{"filters": [{"name": "o", "arguments": {"scope": ["u/x", "offline_access"]}}]}]);
    let plain = json!({"name": "j", "namespace": "ns"});
    let mut world = World::of(&[("o", oauth(plain.clone())), ("j", jwt(ISSUER))], &rules);
    let mut browser = logged_in(&mut world);
    let got = browser.get(&mut world, PAGE);
    assert_eq!((got.header("x-both"), got.header("x-inner")), (Some("outer"), Some("ann")));
    let mut world = World::of(&[("o", oauth(plain)), ("j", jwt("http://other"))], &rules);
    assert_eq!(Browser::default().follow(&mut world, PAGE).status(), 403);
    // The token claims no scope, so what is inherited is not there.
    let inherits = json!({"name": "j", "inheritScopeArgument": true, "stripInheritedScope": true});
    let mut world = World::of(&[("o", oauth(inherits)), ("j", jwt(ISSUER))], &rules);
    assert_eq!(Browser::default().follow(&mut world, PAGE).status(), 403);
}
