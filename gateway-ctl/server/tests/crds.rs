//! The files that are made from the types are as the types say; `make crds` writes them anew.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gateway_ctl::crds::{self, Content, Only};

/// Files below `folder`, by their paths from there.
fn below(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for path in std::fs::read_dir(folder).unwrap().flatten().map(|e| e.path()) {
        let name = path.strip_prefix(folder).unwrap().to_owned();
        if path.is_dir() {
            found.extend(below(&path).into_iter().map(|inner| name.join(inner)));
        } else {
            found.insert(name);
        }
    }
    found
}

fn assert_written(content: Content, folder: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let files = crds::files(Only::All, content).unwrap();
    for (name, text) in &files {
        let written = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(written == *text, "{name} is not what the types say: run `make crds`");
    }
    let names: BTreeSet<PathBuf> = files.into_iter().map(|(name, _)| name.into()).collect();
    assert_eq!(below(&folder), names, "files that nothing writes");
}

#[test]
fn definitions_are_written() {
    assert_written(Content::Definition, "deploy/charts/tollgate-crds/files");
}

#[test]
fn the_reference_is_written() {
    assert_written(Content::Reference, "docs/reference");
}

#[test]
fn a_stream_is_yaml_that_our_own_reader_takes() {
    let own = crds::stream(Only::Own, Content::Definition).unwrap();
    let documents = service_kit::yaml::parse(&own).unwrap();
    let kinds: Vec<_> =
        documents.iter().map(|d| d.to_json()["spec"]["names"]["kind"].clone()).collect();
    assert_eq!(kinds, ["Filter", "FilterPolicy", "RateLimit"]);
}
