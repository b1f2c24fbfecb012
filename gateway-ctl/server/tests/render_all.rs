//! What is rendered of every case and every example, Envoy takes: the newest and an older one.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../core/tests/support/files.rs"]
mod files;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use gateway_core::{Engine, Settings};
use gateway_ctl::render;
use serde_json::Value;
use service_kit::Object;

use files::yaml_files;

/// The objects of a case or a file of resources; a case's usual Listener and Host are put first.
fn objects(path: &Path) -> Vec<Arc<Object>> {
    let text = std::fs::read_to_string(path).unwrap();
    let case: Option<Value> = yaml_serde::from_str(&text).ok();
    let case = case.filter(|c| c["resources"].is_string());
    let mut yaml = String::new();
    if case.as_ref().is_some_and(|c| c["listeners"] == "http") {
        yaml += "apiVersion: getambassador.io/v3alpha1\nkind: Listener\nmetadata: {name: harness}\n\
                 spec: {port: 8080, protocol: HTTP, securityModel: INSECURE, hostBinding: {namespace: {from: ALL}}}\n\
                 ---\napiVersion: getambassador.io/v3alpha1\nkind: Host\nmetadata: {name: harness}\n\
                 spec: {hostname: '*', requestPolicy: {insecure: {action: Route}}}\n---\n";
    }
    yaml += case.as_ref().and_then(|c| c["resources"].as_str()).unwrap_or(&text);
    let (objects, _) = Object::from_yaml(&yaml, "case").unwrap();
    objects.into_iter().map(Arc::new).collect()
}

#[test]
fn what_is_rendered_is_what_envoy_takes() {
    let files =
        yaml_files(&["tests/cases/gateway", "docs/examples", "gateway-ctl/core/tests/golden"]);
    assert!(files.len() > 30, "{files:?}");
    let folder = common::folder("render-all");
    let admin = common::free_port();
    let mut rendered = Vec::new();
    for (n, file) in files.iter().enumerate() {
        let mut engine = Engine::new(Settings::default());
        engine.apply(objects(file), Vec::new());
        let bootstrap = render::static_bootstrap(&engine, admin)
            .unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let path = folder.join(format!("{n}.json"));
        std::fs::write(&path, bootstrap.to_string()).unwrap();
        rendered.push((file, path));
    }
    let envoys: Vec<PathBuf> =
        [common::envoy(), common::old_envoy()].into_iter().flatten().collect();
    let mut refused = Vec::new();
    for envoy in &envoys {
        // Several at a time: each is a process that mostly starts.
        for some in rendered.chunks(4) {
            let running: Vec<_> = some
                .iter()
                .map(|(file, path)| {
                    let child = Command::new(envoy)
                        .args(["--mode", "validate", "--log-level", "critical", "-c"])
                        .arg(path)
                        .stdout(std::process::Stdio::null())
                        .stderr(std::process::Stdio::piped())
                        .spawn()
                        .unwrap();
                    (file, child)
                })
                .collect();
            for (file, child) in running {
                let output = child.wait_with_output().unwrap();
                if !output.status.success() {
                    let why = String::from_utf8_lossy(&output.stderr).into_owned();
                    refused.push(format!("{} by {}: {why}", file.display(), envoy.display()));
                }
            }
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}
