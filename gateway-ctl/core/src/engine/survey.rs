//! The overview of what is in force.

use std::sync::Arc;

use service_kit::{Diagnostic, Object};

use super::Engine;
use super::host::HostState;
use crate::ir::{self, Action, Auth, PathKind, RateAction, Redirect, RedirectPath, Rewrite};
use crate::output::Resource;
use crate::overview::{
    ClusterOverview, ForeignOverview, HostOverview, ListenerOverview, ObjectOverview, ObjectRow,
    Overview, RouteOverview, ServiceOverview, ValueMatch,
};
use crate::redaction::redacted;
use crate::store::{Entry, Foreign};

pub(super) fn overview(engine: &Engine) -> Overview {
    let hosts = &engine.groups.hosts;
    Overview {
        listeners: engine
            .bindings
            .iter()
            .map(|(reference, binding)| ListenerOverview {
                listener: reference.clone(),
                resource: binding.name.clone(),
                address: binding.address.clone(),
                port: binding.listener.port,
                security_model: binding.listener.security_model.as_str().to_owned(),
                hosts: binding.hosts().into_iter().cloned().collect(),
            })
            .collect(),
        hosts: hosts
            .iter()
            .map(|(reference, state)| HostOverview {
                host: reference.clone(),
                hostname: state.host().hostname.to_string(),
                insecure_action: state.host().insecure.as_str().to_owned(),
                routes: state.slices().map(|s| s.routes().1.routes.len()).sum(),
            })
            .collect(),
        routes: hosts.iter().flat_map(|(reference, state)| routes(reference, state)).collect(),
        clusters: engine
            .clusters
            .iter()
            .map(|(name, cluster, owners)| ClusterOverview {
                name: name.to_owned(),
                alt_stat_name: cluster.stats_name.clone(),
                address: match &cluster.endpoints {
                    Some(backend) => backend.to_string(),
                    None => format!("{}:{}", cluster.host, cluster.port),
                },
                http2: cluster.http2,
                tls: cluster.tls.is_some(),
                server_name: cluster.tls.as_ref().and_then(|t| t.server_name.clone()),
                verified: cluster.tls.as_ref().is_some_and(|t| t.own || t.authorities.is_some()),
                shows_certificate: cluster
                    .tls
                    .as_ref()
                    .is_some_and(|t| t.own || t.certificate.is_some()),
                connect_timeout_ms: cluster.connect_timeout_ms,
                breakers: breakers(&cluster.thresholds),
                health_checks: !cluster.health_checks.is_empty(),
                outlier_detection: cluster.outlier_detection.is_some(),
                owners: owners.iter().cloned().collect(),
            })
            .collect(),
        services: services(engine),
        foreign: engine.store.foreign().iter().map(foreign).collect(),
        closed: engine.services.closed.clone(),
    }
}

fn foreign((object, foreign): (&service_kit::ObjectRef, &Foreign)) -> ForeignOverview {
    ForeignOverview {
        object: object.clone(),
        ids: foreign.ids.clone(),
        hostname: foreign.hostname.clone(),
        prefix: foreign.prefix.clone(),
    }
}

fn breakers(thresholds: &[ir::Threshold]) -> String {
    let words = |t: &ir::Threshold| {
        let numbers = [
            ("max_connections", t.max_connections),
            ("max_pending_requests", t.max_pending_requests),
            ("max_requests", t.max_requests),
            ("max_retries", t.max_retries),
        ];
        let numbers = numbers.into_iter().filter_map(|(name, n)| Some(format!("{name} {}", n?)));
        let numbers = numbers.collect::<Vec<_>>().join(", ");
        if t.high == Some(true) { format!("of high priority: {numbers}") } else { numbers }
    };
    thresholds.iter().map(words).collect::<Vec<_>>().join("; ")
}

impl Engine {
    /// The newest version of every object that is for this installation, sorted.
    pub fn latest_objects(&self) -> Vec<Arc<Object>> {
        self.store.iter().map(|(_, entry)| entry.latest.clone()).collect()
    }
}

pub(super) fn row(entry: &Entry) -> ObjectRow {
    ObjectRow {
        object: entry.latest.reference.clone(),
        api_version: entry.latest.api_version.clone(),
        in_force: entry.is_newest,
    }
}

pub(super) fn object<'a>(
    entry: &Entry,
    found: &[Diagnostic],
    resources: impl Iterator<Item = &'a Resource>,
) -> ObjectOverview {
    let object = &entry.latest;
    let made_of_it = resources.filter(|r| r.owners.contains(&object.reference));
    ObjectOverview {
        row: row(entry),
        json: redacted(object),
        file: object.source.as_ref().map(|s| s.file.to_string()),
        status: object.status.clone(),
        diagnostics: found.iter().filter(|d| d.object == object.reference).cloned().collect(),
        resources: made_of_it.map(|r| (r.resource_type, r.name.clone())).collect(),
    }
}

fn routes(host: &service_kit::ObjectRef, state: &HostState) -> Vec<RouteOverview> {
    let mut rows = Vec::new();
    for slice in state.slices() {
        let (key, group) = slice.routes();
        let path_kind = match key.path_kind {
            PathKind::Prefix => "prefix",
            PathKind::Element => "elements",
            PathKind::Exact => "path",
            PathKind::Regex => "regex",
        };
        for route in &group.routes {
            let mut row = RouteOverview {
                host: host.clone(),
                mapping: route.mapping.clone(),
                path_kind: path_kind.to_owned(),
                path: key.path.clone(),
                case_sensitive: key.case_sensitive,
                hostname: key.hostname.as_ref().map(ToString::to_string).unwrap_or_default(),
                headers: key.headers.iter().map(value_match).collect(),
                query_parameters: key.query_parameters.iter().map(value_match).collect(),
                precedence: key.precedence,
                weight: route.share,
                service: route.service.clone(),
                authorized: matches!(route.auth, Auth::Ask(_)),
                ..RouteOverview::default()
            };
            if let Some(regex) = &key.hostname_regex {
                let name = ":authority".to_owned();
                row.headers.push(ValueMatch { name, value: Some(regex.clone()), regex: true });
            }
            if let Auth::Ask(context) = &route.auth {
                row.auth_context.clone_from(context);
            }
            describe(&mut row, &route.action);
            rows.push(row);
        }
    }
    rows
}

fn value_match(condition: &ir::ValueMatch) -> ValueMatch {
    ValueMatch {
        name: condition.name.clone(),
        value: condition.value.clone(),
        regex: condition.regex,
    }
}

fn describe(row: &mut RouteOverview, action: &Action) {
    match action {
        Action::Unavailable => row.rewrite = "503: no connection can be made".to_owned(),
        Action::Redirect(redirect) => {
            row.redirect = Some(redirect.status);
            row.rewrite = describe_redirect(redirect);
        }
        Action::Forward {
            cluster,
            rewrite,
            timeout_ms,
            idle_timeout_ms,
            retry,
            upgrades,
            shadows,
            rate_limits,
            ..
        } => {
            row.cluster = Some(cluster.clone());
            row.timeout_ms = *timeout_ms;
            row.idle_timeout_ms = *idle_timeout_ms;
            row.upgrades.clone_from(upgrades);
            if let Some(retry) = retry {
                let times = retry.num_retries.unwrap_or(1);
                row.retry = format!("{}, {times} times", retry.retry_on);
                row.per_try_timeout_ms = retry.per_try_timeout_ms;
            }
            row.shadows = shadows.iter().map(|s| s.cluster.clone()).collect();
            row.rewrite = match rewrite {
                Rewrite::Keep => String::new(),
                Rewrite::Prefix(prefix) => format!("what matched → {prefix}"),
                Rewrite::Regex { pattern, substitution } => format!("{pattern} → {substitution}"),
            };
            row.descriptors = rate_limits
                .iter()
                .map(|actions| actions.iter().map(describe_entry).collect())
                .collect();
        }
    }
}

fn describe_redirect(redirect: &Redirect) -> String {
    let path = match &redirect.path {
        RedirectPath::Keep => String::new(),
        RedirectPath::Path(path) => path.clone(),
        RedirectPath::Prefix(prefix) => format!("{prefix}…"),
        RedirectPath::Regex { pattern, substitution } => format!(" {pattern} → {substitution}"),
    };
    let scheme = redirect.scheme.map(|s| format!("{s}://")).unwrap_or_default();
    format!("to {scheme}{}{path}", redirect.host)
}

fn describe_entry(action: &RateAction) -> String {
    match action {
        RateAction::GenericKey { key, value } => format!("{key}={value}"),
        RateAction::RemoteAddress => "remote_address=<client address>".to_owned(),
        RateAction::RequestHeader { header, key } => format!("{key}=<header {header}>"),
        RateAction::Authorization { key, path, default } => match default.as_str() {
            "" => format!("{key}=<authorization's {}>", path.join(".")),
            default => format!("{key}=<authorization's {}, or {default}>", path.join(".")),
        },
        RateAction::SourceCluster => "source_cluster=<node cluster>".to_owned(),
        RateAction::DestinationCluster => "destination_cluster=<cluster>".to_owned(),
    }
}

fn services(engine: &Engine) -> Vec<ServiceOverview> {
    let mut rows = Vec::new();
    let closed = engine.services.closed.is_some();
    for kind in ["AuthService", "RateLimitService"] {
        for (reference, entry) in engine.store.of_kind(kind) {
            let mut row = ServiceOverview {
                service: reference.clone(),
                state: "off".to_owned(),
                ..ServiceOverview::default()
            };
            let auth = engine.services.auth.as_ref().filter(|a| a.reference == *reference);
            let limit = engine.services.limit.as_ref().filter(|l| l.reference == *reference);
            if let Some(auth) = auth {
                row.timeout_ms = auth.service.timeout_ms;
                row.fails_open = auth.service.failure_mode_allow;
            }
            if let Some(limit) = limit {
                row.timeout_ms = limit.service.timeout_ms;
                row.fails_open = !limit.service.failure_mode_deny;
                row.domain = engine.services.env.limit_domain.clone().unwrap_or_default();
            }
            if auth.is_some() || limit.is_some() {
                row.cluster = engine.clusters.name_of(reference).map(str::to_owned);
                row.state = "in force".to_owned();
            }
            if closed && (auth.is_some() || entry.good.is_none()) {
                row.state = "closed".to_owned();
            }
            rows.push(row);
        }
    }
    rows
}
