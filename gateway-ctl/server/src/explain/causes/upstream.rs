//! The service: it cannot be reached, answers too late, or answers that itself.

use gateway_core::overview::ClusterOverview;

use super::{Cause, Found, Look, certain, possible};
use crate::explain::facts::{Facts, MOST};

/// What bodies and details of all failures of connections begin with.
pub(super) const RESET: &str = "upstream connect error or disconnect/reset before headers";
pub(super) const RESET_DETAILS: &str = "upstream_reset_before_response_started";
const RESETS: &[&str] = &[RESET, RESET_DETAILS];
const PROTOCOL_ERROR: &[&str] =
    &[RESET, RESET_DETAILS, "protocol error", "protocol_error", "connection termination"];

pub(super) const CAUSES: &[Cause] = &[
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
        id: "media-type-refused",
        title: "The service does not take this Content-Type",
        statuses: &[415],
        flags: &[],
        words: &["via_upstream", "unsupported media type"],
        proof: &[],
        sees: "`via_upstream`",
        why: "Nothing in the gateway refuses a Content-Type: the service answered it itself. A gRPC server answers so to everything but `application/grpc`.",
        next: "send the Content-Type that the service takes; a gRPC service wants a gRPC client, or `enable_grpc_web: true` in the Module for gRPC-Web",
        look: media_type,
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

/// Who refused the Content-Type, and whether another would do.
fn media_type(facts: &Facts<'_>) -> Option<Look> {
    let route = facts.route();
    if facts.request.is_some() && route.is_none() {
        return None;
    }
    let is_certain = facts.symptom.status == Some(415) && facts.symptom.says("via_upstream");
    let Some(route) = route.filter(|r| r.cluster.is_some()) else {
        return Some(Look { is_certain, found: Vec::new() });
    };
    let mut words = format!("{} sends it to `{}`", route.mapping, route.service);
    let mut next = "";
    if facts.cluster().is_some_and(|c| c.http2) {
        words += " as to a gRPC service (`grpc: true`)";
        if let Some(request) = facts.request.filter(|r| r.has_headers) {
            let given = request.header("content-type").unwrap_or_default();
            let is_grpc = given.split([';', '+']).next() == Some("application/grpc");
            let is_web = given.starts_with("application/grpc-web");
            if !is_grpc {
                words += &match given.as_str() {
                    "" => ", and the request has no content-type".to_owned(),
                    given => format!(", and the request's content-type is `{given}`"),
                };
                next = match (is_web, facts.module("enable_grpc_web")) {
                    (true, Some(serde_json::Value::Bool(true))) => "",
                    (true, _) => "set `enable_grpc_web: true` in the Module",
                    (false, _) => "call it with a gRPC client, which sends `application/grpc`",
                };
            }
        }
    }
    words += ", which answered it itself";
    Some(Look { is_certain, found: vec![Found::new(words, next, Some(&route.mapping))] })
}
