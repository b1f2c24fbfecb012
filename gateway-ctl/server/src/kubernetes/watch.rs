//! One watch: a task that follows one kind in one namespace (or one object) and never gives up.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::watcher::{self, watcher};
use kube::{Client, Error};
use service_kit::{Object, ObjectRef};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::object;

/// A watch is resumed at least this often (seconds), so that a dead connection is noticed.
const RESUME_SECONDS: u32 = 60;
/// First wait after a failure; doubles up to [`MAX_WAIT`].
const MIN_WAIT: Duration = Duration::from_millis(200);
/// Longest wait after a failure.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    /// As in `getambassador.io/v3alpha1`.
    pub api_version: String,
    /// As in `Mapping`.
    pub kind: String,
    /// As in `mappings`.
    pub plural: String,
    /// All namespaces when absent.
    pub namespace: Option<String>,
    /// One object only.
    pub name: Option<String>,
}

impl Target {
    pub(super) fn new(resource: &ApiResource, namespace: Option<&str>, name: Option<&str>) -> Self {
        Self {
            api_version: resource.api_version.clone(),
            kind: resource.kind.clone(),
            plural: resource.plural.clone(),
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
        }
    }

    pub(super) fn resource(&self) -> ApiResource {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", &self.api_version));
        super::discovery::builtin(group, version, &self.kind, &self.plural)
    }
}

/// What a watch says.
#[derive(Debug)]
pub(super) enum Event {
    /// A list begins.
    ListBegins,
    /// An object of the list.
    Listed(Arc<Object>),
    /// The list is complete: what was not in it is gone.
    ListEnds,
    /// An object is new or changed.
    Applied(Arc<Object>),
    /// An object is gone.
    Deleted(ObjectRef),
    /// The API server does not answer or refuses; it is asked again.
    Failed(Failure),
}

/// Why a watch does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Whether the API server answered, with a refusal.
    pub refused: bool,
    /// In words.
    pub message: String,
}

/// A watch that ends when it is dropped.
pub(super) struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Selectors of a watch.
#[derive(Clone, Debug, Default)]
pub(super) struct Selectors {
    pub labels: Option<String>,
    pub fields: Option<String>,
}

/// Follows `target`; what it says goes to `events`, with `number` on it.
pub(super) fn follow(
    client: Client,
    target: &Target,
    selectors: &Selectors,
    number: u64,
    events: mpsc::Sender<(u64, Event)>,
) -> Watch {
    let resource = target.resource();
    let api: Api<DynamicObject> = match &target.namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
        None => Api::all_with(client, &resource),
    };
    let mut config = watcher::Config::default().timeout(RESUME_SECONDS);
    config.label_selector.clone_from(&selectors.labels);
    config.field_selector = match &target.name {
        Some(name) => Some(format!("metadata.name={name}")),
        None => selectors.fields.clone(),
    };
    Watch(tokio::spawn(async move {
        let mut stream = std::pin::pin!(watcher(api, config));
        let mut wait = MIN_WAIT;
        while let Some(event) = stream.next().await {
            let event = match event {
                Ok(event) => {
                    wait = MIN_WAIT;
                    translate(event, &resource)
                }
                Err(e) => Some(Event::Failed(failure(&e))),
            };
            let failed = matches!(event, Some(Event::Failed(_)));
            if let Some(event) = event
                && events.send((number, event)).await.is_err()
            {
                return;
            }
            if failed {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(MAX_WAIT);
            }
        }
    }))
}

fn translate(event: watcher::Event<DynamicObject>, resource: &ApiResource) -> Option<Event> {
    let read = |object| match object::read(object, resource) {
        Ok(object) => Some(Arc::new(object)),
        Err(why) => {
            // The API server checks names, so nobody can write such an object.
            tracing::warn!("passed over: {why}");
            None
        }
    };
    Some(match event {
        watcher::Event::Init => Event::ListBegins,
        watcher::Event::InitApply(object) => Event::Listed(read(object)?),
        watcher::Event::InitDone => Event::ListEnds,
        watcher::Event::Apply(object) => Event::Applied(read(object)?),
        watcher::Event::Delete(object) => Event::Deleted(object::reference(&object, resource)),
    })
}

fn failure(e: &watcher::Error) -> Failure {
    use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
    let refusal = match e {
        InitialListFailed(Error::Api(status)) | WatchStartFailed(Error::Api(status)) => {
            Some(&**status)
        }
        WatchError(status) => Some(&**status),
        _ => None,
    };
    match (refusal, e) {
        // 410: the place in the history is gone; a new list follows by itself.
        (Some(status), _) if status.code == 410 || status.code >= 500 => {
            Failure { refused: false, message: status.message.clone() }
        }
        (Some(status), _) => Failure { refused: true, message: status.message.clone() },
        (None, InitialListFailed(e) | WatchStartFailed(e) | WatchFailed(e)) => {
            Failure { refused: false, message: words(e) }
        }
        (None, e) => Failure { refused: false, message: e.to_string() },
    }
}

/// An error with its causes.
pub(crate) fn words(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut cause = e.source();
    while let Some(e) = cause {
        let more = e.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = e.source();
    }
    text
}
