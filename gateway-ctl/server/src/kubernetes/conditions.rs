//! A verdict and how far it is → the conditions of an object's status. Pure.

use gateway_core::{Audience, Verdict};
use serde_json::{Value, json};

/// The types of the conditions that are written.
pub(super) const TYPES: [&str; 3] = ["Accepted", "ResolvedRefs", "Programmed"];

/// How far what is in force has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Everybody who is connected has acknowledged it.
    Taken,
    /// Some have not.
    Waiting,
    /// Nobody is connected.
    Nobody,
}

/// The conditions at `now` (RFC 3339). Where a condition stays as it was, so does its time.
pub(super) fn of(verdict: &Verdict, progress: Progress, now: &str) -> Vec<Value> {
    let programmed = programmed(verdict, progress);
    let accepted = &verdict.accepted;
    let refs = &verdict.resolved_refs;
    let rows = [
        (accepted.holds, accepted.reason, accepted.message.as_str()),
        (refs.holds, refs.reason, refs.message.as_str()),
        programmed,
    ];
    TYPES
        .iter()
        .zip(rows)
        .map(|(kind, (holds, reason, message))| {
            let status = if holds { "True" } else { "False" };
            let before = find(&verdict.status, kind).filter(|c| c["status"] == status);
            let since = before.and_then(|c| c["lastTransitionTime"].as_str()).unwrap_or(now);
            json!({
                "type": kind,
                "status": status,
                "reason": reason,
                "message": message,
                "observedGeneration": verdict.generation,
                "lastTransitionTime": since,
            })
        })
        .collect()
}

/// Whether an object's status says these conditions already.
pub(super) fn are_in(status: &Value, conditions: &[Value]) -> bool {
    conditions.iter().all(|c| c["type"].as_str().and_then(|t| find(status, t)) == Some(c))
}

/// The addresses in a status.
pub(super) fn addresses(status: &Value) -> &[Value] {
    status["addresses"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// An address in the words of an Ingress' status.
pub(super) fn balancer(address: &Value) -> Value {
    let key = if address["type"] == "Hostname" { "hostname" } else { "ip" };
    json!({ key: address["value"] })
}

/// The addresses in an Ingress' status.
pub(super) fn balancers(status: &Value) -> &[Value] {
    status["loadBalancer"]["ingress"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn find<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    status["conditions"].as_array()?.iter().find(|c| c["type"] == kind)
}

fn programmed(verdict: &Verdict, progress: Progress) -> (bool, &'static str, &'static str) {
    if !verdict.in_force {
        let reason = if verdict.accepted.holds { "Invalid" } else { verdict.accepted.reason };
        return (false, reason, "this generation is not in force; see Accepted");
    }
    match (progress, verdict.audience) {
        (Progress::Taken, _) => (true, "Programmed", ""),
        (Progress::Waiting, Audience::Envoy) => {
            (false, "Pending", "not every connected Envoy has acknowledged it yet")
        }
        (Progress::Waiting, Audience::RateLimit) => {
            (false, "Pending", "not every connected ratelimit-svc has acknowledged it yet")
        }
        (Progress::Waiting, Audience::Authorization) => {
            (false, "Pending", "not every connected authz-svc has acknowledged it yet")
        }
        (Progress::Nobody, Audience::Envoy) => (
            false,
            "NotConnected",
            "no Envoy is connected to gateway-ctl; look at the gateway's pods",
        ),
        (Progress::Nobody, Audience::RateLimit) => (
            false,
            "NotConnected",
            "no ratelimit-svc is connected to gateway-ctl; look at its pods",
        ),
        (Progress::Nobody, Audience::Authorization) => {
            (false, "NotConnected", "no authz-svc is connected to gateway-ctl; look at its pods")
        }
    }
}
