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

/// The objects of a set of files. Pure. A change costs what the files that changed say, not what all
/// say.
#[derive(Default)]
pub struct FileObjects {
    files: BTreeMap<Arc<str>, File>,
    /// Who says an object; the first is in force.
    claims: BTreeMap<ObjectRef, Vec<Claim>>,
    /// Of the objects that stand twice.
    duplicates: BTreeMap<ObjectRef, Vec<Diagnostic>>,
}

/// An object of a file.
struct Claim {
    file: Arc<str>,
    /// It is no longer said, but kept.
    kept: bool,
    object: Arc<Object>,
}

/// What was in force of the objects that a change touches.
type Before = BTreeMap<ObjectRef, Option<Arc<Object>>>;

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
        self.update_known(files.into_iter().map(|(name, text)| (name, Some(text))).collect())
    }

    /// As [`Self::update`]; a file without a text is as it was.
    pub fn update_known(&mut self, files: BTreeMap<String, Option<String>>) -> Change {
        let mut before = Before::new();
        let gone: Vec<_> =
            self.files.keys().filter(|name| !files.contains_key(&***name)).cloned().collect();
        for name in gone {
            self.withdraw(&name, &mut before);
            self.files.remove(&name);
        }
        let mut written_anew = BTreeSet::new();
        for (name, text) in files {
            let Some(text) = text else { continue };
            if self.files.get(&*name).is_some_and(|file| file.text == text) {
                continue;
            }
            let name: Arc<str> = name.into();
            self.withdraw(&name, &mut before);
            let old = self.files.remove(&name).unwrap_or_default();
            let had: BTreeSet<_> = old.all().map(|o| o.reference.clone()).collect();
            let file = old.replaced(text, &name);
            let written = file.written.iter().map(|o| &o.reference);
            written_anew.extend(written.filter(|r| !had.contains(*r)).cloned());
            self.files.insert(name.clone(), file);
            self.claim(&name, &mut before);
        }
        self.give_way(&written_anew, &mut before);
        self.compare(before)
    }

    /// Takes back what a file says.
    fn withdraw(&mut self, name: &str, before: &mut Before) {
        for object in self.files.get(name).iter().flat_map(|file| file.all()) {
            let Some(claims) = self.claims.get_mut(&object.reference) else { continue };
            remember(before, object, claims);
            claims.retain(|c| *c.file != *name);
            if claims.is_empty() {
                self.claims.remove(&object.reference);
            }
        }
    }

    /// Takes what a file says, and after that what it keeps.
    fn claim(&mut self, name: &Arc<str>, before: &mut Before) {
        let Some(file) = self.files.get(name) else { return };
        let written = file.written.len();
        for (place, object) in file.all().enumerate() {
            let claims = self.claims.entry(object.reference.clone()).or_default();
            remember(before, object, claims);
            let at = claims.partition_point(|c| c.file <= *name);
            let kept = place >= written;
            claims.insert(at, Claim { file: name.clone(), kept, object: object.clone() });
        }
    }

    fn give_way(&mut self, written_anew: &BTreeSet<ObjectRef>, before: &mut Before) {
        if written_anew.is_empty() {
            return;
        }
        let keeping = self.files.iter().filter(|(_, file)| file.keeps());
        let keeping: Vec<_> = keeping.map(|(name, _)| name.clone()).collect();
        for name in keeping {
            self.withdraw(&name, before);
            if let Some(file) = self.files.get_mut(&name) {
                file.give_way(written_anew);
            }
            self.claim(&name, before);
        }
    }

    fn compare(&mut self, before: Before) -> Change {
        let mut change = Change::default();
        for (reference, old) in before {
            let claims = self.claims.get(&reference).map(Vec::as_slice).unwrap_or_default();
            let duplicates = duplicates(claims);
            match (old, claims.first().map(|c| &c.object)) {
                (old, Some(new)) => {
                    if old.is_none_or(|old| !Arc::ptr_eq(&old, new) && old != *new) {
                        change.applied.push(new.clone());
                    }
                }
                (Some(_), None) => change.deleted.push(reference.clone()),
                (None, None) => {}
            }
            if duplicates.is_empty() {
                self.duplicates.remove(&reference);
            } else {
                self.duplicates.insert(reference, duplicates);
            }
        }
        change.found.extend(self.files.values().flat_map(|file| &file.found).cloned());
        change.found.extend(self.duplicates.values().flatten().cloned());
        change
    }
}

/// Keeps what was in force of an object, unless that is kept already.
fn remember(before: &mut Before, object: &Object, claims: &[Claim]) {
    if !before.contains_key(&object.reference) {
        let in_force = claims.first().map(|c| c.object.clone());
        before.insert(object.reference.clone(), in_force);
    }
}

/// What is wrong with those who say an object that another one says.
fn duplicates(claims: &[Claim]) -> Vec<Diagnostic> {
    let Some((first, others)) = claims.split_first() else { return Vec::new() };
    let others = others.iter().filter(|c| !c.kept);
    others.map(|c| duplicate(&c.object, &first.object)).collect()
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
