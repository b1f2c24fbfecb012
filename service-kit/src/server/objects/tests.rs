use proptest::prelude::*;

use super::*;

fn host(name: &str, hostname: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Host\nmetadata: {{name: {name}}}\nspec: {{hostname: {hostname}}}\n"
    )
}

/// Several documents of one file.
fn documents(texts: &[&str]) -> String {
    texts.join("---\n")
}

/// What a user sees: what is in force, and the findings.
#[derive(Default)]
struct World {
    objects: FileObjects,
    in_force: BTreeMap<ObjectRef, Arc<Object>>,
}

#[derive(Debug, PartialEq, Default)]
struct Told {
    applied: Vec<String>,
    deleted: Vec<String>,
    found: Vec<String>,
}

impl World {
    fn update(&mut self, files: &[(&str, &str)]) -> Told {
        self.take(files.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())).collect())
    }

    fn take(&mut self, files: BTreeMap<String, String>) -> Told {
        let change = self.objects.update(files);
        for reference in &change.deleted {
            assert!(self.in_force.remove(reference).is_some(), "{reference} was not in force");
        }
        for object in &change.applied {
            let old = self.in_force.insert(object.reference.clone(), object.clone());
            assert_ne!(old.as_ref(), Some(object), "applied again");
        }
        assert!(change.found.iter().all(|d| d.file.is_some() && d.line.is_some()), "{change:?}");
        Told {
            applied: change.applied.iter().map(|o| o.reference.name.clone()).collect(),
            deleted: change.deleted.iter().map(|r| r.name.clone()).collect(),
            found: change.found.iter().map(ToString::to_string).collect(),
        }
    }

    /// `name=hostname` of each object.
    fn in_force(&self) -> Vec<String> {
        let text = |o: &Arc<Object>| {
            format!("{}={}", o.reference.name, o.json["spec"]["hostname"].as_str().unwrap())
        };
        self.in_force.values().map(text).collect()
    }
}

#[test]
fn tells_what_is_new_different_and_gone() {
    let mut world = World::default();
    let (a, b) = (host("a", "x"), host("b", "y"));
    assert_eq!(world.update(&[("1", &a), ("2", &b)]).applied, ["a", "b"]);
    assert_eq!(world.update(&[("1", &a), ("2", &b)]), Told::default());
    assert_eq!(world.update(&[("1", &host("a", "z")), ("2", &b)]).applied, ["a"]);
    assert_eq!(world.update(&[("2", &b)]).deleted, ["a"]);
    // Moving an object to another file changes nothing.
    assert_eq!(world.update(&[("3", &b)]), Told::default());
}

#[test]
fn a_broken_file_keeps_its_objects() {
    let mut world = World::default();
    world.update(&[("1", &host("a", "x"))]);
    let told = world.update(&[("1", "a: [")]);
    assert!(told.applied.is_empty() && told.deleted.is_empty());
    assert!(told.found[0].starts_with("1:") && told.found[0].contains("stay in force"), "{told:?}");
    let told = world.update(&[("1", &host("a", "y"))]);
    assert_eq!((told.applied.len(), told.found.len()), (1, 0));
    assert_eq!(world.update(&[]).deleted, ["a"]);
}

#[test]
fn a_file_that_is_no_text_keeps_its_objects() {
    let mut world = World::default();
    world.update(&[("1", &host("a", "x"))]);
    let told = world.update(&[("1", &host("a", "caf\u{fffd}"))]);
    assert!(told.applied.is_empty() && told.deleted.is_empty());
    assert!(told.found[0].starts_with("1:4: error: not UTF-8"), "{told:?}");
    assert!(
        told.found[0].ends_with("save the file as UTF-8; the objects this file had stay in force")
    );
}

#[test]
fn a_broken_document_keeps_what_it_was() {
    let mut world = World::default();
    let (a, b) = (host("a", "x"), host("b", "y"));
    world.update(&[("1", &documents(&[&a, &b]))]);
    let nameless = "apiVersion: v1\nkind: Host\nspec: {hostname: z}\n";
    let told = world.update(&[("1", &documents(&[nameless, &host("a", "z")]))]);
    assert_eq!((told.applied, told.deleted.len()), (vec!["a".to_owned()], 0));
    assert!(told.found[0].starts_with("1:1: error: "), "{:?}", told.found);
    assert!(told.found[0].ends_with("mend it; Host default/b stays in force as before"));
    assert_eq!(world.in_force(), ["a=z", "b=y"]);
    // Without the broken document, it is meant to be gone.
    assert_eq!(world.update(&[("1", &host("a", "z"))]).deleted, ["b"]);
}

#[test]
fn one_that_still_says_its_name_keeps_no_other() {
    let mut world = World::default();
    let (a, b) = (host("a", "x"), host("b", "y"));
    world.update(&[("1", &documents(&[&a, &b]))]);
    assert_eq!(world.update(&[("1", "kind: Host\nmetadata: {name: b}\n")]).deleted, ["a"]);
    assert_eq!(world.in_force(), ["b=y"]);
    // Broken in another way, and its kind lost too.
    world.update(&[("1", "metadata: {name: b, labels: 1}\n")]);
    assert_eq!(world.in_force(), ["b=y"]);
}

#[test]
fn a_document_that_was_broken_before_does_not_stop_a_deletion() {
    let mut world = World::default();
    let (a, b, note) = (host("a", "x"), host("b", "y"), "a note: to all\n");
    world.update(&[("1", &documents(&[note, &a, &b]))]);
    assert_eq!(world.update(&[("1", &documents(&[&a, note]))]).deleted, ["b"]);
    // Nor while the whole file is broken for a moment.
    world.update(&[("1", "a: [")]);
    assert_eq!(world.update(&[("1", note)]).deleted, ["a"]);
}

#[test]
fn what_was_mended_and_then_deleted_does_not_come_back() {
    let mut world = World::default();
    let nameless = "kind: Host\n";
    world.update(&[("1", &host("a", "x"))]);
    world.update(&[("1", nameless)]);
    world.update(&[("1", &documents(&[nameless, &host("a", "y")]))]);
    assert_eq!(world.in_force(), ["a=y"]);
    assert_eq!(world.update(&[("1", nameless)]).deleted, ["a"]);
}

#[test]
fn a_list_that_breaks_keeps_all_its_items() {
    let mut world = World::default();
    let item = |name| {
        format!(
            "- {{apiVersion: v1, kind: Host, metadata: {{name: {name}}}, spec: {{hostname: x}}}}\n"
        )
    };
    let list =
        |kind: &str| format!("apiVersion: v1\nkind: {kind}\nitems:\n{}{}", item("a"), item("b"));
    assert_eq!(world.update(&[("1", &list("List"))]).applied, ["a", "b"]);
    let told = world.update(&[("1", &list("Lits"))]);
    assert!(told.deleted.is_empty());
    assert!(told.found[0].contains("Host default/a and 1 more of this file stay"), "{told:?}");
    assert_eq!(world.update(&[("1", &list("List"))]), Told::default());
}

#[test]
fn what_is_kept_gives_way_to_what_is_written_elsewhere() {
    let mut world = World::default();
    world.update(&[("1", &host("a", "x"))]);
    for broken in ["a: [", "kind: Host\n"] {
        world.update(&[("1", &host("a", "x"))]);
        world.update(&[("1", broken)]);
        let told = world.update(&[("1", broken), ("2", &host("a", "moved"))]);
        assert_eq!((told.applied, told.found.len()), (vec!["a".to_owned()], 1));
        assert_eq!(world.in_force(), ["a=moved"]);
    }
}

#[test]
fn a_broken_file_does_not_put_a_duplicate_in_force() {
    let mut world = World::default();
    world.update(&[("1", &host("a", "x")), ("2", &host("a", "y"))]);
    for broken in ["a: [", "kind: Host\n"] {
        world.update(&[("1", broken), ("2", &host("a", "y"))]);
        assert_eq!(world.in_force(), ["a=x"], "{broken}");
    }
}

#[test]
fn of_two_the_first_counts_and_both_places_are_named() {
    let mut world = World::default();
    let told = world.update(&[("1", &host("a", "x")), ("2", &host("a", "y"))]);
    assert_eq!(told.applied.len(), 1);
    assert!(told.found[0].contains("1:3 and 2:3"), "{told:?}");
    assert_eq!(world.update(&[("2", &host("a", "y"))]).applied, ["a"]);
}

#[test]
fn a_file_that_was_never_good_only_complains() {
    let mut world = World::default();
    let told = world.update(&[("1", "a: ["), ("2", &host("a", "x"))]);
    assert_eq!((told.applied.len(), told.found.len()), (1, 1));
    assert!(!told.found[0].contains("in force"), "{told:?}");
}

/// One document of a file.
#[derive(Clone, Debug, PartialEq)]
enum Document {
    Good(u8, u8),
    /// Of an object that lost its `apiVersion`.
    Named(u8),
    Nameless(u8),
}

#[derive(Clone, Debug)]
enum Content {
    Garbled(u8),
    Documents(Vec<Document>),
}

impl Content {
    fn text(&self) -> String {
        match self {
            Self::Garbled(n) => format!("{n}: ["),
            Self::Documents(all) => {
                let text = |d: &Document| match d {
                    Document::Good(name, value) => host(&format!("n{name}"), &format!("h{value}")),
                    Document::Named(name) => format!("kind: Host\nmetadata: {{name: n{name}}}\n"),
                    Document::Nameless(n) => format!("note: {n}\n"),
                };
                all.iter().map(text).collect::<Vec<_>>().join("---\n")
            }
        }
    }

    fn is_good(&self) -> bool {
        let good = |d: &Document| matches!(d, Document::Good(..));
        matches!(self, Self::Documents(all) if all.iter().all(good))
    }

    fn reversed(&self) -> Self {
        match self {
            Self::Documents(all) => Self::Documents(all.iter().rev().cloned().collect()),
            Self::Garbled(_) => self.clone(),
        }
    }
}

type State = BTreeMap<u8, Content>;

fn texts(state: &State) -> BTreeMap<String, String> {
    state.iter().map(|(name, content)| (format!("f{name}"), content.text())).collect()
}

fn states() -> impl Strategy<Value = Vec<State>> {
    let document = prop_oneof![
        6 => (0..4u8, 0..3u8).prop_map(|(n, v)| Document::Good(n, v)),
        1 => (0..4u8).prop_map(Document::Named),
        1 => (0..2u8).prop_map(Document::Nameless),
    ];
    // A name at most once a file: of two in one file their order says which counts.
    let documents = prop::collection::vec(document, 0..5).prop_map(|mut all| {
        let mut seen = BTreeSet::new();
        all.retain(|d| match d {
            Document::Good(n, _) | Document::Named(n) => seen.insert(*n),
            Document::Nameless(n) => seen.insert(100 + n),
        });
        Content::Documents(all)
    });
    let content = prop_oneof![5 => documents, 1 => (0..2u8).prop_map(Content::Garbled)];
    prop::collection::vec(prop::collection::btree_map(0..3u8, content, 0..3), 1..7)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    /// The same files again are no change, and the findings are the same whole list.
    #[test]
    fn the_same_again_is_no_change(states in states()) {
        let mut world = World::default();
        for state in &states {
            let told = world.take(texts(state));
            let again = world.take(texts(state));
            prop_assert_eq!(again, Told { found: told.found, ..Told::default() });
        }
    }

    /// Once all files are good, what was before does not matter.
    #[test]
    fn good_files_are_in_force_whatever_was_before(states in states()) {
        let (mut world, mut fresh) = (World::default(), World::default());
        for state in &states {
            world.take(texts(state));
        }
        let mut last = states.last().unwrap().clone();
        last.retain(|_, content| content.is_good());
        let told = world.take(texts(&last));
        prop_assert_eq!(told.found, fresh.take(texts(&last)).found);
        prop_assert_eq!(world.in_force(), fresh.in_force());
    }

    /// In which order the documents of a file stand does not matter.
    #[test]
    fn the_order_of_documents_does_not_matter(states in states()) {
        let (mut world, mut other) = (World::default(), World::default());
        for state in &states {
            let reversed = state.iter().map(|(n, c)| (*n, c.reversed())).collect();
            world.take(texts(state));
            other.take(texts(&reversed));
            prop_assert_eq!(world.in_force(), other.in_force());
        }
    }

    /// A file that breaks, whole or in one document, takes nothing out of force and changes
    /// nothing.
    #[test]
    fn breaking_changes_nothing(states in states(), file in 0..3u8, at in 0..5usize, whole: bool) {
        let mut world = World::default();
        for state in &states {
            world.take(texts(state));
        }
        let mut last = states.last().unwrap().clone();
        match last.get_mut(&file) {
            Some(content) if whole => *content = Content::Garbled(9),
            Some(Content::Documents(all)) => {
                if let Some(document @ Document::Good(..)) = all.get_mut(at) {
                    *document = Document::Nameless(9);
                }
            }
            _ => {}
        }
        let before = world.in_force();
        let told = world.take(texts(&last));
        prop_assert!(told.applied.is_empty() && told.deleted.is_empty(), "{told:?}");
        prop_assert_eq!(world.in_force(), before);
    }
}
