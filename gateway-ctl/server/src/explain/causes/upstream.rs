//! The service: it has no hosts, cannot be reached, or answers too late.

use gateway_core::overview::ClusterOverview;

use super::{Cause, Found, Look, certain, possible};
use crate::explain::endpoints_of;
use crate::explain::endpoints_of::Backing;
use crate::explain::facts::{Facts, MOST, dns_name, in_consul, service_port};

const NO_HOSTS: &[&str] = &["no healthy upstream", "no_healthy_upstream"];
/// What bodies and details of all failures of connections begin with.
const RESET: &str = "upstream connect error or disconnect/reset before headers";
const RESET_DETAILS: &str = "upstream_reset_before_response_started";
const RESETS: &[&str] = &[RESET, RESET_DETAILS];
const PROTOCOL_ERROR: &[&str] =
    &[RESET, RESET_DETAILS, "protocol error", "protocol_error", "connection termination"];

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
        words: &["no healthy upstream", "no_healthy_upstream", RESET, RESET_DETAILS],
        proof: &[],
        sees: "`no healthy upstream`, or what the sick hosts answer",
        why: "The Mapping has `health_checks`, and no host passes them. While more than half of the hosts are sick Envoy asks all of them all the same.",
        next: "ask the path of `spec.health_checks` at a host; correct the path, the expected statuses or the service",
        look: unhealthy,
    },
    Cause {
        id: "connection-refused",
        title: "The host refuses connections",
        statuses: &[503],
        flags: &["UF", "URX"],
        words: RESETS,
        proof: &["connection refused"],
        sees: "`Connection refused`",
        why: "Nothing listens on that port of the host: the process is down, listens on 127.0.0.1 of its pod only, or on another port.",
        next: "look at what the process listens on; compare with `targetPort` of the Service or the port in `spec.service`",
        look: |facts| connection(facts, |_| true),
    },
    Cause {
        id: "connect-timeout",
        title: "The host does not answer connections",
        statuses: &[503, 504],
        flags: &["UF", "URX"],
        words: RESETS,
        proof: &["connection timeout", "connection_timeout"],
        sees: "`connection timeout`",
        why: "The connection was not made within `connect_timeout_ms`: a NetworkPolicy or firewall drops packets, the address is stale, or the host is overloaded.",
        next: "look for a NetworkPolicy between gateway and service; raise `spec.connect_timeout_ms` only for a far service",
        look: |facts| {
            possible(context(facts, |c| {
                format!("connecting is given up after {} ms", c.connect_timeout_ms)
            }))
        },
    },
    Cause {
        id: "tls-to-plain",
        title: "TLS is spoken to a service that does not",
        statuses: &[503],
        flags: &["UF", "URX"],
        words: RESETS,
        proof: &["wrong version number"],
        sees: "`WRONG_VERSION_NUMBER`",
        why: "The Mapping says `https://` or names a TLSContext, and the port of the service speaks plain HTTP.",
        next: "write `http://` in `spec.service` and remove `spec.tls`, or use the service's TLS port",
        look: |facts| connection(facts, |c| c.tls),
    },
    Cause {
        id: "plain-to-tls",
        title: "Plain HTTP is spoken to a service that wants TLS",
        statuses: &[502, 503],
        flags: &["UPE", "UC"],
        words: PROTOCOL_ERROR,
        proof: &[],
        sees: "`protocol error` or `connection termination`",
        why: "The Mapping does not say `https://`, and the port of the service speaks TLS: it answers with an alert, or closes.",
        next: "write `https://` in front of `spec.service`",
        look: |facts| {
            connection(facts, |c| !c.tls && c.address.ends_with("443"))
                .or_else(|| connection(facts, |c| !c.tls && !c.http2))
        },
    },
    Cause {
        id: "tls-untrusted",
        title: "The certificate of the service is not trusted",
        statuses: &[503],
        flags: &["UF", "URX"],
        words: RESETS,
        proof: &["certificate verify failed"],
        sees: "`CERTIFICATE_VERIFY_FAILED`",
        why: "The TLSContext of the Mapping names an authority (`ca_secret`), and the certificate of the service is not of it, has expired, or is for other names.",
        next: "`openssl s_client -connect HOST:PORT -servername NAME -showcerts`; put that authority into the TLSContext's `ca_secret`",
        look: |facts| connection(facts, |c| c.tls),
    },
    Cause {
        id: "tls-name-refused",
        title: "The service has no certificate for the name that is asked for",
        statuses: &[503],
        flags: &["UF", "URX"],
        words: RESETS,
        proof: &["unrecognized name", "handshake failure", "alert access denied"],
        sees: "`UNRECOGNIZED_NAME`, `HANDSHAKE_FAILURE` or `ACCESS_DENIED`",
        why: "TLS asks for the host's name (SNI), and the service serves other names, or none of the ciphers and versions that both know.",
        next: "set `sni` in the TLSContext that `spec.tls` names, or `host_rewrite` in the Mapping",
        look: |facts| {
            let look = connection(facts, |c| c.tls)?;
            let mut found = context(facts, |c| match &c.server_name {
                Some(name) => format!("TLS asks for `{name}`"),
                None => "TLS asks for no name of its own: only `sni` or `host_rewrite` sets one"
                    .to_owned(),
            });
            if found.is_empty() {
                found = look.found;
            }
            possible(found)
        },
    },
    Cause {
        id: "tls-wants-certificate",
        title: "The service wants a certificate of the gateway",
        statuses: &[503],
        flags: &["UF", "UC", "URX"],
        words: &[RESET, RESET_DETAILS, "connection termination"],
        proof: &["certificate required", "alert bad certificate", "alert unknown ca"],
        sees: "`CERTIFICATE_REQUIRED`, `BAD_CERTIFICATE` or `UNKNOWN_CA`",
        why: "The service demands mutual TLS, and the gateway shows no certificate, or one that the service does not trust.",
        next: "set `secret` in the TLSContext that `spec.tls` names, with a certificate of the service's authority",
        look: |facts| {
            // A client of the gateway may say the same of the gateway.
            let symptom = facts.symptom;
            if symptom.status.is_none() && symptom.flags.is_none() && !symptom.says(RESET) {
                return None;
            }
            connection(facts, |c| c.tls)
        },
    },
    Cause {
        id: "upstream-closes",
        title: "The service closes the connection",
        statuses: &[503],
        flags: &["UC"],
        words: RESETS,
        proof: &["connection termination", "connection_termination"],
        sees: "`connection termination`",
        why: "The connection ended before an answer: the process crashed or was killed, or it closed an idle connection at the moment when a request went out on it.",
        next: "look at the log and restarts of the service; set `spec.cluster_idle_timeout_ms` below the service's own keep-alive, and `retry_policy: {retry_on: connect-failure}` does not help here: use `5xx` for requests that may be sent twice",
        look: |facts| connection(facts, |_| true),
    },
    Cause {
        id: "wrong-protocol",
        title: "The service does not speak the protocol of the Mapping",
        statuses: &[502, 503],
        flags: &["UPE", "UC"],
        words: PROTOCOL_ERROR,
        proof: &[],
        sees: "`protocol error`",
        why: "`grpc: true` makes Envoy speak HTTP/2 to the service, which speaks HTTP/1.1 only.",
        next: "remove `grpc` from the Mapping, or serve HTTP/2 (h2c) on that port",
        look: |facts| connection(facts, |c| c.http2),
    },
    Cause {
        id: "retries-exhausted",
        title: "All retries failed",
        statuses: &[],
        flags: &["URX"],
        words: &["upstream_retry_limit_exceeded", RESET, RESET_DETAILS, "via_upstream"],
        proof: &[],
        sees: "with the flag and the status of the last try",
        why: "The Mapping's `retry_policy` was followed, and no try succeeded; what failed is said by the other flag and the details.",
        next: "mend what the other cause says; `retry_policy.num_retries` only helps against failures that pass",
        look: |facts| {
            if facts.route().is_some_and(|r| r.retry.is_empty()) {
                return None;
            }
            let route = facts.route();
            let words = route.map(|r| format!("{} is tried again: {}", r.mapping, r.retry));
            let found = words.map(|w| Found::new(w, "", route.map(|r| &r.mapping)));
            let seen = facts.symptom.flags.as_ref().is_some_and(|f| f.contains(&"URX".to_owned()));
            Some(Look { is_certain: seen, found: found.into_iter().collect() })
        },
    },
    Cause {
        id: "circuit-breaker",
        title: "A circuit breaker is open",
        statuses: &[503],
        flags: &["UO"],
        words: RESETS,
        proof: &["overflow"],
        sees: "`overflow`, with the header `x-envoy-overloaded`",
        why: "More connections, waiting requests or requests at once than `circuit_breakers` allow (by default 1024 of each). This is not a rate limit: it answers 503, not 429.",
        next: "make the service faster, or raise the number in `spec.circuit_breakers`",
        look: |facts| {
            possible(context(facts, |c| {
                match c.breakers.as_str() {
                "" => "it has no circuit_breakers of its own: 1024 connections, waiting requests and requests, 3 retries".to_owned(),
                breakers => format!("its circuit_breakers allow {breakers}"),
            }
            }))
        },
    },
    Cause {
        id: "upstream-timeout",
        title: "The service answers too late",
        statuses: &[504],
        flags: &["UT"],
        words: &["upstream request timeout"],
        proof: &["upstream_response_timeout", "response_timeout"],
        sees: "`upstream request timeout`",
        why: "The whole answer has to come within `timeout_ms` (3000 unless the Mapping or the Module says otherwise).",
        next: "raise `spec.timeout_ms` (0: no limit), or make the service faster; streams need 0",
        look: |facts| {
            let route = facts.route();
            if route.is_some_and(|r| r.timeout_ms == 0) {
                return None;
            }
            possible(
                route
                    .map(|r| {
                        let words = format!(
                            "requests of {} are given up after timeout_ms {}",
                            r.mapping, r.timeout_ms
                        );
                        Found::new(words, "", Some(&r.mapping))
                    })
                    .into_iter()
                    .collect(),
            )
        },
    },
    Cause {
        id: "try-timeout",
        title: "Each try takes too long",
        statuses: &[504],
        flags: &["UT", "URX"],
        words: &["upstream request timeout"],
        proof: &["upstream_per_try_timeout", "per_try_timeout"],
        sees: "`upstream_per_try_timeout`",
        why: "`retry_policy.per_try_timeout` is over before the service answers, each time.",
        next: "raise `spec.retry_policy.per_try_timeout`",
        look: |facts| {
            let route = facts.route();
            let limit = route.map(|r| r.per_try_timeout_ms);
            if limit == Some(None) {
                return None;
            }
            possible(
                route
                    .zip(limit.flatten())
                    .map(|(r, ms)| {
                        let words = format!("each try of {} is given up after {ms} ms", r.mapping);
                        Found::new(words, "", Some(&r.mapping))
                    })
                    .into_iter()
                    .collect(),
            )
        },
    },
    Cause {
        id: "idle-timeout",
        title: "A stream was silent too long",
        statuses: &[408, 504],
        flags: &["SI"],
        words: &[],
        proof: &["stream_idle_timeout", "stream timeout"],
        sees: "`stream timeout`",
        why: "Neither side sent anything for `idle_timeout_ms` (5 minutes unless the Mapping says otherwise): long polls, quiet WebSockets and event streams.",
        next: "raise `spec.idle_timeout_ms` (0: no limit), or send keep-alives",
        look: |facts| {
            let route = facts.route();
            possible(
                route
                    .map(|r| {
                        let idle = r
                            .idle_timeout_ms
                            .map_or("Envoy's 5 minutes".to_owned(), |ms| format!("{ms} ms"));
                        let words = format!("streams of {} may be silent for {idle}", r.mapping);
                        Found::new(words, "", Some(&r.mapping))
                    })
                    .into_iter()
                    .collect(),
            )
        },
    },
    Cause {
        id: "client-gone",
        title: "The client did not wait",
        statuses: &[0],
        flags: &["DC"],
        words: &[],
        proof: &["downstream_remote_disconnect", "downstream remote disconnect"],
        sees: "status 0 in the access log",
        why: "The client closed its connection before the answer: its own timeout was shorter, a user left, or a balancer in front gave up.",
        next: "compare the duration in the log with timeouts of clients and balancers; make the service faster",
        look: |facts| {
            let route = facts.route();
            possible(
                route
                    .map(|r| {
                        let words = match r.timeout_ms {
                            0 => format!("{} has no timeout_ms of its own", r.mapping),
                            ms => {
                                format!("the gateway would have waited {ms} ms for {}", r.mapping)
                            }
                        };
                        Found::new(words, "", Some(&r.mapping))
                    })
                    .into_iter()
                    .collect(),
            )
        },
    },
    Cause {
        id: "cannot-connect",
        title: "The way to the service is misconfigured",
        statuses: &[503],
        flags: &[],
        words: &["direct_response"],
        proof: &["no connection can be made to the service"],
        sees: "`no connection can be made to the service`",
        why: "The Mapping wants TLS with a TLSContext that is not there or cannot be used. It is never sent in the clear instead.",
        next: "`gateway-ctl check`: create the TLSContext, or correct `spec.tls`",
        look: |facts| {
            let routes = facts.overview().routes.iter();
            let unavailable =
                |r: &&gateway_core::overview::RouteOverview| r.rewrite.starts_with("503");
            let found: Vec<Found> = match facts.route() {
                Some(route) => Some(route).into_iter().filter(unavailable).collect::<Vec<_>>(),
                None => routes.filter(unavailable).take(MOST).collect(),
            }
            .into_iter()
            .map(|r| {
                let why = facts.found(&r.mapping).next();
                let words = why.map_or_else(String::new, |d| format!(": {}", d.message));
                Found::new(
                    format!("{} cannot be connected{words}", r.mapping),
                    why.map_or("", |d| d.hint.as_str()),
                    Some(&r.mapping),
                )
            })
            .collect();
            certain(found)
        },
    },
    Cause {
        id: "service-answered",
        title: "The service itself answered that",
        statuses: &[400, 401, 403, 404, 405, 409, 429, 500, 501, 502, 503, 504],
        flags: &[],
        words: &[],
        proof: &["via_upstream"],
        sees: "`via_upstream`, the header `x-envoy-upstream-service-time`",
        why: "The gateway passed the request on, and the status is the service's own.",
        next: "look at the log of the service, by the request id; compare the path that it gets (`rewrite` replaces the prefix by `/`)",
        look: |facts| {
            let route = facts.route();
            if facts.request.is_some() && route.is_none() {
                return None;
            }
            possible(
                route
                    .filter(|r| r.cluster.is_some())
                    .map(|r| {
                        let rewrite = if r.rewrite.is_empty() {
                            String::new()
                        } else {
                            format!("; path: {}", r.rewrite)
                        };
                        let words = format!("{} sends it to `{}`{rewrite}", r.mapping, r.service);
                        Found::new(words, "", Some(&r.mapping))
                    })
                    .into_iter()
                    .collect(),
            )
        },
    },
];

/// The clusters in question whose Service is like that.
fn backing(facts: &Facts<'_>, is_it: fn(&Backing) -> bool) -> Option<Look> {
    let mut found = Vec::new();
    let mut unknown = false;
    for cluster in facts.clusters() {
        let Some(backing) = endpoints_of::look(facts, cluster) else {
            unknown |= service_port(cluster).is_none()
                && in_consul(cluster).is_none()
                && dns_name(cluster).is_some();
            continue;
        };
        if is_it(&backing) && found.len() < MOST {
            found.push(backing.found(facts, cluster));
        }
    }
    match found.is_empty() {
        false => certain(found),
        // A name that Envoy looks up: nothing is known of its Service.
        true if unknown && facts.cluster().is_some() => None,
        true => None,
    }
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
    let clusters = facts.clusters();
    let checked: Vec<_> = clusters.into_iter().filter(|c| c.health_checks).collect();
    let sick = checked.iter().filter_map(|c| {
        let hosts = facts.hosts(c)?;
        let all_sick = !hosts.is_empty() && hosts.iter().all(|h| !h.unhealthy.is_empty());
        let named: Vec<String> =
            hosts.iter().take(MOST).map(|h| format!("{}: {}", h.address, h.unhealthy)).collect();
        let words = format!("of cluster {} no host is healthy ({})", c.name, named.join("; "));
        all_sick.then(|| Found::new(words, "", facts.owner(c).as_ref()))
    });
    let sick: Vec<Found> = sick.take(MOST).collect();
    if !sick.is_empty() {
        return certain(sick);
    }
    let unknown: Vec<Found> = checked
        .iter()
        .filter(|c| facts.hosts(c).is_none())
        .map(|c| {
            let words = format!("the hosts of cluster {} have health checks", c.name);
            Found::new(words, "", facts.owner(c).as_ref())
        })
        .take(MOST)
        .collect();
    (!unknown.is_empty()).then_some(Look { is_certain: false, found: unknown })
}

/// The cluster in question, if it is known, with words about it.
fn context(facts: &Facts<'_>, words: impl Fn(&ClusterOverview) -> String) -> Vec<Found> {
    let Some(cluster) = facts.cluster() else { return Vec::new() };
    let host =
        facts.symptom.upstream_host.as_ref().map(|h| format!(", host {h}")).unwrap_or_default();
    let owner = facts.owner(cluster);
    let of = owner.as_ref().map(|o| format!(" of {o}")).unwrap_or_default();
    let text =
        format!("cluster {} ({}{host}){of}: {}", cluster.name, cluster.address, words(cluster));
    vec![Found::new(text, "", owner.as_ref())]
}

/// A failure of connections to clusters that are like that.
fn connection(facts: &Facts<'_>, is_it: impl Fn(&ClusterOverview) -> bool) -> Option<Look> {
    match facts.cluster() {
        Some(cluster) if !is_it(cluster) => None,
        None if facts.request.is_some() => None,
        _ => possible(context(facts, |c| {
            let tls = if c.tls { "TLS" } else { "plain text" };
            let http = if c.http2 { "HTTP/2" } else { "HTTP/1.1" };
            format!("it is spoken to in {http} over {tls}")
        })),
    }
}
