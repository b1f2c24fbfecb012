//! Files of envoyproxy/ratelimit: what ratelimit-svc says of them, and the `RateLimit` that says the
//! same, where there is one.

use std::collections::BTreeSet;

use ratelimit_core::ratelimit_file::{Domains, File};
use serde::Serialize;
use serde_json::{Map, Value, json};
use service_kit::Diagnostic;
use service_kit::yaml;

use crate::kinds::GROUP;

/// A file of envoyproxy/ratelimit.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitsFile {
    /// Its name.
    pub file: String,
    /// Its domain.
    pub domain: String,
    /// How many limits it has.
    pub limits: usize,
    /// What is wrong with it; while there is something, the service keeps what was before.
    pub found: Vec<Diagnostic>,
    /// The same as a resource; none where `kept` says why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<Value>,
    /// Why it must stay a file.
    pub kept: Vec<String>,
    /// What differs between the file and the resource.
    pub differs: Vec<&'static str>,
}

/// Reads a text; none when it is no file of envoyproxy/ratelimit.
pub fn read(file: &str, text: &str) -> Option<LimitsFile> {
    let documents = yaml::parse(text).ok()?;
    let json = documents.first()?.to_json();
    let is_config = json.get("domain").is_some() && json.get("kind").is_none();
    if !is_config || documents.len() > 1 {
        return None;
    }
    let domain = json["domain"].as_str().unwrap_or_default().to_owned();
    let mut this = LimitsFile {
        file: file.to_owned(),
        domain,
        limits: 0,
        found: Vec::new(),
        resource: None,
        kept: Vec::new(),
        differs: Vec::new(),
    };
    match File::from_yaml(text).and_then(|f| Domains::of([(file, &f)], false)) {
        Ok(domains) => this.limits = domains.limit_count(),
        Err(found) => this.found = found.into_iter().map(|d| located(d, file)).collect(),
    }
    if this.found.is_empty() {
        this.translate(&json);
    }
    Some(this)
}

fn located(mut d: Diagnostic, file: &str) -> Diagnostic {
    d.file = Some(file.to_owned());
    d
}

impl LimitsFile {
    fn translate(&mut self, json: &Value) {
        let mut walk = Walk::default();
        walk.descriptors(&json["descriptors"], &mut Vec::new());
        self.kept = walk.kept.into_iter().collect();
        if self.kept.is_empty() && !walk.limits.is_empty() {
            self.differs = walk.differs.into_iter().collect();
            self.resource = Some(json!({
                "apiVersion": format!("{GROUP}/v3alpha1"),
                "kind": "RateLimit",
                "metadata": {"name": name(&self.domain)},
                "spec": {"domain": self.domain, "limits": walk.limits},
            }));
        }
    }
}

/// A name of Kubernetes for a domain.
fn name(domain: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = domain.chars().map(plain).take(63).collect();
    let name = name.trim_matches('-').to_owned();
    if name.is_empty() { "limits".to_owned() } else { name }
}

const PREFIXES: &str = "a limit of a RateLimit also counts descriptors that go on behind its pattern; \
    with RATELIMIT_MATCH=exact of ratelimit-svc it does not";
const METRICS: &str = "detailed_metric and value_to_metric name statistics only; a RateLimit has none \
    of them";

#[derive(Default)]
struct Walk {
    limits: Vec<Value>,
    kept: BTreeSet<String>,
    differs: BTreeSet<&'static str>,
}

impl Walk {
    /// `path` is the pattern so far.
    fn descriptors(&mut self, list: &Value, path: &mut Vec<Value>) {
        let list: &[Value] = list.as_array().map_or(&[], Vec::as_slice);
        for descriptor in list {
            self.descriptor(descriptor, list, path);
        }
    }

    fn descriptor(&mut self, descriptor: &Value, siblings: &[Value], path: &mut Vec<Value>) {
        let key = scalar(&descriptor["key"]);
        let value = scalar(&descriptor["value"]);
        let words = match value.as_str() {
            "" => key.clone(),
            value => format!("{key}={value}"),
        };
        if value.contains('*') {
            self.kept.insert(format!("{words}: a RateLimit has no patterns in values"));
        }
        for field in ["share_threshold", "quota_mode", "metadata"] {
            if descriptor.get(field).is_some_and(|v| *v != Value::Bool(false)) {
                self.kept.insert(format!("{words}: a RateLimit has no {field}"));
            }
        }
        // In the file the more exact one counts, even if it has no limit.
        let general =
            siblings.iter().any(|s| scalar(&s["key"]) == key && scalar(&s["value"]).is_empty());
        if !value.is_empty() && general && descriptor.get("rate_limit").is_none() {
            self.kept.insert(format!("{words}: it is exempt from the limit of {key}"));
        }
        for field in ["detailed_metric", "value_to_metric"] {
            if descriptor[field] == Value::Bool(true) {
                self.differs.insert(METRICS);
            }
        }
        let wanted = if value.is_empty() { "*".to_owned() } else { value };
        path.push(json!({key: wanted}));
        if let Some(limit) = descriptor.get("rate_limit").filter(|l| l.is_object()) {
            self.limit(limit, &words, descriptor["shadow_mode"] == Value::Bool(true), path);
        }
        self.descriptors(&descriptor["descriptors"], path);
        path.pop();
    }

    fn limit(&mut self, limit: &Value, words: &str, shadow: bool, path: &[Value]) {
        if limit["unlimited"] == Value::Bool(true) {
            self.kept.insert(format!("{words}: a RateLimit cannot say `unlimited`"));
            return;
        }
        if limit.get("replaces").is_some() {
            self.kept.insert(format!("{words}: a RateLimit has no replaces"));
            return;
        }
        self.differs.insert(PREFIXES);
        let mut written = Map::new();
        if let Some(name) = limit["name"].as_str().filter(|n| !n.is_empty()) {
            written.insert("name".to_owned(), json!(name));
        }
        written.insert("pattern".to_owned(), json!(path));
        written.insert("rate".to_owned(), limit["requests_per_unit"].clone());
        written.insert("unit".to_owned(), json!(scalar(&limit["unit"])));
        for (from, to) in [
            ("unit_multiplier", "unitMultiplier"),
            ("burst_factor", "burstFactor"),
            ("lease", "lease"),
        ] {
            if let Some(value) = limit.get(from) {
                written.insert(to.to_owned(), value.clone());
            }
        }
        if let Some(algorithm) = limit["algorithm"].as_str() {
            written.insert("algorithm".to_owned(), json!(camel(algorithm)));
        }
        if let Some(word) = limit["on_store_error"].as_str() {
            written.insert("onStoreError".to_owned(), json!(camel(word)));
        }
        if shadow {
            written.insert("action".to_owned(), json!("LogOnly"));
        }
        self.limits.push(Value::Object(written));
    }
}

/// `sliding_window` as `SlidingWindow`.
fn camel(text: &str) -> String {
    let word = |w: &str| {
        let (first, rest) = w.split_at(w.len().min(1));
        first.to_ascii_uppercase() + rest
    };
    text.split('_').map(word).collect()
}

/// A scalar as envoyproxy/ratelimit reads it: a text.
fn scalar(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
domain: shop
descriptors:
- key: user
  rate_limit: {unit: minute, requests_per_unit: 10}
  descriptors:
  - {key: path, value: /cart, shadow_mode: true, rate_limit: {unit: second, requests_per_unit: 2, algorithm: sliding_window}}
";

    #[test]
    fn a_file_becomes_a_resource_that_the_service_takes() {
        let read = read("shop.yaml", FILE).unwrap();
        assert_eq!((read.domain.as_str(), read.limits, read.kept.len()), ("shop", 2, 0));
        let resource = read.resource.unwrap();
        let limits = &resource["spec"]["limits"];
        assert_eq!(limits[0]["pattern"], json!([{"user": "*"}]));
        assert_eq!(limits[1]["pattern"], json!([{"user": "*"}, {"path": "/cart"}]));
        assert_eq!(
            (&limits[1]["action"], &limits[1]["algorithm"]),
            (&json!("LogOnly"), &json!("SlidingWindow"))
        );
        let object = service_kit::Object::from_json(resource).unwrap();
        assert_eq!(ratelimit_core::check(&object), []);
    }

    #[test]
    fn what_a_resource_cannot_say_stays_a_file() {
        for (file, words) in [
            ("- {key: a, value: b*, rate_limit: {unit: day, requests_per_unit: 1}}", "patterns"),
            ("- {key: a, rate_limit: {unlimited: true}}", "unlimited"),
            (
                "- {key: a, rate_limit: {unit: day, requests_per_unit: 1}}\n- {key: a, value: vip}",
                "exempt",
            ),
        ] {
            let read = read("f", &format!("domain: d\ndescriptors:\n{file}\n")).unwrap();
            assert!(read.resource.is_none() && read.kept[0].contains(words), "{read:?}");
        }
    }

    #[test]
    fn faults_are_told_and_other_texts_are_passed_over() {
        let wrong = read("f", "domain: d\ndescriptors:\n- {value: b}\n").unwrap();
        assert_eq!(wrong.found.len(), 1, "{wrong:?}");
        assert!(read("f", "kind: Mapping\n").is_none() && read("f", ": [").is_none());
    }
}
