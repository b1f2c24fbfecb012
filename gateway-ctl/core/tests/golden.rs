//! Small file pairs: `NAME.in.yaml` are resources, `NAME.out.json` is all that comes of them.
//! `UPDATE=1 cargo test -p gateway-core --test golden` rewrites the second.

#![allow(clippy::unwrap_used)]

#[path = "support/objects.rs"]
mod support;

use std::path::{Path, PathBuf};

use gateway_core::{Engine, ResourceType};
use serde_json::{Map, Value, json};

#[test]
fn what_comes_of_resources_is_as_written_down() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".in.yaml"))
        .collect();
    cases.sort();
    assert!(cases.len() >= 8, "the cases are in {}", folder.display());
    let mut wrong = Vec::new();
    for case in cases {
        let yaml = std::fs::read_to_string(&case).unwrap();
        let engine = support::engine(support::objects(&yaml));
        let got = serde_json::to_string_pretty(&render(&engine)).unwrap() + "\n";
        let expected = case.to_string_lossy().replace(".in.yaml", ".out.json");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&expected, &got).unwrap();
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != got {
            wrong.push(expected);
        }
    }
    assert!(wrong.is_empty(), "different, see UPDATE=1 and git diff: {wrong:#?}");
}

fn render(engine: &Engine) -> Value {
    let mut out = Map::new();
    for resource in engine.resources() {
        let kind = resource.resource_type;
        let body = proto::reflect::to_json(kind.message_name(), &resource.body).unwrap();
        let body = match kind {
            ResourceType::RateLimitObject | ResourceType::AuthorizationObject => {
                json!({"name": resource.name, "object": body["object"]["kind"]})
            }
            _ => body,
        };
        let kind = serde_json::to_value(kind).unwrap();
        let list = out.entry(kind.as_str().unwrap().to_owned()).or_insert(json!([]));
        list.as_array_mut().unwrap().push(body);
    }
    let found: Vec<String> =
        engine.diagnostics().iter().map(|d| d.to_string().replace("test.yaml:", "line ")).collect();
    out.insert("found".to_owned(), json!(found));
    Value::Object(out)
}
