//! The YAML of statsd_exporter's mappings, as far as it is supported; the rest is refused in words.

use regex::Regex;
use service_kit::yaml::{self, Kind as Yaml, Node};

use super::{BUCKETS, Kind, Mapper, Mapping, Observer, Pattern};

/// Most mappings; each name may have to be tried with all of them.
const MAX_MAPPINGS: usize = 1_000;

const NO_QUANTILES: &str = "quantiles are not supported; use observer_type: histogram";
const NO_TTL: &str = "idle series end by themselves after an hour; leave ttl out";

/// What mappings have that say nothing.
struct Defaults {
    is_regex: bool,
    observer: Observer,
    buckets: Vec<f64>,
}

pub(super) fn mapper(text: &str) -> Result<Mapper, String> {
    let documents = yaml::parse(text).map_err(|e| e.to_string())?;
    let none = Mapper { mappings: Vec::new(), observer: Observer::Summary };
    let Some(root) = documents.first() else { return Ok(none) };
    only(root, &["defaults", "mappings"])?;
    let defaults = defaults(root.get("defaults"))?;
    let mappings = match root.get("mappings").map(|node| &node.kind) {
        None => Vec::new(),
        Some(Yaml::Sequence(items)) if items.len() <= MAX_MAPPINGS => {
            items.iter().map(|node| mapping(node, &defaults)).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(format!("mappings must be a list of at most {MAX_MAPPINGS}")),
    };
    Ok(Mapper { mappings, observer: defaults.observer })
}

fn defaults(node: Option<&Node>) -> Result<Defaults, String> {
    let none = Defaults { is_regex: false, observer: Observer::Summary, buckets: BUCKETS.to_vec() };
    let Some(node) = node else { return Ok(none) };
    only(
        node,
        &[
            "observer_type",
            "timer_type",
            "match_type",
            "buckets",
            "histogram_options",
            "glob_disable_ordering",
        ],
    )?;
    if text(node, "glob_disable_ordering")?.is_some_and(|t| t != "false") {
        return Err(at(node, "glob_disable_ordering is not supported; leave it out"));
    }
    let buckets = buckets(node)?.unwrap_or(none.buckets);
    Ok(Defaults {
        is_regex: is_regex(node)?.unwrap_or(false),
        observer: observer(node, &buckets)?.unwrap_or(Observer::Summary),
        buckets,
    })
}

fn mapping(node: &Node, defaults: &Defaults) -> Result<Mapping, String> {
    only(
        node,
        &[
            "match",
            "match_type",
            "match_metric_type",
            "name",
            "labels",
            "honor_labels",
            "observer_type",
            "timer_type",
            "buckets",
            "histogram_options",
            "help",
            "action",
            "scale",
        ],
    )?;
    let drop = match text(node, "action")? {
        None | Some("map" | "") => false,
        Some("drop") => true,
        Some(other) => return Err(at(node, &format!("action: {other}: use map or drop"))),
    };
    let pattern = text(node, "match")?.ok_or_else(|| at(node, "it has no match"))?;
    let name = text(node, "name")?.filter(|n| !n.is_empty());
    let own = buckets(node)?;
    let observer = match observer(node, own.as_ref().unwrap_or(&defaults.buckets))? {
        Some(observer) => observer,
        None => match (&defaults.observer, own) {
            (Observer::Histogram(_), Some(own)) => Observer::Histogram(own),
            (default, _) => default.clone(),
        },
    };
    Ok(Mapping {
        pattern: match is_regex(node)?.unwrap_or(defaults.is_regex) {
            true => Regex::new(pattern)
                .map(Pattern::Regex)
                .map_err(|e| at(node, &format!("match {pattern}: {e}")))?,
            false => Pattern::glob(pattern),
        },
        kind: kind(node)?,
        name: name.ok_or_else(|| at(node, "it has no name"))?.to_owned(),
        labels: labels(node)?,
        help: text(node, "help")?.map(str::to_owned),
        observer,
        scale: text(node, "scale")?.map_or(Ok(1.0), |t| number(node, "scale", t))?,
        drop,
    })
}

fn labels(node: &Node) -> Result<Vec<(String, String)>, String> {
    let entries = match node.get("labels").map(|n| &n.kind) {
        None => return Ok(Vec::new()),
        Some(Yaml::Mapping(entries)) => entries,
        Some(_) => return Err(at(node, "labels must be a map")),
    };
    let mut labels = std::collections::BTreeMap::new();
    for (key, value) in entries {
        let (Some(key), Some(value)) = (key.text(), value.text()) else {
            return Err(at(node, "labels must be a map of texts"));
        };
        let starts_well = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !starts_well || super::escaped(key) != key {
            return Err(at(node, &format!("{key} cannot be a label; use letters, digits and _")));
        }
        labels.insert(key.to_owned(), value.to_owned());
    }
    Ok(labels.into_iter().collect())
}

fn kind(node: &Node) -> Result<Option<Kind>, String> {
    Ok(match text(node, "match_metric_type")? {
        None | Some("") => None,
        Some("counter") => Some(Kind::Counter),
        Some("gauge") => Some(Kind::Gauge),
        Some("observer" | "timer") => Some(Kind::Observer),
        Some(other) => {
            let words = format!("match_metric_type: {other}: use counter, gauge or observer");
            return Err(at(node, &words));
        }
    })
}

fn is_regex(node: &Node) -> Result<Option<bool>, String> {
    Ok(match text(node, "match_type")? {
        None | Some("") => None,
        Some("glob") => Some(false),
        Some("regex") => Some(true),
        Some(other) => return Err(at(node, &format!("match_type: {other}: use glob or regex"))),
    })
}

fn observer(node: &Node, buckets: &[f64]) -> Result<Option<Observer>, String> {
    let name = text(node, "observer_type")?.filter(|t| !t.is_empty());
    let name = name.map_or_else(|| text(node, "timer_type"), |name| Ok(Some(name)))?;
    Ok(match name {
        None | Some("") => None,
        Some("histogram") => Some(Observer::Histogram(buckets.to_vec())),
        Some("summary") => Some(Observer::Summary),
        Some(other) => {
            return Err(at(node, &format!("observer_type: {other}: use histogram or summary")));
        }
    })
}

/// `buckets`, also those of `histogram_options`.
fn buckets(node: &Node) -> Result<Option<Vec<f64>>, String> {
    let options = node.get("histogram_options");
    if let Some(options) = options {
        // Native histograms are not in the text format, there or here.
        only(
            options,
            &["buckets", "native_histogram_bucket_factor", "native_histogram_max_buckets"],
        )?;
    }
    let found = options.and_then(|o| o.get("buckets")).or_else(|| node.get("buckets"));
    let items = match found.map(|n| &n.kind) {
        None => return Ok(None),
        Some(Yaml::Sequence(items)) => items,
        Some(_) => return Err(at(node, "buckets must be a list of numbers")),
    };
    let buckets: Vec<f64> = items
        .iter()
        .map(|item| number(node, "buckets", item.text().unwrap_or_default()))
        .collect::<Result<_, _>>()?;
    match buckets.windows(2).all(|pair| pair[0] < pair[1]) {
        true => Ok(Some(buckets).filter(|b| !b.is_empty())),
        false => Err(at(node, "buckets must grow")),
    }
}

fn number(node: &Node, field: &str, text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|n: &f64| n.is_finite());
    number.ok_or_else(|| at(node, &format!("{field}: {text} is not a number")))
}

fn text<'n>(node: &'n Node, field: &str) -> Result<Option<&'n str>, String> {
    match node.get(field) {
        None => Ok(None),
        Some(value) => match value.text() {
            Some(text) => Ok(Some(text)),
            None => Err(at(node, &format!("{field} must be a text"))),
        },
    }
}

/// Refuses fields that are not supported.
fn only(node: &Node, fields: &[&str]) -> Result<(), String> {
    let entries = match &node.kind {
        Yaml::Mapping(entries) => entries,
        _ => return Err(at(node, "this must be a map")),
    };
    for (key, _) in entries {
        let name = key.text().unwrap_or_default();
        if fields.contains(&name) {
            continue;
        }
        return Err(match name {
            "quantiles" | "summary_options" => at(key, NO_QUANTILES),
            "ttl" => at(key, NO_TTL),
            _ => at(key, &format!("{name} is not known here; use one of {}", fields.join(", "))),
        });
    }
    Ok(())
}

fn at(node: &Node, words: &str) -> String {
    format!("line {}: {words}", node.line)
}
