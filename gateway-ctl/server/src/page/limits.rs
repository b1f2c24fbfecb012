//! Limits as they are used: what each let pass and refused, and which counters are the fullest.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Query, State};
use axum::response::Response;
use maud::{Markup, html};
use serde::Serialize;
use serde_json::Value;

use super::layout::{encoded, page, pager, search, table};
use super::services::{health, unknown};
use super::{Form, Page, answer};
use crate::services::{Answer, Pages, Replica, Service, if_known, or_error};

/// Domains whose counters are listed at most.
const DOMAINS: usize = 5;
/// Counters of a domain that are looked through, and that are shown.
const LOOKED_AT: usize = 1_000;
const SHOWN: usize = 20;

/// How a limit is used, of all replicas together, since each of them started.
#[derive(Clone, Debug, Default, Serialize)]
struct Usage {
    domain: String,
    limit: String,
    hits: u64,
    near_limit: u64,
    over_limit: u64,
    shadowed: u64,
}

/// A counter.
#[derive(Debug, Serialize)]
struct Counter {
    key: String,
    /// Hits in the window, or tokens that are left.
    hits: Option<u64>,
    tokens: Option<u64>,
    /// Until it begins anew.
    seconds: u64,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Seen(#[serde(serialize_with = "or_error")] Result<Vec<Counter>, String>);

#[derive(Serialize)]
struct Shown {
    #[serde(serialize_with = "if_known")]
    replicas: Answer,
    limits: Vec<Usage>,
    /// By domain: the fullest counters, or why there are none to be seen.
    counters: BTreeMap<String, Seen>,
}

pub(super) async fn show(State(page): State<Page>, Query(form): Query<Form>) -> Response {
    let replicas = page.services.report(Service::RateLimit, "").await;
    let all = usage(replicas.iter().flatten().flatten());
    let mut counters = BTreeMap::new();
    let domains: BTreeSet<_> = all.iter().map(|u| u.domain.clone()).collect();
    for domain in domains.into_iter().filter(|d| !d.is_empty()).take(DOMAINS) {
        let path = format!("/counters?domain={}&limit={LOOKED_AT}", encoded(&domain));
        let asked = page.services.pages(Service::RateLimit, &path).await;
        counters.insert(domain, Seen(fullest(&asked)));
    }
    let count = all.len();
    let limits = all.into_iter().filter(|u| form.finds([u.limit.as_str(), &u.domain])).collect();
    let shown = Shown { replicas, limits, counters };
    answer(&form, &shown, || {
        let (rows, part, parts) = form.part(&shown.limits);
        let content = html! {
            (health("ratelimit-svc", &shown.replicas))
            @if shown.replicas.is_none() { (unknown("ratelimit-svc", "--ratelimit-admin")) }
            @else {
                h2 { "Limits" }
                (search("/limits", &form.q, shown.limits.len(), count))
                (limits_table(rows))
                (pager("/limits", &form.q, part, parts))
                h2 { "Fullest counters" }
                @if shown.counters.is_empty() { p { "No limit was met yet." } }
                @for (domain, Seen(counters)) in &shown.counters { (counters_of(domain, counters)) }
            }
        };
        self::page("/limits", "Limits", &content)
    })
}

fn usage<'a>(replicas: impl Iterator<Item = &'a Replica>) -> Vec<Usage> {
    let mut all: BTreeMap<(String, String), Usage> = BTreeMap::new();
    for sample in replicas.flat_map(|r| &r.samples) {
        let (domain, limit) = (sample.label("domain"), sample.label("limit"));
        let Some(field) = sample.name.strip_prefix("ratelimit_") else { continue };
        if limit.is_empty() {
            continue;
        }
        let usage = all.entry((domain.to_owned(), limit.to_owned())).or_default();
        // Counters are whole numbers.
        let value = sample.value as u64;
        match field {
            "total_hits_total" => usage.hits += value,
            "near_limit_total" => usage.near_limit += value,
            "over_limit_total" => usage.over_limit += value,
            "shadow_mode_total" => usage.shadowed += value,
            _ => {}
        }
    }
    let named = all.into_iter().map(|((domain, limit), u)| Usage { domain, limit, ..u });
    // A limit that a request brought itself is told only when there was one.
    let mut rows: Vec<Usage> = named.filter(|u| !u.domain.is_empty() || u.hits > 0).collect();
    rows.sort_by(|a, b| (b.over_limit, b.hits, &a.limit).cmp(&(a.over_limit, a.hits, &b.limit)));
    rows
}

/// The fullest counters of the first replica that shows them: with Redis all show the same.
fn fullest(asked: &Pages) -> Result<Vec<Counter>, String> {
    let replicas = match asked {
        Some(Ok(replicas)) => replicas,
        Some(Err(why)) => return Err(why.clone()),
        None => return Ok(Vec::new()),
    };
    let mut why = "no replica".to_owned();
    for shown in replicas {
        match shown {
            Ok(found) => return Ok(sorted(found)),
            Err(e) => why.clone_from(e),
        }
    }
    Err(why)
}

fn sorted(found: &Value) -> Vec<Counter> {
    let list = found["counters"].as_array().into_iter().flatten();
    let mut counters: Vec<Counter> = list
        .map(|c| Counter {
            key: c["key"].as_str().unwrap_or_default().to_owned(),
            hits: c["hits"].as_u64(),
            tokens: c["tokens"].as_u64(),
            seconds: c["seconds"].as_u64().unwrap_or_default(),
        })
        .collect();
    // Few tokens left are as many hits.
    counters.sort_by_key(|c| (std::cmp::Reverse(c.hits), c.tokens, c.key.clone()));
    counters.truncate(SHOWN);
    counters
}

fn limits_table(rows: &[Usage]) -> Markup {
    let share = |part: u64, of: u64| (part * 100).checked_div(of).unwrap_or_default();
    let rows = html! {
        @for u in rows {
            tr {
                td { (u.limit) br; "domain " (u.domain) }
                td { (u.hits) }
                td class=[(u.over_limit > 0).then_some("warning")] {
                    (u.over_limit) @if u.over_limit > 0 { " (" (share(u.over_limit, u.hits)) " %)" }
                }
                td { (u.near_limit) }
                td { @if u.shadowed > 0 { (u.shadowed) } }
            }
        }
    };
    let heads = ["Limit", "Hits", "Over it", "Near it", "Let pass by shadow mode"];
    html! {
        @if rows.0.is_empty() { p { "No limits, or none that was met." } }
        @else { (table("Limits", &heads, &rows)) p.hint { "Since the replicas started." } }
    }
}

fn counters_of(domain: &str, counters: &Result<Vec<Counter>, String>) -> Markup {
    let rows = html! {
        @for c in counters.iter().flatten() {
            tr {
                td { code { (c.key) } }
                td {
                    @if let Some(hits) = c.hits { (hits) " hits" }
                    @if let Some(tokens) = c.tokens { (tokens) " tokens left" }
                }
                td { (c.seconds) " s" }
            }
        }
    };
    html! {
        h3 { "Domain " (domain) }
        @match counters {
            Err(why) => p.warning { "Not to be seen: " (why) }
            Ok(list) if list.is_empty() => p { "None: nothing was counted in this window." }
            Ok(_) => (table("Counters", &["Counter", "Used", "Begins anew in"], &rows))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_fullest_counters_come_first() {
        let found = json!({"counters": [
            {"key": "a", "hits": 1, "seconds": 5}, {"key": "b", "hits": 7, "seconds": 5},
            {"key": "c", "tokens": 9, "seconds": 5}, {"key": "d", "tokens": 0, "seconds": 5}]});
        let keys: Vec<_> = sorted(&found).into_iter().map(|c| c.key).collect();
        assert_eq!(keys, ["b", "a", "d", "c"]);
    }
}
