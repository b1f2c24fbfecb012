//! What an object touches: what is to be settled when it changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use service_kit::ObjectRef;

use super::Engine;
use crate::ir::error_page::ErrorPages;
use crate::lower::resolver;
use crate::resource::{Mapping, Spec};
use crate::store::{Change, Good};

/// Most objects that are named as the cause of a change.
const MAX_CAUSES: usize = 20;

/// What is to be settled, beyond what the parts of the engine know themselves.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    pub(super) services: bool,
    pub(super) bindings: bool,
    pub(super) listeners: bool,
    pub(super) tables: bool,
    pub(super) resolvers: bool,
    /// A Secret or a TLSContext.
    pub(super) tls: bool,
    pub(super) mappings: BTreeSet<ObjectRef>,
    /// TCPMappings.
    pub(super) tcp: BTreeSet<ObjectRef>,
    causes: BTreeSet<ObjectRef>,
}

impl Dirty {
    /// The changed objects of some kinds.
    pub(super) fn causes_of(&self, kinds: &[&str]) -> Vec<ObjectRef> {
        let fits = |r: &&ObjectRef| kinds.contains(&r.kind.as_str());
        self.causes.iter().filter(fits).cloned().collect()
    }
}

impl Engine {
    /// Marks what an object touched before and what it touches now.
    pub(super) fn touch(&mut self, change: &Change, dirty: &mut Dirty) {
        let (old, new) = (change.old.as_deref(), change.new.as_deref());
        let unchanged = match (&change.old, &change.new) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => !change.missing,
            _ => false,
        };
        if unchanged {
            return;
        }
        let reference = &change.reference;
        if dirty.causes.len() < MAX_CAUSES {
            dirty.causes.insert(reference.clone());
        }
        match reference.kind.as_str() {
            "Mapping" => {
                let (old, new) = (old.and_then(as_mapping), new.and_then(as_mapping));
                let had_some = !self.own_error_pages.is_empty();
                match new.map(|m| &m.error_pages) {
                    Some(ErrorPages::Own(_)) => self.own_error_pages.insert(reference.clone()),
                    _ => self.own_error_pages.remove(reference),
                };
                dirty.listeners |= had_some == self.own_error_pages.is_empty();
                self.groups.touch_mapping(reference, old, new);
                dirty.mappings.insert(reference.clone());
            }
            "Host" => {
                let host = match new.map(|g| &g.spec) {
                    Some(Spec::Host(host)) => Some(&**host),
                    _ => None,
                };
                self.groups.touch_host(&self.store, reference, host);
                dirty.bindings = true;
            }
            "Listener" => dirty.bindings = true,
            "TLSContext" => dirty.tls = true,
            "TCPMapping" => {
                dirty.bindings = true;
                dirty.tcp.insert(reference.clone());
            }
            "Module" | "AuthService" | "RateLimitService" | "TracingService" | "LogService" => {
                dirty.services = true;
            }
            "Service" => {
                self.references.touch_service(reference);
                self.endpoints.touch(reference, old, new);
            }
            "ConsulService" => self.endpoints.touch_consul(reference),
            "Ingress" | "IngressClass" => {}
            "EndpointSlice" | "Endpoints" => self.endpoints.touch(reference, old, new),
            kind if resolver::KINDS.contains(&kind) => dirty.resolvers = true,
            _ => {
                dirty.tls |= reference.kind == "Secret";
                self.authorization.touch(reference);
                self.passed_on.touch(reference, old, new);
            }
        }
    }
}

fn as_mapping(good: &Good) -> Option<&Mapping> {
    match &good.spec {
        Spec::Mapping(mapping) => Some(mapping),
        _ => None,
    }
}
