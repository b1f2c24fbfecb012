//! Traces: spans of requests, sent to a collector by OTLP. A span that ends goes into a bounded
//! queue; a task of its own sends what is there. Knows no service and no attribute.

mod connect;
mod parent;
mod queue;
mod settings;

use std::time::Duration;

use http::HeaderMap;
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, TraceFlags,
    Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, StringValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    IdGenerator as _, RandomIdGenerator, Sampler, SamplingDecision, SdkTracer, SdkTracerProvider,
    ShouldSample as _, SpanExporter as _,
};
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use opentelemetry::{Array, Value};
pub use settings::{Protocol, SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_NAMESPACE, Settings};

use super::shutdown::{Shutdown, Trigger};
use parent::Parent;

/// Longest text of an attribute, in bytes.
const MAX_TEXT: usize = 256;

/// Begins spans. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tracer {
    tracer: SdkTracer,
    /// For requests whose callers leave it to us.
    sampler: Sampler,
}

/// Sends the spans that ended, until it is told to finish.
#[derive(Debug)]
pub struct Sending {
    finish: Trigger,
    task: JoinHandle<()>,
}

/// Starts to send spans; `scope` names who makes them, as in `ratelimit-svc`. What becomes of spans
/// is counted in `registry`. Needs a tokio runtime. A collector that is down is no error.
///
/// # Errors
/// Which setting is wrong, in words for the user; never a secret.
pub fn start(
    settings: &Settings,
    scope: &'static str,
    registry: &mut Registry,
) -> Result<(Tracer, Sending), String> {
    let attributes = settings.resource.iter().map(|(k, v)| KeyValue::new(k.clone(), v.clone()));
    let resource = Resource::builder_empty().with_attributes(attributes).build();
    let mut exporter = connect::exporter(settings)?;
    exporter.set_resource(&resource);
    let sampler = Sampler::TraceIdRatioBased(settings.sampling);
    let (queue, sender) = queue::new(settings, exporter, registry);
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(sampler.clone())))
        .with_resource(resource)
        .with_span_processor(queue)
        .build();
    let (finished, finish) = Shutdown::manual();
    let task = tokio::spawn(sender.run(finished));
    Ok((Tracer { tracer: provider.tracer(scope), sampler }, Sending { finish, task }))
}

impl Sending {
    /// Sends what is left, for `limit` at most. Spans that end later are lost.
    pub async fn finish(self, limit: Duration) {
        self.finish.fire();
        let abort = self.task.abort_handle();
        if timeout(limit, self.task).await.is_err() {
            abort.abort();
            tracing::warn!("the collector did not take the last spans within {limit:?}");
        }
    }
}

impl Tracer {
    /// Begins the span of a request that came in with `headers`, as a part of its caller's trace
    /// if they name one. None when it is not to be recorded: the caller decides, or, where it does
    /// not, chance.
    pub fn request(&self, name: &'static str, headers: &HeaderMap) -> Option<Span<'_>> {
        let context = match parent::of(headers) {
            Parent::None => Context::new(),
            Parent::Is(parent) => Context::new().with_remote_span_context(parent),
            Parent::Undecided(parent) => {
                Context::new().with_remote_span_context(self.decide(&parent))
            }
            Parent::Unsampled => return None,
        };
        self.begin(name, SpanKind::Server, &context)
    }

    fn begin(&self, name: &'static str, kind: SpanKind, context: &Context) -> Option<Span<'_>> {
        let span =
            self.tracer.build_with_context(SpanBuilder::from_name(name).with_kind(kind), context);
        // A context of its own: what the caller's may hold is no use here.
        span.is_recording().then(|| Span { tracer: self, context: Context::new().with_span(span) })
    }

    /// The same parent, decided by chance.
    fn decide(&self, parent: &SpanContext) -> SpanContext {
        let id = parent.trace_id();
        let sampled = self.sampler.should_sample(None, id, "", &SpanKind::Server, &[], &[]);
        let is_sampled = sampled.decision == SamplingDecision::RecordAndSample;
        let flags = TraceFlags::default().with_sampled(is_sampled);
        SpanContext::new(id, parent.span_id(), flags, true, parent.trace_state().clone())
    }
}

/// A span that is recorded. Ends when dropped.
#[derive(Debug)]
pub struct Span<'t> {
    tracer: &'t Tracer,
    context: Context,
}

impl Span<'_> {
    /// Begins a span within this one, of a call to another service.
    pub fn call(&self, name: &'static str) -> Option<Self> {
        self.tracer.begin(name, SpanKind::Client, &self.context)
    }

    /// Tells something of it. Texts are for [`text`].
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        self.context.span().set_attribute(KeyValue::new(key, value));
    }

    /// Tells that it failed.
    pub fn fail(&self, why: &str) {
        self.context.span().set_status(Status::error(cut(why).to_owned()));
    }
}

/// A name for a replica that nobody else has: a UUID of version 4.
pub fn random_uuid() -> String {
    let random = RandomIdGenerator::default().new_trace_id().to_bytes();
    let bits = u128::from_be_bytes(random) & !(0xf << 76) & !(0b11 << 62) | 4 << 76 | 0b10 << 62;
    let hex = format!("{bits:032x}");
    let (a, rest) = hex.split_at(8);
    let (b, rest) = rest.split_at(4);
    let (c, rest) = rest.split_at(4);
    let (d, e) = rest.split_at(4);
    format!("{a}-{b}-{c}-{d}-{e}")
}

/// A text as a value, cut off where it is too long.
pub fn text(text: &str) -> StringValue {
    cut(text).to_owned().into()
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_of_version_4() {
        for uuid in (0..100).map(|_| random_uuid()) {
            let parts: Vec<&str> = uuid.split('-').collect();
            assert_eq!(parts.iter().map(|p| p.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
            assert!(
                parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']),
                "{uuid}"
            );
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"x".repeat(1000)).len(), MAX_TEXT);
        let cut = cut(&"€".repeat(1000)).to_owned();
        assert!(cut.len() <= MAX_TEXT && cut.chars().all(|c| c == '€'), "{cut}");
    }
}
