use super::*;

fn read(url: &str, variables: &[(&str, &str)]) -> Result<RedisServer, String> {
    let get = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
    RedisServer::read(&get, "REDIS", url, Duration::from_millis(15))
}

#[test]
fn credentials_are_not_shown() {
    assert_eq!(redacted("redis://u:secret@h:1"), "redis://…@h:1");
    assert_eq!(redacted("u:se@cret@h:1"), "…@h:1");
    assert_eq!(redacted("h:1"), "h:1");
    let error = read("redis+x://u:secret@h:1", &[]).unwrap_err();
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn numbers_and_times_are_bounded() {
    assert_eq!(read("h:1", &[("REDIS_POOL_SIZE", "3")]).unwrap().connections, 3);
    for wrong in ["0", "1001", "x", "-1"] {
        assert!(read("h:1", &[("REDIS_POOL_SIZE", wrong)]).is_err(), "{wrong}");
    }
    let timeout = |text| read("h:1", &[("REDIS_TIMEOUT", text)]).map(|s| s.timeout);
    assert_eq!(timeout("1s"), Ok(Duration::from_secs(1)));
    assert_eq!(timeout("0s"), Ok(Duration::from_millis(15)));
    assert!(timeout("soon").is_err());
}

fn credentials_of(variables: &[(&str, &str)]) -> Option<(Option<String>, String)> {
    let credentials = read("h:1", variables).unwrap().credentials;
    credentials.map(|(user, password)| (user, password.expose().clone()))
}

#[test]
fn several_servers_are_a_cluster_or_sentinels() {
    let of = |kind, url| read(url, &[("REDIS_TYPE", kind), ("REDIS_SENTINEL_AUTH", "s")]);
    let cluster = of("cluster", "rediss://u:p@h:1,h:2").unwrap();
    assert_eq!(cluster.shown(), "Cluster h:1,h:2 over TLS");
    let (user, password) = cluster.credentials.unwrap();
    assert_eq!((user.as_deref(), password.expose().as_str()), (Some("u"), "p"));
    let sentinel = of("SENTINEL", "mymaster,h:1,h:2").unwrap();
    assert_eq!(sentinel.shown(), "`mymaster` of Sentinel h:1,h:2");
    assert!(of("SENTINEL", "h:1,h:2").unwrap_err().contains("master's name"));
    assert!(of("SENTINEL", "mymaster").unwrap_err().contains("master's name"));
    assert!(of("CLUSTER", "h:1,h").unwrap_err().contains("host:port"));
    assert!(of("RING", "h:1").unwrap_err().starts_with("REDIS_TYPE=RING"));
}

#[test]
fn tls_is_told_by_switches() {
    let tls = |variables: &[(&str, &str)]| read("h:1", variables).map(|r| r.tls.map(|t| t.trust));
    assert_eq!(tls(&[]), Ok(None));
    assert_eq!(tls(&[("REDIS_TLS", "true")]), Ok(Some(Trust::Full)));
    let any = [("REDIS_TLS", "1"), ("REDIS_TLS_SKIP_HOSTNAME_VERIFICATION", "true")];
    assert_eq!(tls(&any), Ok(Some(Trust::AnyHost)));
    let nothing = [("REDIS_TLS_ENABLED", "true"), ("REDIS_TLS_INSECURE", "true")];
    assert_eq!(tls(&nothing), Ok(Some(Trust::Nothing)));
    assert!(tls(&[("REDIS_TLS", "true"), ("REDIS_TLS_CLIENT_CERT", "c")]).is_err());
}

#[test]
fn users_and_passwords_come_by_several_names() {
    assert_eq!(credentials_of(&[]), None);
    assert_eq!(credentials_of(&[("REDIS_AUTH", "p")]), Some((None, "p".to_owned())));
    let named = Some((Some("u".to_owned()), "p:q".to_owned()));
    assert_eq!(credentials_of(&[("REDIS_AUTH", "u:p:q")]), named);
    assert_eq!(credentials_of(&[("REDIS_AUTH", "p:q"), ("REDIS_USERNAME", "u")]), named);
    assert_eq!(credentials_of(&[("REDIS_PASSWORD", "p:q"), ("REDIS_USERNAME", "u")]), named);
    let error = read("h:1", &[("REDIS_USERNAME", "u")]).unwrap_err();
    assert!(error.contains("without REDIS_PASSWORD"), "{error}");
}
