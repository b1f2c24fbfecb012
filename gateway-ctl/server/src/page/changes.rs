//! What changed lately, how, and how long it took to be live.

use axum::extract::{Query, State};
use axum::response::Response;
use maud::{Markup, html};

use super::layout::{object, page, utc};
use super::{Form, Page, answer};
use crate::history::Entry;

pub(super) async fn show(State(page): State<Page>, Query(form): Query<Form>) -> Response {
    let entries = page.history.list();
    answer(&form, &entries, || {
        let content = html! {
            p.hint { "The last 200 changes of this process, the newest first, without those of endpoints." }
            @if entries.is_empty() { p { "Nothing changed yet." } }
            @for entry in &entries { (change(entry)) }
        };
        self::page("/changes", "Changes", &content)
    })
}

fn change(entry: &Entry) -> Markup {
    let (changed, removed) = entry.resources;
    html! {
        section {
            h2 { "Revision " (entry.revision) ", " (utc(entry.at)) }
            p {
                (changed) " resources changed, " (removed) " removed; "
                @match entry.live_ms {
                    Some(ms) => { "live on all clients after " (ms) " ms" }
                    None => { span.warning { "not acknowledged by all clients yet" } }
                }
            }
            @for o in &entry.objects {
                details {
                    summary { (object(&o.object)) " " (o.what) }
                    pre { (o.difference) }
                }
            }
            @if entry.more > 0 { p { "and " (entry.more) " more objects" } }
        }
    }
}
