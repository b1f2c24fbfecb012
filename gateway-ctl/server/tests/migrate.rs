//! `migrate` as people call it: the report, what is written anew, and that the result is taken.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/migrate")
}

fn gateway_ctl(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway-ctl"));
    command.args(args).current_dir(here()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `UPDATE=1` writes the report anew.
#[test]
fn the_report_says_what_becomes_of_each_object() {
    let run = gateway_ctl(&["migrate", "edge-stack.yaml", "limits.yaml"]);
    assert_eq!(run.status.code(), Some(1), "one Mapping is broken: {}", text(&run.stderr));
    let (said, golden) = (text(&run.stdout), here().join("report.txt"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&golden, &said).unwrap();
    }
    assert_eq!(said, std::fs::read_to_string(golden).unwrap());
}

#[test]
fn what_is_written_anew_is_taken() {
    let folder = common::folder("migrate-write");
    let out = folder.join("new");
    let run = gateway_ctl(&["migrate", "edge-stack.yaml", "--write", out.to_str().unwrap()]);
    assert!(text(&run.stderr).contains("objects are written below"), "{}", text(&run.stderr));
    let check = gateway_ctl(&["check", out.to_str().unwrap()]);
    assert!(check.status.success(), "{}", text(&check.stderr));
    let cart = std::fs::read_to_string(out.join("ambassador/mapping-cart.yaml")).unwrap();
    assert!(cart.contains("service: https://cart") && cart.contains("v3alpha1"), "{cart}");
    assert!(out.join("ambassador/certificate-shop.yaml").exists());
    assert!(out.join("default/ratelimit-shop.yaml").exists());
    // Once more: nothing is left to do.
    let again = gateway_ctl(&["migrate", out.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again.stdout));
    assert!(!text(&again.stdout).contains("CAN BE WRITTEN ANEW"), "{}", text(&again.stdout));
}

#[test]
fn a_dump_comes_by_standard_input_and_programs_get_json() {
    let dump = "{apiVersion: v1, kind: List, items: [{apiVersion: getambassador.io/v2, kind: Mapping, \
        metadata: {name: a, namespace: n}, spec: {prefix: /a/, service: a}}]}";
    let mut child = Command::new(env!("CARGO_BIN_EXE_gateway-ctl"))
        .args(["migrate", "-", "--output", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), dump.as_bytes()).unwrap();
    let run = child.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(report["objects"][0]["name"], "a");
    assert_eq!(report["objects"][0]["outcome"], "unchanged");
    assert_eq!(
        report["objects"][0]["rewrite"]["object"]["apiVersion"],
        "getambassador.io/v3alpha1"
    );
    assert_eq!(report["added"][0]["object"]["kind"], "Listener");
}
