//! Files to objects, keeping what was good.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Severity};
use crate::object::{Object, ObjectRef};

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
#[derive(Debug, Default)]
pub struct FileObjects {
    /// By file: its text, and what it holds.
    files: BTreeMap<String, File>,
    /// What is in force.
    current: BTreeMap<ObjectRef, Arc<Object>>,
}

#[derive(Debug, Default)]
struct File {
    text: String,
    objects: Vec<Arc<Object>>,
    found: Vec<Diagnostic>,
}

impl FileObjects {
    /// No files yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the files as they are now, by name. A file that is no YAML, or of which a document is
    /// no object, keeps the objects it had that it does not have now. Of two objects with one kind,
    /// namespace and name the first (by file name, then place) counts; the other is an error.
    pub fn update(&mut self, files: BTreeMap<String, String>) -> Change {
        let mut previous = std::mem::take(&mut self.files);
        for (name, text) in files {
            let old = previous.remove(&name).unwrap_or_default();
            let file = if old.text == text { old } else { old.replaced(text, &name) };
            self.files.insert(name, file);
        }
        let mut change = Change::default();
        let next = self.collect(&mut change.found);
        for (reference, object) in &next {
            if self.current.get(reference).is_none_or(|old| old != object) {
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
            for object in &file.objects {
                match objects.get(&object.reference) {
                    None => {
                        objects.insert(object.reference.clone(), object.clone());
                    }
                    Some(first) => found.push(duplicate(object, first)),
                }
            }
        }
        objects
    }
}

impl File {
    /// The file with another text; what it no longer says clearly it goes on saying.
    fn replaced(self, text: String, name: &str) -> Self {
        match Object::from_yaml(&text, name) {
            Err(mut broken) => {
                if !self.objects.is_empty() {
                    broken.hint("mend it; the objects this file had stay in force");
                }
                Self { text, objects: self.objects, found: vec![*broken] }
            }
            Ok((objects, mut found)) => {
                let mut objects: Vec<Arc<Object>> = objects.into_iter().map(Arc::new).collect();
                if !found.is_empty() {
                    let names: BTreeSet<_> = objects.iter().map(|o| o.reference.clone()).collect();
                    let kept: Vec<_> = self
                        .objects
                        .into_iter()
                        .filter(|o| !names.contains(&o.reference))
                        .collect();
                    if let (Some(first), Some(last)) = (kept.first(), found.last_mut()) {
                        last.hint(format!(
                            "mend it; what this file had before ({}) stays in force",
                            first.reference
                        ));
                    }
                    objects.extend(kept);
                }
                Self { text, objects, found }
            }
        }
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
mod tests {
    use super::*;

    fn host(name: &str, hostname: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Host\nmetadata: {{name: {name}}}\nspec: {{hostname: {hostname}}}\n"
        )
    }

    fn update(
        objects: &mut FileObjects,
        files: &[(&str, &str)],
    ) -> (Vec<String>, Vec<String>, Vec<String>) {
        let files = files.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())).collect();
        let change = objects.update(files);
        (
            change.applied.iter().map(|o| o.reference.name.clone()).collect(),
            change.deleted.iter().map(|r| r.name.clone()).collect(),
            change.found.iter().map(ToString::to_string).collect(),
        )
    }

    #[test]
    fn tells_what_is_new_different_and_gone() {
        let mut objects = FileObjects::new();
        let (a, b) = (host("a", "x"), host("b", "y"));
        let none = Vec::<String>::new();
        assert_eq!(update(&mut objects, &[("1", &a), ("2", &b)]).0, ["a", "b"]);
        assert_eq!(
            update(&mut objects, &[("1", &a), ("2", &b)]),
            (none.clone(), none.clone(), none.clone())
        );
        assert_eq!(update(&mut objects, &[("1", &host("a", "z")), ("2", &b)]).0, ["a"]);
        assert_eq!(update(&mut objects, &[("2", &b)]).1, ["a"]);
        // Moving an object to another file changes nothing.
        assert_eq!(update(&mut objects, &[("3", &b)]), (none.clone(), none.clone(), none));
    }

    #[test]
    fn a_broken_file_keeps_its_objects() {
        let mut objects = FileObjects::new();
        update(&mut objects, &[("1", &host("a", "x"))]);
        let (applied, deleted, found) = update(&mut objects, &[("1", "a: [")]);
        assert!(applied.is_empty() && deleted.is_empty());
        assert!(found[0].starts_with("1:") && found[0].contains("stay in force"), "{found:?}");
        let (applied, _, found) = update(&mut objects, &[("1", &host("a", "y"))]);
        assert_eq!((applied.len(), found.len()), (1, 0));
    }

    #[test]
    fn a_broken_document_keeps_what_the_file_had() {
        let mut objects = FileObjects::new();
        let both = format!("{}---\n{}", host("a", "x"), host("b", "y"));
        update(&mut objects, &[("1", &both)]);
        let half = format!("{}---\nkind: Host\nmetadata: {{name: b}}\n", host("a", "z"));
        let (applied, deleted, found) = update(&mut objects, &[("1", &half)]);
        assert_eq!((applied, deleted.len(), found.len()), (vec!["a".to_owned()], 0, 1));
        assert_eq!(update(&mut objects, &[("1", &host("a", "z"))]).1, ["b"]);
    }

    #[test]
    fn of_two_the_first_counts_and_both_places_are_named() {
        let mut objects = FileObjects::new();
        let (applied, _, found) =
            update(&mut objects, &[("1", &host("a", "x")), ("2", &host("a", "y"))]);
        assert_eq!(applied.len(), 1);
        assert!(found[0].contains("1:3 and 2:3"), "{found:?}");
    }

    #[test]
    fn a_file_that_was_never_good_only_complains() {
        let mut objects = FileObjects::new();
        let (applied, _, found) = update(&mut objects, &[("1", "a: ["), ("2", &host("a", "x"))]);
        assert_eq!((applied.len(), found.len()), (1, 1));
    }
}
