//! What is known when a cause is looked for: what is in force, the objects, what is wrong with them,
//! endpoints, and what an Envoy says of its hosts. No IO.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gateway_core::overview::{ClusterOverview, RouteOverview};
use gateway_core::{Engine, Overview, ResourceType};
use serde_json::Value;
use service_kit::{Diagnostic, Object, ObjectRef, Severity};

use super::way::Way;
use super::{Counters, Request, Symptom};
use crate::endpoints::addresses;
use crate::services::Sample;

/// Objects that are named for one cause at most.
pub(super) const MOST: usize = 5;

/// What an engine knows.
#[derive(Debug, Default)]
pub struct Material {
    /// What is in force.
    pub overview: Overview,
    /// The newest version of each object.
    pub objects: Vec<Arc<Object>>,
    /// All that is wrong.
    pub diagnostics: Arc<Vec<Diagnostic>>,
    /// Endpoints that Envoys are told of, by the name of the resource.
    pub endpoints: BTreeMap<String, Vec<String>>,
    /// Which objects are taken.
    pub ambassador_id: String,
}

impl Material {
    /// Asks an engine; `diagnostics` are all that is wrong.
    pub fn of(engine: &Engine, diagnostics: Arc<Vec<Diagnostic>>) -> Self {
        let endpoints = engine.resources().filter(|r| r.resource_type == ResourceType::Endpoint);
        Self {
            overview: engine.overview(),
            objects: engine.latest_objects(),
            diagnostics,
            endpoints: endpoints
                .filter_map(|r| Some((r.name.clone(), addresses(&r.body)?)))
                .collect(),
            ambassador_id: engine.settings().ambassador_id.clone(),
        }
    }

    /// Objects that have errors.
    pub(super) fn refused(&self) -> Vec<ObjectRef> {
        let errors = self.diagnostics.iter().filter(|d| d.severity == Severity::Error);
        errors.map(|d| d.object.clone()).collect()
    }
}

/// The hosts of clusters, as an Envoy sees them: its admin page's `/clusters?format=json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EnvoyHosts(pub BTreeMap<String, Vec<EnvoyHost>>);

/// Why a host is not healthy that `health_checks` found out.
const FAILS: &str = "its health check fails";
/// Why a host is not healthy that `outlier_detection` left out.
const EJECTED: &str = "it is ejected as an outlier";

/// A host of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EnvoyHost {
    /// `address:port`.
    pub address: String,
    /// Why it is not healthy; empty when it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unhealthy: String,
}

impl EnvoyHosts {
    /// Reads what Envoy's admin page says.
    pub fn read(json: &Value) -> Self {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let clusters = list(&json["cluster_statuses"]);
        let hosts = clusters.iter().filter_map(|cluster| {
            let hosts = list(&cluster["host_statuses"]).iter().map(EnvoyHost::read).collect();
            Some((cluster["name"].as_str()?.to_owned(), hosts))
        });
        Self(hosts.collect())
    }

    /// Reads what Envoy's statistics say: of hosts that health checks or outlier detection can put out, and of
    /// clusters that have none.
    pub fn of_statistics(samples: &[Sample], clusters: &[ClusterOverview]) -> Self {
        let mut hosts: BTreeMap<&str, BTreeMap<&str, bool>> = BTreeMap::new();
        let (mut ejected, mut empty) = (BTreeMap::new(), BTreeSet::new());
        for sample in samples {
            let cluster = sample.label("envoy_cluster_name");
            let is_set = sample.value > 0.0;
            match sample.name.as_str() {
                "envoy_cluster_endpoint_healthy" => {
                    let address = sample.label("envoy_endpoint_address");
                    // Clusters of one service share the name: where they differ, the worst is told.
                    let known = hosts.entry(cluster).or_default();
                    known.entry(address).and_modify(|well| *well &= is_set).or_insert(is_set);
                }
                "envoy_cluster_membership_total" if !is_set => {
                    empty.insert(cluster);
                }
                "envoy_cluster_outlier_detection_ejections_active" => {
                    ejected.insert(cluster, sample.value);
                }
                _ => {}
            }
        }
        let of = |c: &ClusterOverview| {
            let judged = c.health_checks || c.outlier_detection;
            let of_name = hosts.get(c.alt_stat_name.as_str()).filter(|_| judged);
            let Some(hosts) = of_name else {
                return empty.contains(c.alt_stat_name.as_str()).then(Vec::new);
            };
            let sick = hosts.values().filter(|is_healthy| !**is_healthy).count();
            let ejected = ejected.get(c.alt_stat_name.as_str()).copied().unwrap_or_default();
            #[allow(clippy::cast_precision_loss)] // so many hosts nobody has
            let why = match (c.health_checks, c.outlier_detection) {
                (true, false) => FAILS,
                (false, _) => EJECTED,
                (true, true) if ejected == 0.0 => FAILS,
                (true, true) if ejected >= sick as f64 => EJECTED,
                (true, true) => "its health check fails, or it is ejected as an outlier",
            };
            let host = |(address, is_healthy): (&&str, &bool)| EnvoyHost {
                address: (*address).to_owned(),
                unhealthy: if *is_healthy { "" } else { why }.to_owned(),
            };
            Some(hosts.iter().map(host).collect())
        };
        Self(clusters.iter().filter_map(|c| Some((c.name.clone(), of(c)?))).collect())
    }

    /// What several Envoys say: a host is sick when it is in each that knows it.
    pub fn merged(all: impl IntoIterator<Item = Self>) -> Self {
        let mut merged: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (cluster, hosts) in all.into_iter().flat_map(|hosts| hosts.0) {
            let known = merged.entry(cluster).or_default();
            for host in hosts {
                known
                    .entry(host.address)
                    .and_modify(|why| {
                        if host.unhealthy.is_empty() {
                            why.clear();
                        }
                    })
                    .or_insert(host.unhealthy);
            }
        }
        let hosts = |hosts: BTreeMap<String, String>| {
            hosts.into_iter().map(|(address, unhealthy)| EnvoyHost { address, unhealthy }).collect()
        };
        Self(merged.into_iter().map(|(cluster, known)| (cluster, hosts(known))).collect())
    }

    /// Only clusters about which there is something to say: without hosts, or with a sick one.
    #[must_use]
    pub fn remarkable(mut self, most: usize) -> Self {
        self.0.retain(|_, hosts| hosts.is_empty() || hosts.iter().any(|h| !h.unhealthy.is_empty()));
        Self(self.0.into_iter().take(most).collect())
    }
}

impl EnvoyHost {
    /// Whether it is left out because of its answers.
    pub(super) fn is_ejected(&self) -> bool {
        self.unhealthy == EJECTED
    }

    fn read(json: &Value) -> Self {
        let socket = &json["address"]["socket_address"];
        let address = format!(
            "{}:{}",
            socket["address"].as_str().unwrap_or("?"),
            socket["port_value"].as_u64().unwrap_or_default()
        );
        let health = &json["health_status"];
        let flag = |name: &str| health[name] == true;
        let unhealthy = [
            (flag("failed_active_health_check"), FAILS),
            (flag("failed_outlier_check"), EJECTED),
            (flag("failed_active_degraded_check"), "it says that it is degraded"),
            (health["eds_health_status"] == "UNHEALTHY", "it is told to be unhealthy"),
        ];
        let unhealthy = unhealthy.into_iter().find(|(is, _)| *is).map_or("", |(_, words)| words);
        Self { address, unhealthy: unhealthy.to_owned() }
    }
}

/// What others than the controller say.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// An Envoy, of its hosts.
    pub hosts: Option<EnvoyHosts>,
    /// authz-svc, of the request that a log names.
    pub decision: Option<Decision>,
    /// ratelimit-svc, of the limits that the request counts against.
    pub counters: Counters,
}

/// What authz-svc made of a request, as its page of decisions says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct Decision {
    /// As in `denied`.
    pub result: String,
    /// The status of a refusal.
    #[serde(default)]
    pub status: Option<u16>,
    /// The rule, as in `login.default[0]`; none: no rule fits.
    pub rule: Option<String>,
    /// Why the rule cannot be used.
    #[serde(default)]
    pub broken: Option<String>,
    /// The filters that were asked.
    pub filters: Vec<Judged>,
}

/// A filter, and what it said.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct Judged {
    /// `NAME.NAMESPACE`.
    pub filter: String,
    /// As in `JWT`.
    pub kind: String,
    /// As in `denied`.
    pub result: String,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

impl Decision {
    /// The filter that ended it.
    pub(super) fn last(&self) -> Option<&Judged> {
        self.filters.last().filter(|f| f.result != "allowed" && f.result != "skipped")
    }
}

impl Judged {
    /// The object.
    pub(super) fn object(&self) -> ObjectRef {
        let (name, namespace) = self.filter.rsplit_once('.').unwrap_or((&self.filter, ""));
        ObjectRef::new("Filter", namespace, name)
    }
}

/// All that a cause can look at.
pub(super) struct Facts<'a> {
    pub(super) material: &'a Material,
    pub(super) live: &'a Live,
    pub(super) request: Option<&'a Request>,
    pub(super) symptom: &'a Symptom,
    pub(super) way: Option<&'a Way<'a>>,
}

/// A Kubernetes Service's port that a cluster is made of.
pub(super) struct ServicePort<'a> {
    pub(super) namespace: &'a str,
    pub(super) service: &'a str,
    pub(super) port: u16,
}

impl<'a> Facts<'a> {
    /// What is in force.
    pub(super) fn overview(&self) -> &'a Overview {
        &self.material.overview
    }

    /// The route in question: the one that a log names, else the one that the request meets.
    pub(super) fn route(&self) -> Option<&'a RouteOverview> {
        let met = self.way.and_then(|w| w.routes.first().copied());
        let Some(name) = &self.symptom.route else { return met };
        let is_it =
            |r: &RouteOverview| format!("{}/{}", r.mapping.namespace, r.mapping.name) == *name;
        let all = self.way.into_iter().flat_map(|w| w.routes.iter().copied());
        all.chain(&self.overview().routes).find(|r| is_it(r))
    }

    /// The cluster in question.
    pub(super) fn cluster(&self) -> Option<&'a ClusterOverview> {
        let clusters = &self.overview().clusters;
        let routed = || {
            let name = self.route()?.cluster.as_deref()?;
            clusters.iter().find(|c| c.name == name)
        };
        let Some(name) = &self.symptom.cluster else { return routed() };
        // Logs in JSON have the name in statistics, which several may share.
        let is_it = |c: &ClusterOverview| c.name == *name || c.alt_stat_name == *name;
        let by_name = || clusters.iter().find(|c| c.name == *name);
        let routed = routed().filter(|c| is_it(c));
        routed.or_else(by_name).or_else(|| clusters.iter().find(|c| is_it(c)))
    }

    /// The cluster in question, or all when it is not known which; none when the request comes to
    /// none.
    pub(super) fn clusters(&self) -> Vec<&'a ClusterOverview> {
        match self.cluster() {
            Some(one) => vec![one],
            None if self.request.is_some() => Vec::new(),
            None => {
                let asked = |c: &&ClusterOverview| {
                    let is_service = |o: &ObjectRef| o.kind.ends_with("Service");
                    !c.owners.iter().all(is_service)
                };
                self.overview().clusters.iter().filter(asked).collect()
            }
        }
    }

    /// The Mapping in question, or the first that uses the cluster.
    pub(super) fn owner(&self, cluster: &ClusterOverview) -> Option<ObjectRef> {
        let route = self.route().filter(|r| r.cluster.as_deref() == Some(cluster.name.as_str()));
        route.map(|r| r.mapping.clone()).or_else(|| cluster.owners.first().cloned())
    }

    /// What an Envoy says of the hosts of a cluster.
    pub(super) fn hosts(&self, cluster: &ClusterOverview) -> Option<&'a [EnvoyHost]> {
        Some(self.live.hosts.as_ref()?.0.get(&cluster.name)?.as_slice())
    }

    /// An object.
    pub(super) fn object(&self, kind: &str, namespace: &str, name: &str) -> Option<&'a Object> {
        let is_it = |o: &&Arc<Object>| {
            let r = &o.reference;
            r.kind == kind && r.namespace == namespace && r.name == name
        };
        self.material.objects.iter().find(is_it).map(|o| &**o)
    }

    /// The objects of a kind.
    pub(super) fn of_kind(&self, kind: &'static str) -> impl Iterator<Item = &'a Object> {
        self.material.objects.iter().filter(move |o| o.reference.kind == kind).map(|o| &**o)
    }

    /// The errors and warnings of an object.
    pub(super) fn found(&self, object: &ObjectRef) -> impl Iterator<Item = &'a Diagnostic> {
        let object = object.clone();
        let all = self.material.diagnostics.iter().filter(move |d| d.object == object);
        all.filter(|d| d.severity != Severity::Notice)
    }

    /// A key of the Module's `config`.
    pub(super) fn module(&self, key: &str) -> Option<&'a Value> {
        let module = self.of_kind("Module").find(|o| o.reference.name == "ambassador")?;
        module.json.get("spec")?.get("config")?.get(key)
    }

    /// A service that Envoy asks about requests: its object and whether its way is open.
    pub(super) fn service(
        &self,
        kind: &str,
    ) -> Option<(&'a gateway_core::overview::ServiceOverview, Option<&'a Object>)> {
        let service = self.overview().services.iter().find(|s| s.service.kind == kind)?;
        let r = &service.service;
        Some((service, self.object(kind, &r.namespace, &r.name)))
    }
}

/// The Service of a cluster whose hosts are endpoints.
pub(super) fn service_port(cluster: &ClusterOverview) -> Option<ServicePort<'_>> {
    let mut parts = cluster.address.strip_prefix("k8s/")?.split('/');
    let (namespace, service) = (parts.next()?, parts.next()?);
    Some(ServicePort { namespace, service, port: parts.next()?.parse().ok()? })
}

/// The name in Consul of a cluster whose hosts are instances.
pub(super) fn in_consul(cluster: &ClusterOverview) -> Option<&str> {
    cluster.address.strip_prefix("consul/")
}

/// The host name of a cluster whose hosts come from DNS; none for an address.
pub(super) fn dns_name(cluster: &ClusterOverview) -> Option<&str> {
    if cluster.address.contains('/') {
        return None;
    }
    let (host, _) = cluster.address.rsplit_once(':')?;
    let is_address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
    (!is_address).then_some(host)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_what_envoy_says_of_hosts() {
        let host = |port: u16, health: Value| json!({"address": {"socket_address": {"address": "10.0.0.1", "port_value": port}}, "health_status": health});
        let json = json!({"cluster_statuses": [
            {"name": "a", "host_statuses": [
                host(1, json!({"eds_health_status": "HEALTHY"})),
                host(2, json!({"failed_active_health_check": true})),
            ]},
            {"name": "b"},
            {"name": "c", "host_statuses": [host(3, json!({}))]},
        ]});
        let hosts = EnvoyHosts::read(&json);
        assert_eq!(
            hosts.0["a"][0],
            EnvoyHost { address: "10.0.0.1:1".into(), unhealthy: String::new() }
        );
        assert_eq!(hosts.0["a"][1].unhealthy, "its health check fails");
        let names: Vec<_> = hosts.remarkable(9).0.into_keys().collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn reads_what_statistics_say_of_hosts() {
        let sample = |name: &str, cluster: &str, address: &str, value: f64| Sample {
            name: format!("envoy_cluster_{name}"),
            labels: [("envoy_cluster_name", cluster), ("envoy_endpoint_address", address)]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            value,
        };
        let cluster = |name: &str, health_checks: bool, outlier_detection: bool| ClusterOverview {
            name: format!("cluster_{name}"),
            alt_stat_name: name.to_owned(),
            health_checks,
            outlier_detection,
            ..ClusterOverview::default()
        };
        let clusters = [
            cluster("checked", true, false),
            cluster("both", true, true),
            cluster("empty", false, false),
        ];
        let samples = [
            sample("endpoint_healthy", "checked", "[::1]:9", 0.0),
            sample("endpoint_healthy", "checked", "10.0.0.1:9", 1.0),
            sample("membership_total", "checked", "", 2.0),
            sample("endpoint_healthy", "both", "10.0.0.1:9", 0.0),
            sample("outlier_detection_ejections_active", "both", "", 1.0),
            sample("membership_total", "empty", "", 0.0),
            sample("endpoint_healthy", "unknown", "10.0.0.1:9", 0.0),
        ];
        let said = EnvoyHosts::of_statistics(&samples, &clusters);
        let text = |said: &EnvoyHosts| {
            let hosts = said.0.iter().flat_map(|(name, hosts)| {
                hosts.iter().map(move |h| format!("{name} {} {}", h.address, h.unhealthy))
            });
            hosts.collect::<Vec<_>>().join("|")
        };
        assert_eq!(
            text(&said),
            "cluster_both 10.0.0.1:9 it is ejected as an outlier|cluster_checked 10.0.0.1:9 |cluster_checked [::1]:9 its health check fails"
        );
        assert_eq!(said.0["cluster_empty"], []);
        // One Envoy that finds a host well is enough.
        let other = EnvoyHosts::of_statistics(
            &[sample("endpoint_healthy", "both", "10.0.0.1:9", 1.0)],
            &clusters,
        );
        assert!(text(&EnvoyHosts::merged([said, other])).starts_with("cluster_both 10.0.0.1:9 |"));
    }

    #[test]
    fn addresses_of_clusters_say_where_hosts_come_from() {
        let of =
            |address: &str| ClusterOverview { address: address.to_owned(), ..Default::default() };
        assert_eq!(
            service_port(&of("k8s/shop/web/80")).map(|s| (s.service, s.port)),
            Some(("web", 80))
        );
        assert_eq!(in_consul(&of("consul/dc1/web")), Some("dc1/web"));
        assert_eq!(dns_name(&of("web.shop:80")), Some("web.shop"));
        for address in ["10.0.0.1:80", "[::1]:80", "k8s/a/b/80"] {
            assert_eq!(dns_name(&of(address)), None, "{address}");
        }
    }
}
