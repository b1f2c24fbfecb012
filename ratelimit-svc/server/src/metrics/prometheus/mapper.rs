//! From names of statsd to metrics of Prometheus, by the rules of statsd_exporter: mappings with
//! globs in their order, then those with regular expressions, then the name itself.

mod read;

use regex::{Captures, Regex};

/// What a name is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    /// Times.
    Observer,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Observer => "histogram",
        }
    }
}

/// How times are shown.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Observer {
    /// With the ends of its buckets, in order.
    Histogram(Vec<f64>),
    /// Sum and count; without quantiles.
    Summary,
}

impl Observer {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Histogram(_) => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// Ends of buckets where no mapping has its own: those of Prometheus' clients.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Mappings.
#[derive(Clone, Debug)]
pub(crate) struct Mapper {
    mappings: Vec<Mapping>,
    /// For times without a mapping.
    observer: Observer,
}

#[derive(Clone, Debug)]
struct Mapping {
    pattern: Pattern,
    /// Matches only these.
    kind: Option<Kind>,
    /// A template.
    name: String,
    /// Names and templates, in order.
    labels: Vec<(String, String)>,
    help: Option<String>,
    observer: Observer,
    scale: f64,
    drop: bool,
}

#[derive(Clone, Debug)]
enum Pattern {
    /// Parts between dots; `*` is any.
    Glob(Vec<String>),
    Regex(Regex),
}

/// A metric.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mapped {
    pub(super) name: String,
    /// In order.
    pub(super) labels: Vec<(String, String)>,
    pub(super) help: Option<String>,
    pub(super) observer: Observer,
    pub(super) scale: f64,
}

impl Mapper {
    /// Reads the YAML of statsd_exporter.
    ///
    /// # Errors
    /// What is wrong, and what is not supported, with its line.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        read::mapper(text)
    }

    /// The mappings of envoyproxy/ratelimit. Times are in seconds, unless `milliseconds`
    /// (`PROMETHEUS_RESPONSE_TIME_AS_MILLISECONDS`).
    ///
    /// Its expressions have no end there, so that `over_limit` of deeper limits also counts
    /// `over_limit_with_local_cache`, twice in all; these have one.
    pub(crate) fn original(milliseconds: bool) -> Self {
        const COUNTERS: [&str; 5] =
            ["near_limit", "over_limit", "total_hits", "within_limit", "shadow_mode"];
        type Label = (&'static str, &'static str);
        let limit =
            |pattern: String, counter: &str, keys: &[Label]| -> (String, String, Vec<Label>) {
                let name = format!("ratelimit_service_rate_limit_{counter}");
                (pattern, name, [&[("domain", "$1")][..], keys].concat())
            };
        let shallow = COUNTERS.iter().map(|counter| {
            let pattern = format!("ratelimit.service.rate_limit.*.*.{counter}");
            limit(pattern, counter, &[("key1", "$2")])
        });
        let deep = COUNTERS.iter().map(|counter| {
            const PART: &str = r"\.([^.]*)";
            let parts = PART.repeat(3);
            let pattern = format!(r"^ratelimit\.service\.rate_limit{parts}(?:\..*)?\.{counter}$");
            limit(pattern, counter, &[("key1", "$2"), ("key2", "$3")])
        });
        let others = [
            ("ratelimit.service.call.should_rate_limit.*", "should_rate_limit_error", "err_type"),
            ("ratelimit_server.*.total_requests", "total_requests", "grpc_method"),
            ("ratelimit_server.*.response_time", "response_time_seconds", "grpc_method"),
            ("ratelimit.service.config_load_success", "config_load_success", ""),
            ("ratelimit.service.config_load_error", "config_load_error", ""),
        ];
        let others = others.iter().map(|(pattern, name, label)| {
            let labels = if label.is_empty() { vec![] } else { vec![(*label, "$1")] };
            ((*pattern).to_owned(), format!("ratelimit_service_{name}"), labels)
        });
        let mappings = shallow.chain(deep).chain(others).filter_map(|(pattern, name, labels)| {
            let seconds = name.ends_with("_seconds") && !milliseconds;
            let pattern = match pattern.starts_with('^') {
                true => Pattern::Regex(Regex::new(&pattern).ok()?),
                false => Pattern::glob(&pattern),
            };
            Some(Mapping {
                pattern,
                kind: None,
                name,
                labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
                help: None,
                observer: Observer::Histogram(BUCKETS.to_vec()),
                scale: if seconds { 0.001 } else { 1.0 },
                drop: false,
            })
        });
        Self { mappings: mappings.collect(), observer: Observer::Summary }
    }

    /// What becomes of a name; none when it is to be dropped.
    pub(super) fn map(&self, name: &str, kind: Kind) -> Option<Mapped> {
        self.matched(name, kind).unwrap_or_else(|| {
            let observer = self.observer.clone();
            let (labels, help, scale) = (Vec::new(), None, 1.0);
            Some(Mapped { name: escaped(name), labels, help, observer, scale })
        })
    }

    /// What the first mapping that matches makes of a name: none when it drops it, or when the
    /// metric would have no name.
    pub(super) fn matched(&self, name: &str, kind: Kind) -> Option<Option<Mapped>> {
        let of = |is_glob: bool| {
            self.mappings
                .iter()
                .filter(move |m| matches!(m.pattern, Pattern::Glob(_)) == is_glob)
                .filter(|m| m.kind.is_none_or(|k| k == kind))
                .find_map(|m| m.apply(name))
        };
        of(true).or_else(|| of(false))
    }
}

impl Mapping {
    fn apply(&self, name: &str) -> Option<Option<Mapped>> {
        let groups = self.pattern.groups(name)?;
        let expand = |template: &String| groups.expand(template);
        let mapped = Mapped {
            name: escaped(&expand(&self.name)),
            labels: self.labels.iter().map(|(key, value)| (key.clone(), expand(value))).collect(),
            help: self.help.clone(),
            observer: self.observer.clone(),
            scale: self.scale,
        };
        Some(Some(mapped).filter(|m| !self.drop && !m.name.is_empty()))
    }
}

impl Pattern {
    fn glob(text: &str) -> Self {
        Self::Glob(text.split('.').map(str::to_owned).collect())
    }

    /// If `name` matches, what fills templates.
    fn groups<'n>(&self, name: &'n str) -> Option<Groups<'n>> {
        let parts = match self {
            Self::Regex(regex) => return regex.captures(name).map(Groups::Regex),
            Self::Glob(parts) => parts,
        };
        let mut groups = Vec::new();
        let mut names = name.split('.');
        for part in parts {
            let name = names.next()?;
            match part.as_str() {
                "*" => groups.push(name),
                part if part == name => {}
                _ => return None,
            }
        }
        names.next().is_none().then_some(Groups::Glob(groups))
    }
}

/// What a pattern found in a name.
enum Groups<'n> {
    Glob(Vec<&'n str>),
    Regex(Captures<'n>),
}

impl Groups<'_> {
    fn expand(&self, template: &str) -> String {
        match self {
            Self::Glob(groups) => fill(template, groups),
            Self::Regex(captures) => {
                let mut text = String::new();
                captures.expand(template, &mut text);
                text
            }
        }
    }
}

/// A glob's template: `$1` or `${1}`; a group that does not exist is empty.
fn fill(template: &str, groups: &[&str]) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        let (braced, inner) = match after.strip_prefix('{') {
            Some(inner) => (true, inner),
            None => (false, after),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = inner.find(|c| !is_name(c)).unwrap_or(inner.len());
        let (group, next) = inner.split_at(end);
        let group = group.parse().ok().and_then(|n: usize| groups.get(n.checked_sub(1)?));
        text.push_str(group.copied().unwrap_or_default());
        rest = if braced { next.strip_prefix('}').unwrap_or(next) } else { next };
    }
    text.push_str(rest);
    text
}

/// A name as Prometheus takes it: what it does not take becomes `_`, dashes in a row only one.
pub(super) fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        text.push('_');
    }
    let mut before = None;
    for c in name.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => text.push(c),
            '-' if before == Some('-') => {}
            _ => text.push('_'),
        }
        before = Some(c);
    }
    text
}

#[cfg(test)]
#[path = "mapper/tests.rs"]
mod tests;
