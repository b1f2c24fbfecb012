//! A static Envoy configuration of what is in force: the same messages as over xDS, with what is
//! fetched apart there written in place.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use gateway_core::{Engine, ResourceType};
use proto::reflect;
use serde_json::{Map, Value, json};

use crate::bootstrap;

/// The whole document.
///
/// # Errors
/// When a resource has no JSON form; the text names it.
pub fn static_bootstrap(engine: &Engine, admin: SocketAddr) -> Result<Value, String> {
    let mut of: BTreeMap<ResourceType, Vec<(String, Value)>> = BTreeMap::new();
    for resource in engine.resources() {
        let message = resource.resource_type.message_name();
        let json = reflect::to_json(message, &resource.body)
            .map_err(|e| format!("{message} {}: {e}", resource.name))?;
        of.entry(resource.resource_type).or_default().push((resource.name.clone(), json));
    }
    let mut take = |resource_type| of.remove(&resource_type).unwrap_or_default();
    let routes: BTreeMap<String, Value> = take(ResourceType::Route).into_iter().collect();
    let endpoints: BTreeMap<String, Value> = take(ResourceType::Endpoint).into_iter().collect();
    let extensions: BTreeMap<String, Value> = take(ResourceType::Extension).into_iter().collect();
    let secrets: Vec<Value> = take(ResourceType::Secret).into_iter().map(|(_, s)| s).collect();
    let mut listeners: Vec<Value> =
        take(ResourceType::Listener).into_iter().map(|(_, l)| l).collect();
    let mut clusters: Vec<Value> =
        take(ResourceType::Cluster).into_iter().map(|(_, c)| c).collect();
    for cluster in &mut clusters {
        put_endpoints_in_place(cluster, &endpoints);
        put_in_place(cluster, &routes, &extensions);
    }
    for listener in &mut listeners {
        put_in_place(listener, &routes, &extensions);
    }
    let mut resources = Map::new();
    resources.insert("listeners".to_owned(), Value::Array(listeners));
    resources.insert("clusters".to_owned(), Value::Array(clusters));
    if !secrets.is_empty() {
        resources.insert("secrets".to_owned(), Value::Array(secrets));
    }
    Ok(json!({
        "admin": bootstrap::admin(admin),
        "deferred_stat_options": bootstrap::deferred_statistics(),
        "static_resources": resources,
    }))
}

/// Replaces `rds` by the route table it names, the discovery of a filter's configuration by that,
/// and the source of a secret by nothing: a secret without a source is looked up among the static
/// ones.
fn put_in_place(
    value: &mut Value,
    routes: &BTreeMap<String, Value>,
    extensions: &BTreeMap<String, Value>,
) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|v| put_in_place(v, routes, extensions)),
        Value::Object(fields) => {
            if let Some(rds) = fields.remove("rds") {
                let name = rds.get("route_config_name").and_then(Value::as_str).unwrap_or_default();
                let table = routes.get(name).cloned().unwrap_or_else(|| json!({"name": name}));
                fields.insert("route_config".to_owned(), table);
            }
            if let Some(name) = fields.get("name").and_then(Value::as_str) {
                let config = extensions.get(name).map(|e| e["typed_config"].clone());
                fields.remove("sds_config");
                if let (Some(discovery), config) = (fields.remove("config_discovery"), config) {
                    let config = config.unwrap_or_else(|| discovery["default_config"].clone());
                    fields.insert("typed_config".to_owned(), config);
                }
            }
            fields.values_mut().for_each(|v| put_in_place(v, routes, extensions));
        }
        _ => {}
    }
}

fn put_endpoints_in_place(cluster: &mut Value, endpoints: &BTreeMap<String, Value>) {
    let Some(fields) = cluster.as_object_mut() else { return };
    let Some(eds) = fields.remove("eds_cluster_config") else { return };
    let text = |v: Option<&Value>| v.and_then(Value::as_str).map(str::to_owned);
    let cluster_name = text(fields.get("name")).unwrap_or_default();
    let name = text(eds.get("service_name")).unwrap_or_else(|| cluster_name.clone());
    let mut assignment =
        endpoints.get(&name).cloned().unwrap_or_else(|| json!({"cluster_name": name}));
    assignment["cluster_name"] = Value::String(cluster_name);
    fields.insert("type".to_owned(), json!("STATIC"));
    fields.insert("load_assignment".to_owned(), assignment);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fetched_apart_is_put_in_place() {
        let mut listener = json!({"filters": [{"typed_config": {
            "rds": {"route_config_name": "r", "config_source": {"ads": {}}},
            "tls": {"name": "cert", "sds_config": {"ads": {}}},
            "http_filters": [{"name": "f", "config_discovery": {"default_config": {"@type": "d"}}}],
        }}]});
        let routes = BTreeMap::from([("r".to_owned(), json!({"name": "r", "virtual_hosts": []}))]);
        let extensions =
            BTreeMap::from([("f".to_owned(), json!({"name": "f", "typed_config": {"a": 1}}))]);
        put_in_place(&mut listener, &routes, &extensions);
        assert_eq!(
            listener,
            json!({"filters": [{"typed_config": {
                "route_config": {"name": "r", "virtual_hosts": []},
                "tls": {"name": "cert"},
                "http_filters": [{"name": "f", "typed_config": {"a": 1}}],
            }}]})
        );
        let mut cluster =
            json!({"name": "c", "type": "EDS", "eds_cluster_config": {"service_name": "s"}});
        let endpoints =
            BTreeMap::from([("s".to_owned(), json!({"cluster_name": "s", "endpoints": []}))]);
        put_endpoints_in_place(&mut cluster, &endpoints);
        assert_eq!(
            cluster,
            json!({"name": "c", "type": "STATIC", "load_assignment": {"cluster_name": "c", "endpoints": []}})
        );
    }
}
