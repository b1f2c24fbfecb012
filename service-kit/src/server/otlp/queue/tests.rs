use std::sync::{Arc, Mutex};

use opentelemetry::trace::{Tracer as _, TracerProvider as _};
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use super::*;

/// A collector that keeps the names of spans, while it is up.
#[derive(Clone, Debug, Default)]
struct Collector {
    is_down: bool,
    batches: Arc<Mutex<Vec<Vec<String>>>>,
}

impl SpanExporter for Collector {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        if self.is_down {
            return Err(OTelSdkError::InternalFailure("down".to_owned()));
        }
        let names = batch.into_iter().map(|span| span.name.into_owned()).collect();
        self.batches.lock().unwrap().push(names);
        Ok(())
    }
}

fn fixture(collector: &Collector, delay: &'static str) -> (SdkTracer, Sender<Collector>, Registry) {
    let variable = |name: &str| match name {
        "OTEL_BSP_SCHEDULE_DELAY" => Some(delay),
        "OTEL_BSP_MAX_QUEUE_SIZE" => Some("4"),
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE" => Some("3"),
        _ => None,
    };
    let settings = Settings::read(variable, None).unwrap();
    let mut registry = Registry::default();
    let (queue, sender) = new(&settings, collector.clone(), &mut registry);
    let provider = SdkTracerProvider::builder().with_span_processor(queue).build();
    (provider.tracer("test"), sender, registry)
}

fn count(registry: &Registry, outcome: &str) -> u64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let start = format!("tollgate_trace_spans_total{{outcome=\"{outcome}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&start));
    line.expect("no such counter").parse().unwrap()
}

fn end_spans(tracer: &SdkTracer, count: usize) {
    for i in 0..count {
        drop(tracer.start(format!("s{i}")));
    }
}

#[tokio::test]
async fn what_does_not_fit_is_dropped_and_the_rest_is_sent_at_the_end() {
    let collector = Collector::default();
    let (tracer, sender, registry) = fixture(&collector, "3600000");
    end_spans(&tracer, 6);
    let (finished, finish) = Shutdown::manual();
    finish.fire();
    sender.run(finished).await;
    assert_eq!(*collector.batches.lock().unwrap(), [vec!["s0", "s1", "s2"], vec!["s3"]]);
    let counts = ["sent", "lost", "dropped"].map(|outcome| count(&registry, outcome));
    assert_eq!(counts, [4, 0, 2]);
    // The queue is closed: nobody waits for it.
    end_spans(&tracer, 1);
    assert_eq!(count(&registry, "dropped"), 3);
}

/// Waits for a batch.
async fn seen(collector: &Collector) -> Vec<String> {
    let batches = async {
        loop {
            if let Some(batch) = collector.batches.lock().unwrap().pop() {
                return batch;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), batches).await.expect("no batch comes")
}

#[tokio::test]
async fn a_batch_goes_when_it_is_full_or_its_delay_is_over() {
    for (delay, spans) in [("3600000", vec!["s0", "s1", "s2"]), ("1", vec!["s0"])] {
        let collector = Collector::default();
        let (tracer, sender, _) = fixture(&collector, delay);
        let (finished, finish) = Shutdown::manual();
        let task = tokio::spawn(sender.run(finished));
        end_spans(&tracer, spans.len());
        assert_eq!(seen(&collector).await, spans);
        finish.fire();
        task.await.unwrap();
    }
}

#[tokio::test]
async fn what_a_collector_does_not_take_is_lost_and_does_not_hold_up_the_end() {
    let collector = Collector { is_down: true, ..Collector::default() };
    let (tracer, mut sender, registry) = fixture(&collector, "1");
    // The next pause is the longest.
    sender.fails.in_a_row = 5;
    let (finished, finish) = Shutdown::manual();
    let task = tokio::spawn(sender.run(finished));
    end_spans(&tracer, 4);
    let lost = async {
        while count(&registry, "lost") == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), lost).await.expect("nothing is lost");
    finish.fire();
    timeout(MAX_BACKOFF / 3, task).await.unwrap().unwrap();
    assert_eq!(count(&registry, "lost"), 4);
}

#[test]
fn a_collector_that_is_down_is_tried_ever_more_rarely() {
    let mut fails = Fails::default();
    let pauses: Vec<_> = (0..7).map(|_| fails.next_pause().as_secs()).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    fails.end("");
    assert_eq!(fails.next_pause(), MIN_BACKOFF);
}
