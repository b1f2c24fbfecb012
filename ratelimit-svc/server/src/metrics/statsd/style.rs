//! How a line looks: statsd as envoyproxy/ratelimit writes it, or DogStatsD.

use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use regex::{Captures, Regex};

use super::super::name::Tags;

/// A form of lines.
#[derive(Clone, Debug)]
pub(crate) enum Style {
    /// `name.__tag=value:1|c`; `entity` is Datadog's name of this pod (`DD_ENTITY_ID`), which only
    /// their agent reads.
    Statsd { suffix: String, entity: Option<String> },
    /// `name:1|c|#tag:value`.
    DogStatsd { tags: String, mogrifiers: Vec<Mogrifier> },
}

impl Style {
    /// Plain lines.
    pub(crate) fn statsd(tags: &Tags, entity: Option<&str>) -> Self {
        let entity = entity.map(|e| format!("|#dd.internal.entity_id:{}", tag_value(e)));
        Self::Statsd { suffix: tags.suffix(), entity }
    }

    /// Lines with tags: `global` ones first, then `tags`, then those of the first mogrifier that
    /// matches.
    pub(crate) fn dog_statsd(
        global: &[(&str, &str)],
        tags: &Tags,
        mogrifiers: Vec<Mogrifier>,
    ) -> Self {
        let global = global.iter().map(|(k, v)| format!("{k}:{}", tag_value(v)));
        let own = tags.pairs().iter().map(|(k, v)| format!("{k}:{v}"));
        Self::DogStatsd { tags: global.chain(own).collect::<Vec<_>>().join(","), mogrifiers }
    }

    /// A line with its end. `rate` is the part of all events that it stands for.
    pub(super) fn line(&self, name: &str, value: &str, kind: &str, rate: Option<f64>) -> String {
        let rate = rate.map(|r| format!("|@{r}")).unwrap_or_default();
        match self {
            Self::Statsd { suffix, entity } => {
                let entity = entity.as_deref().unwrap_or_default();
                format!("{name}{suffix}:{value}|{kind}{rate}{entity}\n")
            }
            Self::DogStatsd { tags, mogrifiers } => {
                let (name, more) = mogrifiers
                    .iter()
                    .find_map(|m| m.apply(name))
                    .unwrap_or_else(|| (name.to_owned(), String::new()));
                let between = if tags.is_empty() || more.is_empty() { "" } else { "," };
                let mut line = format!("{name}:{value}|{kind}{rate}");
                if !(tags.is_empty() && more.is_empty()) {
                    let _ = write!(line, "|#{tags}{between}{more}");
                }
                line.push('\n');
                line
            }
        }
    }

    /// Whole milliseconds, as each of the two writes them.
    pub(super) fn time(&self, millis: u64) -> String {
        match self {
            Self::Statsd { .. } => millis.to_string(),
            Self::DogStatsd { .. } => format!("{millis}.000000"),
        }
    }
}

/// Makes a new name and tags of names that match a pattern (`DOG_STATSD_MOGRIFIER_…`).
#[derive(Clone, Debug)]
pub(crate) struct Mogrifier {
    pattern: Regex,
    name: String,
    tags: Vec<(String, String)>,
}

impl Mogrifier {
    /// `$1` and so on in `name` and in the values of `tags` are groups of `pattern`.
    ///
    /// # Errors
    /// When the pattern is none, or something is empty.
    pub(crate) fn new(
        pattern: &str,
        name: &str,
        tags: Vec<(String, String)>,
    ) -> anyhow::Result<Self> {
        if name.is_empty() || pattern.is_empty() {
            bail!("it needs a PATTERN and a NAME");
        }
        if let Some((key, _)) = tags.iter().find(|(_, value)| value.is_empty()) {
            bail!("its tag {key} has no value");
        }
        let pattern = Regex::new(pattern).with_context(|| format!("its PATTERN {pattern}"))?;
        Ok(Self { pattern, name: name.to_owned(), tags })
    }

    fn apply(&self, name: &str) -> Option<(String, String)> {
        let found = self.pattern.captures(name)?;
        let tags: Vec<String> = self
            .tags
            .iter()
            .map(|(key, value)| format!("{}:{}", tag_value(key), tag_value(&expand(value, &found))))
            .collect();
        let name = expand(&self.name, &found).replace(|c: char| c == ':' || ends_part(c), "_");
        Some((name, tags.join(",")))
    }
}

/// What no part of a line may hold.
fn ends_part(c: char) -> bool {
    c == '|' || c.is_control()
}

/// A tag's value must not begin another tag.
fn tag_value(text: &str) -> String {
    text.replace(|c: char| c == ',' || ends_part(c), "_")
}

/// `template` with each `$n` replaced by that group; a group that does not exist stays as written.
fn expand(template: &str, found: &Captures<'_>) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        let (before, after) = rest.split_at(at);
        let digits = after[1..].bytes().take_while(u8::is_ascii_digit).count();
        let (reference, next) = after.split_at(1 + digits);
        let group = reference[1..].parse().ok().filter(|n: &usize| *n < found.len());
        text.push_str(before);
        text.push_str(match group {
            Some(n) => found.get(n).map_or("", |m| m.as_str()),
            None => reference,
        });
        rest = next;
    }
    text.push_str(rest);
    text
}
