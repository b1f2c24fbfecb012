//! Statistics under the names that envoyproxy/ratelimit has for Prometheus: what a [`Mapper`] makes
//! of those of statsd. Pure but for the counters that it reads; [`super::outputs`] serves it.

pub(crate) mod mapper;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use super::name::Tags;
use super::response_time::millis_of;
use super::{RESPONSE_TIME, Value};
use mapper::{Kind, Mapped, Mapper, Observer};

/// The page. It adds up what single counters grew by, since several of them may be one series here
/// and must not fall when one is forgotten.
#[derive(Debug)]
pub(super) struct Page {
    mapper: Mapper,
    tags: Tags,
    suffix: String,
    families: BTreeMap<String, Family>,
    known: HashMap<Box<str>, Known>,
    round: u64,
}

#[derive(Debug)]
struct Family {
    kind: Kind,
    help: Option<String>,
    series: BTreeMap<Key, Series>,
}

/// Labels; fewer before more, as the original orders them.
type Key = (usize, Vec<(String, String)>);

#[derive(Debug, Default)]
struct Series {
    value: f64,
    /// How many names of statsd are in it.
    names: usize,
}

/// A name of statsd.
#[derive(Debug)]
struct Known {
    number: u64,
    round: u64,
    /// None when it is dropped, or in conflict with another metric.
    place: Option<(String, Key, f64)>,
}

impl Page {
    pub(super) fn new(mapper: Mapper, tags: Tags) -> Self {
        let suffix = tags.suffix();
        let (families, known) = (BTreeMap::new(), HashMap::new());
        Self { mapper, tags, suffix, families, known, round: 0 }
    }

    /// The page in Prometheus' text format (0.0.4).
    pub(super) fn render(&mut self, readings: &BTreeMap<Box<str>, Value>, times: &[u64]) -> String {
        self.take(readings);
        let mut text = String::new();
        let mut histogram = self.histogram(times);
        for (name, family) in &self.families {
            if let Some((_, lines)) = histogram.take_if(|(h, _)| *h < *name) {
                text.push_str(&lines);
            }
            write_head(&mut text, name, family.help.as_deref(), family.kind.name());
            for ((_, labels), series) in &family.series {
                write_line(&mut text, name, "", labels, None, series.value);
            }
        }
        text.push_str(&histogram.map(|(_, lines)| lines).unwrap_or_default());
        text
    }

    #[allow(clippy::cast_precision_loss)] // the format has floats
    fn take(&mut self, readings: &BTreeMap<Box<str>, Value>) {
        self.round += 1;
        for (name, value) in readings {
            let number = value.number();
            if *value == Value::Counter(0) {
                continue;
            }
            let known = match self.known.get_mut(name) {
                Some(known) => known,
                None => {
                    let kind = match value {
                        Value::Counter(_) => Kind::Counter,
                        Value::Gauge(_) => Kind::Gauge,
                    };
                    let place = self.place(name, kind);
                    let known = Known { number: 0, round: 0, place };
                    self.known.entry(name.clone()).or_insert(known)
                }
            };
            let grown = number.saturating_sub(known.number);
            (known.number, known.round) = (number, self.round);
            let Some((family, key, scale)) = &known.place else { continue };
            let series = self.families.get_mut(family).and_then(|f| f.series.get_mut(key));
            match (series, value) {
                (Some(series), Value::Counter(_)) => series.value += grown as f64 * scale,
                (Some(series), Value::Gauge(n)) => series.value = *n as f64 * scale,
                (None, _) => {}
            }
        }
        self.forget();
    }

    /// Forgets names that are gone, and series that have no name any more.
    fn forget(&mut self) {
        let Self { known, families, round, .. } = self;
        known.retain(|_, known| {
            if known.round == *round {
                return true;
            }
            if let Some((name, key, _)) = &known.place
                && let Some(family) = families.get_mut(name)
                && let Some(series) = family.series.get_mut(key)
            {
                series.names -= 1;
                if series.names == 0 {
                    family.series.remove(key);
                }
                if family.series.is_empty() {
                    families.remove(name);
                }
            }
            false
        });
    }

    /// The series of a new name.
    fn place(&mut self, name: &str, kind: Kind) -> Option<(String, Key, f64)> {
        let mapped = self.map(name, kind)?;
        let new = || Family { kind, help: mapped.help.clone(), series: BTreeMap::new() };
        let family = self.families.entry(mapped.name.clone()).or_insert_with(new);
        if family.kind != kind {
            return None;
        }
        let key = (mapped.labels.len(), mapped.labels);
        family.series.entry(key.clone()).or_default().names += 1;
        Some((mapped.name, key, mapped.scale))
    }

    /// None when it is to be dropped. Tags are part of the name that a mapping may match; where
    /// none does, they are labels.
    fn map(&self, name: &str, kind: Kind) -> Option<Mapped> {
        if !self.suffix.is_empty() {
            let tagged = format!("{name}{}", self.suffix);
            if let Some(mapped) = self.mapper.matched(&tagged, kind) {
                return mapped;
            }
        }
        let mut mapped = self.mapper.map(name, kind)?;
        for (key, value) in self.tags.pairs() {
            let key = mapper::escaped(key);
            if mapped.labels.iter().all(|(known, _)| *known != key) {
                mapped.labels.push((key, value.clone()));
            }
        }
        mapped.labels.sort();
        Some(mapped)
    }

    /// The times of answers with their name; none before the first.
    #[allow(clippy::cast_precision_loss)] // the format has floats
    fn histogram(&self, times: &[u64]) -> Option<(String, String)> {
        let count: u64 = times.iter().sum();
        let mapped = self.map(RESPONSE_TIME, Kind::Observer).filter(|_| count > 0)?;
        if self.families.contains_key(&mapped.name) {
            return None;
        }
        let time = |slot: usize| millis_of(slot) as f64 * mapped.scale;
        let (name, labels, mut text) = (&mapped.name, &mapped.labels, String::new());
        write_head(&mut text, name, mapped.help.as_deref(), mapped.observer.name());
        if let Observer::Histogram(bounds) = &mapped.observer {
            for bound in bounds {
                let within = times.iter().enumerate().filter(|(slot, _)| time(*slot) <= *bound);
                let within: u64 = within.map(|(_, n)| n).sum();
                let le = Some(bound.to_string());
                write_line(&mut text, name, "_bucket", labels, le, within as f64);
            }
            let le = Some("+Inf".to_owned());
            write_line(&mut text, name, "_bucket", labels, le, count as f64);
        }
        let sum = times.iter().enumerate().map(|(slot, n)| time(slot) * *n as f64).sum();
        write_line(&mut text, name, "_sum", labels, None, sum);
        write_line(&mut text, name, "_count", labels, None, count as f64);
        Some((mapped.name, text))
    }
}

fn write_head(text: &mut String, name: &str, help: Option<&str>, kind: &str) {
    let help = help.unwrap_or("A statistic of the rate limit service.");
    let help = help.replace('\\', "\\\\").replace('\n', "\\n");
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn write_line(
    text: &mut String,
    name: &str,
    suffix: &str,
    labels: &[(String, String)],
    le: Option<String>,
    value: f64,
) {
    let escaped = |v: &str| v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let le = le.map(|le| format!("le=\"{le}\""));
    let labels = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value)));
    let labels: Vec<String> = labels.chain(le).collect();
    let _ = match labels.is_empty() {
        true => writeln!(text, "{name}{suffix} {value}"),
        false => writeln!(text, "{name}{suffix}{{{}}} {value}", labels.join(",")),
    };
}

#[cfg(test)]
#[path = "prometheus/tests.rs"]
mod tests;
