//! Whole logins, with a provider, a store and browsers that are played.

#[path = "tests/credentials.rs"]
mod credentials;
#[path = "tests/double.rs"]
mod double;
#[path = "tests/idp.rs"]
mod idp;
#[path = "tests/login.rs"]
mod login;
#[path = "tests/logout.rs"]
mod logout;
#[path = "tests/origins.rs"]
mod origins;
#[path = "tests/providers.rs"]
mod providers;
#[path = "tests/refresh.rs"]
mod refresh;
#[path = "tests/settings.rs"]
mod settings;

use double::{Browser, World};

const PAGE: &str = "https://a.test/page?x=1";
const CALLBACK: &str = "https://a.test/.ambassador/oauth2/redirection-endpoint";

/// A browser that logged in just now.
fn logged_in(world: &mut World) -> Browser {
    assert!(world.found.iter().all(|f| !f.contains("error")), "{:?}", world.found);
    let mut browser = Browser::default();
    assert_eq!(browser.follow(world, PAGE).status(), 200, "{:?}", browser.way);
    browser
}
