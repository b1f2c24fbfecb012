//! The two ways to speak ADS. A session speaks the delta way; [`StateOfTheWorld`] translates for
//! clients that know only the older one, in which each response has all resources of a type (or
//! all that are asked for by name), and what is missing is gone.

use std::collections::{BTreeMap, BTreeSet};

use gateway_core::ResourceType;
use prost_types::Any;
use proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use sha2::{Digest as _, Sha256};

use super::snapshot::Snapshot;

/// What becomes of a response of a session.
pub(super) enum Given<Response> {
    /// It is sent.
    Send(Response),
    /// There is no way to say it, and no need: the session is answered at once.
    Answer(Box<DeltaDiscoveryRequest>),
}

/// One way to speak.
pub(super) trait Wire: Default + Send + 'static {
    /// What clients send.
    type Request: Send;
    /// What they get.
    type Response: Send;

    /// A client's request as the session knows it; none when it is of no concern.
    fn take(
        &mut self,
        request: Self::Request,
        snapshot: &Snapshot,
    ) -> Option<DeltaDiscoveryRequest>;

    /// A session's response as the client knows it.
    fn give(&mut self, response: DeltaDiscoveryResponse) -> Given<Self::Response>;
}

/// Only what is different.
#[derive(Default)]
pub(super) struct Delta;

impl Wire for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;

    fn take(&mut self, request: Self::Request, _: &Snapshot) -> Option<DeltaDiscoveryRequest> {
        Some(request)
    }

    fn give(&mut self, response: DeltaDiscoveryResponse) -> Given<DeltaDiscoveryResponse> {
        Given::Send(response)
    }
}

/// Name to version and, where a response must have all there are, content.
type Held = BTreeMap<String, (String, Option<Any>)>;

/// What one client has of one type.
#[derive(Default)]
struct Known {
    names: BTreeSet<String>,
    held: Held,
    /// The response that waits for its answer, and what the client has if it takes it.
    sent: Option<(String, Held)>,
}

/// Everything each time.
#[derive(Default)]
pub(super) struct StateOfTheWorld {
    types: BTreeMap<ResourceType, Known>,
}

/// Types of which a response has all there are: what it lacks is gone.
const fn is_whole(resource_type: ResourceType) -> bool {
    !matches!(
        resource_type,
        ResourceType::Endpoint
            | ResourceType::Secret
            | ResourceType::Extension
            | ResourceType::Route
    )
}

impl Wire for StateOfTheWorld {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;

    fn take(
        &mut self,
        request: Self::Request,
        snapshot: &Snapshot,
    ) -> Option<DeltaDiscoveryRequest> {
        let mut delta = DeltaDiscoveryRequest {
            node: request.node,
            type_url: request.type_url,
            ..DeltaDiscoveryRequest::default()
        };
        let Some(resource_type) = ResourceType::from_type_url(&delta.type_url) else {
            return Some(delta);
        };
        let first = !self.types.contains_key(&resource_type);
        let known = self.types.entry(resource_type).or_default();
        let sent = known.sent.take_if(|(nonce, _)| *nonce == request.response_nonce);
        if !request.response_nonce.is_empty() && sent.is_none() && !first {
            // About a response that another one has overtaken.
            return None;
        }
        if let Some((nonce, held)) = sent {
            delta.response_nonce = nonce;
            delta.error_detail = request.error_detail;
            if delta.error_detail.is_none() {
                known.held = held;
            }
        }
        let names: BTreeSet<String> = request.resource_names.into_iter().collect();
        delta.resource_names_subscribe = names.difference(&known.names).cloned().collect();
        delta.resource_names_unsubscribe = known.names.difference(&names).cloned().collect();
        known.held.retain(|name, _| names.is_empty() || names.contains(name));
        known.names = names;
        if first && !request.version_info.is_empty() {
            // It comes back. If it has what there is, nothing is sent.
            let now = current(resource_type, &known.names, snapshot);
            if version(&now) == request.version_info {
                let versions =
                    now.iter().map(|(name, (version, _))| (name.clone(), version.clone()));
                delta.initial_resource_versions = versions.collect();
                known.held = now;
            }
        }
        Some(delta)
    }

    fn give(&mut self, response: DeltaDiscoveryResponse) -> Given<DiscoveryResponse> {
        let DeltaDiscoveryResponse { resources, type_url, removed_resources, nonce, .. } = response;
        let answer = DeltaDiscoveryRequest {
            type_url: type_url.clone(),
            response_nonce: nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        let Some(resource_type) = ResourceType::from_type_url(&type_url) else {
            return Given::Answer(Box::new(answer));
        };
        let known = self.types.entry(resource_type).or_default();
        let whole = is_whole(resource_type);
        let mut held = known.held.clone();
        for name in &removed_resources {
            held.remove(name);
        }
        let mut news = Vec::new();
        for resource in resources {
            if !whole {
                news.extend(resource.resource.clone());
            }
            let content = resource.resource.filter(|_| whole);
            held.insert(resource.name, (resource.version, content));
        }
        if !whole && news.is_empty() {
            known.held = held;
            return Given::Answer(Box::new(answer));
        }
        let all = if whole {
            held.values().filter_map(|(_, content)| content.clone()).collect()
        } else {
            news
        };
        let response = DiscoveryResponse {
            version_info: version(&held),
            resources: all,
            type_url,
            nonce: nonce.clone(),
            ..DiscoveryResponse::default()
        };
        known.sent = Some((nonce, held));
        Given::Send(response)
    }
}

/// What a client has that has everything in force that it asks for.
fn current(resource_type: ResourceType, names: &BTreeSet<String>, snapshot: &Snapshot) -> Held {
    let resources = snapshot.of(resource_type);
    let wanted = |name: &str| names.is_empty() && is_whole(resource_type) || names.contains(name);
    let content = |body: &bytes::Bytes| {
        let type_url = resource_type.type_url().to_owned();
        is_whole(resource_type).then(|| Any { type_url, value: body.to_vec() })
    };
    resources
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, r)| (name.to_string(), (r.version.clone(), content(&r.body))))
        .collect()
}

/// Equal for equal content, on every replica.
fn version(held: &Held) -> String {
    let mut hash = Sha256::new();
    for (name, (version, _)) in held {
        hash.update(name);
        hash.update([0]);
        hash.update(version);
        hash.update([0]);
    }
    gateway_core::envoy::hex(&hash.finalize())
}
