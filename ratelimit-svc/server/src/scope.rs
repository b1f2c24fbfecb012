//! Which `RateLimit` objects are for this installation: Edge Stack's variables.

use anyhow::bail;
use service_kit::Object;

use crate::environment::Environment;

/// Tells objects of this installation from others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// `AMBASSADOR_ID`
    id: String,
    /// `AMBASSADOR_NAMESPACE`, with `AMBASSADOR_SINGLE_NAMESPACE`.
    namespace: Option<String>,
    /// `AMBASSADOR_LABEL_SELECTOR`
    labels: Vec<Requirement>,
}

/// A part of a label selector: of `key` one of `values` (any, when none are named), or not.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    values: Option<Vec<String>>,
    holds: bool,
}

impl Scope {
    pub(crate) fn read(env: &Environment) -> anyhow::Result<Self> {
        let single = env.get("AMBASSADOR_SINGLE_NAMESPACE").is_some();
        let text = env.text("AMBASSADOR_LABEL_SELECTOR", "");
        let Some(labels) = selector(&text) else {
            bail!("AMBASSADOR_LABEL_SELECTOR={text}: write it like app=shop,tier in (a,b),!old");
        };
        Ok(Self {
            id: env.text("AMBASSADOR_ID", "default"),
            namespace: single.then(|| env.text("AMBASSADOR_NAMESPACE", "default")),
            labels,
        })
    }

    /// Whether an object is for this installation: by the ids it names, where it is and what it is
    /// labelled.
    pub(crate) fn has(&self, object: &Object) -> bool {
        let here = self.namespace.as_ref().is_none_or(|n| *n == object.reference.namespace);
        let ours = here && object.is_for(&self.id);
        ours && self.labels.iter().all(|requirement| {
            let value = object.labels.get(&requirement.key);
            let fits = value
                .is_some_and(|v| requirement.values.as_ref().is_none_or(|all| all.contains(v)));
            fits == requirement.holds
        })
    }
}

/// Reads Kubernetes' notation of label selectors; none when it is not that.
fn selector(text: &str) -> Option<Vec<Requirement>> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1)?,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    if text.trim().is_empty() {
        return Some(Vec::new());
    }
    parts.into_iter().map(|part| requirement(part.trim())).collect()
}

fn requirement(text: &str) -> Option<Requirement> {
    let of = |key: &str, values: Option<Vec<&str>>, holds: bool| {
        let is_word =
            |word: &str| word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b));
        let values =
            values.map(|all| all.into_iter().map(|v| v.trim().to_owned()).collect::<Vec<_>>());
        let key = key.trim().to_owned();
        let fits = !key.is_empty() && is_word(&key) && values.iter().flatten().all(|v| is_word(v));
        fits.then_some(Requirement { key, values, holds })
    };
    if let Some(list) = text.strip_suffix(')') {
        let (head, values) = list.split_once('(')?;
        let mut words = head.split_whitespace();
        let (key, operator) = (words.next()?, words.next()?);
        let holds = match (operator, words.next()) {
            ("in", None) => true,
            ("notin", None) => false,
            _ => return None,
        };
        return of(key, Some(values.split(',').collect()), holds);
    }
    if let Some((key, value)) = text.split_once("!=") {
        return of(key, Some(vec![value]), false);
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return of(key, Some(vec![value]), true);
    }
    match text.strip_prefix('!') {
        Some(key) => of(key, None, false),
        None => of(text, None, true),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn has(variables: &[(&str, &str)], namespace: &str, labels: serde_json::Value) -> bool {
        let object = Object::from_json(json!({"apiVersion": "v1", "kind": "RateLimit",
            "metadata": {"name": "o", "namespace": namespace, "labels": labels}}));
        Scope::read(&Environment::of(variables)).unwrap().has(&object.unwrap())
    }

    #[test]
    fn a_namespace_counts_only_when_it_is_to_be_single() {
        assert!(has(&[("AMBASSADOR_NAMESPACE", "a")], "b", json!({})));
        let single = [("AMBASSADOR_NAMESPACE", "a"), ("AMBASSADOR_SINGLE_NAMESPACE", "1")];
        assert!(has(&single, "a", json!({})) && !has(&single, "b", json!({})));
    }

    #[test]
    fn labels_are_selected_as_in_kubernetes() {
        let labels = json!({"app": "shop", "tier": "a"});
        for (selector, fits) in [
            ("app=shop", true),
            ("app==shop,tier in (a, b)", true),
            ("app=shop,tier notin (a)", false),
            ("app!=shop", false),
            ("other!=x,!old,app", true),
            ("!app", false),
            ("gone", false),
        ] {
            let variables = [("AMBASSADOR_LABEL_SELECTOR", selector)];
            assert_eq!(has(&variables, "n", labels.clone()), fits, "{selector}");
        }
        for wrong in ["a=b=c", "a in b)", "a over (b)", ",", "a b"] {
            assert_eq!(selector(wrong), None, "{wrong}");
        }
    }
}
