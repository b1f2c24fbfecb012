//! From a request to its decision; and `envoy.service.auth.v3.Authorization` over gRPC, from bytes
//! to bytes.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use authz_core::need::Need;
use authz_core::{Failure, Flow, Outcome, Reply, Request, Step};
use axum::http::HeaderMap;
use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use service_kit::server::grpc::Unary;
use tonic::Status;

use crate::answer::{self, Style};
use crate::configuration::{Configuration, State};
use crate::decisions::Decisions;
use crate::edge::Edge;
use crate::metrics::Metrics;
use crate::traces::{Span, Traces};

/// Where Envoy calls it.
pub(crate) const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";
/// What is left of the caller's time for the answer to reach it.
const WAY_BACK: Duration = Duration::from_millis(5);

/// For what goes on without a caller.
const LONGEST: Duration = Duration::from_secs(10);

/// Answers checks.
#[derive(Debug)]
pub(crate) struct Checks {
    configuration: Configuration,
    edge: Arc<Edge>,
    decisions: Decisions,
    traces: Traces,
    metrics: Metrics,
    timeout: Duration,
    style: Style,
}

impl Checks {
    pub(crate) fn new(
        configuration: Configuration,
        edge: Arc<Edge>,
        decisions: Decisions,
        traces: Traces,
        metrics: Metrics,
        timeout: Duration,
        style: Style,
    ) -> Self {
        Self { configuration, edge, decisions, traces, metrics, timeout, style }
    }

    /// The answer; in time, and a denial whatever happens on the way. `headers` are those of the
    /// call.
    async fn decide(
        &self,
        request: Request,
        headers: &HeaderMap,
        deadline: Option<Duration>,
    ) -> Outcome {
        let snapshot = match self.configuration.state() {
            State::Waiting => {
                let words = "the authorization service is not configured yet";
                return Outcome::Error(Reply::json(503, words, request.id()));
            }
            State::Ready(snapshot) => snapshot,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start = Instant::now();
        let given = deadline.map(|deadline| deadline.saturating_sub(WAY_BACK));
        let time = given.map_or(self.timeout, |given| given.min(self.timeout));
        let mut flow = Flow::new(snapshot, request, now);
        let span = self.traces.begin(headers);
        let chain = AssertUnwindSafe(self.run(&mut flow, &span)).catch_unwind();
        let outcome = match tokio::time::timeout(time, chain).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => {
                tracing::error!("a check failed by a fault of this program; it was denied");
                flow.fail(Failure::Fault)
            }
            Err(_) => flow.fail(Failure::TimedOut),
        };
        span.decided(&flow, &outcome);
        self.decisions.note(&flow, &outcome, start.elapsed());
        outcome
    }

    async fn run(&self, flow: &mut Flow, span: &Span<'_>) -> Outcome {
        loop {
            match flow.step(&*self.edge) {
                Step::Done(outcome) => return outcome,
                Step::Need(need) => {
                    let _span = span.need(&need);
                    if flow.must_finish() {
                        return self.finish(flow, need).await;
                    }
                    let answer = self.edge.perform(need).await;
                    flow.answer(answer);
                }
            }
        }
    }

    /// Goes on in a task of its own, which ends when it is done, not when the caller is gone: a
    /// browser that breaks off a request must not lose the refresh token that just came.
    async fn finish(&self, flow: &mut Flow, mut need: Need) -> Outcome {
        let (edge, mut own) = (self.edge.clone(), flow.clone());
        let task = async move {
            loop {
                own.answer(edge.perform(need).await);
                match own.step(&*edge) {
                    Step::Done(outcome) => return (own, outcome),
                    Step::Need(next) => need = next,
                }
            }
        };
        match tokio::spawn(tokio::time::timeout(LONGEST, task)).await {
            Ok(Ok((own, outcome))) => {
                *flow = own;
                outcome
            }
            Ok(Err(_)) => flow.fail(Failure::TimedOut),
            Err(_) => {
                tracing::error!("a check failed by a fault of this program; it was denied");
                flow.fail(Failure::Fault)
            }
        }
    }

    /// The answer to a request, or a refusal when it could not be read. What cannot be read is
    /// refused in an answer: an error could be taken as a reason to let the request pass.
    pub(crate) async fn outcome(
        &self,
        request: Result<Request, &'static str>,
        headers: &HeaderMap,
        deadline: Option<Duration>,
    ) -> Outcome {
        match request {
            Ok(request) => self.end(self.decide(request, headers, deadline).await),
            Err(why) => self.refused(400, why),
        }
    }

    /// A request that is refused before it is judged.
    pub(crate) fn refused(&self, status: u16, why: &'static str) -> Outcome {
        self.end(Outcome::Deny(Reply::json(status, why, "")))
    }

    /// How it is told that a request could not be decided.
    pub(crate) fn style(&self) -> Style {
        self.style
    }

    fn end(&self, outcome: Outcome) -> Outcome {
        let outcome = answer::checked(outcome);
        self.count(&outcome);
        outcome
    }

    fn count(&self, outcome: &Outcome) {
        match outcome {
            Outcome::Allow(_) => self.metrics.allowed.inc(),
            Outcome::Deny(reply) if reply.status < 500 => self.metrics.denied.inc(),
            Outcome::Deny(_) | Outcome::Error(_) => self.metrics.failed.inc(),
        };
    }
}

impl Unary for Checks {
    async fn call(
        &self,
        message: Bytes,
        metadata: HeaderMap,
        deadline: Option<Duration>,
    ) -> Result<impl FnOnce(&mut BytesMut) + Send, Status> {
        let outcome = self.outcome(Request::decode(message), &metadata, deadline).await;
        let style = self.style;
        Ok(move |out: &mut BytesMut| answer::write(outcome, style, out))
    }
}
