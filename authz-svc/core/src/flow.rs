//! From a request to its answer, step by step: the caller performs what a step needs and asks
//! again. No IO here.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use gotemplate::Value;
use serde_json::{Map, Value as Json};

use crate::context::{Context, Identity};
use crate::filter::oauth2::Endpoint;
use crate::filter::{Filter, Modification, ResponseHeader, Verdict, misconfigured};
use crate::need::{Answer, AtHand, Fetch, Need, Pending, StoreCommand};
use crate::policy::{Chain, Found, Link, Rule, Rules, Then};
use crate::reply::Reply;
use crate::request::{Changes, Request};

/// Everything that decides, at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The rules in their order.
    pub rules: Rules,
    /// The filters, by namespace and name.
    pub filters: HashMap<(String, String), Arc<Filter>>,
    /// For requests that meet no rule.
    pub default: DefaultDecision,
    /// Remove a client's header where `doNotSet` ran.
    pub strip_unset: bool,
}

impl Snapshot {
    /// Documents that its filters will need, so that they are there before the first request.
    pub fn documents(&self) -> Vec<Fetch> {
        let judges = self.filters.values().filter_map(|f| f.judge.as_ref());
        judges.flat_map(|judge| judge.documents()).collect()
    }
}

/// What becomes of a request that meets no rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultDecision {
    /// It passes untouched.
    #[default]
    Allow,
    /// 403.
    Deny,
}

/// What comes next.
#[derive(Debug)]
pub enum Step {
    /// Get this and give it to [`Flow::answer`].
    Need(Need),
    /// The end.
    Done(Outcome),
}

/// How it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// To the backend, changed so.
    Allow(Box<Mutations>),
    /// Back to the client.
    Deny(Reply),
    /// Back to the client: it could not be decided.
    Error(Reply),
}

/// The net changes of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mutations {
    /// Overwrite or add.
    pub set: Vec<(String, String)>,
    /// Remove.
    pub remove: Vec<String>,
    /// For the client's response.
    pub response_headers: Vec<ResponseHeader>,
    /// Parameters of the query that are set.
    pub query_set: Vec<(String, String)>,
    /// Parameters of the query that are removed.
    pub query_remove: Vec<String>,
    /// Envoy's dynamic metadata.
    pub metadata: Map<String, Json>,
}

/// Why the edge gives up a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It took longer than it may: 504.
    TimedOut,
    /// A fault of this program: 500.
    Fault,
}

/// What a filter of the chain said; for logs, metrics and explanations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Where the filter is in the chain.
    pub index: usize,
    /// What it said.
    pub result: JudgementResult,
}

/// See [`Judgement`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JudgementResult {
    /// `ifRequestHeader` did not hold.
    Skipped,
    /// It may pass.
    Allowed,
    /// Not, for this reason: status and words.
    Denied(u16, String),
    /// It could not decide: status and words.
    Failed(u16, String),
    /// It is misconfigured.
    Broken,
}

/// A request on its way through its chain.
#[derive(Clone, Debug)]
pub struct Flow {
    snapshot: Arc<Snapshot>,
    request: Request,
    now: Duration,
    /// What answers before any rule.
    endpoint: Option<Endpoint>,
    /// What it meets.
    found: Found,
    /// The next link of the chain.
    at: usize,
    changes: Changes,
    mutations: Mutations,
    identity: Option<Identity>,
    answers: RefCell<Vec<Answer>>,
    judgements: Vec<Judgement>,
    shadowed: Option<Outcome>,
    failed_open: bool,
    locked: bool,
}

impl Flow {
    /// Begins. `now` is since the Unix epoch.
    pub fn new(snapshot: Arc<Snapshot>, request: Request, now: Duration) -> Self {
        let endpoint = Endpoint::of(&snapshot, &request);
        let found = match endpoint {
            Some(_) => Found::None,
            None => snapshot.rules.find_index(&request, snapshot.default),
        };
        Self {
            endpoint,
            snapshot,
            request,
            now,
            found,
            at: 0,
            changes: Changes::default(),
            mutations: Mutations::default(),
            identity: None,
            answers: RefCell::default(),
            judgements: Vec::new(),
            shadowed: None,
            failed_open: false,
            locked: false,
        }
    }

    /// The request.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The rule that the request meets.
    pub fn rule(&self) -> Option<&Rule> {
        self.snapshot.rules.get(self.place()?)
    }

    fn place(&self) -> Option<usize> {
        match self.found {
            Found::Rule(place) => Some(place),
            _ => None,
        }
    }

    /// The filter at this place of the rule's chain.
    pub fn filter(&self, index: usize) -> Option<&Filter> {
        match &self.rule()?.chain {
            Chain::Links(links) => links.get(index).map(|link| &*link.filter),
            Chain::Broken(_) => None,
        }
    }

    /// What the filters said so far.
    pub fn judgements(&self) -> &[Judgement] {
        &self.judgements
    }

    /// Who the client is, as far as filters found out.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// What would have become of the request, were the policy not in shadow.
    pub fn shadowed(&self) -> Option<&Outcome> {
        self.shadowed.as_ref()
    }

    /// Whether it passed only because its policy lets pass what cannot be decided.
    pub fn failed_open(&self) -> bool {
        self.failed_open
    }

    /// Whether it must go on to its end even when nobody waits for it any more: from where it asked
    /// for something that others wait for, as the lock of a session that is renewed.
    pub fn must_finish(&self) -> bool {
        self.locked
    }

    /// Takes what the last step needed.
    pub fn answer(&mut self, answer: Answer) {
        self.answers.get_mut().push(answer);
    }

    /// Goes as far as it can.
    pub fn step(&mut self, at_hand: &dyn AtHand) -> Step {
        let step = self.advance(at_hand);
        self.locked |= matches!(step, Step::Need(Need::Store(StoreCommand::Add(..))));
        step
    }

    fn advance(&mut self, at_hand: &dyn AtHand) -> Step {
        let snapshot = self.snapshot.clone();
        if let Some(endpoint) = self.endpoint {
            return self.step_endpoint(&snapshot, endpoint, at_hand);
        }
        let Some(rule) = self.place().and_then(|i| snapshot.rules.get(i)) else {
            return Step::Done(self.without_rule(snapshot.default));
        };
        match self.run(&snapshot, rule, at_hand) {
            Ok(outcome) => Step::Done(self.conclude(rule, outcome)),
            Err(Pending(need)) => Step::Need(*need),
        }
    }

    /// As [`Self::advance`], for a path that a filter answers before any rule.
    fn step_endpoint(&self, snapshot: &Snapshot, endpoint: Endpoint, at_hand: &dyn AtHand) -> Step {
        let context = self.context(snapshot, at_hand);
        let answer = endpoint.answer(&context);
        Step::Done(match answer {
            _ if context.is_exhausted() => Outcome::Deny(misconfigured(self.request.id())),
            Err(Pending(need)) => return Step::Need(*need),
            Ok(Verdict::Error(reply)) => Outcome::Error(reply),
            Ok(Verdict::Deny(reply) | Verdict::Fail(reply)) => Outcome::Deny(reply),
            // These paths are never the backend's.
            Ok(Verdict::Allow(_)) => Outcome::Deny(misconfigured(self.request.id())),
        })
    }

    fn context<'a>(&'a self, snapshot: &'a Snapshot, at_hand: &'a dyn AtHand) -> Context<'a> {
        Context::new(
            &self.request,
            &self.changes,
            self.now,
            snapshot,
            self.identity.as_ref(),
            &self.answers,
            at_hand,
        )
    }

    /// What becomes of a request that no rule judges.
    fn without_rule(&self, default: DefaultDecision) -> Outcome {
        let (status, words) = match (self.found, default) {
            (Found::TooLong, _) => (414, "the path is longer than 64 KiB"),
            (Found::Ambiguous, _) => {
                (400, "the path can be read in two ways that different rules guard")
            }
            (_, DefaultDecision::Deny) => (403, "no policy allows this request"),
            (_, DefaultDecision::Allow) => return Outcome::Allow(Box::default()),
        };
        let reply = Reply::json(status, words, self.request.id());
        Outcome::Deny(if self.request.is_grpc() { reply.in_plain_words() } else { reply })
    }

    /// Gives up: what the client gets then.
    pub fn fail(&mut self, failure: Failure) -> Outcome {
        let (status, words) = match failure {
            Failure::TimedOut => (504, "the authorization of this request took too long"),
            Failure::Fault => (500, "the authorization service failed"),
        };
        let outcome = Outcome::Error(Reply::json(status, words, self.request.id()));
        let snapshot = self.snapshot.clone();
        match self.place().and_then(|i| snapshot.rules.get(i)) {
            Some(rule) => self.conclude(rule, outcome),
            None => outcome,
        }
    }

    /// What the policy makes of an outcome.
    fn conclude(&mut self, rule: &Rule, outcome: Outcome) -> Outcome {
        if rule.shadow {
            self.shadowed = Some(outcome);
            return Outcome::Allow(Box::default());
        }
        match outcome {
            Outcome::Error(_) if rule.failure_mode_allow => {
                self.failed_open = true;
                Outcome::Allow(Box::default())
            }
            // Envoy makes the body the message of the gRPC status.
            Outcome::Deny(reply) if self.request.is_grpc() => Outcome::Deny(reply.in_plain_words()),
            Outcome::Error(reply) if self.request.is_grpc() => {
                Outcome::Error(reply.in_plain_words())
            }
            outcome => outcome,
        }
    }

    fn run(
        &mut self,
        snapshot: &Snapshot,
        rule: &Rule,
        at_hand: &dyn AtHand,
    ) -> Result<Outcome, Pending> {
        let links = match &rule.chain {
            Chain::Links(links) => links,
            Chain::Broken(_) => return Ok(Outcome::Deny(misconfigured(self.request.id()))),
        };
        while let Some(link) = links.get(self.at) {
            if link.condition.as_ref().is_some_and(|c| !c.holds(&self.request, &self.changes)) {
                self.note(JudgementResult::Skipped);
                self.at += 1;
                continue;
            }
            match self.judge(snapshot, link, at_hand)? {
                Verdict::Allow(modification) => {
                    self.note(JudgementResult::Allowed);
                    if !self.apply(link, *modification) {
                        return Ok(Outcome::Deny(misconfigured(self.request.id())));
                    }
                    if link.on_allow == Then::Break {
                        break;
                    }
                }
                Verdict::Deny(reply) => {
                    self.note(JudgementResult::Denied(reply.status, reply.reason.to_string()));
                    if link.on_deny == Then::Break {
                        return Ok(Outcome::Deny(reply));
                    }
                }
                Verdict::Error(reply) => {
                    self.note(JudgementResult::Failed(reply.status, reply.reason.to_string()));
                    if link.on_deny == Then::Break {
                        return Ok(Outcome::Error(reply));
                    }
                }
                Verdict::Fail(reply) => {
                    self.note(JudgementResult::Broken);
                    return Ok(Outcome::Deny(reply));
                }
            }
            self.at += 1;
            self.answers.get_mut().clear();
        }
        if let Some(identity) = self.identity.as_ref().filter(|i| !i.subject.is_empty()) {
            let metadata = &mut self.mutations.metadata;
            metadata.entry("identity").or_insert_with(|| identity.subject.as_str().into());
            if let Some(plan) = identity.attributes.get("plan").filter(|p| p.is_string()) {
                metadata.entry("plan").or_insert_with(|| plan.clone());
            }
        }
        let (set, remove) = std::mem::take(&mut self.changes).difference(&self.request);
        let mutations = Mutations { set, remove, ..std::mem::take(&mut self.mutations) };
        Ok(Outcome::Allow(Box::new(mutations)))
    }

    fn judge(
        &self,
        snapshot: &Snapshot,
        link: &Link,
        at_hand: &dyn AtHand,
    ) -> Result<Verdict, Pending> {
        let context = self.context(snapshot, at_hand);
        let judged = link.filter.judge(&context, &link.arguments);
        if context.is_exhausted() {
            return Ok(Verdict::Fail(misconfigured(self.request.id())));
        }
        judged
    }

    fn note(&mut self, result: JudgementResult) {
        self.judgements.push(Judgement { index: self.at, result });
    }

    /// Takes what a filter that allows says; false when metadata cannot be made of it.
    fn apply(&mut self, link: &Link, modification: Modification) -> bool {
        for (name, value) in modification.headers {
            self.changes.set(name, value);
        }
        self.mutations.response_headers.extend(modification.response_headers);
        self.mutations.query_set.extend(modification.query_set);
        self.mutations.query_remove.extend(modification.query_remove);
        self.mutations.metadata.extend(modification.metadata);
        if let Some(identity) = modification.identity {
            self.identity = Some(identity);
        }
        if link.metadata.is_empty() {
            return true;
        }
        let data = self.metadata_data();
        for (key, template) in &link.metadata {
            match template.execute(&data) {
                Ok(output) if output.set => {
                    self.mutations.metadata.insert(key.clone(), output.text.into());
                }
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// What templates of `dynamicMetadata` see.
    fn metadata_data(&self) -> Value {
        let identity = self.identity.as_ref().map_or(Value::Nil, Identity::template_value);
        let headers = self.changes.headers(&self.request).filter(|(n, _)| !n.starts_with(':'));
        Value::map([("identity", identity), ("httpRequestHeader", Value::header(headers))])
    }
}

#[cfg(test)]
#[path = "flow/tests.rs"]
mod tests;
