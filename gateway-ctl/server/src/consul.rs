//! Consul: follows the services that the engine wants to know of and tells the controller what
//! their instances are. IO of [`gateway_core::resource::consul`].
//!
//! What was told last stays in force while an agent does not answer. Nothing waits for a service
//! that never answers, except the first clients for a moment ([`FIRST_ANSWERS`]).

mod agent;
mod environment;
mod name;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_core::ir::balance::ConsulService;
use gateway_core::resource::consul;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use service_kit::server::objects::Change;
use service_kit::server::shutdown::Shutdown;
use service_kit::{Diagnostic, Object, ObjectRef, Severity};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use self::agent::{Agent, Answer};
use self::name::Names;
use crate::controller::Aside;
use crate::source::Noticed;

pub use self::environment::Environment;

/// How long clients wait at a start for the first answers.
pub const FIRST_ANSWERS: Duration = Duration::from_secs(5);
/// What the controller calls this part.
const PART: &str = "consul";
/// Answers that wait to be looked at; watches wait when there are more.
const WAITING: usize = 256;
/// The first wait after a failure, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// Least time between two answers about one service, so that one that flaps costs little.
const BREATH: Duration = Duration::from_millis(100);
/// Names of services in a finding.
const NAMED: usize = 3;

/// The services that are wanted.
pub type Wanted = Arc<BTreeSet<ConsulService>>;

/// What was heard of a service.
struct Heard {
    service: ConsulService,
    what: Result<Answer, String>,
}

/// What is known of a service that is followed.
struct Followed {
    /// Why it does not answer now.
    failure: Option<String>,
    /// Whether it ever did.
    answered: bool,
    /// Instances that cannot be used, and why.
    left_out: Vec<String>,
    watch: JoinHandle<()>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// Numbers about Consul.
#[derive(Clone, Default)]
struct Metrics {
    followed: Gauge,
    silent: Gauge,
    failures: Counter,
}

/// Follows services.
pub struct Follower {
    environment: Environment,
    wanted: watch::Receiver<Wanted>,
    metrics: Metrics,
    agents: BTreeMap<String, Result<Arc<Agent>, String>>,
    followed: BTreeMap<ConsulService, Followed>,
    pending: BTreeMap<ObjectRef, Option<Arc<Object>>>,
    pending_since: Option<Instant>,
    /// What is wrong, unless something has changed since.
    found: Vec<Diagnostic>,
    is_stale: bool,
    told_found: Vec<Diagnostic>,
}

impl Follower {
    /// Follows what is `wanted`.
    pub fn new(
        environment: Environment,
        wanted: watch::Receiver<Wanted>,
        registry: &mut Registry,
    ) -> Self {
        let metrics = Metrics::default();
        registry.register(
            "tollgate_consul_services",
            "Services in Consul that are followed",
            metrics.followed.clone(),
        );
        registry.register(
            "tollgate_consul_services_silent",
            "Services about which Consul does not answer now; their instances stay as they were",
            metrics.silent.clone(),
        );
        registry.register(
            "tollgate_consul_failures",
            "Questions that Consul did not answer",
            metrics.failures.clone(),
        );
        Self {
            environment,
            wanted,
            metrics,
            agents: BTreeMap::new(),
            followed: BTreeMap::new(),
            pending: BTreeMap::new(),
            pending_since: None,
            found: Vec::new(),
            is_stale: false,
            told_found: Vec::new(),
        }
    }

    /// Tells each change, until `shutdown`.
    pub async fn run(mut self, told: mpsc::Sender<Aside>, shutdown: Shutdown) {
        let (sender, mut heard) = mpsc::channel(WAITING);
        self.follow(&sender);
        loop {
            if std::mem::take(&mut self.is_stale) {
                self.found = self.findings();
                self.count();
            }
            let news = !self.pending.is_empty() || self.found != self.told_found;
            let unusable = self.agents.values().any(Result::is_err);
            tokio::select! {
                changed = self.wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.follow(&sender);
                }
                Some(one) = heard.recv() => {
                    self.take(one);
                    while let Ok(one) = heard.try_recv() {
                        self.take(one);
                    }
                }
                permit = told.reserve(), if news => {
                    let Ok(permit) = permit else { return };
                    permit.send(self.news());
                }
                () = tokio::time::sleep(RETRY.1), if unusable => {
                    // A file may be there now.
                    self.agents.retain(|_, agent| agent.is_ok());
                    self.follow(&sender);
                }
                () = shutdown.wait() => return,
            }
        }
    }

    /// Follows exactly what is wanted.
    fn follow(&mut self, sender: &mpsc::Sender<Heard>) {
        self.is_stale = true;
        let wanted = self.wanted.borrow_and_update().clone();
        let gone: Vec<_> = self.followed.keys().filter(|s| !wanted.contains(*s)).cloned().collect();
        // What another agent is asked about from now on stays until that one answers.
        let kept: BTreeSet<_> = wanted.iter().map(consul::reference).collect();
        for service in gone {
            self.followed.remove(&service);
            let reference = consul::reference(&service);
            if !kept.contains(&reference) {
                self.pend(reference, None);
            }
        }
        let agents: BTreeSet<_> = wanted.iter().map(|s| s.agent.as_str()).collect();
        self.agents.retain(|agent, _| agents.contains(agent.as_str()));
        for service in wanted.iter() {
            if self.followed.contains_key(service) && self.agents.contains_key(&service.agent) {
                continue;
            }
            let agent = self
                .agents
                .entry(service.agent.clone())
                .or_insert_with(|| Agent::new(&service.agent, &self.environment).map(Arc::new));
            let (failure, watch) = match agent {
                Ok(agent) => {
                    let watch = follow(agent.clone(), service.clone(), sender.clone());
                    (None, tokio::spawn(watch))
                }
                Err(why) => (Some(why.clone()), tokio::spawn(std::future::ready(()))),
            };
            let followed = Followed { failure, answered: false, left_out: Vec::new(), watch };
            self.followed.insert(service.clone(), followed);
        }
    }

    fn take(&mut self, heard: Heard) {
        let Some(followed) = self.followed.get_mut(&heard.service) else { return };
        match heard.what {
            Ok(answer) => {
                self.is_stale |= !followed.answered
                    || followed.failure.is_some()
                    || followed.left_out != answer.left_out;
                followed.failure = None;
                followed.answered = true;
                followed.left_out = answer.left_out;
                let object = consul::object(&heard.service, &answer.instances);
                self.pend(object.reference.clone(), Some(Arc::new(object)));
            }
            Err(why) => {
                self.metrics.failures.inc();
                self.is_stale |= followed.failure.as_ref() != Some(&why);
                followed.failure = Some(why);
            }
        }
    }

    fn pend(&mut self, reference: ObjectRef, object: Option<Arc<Object>>) {
        self.pending.insert(reference, object);
        self.pending_since.get_or_insert_with(Instant::now);
    }

    fn news(&mut self) -> Aside {
        self.told_found.clone_from(&self.found);
        let mut change = Change { found: self.found.clone(), ..Change::default() };
        for (reference, object) in std::mem::take(&mut self.pending) {
            match object {
                Some(object) => change.applied.push(object),
                None => change.deleted.push(reference),
            }
        }
        let at = self.pending_since.take().unwrap_or_else(Instant::now);
        Aside { part: PART, noticed: Noticed { change, at } }
    }

    fn count(&self) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.followed.set(number(self.followed.len()));
        let silent = self.followed.values().filter(|f| f.failure.is_some()).count();
        self.metrics.silent.set(number(silent));
    }

    /// What is wrong: one finding for each agent, datacenter and reason.
    fn findings(&self) -> Vec<Diagnostic> {
        let mut silent: BTreeMap<_, Vec<&str>> = BTreeMap::new();
        let mut found = Vec::new();
        for (service, followed) in &self.followed {
            let ConsulService { agent, datacenter, service: name, .. } = service;
            if let Some(why) = &followed.failure {
                let key = (followed.answered, agent, datacenter, why);
                silent.entry(key).or_default().push(name);
            }
            for why in followed.left_out.iter().take(NAMED) {
                let text = format!("Consul's service {name} ({datacenter}): {why}; it is left out");
                found.push(Diagnostic::new(Severity::Warning, ObjectRef::default(), "", text));
            }
        }
        for ((answered, agent, datacenter, why), names) in silent {
            let mut about = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
            if names.len() > NAMED {
                about += &format!(" and {} more", names.len() - NAMED);
            }
            let agent = if agent.is_empty() { self.environment.address() } else { agent };
            let (severity, then) = if answered {
                (Severity::Warning, "its instances stay as they were")
            } else {
                (Severity::Error, "until it does requests get 503")
            };
            let text = format!(
                "Consul at {agent} does not answer about {about} ({datacenter}): {why}; {then}"
            );
            let mut d = Diagnostic::new(severity, ObjectRef::default(), "", text);
            d.hint("see whether the agent runs and the ConsulResolver names it; the token of CONSUL_HTTP_TOKEN goes only to resolvers in the gateway's own namespace");
            found.push(d);
        }
        found.sort();
        found
    }
}

/// Follows one service.
async fn follow(agent: Arc<Agent>, service: ConsulService, heard: mpsc::Sender<Heard>) {
    let mut index = 0;
    let mut failures = 0_u32;
    let mut names = Names::default();
    loop {
        let mut asked = agent.ask(&service, index).await;
        let moved = match &mut asked {
            Ok(answer) => names.resolve(answer).await,
            Err(_) => false,
        };
        let pause = match &asked {
            Ok(answer) => {
                failures = 0;
                BREATH.saturating_sub(answer.took)
            }
            Err(_) => {
                failures = failures.saturating_add(1);
                let wait = RETRY.0.saturating_mul(1 << failures.min(8).saturating_sub(1));
                wait.min(RETRY.1)
            }
        };
        let is_news = match &asked {
            Ok(answer) => {
                let is_news = answer.index != index || moved;
                // An index that goes back is of an agent that began anew (Consul's own rule).
                index = if answer.index < index { 0 } else { answer.index };
                is_news
            }
            Err(_) => {
                // What was there before the failure is asked for whole.
                index = 0;
                true
            }
        };
        if is_news {
            let what = Heard { service: service.clone(), what: asked };
            if heard.send(what).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(pause).await;
    }
}
