//! A store and browsers that are played, beside the provider.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest, attribute_context};
use serde_json::{Value as Json, json};
use service_kit::Object;
use sha2::{Digest as _, Sha256};

use super::idp::{ISSUER, Idp, public_keys};
use crate::need::{
    Answer, CallError, Document, DocumentKind, Need, StoreAnswer, StoreCommand, StoreError,
};
use crate::reply::Reply;
use crate::{Flow, Mutations, Outcome, Request, Settings, Snapshot, Step, compile};

pub(super) const NOW: u64 = 1_800_000_000;

/// Everything outside of the filter.
pub(super) struct World {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) found: Vec<String>,
    pub(super) now: u64,
    pub(super) idp: Idp,
    pub(super) store: BTreeMap<String, (Vec<u8>, u64)>,
    pub(super) store_down: bool,
    pub(super) commands: usize,
    random: u64,
}

impl World {
    /// A filter `o.ns`: `change` is put over its usual fields; `arguments` of the only rule.
    pub(super) fn new(change: Json, arguments: Json) -> Self {
        let mut spec = json!({"authorizationURL": ISSUER, "clientID": "cl", "secret": "s3",
            "protectedOrigins": [{"origin": "https://a.test"}]});
        for (name, value) in change.as_object().unwrap() {
            spec[name] = value.clone();
        }
        spec.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let rules = json!([{"filters": [{"name": "o", "arguments": arguments}]}]);
        Self::of(&[("o", json!({"OAuth2": spec}))], &rules)
    }

    pub(super) fn of(filters: &[(&str, Json)], rules: &Json) -> Self {
        let object = |kind: &str, name: &str, spec: &Json| {
            Object::from_json(json!({"apiVersion": "getambassador.io/v3alpha1", "kind": kind,
                "metadata": {"name": name, "namespace": "ns"}, "spec": spec}))
            .unwrap()
        };
        let mut objects: Vec<Object> =
            filters.iter().map(|(name, spec)| object("Filter", name, spec)).collect();
        objects.push(object("FilterPolicy", "p", &json!({"rules": rules})));
        Self::of_objects(&objects)
    }

    pub(super) fn of_objects(objects: &[Object]) -> Self {
        let compiled = compile(objects.iter(), &Settings::default());
        Self {
            snapshot: Arc::new(compiled.snapshot),
            found: compiled.found.iter().map(ToString::to_string).collect(),
            now: NOW,
            idp: Idp::default(),
            store: BTreeMap::new(),
            store_down: false,
            commands: 0,
            random: 0,
        }
    }

    pub(super) fn flow(&self, request: Request) -> Flow {
        Flow::new(self.snapshot.clone(), request, Duration::from_secs(self.now))
    }

    /// Runs a request to its end.
    pub(super) fn run(&mut self, request: Request) -> Outcome {
        let mut flow = self.flow(request);
        loop {
            match flow.step(&()) {
                Step::Done(outcome) => return outcome,
                Step::Need(need) => flow.answer(self.perform(&need)),
            }
        }
    }

    pub(super) fn perform(&mut self, need: &Need) -> Answer {
        match need {
            Need::Random => {
                self.random += 1;
                Answer::Random(Sha256::digest(self.random.to_be_bytes()).into())
            }
            Need::Wait(_) => Answer::Waited,
            Need::Document(fetch) => Answer::Document(match fetch.what {
                _ if self.idp.down => Err(CallError::Unavailable),
                DocumentKind::KeySet => {
                    assert_eq!(&*fetch.url, self.idp.manner.keys);
                    Ok(Document::KeySet(public_keys()))
                }
                DocumentKind::Provider => {
                    let issuer = self.idp.manner.issuer.trim_end_matches('/');
                    assert_eq!(*fetch.url, format!("{issuer}/.well-known/openid-configuration"));
                    Ok(Document::Provider(Arc::new(self.idp.provider())))
                }
            }),
            Need::Http(call) => Answer::Http(self.idp.http(call, self.now).map(Arc::new)),
            Need::Store(command) => {
                self.commands += 1;
                Answer::Store(if self.store_down {
                    Err(StoreError)
                } else {
                    Ok(self.command(command.clone()))
                })
            }
            other => panic!("{other}"),
        }
    }

    fn command(&mut self, command: StoreCommand) -> StoreAnswer {
        let now = self.now;
        self.store.retain(|_, (_, end)| *end > now);
        match command {
            StoreCommand::Get(key) => StoreAnswer::Value(self.store.get(&key).map(|v| v.0.clone())),
            StoreCommand::Take(key) => StoreAnswer::Value(self.store.remove(&key).map(|v| v.0)),
            StoreCommand::Set(key, value, life) => {
                self.store.insert(key, (value, now + life.as_secs()));
                StoreAnswer::Done
            }
            StoreCommand::Add(key, ..) if self.store.contains_key(&key) => StoreAnswer::Exists,
            StoreCommand::Add(key, value, life) => {
                self.store.insert(key, (value, now + life.as_secs()));
                StoreAnswer::Done
            }
            StoreCommand::Delete(key) => {
                self.store.remove(&key);
                StoreAnswer::Done
            }
            StoreCommand::DeleteIf(key, value) => {
                if self.store.get(&key).is_some_and(|v| v.0 == value) {
                    self.store.remove(&key);
                }
                StoreAnswer::Done
            }
        }
    }

    /// Values of a kind in the store.
    pub(super) fn stored(&self, kind: &str) -> usize {
        let prefix = format!("oauth2/{kind}/");
        self.store.iter().filter(|(k, v)| k.starts_with(&prefix) && v.1 > self.now).count()
    }
}

/// What of a request matters here.
pub(super) struct Ask<'a> {
    pub(super) method: &'a str,
    pub(super) url: &'a str,
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a str,
}

pub(super) fn request(ask: &Ask<'_>) -> Request {
    let (scheme, rest) = ask.url.split_once("://").unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut headers: HashMap<String, String> =
        ask.headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    headers.insert("x-forwarded-proto".to_owned(), scheme.to_owned());
    let http = attribute_context::HttpRequest {
        method: ask.method.to_owned(),
        host: host.to_owned(),
        path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
        headers: headers.into_iter().collect(),
        body: ask.body.to_owned(),
        ..Default::default()
    };
    let request = attribute_context::Request { http: Some(http), time: None };
    let attributes = AttributeContext { request: Some(request), ..Default::default() };
    Request::from_check(CheckRequest { attributes: Some(attributes) }).unwrap()
}

/// A browser: keeps cookies by host, and follows redirects.
#[derive(Clone, Default)]
pub(super) struct Browser {
    pub(super) jar: HashMap<String, BTreeMap<String, String>>,
    /// `Set-Cookie` of the last answer.
    pub(super) set: Vec<String>,
    /// URLs that it went to.
    pub(super) way: Vec<String>,
}

/// What a browser got.
#[derive(Debug)]
pub(super) enum Got {
    Allowed(Box<Mutations>),
    Reply(Reply),
}

impl Got {
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Allowed(_) => 200,
            Self::Reply(reply) => reply.status,
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        match self {
            Self::Allowed(m) => m.set.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()),
            Self::Reply(r) => r.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()),
        }
    }

    pub(super) fn location(&self) -> &str {
        self.header("location").unwrap_or_else(|| panic!("{self:?}"))
    }
}

pub(super) fn host(url: &str) -> String {
    url.split("://").nth(1).unwrap().split(['/', '?']).next().unwrap().to_owned()
}

impl Browser {
    pub(super) fn cookies(&self, url: &str) -> String {
        let jar = self.jar.get(&host(url));
        let pairs = jar.into_iter().flatten().map(|(k, v)| format!("{k}={v}"));
        pairs.collect::<Vec<_>>().join("; ")
    }

    pub(super) fn cookie(&self, url: &str, name: &str) -> Option<String> {
        self.jar.get(&host(url))?.get(name).cloned()
    }

    /// One request; cookies are kept.
    pub(super) fn ask(&mut self, world: &mut World, ask: &Ask<'_>) -> Got {
        let request = self.request(ask);
        let outcome = world.run(request);
        self.take(ask.url, outcome)
    }

    pub(super) fn request(&self, ask: &Ask<'_>) -> Request {
        let cookies = self.cookies(ask.url);
        let mut headers = vec![("accept", "text/html,*/*;q=0.8")];
        headers.extend((!cookies.is_empty()).then_some(("cookie", cookies.as_str())));
        headers.extend_from_slice(ask.headers);
        request(&Ask { headers: &headers, ..*ask })
    }

    pub(super) fn take(&mut self, url: &str, outcome: Outcome) -> Got {
        self.way.push(url.to_owned());
        let (got, set): (Got, Vec<String>) = match outcome {
            Outcome::Allow(m) => {
                let set = m.response_headers.iter().map(|h| h.value.clone()).collect();
                (Got::Allowed(m), set)
            }
            Outcome::Deny(r) | Outcome::Error(r) => {
                let cookies = r.headers.iter().filter(|(n, _)| n == "set-cookie");
                let set = cookies.map(|(_, v)| v.clone()).collect();
                (Got::Reply(r), set)
            }
        };
        let jar = self.jar.entry(host(url)).or_default();
        for cookie in &set {
            let (name, rest) = cookie.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if value.is_empty() {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
        self.set = set;
        got
    }

    pub(super) fn get(&mut self, world: &mut World, url: &str) -> Got {
        self.ask(world, &Ask { method: "GET", url, headers: &[], body: "" })
    }

    /// Follows redirects, through the provider, too; at most 20.
    pub(super) fn follow(&mut self, world: &mut World, url: &str) -> Got {
        let mut url = url.to_owned();
        for _ in 0..20 {
            if url.starts_with(world.idp.manner.authorize) {
                url = world.idp.authorize(&url);
            }
            let got = self.get(world, &url);
            match got.header("location") {
                Some(location) => url = location.to_owned(),
                None => return got,
            }
        }
        panic!("no end of redirects: {:?}", self.way);
    }
}
