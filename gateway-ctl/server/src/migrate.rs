//! `migrate`: reads resources of Emissary and Edge Stack and files of envoyproxy/ratelimit, says what
//! becomes of them, and writes anew what can be. What becomes of what is the core's to know.

mod text;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gateway_core::Settings;
use gateway_core::migration::{self, Addresses, LimitsFile, Report, limits};
use serde_json::Value;
use service_kit::Object;

use crate::output::{self, Format};
use crate::{check, folder};

pub use self::text::write as as_text;

/// The name that stands for standard input.
const STDIN: &str = "-";

/// Reads files, folders and standard input (`-`), and says what becomes of what they hold.
///
/// # Errors
/// When something cannot be read; the text names it.
pub fn assess(paths: &[PathBuf], settings: Settings, addresses: &Addresses) -> io::Result<Report> {
    let (mut files, mut limits) = (BTreeMap::new(), Vec::new());
    for (name, text) in read(paths)? {
        match limits::read(&name, &text) {
            Some(file) => limits.push(file),
            None => {
                files.insert(name, text);
            }
        }
    }
    let ambassador_id = settings.ambassador_id.clone();
    let (_, objects, found) = check::load_texts(files, settings);
    limits.extend(objects.iter().flat_map(in_config_map));
    Ok(migration::assess(&objects, found, limits, &ambassador_id, addresses))
}

fn read(paths: &[PathBuf]) -> io::Result<BTreeMap<String, String>> {
    let (stdin, paths): (Vec<_>, Vec<_>) =
        paths.iter().cloned().partition(|p| *p == Path::new(STDIN));
    let mut files = folder::read(&paths)?;
    if !stdin.is_empty() {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        files.insert("standard input".to_owned(), text);
    }
    Ok(files)
}

/// Files of envoyproxy/ratelimit are in a ConfigMap where it runs in a cluster.
fn in_config_map(object: &Arc<Object>) -> Vec<LimitsFile> {
    if object.reference.kind != "ConfigMap" {
        return Vec::new();
    }
    let data = object.json.get("data").and_then(Value::as_object);
    let texts = data.into_iter().flatten().filter_map(|(key, v)| Some((key, v.as_str()?)));
    texts
        .filter_map(|(key, text)| limits::read(&format!("{}/{key}", object.reference), text))
        .collect()
}

/// Writes what is written anew below `folder`, a file for each, and gives how many there are.
///
/// # Errors
/// When a file cannot be written; the text names it.
pub fn write(report: &Report, folder: &Path) -> Result<usize, String> {
    let rewrites = report.objects.iter().filter_map(|e| e.rewrite.as_ref()).chain(&report.added);
    let objects = rewrites.flat_map(|r| r.object.iter().chain(&r.beside));
    let all: Vec<&Value> =
        objects.chain(report.limits.iter().filter_map(|l| l.resource.as_ref())).collect();
    for object in &all {
        let path = folder.join(file_name(object));
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .map_err(|e| format!("cannot make {}: {e}", parent.display()))?;
        }
        output::file(&path, &Format::Yaml.write(object)?)?;
    }
    Ok(all.len())
}

/// `NAMESPACE/KIND-NAME.yaml`, of characters that every file system takes.
fn file_name(object: &Value) -> PathBuf {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or("default");
    let plain = |text: &str| -> String {
        let keep = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let safe = |(i, c): (usize, char)| if keep(c) || (c == '.' && i > 0) { c } else { '-' };
        text.chars().enumerate().map(safe).collect()
    };
    let name = format!("{}-{}.yaml", text("/kind").to_lowercase(), text("/metadata/name"));
    Path::new(&plain(text("/metadata/namespace"))).join(plain(&name))
}
