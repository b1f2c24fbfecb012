//! Filter kind IP: the client's address. A client whose address is not known is refused.

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Judge, Judged, Verdict};
use crate::arguments::Arguments;
use crate::compile::Compiling;
use crate::context::Context;
use crate::reply::Reply;

/// The arguments it takes.
pub(crate) const ARGUMENTS: &[&str] = &[];

/// Most ranges of a list.
const MAX_RANGES: usize = 10_000;
/// Most proxies that may be trusted.
const MAX_HOPS: u32 = 32;

/// `Filter.spec.IP`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Ranges of addresses (CIDR) that may pass; all others may not. Default: all may.
    #[serde(default)]
    pub allow: Option<Vec<String>>,
    /// Ranges of addresses (CIDR) that may not pass, also when `allow` has them.
    #[serde(default)]
    pub deny: Option<Vec<String>>,
    /// Proxies in front of Envoy that are trusted: the client is that many addresses from the end
    /// of `x-forwarded-for`, to which Envoy added the one it saw. Default: 0, the address that Envoy
    /// saw.
    #[serde(default)]
    #[schemars(range(max = 32))]
    pub trusted_hops: Option<u32>,
}

/// A compiled IP filter.
#[derive(Debug)]
pub struct Ip {
    allow: Option<Vec<IpNet>>,
    deny: Vec<IpNet>,
    trusted_hops: usize,
}

impl Judge for Ip {
    fn judge(&self, context: &Context<'_>, _: &Arguments) -> Judged {
        let refuse =
            |why: &'static str| Ok(Verdict::Deny(Reply::json(403, why, context.request_id())));
        let Some(address) = self.client(context) else {
            return refuse("the client's address is not known");
        };
        let within = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address));
        if within(&self.deny) || self.allow.as_deref().is_some_and(|allow| !within(allow)) {
            return refuse("the client's address may not pass");
        }
        Ok(Verdict::allow())
    }
}

impl Ip {
    /// The client's address; an IPv4 address is one in every spelling.
    fn client(&self, context: &Context<'_>) -> Option<IpAddr> {
        if self.trusted_hops == 0 {
            return context.request.source().address.map(|a| a.to_canonical());
        }
        // What filters made of the header does not count, nor what the client put in front.
        let header = context.request.header("x-forwarded-for")?;
        let text = header.rsplit(',').nth(self.trusted_hops)?.trim();
        text.parse::<IpAddr>().ok().map(|a| a.to_canonical())
    }
}

/// Compiles `spec`. What is wrong is told to `compiling`.
pub(crate) fn compile(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Box<dyn Judge>> {
    let allow = spec.allow.as_deref().map(|list| ranges("allow", list, compiling));
    let deny = ranges("deny", spec.deny.as_deref().unwrap_or_default(), compiling);
    if allow.is_none() && deny.is_empty() {
        compiling
            .error("", "neither allow nor deny has a range")
            .hint("write it like allow: [10.0.0.0/8]");
    }
    if allow.as_ref().is_some_and(Vec::is_empty) {
        compiling.error("allow", "no range, so nobody could pass").hint("name one, or remove it");
    }
    let hops = spec.trusted_hops.unwrap_or_default();
    if hops > MAX_HOPS {
        compiling.error("trustedHops", format!("more than {MAX_HOPS}"));
    }
    let trusted_hops = usize::try_from(hops).unwrap_or(usize::MAX);
    Some(Box::new(Ip { allow, deny, trusted_hops }))
}

/// Those that are ranges; an address alone is one of one.
fn ranges(field: &str, list: &[String], compiling: &mut Compiling<'_, '_>) -> Vec<IpNet> {
    if list.len() > MAX_RANGES {
        compiling.error(field, format!("more than {MAX_RANGES} ranges"));
    }
    let mut ranges = Vec::new();
    for (i, text) in list.iter().enumerate().take(MAX_RANGES) {
        let address = || text.trim().parse::<IpAddr>().map(|a| IpNet::from(a.to_canonical()));
        match text.trim().parse::<IpNet>().or_else(|_| address()) {
            Ok(net) => ranges.push(net.trunc()),
            Err(_) => {
                compiling
                    .error(&format!("{field}[{i}]"), format!("`{text}` is no range of addresses"))
                    .hint("write it like 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32");
            }
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};
    use service_kit::Object;

    use crate::compile::{Settings, compile};
    use crate::{Flow, Outcome, Request, Step};

    fn passes(spec: &Value, source: &str, forwarded: Option<&str>) -> bool {
        use proto::envoy::config::core::v3::address::Address as Kind;
        use proto::envoy::config::core::v3::{Address, SocketAddress};
        use proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request as R};
        use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest};
        let (snapshot, found) = snapshot(spec);
        assert!(found.is_empty(), "{found:?}");
        let headers = forwarded.map(|f| ("x-forwarded-for".to_owned(), f.to_owned()));
        let http = HttpRequest { headers: headers.into_iter().collect(), ..Default::default() };
        let socket = SocketAddress { address: source.to_owned(), ..Default::default() };
        let address = Address { address: Some(Kind::SocketAddress(socket)) };
        let request = Request::from_check(CheckRequest {
            attributes: Some(AttributeContext {
                source: Some(Peer { address: Some(address), ..Default::default() }),
                request: Some(R { http: Some(http), time: None }),
                ..Default::default()
            }),
        });
        let mut flow = Flow::new(snapshot, request.unwrap(), std::time::Duration::ZERO);
        matches!(flow.step(&()), Step::Done(Outcome::Allow(_)))
    }

    fn snapshot(spec: &Value) -> (Arc<crate::Snapshot>, Vec<String>) {
        let object = |kind: &str, name: &str, spec: Value| {
            Object::from_json(json!({"apiVersion": "getambassador.io/v3alpha1", "kind": kind,
                "metadata": {"name": name, "namespace": "ns"}, "spec": spec}))
            .unwrap()
        };
        let objects = [
            object("Filter", "x", json!({"IP": spec})),
            object("FilterPolicy", "p", json!({"rules": [{"filters": [{"name": "x"}]}]})),
        ];
        let compiled = compile(objects.iter(), &Settings::default());
        (Arc::new(compiled.snapshot), compiled.found.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn only_what_is_allowed_and_not_denied_passes() {
        let spec = json!({"allow": ["10.0.0.0/8", "2001:db8::/32"], "deny": ["10.6.6.6"]});
        for (source, good) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.6.6.6", false),
            ("11.0.0.1", false),
            ("2001:db8::7", true),
            ("2001:db9::7", false),
            ("", false),
        ] {
            assert_eq!(passes(&spec, source, None), good, "{source}");
        }
        assert!(passes(&json!({"deny": ["10.0.0.0/8"]}), "11.0.0.1", None));
    }

    #[test]
    fn behind_proxies_the_client_is_the_one_they_saw() {
        let spec = json!({"allow": ["192.0.2.0/24"], "trustedHops": 1});
        let proxy = "10.0.0.1";
        assert!(passes(&spec, proxy, Some("192.0.2.7, 10.0.0.1")));
        assert!(!passes(&spec, proxy, Some("192.0.2.7, 203.0.113.9, 10.0.0.1")), "forged");
        for bad in [None, Some("192.0.2.7"), Some("x, 10.0.0.1"), Some("")] {
            assert!(!passes(&spec, proxy, bad), "{bad:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (spec, words) in [
            (json!({}), "neither allow nor deny"),
            (json!({"allow": []}), "nobody could pass"),
            (json!({"deny": ["10.0.0.0/33"]}), "no range of addresses"),
            (json!({"allow": ["localhost"]}), "no range of addresses"),
            (json!({"deny": ["10.0.0.1"], "trustedHops": 99}), "more than 32"),
        ] {
            let (_, found) = snapshot(&spec);
            assert!(found.iter().any(|f| f.contains(words)), "{words}: {found:?}");
        }
    }
}
