//! No route, or another one than was meant.

use gateway_core::overview::RouteOverview;
use service_kit::Severity;

use super::{Cause, Found, Look, certain, possible};
use crate::explain::facts::{Facts, MOST};
use crate::explain::matching;

const NOT_FOUND: &[&str] = &["route_not_found"];

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "no-listener",
        title: "Nothing listens on that port",
        statuses: &[],
        flags: &[],
        words: &["failed to connect", "couldn't connect", "connection refused by the gateway"],
        proof: &[],
        sees: "the client cannot connect to the gateway",
        why: "No Listener has the port, or the Service of the gateway does not lead to it.",
        next: "`kubectl get listeners -A`; create a Listener with that port, and a port of the gateway's Service for it",
        look: |facts| {
            let way = facts.way?;
            if way.listener.is_some() && !way.other_port {
                return None;
            }
            let port = facts.request?.port;
            let ports: Vec<String> =
                facts.overview().listeners.iter().map(|l| l.port.to_string()).collect();
            let there = if ports.is_empty() {
                "there is no Listener at all".to_owned()
            } else {
                format!("Listeners are on {}", ports.join(", "))
            };
            let found =
                vec![Found::new(format!("no Listener is on port {port}; {there}"), "", None)];
            // Port mappings in front of the gateway are usual.
            if way.listener.is_some() { possible(found) } else { certain(found) }
        },
    },
    Cause {
        id: "no-host",
        title: "No Host has this name",
        statuses: &[404],
        flags: &["NR"],
        words: NOT_FOUND,
        proof: &[],
        sees: "",
        why: "No Host of the Listener fits the name that the client asks for. Names are compared as a whole, `*.example.org` takes one or more labels.",
        next: "create a Host with that `hostname`, or check the `hostBinding` of the Listener",
        look: |facts| {
            let way = facts.way?;
            let listener = way.listener?;
            if way.host.is_some() {
                return None;
            }
            let host = &facts.request?.host;
            let others = facts.overview().hosts.iter();
            let elsewhere = others
                .filter(|h| !listener.hosts.contains(&h.host))
                .find(|h| matching::host_rank(&h.hostname, host).is_some());
            let found = match elsewhere {
                Some(other) => Found::new(
                    format!(
                        "{} has hostname `{}`, but {} does not take it",
                        other.host, other.hostname, listener.listener
                    ),
                    "check `hostBinding` of the Listener: namespace and selector",
                    Some(&listener.listener),
                ),
                None => Found::new(
                    format!(
                        "no Host fits `{host}`; {} has {}",
                        listener.listener,
                        count(listener.hosts.len(), "Host")
                    ),
                    format!("create a Host with `hostname: {host}`"),
                    None,
                ),
            };
            certain(vec![found])
        },
    },
    Cause {
        id: "path-nearly-fits",
        title: "The path nearly fits",
        statuses: &[404],
        flags: &["NR"],
        words: NOT_FOUND,
        proof: &[],
        sees: "",
        why: "A prefix is compared letter by letter: `/shop/` does not take `/shop`, and `/Shop/` is another path unless `case_sensitive` is false.",
        next: "write the prefix without the slash at its end, or set `case_sensitive: false`",
        look: |facts| {
            let way = nothing_fits(facts)?;
            certain(
                way.near
                    .iter()
                    .take(MOST)
                    .map(|(r, why)| {
                        Found::new(
                            format!("{} nearly fits: {why}", r.mapping),
                            "",
                            Some(&r.mapping),
                        )
                    })
                    .collect(),
            )
        },
    },
    Cause {
        id: "condition-missed",
        title: "The path fits, a condition does not",
        statuses: &[404],
        flags: &["NR"],
        words: NOT_FOUND,
        proof: &[],
        sees: "",
        why: "A Mapping has the path, and wants another method, header or query parameter.",
        next: "send what it wants, or loosen `method`, `headers` or `query_parameters` of the Mapping",
        look: |facts| {
            let way = nothing_fits(facts)?;
            let misses = way.misses.iter().filter(|(_, why)| !why.starts_with("its hostname"));
            certain(
                misses
                    .take(MOST)
                    .map(|(r, why)| {
                        Found::new(format!("{} {why}", r.mapping), "", Some(&r.mapping))
                    })
                    .collect(),
            )
        },
    },
    Cause {
        id: "other-installation",
        title: "The Mapping is for another installation",
        statuses: &[404],
        flags: &["NR"],
        words: NOT_FOUND,
        proof: &[],
        sees: "",
        why: "Objects are taken whose `ambassador_id` has the controller's (`AMBASSADOR_ID`, `default` unless told).",
        next: "add the controller's id to `spec.ambassador_id`",
        look: |facts| {
            let way = facts.way?;
            if !way.routes.is_empty() {
                return None;
            }
            let request = facts.request?;
            let fits = |o: &&gateway_core::overview::ForeignOverview| {
                let host = matching::host_rank(&o.hostname, &request.host).is_some();
                host && (o.object.kind == "Host") == way.host.is_none()
                    && request.path.starts_with(&o.prefix)
            };
            certain(
                facts
                    .overview()
                    .foreign
                    .iter()
                    .filter(fits)
                    .take(MOST)
                    .map(|o| {
                        let id = &facts.material.ambassador_id;
                        let words = format!(
                            "{} has ambassador_id {}, and this is `{id}`",
                            o.object,
                            o.ids.join(", ")
                        );
                        Found::new(
                            words,
                            format!("add `{id}` to `spec.ambassador_id`"),
                            Some(&o.object),
                        )
                    })
                    .collect(),
            )
        },
    },
    Cause {
        id: "mapping-broken",
        title: "The Mapping has an error",
        statuses: &[404],
        flags: &["NR"],
        words: NOT_FOUND,
        proof: &[],
        sees: "",
        why: "An object with an error is not in force: the version before stays, or nothing if there was none.",
        next: "`gateway-ctl check`, or the diagnostics page: mend what it says",
        look: |facts| {
            let way = nothing_fits(facts)?;
            way.host?;
            broken(facts)
        },
    },
    Cause {
        id: "mapping-homeless",
        title: "No Host takes the Mapping",
        statuses: &[404],
        flags: &["NR"],
        words: NOT_FOUND,
        proof: &[],
        sees: "",
        why: "A Mapping without `hostname` is taken only by Hosts whose `mappingSelector` has its labels; one with a `hostname` only by Hosts that it fits.",
        next: "set `spec.hostname` of the Mapping (`*` is every Host), or give it the labels",
        look: |facts| {
            nothing_fits(facts)?;
            let request = facts.request?;
            let mappings = facts.of_kind("Mapping").filter(|o| {
                let prefix = o.json.pointer("/spec/prefix").and_then(serde_json::Value::as_str);
                let taken = facts.overview().routes.iter().any(|r| r.mapping == o.reference);
                prefix.is_some_and(|p| request.path.starts_with(p)) && !taken
            });
            let has_error =
                |o: &service_kit::ObjectRef| facts.found(o).any(|d| d.severity == Severity::Error);
            certain(
                mappings
                    .filter(|o| !has_error(&o.reference))
                    .take(MOST)
                    .map(|o| {
                        let why =
                            facts.material.diagnostics.iter().find(|d| d.object == o.reference);
                        let words =
                            why.map_or("no Host takes it".to_owned(), |d| d.message.clone());
                        Found::new(
                            format!("{}: {words}", o.reference),
                            why.map_or("", |d| d.hint.as_str()),
                            Some(&o.reference),
                        )
                    })
                    .collect(),
            )
        },
    },
    Cause {
        id: "hostname-missed",
        title: "The Mapping is for another hostname",
        statuses: &[404],
        flags: &["NR"],
        words: NOT_FOUND,
        proof: &[],
        sees: "",
        why: "A Mapping has the path, and its `hostname` does not fit the name that the client asks for.",
        next: "correct `spec.hostname` of the Mapping (`*` is every name)",
        look: |facts| {
            let way = nothing_fits(facts)?;
            let host = way.host?;
            let request = facts.request?;
            let own = way.misses.iter().filter(|(_, why)| why.starts_with("its hostname"));
            let mut found: Vec<Found> = own
                .map(|(r, why)| {
                    Found::new(
                        format!("{} fits the path, but {why}", r.mapping),
                        "",
                        Some(&r.mapping),
                    )
                })
                .collect();
            let takes_path = |r: &&RouteOverview| {
                let other = crate::explain::Request { host: strip(&r.hostname), ..request.clone() };
                r.host != host.host && r.path != "/" && matching::misses(&other, r).is_ok()
            };
            for route in facts.overview().routes.iter().filter(takes_path) {
                let words = format!(
                    "{} fits the path, but is for `{}` ({})",
                    route.mapping, route.hostname, route.host
                );
                let new = Found::new(words, "", Some(&route.mapping));
                if found.len() < MOST && !found.iter().any(|f| f.object == new.object) {
                    found.push(new);
                }
            }
            found.truncate(MOST);
            certain(found)
        },
    },
    Cause {
        id: "no-mapping",
        title: "No Mapping has this path",
        statuses: &[404],
        flags: &["NR"],
        words: NOT_FOUND,
        proof: &[],
        sees: "",
        why: "The Host fits, and none of its Mappings fits the path.",
        next: "create a Mapping with that `prefix`; `gateway-ctl explain METHOD URL` names what nearly fits",
        look: |facts| {
            let Some(_) = facts.request else { return possible(Vec::new()) };
            let way = nothing_fits(facts)?;
            let host = way.host?;
            let routes = facts.overview().routes.iter().filter(|r| r.host == host.host).count();
            let words = format!(
                "none of the {} of {} fits {}",
                count(routes, "route"),
                named(host),
                facts.request?.path
            );
            let looks = way.misses.is_empty() && way.near.is_empty();
            let found = vec![Found::new(words, "", None)];
            Some(Look { is_certain: looks, found })
        },
    },
    Cause {
        id: "weights-below-100",
        title: "The weights are below 100",
        statuses: &[404],
        flags: &["NR"],
        words: NOT_FOUND,
        proof: &[],
        sees: "some requests only",
        why: "Mappings of one group share requests by `weight`. What is left goes to the next route that fits, or nowhere.",
        next: "leave out `weight` of one of them, so that it gets the rest, or make the sum 100",
        look: |facts| {
            let way = facts.way?;
            let first = way.routes.first()?;
            let sum: u32 = way.routes.iter().map(|r| r.weight).sum();
            if sum >= 100 || !way.shadowed.is_empty() {
                return None;
            }
            let words = format!(
                "{} of a hundred requests of {} and its like fit no route",
                100 - sum,
                first.mapping
            );
            certain(vec![Found::new(words, "", Some(&first.mapping))])
        },
    },
    Cause {
        id: "insecure-reject",
        title: "The Host rejects clear text",
        statuses: &[404],
        flags: &["NR"],
        words: NOT_FOUND,
        proof: &[],
        sees: "over http only",
        why: "`requestPolicy.insecure.action` of the Host is Reject, and the request came without TLS. Behind a balancer that ends TLS, `x-forwarded-proto` counts only with `l7Depth` of the Listener.",
        next: "ask over https, or set the action to Redirect or Route; behind a balancer set `l7Depth: 1`",
        look: |facts| insecure(facts, "Reject"),
    },
    Cause {
        id: "insecure-redirect",
        title: "The Host redirects to https",
        statuses: &[301],
        flags: &[],
        words: &["direct_response", "insecure-redirect"],
        proof: &[],
        sees: "`location: https://…`",
        why: "`requestPolicy.insecure.action` is Redirect unless told otherwise, and the request came without TLS. When it goes round in circles, something in front ends TLS and the gateway does not know.",
        next: "ask over https; behind a balancer that ends TLS set `l7Depth: 1` of the Listener, else `requestPolicy.insecure.action: Route`",
        look: |facts| insecure(facts, "Redirect"),
    },
    Cause {
        id: "mapping-redirects",
        title: "The Mapping redirects",
        statuses: &[301, 302, 303, 307, 308],
        flags: &[],
        words: &["direct_response"],
        proof: &[],
        sees: "`location: …`",
        why: "The Mapping that fits has `host_redirect`.",
        next: "give another Mapping a longer prefix or a higher `precedence`, or remove `host_redirect`",
        look: |facts| {
            let route = facts.route().filter(|r| r.redirect.is_some())?;
            let status = route.redirect?;
            certain(vec![Found::new(
                format!("{} answers {status} {}", route.mapping, route.rewrite),
                "",
                Some(&route.mapping),
            )])
        },
    },
    Cause {
        id: "mapping-shadowed",
        title: "Another Mapping comes first",
        statuses: &[200, 404],
        flags: &[],
        words: &["via_upstream", "wrong service", "wrong mapping", "another service"],
        proof: &[],
        sees: "the answer of another service",
        why: "Routes are tried by `precedence`, then by the length of the prefix, then by how many conditions they have; the first that fits takes the request.",
        next: "raise `spec.precedence` of the Mapping that is meant, or give it a longer prefix",
        look: |facts| {
            let way = facts.way?;
            let first = way.routes.first()?;
            let found: Vec<Found> = way
                .shadowed
                .iter()
                .take(MOST)
                .map(|r| {
                    let order = if first.precedence == r.precedence {
                        "it is longer, or has more conditions".to_owned()
                    } else {
                        format!("its precedence is {} against {}", first.precedence, r.precedence)
                    };
                    Found::new(
                        format!("{} comes before {}: {order}", first.mapping, r.mapping),
                        "",
                        Some(&r.mapping),
                    )
                })
                .collect();
            (!found.is_empty() && !facts.symptom.is_empty())
                .then_some(Look { is_certain: false, found })
        },
    },
    Cause {
        id: "tls-name-unknown",
        title: "No Host has a certificate for the name that TLS asks for",
        statuses: &[0],
        flags: &["NR"],
        words: &["tls handshake", "ssl_error_syscall", "connection reset", "unexpected eof"],
        proof: &["filter_chain_not_found", "filter chain not found"],
        sees: "the handshake is cut off; `filter_chain_not_found` in the access log",
        why: "No Host with a certificate has the name that the client asks for (SNI), or the client asks for an address, which is no name.",
        next: "give a Host with that `hostname` a `tlsSecret`; `openssl s_client -connect GATEWAY:443 -servername NAME`",
        look: |facts| {
            let secure: Vec<String> = facts
                .of_kind("Host")
                .filter(|o| {
                    o.json.pointer("/spec/tlsSecret/name").is_some()
                        || o.json.pointer("/spec/tlsContext/name").is_some()
                })
                .filter_map(|o| Some(o.json.pointer("/spec/hostname")?.as_str()?.to_owned()))
                .take(MOST)
                .collect();
            let words = match secure.as_slice() {
                [] => "no Host has a tlsSecret or tlsContext".to_owned(),
                names => format!("Hosts with certificates are for {}", names.join(", ")),
            };
            possible(vec![Found::new(words, "", None)])
        },
    },
    Cause {
        id: "tls-client-certificate",
        title: "The gateway wants a certificate of the client",
        statuses: &[],
        flags: &[],
        words: &["certificate required", "bad certificate", "unknown ca"],
        proof: &[
            "certificaterequired",
            "peer_did_not_return_a_certificate",
            "peer did not return a certificate",
        ],
        sees: "the handshake fails with `certificate required`",
        why: "The TLSContext of the Host has `cert_required: true`, and the client shows no certificate, or one of an authority that is not in `ca_secret`.",
        next: "`curl --cert CLIENT.crt --key CLIENT.key …`; or set `cert_required: false`",
        look: |facts| {
            // A service that wants a certificate says it in the same words.
            if facts.symptom.status.is_some_and(|s| s != 0) {
                return None;
            }
            let wants = |o: &&service_kit::Object| {
                let settings = o.json.get("spec").map(|s| s.get("tls").unwrap_or(s));
                settings.is_some_and(|s| s["cert_required"] == true || s["certRequired"] == true)
            };
            let objects = facts.of_kind("TLSContext").chain(facts.of_kind("Host")).filter(wants);
            certain(
                objects
                    .take(MOST)
                    .map(|o| {
                        Found::new(
                            format!("{} has cert_required", o.reference),
                            "",
                            Some(&o.reference),
                        )
                    })
                    .collect(),
            )
        },
    },
];

/// The way of a request that no route fits, though it is let in.
fn nothing_fits<'a>(facts: &Facts<'a>) -> Option<&'a crate::explain::way::Way<'a>> {
    let way = facts.way?;
    (way.routes.is_empty() && way.refused.is_none()).then_some(way)
}

/// Mappings with errors that would have the path.
fn broken(facts: &Facts<'_>) -> Option<Look> {
    let request = facts.request?;
    let mut found = Vec::new();
    for object in facts.of_kind("Mapping") {
        let error = facts.found(&object.reference).find(|d| d.severity == Severity::Error);
        let Some(error) = error else { continue };
        let prefix = object.json.pointer("/spec/prefix");
        // One whose prefix cannot be read may be the one.
        let fits =
            prefix.and_then(serde_json::Value::as_str).is_none_or(|p| request.path.starts_with(p));
        let is_there = facts.overview().routes.iter().any(|r| r.mapping == object.reference);
        if fits && !is_there && found.len() < MOST {
            let words =
                format!("{} is not in force: {}: {}", object.reference, error.path, error.message);
            found.push(Found::new(words, error.hint.as_str(), Some(&object.reference)));
        }
    }
    certain(found)
}

/// That the Host does this with requests in the clear.
fn insecure(facts: &Facts<'_>, action: &str) -> Option<Look> {
    let way = facts.way?;
    let host = way.host?;
    (way.refused? == action).then_some(())?;
    let words = format!("{} has insecure.action {action}", named(host));
    certain(vec![Found::new(words, "", Some(&host.host))])
}

fn named(host: &gateway_core::overview::HostOverview) -> String {
    match host.host.name.as_str() {
        "" => "the default Host".to_owned(),
        _ => host.host.to_string(),
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A name that a DNS glob takes.
fn strip(hostname: &str) -> String {
    hostname.replace('*', "x")
}
