//! What is kept of a decision: counters by policy, the audit log, and the last decisions for
//! people to look at. Nothing here decides, and no credential gets here.

mod audit;
mod policies;
mod record;
mod recorder;

use std::time::Duration;

use authz_core::{Flow, Outcome};
use prometheus_client::registry::Registry;

pub(crate) use audit::{Audit, AuditSettings};
pub(crate) use record::Record;
pub(crate) use recorder::Recorder;

use policies::Policies;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It passed.
    Allowed,
    /// The client was refused.
    Denied,
    /// It could not be decided, or the configuration is at fault; the client was refused.
    Failed,
    /// It passed because its policy lets pass what cannot be decided.
    FailedOpen,
    /// It passed because its policy only tries; else it had been refused.
    Shadowed,
}

impl Ending {
    /// Reads it off the end of a request.
    pub(crate) fn of(flow: &Flow, outcome: &Outcome) -> Self {
        match (outcome, flow.shadowed()) {
            (_, Some(Outcome::Deny(_) | Outcome::Error(_))) => Self::Shadowed,
            _ if flow.failed_open() => Self::FailedOpen,
            (Outcome::Allow(_), _) => Self::Allowed,
            (Outcome::Deny(reply), _) if reply.status < 500 => Self::Denied,
            (Outcome::Deny(_) | Outcome::Error(_), _) => Self::Failed,
        }
    }

    /// In metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::FailedOpen => "failed_open",
            Self::Shadowed => "shadow_denied",
        }
    }
}

/// Keeps decisions.
#[derive(Debug)]
pub(crate) struct Decisions {
    policies: Policies,
    audit: Option<Audit>,
    recorder: Recorder,
}

impl Decisions {
    /// Without `audit` there is no audit log.
    pub(crate) fn new(registry: &mut Registry, audit: Option<Audit>, recorder: Recorder) -> Self {
        Self { policies: Policies::register(registry), audit, recorder }
    }

    /// Takes the end of a request.
    pub(crate) fn note(&self, flow: &Flow, outcome: &Outcome, took: Duration) {
        let ending = Ending::of(flow, outcome);
        self.policies.count(flow.rule().map(|r| r.policy()), ending, took);
        let for_audit = self.audit.as_ref().filter(|audit| audit.wants(ending));
        let for_people = self.recorder.wants(ending);
        if for_audit.is_none() && !for_people {
            return;
        }
        let record = Record::of(flow, outcome, ending, took);
        if let Some(audit) = for_audit {
            audit.write(&record);
        }
        if for_people {
            self.recorder.keep(record);
        }
    }
}
