//! Who is told how the process is: people at the admin port, and callers by health checks.

use service_kit::server::admin::Readiness;
use service_kit::server::shutdown::Shutdown;

/// A configuration that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loaded {
    /// Without any domain.
    Empty,
    /// With at least one.
    WithDomains,
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    /// `/readyz` of the admin port: everything that is needed to answer, the ports among it.
    pub ready: Readiness,
    /// gRPC health and `/healthcheck`, by the rules of envoyproxy/ratelimit: whether a
    /// configuration counts is a setting. The store does not where every limit says, by
    /// `ON_STORE_ERROR`, what happens without it: whoever sends callers away from a service that
    /// could answer them would undo that.
    pub callers: Readiness,
    needs_configuration: bool,
    needs_store: bool,
}

impl Health {
    /// `needs_configuration` is `HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED`, `needs_store` whether
    /// callers get errors without a store.
    pub(crate) fn new(needs_configuration: bool, needs_store: bool) -> Self {
        let both = [("configuration", needs_configuration), ("store", needs_store)];
        let callers: Vec<&'static str> =
            both.into_iter().filter(|(_, needed)| *needed).map(|(name, _)| name).collect();
        Self {
            ready: Readiness::new(&["configuration", "store", "ports"]),
            callers: Readiness::new(&callers),
            needs_configuration,
            needs_store,
        }
    }

    /// Says how the configuration is, or why there is none.
    pub(crate) fn set_configuration(&self, state: Result<Loaded, String>) {
        if self.needs_configuration {
            let domains = match &state {
                Ok(Loaded::WithDomains) => Ok(()),
                Ok(Loaded::Empty) => Err("no domain has limits".to_owned()),
                Err(why) => Err(why.clone()),
            };
            self.callers.set("configuration", domains);
        }
        self.ready.set("configuration", state.map(|_| ()));
    }

    /// Says how a store is.
    pub(crate) fn set_store(&self, component: &'static str, state: Result<(), String>) {
        if self.needs_store {
            self.callers.set(component, state.clone());
        }
        self.ready.set(component, state);
    }

    /// Says that the ports for callers are open, which is after the first configuration.
    pub(crate) fn set_ports_open(&self) {
        self.ready.set("ports", Ok(()));
    }

    /// Makes the admin port say no as soon as the process is to end. Needs a tokio runtime.
    pub(crate) fn follow(&self, shutdown: Shutdown) {
        let ready = self.ready.clone();
        tokio::spawn(async move {
            shutdown.wait().await;
            ready.set("drain", Err("shutting down".to_owned()));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_ask_for_a_configuration_only_when_told_to() {
        let plain = Health::new(false, true);
        plain.set_store("store", Ok(()));
        plain.set_configuration(Err("broken".to_owned()));
        assert!(plain.callers.is_ready() && !plain.ready.is_ready());
        let strict = Health::new(true, true);
        strict.set_store("store", Ok(()));
        strict.set_configuration(Ok(Loaded::Empty));
        assert!(!strict.callers.is_ready() && !strict.ready.is_ready(), "nobody can come yet");
        strict.set_ports_open();
        assert!(!strict.callers.is_ready() && strict.ready.is_ready());
        strict.set_configuration(Ok(Loaded::WithDomains));
        assert!(strict.callers.is_ready());
    }

    #[test]
    fn callers_may_come_without_a_store_where_limits_say_what_happens() {
        let health = Health::new(false, false);
        health.set_configuration(Ok(Loaded::WithDomains));
        health.set_store("store", Err("gone".to_owned()));
        assert!(health.callers.is_ready() && !health.ready.is_ready());
    }
}
