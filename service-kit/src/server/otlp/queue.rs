//! Between the requests and the collector: a bounded queue, batches, and a collector that is down.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::super::shutdown::Shutdown;
use super::settings::Settings;

/// Wait after a batch that was not taken; doubles up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_secs(1);
/// Longest wait between tries.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// Least time between two lines about a collector that is down.
const QUIET: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// Takes spans as they end; never waits.
#[derive(Debug)]
pub(super) struct Queue {
    spans: mpsc::Sender<SpanData>,
    dropped: Counter,
}

/// Sends what is in the queue.
pub(super) struct Sender<E> {
    spans: mpsc::Receiver<SpanData>,
    exporter: E,
    /// Where to, for people.
    shown: String,
    batch: usize,
    delay: Duration,
    patience: Duration,
    sent: Counter,
    lost: Counter,
    fails: Fails,
}

/// What the collector did not take of late.
#[derive(Default)]
struct Fails {
    in_a_row: u32,
    told: Option<Instant>,
    /// The last line said that it is down.
    is_told: bool,
}

/// Both ends of a queue.
pub(super) fn new<E: SpanExporter>(
    settings: &Settings,
    exporter: E,
    registry: &mut Registry,
) -> (Queue, Sender<E>) {
    let spans = Family::<Outcome, Counter>::default();
    registry.register(
        "tollgate_trace_spans",
        "Spans by outcome: sent, lost (the collector did not take them), dropped (the queue was full)",
        spans.clone(),
    );
    let of = |outcome| spans.get_or_create(&Outcome { outcome }).clone();
    let (sender, receiver) = mpsc::channel(settings.queue);
    let queue = Queue { spans: sender, dropped: of("dropped") };
    let sender = Sender {
        spans: receiver,
        exporter,
        shown: settings.shown(),
        batch: settings.batch,
        delay: settings.delay,
        // The exporter tries again by itself within its time-out; a single try may begin at the
        // end of it.
        patience: settings.timeout * 2,
        sent: of("sent"),
        lost: of("lost"),
        fails: Fails::default(),
    };
    (queue, sender)
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.spans.try_send(span).is_err() {
            self.dropped.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl<E: SpanExporter> Sender<E> {
    /// Sends until `finish`, then what is left.
    pub(super) async fn run(mut self, finish: Shutdown) {
        let mut batch = Vec::new();
        loop {
            let more = tokio::select! {
                biased;
                () = finish.wait() => break,
                more = self.fill(&mut batch) => more,
            };
            if !more {
                return;
            }
            if let Some(pause) = self.send(&mut batch).await {
                tokio::select! {
                    () = sleep(pause) => {}
                    () = finish.wait() => break,
                }
            }
        }
        self.spans.close();
        while !batch.is_empty() || self.fill(&mut batch).await {
            if self.send(&mut batch).await.is_some() {
                return;
            }
        }
    }

    /// Waits for spans: until there is a whole batch, or for the delay after the first one. False
    /// when no more come. What is in `batch` stays there when this is dropped.
    async fn fill(&mut self, batch: &mut Vec<SpanData>) -> bool {
        if batch.is_empty() && self.spans.recv_many(batch, self.batch).await == 0 {
            return false;
        }
        let end = Instant::now() + self.delay;
        while batch.len() < self.batch {
            let room = self.batch - batch.len();
            match timeout_at(end, self.spans.recv_many(batch, room)).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => break,
            }
        }
        true
    }

    /// Sends a batch; how long to wait when it was not taken.
    async fn send(&mut self, batch: &mut Vec<SpanData>) -> Option<Duration> {
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let exported = self.exporter.export(std::mem::take(batch));
        let why = match timeout(self.patience, exported).await {
            Ok(Ok(())) => {
                self.sent.inc_by(count);
                self.fails.end(&self.shown);
                return None;
            }
            Ok(Err(e)) => e.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        self.lost.inc_by(count);
        self.fails.tell(&self.shown, &why);
        Some(self.fails.next_pause())
    }
}

impl Fails {
    fn tell(&mut self, collector: &str, why: &str) {
        if self.told.is_none_or(|told| told.elapsed() >= QUIET) {
            self.told = Some(Instant::now());
            self.is_told = true;
            tracing::warn!(
                "spans cannot be sent to {collector}: {why}; they are lost until it takes them \
                 (does the collector run? is OTEL_EXPORTER_OTLP_ENDPOINT right?)"
            );
        }
    }

    fn end(&mut self, collector: &str) {
        self.in_a_row = 0;
        if std::mem::take(&mut self.is_told) {
            tracing::info!("{collector} takes spans again");
        }
    }

    fn next_pause(&mut self) -> Duration {
        let pause = MIN_BACKOFF.saturating_mul(1 << self.in_a_row.min(16));
        self.in_a_row = self.in_a_row.saturating_add(1);
        pause.min(MAX_BACKOFF)
    }
}

#[cfg(test)]
#[path = "queue/tests.rs"]
mod tests;
