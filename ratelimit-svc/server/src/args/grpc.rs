//! Settings of the gRPC port: those of envoyproxy/ratelimit.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use service_kit::server::grpc::{Address, Limits};
use service_kit::server::tls::{Clients, Source};

use crate::environment::Environment;

/// After this time callers are told to connect again, so that new replicas get their share within
/// minutes. The original's 24 h leave a new replica without requests for a day.
const AGE: Duration = Duration::from_secs(30 * 60);
/// From there to the end, at most, as the original: only calls that hang are ended by it.
const GRACE: Duration = Duration::from_secs(3600);

/// The gRPC port.
#[derive(Clone, Debug)]
pub(crate) struct GrpcSettings {
    pub address: Address,
    /// Its own certificate; without one, that of --tls-dir, if there is one.
    pub tls: Option<Source>,
    pub limits: Limits,
}

/// `address` is that of the command line, `tcp` that of GRPC_HOST and GRPC_PORT; `has_tls_dir`
/// whether there is a certificate already.
pub(super) fn grpc(
    env: &Environment,
    address: Option<&Address>,
    tcp: impl FnOnce() -> anyhow::Result<SocketAddr>,
    has_tls_dir: bool,
) -> anyhow::Result<GrpcSettings> {
    let address = match (address, env.get("GRPC_UDS")) {
        (Some(address), _) => address.clone(),
        (None, Some(path)) => Address::Unix(path.into()),
        (None, None) => Address::Tcp(tcp()?),
    };
    let limits = Limits {
        age: forever_is_zero(env.duration("GRPC_MAX_CONNECTION_AGE")?.unwrap_or(AGE)),
        age_grace: forever_is_zero(env.duration("GRPC_MAX_CONNECTION_AGE_GRACE")?.unwrap_or(GRACE))
            .unwrap_or(Duration::MAX),
        ..Limits::default()
    };
    Ok(GrpcSettings { address, tls: tls(env, has_tls_dir)?, limits })
}

/// In Go's gRPC, 0 is no limit.
fn forever_is_zero(time: Duration) -> Option<Duration> {
    Some(time).filter(|time| !time.is_zero())
}

fn tls(env: &Environment, has_tls_dir: bool) -> anyhow::Result<Option<Source>> {
    const SWITCH: &str = "GRPC_SERVER_USE_TLS";
    if !env.flag(SWITCH, false)? {
        return Ok(None);
    }
    if has_tls_dir {
        bail!("{SWITCH} and --tls-dir are both set; the port has one certificate, leave one out");
    }
    let file = |name: &str| env.get(name).map(PathBuf::from);
    let (Some(chain), Some(key)) = (file("GRPC_SERVER_TLS_CERT"), file("GRPC_SERVER_TLS_KEY"))
    else {
        bail!("{SWITCH}=true needs files; name them in GRPC_SERVER_TLS_CERT and _KEY");
    };
    let ca = file("GRPC_CLIENT_TLS_CACERT");
    let client_name = env.get("GRPC_CLIENT_TLS_SAN").map(str::to_owned);
    if client_name.is_some() && ca.is_none() {
        bail!(
            "GRPC_CLIENT_TLS_SAN needs an authority that names can be believed of; name its file in GRPC_CLIENT_TLS_CACERT"
        );
    }
    Ok(Some(Source { setting: SWITCH, chain, key, ca, clients: Clients::Require, client_name }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)], has_tls_dir: bool) -> Result<GrpcSettings, String> {
        let tcp = || Ok(([127, 0, 0, 1], 8081).into());
        grpc(&Environment::of(variables), None, tcp, has_tls_dir).map_err(|e| e.to_string())
    }

    #[test]
    fn a_socket_goes_before_host_and_port_and_a_flag_before_both() {
        let of = |variables: &[_]| read(variables, false).unwrap().address.to_string();
        assert_eq!(of(&[]), "127.0.0.1:8081");
        assert_eq!(of(&[("GRPC_UDS", "/run/rls.sock")]), "unix:/run/rls.sock");
        let env = Environment::of(&[("GRPC_UDS", "/run/rls.sock")]);
        let flag = "127.0.0.1:1".parse().unwrap();
        let settings = grpc(&env, Some(&flag), || bail!("not asked"), false).unwrap();
        assert_eq!(settings.address, flag);
    }

    #[test]
    fn connections_age_unless_told_not_to() {
        let ages = |variables: &[_]| {
            let limits = read(variables, false).unwrap().limits;
            (limits.age, limits.age_grace)
        };
        assert_eq!(ages(&[]), (Some(AGE), GRACE));
        let set = [("GRPC_MAX_CONNECTION_AGE", "5m"), ("GRPC_MAX_CONNECTION_AGE_GRACE", "10s")];
        assert_eq!(ages(&set), (Some(Duration::from_secs(300)), Duration::from_secs(10)));
        let never = [("GRPC_MAX_CONNECTION_AGE", "0"), ("GRPC_MAX_CONNECTION_AGE_GRACE", "0s")];
        assert_eq!(ages(&never), (None, Duration::MAX));
        assert!(read(&[("GRPC_MAX_CONNECTION_AGE", "long")], false).is_err());
    }

    #[test]
    fn tls_is_asked_for_whole_or_not_at_all() {
        let on = ("GRPC_SERVER_USE_TLS", "true");
        let pair = [on, ("GRPC_SERVER_TLS_CERT", "/c"), ("GRPC_SERVER_TLS_KEY", "/k")];
        let san = ("GRPC_CLIENT_TLS_SAN", "envoy.example");
        let with = |more: &[_]| [&pair, more].concat();
        assert_eq!(read(&[san], false).unwrap().tls, None);
        let source = read(&pair, false).unwrap().tls.unwrap();
        assert_eq!((source.ca, source.client_name), (None, None));
        let all = read(&with(&[("GRPC_CLIENT_TLS_CACERT", "/ca"), san]), false).unwrap();
        let source = all.tls.unwrap();
        assert_eq!(source.ca, Some("/ca".into()));
        assert_eq!(source.client_name.as_deref(), Some("envoy.example"));
        for (variables, has_tls_dir, why) in [
            (vec![on], false, "GRPC_SERVER_TLS_CERT"),
            (with(&[san]), false, "GRPC_CLIENT_TLS_CACERT"),
            (with(&[]), true, "--tls-dir"),
        ] {
            let error = read(&variables, has_tls_dir).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
