//! The hosts of the service: there is none, or none that is well.

use gateway_core::overview::ClusterOverview;

use super::upstream::{RESET, RESET_DETAILS};
use super::{Cause, Found, Look, certain};
use crate::explain::endpoints_of;
use crate::explain::endpoints_of::Backing;
use crate::explain::facts::{EnvoyHost, Facts, MOST, dns_name, in_consul};

const NO_HOSTS: &[&str] = &["no healthy upstream", "no_healthy_upstream"];

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "service-missing",
        title: "The Service does not exist",
        statuses: &[503],
        flags: &["UH"],
        words: NO_HOSTS,
        proof: &[],
        sees: "`no healthy upstream`",
        why: "The Mapping names a Service that is not there, or is in another namespace: a bare name is looked for in the Mapping's own.",
        next: "`kubectl get services -A`; write the name as `name.namespace` in `spec.service`",
        look: |facts| backing(facts, |b| matches!(b, Backing::NoService)),
    },
    Cause {
        id: "port-unknown",
        title: "The Service has no such port",
        statuses: &[503],
        flags: &["UH"],
        words: NO_HOSTS,
        proof: &[],
        sees: "`no healthy upstream`",
        why: "The port in `spec.service` (80 when there is none, 443 with https) is not a port of the Service. It is the Service's port that counts, not the container's.",
        next: "write one of the Service's ports behind the name in `spec.service`",
        look: |facts| backing(facts, |b| matches!(b, Backing::NoPort(_))),
    },
    Cause {
        id: "port-unnamed",
        title: "No pod has the port that the Service names",
        statuses: &[503],
        flags: &["UH"],
        words: NO_HOSTS,
        proof: &[],
        sees: "`no healthy upstream`",
        why: "The Service has the port, but its `targetPort` is the name of a port that no container of its pods has, so the EndpointSlices are without it.",
        next: "give the container port that name, or write a number as `targetPort`",
        look: |facts| backing(facts, |b| matches!(b, Backing::PortUnnamed(_))),
    },
    Cause {
        id: "no-pods",
        title: "The Service selects no pod",
        statuses: &[503],
        flags: &["UH"],
        words: NO_HOSTS,
        proof: &[],
        sees: "`no healthy upstream`",
        why: "No EndpointSlice of the Service has an address: its selector fits no pod, or there are no pods.",
        next: "`kubectl get pods -l SELECTOR` with the Service's selector; correct the selector or the labels, or start pods",
        look: |facts| backing(facts, |b| matches!(b, Backing::NoPods(_))),
    },
    Cause {
        id: "pods-not-ready",
        title: "No pod of the Service is ready",
        statuses: &[503],
        flags: &["UH"],
        words: NO_HOSTS,
        proof: &[],
        sees: "`no healthy upstream`",
        why: "The pods are there, and Kubernetes says of none that it is ready.",
        next: "`kubectl describe pods -l SELECTOR`: look at the readiness probe",
        look: |facts| backing(facts, |b| matches!(b, Backing::NotReady(_))),
    },
    Cause {
        id: "consul-no-instances",
        title: "Consul knows no healthy instance",
        statuses: &[503],
        flags: &["UH"],
        words: NO_HOSTS,
        proof: &[],
        sees: "`no healthy upstream`",
        why: "The Mapping's resolver asks Consul, which has no passing instance of the service, or has not answered yet.",
        next: "`consul catalog nodes -service NAME` and `consul watch -type=checks -state=critical`",
        look: consul,
    },
    Cause {
        id: "dns-empty",
        title: "The name of the service resolves to nothing",
        statuses: &[503],
        flags: &["UH"],
        words: NO_HOSTS,
        proof: &[],
        sees: "`no healthy upstream`",
        why: "Envoy itself looks the name up and gets no address: it is misspelt, in another namespace, or DNS does not answer. With `enable_ipv6` off an IPv6 address does not count.",
        next: "`kubectl run -it --rm dns --image=busybox -- nslookup NAME` where the gateway runs",
        look: dns,
    },
    Cause {
        id: "hosts-unhealthy",
        title: "Every host fails its health check",
        statuses: &[503],
        flags: &["UH", "UF"],
        words: &[NO_HOSTS[0], NO_HOSTS[1], RESET, RESET_DETAILS],
        proof: &[],
        sees: "`no healthy upstream`, or what the sick hosts answer",
        why: "The Mapping has `health_checks`, and no host passes them. While more than half of the hosts are sick Envoy asks all of them all the same.",
        next: "ask the path of `spec.health_checks` at a host; correct the path, the expected statuses or the service",
        look: unhealthy,
    },
    Cause {
        id: "hosts-ejected",
        title: "Every host is ejected as an outlier",
        statuses: &[500, 502, 503, 504],
        flags: &["-", "UH", "UF", "UC", "URX"],
        words: &[NO_HOSTS[0], NO_HOSTS[1], RESET, RESET_DETAILS, "via_upstream"],
        proof: &["failed_outlier_check"],
        sees: "`no healthy upstream`, or what the ejected hosts answer",
        why: "The Mapping has `outlier_detection`, and its hosts failed so often that they are left out for `base_ejection_time`, longer each time. While more than half of the hosts are out Envoy asks all of them all the same.",
        next: "look at what the hosts answer (their log, and lines of the access log before the ejection); keep hosts in by a lower `max_ejection_percent`, or a higher `consecutive_5xx`, of `spec.outlier_detection`",
        look: ejected,
    },
];

/// The clusters in question whose Service is like that.
fn backing(facts: &Facts<'_>, is_it: fn(&Backing) -> bool) -> Option<Look> {
    let found = facts.clusters().into_iter().filter_map(|cluster| {
        let backing = endpoints_of::look(facts, cluster)?;
        is_it(&backing).then(|| backing.found(facts, cluster))
    });
    certain(found.take(MOST).collect())
}

fn consul(facts: &Facts<'_>) -> Option<Look> {
    let clusters = facts.clusters();
    let found = clusters.iter().filter_map(|c| {
        let name = in_consul(c)?;
        let words = match facts.material.endpoints.get(&c.address) {
            Some(list) if list.is_empty() => {
                format!("Consul says that `{name}` has no passing instance")
            }
            Some(_) => return None,
            None => format!("Consul has not answered about `{name}`"),
        };
        let (datacenter, service) = name.split_once('/')?;
        let next = format!(
            "`consul health service {service} -datacenter {datacenter}`, or look in Consul's UI"
        );
        Some(Found::new(words, next, facts.owner(c).as_ref()))
    });
    certain(found.take(MOST).collect())
}

fn dns(facts: &Facts<'_>) -> Option<Look> {
    let clusters = facts.clusters();
    let by_name: Vec<&ClusterOverview> =
        clusters.into_iter().filter(|c| dns_name(c).is_some()).collect();
    let one = |c: &&ClusterOverview| {
        let name = dns_name(c).unwrap_or_default();
        let words = format!("`{name}` of cluster {} has no address in DNS", c.name);
        Found::new(
            words,
            format!("`nslookup {name}` where the gateway runs"),
            facts.owner(c).as_ref(),
        )
    };
    let empty = by_name.iter().filter(|c| facts.hosts(c).is_some_and(<[_]>::is_empty));
    let empty: Vec<Found> = empty.map(one).take(MOST).collect();
    if !empty.is_empty() {
        return certain(empty);
    }
    let unknown: Vec<Found> = by_name
        .iter()
        .filter(|c| facts.hosts(c).is_none())
        .map(|c| {
            let name = dns_name(c).unwrap_or_default();
            let words = format!("Envoy looks `{name}` up in DNS, for cluster {}", c.name);
            let next = format!("`nslookup {name}` where the gateway runs; with --envoy URL of Envoy's admin page this is looked at here");
            Found::new(words, next, facts.owner(c).as_ref())
        })
        .take(MOST)
        .collect();
    (!unknown.is_empty()).then_some(Look { is_certain: false, found: unknown })
}

fn unhealthy(facts: &Facts<'_>) -> Option<Look> {
    let fails = |h: &EnvoyHost| !h.unhealthy.is_empty() && !h.is_ejected();
    sick(facts, |c| c.health_checks, "have health checks", fails)
}

fn ejected(facts: &Facts<'_>) -> Option<Look> {
    let words = "are left out when they answer badly (outlier_detection)";
    sick(facts, |c| c.outlier_detection, words, EnvoyHost::is_ejected)
}

/// The clusters of that kind without a healthy host, where one is sick in this way; those that no Envoy
/// was asked about may be like that.
fn sick(
    facts: &Facts<'_>,
    is_kind: fn(&ClusterOverview) -> bool,
    kind: &str,
    is_it: impl Fn(&EnvoyHost) -> bool,
) -> Option<Look> {
    let clusters: Vec<_> = facts.clusters().into_iter().filter(|c| is_kind(c)).collect();
    let sick = clusters.iter().filter_map(|c| {
        let hosts = facts.hosts(c)?;
        let all_sick = hosts.iter().all(|h| !h.unhealthy.is_empty()) && hosts.iter().any(&is_it);
        let named: Vec<String> =
            hosts.iter().take(MOST).map(|h| format!("{}: {}", h.address, h.unhealthy)).collect();
        let words = format!("of cluster {} no host is healthy ({})", c.name, named.join("; "));
        all_sick.then(|| Found::new(words, "", facts.owner(c).as_ref()))
    });
    let sick: Vec<Found> = sick.take(MOST).collect();
    if !sick.is_empty() {
        return certain(sick);
    }
    let unknown = clusters.iter().filter(|c| facts.hosts(c).is_none()).map(|c| {
        let words = format!("the hosts of cluster {} {kind}", c.name);
        let next = "ask again with --envoy URL of Envoy's admin page, and its hosts are looked at";
        Found::new(words, next, facts.owner(c).as_ref())
    });
    let unknown: Vec<Found> = unknown.take(MOST).collect();
    (!unknown.is_empty()).then_some(Look { is_certain: false, found: unknown })
}
