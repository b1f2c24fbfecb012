//! Objects that stand in others: those of `getambassador.io/config` annotations, the Hosts and
//! Mappings that an Ingress means, and what Modules mean. Each is an object like those that users write, of a name that
//! theirs win; what is wrong with it is told of the object that it stands in.

mod annotation;
mod ingress;
mod module;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use service_kit::{Diagnostic, Object, ObjectRef, Severity};

pub use self::annotation::stands_in;
pub use self::ingress::{Ways, is_of_ingress, secret_refs};
pub use self::module::tls_contexts;
use crate::store::Store;

/// An object that stands in another.
#[derive(Clone, Debug)]
pub struct Inner {
    /// The object.
    pub object: Arc<Object>,
    /// Where in the other it stands, as the path of a diagnostic.
    pub path: String,
    /// Which it is there, in words.
    pub words: String,
}

/// What stands in an object, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Made {
    /// The objects.
    pub inner: Vec<Inner>,
    /// What is wrong.
    pub found: Vec<Diagnostic>,
    /// Whether what cannot be read now may have been more: what was before stays.
    pub unreadable: bool,
}

/// What stands in which object, and which of it is in force.
#[derive(Debug, Default)]
pub struct Derived {
    /// By the object that it stands in.
    made: BTreeMap<ObjectRef, Made>,
    /// Who means an object, by the objects that it stands in.
    claims: BTreeMap<ObjectRef, BTreeMap<ObjectRef, Inner>>,
    /// Those in the store, and where they come from.
    in_force: BTreeMap<ObjectRef, ObjectRef>,
    conflicts: BTreeMap<ObjectRef, Vec<Diagnostic>>,
    /// Ingresses by the Services whose ports they name.
    named_ports: BTreeMap<ObjectRef, BTreeSet<ObjectRef>>,
    dirty: BTreeSet<ObjectRef>,
    dirty_claims: BTreeSet<ObjectRef>,
    found_changed: bool,
    /// Ingresses that became ours, or somebody else's, because of another object.
    judged_anew: BTreeSet<ObjectRef>,
}

/// A change of the store: the object is new or different, or gone.
pub type Step = (ObjectRef, Option<Arc<Object>>);

impl Derived {
    /// Whether an object may be meant by another one, too.
    pub fn knows(&self, object: &ObjectRef) -> bool {
        self.claims.contains_key(object)
    }

    /// Whether objects stand in this one.
    pub fn serves(&self, object: &ObjectRef) -> bool {
        self.made.get(object).is_some_and(|made| !made.inner.is_empty())
    }

    /// Takes a change of an object that a user wrote.
    pub fn touch(&mut self, store: &Store, object: &ObjectRef) {
        if self.claims.contains_key(object) {
            // What is wrong with it is told of another object from now on.
            self.found_changed |= self.in_force.remove(object).is_some();
            self.dirty_claims.insert(object.clone());
        }
        match object.kind.as_str() {
            "Ingress" | "Module" => drop(self.dirty.insert(object.clone())),
            "Service" => {
                self.dirty.insert(object.clone());
                self.dirty.extend(self.named_ports.get(object).into_iter().flatten().cloned());
            }
            "IngressClass" => {
                let of_class = |o: &Object| ingress::class_name(o) == Some(object.name.as_str());
                let all = store.of_kind("Ingress").filter(|(_, e)| of_class(&e.latest));
                self.dirty.extend(all.map(|(reference, _)| reference.clone()));
            }
            _ => {}
        }
    }

    /// Looks again at what changed; gives what the store is to take.
    pub fn settle(&mut self, store: &Store, ways: Ways, ambassador_id: &str) -> Vec<Step> {
        for origin in std::mem::take(&mut self.dirty) {
            let mut made = make(store, &origin, ways, ambassador_id);
            if made.unreadable
                && let Some(before) = self.made.get(&origin)
            {
                let known: BTreeSet<_> =
                    made.inner.iter().map(|i| i.object.reference.clone()).collect();
                let kept = before.inner.iter().filter(|i| !known.contains(&i.object.reference));
                made.inner.extend(kept.cloned());
            }
            self.index_ports(store, &origin);
            self.replace(&origin, made);
        }
        let dirty = std::mem::take(&mut self.dirty_claims);
        dirty.into_iter().filter_map(|reference| self.choose(store, reference)).collect()
    }

    fn index_ports(&mut self, store: &Store, origin: &ObjectRef) {
        if origin.kind != "Ingress" {
            return;
        }
        self.named_ports.retain(|_, ingresses| {
            ingresses.remove(origin);
            !ingresses.is_empty()
        });
        for service in
            store.get(origin).map(|e| ingress::named_ports(&e.latest)).into_iter().flatten()
        {
            self.named_ports.entry(service).or_default().insert(origin.clone());
        }
    }

    fn replace(&mut self, origin: &ObjectRef, made: Made) {
        let old = self.made.remove(origin).unwrap_or_default();
        let places = |made: &Made| -> Vec<_> {
            made.inner.iter().map(|i| (i.path.clone(), i.words.clone())).collect()
        };
        self.found_changed |= old.found != made.found || places(&old) != places(&made);
        if origin.kind == "Ingress" && old.inner.is_empty() != made.inner.is_empty() {
            self.judged_anew.insert(origin.clone());
        }
        for inner in &old.inner {
            let reference = &inner.object.reference;
            if let Some(claims) = self.claims.get_mut(reference) {
                claims.remove(origin);
            }
            self.dirty_claims.insert(reference.clone());
        }
        for inner in &made.inner {
            let reference = inner.object.reference.clone();
            let claims = self.claims.entry(reference.clone()).or_default();
            claims.insert(origin.clone(), inner.clone());
            self.dirty_claims.insert(reference);
        }
        if !made.inner.is_empty() || !made.found.is_empty() {
            self.made.insert(origin.clone(), made);
        }
    }

    /// Which of those who mean an object is heard: users' own objects, else the first.
    fn choose(&mut self, store: &Store, reference: ObjectRef) -> Option<Step> {
        let before = self.in_force.remove(&reference);
        let was_in_force = before.is_some();
        let is_users = store.get(&reference).is_some() && !was_in_force;
        let empty = BTreeMap::new();
        let claims = self.claims.get(&reference).unwrap_or(&empty);
        let mut rest = claims.iter();
        let chosen = if is_users { None } else { rest.next() };
        let winner = match chosen {
            Some((origin, _)) => origin.to_string(),
            None => reference.to_string(),
        };
        let conflicts: Vec<Diagnostic> = rest
            // Two Ingresses may say the same of a host.
            .filter(|(_, inner)| {
                chosen.is_none_or(|(_, c)| !says_the_same(&c.object, &inner.object))
            })
            .map(|(origin, inner)| conflict(origin, inner, &winner))
            .collect();
        let known = self.conflicts.remove(&reference).unwrap_or_default();
        self.found_changed |= known != conflicts || before.as_ref() != chosen.map(|(o, _)| o);
        let step = match chosen {
            Some((origin, inner)) => {
                let object = inner.object.clone();
                self.in_force.insert(reference.clone(), origin.clone());
                Some((reference.clone(), Some(object)))
            }
            None if was_in_force => Some((reference.clone(), None)),
            None => None,
        };
        if claims.is_empty() {
            self.claims.remove(&reference);
        } else if !conflicts.is_empty() {
            self.conflicts.insert(reference, conflicts);
        }
        step
    }

    /// What is to be judged anew although it did not change itself.
    pub fn take_judged_anew(&mut self) -> BTreeSet<ObjectRef> {
        std::mem::take(&mut self.judged_anew)
    }

    /// Whether something else is wrong than when it was asked last.
    pub fn take_found_changed(&mut self) -> bool {
        std::mem::take(&mut self.found_changed)
    }

    /// What is wrong with what stands in others, beyond what the store knows.
    pub fn found(&self) -> impl Iterator<Item = &Diagnostic> {
        let conflicts = self.conflicts.values().flatten();
        self.made.values().flat_map(|made| &made.found).chain(conflicts)
    }

    /// Makes a finding about an object that stands in another one about that.
    pub fn attribute(&self, d: &mut Diagnostic) {
        let Some(origin) = self.in_force.get(&d.object) else { return };
        let inner = self.claims.get(&d.object).and_then(|claims| claims.get(origin));
        let Some(inner) = inner else { return };
        let mut words = inner.words.clone();
        if !words.is_empty() {
            words += ": ";
            if !d.path.is_empty() {
                words += &format!("{}: ", d.path);
            }
        }
        d.message = format!("{words}{}", d.message);
        d.path.clone_from(&inner.path);
        d.object = origin.clone();
    }
}

/// Whether it does not matter which of two is heard: of a host's Secret, whose labels it has does not.
fn says_the_same(a: &Object, b: &Object) -> bool {
    a == b || (a.reference.kind == "Host" && a.json.get("spec") == b.json.get("spec"))
}

fn conflict(origin: &ObjectRef, inner: &Inner, winner: &str) -> Diagnostic {
    let what = &inner.object.reference;
    let text = format!("{what} is not in force: {winner} says something else of it");
    let mut d = Diagnostic::new(Severity::Error, origin.clone(), &inner.path, text);
    d.hint("give it another name, or remove one of them");
    d
}

/// What stands in an object now.
fn make(store: &Store, origin: &ObjectRef, ways: Ways, ambassador_id: &str) -> Made {
    let Some(entry) = store.get(origin) else { return Made::default() };
    let mut made = annotation::read(&entry.latest);
    module::read(&entry.latest, &mut made);
    if origin.kind == "Ingress" {
        ingress::read(&entry.latest, store, ways, ambassador_id, &mut made);
    }
    made
}
