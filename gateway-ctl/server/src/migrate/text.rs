//! The report of `migrate` for people: what needs work first, alike things once.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use gateway_core::migration::{Difference, LimitsFile, Outcome, Report, is_fault};

/// How many objects of a difference are named when not all are asked for.
const NAMED: usize = 3;

/// The report; with `all`, every object is named.
pub fn write(report: &Report, all: bool) -> String {
    let mut out = String::new();
    let sections = [
        summary(report),
        not_taken(report),
        told(report),
        differences(report, all),
        rewrites(report, all),
        limits(report),
        unchanged(report, all),
        of_the_gateway(report),
    ];
    for section in sections.into_iter().filter(|s| !s.is_empty()) {
        if !out.is_empty() {
            out.push('\n');
        }
        out += &section;
    }
    out
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn summary(report: &Report) -> String {
    let count = |outcome| report.count(outcome);
    let mut out = format!("{} of the gateway\n", counted(report.objects.len(), "object"));
    for (n, words) in [
        (count(Outcome::Unchanged), "work unchanged"),
        (count(Outcome::Differs), "work, with what is said below"),
        (count(Outcome::Replaced), "were parts of Edge Stack: delete them"),
        (count(Outcome::NotTaken), "are not taken as they are, or in part"),
        (count(Outcome::OtherInstallation), "are for another ambassador_id"),
        (report.others, "other objects were passed over"),
    ] {
        if n > 0 {
            let _ = writeln!(out, "{n:>6} {words}");
        }
    }
    for limits in &report.limits {
        let words = if limits.found.is_empty() { "works unchanged" } else { "is not taken" };
        let _ =
            writeln!(out, "       {} ({}) {words}", limits.file, counted(limits.limits, "limit"));
    }
    out
}

fn not_taken(report: &Report) -> String {
    let entries = report.objects.iter().filter(|e| e.outcome == Outcome::NotTaken);
    let found = entries.flat_map(|e| &e.found).filter(|d| is_fault(d));
    lines("NOT TAKEN", found.chain(&report.unread))
}

fn told(report: &Report) -> String {
    let found = report.objects.iter().flat_map(|e| &e.found);
    lines("WORTH A LOOK", found.filter(|d| !is_fault(d)))
}

/// A section of a line each; empty without lines.
fn lines<T: Display>(title: &str, all: impl Iterator<Item = T>) -> String {
    let all: Vec<T> = all.collect();
    if all.is_empty() {
        return String::new();
    }
    let mut out = format!("{title} ({})\n", all.len());
    for line in all {
        let _ = writeln!(out, "  {line}");
    }
    out
}

fn differences(report: &Report, all: bool) -> String {
    let mut met: BTreeMap<(&str, &str), (&Difference, Vec<String>)> = BTreeMap::new();
    for entry in &report.objects {
        for m in &entry.differences {
            let key = (m.difference.section.as_str(), m.difference.what.as_str());
            let place = format!("{} {}", entry.object, m.path);
            met.entry(key).or_insert((m.difference, Vec::new())).1.push(place);
        }
    }
    if met.is_empty() {
        return String::new();
    }
    let mut out = format!("WORKS, BUT NOT AS IN EMISSARY ({})\n", met.len());
    for (difference, places) in met.into_values() {
        explain(&mut out, difference);
        list(&mut out, &places, all);
    }
    out
}

fn explain(out: &mut String, difference: &Difference) {
    let Difference { section, what, emissary, here, why } = difference;
    let _ = writeln!(out, "  {section}: {what}");
    let _ = writeln!(out, "    in Emissary: {emissary}");
    let _ = writeln!(out, "    here:        {here}");
    if !why.is_empty() {
        let _ = writeln!(out, "    because:     {why}");
    }
}

fn list(out: &mut String, places: &[String], all: bool) {
    let shown = if all { places.len() } else { NAMED };
    for place in places.iter().take(shown) {
        let _ = writeln!(out, "    - {place}");
    }
    if places.len() > shown {
        let _ = writeln!(out, "    - and {} more (--all names them)", places.len() - shown);
    }
}

fn rewrites(report: &Report, all: bool) -> String {
    let mut by_change: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for entry in &report.objects {
        for change in entry.rewrite.iter().flat_map(|r| &r.changes) {
            by_change.entry(change).or_default().push(entry.object.to_string());
        }
    }
    for added in &report.added {
        let object = added.object.as_ref();
        let name = object.and_then(|o| o.pointer("/metadata/name")?.as_str()).unwrap_or_default();
        for change in &added.changes {
            by_change.entry(change).or_default().push(format!("Listener {name}, new"));
        }
    }
    if by_change.is_empty() {
        return String::new();
    }
    let mut out = "CAN BE WRITTEN ANEW (--write DIR does it)\n".to_owned();
    for (change, places) in by_change {
        let _ = writeln!(out, "  {change}");
        list(&mut out, &places, all);
    }
    out
}

fn limits(report: &Report) -> String {
    if report.limits.is_empty() {
        return String::new();
    }
    let mut out = format!("FILES OF ENVOYPROXY/RATELIMIT ({})\n", report.limits.len());
    for LimitsFile { file, domain, limits, found, resource, kept, differs } in &report.limits {
        for d in found {
            let _ = writeln!(out, "  {d}");
        }
        if !found.is_empty() {
            continue;
        }
        let count = counted(*limits, "limit");
        let _ =
            writeln!(out, "  {file}: domain {domain}, {count}: ratelimit-svc --config takes it");
        if resource.is_some() {
            let _ = writeln!(out, "    as a RateLimit: --write DIR");
        }
        for words in differs {
            let _ = writeln!(out, "    but: {words}");
        }
        for words in kept {
            let _ = writeln!(out, "    stays a file: {words}");
        }
    }
    out
}

fn unchanged(report: &Report, all: bool) -> String {
    let entries = report.objects.iter().filter(|e| all && e.outcome == Outcome::Unchanged);
    lines("UNCHANGED", entries.map(|e| &e.object))
}

fn of_the_gateway(report: &Report) -> String {
    if report.objects.is_empty() {
        return String::new();
    }
    let mut out = "OF EVERY INSTALLATION\n".to_owned();
    for difference in &report.of_the_gateway {
        explain(&mut out, difference);
    }
    out
}
