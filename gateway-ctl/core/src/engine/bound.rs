//! The bound of what multiplies: each Host has the routes of each Mapping that fits it.
//!
//! Hosts are counted in the order of their names, by what could fit them, so that the same Hosts are
//! left without routes whatever happened before.

use std::collections::BTreeMap;

use service_kit::{Diagnostic, ObjectRef, Severity};

use super::groups::{Groups, host_keys};
use crate::resource::Host;
use crate::store::Store;

/// Most routes of all Hosts together; each takes some hundred bytes here and in each Envoy.
pub(super) const MOST_ROUTES: usize = 1_000_000;

impl Groups {
    /// Finds the Hosts for which there is no room, and takes them out of, or back into, the index.
    pub(super) fn keep_bound(&mut self, store: &Store, most: usize) {
        let before = std::mem::take(&mut self.crowded_out);
        // Seldom more: then nothing has to be counted.
        if self.hosts.len().saturating_mul(self.mapping_count()) > most {
            self.crowded_out = self.find_crowded_out(most);
        }
        let moved: Vec<(ObjectRef, Host)> = before
            .keys()
            .chain(self.crowded_out.keys())
            .filter(|host| before.contains_key(*host) != self.crowded_out.contains_key(*host))
            .filter_map(|host| Some((host.clone(), self.hosts.get(host)?.host().clone())))
            .collect();
        for (reference, host) in moved {
            let keys = host_keys(&host, self.loose);
            if self.crowded_out.contains_key(&reference) {
                self.host_index.remove(&reference, &keys);
            } else {
                self.host_index.insert(&reference, &keys);
            }
            self.dirty_mappings_of(store, &host);
        }
        // A Host that changed was put into the index again.
        for reference in self.crowded_out.keys() {
            if let Some(state) = self.hosts.get(reference) {
                self.host_index.remove(reference, &host_keys(state.host(), self.loose));
            }
        }
        self.found_changed |= before != self.crowded_out;
    }

    fn find_crowded_out(&self, most: usize) -> BTreeMap<ObjectRef, Diagnostic> {
        let mut all = 0_usize;
        let mut crowded_out = BTreeMap::new();
        for (reference, state) in &self.hosts {
            let count = self.mapping_index.count(&host_keys(state.host(), self.loose));
            all = all.saturating_add(count);
            if all > most {
                crowded_out.insert(reference.clone(), too_many(reference, count, most));
            }
        }
        crowded_out
    }
}

fn too_many(host: &ObjectRef, count: usize, most: usize) -> Diagnostic {
    let text = format!(
        "there is no room for the routes of {count} Mappings that may fit it: all Hosts together have \
         {most} at most; it is served without routes"
    );
    let mut d = Diagnostic::new(Severity::Error, host.clone(), "spec.hostname", text);
    d.hint("give Mappings the hostname that they are for, or Hosts a mappingSelector");
    d
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use service_kit::Object;

    use super::*;
    use crate::resource::Spec;

    fn apply(groups: &mut Groups, store: &mut Store, kind: &str, name: &str, hostname: &str) {
        let spec = match kind {
            "Host" => json!({"hostname": hostname}),
            _ => json!({"hostname": hostname, "prefix": format!("/{name}/"), "service": "s"}),
        };
        let object = json!({
            "apiVersion": "getambassador.io/v3alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": "default"}, "spec": spec,
        });
        let object = Arc::new(Object::from_json(object).unwrap());
        let reference = object.reference.clone();
        let change = store.put(object, "default").unwrap();
        match change.new.as_deref().map(|good| &good.spec) {
            Some(Spec::Host(host)) => groups.touch_host(store, &reference, Some(host)),
            Some(Spec::Mapping(mapping)) => groups.touch_mapping(&reference, None, Some(mapping)),
            other => panic!("{other:?}"),
        }
    }

    fn crowded_out(groups: &mut Groups, store: &Store, most: usize) -> Vec<String> {
        groups.keep_bound(store, most);
        groups.crowded_out.keys().map(|host| host.name.clone()).collect()
    }

    #[test]
    fn hosts_without_room_are_the_last_by_name_whatever_came_first() {
        let all: Vec<_> = (0..4)
            .map(|n| ("Host", format!("h{n}"), format!("h{n}.test")))
            .chain((0..3).map(|n| ("Mapping", format!("m{n}"), "*".to_owned())))
            .chain([("Mapping", "own".to_owned(), "h3.test".to_owned())])
            .collect();
        for reversed in [false, true] {
            let (mut groups, mut store) = (Groups::default(), Store::default());
            let mut all = all.clone();
            if reversed {
                all.reverse();
            }
            for (kind, name, hostname) in all {
                apply(&mut groups, &mut store, kind, &name, &hostname);
            }
            // Three for each, one more for the last.
            assert_eq!(crowded_out(&mut groups, &store, 13), Vec::<String>::new());
            assert_eq!(crowded_out(&mut groups, &store, 12), ["h3"]);
            assert_eq!(crowded_out(&mut groups, &store, 8), ["h2", "h3"]);
            assert!(groups.found().any(|d| d.message.contains("no room for the routes of 4")));
            assert_eq!(crowded_out(&mut groups, &store, 13), Vec::<String>::new(), "and back");
        }
    }
}
