//! Does what filters ask for: fetches, calls, the store of sessions, long work. What is asked for,
//! and what becomes of an answer, is the core's.

mod addresses;
mod stages;
pub mod store;
mod upstreams;
mod work;

use std::time::Instant;

use authz_core::need::{Answer, AtHand, CallError, Need};

use crate::documents::Documents;

pub(crate) use addresses::Addresses;
pub(crate) use stages::Stages;
use store::Store;
pub(crate) use upstreams::Upstreams;
pub(crate) use work::Work;

/// Everything outside.
#[derive(Debug)]
pub(crate) struct Edge {
    /// Documents that many requests share.
    pub(crate) documents: Documents,
    /// Servers that are called.
    pub(crate) upstreams: Upstreams,
    /// Sessions.
    pub(crate) store: Store,
    /// Threads for long work.
    pub(crate) work: Work,
    /// How long all this takes.
    pub(crate) stages: Stages,
}

impl Edge {
    /// Does it. The caller has the deadline: this may be dropped at any point.
    pub(crate) async fn perform(&self, need: Need) -> Answer {
        let (stage, start) = (self.stages.of(&need), Instant::now());
        let answer = self.answer_to(need).await;
        if let Some(stage) = stage {
            stage.observe(start.elapsed().as_secs_f64());
        }
        answer
    }

    async fn answer_to(&self, need: Need) -> Answer {
        match need {
            Need::Document(fetch) => Answer::Document(self.documents.get(&fetch).await),
            Need::Http(call) => Answer::Http(self.upstreams.http(*call).await),
            Need::Grpc(call) => Answer::Grpc(self.upstreams.grpc(*call).await),
            Need::Store(command) => Answer::Store(self.store.run(command).await),
            Need::Compute(job) => Answer::Computed(self.work.run(job).await),
            Need::Random => random(),
            Need::Wait(time) => {
                tokio::time::sleep(time).await;
                Answer::Waited
            }
        }
    }
}

impl AtHand for Edge {
    fn answer(&self, need: &Need) -> Option<Answer> {
        match need {
            Need::Document(fetch) => self.documents.at_hand(fetch).map(Answer::Document),
            Need::Random => Some(random()),
            _ => None,
        }
    }
}

/// From the system's generator; an answer of another kind, which is an error, when it fails.
fn random() -> Answer {
    let mut bytes = [0; 32];
    match rustls::crypto::aws_lc_rs::default_provider().secure_random.fill(&mut bytes) {
        Ok(()) => Answer::Random(bytes),
        Err(_) => Answer::Http(Err(CallError::Unavailable)),
    }
}
