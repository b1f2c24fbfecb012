//! The objects in force: of an object that is broken now, the last version that was not.

use std::collections::BTreeMap;
use std::sync::Arc;

use service_kit::{Diagnostic, Object, ObjectRef, Severity};

use crate::compile::{Compiled, Memory, Settings, Version, check, compile_changes};

/// Objects by reference.
#[derive(Debug, Default)]
pub struct Catalog {
    objects: BTreeMap<ObjectRef, Entry>,
    /// Of the last version that was taken.
    version: Version,
    memory: Memory,
}

#[derive(Debug)]
struct Entry {
    /// In force. A first version is, even a broken one: it denies.
    current: Arc<Object>,
    version: Version,
    /// What is wrong with the newest version, when that is another one.
    refused: Vec<Diagnostic>,
}

impl Catalog {
    /// Takes a new version of an object.
    pub fn apply(&mut self, object: Arc<Object>) {
        let errors = || check(&object).into_iter().filter(|d| d.severity == Severity::Error);
        match self.objects.get_mut(&object.reference) {
            Some(entry) if errors().next().is_some() && !is_broken(&entry.current) => {
                entry.refused = errors()
                    .map(|mut d| {
                        d.add_hint("the previous version stays in force");
                        d
                    })
                    .collect();
            }
            _ => {
                self.version += 1;
                let (reference, version) = (object.reference.clone(), self.version);
                let entry = Entry { current: object, version, refused: Vec::new() };
                self.objects.insert(reference, entry);
            }
        }
    }

    /// Forgets an object.
    pub fn delete(&mut self, reference: &ObjectRef) {
        self.objects.remove(reference);
    }

    /// Compiles what is in force. What did not change keeps its compiled form; `settings` must be
    /// the same each time.
    pub fn compile(&mut self, settings: &Settings) -> Compiled {
        let objects: Vec<(&Object, Version)> =
            self.objects.values().map(|e| (&*e.current, e.version)).collect();
        let mut compiled = compile_changes(&objects, settings, &mut self.memory);
        compiled.found.extend(self.objects.values().flat_map(|e| e.refused.iter().cloned()));
        compiled.found.sort();
        compiled
    }

    /// The references of all objects.
    pub fn references(&self) -> impl Iterator<Item = &ObjectRef> {
        self.objects.keys()
    }
}

fn is_broken(object: &Object) -> bool {
    check(object).iter().any(|d| d.severity == Severity::Error)
}

#[cfg(test)]
#[path = "catalog/tests.rs"]
mod tests;
