//! A request's way: decode, plan, count, decide, encode.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bolero::TypeGenerator;
use prost::Message as _;
use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::{
    Entry, RateLimitOverride,
};
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use ratelimit_core::algorithm::sliding_window::Hits;
use ratelimit_core::ratelimit_file::Domains;
use ratelimit_core::request::{DecodeError, Request};
use ratelimit_core::resource::{MatchRule, Resources, compile_object};
use ratelimit_core::{
    Charge, Count, Limits, OnStoreError, Options, PlanOptions, StandardHeaders, decide,
};
use service_kit::Object;

/// Limits of every kind.
static LIMITS: LazyLock<Limits> = LazyLock::new(|| {
    let text = include_str!("limits.yaml").to_owned();
    let files = Domains::read(&BTreeMap::from([("f".to_owned(), text)]), false).unwrap();
    let objects = Object::read_documents(include_str!("objects.yaml"), "o").unwrap();
    let compile = |object: Result<Object, _>| compile_object(&object.unwrap()).0.unwrap();
    let compiled: Vec<_> = objects.into_iter().map(compile).collect();
    let resources = Resources::new(&compiled, files.limit_count());
    Limits { files: Arc::new(files), resources }
});

/// Everything that an answer depends on besides the request.
#[derive(Clone, Debug, Default, TypeGenerator)]
struct World {
    switches: [bool; 8],
    seconds: u64,
    nanos: u32,
    counts: Vec<Said>,
}

/// What a store says, whether or not it was asked for that.
#[derive(Clone, Debug, TypeGenerator)]
enum Said {
    Over,
    Window(u64),
    Sliding(bool, u64, u64, u64),
    Bucket(bool, f64),
    Uncounted(bool),
}

impl Said {
    fn count(&self) -> Count {
        match *self {
            Self::Over => Count::Over,
            Self::Window(after) => Count::Window { after },
            Self::Sliding(allowed, window, current, previous) => {
                Count::Sliding { allowed, hits: Hits { window, current, previous } }
            }
            Self::Bucket(allowed, tokens) => Count::Bucket { allowed, tokens },
            Self::Uncounted(allowed) => Count::Uncounted { allowed },
        }
    }
}

impl World {
    fn plan_options(&self) -> PlanOptions {
        let [exact, charge, fails, ..] = self.switches;
        PlanOptions {
            key_prefix: if exact { "p_".to_owned() } else { String::new() },
            match_rule: if exact { MatchRule::Exact } else { MatchRule::Prefix },
            charge: if charge { Charge::AllOrNone } else { Charge::Each },
            on_store_error: if fails { OnStoreError::Local } else { OnStoreError::Error },
        }
    }

    fn options(&self) -> Options {
        let [.., shadow_mode, quota_mode, limit_headers, dynamic_metadata, ietf] = self.switches;
        let names = || ["l", "r", "t"].map(str::to_owned);
        Options {
            shadow_mode,
            quota_mode,
            limit_headers: limit_headers.then(names),
            dynamic_metadata,
            standard_headers: match ietf {
                true => StandardHeaders::Ietf,
                false => StandardHeaders::Draft03,
            },
        }
    }
}

/// Takes a request all the way and checks the answer against protobuf's own encoder and decoder.
fn answer(request: &Request<'_>, world: &World) {
    let now = Duration::new(world.seconds, world.nanos % 1_000_000_000);
    let Ok(plan) = LIMITS.plan(request, &world.plan_options(), now.as_secs()) else { return };
    assert_eq!(plan.descriptors.len(), request.descriptors.len());
    for counter in &plan.counters {
        let key = plan.key(counter);
        assert!(!key.is_empty() && key.len() <= 8 << 10 && std::str::from_utf8(key).is_ok());
    }
    let counts: Vec<Count> = world.counts.iter().map(Said::count).collect();
    let decision = decide(request, &plan, &counts, &world.options(), now);
    let mut bytes = Vec::new();
    decision.encode(&mut bytes);
    assert_eq!(bytes.len(), decision.encoded_len());
    let message = decision.message();
    assert_eq!(bytes.len(), message.encoded_len());
    assert_eq!(RateLimitResponse::decode(bytes.as_slice()).unwrap(), message);
    assert_eq!(message.statuses.len(), request.descriptors.len());
    for header in message.response_headers_to_add.iter().chain(&message.request_headers_to_add) {
        assert!(!header.value.contains(['\r', '\n', '\0']), "{header:?}");
    }
}

/// Bytes as a caller sends them; protobuf's own reader must agree.
#[test]
fn bytes() {
    bolero::check!().with_test_time(super::TIME).for_each(|bytes: &[u8]| {
        let theirs = RateLimitRequest::decode(bytes);
        match (Request::decode(bytes), &theirs) {
            (Ok(own), Ok(theirs)) => {
                assert_eq!(own, Request::from(theirs));
                answer(&own, &World::default());
            }
            (Err(DecodeError::TooManyDescriptors | DecodeError::TooManyEntries), _)
            | (Err(_), Err(_)) => {}
            (own, theirs) => panic!("{own:?} but {theirs:?}"),
        }
    });
}

/// A request of words that the limits know, and some that they do not.
#[derive(Clone, Debug, TypeGenerator)]
struct Asked {
    domain: u8,
    descriptors: Vec<AskedDescriptor>,
    hits_addend: u32,
    world: World,
}

#[derive(Clone, Debug, TypeGenerator)]
struct AskedDescriptor {
    entries: Vec<(u8, u8)>,
    own: Option<(u32, u8, Option<u32>)>,
    hits_addend: Option<u64>,
    is_negative_hits: bool,
}

const DOMAINS: &[&str] = &["d", "d", "d", "other", ""];
const KEYS: &[&str] = &["a", "route", "user", "wild", "free", "q", "named", "shadow", "", "a_b"];
const VALUES: &[&str] = &["", "x", "y", "*", "t/1/z", "\u{0}", "ä\r\n", "{{.}}", "x_y"];

fn word(words: &[&str], number: u8) -> String {
    words[usize::from(number) % words.len()].to_owned()
}

impl Asked {
    fn message(&self) -> RateLimitRequest {
        let entry =
            |(key, value): &(u8, u8)| Entry { key: word(KEYS, *key), value: word(VALUES, *value) };
        let descriptor = |d: &AskedDescriptor| RateLimitDescriptor {
            entries: d.entries.iter().map(entry).collect(),
            limit: d.own.map(|(requests_per_unit, unit, unit_multiplier)| RateLimitOverride {
                requests_per_unit,
                unit: i32::from(unit % 10),
                unit_multiplier,
            }),
            hits_addend: d.hits_addend,
            is_negative_hits: d.is_negative_hits,
        };
        RateLimitRequest {
            domain: word(DOMAINS, self.domain),
            descriptors: self.descriptors.iter().map(descriptor).collect(),
            hits_addend: self.hits_addend,
        }
    }
}

#[test]
fn words() {
    bolero::check!().with_type::<Asked>().with_test_time(super::TIME).for_each(|asked: &Asked| {
        let message = asked.message();
        let bytes = message.encode_to_vec();
        let request = Request::decode(&bytes).unwrap();
        assert_eq!(request, Request::from(&message));
        answer(&request, &asked.world);
    });
}
