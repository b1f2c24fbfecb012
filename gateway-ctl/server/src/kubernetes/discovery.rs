//! Which of the kinds that are read the API server serves now, and in which version.

use std::collections::BTreeMap;

use gateway_core::kinds::{GROUP, KINDS, Reading};
use kube::api::ApiResource;
use kube::{Client, Error};

/// Versions in the order of preference: the newest first.
const VERSIONS: [&str; 5] = ["v3alpha1", "v2", "v1", "v1beta2", "v1beta1"];
/// A kind is gone when so many answers in a row did not have it.
const GONE: u32 = 3;
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

/// Which kinds are believed to be served. An API server that starts tells of CRDs one by one, and of
/// none at first; to believe it would take everything away.
#[derive(Debug, Default)]
pub(super) struct Belief {
    served: Option<Vec<ApiResource>>,
    last: Vec<ApiResource>,
    /// How often in a row a kind was not in the answer.
    absent: BTreeMap<String, u32>,
}

impl Belief {
    /// What is believed; nothing before two equal answers that are not empty.
    pub(super) fn served(&self) -> Option<&[ApiResource]> {
        self.served.as_deref()
    }

    /// Whether the last answer had no kind at all.
    pub(super) fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// Takes an answer; gives whether something else is believed now.
    pub(super) fn take(&mut self, mut answer: Vec<ApiResource>) -> bool {
        answer.sort_by(|a, b| a.kind.cmp(&b.kind));
        let again = self.last == answer;
        self.last.clone_from(&answer);
        let Some(served) = &self.served else {
            if again && !answer.is_empty() {
                self.served = Some(answer);
            }
            return self.served.is_some();
        };
        self.absent.retain(|kind, _| !answer.iter().any(|r| r.kind == *kind));
        for gone in served {
            if answer.iter().any(|r| r.kind == gone.kind) {
                continue;
            }
            let times = self.absent.entry(gone.kind.clone()).or_default();
            *times += 1;
            if *times < GONE {
                answer.push(gone.clone());
            }
        }
        answer.sort_by(|a, b| a.kind.cmp(&b.kind));
        let changed = *served != answer;
        self.served = Some(answer);
        changed
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(names: &[&str]) -> Vec<ApiResource> {
        names.iter().map(|n| builtin(GROUP, "v3alpha1", n, &n.to_lowercase())).collect()
    }

    fn names(belief: &Belief) -> Vec<&str> {
        belief.served().unwrap_or_default().iter().map(|r| r.kind.as_str()).collect()
    }

    #[test]
    fn a_server_that_starts_is_not_believed_at_once() {
        let mut belief = Belief::default();
        assert!(!belief.take(Vec::new()) && !belief.take(Vec::new()), "nothing is no answer");
        assert!(!belief.take(kinds(&["Mapping"])));
        assert!(!belief.take(kinds(&["Mapping", "FilterPolicy"])));
        assert!(belief.served().is_none());
        assert!(belief.take(kinds(&["Mapping", "FilterPolicy"])));
        assert_eq!(names(&belief), ["FilterPolicy", "Mapping"]);
    }

    #[test]
    fn a_kind_is_gone_after_a_while_and_new_at_once() {
        let mut belief = Belief::default();
        belief.take(kinds(&["Mapping"]));
        belief.take(kinds(&["Mapping"]));
        assert!(belief.take(kinds(&["Mapping", "Host"])));
        assert!(!belief.take(Vec::new()) && !belief.take(kinds(&["Host"])));
        assert_eq!(names(&belief), ["Host", "Mapping"]);
        assert!(!belief.take(kinds(&["Mapping", "Host"])), "it was a moment");
        assert!(!belief.take(kinds(&["Host"])) && !belief.take(kinds(&["Host"])));
        assert!(belief.take(kinds(&["Host"])));
        assert_eq!(names(&belief), ["Host"]);
    }
}
