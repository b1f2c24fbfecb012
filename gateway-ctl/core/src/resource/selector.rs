//! Label selectors, as Kubernetes has them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use service_kit::Diagnostics;

/// A Kubernetes label selector.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SelectorSpec {
    /// Labels that an object must have, all of them.
    match_labels: Option<BTreeMap<String, String>>,
    /// Conditions on labels, all of which must hold.
    match_expressions: Option<Vec<RequirementSpec>>,
}

/// A condition on a label.
#[derive(Debug, Deserialize, JsonSchema)]
struct RequirementSpec {
    /// The label.
    key: String,
    /// `In` and `NotIn` a list of values, `Exists` or `DoesNotExist`.
    #[schemars(extend("enum" = ["In", "NotIn", "Exists", "DoesNotExist"]))]
    operator: String,
    /// The list.
    values: Option<Vec<String>>,
}

/// Which objects are meant, by their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Labels that an object has, all of them.
    pub labels: BTreeMap<String, String>,
    /// What else must hold.
    pub conditions: Vec<Condition>,
}

/// What must hold of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The label.
    pub key: String,
    /// What of its value.
    pub is: Is,
}

/// What of a label's value must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Is {
    /// It is one of these.
    In(Vec<String>),
    /// It is none of these, or the label is not there.
    NotIn(Vec<String>),
    /// The label is there.
    There,
    /// The label is not there.
    NotThere,
}

impl SelectorSpec {
    /// Reads it. An outer `None` is one that is wrong, an inner one says nothing.
    pub(super) fn read(&self, path: &str, found: &mut Diagnostics<'_>) -> Option<Option<Selector>> {
        let mut conditions = Some(Vec::new());
        for (i, spec) in self.match_expressions.iter().flatten().enumerate() {
            match spec.read() {
                Ok(condition) => {
                    if let Some(conditions) = &mut conditions {
                        conditions.push(condition);
                    }
                }
                Err(why) => {
                    found
                        .error(format!("{path}.matchExpressions[{i}]"), why)
                        .hint("as in {key: tier, operator: In, values: [web]}");
                    conditions = None;
                }
            }
        }
        let selector = Selector {
            labels: self.match_labels.clone().unwrap_or_default(),
            conditions: conditions?,
        };
        Some(Some(selector).filter(|s| !s.is_empty()))
    }
}

impl RequirementSpec {
    fn read(&self) -> Result<Condition, String> {
        let values = self.values.clone().unwrap_or_default();
        let listed = |is: fn(Vec<String>) -> Is| match values.is_empty() {
            true => Err(format!("{} needs values", self.operator)),
            false => Ok(is(values.clone())),
        };
        let bare = |is: Is| match values.is_empty() {
            true => Ok(is),
            false => Err(format!("{} takes no values", self.operator)),
        };
        if self.key.is_empty() {
            return Err("it needs the key of a label".to_owned());
        }
        let is = match self.operator.as_str() {
            "In" => listed(Is::In),
            "NotIn" => listed(Is::NotIn),
            "Exists" => bare(Is::There),
            "DoesNotExist" => bare(Is::NotThere),
            other => Err(format!(
                "unknown operator `{}`: In, NotIn, Exists or DoesNotExist",
                other.escape_debug()
            )),
        };
        Ok(Condition { key: self.key.clone(), is: is? })
    }
}

impl Selector {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.conditions.is_empty()
    }

    /// Whether an object with these labels is meant.
    pub fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.conditions.iter().all(|c| c.holds(labels.get(&c.key)))
    }

    /// The same, where one of its labels is enough.
    pub fn fits_loosely(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |(key, value): (&String, &String)| labels.get(key) == Some(value);
        (self.labels.is_empty() || self.labels.iter().any(has))
            && self.conditions.iter().all(|c| c.holds(labels.get(&c.key)))
    }
}

impl Condition {
    fn holds(&self, value: Option<&String>) -> bool {
        match (&self.is, value) {
            (Is::In(values), Some(value)) => values.contains(value),
            (Is::NotIn(values), Some(value)) => !values.contains(value),
            (Is::In(_), None) | (Is::There, None) | (Is::NotThere, Some(_)) => false,
            (Is::NotIn(_), None) | (Is::NotThere, None) | (Is::There, Some(_)) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use service_kit::Object;

    use super::*;

    fn read(selector: Value) -> Option<Option<Selector>> {
        let json = json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": "n"}});
        let object = Object::from_json(json).unwrap();
        let spec: SelectorSpec = serde_json::from_value(selector).unwrap();
        spec.read("spec.selector", &mut Diagnostics::new(&object))
    }

    #[test]
    fn every_operator_is_kubernetes_own() {
        let labels: BTreeMap<String, String> = [("a".to_owned(), "1".to_owned())].into();
        for (operator, key, values, fits) in [
            ("In", "a", json!(["1", "2"]), true),
            ("In", "a", json!(["2"]), false),
            ("In", "b", json!(["1"]), false),
            ("NotIn", "a", json!(["1"]), false),
            ("NotIn", "b", json!(["1"]), true),
            ("Exists", "a", json!(null), true),
            ("Exists", "b", json!([]), false),
            ("DoesNotExist", "a", json!(null), false),
            ("DoesNotExist", "b", json!(null), true),
        ] {
            let row = json!({"key": key, "operator": operator, "values": values});
            let selector = read(json!({"matchExpressions": [row]})).unwrap().unwrap();
            assert_eq!(selector.fits(&labels), fits, "{operator} {key}");
        }
    }

    #[test]
    fn what_is_wrong_is_no_selector_and_what_says_nothing_is_none() {
        for wrong in [
            json!({"key": "a", "operator": "In"}),
            json!({"key": "a", "operator": "Exists", "values": ["1"]}),
            json!({"key": "a", "operator": "in", "values": ["1"]}),
            json!({"key": "", "operator": "Exists"}),
        ] {
            assert_eq!(read(json!({"matchExpressions": [wrong]})), None);
        }
        assert_eq!(read(json!({})), Some(None));
        assert_eq!(read(json!({"matchLabels": {}, "matchExpressions": []})), Some(None));
    }
}
