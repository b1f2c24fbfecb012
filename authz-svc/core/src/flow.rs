//! From a request to its answer, step by step: the caller performs what a step needs and asks
//! again. No IO here.

use std::sync::Arc;
use std::time::Duration;

use crate::context::{Answers, Context, Fetch};
use crate::filter::Verdict;
use crate::keys::KeySet;
use crate::policy::{Chain, Rules, Then};
use crate::reply::Reply;
use crate::request::{Changes, Request};

/// Everything that decides, at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The rules in their order.
    pub rules: Rules,
    /// For requests that meet no rule.
    pub default: DefaultDecision,
    /// Remove a client's header where `doNotSet` ran.
    pub strip_unset: bool,
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
    /// Get this and say how it went with [`Flow::answer`].
    Need(Fetch),
    /// The end.
    Done(Outcome),
}

/// How it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// To the backend, changed so.
    Allow(Mutations),
    /// Back to the client.
    Deny(Reply),
}

/// The net changes of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mutations {
    /// Overwrite or add.
    pub set: Vec<(String, String)>,
    /// Remove.
    pub remove: Vec<String>,
}

/// A request on its way through its chain.
#[derive(Debug)]
pub struct Flow {
    snapshot: Arc<Snapshot>,
    request: Request,
    now: Duration,
    changes: Changes,
    /// The next link of the chain.
    at: usize,
    answers: Answers,
}

/// Most fetches of one request: a bound on time, not on rules.
const MAX_ANSWERS: usize = 32;

impl Flow {
    /// Begins. `now` is since the Unix epoch.
    pub fn new(snapshot: Arc<Snapshot>, request: Request, now: Duration) -> Self {
        Self { snapshot, request, now, changes: Changes::default(), at: 0, answers: Vec::new() }
    }

    /// The request.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Says how a fetch went; the words of a failure are for the log, not for the flow.
    pub fn answer(&mut self, fetch: Fetch, result: Result<Arc<KeySet>, ()>) {
        self.answers.push((fetch, result));
    }

    /// Goes as far as it can.
    pub fn step(&mut self) -> Step {
        let snapshot = self.snapshot.clone();
        let Some(rule) = snapshot.rules.find(&self.request) else {
            return Step::Done(match snapshot.default {
                DefaultDecision::Allow => Outcome::Allow(Mutations::default()),
                DefaultDecision::Deny => Outcome::Deny(Reply::json(
                    403,
                    "no policy allows this request",
                    &self.request.id,
                )),
            });
        };
        let links = match &rule.chain {
            Chain::Links(links) => links,
            Chain::Broken(_) => return self.fail(),
        };
        while let Some(link) = links.get(self.at) {
            if link.condition.as_ref().is_some_and(|c| !c.holds(&self.request, &self.changes)) {
                self.at += 1;
                continue;
            }
            let context = Context {
                request: &self.request,
                changes: &self.changes,
                now: self.now,
                answers: &self.answers,
                strip_unset: snapshot.strip_unset,
            };
            match link.filter.judge(&context, &link.scope) {
                Verdict::Need(_) if self.answers.len() >= MAX_ANSWERS => return self.fail(),
                Verdict::Need(fetch) => return Step::Need(fetch),
                Verdict::Fail(reply) => return Step::Done(Outcome::Deny(reply)),
                Verdict::Deny(reply) if link.on_deny == Then::Break => {
                    return Step::Done(Outcome::Deny(reply));
                }
                Verdict::Deny(_) => {}
                Verdict::Allow(headers) => {
                    for (name, value) in headers {
                        self.changes.set(name, value);
                    }
                    if link.on_allow == Then::Break {
                        break;
                    }
                }
            }
            self.at += 1;
        }
        let (set, remove) = std::mem::take(&mut self.changes).difference(&self.request);
        Step::Done(Outcome::Allow(Mutations { set, remove }))
    }

    fn fail(&self) -> Step {
        let message = "the authorization of this request is misconfigured";
        Step::Done(Outcome::Deny(Reply::json(500, message, &self.request.id)))
    }
}

#[cfg(test)]
#[path = "flow/tests.rs"]
mod tests;
