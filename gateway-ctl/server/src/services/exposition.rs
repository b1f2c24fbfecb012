//! The text format of metrics, as far as services of this project write it: `name{label="value"} 1`.

use std::collections::BTreeMap;

/// One number.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// As in `ratelimit_over_limit_total`.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// A label; empty when it has none of that name.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// The numbers of a text; lines that are none are passed over.
pub(super) fn read(text: &str) -> Vec<Sample> {
    text.lines().filter(|l| !l.starts_with('#')).filter_map(line).collect()
}

fn line(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// The labels, up to the brace that ends them, and what follows it.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, behind) = value(quoted)?;
        labels.insert(name.to_owned(), value);
        rest = behind;
    }
}

/// A value up to its closing quote, with `\\`, `\"` and `\n` undone.
fn value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_services_write() {
        let text = "# TYPE a counter\na_total 3\nb{x=\"1\",y=\"q\\\"\\\\ }\"} 0.5 # {} 1\nno number\nc{x=\"open\n";
        let samples = read(text);
        assert_eq!(samples.len(), 2, "{samples:?}");
        assert_eq!((samples[0].name.as_str(), samples[0].value), ("a_total", 3.0));
        assert_eq!((samples[1].label("y"), samples[1].label("z")), ("q\"\\ }", ""));
    }
}
