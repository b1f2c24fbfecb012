//! Files to objects, keeping what was good.

mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Severity};
use crate::object::{Object, ObjectRef};
use file::File;

/// What happened to a set of objects.
#[derive(Debug, Default)]
pub struct Change {
    /// Objects that are new or different.
    pub applied: Vec<Arc<Object>>,
    /// Objects that are gone.
    pub deleted: Vec<ObjectRef>,
    /// Everything that is wrong with the files (or the stream) now: the whole list each time.
    pub found: Vec<Diagnostic>,
}

/// The objects of a set of files. Pure.
#[derive(Default)]
pub struct FileObjects {
    files: BTreeMap<String, File>,
    /// What is in force.
    current: BTreeMap<ObjectRef, Arc<Object>>,
}

impl FileObjects {
    /// No files yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the files as they are now, by name, and keeps in force what is broken now:
    ///
    /// - A file that is no YAML (or no UTF-8) keeps all of its objects.
    /// - A document that is no object keeps the object that it was: the one it names, or, when it
    ///   names none, all that are missing from its file since it broke.
    /// - What is kept gives way to an object of the same name that is written anew anywhere.
    ///
    /// Of two objects with one kind, namespace and name the first (by file name, then place)
    /// counts; the other is an error.
    pub fn update(&mut self, files: BTreeMap<String, String>) -> Change {
        let mut previous = std::mem::take(&mut self.files);
        let mut written_anew = BTreeSet::new();
        for (name, text) in files {
            let old = previous.remove(&name).unwrap_or_default();
            let file = if old.text == text {
                old
            } else {
                let had: BTreeSet<_> = old.all().map(|o| o.reference.clone()).collect();
                let file = old.replaced(text, &name);
                let written = file.written.iter().map(|o| &o.reference);
                written_anew.extend(written.filter(|r| !had.contains(*r)).cloned());
                file
            };
            self.files.insert(name, file);
        }
        for file in self.files.values_mut() {
            file.give_way(&written_anew);
        }
        let mut change = Change::default();
        let next = self.collect(&mut change.found);
        for (reference, object) in &next {
            // The same allocation comes of a file that did not change: no need to compare.
            let known = self.current.get(reference);
            if known.is_none_or(|old| !Arc::ptr_eq(old, object) && old != object) {
                change.applied.push(object.clone());
            }
        }
        change.deleted = self.current.keys().filter(|r| !next.contains_key(*r)).cloned().collect();
        self.current = next;
        change
    }

    fn collect(&self, found: &mut Vec<Diagnostic>) -> BTreeMap<ObjectRef, Arc<Object>> {
        let mut objects: BTreeMap<ObjectRef, Arc<Object>> = BTreeMap::new();
        for file in self.files.values() {
            found.extend(file.found.iter().cloned());
            for object in &file.written {
                match objects.get(&object.reference) {
                    None => {
                        objects.insert(object.reference.clone(), object.clone());
                    }
                    Some(first) => found.push(duplicate(object, first)),
                }
            }
            for object in file.broken.iter().flat_map(|b| &b.kept) {
                objects.entry(object.reference.clone()).or_insert_with(|| object.clone());
            }
        }
        objects
    }
}

fn duplicate(object: &Object, first: &Object) -> Diagnostic {
    let place = |o: &Object| {
        o.source.as_ref().map_or_else(String::new, |s| {
            format!("{}:{}", s.file, s.line_of("metadata.name").unwrap_or_default())
        })
    };
    let mut diagnostic = Diagnostic::new(
        Severity::Error,
        object.reference.clone(),
        "metadata.name",
        format!("stands twice: {} and {}; the first counts", place(first), place(object)),
    );
    diagnostic.hint("rename or delete one of them").locate(object);
    diagnostic
}

#[cfg(test)]
mod tests;
