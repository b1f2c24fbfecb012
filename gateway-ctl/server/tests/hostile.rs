//! Whatever stands in any field of any kind: nothing panics, and Envoy takes what comes of it.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../core/tests/support/files.rs"]
mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use gateway_core::{Engine, Resource, ResourceType as T, Settings};
use prost::Message as _;
use prost_types::Any;
use proto::envoy::config::cluster::v3::Cluster;
use proto::envoy::config::core::v3::{TypedExtensionConfig, address, socket_address};
use proto::envoy::config::listener::v3::{Listener, filter};
use proto::envoy::config::route::v3::RouteConfiguration;
use proto::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use serde_json::{Value, json};
use service_kit::Object;

use files::yaml_files;

/// One in so many variants is tried, unless `HOSTILE_EACH` says otherwise.
const EACH: usize = 11;

/// Kinds of Kubernetes' own that are read.
const BUILTIN: &[&str] =
    &["Secret", "Service", "Endpoints", "EndpointSlice", "Ingress", "IngressClass"];

/// The part of Envoy's bootstrap that is needed here.
#[derive(Clone, PartialEq, prost::Message)]
struct Bootstrap {
    #[prost(message, optional, tag = "2")]
    static_resources: Option<Static>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Static {
    #[prost(message, repeated, tag = "1")]
    listeners: Vec<Listener>,
    #[prost(message, repeated, tag = "2")]
    clusters: Vec<Cluster>,
}

/// What stands in a field instead.
fn values() -> Vec<Value> {
    let mut values = vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(1),
        json!(99_999),
        json!(4_294_967_296_u64),
        json!(u64::MAX),
        json!(1.5),
        json!({}),
        json!([]),
        json!([null]),
        json!({"a": {"b": [1]}}),
        json!([{"a": "b"}, "c"]),
    ];
    for text in [
        "",
        " ",
        "*",
        "a b",
        "a\nb",
        "a\u{0}b",
        "é",
        "%",
        "%REQ(",
        "%NOPE%",
        "%REQ(:path)%",
        "(",
        "[a-",
        "(?=a)",
        "(a){1000}{1000}",
        "\\",
        "\\9",
        "http://",
        "https://a:99999/x",
        "a:0",
        "[::1]:80",
        "-1",
        "10.0.0.0/99",
        "://",
        "host:name",
        ":method",
        "a,b",
        "v1.9",
        "/",
        "//",
        "/x?y",
        "\"",
        "'}]",
    ] {
        values.push(json!(text));
    }
    values.push(json!("a".repeat(20_000)));
    values.push(json!("(a|b)*".repeat(2_000)));
    values.push(json!("é".repeat(300)));
    values
}

fn objects_of(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let case: Option<Value> = yaml_serde::from_str(&text).ok();
    let text = match case.as_ref().and_then(|c| c["resources"].as_str()) {
        Some(resources) => resources.to_owned(),
        None => text,
    };
    Object::from_yaml(&text, "case")
        .map_or_else(|_| Vec::new(), |(objects, _)| objects.into_iter().map(|o| o.json).collect())
}

/// Places below `spec`, with numbers of lists as 0.
fn places(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                found.insert(at.clone());
                places(value, &at, found);
            }
        }
        Value::Array(items) => {
            if let Some(first) = items.first() {
                found.insert(format!("{at}/0"));
                places(first, &format!("{at}/0"), found);
            }
        }
        _ => {}
    }
}

/// Every place that a kind's schema has, with what lies between made as needed.
fn schema_places(schema: &Value, at: &[String], found: &mut BTreeSet<Vec<String>>) {
    if at.len() > 7 {
        return;
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        let at: Vec<String> = at.iter().cloned().chain([name.clone()]).collect();
        found.insert(at.clone());
        schema_places(schema, &at, found);
    }
    for (key, name) in [("items", "0"), ("additionalProperties", "x-name")] {
        if schema[key].is_object() {
            let at: Vec<String> = at.iter().cloned().chain([name.to_owned()]).collect();
            found.insert(at.clone());
            schema_places(&schema[key], &at, found);
        }
    }
}

/// Sets a place, with objects and lists on the way to it; `false` when something else is in the way.
fn put(root: &mut Value, place: &[String], value: Value) -> bool {
    let Some((name, rest)) = place.split_first() else {
        *root = value;
        return true;
    };
    if name == "0" {
        if root.is_null() {
            *root = json!([]);
        }
        let Some(items) = root.as_array_mut() else { return false };
        if items.is_empty() {
            items.push(Value::Null);
        }
        return items.first_mut().is_some_and(|first| put(first, rest, value));
    }
    if root.is_null() {
        *root = json!({});
    }
    let Some(fields) = root.as_object_mut() else { return false };
    put(fields.entry(name.clone()).or_insert(Value::Null), rest, value)
}

fn object(json: &Value) -> Option<Arc<Object>> {
    let (mut objects, _) = Object::from_yaml(&json.to_string(), "variant").ok()?;
    objects.pop().map(Arc::new)
}

/// Everything that ever came of a variant, once, and of which.
#[derive(Default)]
struct Seen {
    resources: BTreeMap<(T, String, String), (Resource, String)>,
}

impl Seen {
    fn add(&mut self, resources: impl IntoIterator<Item = Resource>, variant: &str) {
        for r in resources {
            let key = (r.resource_type, r.name.clone(), r.version.clone());
            self.resources.entry(key).or_insert_with(|| (r, variant.to_owned()));
        }
    }

    /// Everything as static parts under names and ports of their own.
    fn parts(&self) -> Vec<(Part, String)> {
        let of =
            |wanted: T| self.resources.values().filter(move |(r, _)| r.resource_type == wanted);
        let mut parts = Vec::new();
        let mut names = BTreeSet::new();
        for (n, (r, variant)) in of(T::Cluster).enumerate() {
            let mut cluster = Cluster::decode(&*r.body).unwrap();
            if !names.insert(cluster.name.clone()) {
                cluster.name = format!("{}-{n}", cluster.name);
            }
            if let Some(endpoints) = &mut cluster.load_assignment {
                endpoints.cluster_name.clone_from(&cluster.name);
            }
            // Endpoints come by another way.
            if cluster.eds_cluster_config.is_none() {
                parts.push((Part::Cluster(Box::new(cluster)), variant.clone()));
            }
        }
        let (listener, _) = of(T::Listener).next().expect("a Listener");
        let carrier = Listener::decode(&*listener.body).unwrap();
        for (r, variant) in of(T::Route) {
            let table = RouteConfiguration::decode(&*r.body).unwrap();
            parts.push((
                Part::Listener(Box::new(inline(carrier.clone(), Some(&table), None))),
                variant.clone(),
            ));
        }
        for (r, variant) in of(T::Extension) {
            let config = TypedExtensionConfig::decode(&*r.body).unwrap();
            let inlined = inline(carrier.clone(), None, Some(&config));
            parts.push((Part::Listener(Box::new(inlined)), variant.clone()));
        }
        for (r, variant) in of(T::Listener) {
            let listener = Listener::decode(&*r.body).unwrap();
            parts.push((Part::Listener(Box::new(inline(listener, None, None))), variant.clone()));
        }
        parts
    }
}

#[derive(Clone)]
enum Part {
    Cluster(Box<Cluster>),
    Listener(Box<Listener>),
}

/// A Listener with its route table, or with one more filter, in place.
fn inline(
    mut listener: Listener,
    table: Option<&RouteConfiguration>,
    extension: Option<&TypedExtensionConfig>,
) -> Listener {
    for filter in listener.filter_chains.iter_mut().flat_map(|c| &mut c.filters) {
        let Some(filter::ConfigType::TypedConfig(any)) = &mut filter.config_type else { continue };
        if !any.type_url.ends_with("HttpConnectionManager") {
            continue;
        }
        let mut manager = hcm::HttpConnectionManager::decode(&*any.value).unwrap();
        let table = table.cloned().unwrap_or_default();
        manager.route_specifier =
            Some(hcm::http_connection_manager::RouteSpecifier::RouteConfig(table));
        manager.http_filters.retain(|f| {
            !matches!(f.config_type, Some(hcm::http_filter::ConfigType::ConfigDiscovery(_)))
        });
        if let Some(extension) = extension {
            let config: Any = extension.typed_config.clone().unwrap();
            manager.http_filters.insert(
                0,
                hcm::HttpFilter {
                    name: extension.name.clone(),
                    config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
                    ..hcm::HttpFilter::default()
                },
            );
        }
        any.value = manager.encode_to_vec();
    }
    listener
}

/// Writes the parts as one bootstrap and has Envoy look at it.
fn validate(envoy: &Path, folder: &Path, parts: &[(Part, String)]) -> Result<(), String> {
    let mut all = Static::default();
    for (n, (part, _)) in parts.iter().enumerate() {
        match part.clone() {
            Part::Cluster(cluster) => all.clusters.push(*cluster),
            Part::Listener(mut listener) => {
                listener.name = format!("{}-{n}", listener.name);
                if let Some(address::Address::SocketAddress(socket)) =
                    listener.address.as_mut().and_then(|a| a.address.as_mut())
                {
                    // A loopback address of its own each, so that they do not meet.
                    if socket.address == "0.0.0.0" || socket.address == "127.0.0.1" {
                        socket.address = format!("127.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255);
                    }
                    socket.port_specifier =
                        Some(socket_address::PortSpecifier::PortValue(1 + (n as u32 % 60_000)));
                }
                all.listeners.push(*listener);
            }
        }
    }
    let file = folder.join("bootstrap.pb");
    std::fs::write(&file, Bootstrap { static_resources: Some(all) }.encode_to_vec()).unwrap();
    let output = Command::new(envoy)
        // It makes the files that it is told to log to.
        .current_dir(folder)
        .args(["--mode", "validate", "--log-level", "critical", "-c", file.to_str().unwrap()])
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    Err(text.chars().take(600).collect())
}

/// The parts that Envoy refuses, and its words; clusters are there each time, as others need them.
fn culprits(
    envoy: &Path,
    folder: &Path,
    always: &[(Part, String)],
    parts: &[(Part, String)],
    found: &mut Vec<String>,
) {
    if parts.is_empty() || found.len() >= 25 {
        return;
    }
    let all: Vec<_> = always.iter().chain(parts).cloned().collect();
    let Err(why) = validate(envoy, folder, &all) else { return };
    if let [(_, variant)] = parts {
        found.push(format!("{variant}\n    {why}"));
        return;
    }
    let (left, right) = parts.split_at(parts.len() / 2);
    culprits(envoy, folder, always, left, found);
    culprits(envoy, folder, always, right, found);
}

/// Variants of every object: each of its fields, and each that its kind's schema has.
fn variants(base: &[Value]) -> Vec<(Value, String)> {
    let mut seen = BTreeSet::new();
    let mut variants = Vec::new();
    let values = values();
    for object in base {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        let mut own = BTreeSet::new();
        places(object, "", &mut own);
        own.retain(|place| !["/apiVersion", "/kind", "/metadata"].contains(&&**place));
        own.retain(|place| !["/metadata/name", "/metadata/namespace"].contains(&&**place));
        let mut all: BTreeSet<Vec<String>> = own
            .iter()
            .map(|p| p.split('/').skip(1).map(|s| s.replace("~1", "/")).collect())
            .collect();
        for definition in gateway_core::crd::DEFINITIONS.iter().filter(|d| d.kind == kind) {
            let crd = definition.to_json();
            let versions = crd["spec"]["versions"].as_array().cloned().unwrap_or_default();
            if let Some(version) = versions.last() {
                schema_places(
                    &version["schema"]["openAPIV3Schema"]["properties"]["spec"],
                    &["spec".to_owned()],
                    &mut all,
                );
            }
        }
        for place in all {
            // Whether a script is one only Envoy knows; its refusal is told as any other.
            let script = place.last().is_some_and(|name| name == "lua_scripts");
            if script || !seen.insert((kind.clone(), place.clone())) {
                continue;
            }
            for (n, value) in values.iter().enumerate() {
                let mut variant = object.clone();
                if put(&mut variant, &place, value.clone()) {
                    let text =
                        format!("{kind} {} = value {n} {:.60}", place.join("."), value.to_string());
                    variants.push((variant, text));
                }
            }
        }
    }
    variants
}

#[test]
fn any_value_in_any_field_is_said_or_taken_and_envoy_agrees() {
    let files = yaml_files(&["tests/cases/gateway", "docs/examples"]);
    let edge = json!([
        {"apiVersion": "getambassador.io/v3alpha1", "kind": "Listener", "metadata": {"name": "edge"},
            "spec": {"port": 8080, "protocol": "HTTP", "securityModel": "XFP", "hostBinding": {"namespace": {"from": "ALL"}}}},
        {"apiVersion": "getambassador.io/v3alpha1", "kind": "Host", "metadata": {"name": "any"},
            "spec": {"hostname": "*", "requestPolicy": {"insecure": {"action": "Route"}}}},
        {"apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping", "metadata": {"name": "other"},
            "spec": {"hostname": "*", "prefix": "/other/", "service": "other"}},
        {"apiVersion": "getambassador.io/v3alpha1", "kind": "KubernetesServiceResolver",
            "metadata": {"name": "names"}, "spec": {}},
    ]);
    let mut base: Vec<Value> = edge.as_array().unwrap().clone();
    base.extend(files.iter().flat_map(|f| objects_of(f)));
    let defined = gateway_core::crd::DEFINITIONS.iter().map(|d| d.kind);
    let kinds: BTreeSet<&str> = defined.chain(BUILTIN.iter().copied()).collect();
    base.retain(|o| o["kind"].as_str().is_some_and(|kind| kinds.contains(kind)));
    let tried: BTreeSet<&str> = base.iter().filter_map(|o| o["kind"].as_str()).collect();
    assert_eq!(tried, kinds, "each kind is tried");

    let mut engine = Engine::new(Settings::default());
    engine.apply(edge.as_array().unwrap().iter().filter_map(object).collect(), Vec::new());
    let mut seen = Seen::default();
    seen.add(engine.resources().cloned(), "the base");
    let all = variants(&base);
    let count = all.len();
    let each = std::env::var("HOSTILE_EACH").ok().and_then(|n| n.parse().ok()).unwrap_or(EACH);
    for (n, (variant, text)) in all.into_iter().enumerate() {
        // Spread over the whole, so that each kind of field meets each kind of value somewhere.
        if n % each != 0 {
            continue;
        }
        let Some(object) = object(&variant) else { continue };
        let reference = object.reference.clone();
        let output = engine.apply(vec![object], Vec::new());
        seen.add(output.changed, &text);
        for d in engine.diagnostics().iter().filter(|d| d.object == reference) {
            assert!(!d.message.is_empty(), "{text}");
        }
        engine.apply(Vec::new(), vec![reference]);
        // What the object took the place of.
        engine
            .apply(edge.as_array().unwrap().iter().filter_map(self::object).collect(), Vec::new());
    }
    let parts = seen.parts();
    println!("{count} variants, {} different parts of configuration", parts.len());
    let Some(envoy) = common::envoy() else { return };
    let folder = common::folder("hostile");
    let (clusters, listeners): (Vec<_>, Vec<_>) =
        parts.into_iter().partition(|(part, _)| matches!(part, Part::Cluster(_)));
    let mut found = Vec::new();
    culprits(&envoy, &folder, &[], &clusters, &mut found);
    assert!(found.is_empty(), "Envoy refuses clusters:\n{}", found.join("\n"));
    culprits(&envoy, &folder, &clusters, &listeners, &mut found);
    assert!(found.is_empty(), "Envoy refuses listeners:\n{}", found.join("\n"));
}
