//! What requests of a route are asked on their way: filters of the FilterPolicy rules that they may meet,
//! and limits that they may count against. For a picture, so it is short.

use std::sync::Arc;

use authz_core::DefaultDecision;
use authz_core::policy::{Chain, Rule};
use gateway_core::Overview;
use gateway_core::overview::RouteOverview;
use serde_json::Value;
use service_kit::ObjectRef;

use super::limits::{self, Fate};
use super::policies;
use super::way::Lines;
use super::{Material, Request};

/// Rules of a route that are told at most.
const RULES: usize = 3;

/// Something that requests of a route meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// What it is.
    pub words: String,
    /// For which requests, or by what.
    pub note: String,
    /// The object to look at.
    pub object: Option<ObjectRef>,
    /// Whether it lets everything pass, may refuse, or refuses all because it is broken.
    pub state: State,
}

/// How strict a guard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Everything passes.
    Open,
    /// It may refuse.
    Guarded,
    /// It cannot be used.
    Broken,
}

impl Guard {
    fn new(state: State, words: impl Into<String>, note: impl Into<String>) -> Self {
        Self { words: words.into(), note: note.into(), object: None, state }
    }

    fn of(mut self, object: ObjectRef) -> Self {
        self.object = Some(object);
        self
    }
}

/// Finds the guards of routes.
pub struct Guards<'a> {
    material: &'a Material,
    refused: Vec<ObjectRef>,
    policies: Arc<authz_core::Snapshot>,
}

impl<'a> Guards<'a> {
    /// Those of what is in force.
    pub fn new(material: &'a Material) -> Self {
        let policies = policies::compiled(&material.objects, &material.ambassador_id);
        Self { material, refused: material.refused(), policies }
    }

    /// What requests of `route` are asked, in its order.
    pub fn of(&self, route: &RouteOverview) -> Vec<Guard> {
        let mut guards = self.authorization(route);
        if route.redirect.is_none() {
            guards.extend(self.limits(route));
        }
        guards
    }

    fn authorization(&self, route: &RouteOverview) -> Vec<Guard> {
        let overview = &self.material.overview;
        if let Some(reason) = &overview.closed {
            return vec![Guard::new(State::Broken, "every request is refused", reason)];
        }
        let service = overview.services.iter().find(|s| s.service.kind == "AuthService");
        let Some(service) = service.filter(|_| route.authorized) else {
            return vec![Guard::new(State::Open, "no authorization", "")];
        };
        if self.policies.rules.is_empty() {
            let words = format!("authorization by {}", service.service.name);
            return vec![Guard::new(State::Guarded, words, "").of(service.service.clone())];
        }
        let mut guards = Vec::new();
        let rules = (0..self.policies.rules.len()).filter_map(|i| self.policies.rules.get(i));
        let (mut told, mut is_covered) = (0, false);
        for rule in rules {
            let (may, all) = meets(rule, route, overview);
            if !may {
                continue;
            }
            told += 1;
            if told > RULES {
                guards.push(Guard::new(State::Guarded, "and more rules", ""));
                is_covered = true;
                break;
            }
            guards.extend(self.rule(rule, all));
            if all {
                is_covered = true;
                break;
            }
        }
        if !is_covered {
            let note = if guards.is_empty() { "no rule fits" } else { "where no rule fits" };
            guards.push(match self.policies.default {
                DefaultDecision::Allow => Guard::new(State::Open, "passes", note),
                DefaultDecision::Deny => Guard::new(State::Guarded, "is denied", note),
            });
        }
        guards
    }

    fn rule(&self, rule: &Rule, covers_all: bool) -> Vec<Guard> {
        let (policy, text) = self.written(rule);
        let only = match (covers_all, text) {
            (false, Some((host, path))) if host == "*" || host.is_empty() => format!("only {path}"),
            (false, Some((host, path))) => format!("only {host}{path}"),
            _ => String::new(),
        };
        let note = |what: &str| {
            let parts = [what, &only, if rule.shadow { "only tried" } else { "" }];
            parts.into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join(", ")
        };
        match &rule.chain {
            Chain::Broken(why) => {
                vec![Guard::new(State::Broken, "broken rule", note(why)).of(policy)]
            }
            Chain::Links(links) if links.is_empty() => {
                vec![Guard::new(State::Open, "passes", note("")).of(policy)]
            }
            Chain::Links(_) => {
                let state = if rule.shadow { State::Open } else { State::Guarded };
                let links = policies::filters(&rule.name, &self.material.objects);
                let guard = |l: policies::Link| {
                    Guard::new(state, l.filter.name.clone(), note(&l.kind)).of(l.filter)
                };
                links.into_iter().map(guard).collect()
            }
        }
    }

    /// The policy of a rule, with host and path as they are written.
    fn written(&self, rule: &Rule) -> (ObjectRef, Option<(String, String)>) {
        let (name, namespace) = rule.policy().rsplit_once('.').unwrap_or((rule.policy(), ""));
        let reference = ObjectRef::new("FilterPolicy", namespace, name);
        let index = rule.name.rsplit_once('[').and_then(|(_, i)| i.strip_suffix(']'));
        let object = self.material.objects.iter().find(|o| o.reference == reference);
        let written = object.zip(index).and_then(|(object, index)| {
            let rule = object.json.pointer(&format!("/spec/rules/{index}"))?;
            let text = |key: &str| rule.get(key).and_then(Value::as_str).unwrap_or("*").to_owned();
            Some((text("host"), text("path")))
        });
        (reference, written)
    }

    fn limits(&self, route: &RouteOverview) -> Vec<Guard> {
        let Material { overview, objects, .. } = self.material;
        let request = Request::unknown();
        let fates = limits::explain(
            &request,
            route,
            overview,
            objects,
            &self.refused,
            &mut Lines::default(),
        );
        let mut guards = Vec::new();
        for d in &fates.descriptors {
            match &d.fate {
                Fate::Counted(limits) => guards.extend(limits.iter().map(|(object, words)| {
                    let words = words.replace(&format!(" of {object}"), "").replace(['`'], "");
                    Guard::new(State::Guarded, words, d.words.clone()).of(object.clone())
                })),
                Fate::Free => {
                    guards.push(Guard::new(State::Open, "no limit fits", d.words.clone()));
                }
                Fate::Dropped(_) => {}
            }
        }
        guards
    }
}

/// Whether requests of a route may meet a rule, and whether all of them do.
fn meets(rule: &Rule, route: &RouteOverview, overview: &Overview) -> (bool, bool) {
    let of_host = overview.hosts.iter().find(|h| h.host == route.host);
    let host = match route.hostname.as_str() {
        "" => of_host.map_or("*", |h| h.hostname.as_str()),
        name => name,
    };
    let (host_may, host_all) = match host.contains('*') {
        true => (true, rule.host.matches_all_below("")),
        false => (rule.host.matches(host), rule.host.matches(host)),
    };
    let (path_may, path_all) = match route.path_kind.as_str() {
        "path" => (rule.path.matches(&route.path), rule.path.matches(&route.path)),
        "regex" => (rule.path.may_match_below("/"), rule.path.matches_all_below("/")),
        _ => (rule.path.may_match_below(&route.path), rule.path.matches_all_below(&route.path)),
    };
    (host_may && path_may, host_all && path_all)
}
