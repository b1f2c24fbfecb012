//! Addresses that are never called, whoever names them: those of a cloud's metadata above all.
//! Checked where a name is resolved, too, so that a name cannot lead there.

mod forbidden;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Which addresses may be called; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addresses(Arc<Lists>);

#[derive(Debug, Default)]
struct Lists {
    /// May not, besides those that never may.
    deny: Vec<IpNet>,
    /// May, whatever else is said.
    allow: Vec<IpNet>,
}

impl Addresses {
    /// With ranges that may not be called, and ranges that may in spite of all rules.
    pub(crate) fn new(deny: Vec<IpNet>, allow: Vec<IpNet>) -> Self {
        Self(Arc::new(Lists { deny, allow }))
    }

    /// Whether an address may be called.
    pub(crate) fn may_call(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let within = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address));
        if within(&self.0.allow) {
            return true;
        }
        !forbidden::is_forbidden(address) && !within(&self.0.deny)
    }

    /// Whether a URL may be called: none whose host is an address that may not. A name is judged
    /// when it is resolved.
    pub(crate) fn may_call_url(&self, url: &reqwest::Url) -> bool {
        // The parser of URLs has brought every spelling of an address into one.
        match url.host() {
            Some(url::Host::Ipv4(v4)) => self.may_call(v4.into()),
            Some(url::Host::Ipv6(v6)) => self.may_call(v6.into()),
            Some(url::Host::Domain(_)) => true,
            None => false,
        }
    }

    /// A client's settings that every call shares: no redirects, and only addresses that may be
    /// called.
    pub(crate) fn client(&self) -> reqwest::ClientBuilder {
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Arc::new(Resolver(self.clone())))
            .user_agent(concat!("authz-svc/", env!("CARGO_PKG_VERSION")))
    }
}

/// The system's resolver, without what may not be called.
struct Resolver(Addresses);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let addresses = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let (good, bad): (Vec<SocketAddr>, Vec<SocketAddr>) =
                found.partition(|socket| addresses.may_call(socket.ip()));
            if good.is_empty() && !bad.is_empty() {
                return Err(Forbidden.into());
            }
            Ok(Box::new(good.into_iter()) as Addrs)
        })
    }
}

/// A name has only addresses that may not be called.
#[derive(Debug)]
pub(crate) struct Forbidden;

impl std::fmt::Display for Forbidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("its address must not be called (see --deny-addresses)")
    }
}

impl std::error::Error for Forbidden {}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(url: &str) -> bool {
        Addresses::default().may_call_url(&url.parse().unwrap())
    }

    #[test]
    fn metadata_is_not_called_in_any_spelling() {
        for url in [
            "http://169.254.169.254/latest/meta-data",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://0251.0376.0251.0376/",
            "http://[::ffff:169.254.169.254]/",
            "http://[fe80::1]/",
            "http://[fd00:ec2::254]/",
            "http://100.100.100.200/",
            "http://0.0.0.0:80/",
            "http://0/",
            "http://255.255.255.255/",
            "http://224.0.0.1/",
        ] {
            assert!(!may(url), "{url}");
        }
        for url in ["http://127.0.0.1:1/", "http://10.0.0.7/", "https://idp.test/", "http://[::1]/"]
        {
            assert!(may(url), "{url}");
        }
    }

    #[test]
    fn settings_add_and_exempt() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let addresses = Addresses::new(vec![net("10.0.0.0/8")], vec![net("169.254.1.0/24")]);
        let may = |ip: &str| addresses.may_call(ip.parse().unwrap());
        assert!(!may("10.1.2.3") && may("11.1.2.3"));
        assert!(may("169.254.1.7") && !may("169.254.2.7"));
    }
}
