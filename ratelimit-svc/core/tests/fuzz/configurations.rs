//! Files of either dialect: taken or refused in words, and what is taken can be asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bolero::TypeGenerator;
use ratelimit_core::ratelimit_file::Domains;
use ratelimit_core::request::Request;
use ratelimit_core::resource::{Resources, compile_object};
use ratelimit_core::{Count, Limits, Options, PlanOptions, decide};
use service_kit::{Object, Severity};

use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use proto::envoy::service::ratelimit::v3::RateLimitRequest;

/// Files to take lines from.
const FILES: [&str; 2] = [include_str!("limits.yaml"), include_str!("objects.yaml")];

fn read(text: &str) {
    for merge in [false, true] {
        let both = ["a.yaml", "b/c.yaml"].map(|name| (name.to_owned(), text.to_owned()));
        match Domains::read(&BTreeMap::from(both), merge) {
            Ok(_) => {}
            Err(words) => assert!(words.starts_with("a.yaml: ") || words.starts_with("b.c.yaml: ")),
        }
    }
    let one = BTreeMap::from([("a.yaml".to_owned(), text.to_owned())]);
    let files = Domains::read(&one, false).unwrap_or_default();
    let mut compiled = Vec::new();
    for object in Object::read_documents(text, "a.yaml").into_iter().flatten().flatten() {
        let (good, found) = compile_object(&object);
        let is_wrong = found.iter().any(|d| d.severity == Severity::Error);
        assert_eq!(good.is_none(), is_wrong, "refused in words, or taken: {found:?}");
        assert!(found.iter().all(|d| !d.to_string().is_empty()));
        compiled.extend(good);
    }
    let resources = Resources::new(&compiled, files.limit_count());
    ask(&Limits { files: Arc::new(files), resources });
}

/// A request of each domain, with as many hits as it takes to be refused, and not counted at all.
fn ask(limits: &Limits) {
    let domains = limits.files.limits().into_iter().map(|(domain, ..)| domain.to_owned());
    let of_objects = limits.resources.limits().into_iter().map(|(domain, _)| domain.to_owned());
    for domain in domains.chain(of_objects).take(4) {
        let entry = |key: &str| Entry { key: key.to_owned(), value: "x".to_owned() };
        let descriptors = ["a", "route", "user"].map(|key| RateLimitDescriptor {
            entries: vec![entry(key)],
            ..RateLimitDescriptor::default()
        });
        let message = RateLimitRequest { domain, descriptors: descriptors.into(), hits_addend: 0 };
        let request = Request::from(&message);
        let Ok(plan) = limits.plan(&request, &PlanOptions::default(), 1_000) else { continue };
        let counts = vec![Count::Over; plan.counters.len()];
        let now = Duration::from_secs(1_000);
        let decision = decide(&request, &plan, &counts, &Options::default(), now);
        assert_eq!(decision.message().statuses.len(), 3);
    }
}

#[test]
fn texts() {
    bolero::check!().with_test_time(super::TIME).for_each(|bytes: &[u8]| {
        read(&String::from_utf8_lossy(bytes));
    });
}

/// A part of a file.
#[derive(Clone, Debug, TypeGenerator)]
enum Part {
    /// A line of one of the files.
    Line(u8, u8),
    /// A line of them that says something else.
    Changed(u8, u8, u8),
    Word(u8),
    Text(String),
}

const WORDS: &[&str] = &[
    "\n",
    "  ",
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "&a ",
    "*a",
    "<<: *a",
    "!!str ",
    "|\n",
    "'",
    "\"",
    "---\n",
    "null",
    "yes",
    ".nan",
    "1e999",
    "-1",
    "0x10",
    "4294967296",
    "descriptors:\n",
    "limits:\n",
    "rate_limit:",
    "unit: ",
    "unit_multiplier: 1000000",
    "lease: 1",
    "{{",
    "}}",
    "{{range 99999}}",
    "{{end}}",
    "{{template \"t\"}}",
    "# ",
    "%YAML 1.2\n",
    "?",
    "\t",
    "\u{0}",
];

fn line(file: u8, number: u8) -> &'static str {
    let lines: Vec<&str> = FILES[usize::from(file) % FILES.len()].lines().collect();
    lines[usize::from(number) % lines.len()]
}

impl Part {
    fn write(&self, text: &mut String) {
        let word = |number: &u8| WORDS[usize::from(*number) % WORDS.len()];
        match self {
            Self::Line(file, number) => {
                text.push_str(line(*file, *number));
                text.push('\n');
            }
            Self::Changed(file, number, other) => {
                let line = line(*file, *number);
                let (name, _) = line.split_once(": ").unwrap_or((line, ""));
                text.push_str(&format!("{name}: {}\n", word(other)));
            }
            Self::Word(number) => text.push_str(word(number)),
            Self::Text(other) => text.push_str(other),
        }
    }
}

#[test]
fn parts() {
    bolero::check!().with_type::<(bool, Vec<Part>)>().with_test_time(super::TIME).for_each(
        |(is_whole, parts): &(bool, Vec<Part>)| {
            let mut text = if *is_whole { FILES[1].to_owned() } else { String::new() };
            for part in parts {
                part.write(&mut text);
            }
            read(&text);
        },
    );
}
