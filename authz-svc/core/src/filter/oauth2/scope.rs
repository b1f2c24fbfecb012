//! Whether a grant has the scope that a rule demands, in the names that providers give it. Knows
//! neither tokens' signatures nor sessions.

use serde_json::Value as Json;

use crate::filter::jwt::scopes;

/// Never demanded: `openid` asks for an ID token, `offline_access` for a refresh token.
const NEVER: [&str; 2] = ["openid", "offline_access"];

/// They ask for claims about the user (OpenID Connect Core 1.0 section 5.4), not for what a token may
/// do.
const CLAIMS: [&str; 4] = ["profile", "email", "address", "phone"];

/// Other names of such scopes, which Google grants when it is asked for the usual ones.
const ALIASES: [(&str, &str); 2] = [
    ("profile", "https://www.googleapis.com/auth/userinfo.profile"),
    ("email", "https://www.googleapis.com/auth/userinfo.email"),
];

/// What of a scope a grant must have.
pub(super) fn demanded(scope: &[String]) -> impl Iterator<Item = &str> {
    scope.iter().map(String::as_str).filter(|s| !NEVER.contains(s))
}

/// Whether `granted` has all that `scope` demands.
pub(super) fn covers(granted: &[String], scope: &[String]) -> bool {
    demanded(scope).all(|name| has(granted, name))
}

/// Whether `granted` has `name`. A provider that grants something, and tells not even `openid`, tells
/// the scope of its API only, as Entra ID does: whether it grants claims is not known, nor asked.
fn has(granted: &[String], name: &str) -> bool {
    let listed = |name: &str| granted.iter().any(|g| g == name);
    let alias = ALIASES.iter().any(|(usual, other)| *usual == name && listed(other));
    listed(name) || alias || (CLAIMS.contains(&name) && tells_no_claims(granted))
}

fn tells_no_claims(granted: &[String]) -> bool {
    let tells = |g: &String| {
        NEVER.contains(&g.as_str())
            || CLAIMS.contains(&g.as_str())
            || ALIASES.iter().any(|(_, other)| other == g)
    };
    !granted.is_empty() && !granted.iter().any(tells)
}

/// Whether some of it asks for claims: only such may go by other names, or by none.
pub(super) fn asks_for_claims(scope: &[String]) -> bool {
    scope.iter().any(|name| CLAIMS.contains(&name.as_str()))
}

/// What of `wanted` a token with these claims must have by its own name.
pub(super) fn by_name(claims: &Json, wanted: Vec<String>) -> Vec<String> {
    if !asks_for_claims(&wanted) {
        return wanted;
    }
    let granted: Vec<String> = scopes(claims).map(str::to_owned).collect();
    wanted.into_iter().filter(|w| granted.contains(w) || !has(&granted, w)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_asks_for_tokens_is_not_demanded() {
        assert!(covers(&names("a"), &names("openid offline_access a")));
        assert!(!covers(&[], &names("a")));
    }

    #[test]
    fn claims_may_have_other_names_or_none() {
        let google = "openid https://www.googleapis.com/auth/userinfo.email";
        assert!(covers(&names(google), &names("email")));
        assert!(!covers(&names(google), &names("profile")));
        assert!(covers(&names("api://id/orders.read"), &names("profile api://id/orders.read")));
        assert!(!covers(&names("api://id/orders.read"), &names("orders.write")));
        assert!(!covers(&names("openid"), &names("profile")));
        assert!(!covers(&[], &names("profile")), "an empty grant grants nothing");
    }

    #[test]
    fn tokens_have_their_own_names() {
        let entra = json!({"scp": "orders.read"});
        assert_eq!(by_name(&entra, names("profile orders.read")), names("orders.read"));
        assert_eq!(by_name(&entra, names("orders.write")), names("orders.write"));
        let okta = json!({"scp": ["openid", "profile"]});
        assert_eq!(by_name(&okta, names("profile email")), names("profile email"));
    }
}
