//! What a request counts against: the descriptors of its route, and the limits that fit them.

use std::collections::BTreeSet;
use std::sync::Arc;

use gateway_core::Overview;
use gateway_core::overview::RouteOverview;
use serde_json::{Map, Value};
use service_kit::{Object, ObjectRef};

use super::Request;
use super::way::Lines;

/// What becomes of the descriptors of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Fates {
    /// The RateLimitService, if there is one.
    pub(super) service: Option<ObjectRef>,
    /// Its domain.
    pub(super) domain: String,
    /// Whether requests pass when it does not answer.
    pub(super) fails_open: bool,
    /// How long it may take, in milliseconds.
    pub(super) timeout_ms: u64,
    /// How many limits the domain has.
    pub(super) limits: usize,
    /// The domains that have limits.
    pub(super) domains: BTreeSet<String>,
    /// The route's descriptors.
    pub(super) descriptors: Vec<Descriptor>,
}

/// A descriptor and what becomes of it.
#[derive(Clone, Debug)]
pub(super) struct Descriptor {
    /// As in `user=<header x-user>`.
    pub(super) words: String,
    pub(super) fate: Fate,
    /// Keys and values as Envoy sends them, if all of them are known.
    pub(super) entries: Option<Vec<(String, String)>>,
}

/// What becomes of a descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Envoy drops it: the request does not have this.
    Dropped(String),
    /// It counts against these limits: those whose values may fit, then one that fits.
    Counted(Vec<(ObjectRef, String)>),
    /// No limit fits.
    Free,
}

pub(super) fn explain(
    request: &Request,
    route: &RouteOverview,
    overview: &Overview,
    objects: &[Arc<Object>],
    refused: &[ObjectRef],
    out: &mut Lines,
) -> Fates {
    let mut fates = Fates::default();
    let Some(service) = overview.services.iter().find(|s| s.service.kind == "RateLimitService")
    else {
        out.say("Rate limits", "none: there is no RateLimitService");
        return fates;
    };
    let otherwise = if service.fails_open { "pass" } else { "are refused" };
    out.say(
        "Rate limits",
        format!(
            "{} ({}), domain `{}`; after {} ms without an answer requests {otherwise}",
            service.service, service.state, service.domain, service.timeout_ms
        ),
    );
    if route.descriptors.is_empty() {
        out.more(format!("no labels on {} and no default labels: not asked", route.mapping));
    }
    let limits = limits(objects, refused, &service.domain);
    fates = Fates {
        service: Some(service.service.clone()),
        domain: service.domain.clone(),
        fails_open: service.fails_open,
        timeout_ms: service.timeout_ms,
        limits: limits.len(),
        domains: domains(objects),
        descriptors: Vec::new(),
    };
    for descriptor in &route.descriptors {
        let words = descriptor.join(", ");
        out.more(format!("descriptor {words}"));
        let entries: Vec<Entry> =
            descriptor.iter().map(|e| Entry::read(e, request, route)).collect();
        let missing = entries.iter().find(|e| e.is_missing);
        if let Some(missing) = missing {
            out.more(format!("  not sent: the request has no {}", missing.source));
        }
        let counted = name_limit(&limits, &entries, out);
        let fate = match missing {
            Some(missing) => Fate::Dropped(missing.source.clone()),
            None if counted.is_empty() => Fate::Free,
            None => Fate::Counted(counted),
        };
        let pair = |e: &Entry| Some((e.key.clone(), e.value.clone()?));
        let entries = entries.iter().map(pair).collect();
        fates.descriptors.push(Descriptor { words, fate, entries });
    }
    fates
}

fn domains(objects: &[Arc<Object>]) -> BTreeSet<String> {
    let limits = objects.iter().filter(|o| o.reference.kind == "RateLimit");
    let domain = |o: &Arc<Object>| Some(o.json.pointer("/spec/domain")?.as_str()?.to_owned());
    limits.filter_map(domain).collect()
}

/// A descriptor counts against one limit: the first that fits.
fn name_limit(
    limits: &[Limit<'_>],
    entries: &[Entry],
    out: &mut Lines,
) -> Vec<(ObjectRef, String)> {
    let mut counted = Vec::new();
    for (limit, certain) in limits.iter().filter_map(|l| Some((l, l.fits(entries)?))) {
        counted.push((limit.object.clone(), limit.words.clone()));
        if certain {
            out.more(format!("  {}", limit.words));
            return counted;
        }
        out.more(format!("  {}, if the values fit; otherwise", limit.words));
    }
    out.more("  no limit fits: not counted");
    counted
}

/// One entry of a descriptor, as far as it is known.
struct Entry {
    key: String,
    value: Option<String>,
    source: String,
    is_missing: bool,
}

impl Entry {
    /// Reads `key=value` or `key=<source>`.
    fn read(text: &str, request: &Request, route: &RouteOverview) -> Self {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        let source = value.strip_prefix('<').and_then(|v| v.strip_suffix('>'));
        let Some(source) = source else {
            let value = Some(value.to_owned());
            return Self { key: key.to_owned(), value, source: String::new(), is_missing: false };
        };
        // As in `<header x-user>`.
        let header =
            source.strip_prefix("header ").or_else(|| source.strip_prefix("request header "));
        let said = source.strip_prefix("authorization's ");
        let value = match (header, said, source) {
            (Some(name), ..) => request.header(name.trim()),
            (_, Some(path), _) => request.metadata.as_ref().and_then(|m| said_of(m, path)),
            (_, _, "client address") => request.client.clone(),
            (_, _, "cluster") => route.cluster.clone(),
            _ => None,
        };
        let is_looked_up = match header {
            Some(_) => request.has_headers,
            None => said.is_some() && request.metadata.is_some(),
        };
        let is_missing = is_looked_up && value.is_none();
        Self { key: key.to_owned(), value, source: source.to_owned(), is_missing }
    }
}

/// A value of the metadata at `a.b` or, where there is none, the word behind `, or `.
fn said_of(metadata: &Map<String, Value>, path: &str) -> Option<String> {
    let (path, default) = match path.split_once(", or ") {
        Some((path, default)) => (path, Some(default)),
        None => (path, None),
    };
    let mut keys = path.split('.');
    let first = keys.next().and_then(|key| metadata.get(key));
    // Envoy takes texts only.
    let found = first.and_then(|v| keys.try_fold(v, |value, key| value.get(key)));
    let found = found.and_then(Value::as_str);
    found.filter(|text| !text.is_empty()).or(default).map(str::to_owned)
}

struct Limit<'a> {
    object: ObjectRef,
    pattern: Vec<&'a Value>,
    per_day: f64,
    words: String,
}

impl Limit<'_> {
    /// Which places take any value.
    fn wildcards(&self) -> Vec<bool> {
        let any = |v: &Value| v.as_str().is_some_and(|v| v.is_empty() || v == "*");
        let is_wild = |item: &&Value| item.as_object().is_some_and(|m| m.values().all(any));
        self.pattern.iter().map(is_wild).collect()
    }

    /// Whether the pattern fits, and whether that is certain by what is known.
    fn fits(&self, entries: &[Entry]) -> Option<bool> {
        let mut certain = true;
        for (index, item) in self.pattern.iter().enumerate() {
            let entry = entries.get(index)?;
            let wanted = item.get(&entry.key)?;
            let wanted = wanted.as_str().map_or_else(|| wanted.to_string(), str::to_owned);
            match &entry.value {
                _ if wanted.is_empty() || wanted == "*" => {}
                Some(value) if *value == wanted => {}
                Some(_) => return None,
                None => certain = false,
            }
        }
        Some(certain)
    }
}

fn limits<'a>(objects: &'a [Arc<Object>], refused: &[ObjectRef], domain: &str) -> Vec<Limit<'a>> {
    let in_domain = |o: &&Arc<Object>| {
        o.reference.kind == "RateLimit"
            && !refused.contains(&o.reference)
            && o.json.pointer("/spec/domain").and_then(Value::as_str) == Some(domain)
    };
    let mut found = Vec::new();
    for object in objects.iter().filter(in_domain) {
        let limits = object.json.pointer("/spec/limits").and_then(Value::as_array);
        for (index, limit) in limits.into_iter().flatten().enumerate() {
            let name = limit
                .get("name")
                .and_then(Value::as_str)
                .map_or_else(|| format!("limit {index}"), |name| format!("limit `{name}`"));
            let rate = limit.get("rate").map_or_else(|| "0".to_owned(), ToString::to_string);
            let unit = limit.get("unit").and_then(Value::as_str).unwrap_or("unknown");
            let pattern =
                limit.get("pattern").and_then(Value::as_array).into_iter().flatten().collect();
            let words = format!("{name} of {}: {rate} per {unit}", object.reference);
            let rate = limit.get("rate").and_then(Value::as_f64).unwrap_or_default();
            let object = object.reference.clone();
            found.push(Limit { object, pattern, per_day: rate * units_per_day(unit), words });
        }
    }
    // The order in which ratelimit-svc prefers them: the longest pattern, exact values before
    // wildcards, the strictest.
    found.sort_by(|a, b| {
        let key = |l: &Limit<'_>| (std::cmp::Reverse(l.pattern.len()), l.wildcards());
        key(a).cmp(&key(b)).then(a.per_day.total_cmp(&b.per_day))
    });
    found
}

fn units_per_day(unit: &str) -> f64 {
    match unit.to_ascii_lowercase().as_str() {
        "second" => 86_400.0,
        "minute" => 1440.0,
        "hour" => 24.0,
        "week" => 1.0 / 7.0,
        "month" => 1.0 / 30.0,
        "year" => 1.0 / 365.0,
        _ => 1.0,
    }
}
