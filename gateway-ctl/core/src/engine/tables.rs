//! Route tables: which are to be put together anew.

use super::Engine;
use super::dirty::Dirty;
use crate::envoy;
use crate::output::{Resource, ResourceType};

impl Engine {
    /// Puts the route tables together whose Hosts changed.
    pub(super) fn settle_tables(&mut self, dirty: &Dirty) -> usize {
        let dirty_hosts = std::mem::take(&mut self.groups.dirty_hosts);
        let causes = dirty.causes_of(&["Mapping", "Host", "Module"]);
        let mut assembled = 0;
        let tables =
            self.bindings.iter().flat_map(|(r, b)| b.tables().map(move |table| (r, b, table)));
        for (reference, binding, table) in tables {
            let hit = table.hosts.values().any(|(host, _)| dirty_hosts.contains(host));
            if !hit && !dirty.tables {
                continue;
            }
            let mut parts = Vec::new();
            let mut owners = vec![reference.clone()];
            for (host, mode) in table.hosts.values() {
                assembled += usize::from(dirty_hosts.contains(host));
                parts.extend(self.groups.virtual_host(host, *mode));
                owners.push(host.clone());
            }
            let head = envoy::table::Head {
                name: &table.name,
                ports_matter: table.ports_matter,
                http3_port: binding.http3_port,
            };
            let (body, version) = envoy::table::table(&head, parts.iter());
            assembled += 1;
            let resource_type = ResourceType::Route;
            let name = table.name.clone();
            owners.retain(|o| !o.name.is_empty());
            let resource = Resource { resource_type, name, version, body, owners };
            self.published.put(resource, causes.clone());
        }
        assembled
    }
}
