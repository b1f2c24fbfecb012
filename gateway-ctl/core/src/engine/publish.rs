//! What is published, what changed in one call, and what Envoy refused.

use std::collections::BTreeMap;

use service_kit::{Diagnostic, ObjectRef, Reason, Severity};

use crate::output::{Resource, ResourceType};

type Key = (ResourceType, String);

/// A refused version of a resource.
#[derive(Debug)]
struct Refusal {
    version: String,
    message: String,
    objects: Vec<ObjectRef>,
}

/// A resource's place: what is in force, what was before, and what was refused.
#[derive(Debug, Default)]
struct Slot {
    current: Option<Resource>,
    previous: Option<Resource>,
    /// Objects whose change made the current version.
    causes: Vec<ObjectRef>,
    refusal: Option<Refusal>,
}

/// The published resources.
#[derive(Debug, Default)]
pub(super) struct Published {
    slots: BTreeMap<Key, Slot>,
    /// What each resource was before this call, if it was touched.
    before: BTreeMap<Key, Option<String>>,
    found_changed: bool,
}

impl Published {
    /// Publishes a resource. A version that Envoy refused is not published again.
    pub(super) fn put(&mut self, resource: Resource, causes: Vec<ObjectRef>) {
        let key = (resource.resource_type, resource.name.clone());
        let slot = self.slots.entry(key.clone()).or_default();
        if slot.refusal.as_ref().is_some_and(|r| r.version == resource.version) {
            return;
        }
        self.found_changed |= slot.refusal.take().is_some();
        match &mut slot.current {
            Some(current) if current.version == resource.version => {
                current.owners = resource.owners;
            }
            current => {
                let version = current.as_ref().map(|r| r.version.clone());
                self.before.entry(key).or_insert(version);
                slot.previous = current.take();
                slot.current = Some(resource);
                slot.causes = causes;
            }
        }
    }

    /// Takes a resource back.
    pub(super) fn remove(&mut self, resource_type: ResourceType, name: &str) {
        let key = (resource_type, name.to_owned());
        if let Some(slot) = self.slots.remove(&key) {
            self.found_changed |= slot.refusal.is_some();
            let version = slot.current.map(|r| r.version);
            self.before.entry(key).or_insert(version);
        }
    }

    /// Takes Envoy's refusal: what was before is in force again. A second refusal before anything
    /// new was published only changes the message: what is in force now was taken once.
    pub(super) fn reject(&mut self, resource_type: ResourceType, name: &str, message: &str) {
        let key = (resource_type, name.to_owned());
        let Some(slot) = self.slots.get_mut(&key) else { return };
        // Envoy's messages may be long; the beginning says it.
        let message: String = message.chars().take(1000).collect();
        self.found_changed = true;
        if let Some(refusal) = &mut slot.refusal {
            refusal.message = message;
            return;
        }
        let Some(current) = slot.current.take() else { return };
        self.before.entry(key).or_insert(Some(current.version.clone()));
        let causes = std::mem::take(&mut slot.causes);
        let objects = if causes.is_empty() { current.owners } else { causes };
        slot.refusal = Some(Refusal { version: current.version, message, objects });
        slot.current = slot.previous.take();
    }

    /// What changed since the last call: what is new or different, and what is gone.
    pub(super) fn take_changes(&mut self) -> (Vec<Resource>, Vec<Key>, bool) {
        let (mut changed, mut removed) = (Vec::new(), Vec::new());
        for (key, before) in std::mem::take(&mut self.before) {
            match self.slots.get(&key).and_then(|s| s.current.as_ref()) {
                Some(now) if before.as_ref() != Some(&now.version) => changed.push(now.clone()),
                None if before.is_some() => removed.push(key),
                _ => {}
            }
        }
        (changed, removed, std::mem::take(&mut self.found_changed))
    }

    /// Everything in force.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.slots.values().filter_map(|s| s.current.as_ref())
    }

    /// What Envoy refused.
    pub(super) fn found(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for ((resource_type, name), slot) in &self.slots {
            let Some(refusal) = &slot.refusal else { continue };
            let what = resource_type.message_name().rsplit('.').next().unwrap_or_default();
            let rest = match slot.current {
                Some(_) => "the version before stays in force",
                None => "it is not in force",
            };
            for object in &refusal.objects {
                let text = format!("Envoy refused {what} `{name}`: {}; {rest}", refusal.message);
                let mut d = Diagnostic::new(Severity::Error, object.clone(), "", text);
                d.hint("change what Envoy names; it is tried again with the next change")
                    .reason(Reason::RefusedByEnvoy);
                found.push(d);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(version: &str) -> Resource {
        Resource {
            resource_type: ResourceType::Route,
            name: "edge".to_owned(),
            version: version.to_owned(),
            body: bytes::Bytes::new(),
            owners: vec![ObjectRef::new("Listener", "default", "edge")],
        }
    }

    fn versions(published: &mut Published) -> (Vec<String>, usize) {
        let (changed, removed, _) = published.take_changes();
        (changed.into_iter().map(|r| r.version).collect(), removed.len())
    }

    #[test]
    fn a_refused_version_gives_way_to_the_one_before_until_something_changes() {
        let mut published = Published::default();
        published.put(resource("1"), Vec::new());
        published.take_changes();
        published.put(resource("2"), vec![ObjectRef::new("Mapping", "default", "m")]);
        assert_eq!(versions(&mut published), (vec!["2".to_owned()], 0));
        published.reject(ResourceType::Route, "edge", "no");
        assert_eq!(versions(&mut published), (vec!["1".to_owned()], 0));
        let found = published.found();
        assert_eq!(found[0].object.kind, "Mapping");
        assert!(found[0].message.contains("Envoy refused RouteConfiguration `edge`: no"));
        published.put(resource("2"), Vec::new());
        assert_eq!(versions(&mut published), (Vec::new(), 0));
        published.put(resource("3"), Vec::new());
        assert_eq!(versions(&mut published), (vec!["3".to_owned()], 0));
        assert!(published.found().is_empty());
    }

    #[test]
    fn the_first_version_refused_leaves_nothing() {
        let mut published = Published::default();
        published.put(resource("1"), Vec::new());
        published.take_changes();
        published.reject(ResourceType::Route, "edge", "no");
        assert_eq!(versions(&mut published), (Vec::new(), 1));
        published.put(resource("1"), Vec::new());
        assert_eq!(published.iter().count(), 0);
    }

    #[test]
    fn there_and_back_in_one_call_is_no_change() {
        let mut published = Published::default();
        published.put(resource("1"), Vec::new());
        published.take_changes();
        published.remove(ResourceType::Route, "edge");
        published.put(resource("1"), Vec::new());
        assert_eq!(versions(&mut published), (Vec::new(), 0));
    }
}
