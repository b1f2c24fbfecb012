//! The table of causes in the documentation is the program's.

#![allow(clippy::unwrap_used)]

use gateway_ctl::explain;

const BEGIN: &str =
    "<!-- causes: written by UPDATE=1 cargo test -p gateway-ctl --test causes -->\n";
const END: &str = "<!-- end of causes -->";

#[test]
fn the_documented_causes_are_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/explain.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (head, rest) = page.split_once(BEGIN).unwrap();
    let (there, tail) = rest.split_once(END).unwrap();
    let wanted = explain::markdown();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, format!("{head}{BEGIN}{wanted}{END}{tail}")).unwrap();
    } else {
        assert!(there == wanted, "docs/explain.md is old: UPDATE=1 cargo test --test causes");
    }
    assert!(explain::all_causes().count() >= 25);
}
