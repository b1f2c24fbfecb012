//! Rate limits: a request is over one, or counts against none.

use service_kit::ObjectRef;

use super::{Cause, Found, Look, certain, possible};
use crate::explain::counters::{Usage, words_of};
use crate::explain::facts::Facts;
use crate::explain::limits::{Fate, Fates};

/// What people say when a limit does not work.
const UNLIMITED: &[&str] = &["not limited", "no limit", "not counted", "no 429", "unlimited"];

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "over-limit",
        title: "The request is over a limit",
        statuses: &[429],
        flags: &["RL"],
        words: &[
            "too many requests",
            "rate limited",
            "was i limited",
            "how near",
            "near the limit",
        ],
        proof: &["request_rate_limited"],
        sees: "`x-ratelimit-limit`, `retry-after`",
        why: "More requests with the same values of a descriptor than the RateLimit allows in its unit. Many clients share a value when the address that counts is that of a balancer.",
        next: "raise `rate` of the limit, or count by something finer (a header that authorization sets, instead of the address)",
        look: |facts| {
            let Some(fates) = fates(facts) else {
                return if facts.request.is_some() { None } else { possible(Vec::new()) };
            };
            let usages = &facts.live.counters.usages;
            let mut found = Vec::new();
            for d in &fates.descriptors {
                let Fate::Counted(limits) = &d.fate else { continue };
                let known = d.entries.as_deref().map(words_of);
                let usage = usages.iter().find(|u| known.as_ref() == Some(&u.descriptor));
                // What the service says goes before what would fit.
                for (object, words) in limits.iter().take(usage.map_or(usize::MAX, |_| 1)) {
                    let words = match usage {
                        Some(u) => format!(
                            "descriptor `{}` in domain `{}` counts against {}: {}",
                            u.descriptor,
                            fates.domain,
                            u.of(),
                            u.stands()
                        ),
                        None => format!(
                            "descriptor `{}` in domain `{}` counts against {words}",
                            d.words, fates.domain
                        ),
                    };
                    let next = match usage {
                        Some(u) if !u.refuses() && facts.symptom.status == Some(429) => {
                            "it has room now: the window of the refusal is over, or the values were others"
                        }
                        _ => "",
                    };
                    found.push(Found::new(words, next, Some(object)));
                }
            }
            let is_certain = usages.iter().any(Usage::refuses);
            (!found.is_empty()).then_some(Look { is_certain, found })
        },
    },
    Cause {
        id: "limiter-unreachable",
        title: "The rate limit service does not answer, and requests are refused",
        statuses: &[500],
        flags: &["RLSE"],
        words: &[],
        proof: &["rate_limiter_error", "rate limiter error"],
        sees: "`rate_limiter_error`",
        why: "The RateLimitService cannot be reached, or not within its `timeout_ms`, and `failure_mode_deny` is true.",
        next: "`kubectl get pods,endpoints` of the service that `spec.service` of the RateLimitService names; or set `failure_mode_deny: false`",
        look: |facts| {
            let (service, _) = facts.service("RateLimitService")?;
            if service.fails_open {
                return None;
            }
            let words = format!(
                "{} is given up after {} ms, and failure_mode_deny is true",
                service.service, service.timeout_ms
            );
            possible(vec![Found::new(words, "", Some(&service.service))])
        },
    },
    Cause {
        id: "limiter-fails-open",
        title: "The rate limit service does not answer, so nothing is limited",
        statuses: &[200],
        flags: &[],
        words: UNLIMITED,
        proof: &[],
        sees: "requests pass; `ratelimit.error` of Envoy's statistics grows",
        why: "The RateLimitService cannot be reached, or not within its `timeout_ms`; requests pass then, unless `failure_mode_deny` is true.",
        next: "`kubectl get pods,endpoints` of the service that `spec.service` of the RateLimitService names",
        look: |facts| {
            let fates = counted(facts)?;
            let service = fates.service.as_ref()?;
            if !fates.fails_open {
                return None;
            }
            let words = format!(
                "{service} is given up after {} ms, and requests pass then",
                fates.timeout_ms
            );
            possible(vec![Found::new(words, "", Some(service))])
        },
    },
    Cause {
        id: "limiter-off",
        title: "There is no rate limit service in force",
        statuses: &[200],
        flags: &[],
        words: UNLIMITED,
        proof: &[],
        sees: "requests pass",
        why: "There is no RateLimitService, or it has an error and is off.",
        next: "create a RateLimitService, or mend what `gateway-ctl check` says about it",
        look: |facts| {
            let services = facts.overview().services.iter();
            let service =
                services.filter(|s| s.service.kind == "RateLimitService").collect::<Vec<_>>();
            match service.as_slice() {
                [] => (!facts.symptom.is_empty())
                    .then(|| certain(vec![Found::new("there is no RateLimitService", "", None)]))?,
                all if all.iter().all(|s| s.state == "off") => certain(
                    all.iter()
                        .map(|s| {
                            let why = facts.found(&s.service).next();
                            let words = why.map_or(String::new(), |d| format!(": {}", d.message));
                            Found::new(
                                format!("{} is off{words}", s.service),
                                why.map_or("", |d| d.hint.as_str()),
                                Some(&s.service),
                            )
                        })
                        .collect(),
                ),
                _ => None,
            }
        },
    },
    Cause {
        id: "route-unlabelled",
        title: "The Mapping has no labels",
        statuses: &[200],
        flags: &[],
        words: UNLIMITED,
        proof: &[],
        sees: "requests pass",
        why: "Only Mappings with `labels` of the RateLimitService's domain (or default labels of the Module) are counted.",
        next: "add `labels` for that domain to the Mapping, or `default_labels` to the Module",
        look: |facts| {
            let fates = fates(facts)?;
            let service = fates.service.as_ref()?;
            let route = facts.route()?;
            if !fates.descriptors.is_empty() || facts.symptom.is_empty() {
                return None;
            }
            let words = format!(
                "{} has no labels of domain `{}`, which {service} asks for",
                route.mapping, fates.domain
            );
            certain(vec![Found::new(
                words,
                format!("add `labels: {{{}: […]}}`", fates.domain),
                Some(&route.mapping),
            )])
        },
    },
    Cause {
        id: "descriptor-dropped",
        title: "A descriptor is dropped because a header is missing",
        statuses: &[200],
        flags: &[],
        words: UNLIMITED,
        proof: &[],
        sees: "requests pass",
        why: "A label that takes a header makes no descriptor where the header is missing: the whole descriptor is left out, not only its entry.",
        next: "send the header, let authorization set it, or use `remote_address` for those without it",
        look: |facts| {
            let fates = fates(facts)?;
            let mapping = facts.route().map(|r| r.mapping.clone());
            certain(
                fates
                    .descriptors
                    .iter()
                    .filter_map(|d| {
                        let Fate::Dropped(missing) = &d.fate else { return None };
                        let words = format!(
                            "descriptor `{}` is not sent: the request has no {missing}",
                            d.words
                        );
                        Some(Found::new(words, "", mapping.as_ref()))
                    })
                    .collect(),
            )
        },
    },
    Cause {
        id: "domain-without-limits",
        title: "No limit is in this domain",
        statuses: &[200],
        flags: &[],
        words: UNLIMITED,
        proof: &[],
        sees: "requests pass",
        why: "RateLimits are looked for in the domain of the RateLimitService (`ambassador` unless told); those of other domains do not count.",
        next: "set `spec.domain` of the RateLimit to the domain of the RateLimitService",
        look: |facts| {
            let fates = fates(facts)?;
            let service = fates.service.as_ref()?;
            if fates.limits > 0 || fates.descriptors.is_empty() {
                return None;
            }
            let others: Vec<&str> = fates.domains.iter().map(String::as_str).collect();
            let others = if others.is_empty() {
                "there are no RateLimits".to_owned()
            } else {
                format!("RateLimits are in {}", others.join(", "))
            };
            certain(vec![Found::new(
                format!("{service} has domain `{}`, in which no limit is; {others}", fates.domain),
                "",
                Some(service),
            )])
        },
    },
    Cause {
        id: "no-limit-fits",
        title: "No limit fits the descriptor",
        statuses: &[200],
        flags: &[],
        words: UNLIMITED,
        proof: &[],
        sees: "requests pass",
        why: "The pattern of a limit has to fit the entries of a descriptor from the first on, key by key, in their order.",
        next: "compare the descriptor with `limits[].pattern` of the RateLimits; `*` takes any value",
        look: |facts| {
            let fates = fates(facts)?;
            if fates.limits == 0 {
                return None;
            }
            let mapping: Option<ObjectRef> = facts.route().map(|r| r.mapping.clone());
            certain(
                fates
                    .descriptors
                    .iter()
                    .filter(|d| d.fate == Fate::Free)
                    .map(|d| {
                        let words = format!(
                            "descriptor `{}` fits none of the {} limits of domain `{}`",
                            d.words, fates.limits, fates.domain
                        );
                        Found::new(words, "", mapping.as_ref())
                    })
                    .collect(),
            )
        },
    },
];

fn fates<'a>(facts: &Facts<'a>) -> Option<&'a Fates> {
    facts.way?.fates.as_ref()
}

/// The fates of a request that some limit counts.
fn counted<'a>(facts: &Facts<'a>) -> Option<&'a Fates> {
    fates(facts).filter(|f| f.descriptors.iter().any(|d| matches!(d.fate, Fate::Counted(_))))
}
