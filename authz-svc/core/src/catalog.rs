//! The objects in force: of an object that is broken now, the last version that was not.

use std::collections::BTreeMap;
use std::sync::Arc;

use service_kit::{Diagnostic, Object, ObjectRef, Severity};

use crate::compile::{Compiled, Settings, check, compile};

/// Objects by reference.
#[derive(Debug, Default)]
pub struct Catalog(BTreeMap<ObjectRef, Entry>);

#[derive(Debug)]
struct Entry {
    /// In force. A first version is, even a broken one: it denies.
    current: Arc<Object>,
    /// What is wrong with the newest version, when that is another one.
    refused: Vec<Diagnostic>,
}

impl Catalog {
    /// Takes a new version of an object.
    pub fn apply(&mut self, object: Arc<Object>) {
        let errors = || check(&object).into_iter().filter(|d| d.severity == Severity::Error);
        match self.0.get_mut(&object.reference) {
            Some(entry) if errors().next().is_some() && !is_broken(&entry.current) => {
                entry.refused = errors()
                    .map(|mut d| {
                        d.add_hint("the previous version stays in force");
                        d
                    })
                    .collect();
            }
            _ => {
                let reference = object.reference.clone();
                self.0.insert(reference, Entry { current: object, refused: Vec::new() });
            }
        }
    }

    /// Forgets an object.
    pub fn delete(&mut self, reference: &ObjectRef) {
        self.0.remove(reference);
    }

    /// Compiles what is in force.
    pub fn compile(&self, settings: &Settings) -> Compiled {
        let mut compiled = compile(self.0.values().map(|e| &*e.current), settings);
        compiled.found.extend(self.0.values().flat_map(|e| e.refused.iter().cloned()));
        compiled.found.sort();
        compiled
    }

    /// The references of all objects.
    pub fn references(&self) -> impl Iterator<Item = &ObjectRef> {
        self.0.keys()
    }
}

fn is_broken(object: &Object) -> bool {
    check(object).iter().any(|d| d.severity == Severity::Error)
}
