//! The texts of a folder, in either dialect, to what they say. Each text is parsed once: a change
//! of one file of a thousand parses one. Reads no file.

use std::collections::BTreeMap;

use ratelimit_core::ratelimit_file::{Domains, File};
use service_kit::server::objects::{Change, FileObjects};
use service_kit::{Diagnostic, yaml};

/// Files by name, as they were last taken.
#[derive(Default)]
pub(crate) struct Files {
    objects: FileObjects,
    known: BTreeMap<String, Known>,
}

struct Known {
    text: String,
    content: Content,
}

/// What a text is.
enum Content {
    /// Kubernetes objects, which [`FileObjects`] keeps.
    Objects,
    /// A file of envoyproxy/ratelimit, or what is wrong with it.
    Tree(Box<Result<File, Vec<Diagnostic>>>),
}

/// What the files say now.
pub(crate) struct Said {
    /// What happened to objects.
    pub objects: Change,
    /// The files of envoyproxy/ratelimit as a whole, or everything that is wrong with them. Each
    /// finding has its file's name.
    pub domains: Result<Domains, Vec<Diagnostic>>,
    /// What those files probably do not mean.
    pub warnings: Vec<Diagnostic>,
    /// How many texts were parsed for this.
    pub parsed: usize,
}

impl Files {
    /// Whether these are the files that were last taken.
    pub(crate) fn are(&self, texts: &BTreeMap<String, String>) -> bool {
        self.known.len() == texts.len()
            && self
                .known
                .iter()
                .zip(texts)
                .all(|((a, known), (b, text))| (a, &known.text) == (b, text))
    }

    /// Takes all files as they are now.
    pub(crate) fn take(&mut self, texts: BTreeMap<String, String>, merge_domains: bool) -> Said {
        let mut before = std::mem::take(&mut self.known);
        let (mut objects, mut parsed) = (BTreeMap::new(), 0);
        for (name, text) in texts {
            let known = before.remove(&name).filter(|known| known.text == text);
            let known = known.unwrap_or_else(|| {
                parsed += 1;
                let content = Content::of(&text);
                Known { text, content }
            });
            if matches!(known.content, Content::Objects) {
                objects.insert(name.clone(), known.text.clone());
            }
            self.known.insert(name, known);
        }
        let objects = self.objects.update(objects);
        let (domains, warnings) = self.domains(merge_domains);
        Said { objects, domains, warnings, parsed }
    }

    fn domains(&self, merge: bool) -> (Result<Domains, Vec<Diagnostic>>, Vec<Diagnostic>) {
        let (mut good, mut wrong, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
        for (name, known) in &self.known {
            let Content::Tree(read) = &known.content else { continue };
            match &**read {
                Ok(file) => {
                    warnings.extend(file.warnings().iter().map(|d| in_file(d, name)));
                    good.push((name.as_str(), file));
                }
                Err(found) => wrong.extend(found.iter().map(|d| in_file(d, name))),
            }
        }
        let domains = Domains::of(good, merge);
        let domains = match (domains, wrong.is_empty()) {
            (Ok(domains), true) => Ok(domains),
            (Ok(_), false) => Err(wrong),
            (Err(between), _) => {
                wrong.extend(between);
                Err(wrong)
            }
        };
        (domains, warnings)
    }
}

impl Content {
    fn of(text: &str) -> Self {
        if holds_objects(text) {
            Self::Objects
        } else {
            Self::Tree(Box::new(File::from_yaml(text)))
        }
    }
}

fn in_file(found: &Diagnostic, name: &str) -> Diagnostic {
    Diagnostic { file: Some(name.to_owned()), ..found.clone() }
}

/// Whether a file is of Kubernetes objects; a broken one is when it looks so.
fn holds_objects(text: &str) -> bool {
    // Most files of the other dialect need no parsing to know it.
    if !text.contains("apiVersion") && !text.contains("kind") {
        return false;
    }
    match yaml::parse(text) {
        Ok(documents) => {
            documents.iter().any(|d| d.get("apiVersion").is_some() || d.get("kind").is_some())
        }
        Err(_) => {
            text.lines().any(|line| line.starts_with("apiVersion:") || line.starts_with("kind:"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(files: &[(&str, &str)]) -> BTreeMap<String, String> {
        files.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())).collect()
    }

    #[test]
    fn a_text_that_did_not_change_is_not_parsed_again() {
        let mut files = Files::default();
        let (a, b) = (("a", "domain: a"), ("b", "domain: b"));
        assert_eq!(files.take(texts(&[a, b]), false).parsed, 2);
        assert!(files.are(&texts(&[a, b])) && !files.are(&texts(&[a])));
        let said = files.take(texts(&[a, ("b", "domain: c")]), false);
        assert_eq!(said.parsed, 1);
        let domains = said.domains.unwrap();
        assert!(domains.get("a").is_some() && domains.get("b").is_none());
        // What was wrong stays wrong, and is said again.
        assert!(files.take(texts(&[a, ("b", "domain: ''")]), false).domains.is_err());
        let said = files.take(texts(&[("a", "domain: z"), ("b", "domain: ''")]), false);
        assert_eq!((said.parsed, said.domains.is_err()), (1, true));
    }

    #[test]
    fn everything_that_is_wrong_is_said_with_its_file() {
        let twice = [("a", "domain: a"), ("b", "domain: a"), ("c", "domain: ''"), ("d", "no: x")];
        let found = Files::default().take(texts(&twice), false).domains.unwrap_err();
        let names: Vec<_> = found.iter().filter_map(|d| d.file.as_deref()).collect();
        assert_eq!(names, ["c", "d", "b"]);
    }
}
