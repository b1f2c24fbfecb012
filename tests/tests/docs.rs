//! The documentation says what is true: its YAML is taken by gateway-ctl, its files and Make targets
//! exist.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::TempDir;
use e2e::process::program;

const PROGRAMS: [&str; 3] = ["gateway-ctl", "ratelimit-svc", "authz-svc"];

/// Commands of gateway-ctl that are written without its name.
const COMMANDS: [&str; 4] = ["run", "serve", "explain", "envoy-bootstrap"];

fn pages() -> Vec<PathBuf> {
    let top = e2e::root().join("..");
    let mut pages = vec![top.join("README.md"), top.join("CONTRIBUTING.md")];
    for folder in ["docs", "docs/guides", "docs/migration"] {
        let entries = std::fs::read_dir(top.join(folder)).into_iter().flatten();
        let files = entries.flatten().map(|e| e.path());
        pages.extend(files.filter(|p| p.extension().is_some_and(|e| e == "md")));
    }
    pages
}

/// The fenced blocks of a page that begin with this word.
fn blocks(page: &Path, language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(page).unwrap();
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).filter_map(|b| b.split("```").next()).map(str::to_owned).collect()
}

#[test]
fn yaml_in_the_documentation_has_no_errors() {
    let folder = TempDir::new("docs");
    let mut count = 0;
    for page in pages() {
        for text in blocks(&page, "yaml").iter().filter(|t| t.contains("apiVersion:")) {
            count += 1;
            folder.write("block.yaml", text);
            let run = Command::new(program("gateway-ctl"))
                .arg("check")
                .arg(folder.path())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&run.stderr).into_owned();
            assert!(run.status.success(), "{}:\n{text}\n{said}", page.display());
        }
    }
    assert!(count > 0, "no page has resources");
}

#[test]
fn examples_have_nothing_to_complain_about() {
    for folder in std::fs::read_dir(e2e::root().join("../docs/examples")).unwrap().flatten() {
        if folder.file_name() == "tokens" {
            continue;
        }
        let run =
            Command::new(program("gateway-ctl")).arg("check").arg(folder.path()).output().unwrap();
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(run.status.success() && !said.contains("warning"), "{said}");
    }
}

#[test]
fn links_lead_somewhere_and_make_targets_exist() {
    let makefile = std::fs::read_to_string(e2e::root().join("../Makefile")).unwrap();
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|l| l.split(')').next()) {
            let file = link.split('#').next().unwrap();
            if !file.is_empty() && !file.contains("://") {
                assert!(page.parent().unwrap().join(file).exists(), "{}: {link}", page.display());
            }
        }
        for target in text.split("`make ").skip(1).filter_map(|t| t.split(['`', ' ']).next()) {
            assert!(
                makefile.contains(&format!("\n{target}:")),
                "{}: make {target}",
                page.display()
            );
        }
    }
}

/// What stands between backticks in a line of text.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|span| !span.contains('\n'))
}

#[test]
fn commands_in_the_text_have_the_flags_that_are_written() {
    let mut helps: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut flags = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for span in spans(&text) {
            let mut words: Vec<&str> = span.split_whitespace().collect();
            // As in `serve --ratelimit-admin`.
            if words.len() > 1 && COMMANDS.contains(&words[0]) {
                words.insert(0, "gateway-ctl");
            }
            let Some(name) = words.first().filter(|w| PROGRAMS.contains(w)) else { continue };
            let is_command = |w: &&&str| w.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
            let command = words.get(1).filter(|w| !w.starts_with('-')).filter(is_command);
            let command = command.copied().unwrap_or_default();
            let key = ((*name).to_owned(), command.to_owned());
            let help = helps.entry(key).or_insert_with(|| {
                let run = Command::new(program(name))
                    .args([command, "--help"].iter().filter(|a| !a.is_empty()))
                    .output()
                    .unwrap();
                let said = String::from_utf8_lossy(&run.stdout).into_owned();
                assert!(run.status.success(), "{}: {span}", page.display());
                said
            });
            for flag in words.iter().filter(|w| w.starts_with("--")) {
                let flag = flag.split('=').next().unwrap().trim_end_matches([',', ']', '…']);
                assert!(help.contains(flag), "{}: `{span}` has no {flag}", page.display());
                flags += 1;
            }
        }
    }
    assert!(flags > 4, "{flags} flags");
}

#[test]
fn commands_of_the_help_texts_work() {
    for name in PROGRAMS {
        for flag in ["--help", "--version"] {
            let run = Command::new(program(name)).arg(flag).output().unwrap();
            assert!(run.status.success() && !run.stdout.is_empty(), "{name} {flag}");
        }
    }
}
