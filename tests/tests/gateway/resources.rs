//! The resources of a case, with ports that are free here.

use std::collections::BTreeMap;

use e2e::certificates::Certificates;
use serde_json::{Value, json};
use service_kit::Object;

/// Objects as they are given to gateway-ctl, and the ports that took the place of theirs.
pub(crate) struct Resources {
    pub(crate) objects: Vec<Value>,
    pub(crate) ports: BTreeMap<u64, u16>,
}

impl Resources {
    pub(crate) fn of(case: &Value, certificates: &Certificates) -> Self {
        let mut objects = Vec::new();
        if case["listeners"] == "http" {
            objects.push(json!({"apiVersion": "getambassador.io/v3alpha1", "kind": "Listener",
                "metadata": {"name": "harness", "namespace": "default"},
                "spec": {"port": 8080, "protocol": "HTTP", "securityModel": "INSECURE",
                    "hostBinding": {"namespace": {"from": "ALL"}}}}));
            objects.push(json!({"apiVersion": "getambassador.io/v3alpha1", "kind": "Host",
                "metadata": {"name": "harness", "namespace": "default"},
                "spec": {"hostname": "*", "requestPolicy": {"insecure": {"action": "Route"}}}}));
        }
        let text = case["resources"].as_str().unwrap_or_default();
        let (own, found) = Object::from_yaml(text, "case").unwrap();
        assert!(found.is_empty(), "{found:?}");
        objects.extend(own.into_iter().map(|o| o.json));
        objects.extend(certificates.secrets().iter().cloned());
        let mut ports = BTreeMap::new();
        for object in
            objects.iter_mut().filter(|o| o["kind"] == "Listener" || o["kind"] == "TCPMapping")
        {
            if let Some(port) = object["spec"]["port"].as_u64() {
                let free = *ports.entry(port).or_insert_with(e2e::free_port);
                object["spec"]["port"] = json!(free);
            }
        }
        Self { objects, ports }
    }

    /// The ports at which the resources expect `name`; 80 when they do not say.
    pub(crate) fn ports_of(&self, name: &str) -> Vec<u16> {
        let text = Value::from(self.objects.clone()).to_string();
        let pattern =
            regex::Regex::new(&format!(r"\b{}(?:\.[a-z-]+)?:(\d+)", regex::escape(name))).unwrap();
        let mut ports: Vec<u16> =
            pattern.captures_iter(&text).filter_map(|c| c[1].parse().ok()).collect();
        let services = self.objects.iter().filter(|o| o["kind"] == "Service");
        for service in services.filter(|o| o["metadata"]["name"] == name) {
            let numbered = service["spec"]["ports"].as_array().into_iter().flatten();
            ports.extend(numbered.filter_map(|p| u16::try_from(p["port"].as_u64()?).ok()));
        }
        ports.push(80);
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    pub(crate) fn text(&self) -> String {
        json!({"apiVersion": "v1", "kind": "List", "items": self.objects}).to_string()
    }
}
