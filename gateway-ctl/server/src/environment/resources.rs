//! Which environment variables resources may name. Whoever may write a Mapping can have their values
//! looked up as host names, so secrets must not be among them.

use std::collections::BTreeMap;

/// Stands for every variable whose name does not tell of a secret.
const ALL: &str = "*";
/// What names of secrets have in them.
const INSIDE: [&str; 5] = ["SECRET", "TOKEN", "PASSW", "CREDENTIAL", "PRIVATE"];
/// What they end with.
const ENDINGS: [&str; 5] = ["_KEY", "_AUTH", "_URL", "_DSN", "_PASS"];

/// The variables of this process that are named; those that are not set are left out.
pub(crate) fn of_resources(names: &[String]) -> BTreeMap<String, String> {
    let all = names.iter().any(|name| name == ALL);
    let is_named = |name: &String| names.contains(name) || all && !tells_of_secret(name);
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| is_named(name))
        .collect()
}

fn tells_of_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    INSIDE.iter().any(|part| name.contains(part)) || ENDINGS.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_of_secrets() {
        for name in
            ["ADMIN_TOKEN", "REDIS_PASSWORD", "REDIS_AUTH", "redis_url", "AWS_SECRET_X", "API_KEY"]
        {
            assert!(tells_of_secret(name), "{name}");
        }
        for name in
            ["HOST_IP", "POD_NAME", "AUTH_SERVICE_HOST", "KEYCLOAK_SERVICE_HOST", "MY_SERVICE"]
        {
            assert!(!tells_of_secret(name), "{name}");
        }
    }

    #[test]
    fn what_is_named_is_taken() {
        let one = |name: &str| of_resources(&[name.to_owned()]);
        assert!(one("*").contains_key("PATH") && one("*").len() > 1);
        assert_eq!(one("PATH").keys().collect::<Vec<_>>(), ["PATH"]);
        assert!(one("NOT_SET_ANYWHERE").is_empty());
    }
}
