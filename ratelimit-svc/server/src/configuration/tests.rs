use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use clap::Parser as _;
use prometheus_client::registry::Registry;

use super::*;
use crate::args::Args;
use crate::environment::Environment;
use crate::metrics::Naming;

/// A folder, and what is read of it.
struct Folder {
    path: PathBuf,
    door: FileDoor,
    loader: Loader,
}

impl Folder {
    fn new(variables: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("ratelimit-limits-{}-{id}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let args = Args::parse_from(["ratelimit-svc", "--config", "unused"]);
        let settings = args.settings(&Environment::of(variables)).unwrap();
        let metrics = Metrics::register(&mut Registry::default(), true, Naming::default());
        let health = Health::new(false, true);
        health.set_ports_open();
        health.set_store("store", Ok(()));
        let to = Configuration(Live::new(Snapshot::default()));
        let loader = Loader::new(&settings, &metrics, &health, to);
        let door = FileDoor::new(path.clone(), false);
        Self { path, door, loader }
    }

    /// Writes a file, or removes it, and reads everything.
    fn with(&mut self, name: &str, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => std::fs::write(self.path.join(name), text).unwrap(),
            None => std::fs::remove_file(self.path.join(name)).unwrap(),
        }
        self.loader.read(&mut self.door);
        self
    }

    fn in_force(&self) -> String {
        self.loader.to.limit_lines()
    }

    fn is_ready(&self) -> bool {
        self.loader.health.ready.is_ready()
    }

    fn found(&self) -> Vec<String> {
        self.loader.to.0.status().found.iter().map(ToString::to_string).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

const TREE: &str =
    "domain: t\ndescriptors: [{key: a, rate_limit: {unit: day, requests_per_unit: 1}}]";
const TREE_LINE: &str =
    "t.a: unit=DAY requests_per_unit=1, shadow_mode: false, quota_mode: false\n";

fn object(spec: &str) -> String {
    format!(
        "apiVersion: getambassador.io/v3alpha1\nkind: RateLimit\nmetadata: {{name: o, namespace: ns}}\nspec: {spec}\n"
    )
}

const SPEC: &str = "{domain: d, limits: [{pattern: [{k: v}], rate: 2, unit: hour}]}";
const LINE: &str = "d.o.ns-0: unit=HOUR requests_per_unit=2, action: Enforce\n";

#[test]
fn an_empty_folder_is_a_configuration_and_a_broken_one_is_none() {
    let mut folder = Folder::new(&[]);
    folder.loader.read(&mut folder.door);
    assert!(folder.is_ready() && folder.loader.to.load().loaded);
    let mut folder = Folder::new(&[]);
    folder.with("a", Some("domain: t\ncolour: red"));
    assert!(!folder.is_ready() && !folder.loader.to.load().loaded);
    assert!(
        folder.found()[0].ends_with("a: config error, unknown key 'colour'"),
        "{:?}",
        folder.found()
    );
    assert_eq!(folder.with("a", Some(TREE)).in_force(), TREE_LINE);
    assert!(folder.is_ready() && folder.found().is_empty());
}

#[test]
fn each_dialect_keeps_its_own_last_good_state() {
    let mut folder = Folder::new(&[]);
    folder.with("tree.conf", Some(TREE)).with("o.yaml", Some(&object(SPEC)));
    assert_eq!(folder.in_force(), format!("{TREE_LINE}{LINE}"));
    // A bad limit keeps the object's last good version; a bad tree file keeps all of them.
    folder.with("o.yaml", Some(&object(&SPEC.replace("hour", "fortnight"))));
    assert_eq!(folder.in_force(), format!("{TREE_LINE}{LINE}"));
    assert!(
        folder.found()[0].contains("the previous version stays in force"),
        "{:?}",
        folder.found()
    );
    folder.with("more.conf", Some("descriptors: []"));
    assert_eq!((folder.in_force(), folder.found().len()), (format!("{TREE_LINE}{LINE}"), 2));
    folder.with("more.conf", None).with("o.yaml", None);
    assert_eq!((folder.in_force().as_str(), folder.found().len()), (TREE_LINE, 0));
}

#[test]
fn objects_do_not_wait_for_files_that_were_never_good() {
    let mut folder = Folder::new(&[]);
    folder.with("tree.conf", Some("domain: ''")).with("o.yaml", Some(&object(SPEC)));
    assert_eq!(folder.in_force(), LINE);
    assert!(!folder.is_ready());
    folder.with("tree.conf", Some(TREE));
    assert!(folder.is_ready());
}

#[test]
fn objects_of_others_are_left_alone() {
    let others =
        "{ambassador_id: [blue], domain: d, limits: [{pattern: [{k: v}], rate: 2, unit: hour}]}";
    assert_eq!(Folder::new(&[]).with("o", Some(&object(others))).in_force(), "");
    let blue = [("AMBASSADOR_ID", "blue")];
    assert_eq!(Folder::new(&blue).with("o", Some(&object(others))).in_force(), LINE);
    assert_eq!(Folder::new(&blue).with("o", Some(&object(SPEC))).in_force(), "");
    let single = [("AMBASSADOR_NAMESPACE", "other"), ("AMBASSADOR_SINGLE_NAMESPACE", "yes")];
    let mut folder = Folder::new(&single);
    folder.with("o", Some(&object("{nonsense: 1}")));
    assert_eq!((folder.in_force().as_str(), folder.found().len()), ("", 0));
}
