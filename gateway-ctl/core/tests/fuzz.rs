//! Fuzz targets: whatever objects say, and in whatever order they come and go, nothing panics, and
//! what an Envoy would be sent can be decoded, down to the last `Any`. `cargo test` runs each for two
//! seconds on new inputs (`FUZZ_SECONDS`: longer); `cargo bolero test NAME` searches with libFuzzer for
//! as long as one likes.

#![allow(clippy::unwrap_used)]

#[path = "support/files.rs"]
mod files;

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bolero::TypeGenerator;
use gateway_core::{Engine, Settings};
use proto::reflect;
use serde_json::{Value, json};
use service_kit::{Object, ObjectRef};

use files::yaml_files;

/// How long new inputs are tried.
fn time() -> Duration {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|s| s.parse().ok());
    Duration::from_secs(seconds.unwrap_or(2))
}

/// Objects that are right, one of each shape, to be changed.
static OBJECTS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let files =
        yaml_files(&["gateway-ctl/core/tests/golden", "tests/cases/gateway", "docs/examples"]);
    let mut seen = BTreeSet::new();
    let mut objects = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        let case: Option<Value> = service_kit::yaml::parse(&text)
            .ok()
            .and_then(|documents| documents.first().map(|d| d.to_json()));
        let text = case.as_ref().and_then(|c| c["resources"].as_str()).map_or(&*text, |r| r);
        for object in Object::read_documents(text, "f").into_iter().flatten().flatten() {
            let mut shape = Vec::new();
            places(&object.json, &mut Vec::new(), &mut shape);
            if seen.insert((object.reference.kind.clone(), shape)) {
                objects.push(object.json);
            }
        }
    }
    assert!(objects.len() > 100, "{}", objects.len());
    objects
});

/// Every place in a value.
fn places(value: &Value, at: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), v)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect(),
        _ => Vec::new(),
    };
    for (key, value) in inner {
        at.push(key);
        found.push(at.clone());
        places(value, at, found);
        at.pop();
    }
}

fn step<'v>(value: &'v mut Value, key: &str) -> Option<&'v mut Value> {
    match value {
        Value::Object(map) => map.get_mut(key),
        Value::Array(list) => list.get_mut(key.parse::<usize>().ok()?),
        _ => None,
    }
}

/// What stands in a place instead.
#[derive(Clone, Debug, TypeGenerator)]
enum Put {
    Word(u8),
    Text(String),
    Long(u8, u16),
    Number(i64),
    Fraction(i32, u8),
    Yes,
    Nothing,
    List,
    Map,
    /// It stands there twice, or inside itself.
    Listed,
    Nested,
    /// What stands in a place of another object.
    Other(u8, u16),
}

const WORDS: &[&str] = &[
    "",
    "*",
    "*.test",
    "a.test",
    "a.test:443",
    ".*",
    "(",
    "(a|b)*",
    "[a-",
    "\\",
    "\\1",
    "%",
    "%REQ(x)%",
    "%DOWNSTREAM_TLS_VERSION%",
    "https://",
    "https://a:1",
    "http://b:99999",
    "[::1]:80",
    "127.0.0.1",
    "10.0.0.0/8",
    "/",
    "//",
    "/x?y#z",
    "host:b",
    ":authority",
    ":path",
    "a b",
    "\r\n",
    "\u{0}",
    "é",
    "v1.2",
    "v1.3",
    "default",
    "ambassador",
    "endpoint",
    "consul",
    "x.default",
    "-1",
    "1e9",
    "null",
    "true",
    "grpc",
    "http",
    "HTTP",
    "HTTPS",
    "TLS",
    "TCP",
    "UDP",
    "PROXY",
    "SECURE",
    "XFP",
    "Route",
    "Redirect",
    "Reject",
    "round_robin",
    "ring_hash",
    "maglev",
    "least_request",
    "---\n",
    "{",
    "apiVersion: v1",
];

/// A step of a configuration's life.
#[derive(Clone, Debug, TypeGenerator)]
enum Step {
    /// An object comes as it is.
    Apply(u8),
    /// One comes with something else in a place of its specification.
    Change(u8, u16, Put),
    /// The same in any place, also of what names it.
    Anywhere(u8, u16, Put),
    /// One has a field that another has.
    Graft(u8, u8, u16),
    /// One goes.
    Delete(u8),
    /// Envoy refuses something.
    Refuse(u8),
    /// The time, in seconds.
    Time(i64),
}

fn pick<T>(of: &[T], number: usize) -> Option<&T> {
    of.get(number.checked_rem(of.len())?)
}

fn base(number: u8) -> Value {
    pick(&OBJECTS, usize::from(number)).cloned().unwrap_or_default()
}

impl Put {
    fn value(&self, before: &Value) -> Value {
        match self {
            Self::Word(n) => json!(pick(WORDS, usize::from(*n))),
            Self::Text(text) => json!(text),
            Self::Long(letter, count) => {
                let letter = char::from(*letter % 127).to_string();
                json!(letter.repeat(usize::from(*count)))
            }
            Self::Number(n) => json!(n),
            Self::Fraction(n, d) => json!(f64::from(*n) / f64::from(*d)),
            Self::Yes => json!(true),
            Self::Nothing => Value::Null,
            Self::List => json!([]),
            Self::Map => json!({}),
            Self::Listed => json!([before, before]),
            Self::Nested => json!({ "a": before, "spec": before }),
            Self::Other(object, place) => {
                let mut other = base(*object);
                let mut all = Vec::new();
                places(&other, &mut Vec::new(), &mut all);
                let at = pick(&all, usize::from(*place)).cloned().unwrap_or_default();
                at.iter()
                    .try_fold(&mut other, |value, key| step(value, key))
                    .map_or(Value::Null, |value| value.take())
            }
        }
    }
}

fn changed(object: u8, place: u16, put: &Put, all_of_it: bool) -> Value {
    let mut object = base(object);
    let mut all = Vec::new();
    places(&object, &mut Vec::new(), &mut all);
    let told = |at: &&Vec<String>| {
        all_of_it || !["apiVersion", "kind", "metadata"].contains(&at[0].as_str())
    };
    let all: Vec<_> = all.iter().filter(told).collect();
    let Some(at) = pick(&all, usize::from(place)) else { return object };
    if let Some(value) = at.iter().try_fold(&mut object, |value, key| step(value, key)) {
        *value = put.value(value);
    }
    object
}

fn grafted(to: u8, from: u8, field: u16) -> Value {
    let (mut to, from) = (base(to), base(from));
    let fields: Vec<_> = from["spec"].as_object().into_iter().flatten().collect();
    if let (Some((name, value)), Some(spec)) =
        (pick(&fields, usize::from(field)), to["spec"].as_object_mut())
    {
        spec.insert((*name).clone(), (*value).clone());
    }
    to
}

/// As a user would write it: through the reader of texts.
fn read(object: &Value) -> Option<Arc<Object>> {
    let read = Object::read_documents(&object.to_string(), "f").ok()?;
    read.into_iter().flatten().next().map(Arc::new)
}

fn settings() -> Settings {
    Settings { services: Some(Vec::new()), ..Settings::default() }
}

/// All that anybody can ask of an engine.
fn check(engine: &Engine) {
    let mut names = BTreeSet::new();
    for resource in engine.resources() {
        let message = resource.resource_type.message_name();
        let json = reflect::to_json(message, &resource.body);
        assert!(json.is_ok(), "{message} {}: {json:?}", resource.name);
        assert!(names.insert((resource.resource_type, resource.name.clone())));
    }
    let found = engine.diagnostics();
    for d in &found {
        assert!(!d.message.is_empty() && !d.to_string().contains('\u{0}'), "{d:?}");
    }
    engine.overview();
    let references: Vec<ObjectRef> = engine.objects().into_iter().map(|row| row.object).collect();
    for reference in references.iter().take(5) {
        assert!(engine.object(reference, &found).is_some());
    }
    engine.verdicts(references, &found);
}

fn live(steps: &[Step]) {
    let mut engine = Engine::new(settings());
    for one in steps {
        let object = match one {
            Step::Apply(n) => base(*n),
            Step::Change(n, place, put) => changed(*n, *place, put, false),
            Step::Anywhere(n, place, put) => changed(*n, *place, put, true),
            Step::Graft(to, from, field) => grafted(*to, *from, *field),
            Step::Delete(n) => {
                let gone = engine.objects();
                if let Some(row) = pick(&gone, usize::from(*n)) {
                    engine.apply(Vec::new(), vec![row.object.clone()]);
                }
                continue;
            }
            Step::Refuse(n) => {
                let all: Vec<_> =
                    engine.resources().map(|r| (r.resource_type, r.name.clone())).collect();
                if let Some((resource_type, name)) = pick(&all, usize::from(*n)) {
                    engine.reject(*resource_type, name, "no");
                    if n % 2 == 0 && engine.ask_again(*resource_type, name).is_some() && n % 4 == 0
                    {
                        engine.heal(*resource_type, name);
                    }
                }
                continue;
            }
            Step::Time(now) => {
                engine.set_time(*now);
                continue;
            }
        };
        engine.apply(read(&object).into_iter().collect(), Vec::new());
    }
    check(&engine);
    let all: Vec<ObjectRef> = engine.objects().into_iter().map(|row| row.object).collect();
    engine.apply(Vec::new(), all);
    let empty = Engine::new(settings());
    assert_eq!(
        engine.resources().collect::<Vec<_>>(),
        empty.resources().collect::<Vec<_>>(),
        "nothing stays of what is gone"
    );
    assert_eq!(engine.diagnostics(), empty.diagnostics());
}

#[test]
fn lives() {
    bolero::check!().with_test_time(time()).with_type::<Vec<Step>>().for_each(|steps| live(steps));
}

#[test]
fn texts() {
    bolero::check!().with_test_time(time()).for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let mut engine = Engine::new(settings());
        let read = Object::read_documents(&text, "f").into_iter().flatten().flatten();
        engine.apply(read.map(Arc::new).collect(), Vec::new());
        check(&engine);
    });
}
