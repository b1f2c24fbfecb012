//! When Envoys are asked again for what they refused because of a file of their own disk: sooner at
//! first, then seldom, until all of them took it. Time is an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gateway_core::ResourceType;

use crate::xds::clients::{ClientKind, ClientStatus};
use crate::xds::snapshot::word;

/// After the first refusal.
const FIRST: Duration = Duration::from_secs(1);
/// Each wait is twice the one before, up to this.
const LONGEST: Duration = Duration::from_secs(60);

/// A resource.
pub type Key = (ResourceType, String);

#[derive(Debug)]
enum State {
    /// It is asked for at this time.
    Waiting(Instant),
    /// It was asked for in this revision.
    Asked(u64),
}

/// What is asked for again.
#[derive(Debug, Default)]
pub struct Retries(BTreeMap<Key, (Duration, State)>);

impl Retries {
    /// Notes a refusal.
    pub fn refused(&mut self, key: Key, now: Instant) {
        let wait = self.0.get(&key).map_or(FIRST, |(last, _)| (*last * 2).min(LONGEST));
        self.0.insert(key, (wait, State::Waiting(now + wait)));
    }

    /// When something is due.
    pub fn due(&self) -> Option<Instant> {
        let waiting = |(_, state): &(Duration, State)| match state {
            State::Waiting(until) => Some(*until),
            State::Asked(_) => None,
        };
        self.0.values().filter_map(waiting).min()
    }

    /// What is due, to be asked for.
    pub fn due_now(&self, now: Instant) -> Vec<Key> {
        let is_due = |state: &State| matches!(state, State::Waiting(until) if *until <= now);
        self.0.iter().filter(|(_, (_, s))| is_due(s)).map(|(key, _)| key.clone()).collect()
    }

    /// Notes in which revision it is asked for; none: it is no longer wanted.
    pub fn asked(&mut self, key: &Key, revision: Option<u64>) {
        match (revision, self.0.get_mut(key)) {
            (Some(revision), Some((_, state))) => *state = State::Asked(revision),
            (None, _) => drop(self.0.remove(key)),
            (Some(_), None) => {}
        }
    }

    /// Whether an answer is waited for.
    pub fn is_asking(&self) -> bool {
        self.0.values().any(|(_, state)| matches!(state, State::Asked(_)))
    }

    /// What every Envoy took, and is asked for no more. Nobody takes anything where there is none.
    pub fn take_healed(&mut self, clients: &[ClientStatus]) -> Vec<Key> {
        let envoys: Vec<_> = clients.iter().filter(|c| c.kind == ClientKind::Envoy).collect();
        // One that has just refused it is in sync, too: there is nothing more to send.
        let refuses = |c: &ClientStatus, of| c.types.get(word(of)).is_some_and(|t| t.rejected > 0);
        let is_healed = |(of, _): &Key, state: &State| match state {
            State::Waiting(_) => false,
            State::Asked(revision) => {
                let took = |c: &&ClientStatus| c.is_in_sync(*revision) && !refuses(c, *of);
                !envoys.is_empty() && envoys.iter().all(took)
            }
        };
        self.0.extract_if(.., |key, (_, state)| is_healed(key, state)).map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xds::session::TypeStatus;

    fn key() -> Key {
        (ResourceType::Secret, "certificate/file/a".to_owned())
    }

    fn envoy(revision: u64, in_sync: bool) -> ClientStatus {
        refusing(revision, in_sync, 0)
    }

    fn refusing(revision: u64, in_sync: bool, rejected: usize) -> ClientStatus {
        let mut status = ClientStatus::new(ClientKind::Envoy, None, 0);
        status.revision = revision;
        let wants = "1".to_owned();
        let status_of = TypeStatus { wants, acknowledged: 0, rejected, in_sync };
        status.types.insert("secret", status_of);
        status
    }

    #[test]
    fn waits_grow_up_to_a_minute() {
        let (mut retries, start) = (Retries::default(), Instant::now());
        assert_eq!(retries.due(), None);
        let waits = (0..9).map(|_| {
            retries.refused(key(), start);
            let due = retries.due().unwrap();
            assert!(retries.due_now(due - Duration::from_millis(1)).is_empty());
            assert_eq!(retries.due_now(due), [key()]);
            retries.asked(&key(), Some(1));
            assert_eq!(retries.due(), None);
            (due - start).as_secs()
        });
        assert_eq!(waits.collect::<Vec<_>>(), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn it_is_healed_when_every_envoy_took_it() {
        let mut retries = Retries::default();
        retries.refused(key(), Instant::now());
        assert!(retries.take_healed(&[envoy(9, true)]).is_empty(), "it was not asked for");
        retries.asked(&key(), Some(5));
        assert!(retries.is_asking());
        for clients in [
            vec![],
            vec![envoy(4, true)],
            vec![envoy(5, true), envoy(5, false)],
            vec![refusing(5, true, 1)],
        ] {
            assert!(retries.take_healed(&clients).is_empty(), "{clients:?}");
        }
        assert_eq!(retries.take_healed(&[envoy(5, true), envoy(6, true)]), [key()]);
        assert!(!retries.is_asking());
    }

    #[test]
    fn what_is_no_longer_wanted_is_forgotten() {
        let mut retries = Retries::default();
        retries.refused(key(), Instant::now());
        retries.asked(&key(), None);
        assert_eq!(retries.due(), None);
    }
}
