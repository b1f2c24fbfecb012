//! Which of the kinds that are read the API server serves now, and in which version.

use gateway_core::kinds::{GROUP, KINDS, Reading};
use kube::api::ApiResource;
use kube::{Client, Error};

/// Versions in the order of preference: the newest first.
const VERSIONS: [&str; 4] = ["v3alpha1", "v2", "v1beta2", "v1beta1"];
/// Kinds that the services read.
const OF_SERVICES: [&str; 3] = ["RateLimit", "Filter", "FilterPolicy"];

/// The kinds of [`GROUP`] that are watched, `services_only` those of the services.
pub fn watched_kinds(services_only: bool) -> impl Iterator<Item = &'static str> {
    KINDS
        .iter()
        .filter(|k| k.group == GROUP && k.name != "*")
        .filter(|k| !matches!(k.reading, Reading::NotYetNotice))
        .map(|k| k.name)
        .filter(move |name| !services_only || OF_SERVICES.contains(name))
}

/// Asks the API server. A kind whose CRD does not exist is not in the answer.
///
/// # Errors
/// When the API server does not answer: then nothing is known about any kind.
pub async fn served(client: &Client, services_only: bool) -> Result<Vec<ApiResource>, Error> {
    let groups = client.list_api_groups().await?;
    let Some(group) = groups.groups.iter().find(|g| g.name == GROUP) else { return Ok(Vec::new()) };
    let mut served: Vec<ApiResource> = Vec::new();
    for version in VERSIONS {
        if !group.versions.iter().any(|v| v.version == version) {
            continue;
        }
        let api_version = format!("{GROUP}/{version}");
        let resources = client.list_api_group_resources(&api_version).await?;
        for resource in resources.resources {
            let known = served.iter().any(|s| s.kind == resource.kind);
            let wanted = watched_kinds(services_only).any(|name| name == resource.kind);
            if known || !wanted || resource.name.contains('/') {
                continue;
            }
            served.push(ApiResource {
                group: GROUP.to_owned(),
                version: version.to_owned(),
                api_version: api_version.clone(),
                kind: resource.kind,
                plural: resource.name,
            });
        }
    }
    Ok(served)
}

/// A kind of Kubernetes itself.
pub fn builtin(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    let api_version =
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version,
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}
