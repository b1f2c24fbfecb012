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
    /// Whether Envoy is asked again by itself: what it missed may be there later.
    may_heal: bool,
    /// The version in which it is asked again just now. It is not known yet whether Envoy takes it.
    asked: Option<String>,
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
        let asked = slot.refusal.as_ref().and_then(|r| r.asked.as_ref());
        if asked != Some(&resource.version) {
            self.found_changed |= slot.refusal.take().is_some();
        }
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
    /// new was published only changes the message: what is in force now was taken once. With
    /// `may_heal` the resource will be asked for again ([`Self::ask_again`]).
    pub(super) fn reject(
        &mut self,
        resource_type: ResourceType,
        name: &str,
        message: &str,
        may_heal: bool,
    ) {
        let key = (resource_type, name.to_owned());
        let Some(slot) = self.slots.get_mut(&key) else { return };
        // Envoy's messages may be long; the beginning says it.
        let message: String = message.chars().take(1000).collect();
        if let Some(refusal) = &mut slot.refusal {
            self.found_changed |= refusal.message != message;
            refusal.message = message;
            let Some(version) = refusal.asked.take() else { return };
            self.before.entry(key).or_insert_with(|| Some(version.clone()));
            refusal.version = version;
            slot.current = slot.previous.take();
            return;
        }
        let Some(current) = slot.current.take() else { return };
        self.found_changed = true;
        self.before.entry(key).or_insert(Some(current.version.clone()));
        let causes = std::mem::take(&mut slot.causes);
        let objects = if causes.is_empty() { current.owners } else { causes };
        let version = current.version;
        slot.refusal = Some(Refusal { version, message, objects, may_heal, asked: None });
        slot.current = slot.previous.take();
    }

    /// Whether a resource was refused and not asked for again since.
    pub(super) fn is_refused(&self, resource_type: ResourceType, name: &str) -> bool {
        let slot = self.slots.get(&(resource_type, name.to_owned()));
        slot.and_then(|s| s.refusal.as_ref()).is_some_and(|r| r.asked.is_none())
    }

    /// Publishes a refused resource in a version that Envoy has not seen. That it was refused is said
    /// until it is known that it was taken ([`Self::heal`]).
    pub(super) fn ask_again(&mut self, resource: Resource) {
        if !self.is_refused(resource.resource_type, &resource.name) {
            return;
        }
        let key = (resource.resource_type, resource.name.clone());
        let slot = self.slots.entry(key.clone()).or_default();
        let Some(refusal) = &mut slot.refusal else { return };
        refusal.asked = Some(resource.version.clone());
        let version = slot.current.as_ref().map(|r| r.version.clone());
        self.before.entry(key).or_insert(version);
        slot.previous = slot.current.replace(resource);
    }

    /// Notes that Envoy took what it was asked again for.
    pub(super) fn heal(&mut self, resource_type: ResourceType, name: &str) {
        if let Some(slot) = self.slots.get_mut(&(resource_type, name.to_owned()))
            && slot.refusal.as_ref().is_some_and(|r| r.asked.is_some())
        {
            slot.refusal = None;
            self.found_changed = true;
        }
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
            let before = if refusal.asked.is_some() { &slot.previous } else { &slot.current };
            let rest = match before {
                Some(_) => "the version before stays in force",
                None => "it is not in force",
            };
            let hint = match refusal.may_heal {
                true => {
                    "put the file where Envoy sees it, or name another; Envoy is asked again by itself, once a minute at least"
                }
                false => "change what Envoy names; it is tried again with the next change",
            };
            // What this installation needs itself is nobody's object.
            let nobody = [ObjectRef::default()];
            let objects = match refusal.objects.as_slice() {
                [] => nobody.as_slice(),
                objects => objects,
            };
            for object in objects {
                let text = format!("Envoy refused {what} `{name}`: {}; {rest}", refusal.message);
                let mut d = Diagnostic::new(Severity::Error, object.clone(), "", text);
                d.hint(hint).reason(Reason::RefusedByEnvoy);
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
        published.reject(ResourceType::Route, "edge", "no", false);
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
        published.reject(ResourceType::Route, "edge", "no", false);
        assert_eq!(versions(&mut published), (Vec::new(), 1));
        published.put(resource("1"), Vec::new());
        assert_eq!(published.iter().count(), 0);
    }

    #[test]
    fn what_may_heal_is_asked_for_again_and_told_until_it_is_taken() {
        let mut published = Published::default();
        published.put(resource("1"), Vec::new());
        published.take_changes();
        published.reject(ResourceType::Route, "edge", "no file", true);
        assert_eq!(versions(&mut published), (Vec::new(), 1));
        assert!(published.is_refused(ResourceType::Route, "edge"));
        published.ask_again(resource("2"));
        published.ask_again(resource("3"));
        assert_eq!(versions(&mut published), (vec!["2".to_owned()], 0));
        assert!(published.found()[0].message.contains("no file; it is not in force"));
        published.put(resource("2"), Vec::new());
        assert_eq!(published.found().len(), 1, "the same again says nothing new");
        published.reject(ResourceType::Route, "edge", "no file", true);
        let (_, removed, found_changed) = published.take_changes();
        assert_eq!((removed.len(), found_changed), (1, false));
        published.put(resource("2"), Vec::new());
        assert_eq!(published.iter().count(), 0);
        published.ask_again(resource("1"));
        published.heal(ResourceType::Route, "edge");
        assert_eq!(versions(&mut published), (vec!["1".to_owned()], 0));
        assert!(published.found().is_empty());
        published.heal(ResourceType::Route, "edge");
        published.ask_again(resource("2"));
        assert_eq!(versions(&mut published), (Vec::new(), 0), "there is nothing to heal");
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
