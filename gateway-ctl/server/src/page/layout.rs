//! What all pages share: the frame, the style, and how things are written.

use gateway_core::overview::RouteOverview;
use maud::{DOCTYPE, Markup, html};
use service_kit::{Diagnostic, ObjectRef};

/// The pages, in the order of the menu.
const MENU: [(&str, &str); 8] = [
    ("/", "Overview"),
    ("/routes", "Routes"),
    ("/clusters", "Clusters"),
    ("/objects", "Objects"),
    ("/limits", "Limits"),
    ("/authorization", "Authorization"),
    ("/changes", "Changes"),
    ("/explain", "Explain"),
];

/// The style, served apart because the pages allow none inline.
pub(super) const STYLE: &str = include_str!("style.css");

/// A whole page; `here` is its path.
pub(super) fn page(here: &str, title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Tollgate" }
                link rel="icon" href="/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/style.css";
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                header {
                    span.brand { "Tollgate" }
                    nav aria-label="Pages" {
                        @for (path, name) in MENU {
                            @if path == here { a href=(path) aria-current="page" { (name) } }
                            @else { a href=(path) { (name) } }
                        }
                    }
                }
                main id="content" { h1 { (title) } (content) }
                footer {
                    a href=(json_of(here)) { "This page as JSON" } " · "
                    a href="/metrics" { "Metrics" } " · " a href="/readyz" { "Readiness" }
                }
            }
        }
    }
}

fn json_of(here: &str) -> String {
    format!("{here}?json=true")
}

/// A table that scrolls by itself on a narrow screen.
pub(super) fn table(label: &str, heads: &[&str], rows: &Markup) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(label) {
            table {
                thead { tr { @for head in heads { th scope="col" { (head) } } } }
                tbody { (rows) }
            }
        }
    }
}

/// A form that looks for a text, and how much was found.
pub(super) fn search(path: &str, query: &str, found: usize, all: usize) -> Markup {
    html! {
        form.search role="search" method="get" action=(path) {
            label for="q" { "Search" }
            input id="q" name="q" type="search" value=(query) autocomplete="off";
            button { "Find" }
            span.count { (found) @if found != all { " of " (all) } }
        }
    }
}

/// Links to the other parts of a long table.
pub(super) fn pager(path: &str, query: &str, part: usize, parts: usize) -> Markup {
    let link = |part: usize| format!("{path}?q={}&part={part}", encoded(query));
    html! {
        @if parts > 1 {
            nav.pager aria-label="Parts of the table" {
                @if part > 1 { a rel="prev" href=(link(part - 1)) { "Before" } }
                span { "Part " (part) " of " (parts) }
                @if part < parts { a rel="next" href=(link(part + 1)) { "Next" } }
            }
        }
    }
}

/// A text as a part of a URL.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
}

/// Where an object's own page is.
pub(super) fn object_path(object: &ObjectRef) -> String {
    let ObjectRef { kind, namespace, name } = object;
    format!("/objects/{}/{}/{}", encoded(kind), encoded(namespace), encoded(name))
}

/// An object with a link to its page.
pub(super) fn object(object: &ObjectRef) -> Markup {
    html! {
        @if object.name.is_empty() { "(default)" } @else {
            a href=(object_path(object)) { (object.kind) " " (object.namespace) "/" (object.name) }
        }
    }
}

/// What is wrong, as a table.
pub(super) fn diagnostics(found: &[&Diagnostic]) -> Markup {
    let rows = html! {
        @for d in found {
            tr {
                td class=(d.severity) { (d.severity) }
                td { @if !d.object.name.is_empty() { (object(&d.object)) } }
                td {
                    code { (d.path) }
                    @if let Some(file) = &d.file {
                        br; code { (file) @if let Some(line) = d.line { ":" (line) } }
                    }
                }
                td { (d.message) @if !d.hint.is_empty() { br; span.hint { (d.hint) } } }
            }
        }
    };
    let heads = ["Severity", "Object", "Where", "What, and the next step"];
    html! {
        @if found.is_empty() { p.good { "Nothing is wrong." } }
        @else { (table("What is wrong", &heads, &rows)) }
    }
}

/// The conditions of a route.
pub(super) fn conditions(r: &RouteOverview) -> Markup {
    html! {
        (r.path_kind) " " code { (r.path) }
        @if !r.hostname.is_empty() && r.hostname != "*" { br; "host " code { (r.hostname) } }
        @for (what, conditions) in [("header", &r.headers), ("query", &r.query_parameters)] {
            @for c in conditions {
                br; (what) " "
                code { (c.name) @if let Some(v) = &c.value { (if c.regex { " ~ " } else { " = " }) (v) } }
            }
        }
    }
}

/// Where a route leads.
pub(super) fn target(r: &RouteOverview) -> Markup {
    html! {
        @if let Some(status) = r.redirect { "redirect " (status) } @else { code { (r.service) } }
        @if r.weight != 0 && r.weight != 100 { " " (r.weight) "%" }
        @if !r.rewrite.is_empty() { br; (r.rewrite) }
        @for shadow in &r.shadows { br; "copy to " code { (shadow) } }
    }
}

/// `2026-05-04 03:02:01 UTC`.
pub(super) fn utc(epoch_seconds: u64) -> String {
    let seconds = i64::try_from(epoch_seconds).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => "in the far future".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_times_and_links() {
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 UTC");
        let reference = ObjectRef::new("Mapping", "default", "a b/<c>");
        assert_eq!(object_path(&reference), "/objects/Mapping/default/a%20b%2F%3Cc%3E");
    }

    #[test]
    fn what_objects_say_is_text_not_markup() {
        let text = object(&ObjectRef::new("Mapping", "default", "<script>")).into_string();
        assert!(text.contains("&lt;script&gt;") && !text.contains("<script>"), "{text}");
    }
}
