//! Counters and times by policy. A policy's handles are made at its first request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::Ending;

/// Most policies that have counters of their own; all others share those of `other`.
const MOST: usize = 1_000;
const OTHER: &str = "other";
/// For requests that meet no rule.
const NONE: &str = "none";

/// Upper bounds in seconds.
const BUCKETS: [f64; 11] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 4.0];

const ENDINGS: [Ending; 5] =
    [Ending::Allowed, Ending::Denied, Ending::Failed, Ending::FailedOpen, Ending::Shadowed];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PolicyLabel {
    policy: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabel {
    policy: String,
    result: &'static str,
}

#[derive(Debug)]
struct Handles {
    endings: [Counter; ENDINGS.len()],
    time: Histogram,
}

/// All policies' counters.
#[derive(Debug)]
pub(super) struct Policies {
    known: ArcSwap<HashMap<String, Arc<Handles>>>,
    decisions: Family<DecisionLabel, Counter>,
    times: Family<PolicyLabel, Histogram, fn() -> Histogram>,
}

impl Policies {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let decisions = Family::default();
        let times: Family<PolicyLabel, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS));
        registry.register("authz_decisions", "Decisions by policy and result", decisions.clone());
        registry.register(
            "authz_decision_seconds",
            "Time until a decision by policy, waits for others included",
            times.clone(),
        );
        Self { known: ArcSwap::default(), decisions, times }
    }

    pub(super) fn count(&self, policy: Option<&str>, ending: Ending, took: Duration) {
        let handles = self.handles(policy.unwrap_or(NONE));
        for (of, counter) in ENDINGS.iter().zip(&handles.endings) {
            if *of == ending {
                counter.inc();
            }
        }
        handles.time.observe(took.as_secs_f64());
    }

    fn handles(&self, policy: &str) -> Arc<Handles> {
        let known = self.known.load();
        if let Some(handles) = known.get(policy) {
            return handles.clone();
        }
        let name = if known.len() >= MOST { OTHER } else { policy };
        // What follows copies the map: once, not at each request of those that share.
        if let Some(handles) = known.get(name) {
            return handles.clone();
        }
        let label =
            |ending: Ending| DecisionLabel { policy: name.to_owned(), result: ending.name() };
        let handles = Arc::new(Handles {
            endings: ENDINGS.map(|e| self.decisions.get_or_create(&label(e)).clone()),
            time: self.times.get_or_create(&PolicyLabel { policy: name.to_owned() }).clone(),
        });
        self.known.rcu(|known| {
            let mut known = HashMap::clone(known);
            // One more for those that share; it has a place also when others came in between.
            if name == OTHER || known.len() < MOST {
                known.entry(name.to_owned()).or_insert_with(|| handles.clone());
            }
            known
        });
        handles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_is_counted_and_very_many_share() {
        let mut registry = Registry::default();
        let policies = Policies::register(&mut registry);
        policies.count(Some("shop.edge"), Ending::Denied, Duration::from_millis(3));
        policies.count(None, Ending::Allowed, Duration::ZERO);
        for i in 0..MOST + 50 {
            policies.count(Some(&format!("p{i}.edge")), Ending::Allowed, Duration::ZERO);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "authz_decisions_total{policy=\"shop.edge\",result=\"denied\"} 1",
            "authz_decisions_total{policy=\"none\",result=\"allowed\"} 1",
            "authz_decisions_total{policy=\"other\",result=\"allowed\"} 52",
            "authz_decision_seconds_bucket{le=\"0.005\",policy=\"shop.edge\"} 1",
        ] {
            assert!(text.contains(line), "{line}");
        }
        assert!(policies.known.load().len() <= MOST + 1);
    }

    #[test]
    fn those_that_share_are_found_though_many_came_at_once() {
        let policies = Policies::register(&mut Registry::default());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let policies = &policies;
                scope.spawn(move || {
                    for i in 0..MOST {
                        let name = format!("p{i}-{thread}.edge");
                        policies.count(Some(&name), Ending::Allowed, Duration::ZERO);
                    }
                });
            }
        });
        let known = policies.known.load();
        assert!(known.contains_key(OTHER) && known.len() <= MOST + 1, "{}", known.len());
    }
}
