//! One file: the objects it says, and those it said before it was broken.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::diagnostic::{Diagnostic, Severity};
use crate::object::{NoObject, Object, ObjectRef};

/// A file as it was last read.
#[derive(Default)]
pub(super) struct File {
    pub text: String,
    /// The objects it says; while it [is no YAML](Self::is_unreadable), those it said before.
    pub written: Vec<Arc<Object>>,
    /// Its documents that are no objects.
    pub broken: Vec<Broken>,
    is_unreadable: bool,
    pub found: Vec<Diagnostic>,
}

/// A document that is no object.
pub(super) struct Broken {
    /// What stands there, to know it again.
    json: Value,
    /// What it was.
    pub kept: Vec<Arc<Object>>,
}

impl File {
    /// All objects, said or kept.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.written.iter().chain(self.broken.iter().flat_map(|b| &b.kept))
    }

    /// The file with another text.
    pub(super) fn replaced(self, text: String, name: &str) -> Self {
        match read(&text, name) {
            Ok(documents) => self.read(text, documents),
            Err(mut why) => {
                if self.all().next().is_some() {
                    if why.hint.is_empty() {
                        why.hint("mend it");
                    }
                    why.add_hint("the objects this file had stay in force");
                }
                Self { text, found: vec![*why], is_unreadable: true, ..self }
            }
        }
    }

    /// Whether it may have objects that it no longer says.
    pub(super) const fn keeps(&self) -> bool {
        self.is_unreadable || !self.broken.is_empty()
    }

    /// Forgets kept objects that are written anew.
    pub(super) fn give_way(&mut self, written_anew: &BTreeSet<ObjectRef>) {
        let stays = |o: &Arc<Object>| !written_anew.contains(&o.reference);
        if self.is_unreadable {
            self.written.retain(stays);
        }
        for broken in &mut self.broken {
            broken.kept.retain(stays);
        }
    }

    fn read(self, text: String, documents: Vec<Result<Object, NoObject>>) -> Self {
        let (mut written, mut no_objects) = (Vec::new(), Vec::new());
        for document in documents {
            match document {
                Ok(object) => written.push(Arc::new(object)),
                Err(no_object) => no_objects.push(no_object),
            }
        }
        let mut file = Self { text, written, ..Self::default() };
        let keep = self.keep(&file.written, &no_objects);
        for (NoObject { json, mut why }, kept) in no_objects.into_iter().zip(keep) {
            if let Some(first) = kept.first() {
                let others = match kept.len() {
                    1 => " stays".to_owned(),
                    n => format!(" and {} more of this file stay", n - 1),
                };
                why.hint(format!("mend it; {}{others} in force as before", first.reference));
            }
            file.found.push(why);
            file.broken.push(Broken { json, kept });
        }
        file
    }

    /// What each of `no_objects` keeps of this file, which now says `written`.
    fn keep(self, written: &[Arc<Object>], no_objects: &[NoObject]) -> Vec<Vec<Arc<Object>>> {
        let said: BTreeSet<&ObjectRef> = written.iter().map(|o| &o.reference).collect();
        let unsaid = |o: &Arc<Object>| !said.contains(&o.reference);
        let mut missing = self.written;
        let mut before = self.broken;
        let mut keep: Vec<Option<Vec<Arc<Object>>>> = Vec::new();
        // What was broken in the same way before is not what broke now.
        for no_object in no_objects {
            let known = before.iter().position(|b| b.json == no_object.json);
            keep.push(known.map(|at| {
                let mut kept = before.swap_remove(at).kept;
                kept.retain(unsaid);
                kept
            }));
        }
        missing.extend(before.into_iter().flat_map(|b| b.kept));
        missing.retain(unsaid);
        missing.sort_by(|a, b| a.reference.cmp(&b.reference));
        missing.dedup_by(|a, b| a.reference == b.reference);
        // One that still says its name is clear …
        for (keep, no_object) in keep.iter_mut().zip(no_objects).filter(|(k, _)| k.is_none()) {
            if let Some(at) = missing.iter().position(|o| is_named(&no_object.json, o)) {
                *keep = Some(vec![missing.swap_remove(at)]);
            }
        }
        // … the others may be any that is missing.
        missing.sort_by(|a, b| a.reference.cmp(&b.reference));
        let of = |keep: Option<Vec<_>>| keep.unwrap_or_else(|| missing.clone());
        keep.into_iter().map(of).collect()
    }
}

/// Whether what stands there says that it is `object`; it may have lost its kind.
fn is_named(json: &Value, object: &Object) -> bool {
    let text = |pointer| json.pointer(pointer).and_then(Value::as_str).filter(|t| !t.is_empty());
    let reference = &object.reference;
    text("/metadata/name") == Some(&reference.name)
        && text("/metadata/namespace").unwrap_or("default") == reference.namespace
        && text("/kind").is_none_or(|kind| kind == reference.kind)
}

fn read(text: &str, name: &str) -> Result<Vec<Result<Object, NoObject>>, Box<Diagnostic>> {
    // What could not be read as UTF-8 was replaced by this character; a name or a key that is not
    // the one that was written must not come into force.
    if let Some(line) = text.lines().position(|l| l.contains(char::REPLACEMENT_CHARACTER)) {
        let message = "not UTF-8: bytes that are no text (or the character U+FFFD)";
        let mut why = Diagnostic::new(Severity::Error, ObjectRef::default(), "", message);
        why.file = Some(name.to_owned());
        why.line = Some(line + 1);
        why.hint("save the file as UTF-8");
        return Err(Box::new(why));
    }
    Object::read_documents(text, name)
}
