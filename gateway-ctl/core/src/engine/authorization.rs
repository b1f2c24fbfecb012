//! What is wrong with Filters and FilterPolicies together: what each names and what is there.

use std::collections::BTreeMap;

use service_kit::{Diagnostic, Object, ObjectRef};

use crate::store::Store;

/// The findings of all of them.
#[derive(Debug, Default)]
pub(super) struct Authorization {
    found: Vec<Diagnostic>,
    dirty: bool,
}

impl Authorization {
    /// Takes a change of an object that is passed on.
    pub(super) fn touch(&mut self, object: &ObjectRef) {
        self.dirty |= object.kind != "RateLimit";
    }

    /// Looks at all of them again, if one changed; gives whether something else is wrong now.
    pub(super) fn settle(&mut self, store: &Store) -> bool {
        if !std::mem::take(&mut self.dirty) {
            return false;
        }
        let in_force: Vec<&Object> = ["Filter", "FilterPolicy", "Secret"]
            .into_iter()
            .flat_map(|kind| store.of_kind(kind))
            .filter_map(|(_, entry)| Some(&*entry.good.as_ref()?.object))
            .collect();
        // Which objects are ours was decided at the door.
        let settings = authz_core::Settings { ambassador_id: None, ..Default::default() };
        let mut found = authz_core::compile(in_force.iter().copied(), &settings).found;
        // What is wrong with one by itself was said at the door, of its newest version.
        let mut own: BTreeMap<ObjectRef, Vec<Diagnostic>> = BTreeMap::new();
        found.retain(|d| {
            let known = own.entry(d.object.clone()).or_insert_with(|| {
                let good = store.good(&d.object);
                good.map(|g| authz_core::check(&g.object)).unwrap_or_default()
            });
            !known.iter().any(|o| o.path == d.path && o.message == d.message)
        });
        let changed = self.found != found;
        self.found = found;
        changed
    }

    /// What is wrong.
    pub(super) fn found(&self) -> &[Diagnostic] {
        &self.found
    }
}
