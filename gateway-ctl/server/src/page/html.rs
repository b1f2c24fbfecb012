//! The page as HTML.

use std::time::UNIX_EPOCH;

use gateway_core::Overview;
use gateway_core::overview::RouteOverview;
use maud::{DOCTYPE, Markup, html};
use serde_json::Value;

use crate::controller::Findings;
use crate::xds::ClientStatus;

/// Rows of a table on the page; the JSON has all.
const ROWS: usize = 1000;

/// The page's style, served apart because the page allows none inline.
pub(super) const STYLE: &str = "\
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#1b1f24;background:#fff}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #d8dee4}
th{font-weight:600;background:#f6f8fa}
code{font:13px ui-monospace,monospace;overflow-wrap:anywhere}
.error{color:#b3161b;font-weight:600}.warning{color:#8a5a00;font-weight:600}.notice{color:#3b5b7a}.good{color:#176f2c}
@media(prefers-color-scheme:dark){body{background:#0f1419;color:#e4e8ec}th{background:#1b222a}th,td{border-color:#303a44}
.error{color:#ff7b80}.warning{color:#e3b341}.notice{color:#8fb8de}.good{color:#5cc979}a{color:#7ab7ff}}
";

/// The whole page.
pub(super) fn page(
    findings: &Findings,
    clients: &[ClientStatus],
    overview: &Overview,
    ready: &Value,
) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Tollgate: diagnostics" }
                link rel="stylesheet" href="/style.css";
            }
            body {
                h1 { "Tollgate gateway" }
                p {
                    "Revision " (findings.revision) ", changed "
                    (utc(findings.changed_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()))
                    " · " a href="/diagnostics" { "JSON" } " · " a href="/metrics" { "metrics" }
                    " · " a href="/readyz" { "readiness" }
                }
                (readiness(ready))
                (diagnostics(findings))
                (connected(clients))
                (listeners(overview))
                (services(overview))
                (routes(overview))
                (clusters(overview))
            }
        }
    }
}

fn readiness(ready: &Value) -> Markup {
    let waiting: Vec<(&str, &str)> = ready
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, state)| Some((name.as_str(), state.as_str()?)))
        .filter(|(_, state)| *state != "ok")
        .collect();
    html! {
        @if waiting.is_empty() { p.good { "Ready" } }
        @for (name, state) in waiting { p.error { "Not ready: " (name) ": " (state) } }
    }
}

fn diagnostics(findings: &Findings) -> Markup {
    html! {
        h2 { "Diagnostics" }
        @if findings.diagnostics.is_empty() { p.good { "Nothing is wrong." } } @else {
            table {
                tr { th { "Severity" } th { "Object" } th { "Where" } th { "What, and the next step" } }
                @for d in findings.diagnostics.iter().take(ROWS) {
                    tr {
                        td class=(d.severity) { (d.severity) }
                        td { @if !d.object.name.is_empty() { (d.object) } }
                        td {
                            code { (d.path) }
                            @if let Some(file) = &d.file {
                                br; code { (file) @if let Some(line) = d.line { ":" (line) } }
                            }
                        }
                        td { (d.message) @if !d.hint.is_empty() { br; (d.hint) } }
                    }
                }
            }
            (cut(findings.diagnostics.len()))
        }
    }
}

fn connected(clients: &[ClientStatus]) -> Markup {
    html! {
        h2 { "Connected" }
        @if clients.is_empty() { p.error { "No Envoy and no service is connected." } } @else {
            table {
                tr { th { "Client" } th { "Node" } th { "Since" } th { "State" } th { "Acknowledged" } th { "Last refusal" } }
                @for c in clients.iter().take(ROWS) {
                    tr {
                        td { (c.kind.word()) }
                        td { (c.node) @if !c.agent.is_empty() { br; (c.agent) } }
                        td { (utc(c.connected_at)) }
                        td {
                            @if c.is_in_sync(0) { span.good { "in sync" } } @else { span.warning { "behind" } }
                            " at revision " (c.revision)
                        }
                        td {
                            @for (name, t) in &c.types {
                                (name) ": " (t.acknowledged)
                                @if t.rejected > 0 { span.error { " (" (t.rejected) " refused)" } }
                                br;
                            }
                        }
                        td { (c.last_refusal.as_deref().unwrap_or("none")) }
                    }
                }
            }
        }
    }
}

fn listeners(overview: &Overview) -> Markup {
    html! {
        h2 { "Listeners and Hosts" }
        table {
            tr { th { "Listener" } th { "Address" } th { "Security model" } th { "Hosts" } }
            @for l in &overview.listeners {
                tr {
                    td { (l.listener) }
                    td { code { (l.address) ":" (l.port) } }
                    td { (l.security_model) }
                    td { @for h in l.hosts.iter().take(20) { (h.namespace) "/" (h.name) br; }
                         @if l.hosts.len() > 20 { "and " (l.hosts.len() - 20) " more" } }
                }
            }
        }
        table {
            tr { th { "Host" } th { "Hostname" } th { "Clear text" } th { "Routes" } }
            @for h in overview.hosts.iter().take(ROWS) {
                tr {
                    td { @if h.host.name.is_empty() { "(default)" } @else { (h.host) } }
                    td { code { (h.hostname) } } td { (h.insecure_action) } td { (h.routes) }
                }
            }
        }
        (cut(overview.hosts.len()))
    }
}

fn services(overview: &Overview) -> Markup {
    html! {
        h2 { "Services that are asked about requests" }
        table {
            tr { th { "Service" } th { "State" } th { "Cluster" } th { "Timeout" } th { "Without an answer" } }
            @for s in &overview.services {
                tr {
                    td { (s.service) @if !s.domain.is_empty() { br; "domain " (s.domain) } }
                    td class=(if s.state == "in force" { "good" } else { "error" }) { (s.state) }
                    td { code { (s.cluster.as_deref().unwrap_or("none")) } }
                    td { (s.timeout_ms) " ms" }
                    td { @if s.fails_open { "requests pass" } @else { "requests are refused" } }
                }
            }
        }
    }
}

fn routes(overview: &Overview) -> Markup {
    html! {
        h2 { "Routes, in the order in which they are tried" }
        table {
            tr { th { "Host" } th { "Match" } th { "Goes to" } th { "Mapping" } th { "Authorized" } th { "Descriptors" } }
            @for r in overview.routes.iter().take(ROWS) {
                tr {
                    td { @if r.host.name.is_empty() { "(default)" } @else { (r.host.name) } }
                    td { (matches(r)) }
                    td { (target(r)) }
                    td { (r.mapping.namespace) "/" (r.mapping.name) }
                    td { @if r.authorized { "yes" } @else { "no" } }
                    td { @for d in &r.descriptors { code { (d.join(", ")) } br; } }
                }
            }
        }
        (cut(overview.routes.len()))
    }
}

fn matches(r: &RouteOverview) -> Markup {
    html! {
        (r.path_kind) " " code { (r.path) }
        @if !r.hostname.is_empty() && r.hostname != "*" { br; "host " code { (r.hostname) } }
        @for h in &r.headers {
            br; "header " code { (h.name) @if let Some(v) = &h.value { (if h.regex { " ~ " } else { " = " }) (v) } }
        }
        @for q in &r.query_parameters {
            br; "query " code { (q.name) @if let Some(v) = &q.value { (if q.regex { " ~ " } else { " = " }) (v) } }
        }
    }
}

fn target(r: &RouteOverview) -> Markup {
    html! {
        @if let Some(status) = r.redirect { "redirect " (status) } @else { code { (r.service) } }
        @if r.weight != 0 && r.weight != 100 { " " (r.weight) "%" }
        @if !r.rewrite.is_empty() { br; (r.rewrite) }
        @for shadow in &r.shadows { br; "copy to " code { (shadow) } }
    }
}

fn clusters(overview: &Overview) -> Markup {
    html! {
        h2 { "Clusters" }
        table {
            tr { th { "Cluster" } th { "Address" } th { "Protocol" } th { "Used by" } }
            @for c in overview.clusters.iter().take(ROWS) {
                tr {
                    td { code { (c.name) } } td { code { (c.address) } }
                    td { @if c.http2 { "HTTP/2" } @else { "HTTP/1.1" } }
                    td { @for o in c.owners.iter().take(5) { (o) br; }
                         @if c.owners.len() > 5 { "and " (c.owners.len() - 5) " more" } }
                }
            }
        }
        (cut(overview.clusters.len()))
    }
}

fn cut(rows: usize) -> Markup {
    html! { @if rows > ROWS { p { "The first " (ROWS) " of " (rows) "; the JSON has all." } } }
}

/// `2026-05-04 03:02:01 UTC`, by the civil calendar.
fn utc(epoch_seconds: u64) -> String {
    let (days, second) = (epoch_seconds / 86_400, epoch_seconds % 86_400);
    // Years that begin in March put the leap day last (Hinnant's civil_from_days, for days >= 0).
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02} UTC", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_times() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_772_323_199), "2026-02-28 23:59:59 UTC");
    }

    #[test]
    fn what_objects_say_is_text_not_markup() {
        let object = service_kit::ObjectRef::new("Mapping", "default", "<script>");
        let mut overview = Overview::default();
        overview.routes.push(RouteOverview { mapping: object, ..RouteOverview::default() });
        let text = routes(&overview).into_string();
        assert!(text.contains("&lt;script&gt;") && !text.contains("<script>"), "{text}");
    }
}
