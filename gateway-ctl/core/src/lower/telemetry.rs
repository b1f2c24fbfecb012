//! Where traces and access logs go: the services that are told, with their clusters.

use service_kit::{Diagnostic, ObjectRef, Severity};

use super::cluster::Asked;
use super::services::{Chosen, Context};
use crate::ir::telemetry::{AccessLog, Driver, Telemetry, Tracing};
use crate::resource::{LogService, Module, Spec, TracingService};

/// The services that are told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Where traces go.
    pub tracing: Option<Chosen<TracingService>>,
    /// Where access logs go.
    pub logs: Vec<Chosen<LogService>>,
}

/// Chooses them. Traces go to one service, the first by name.
pub fn choose(context: &Context<'_>, module: &Module, found: &mut Vec<Diagnostic>) -> Told {
    let mut tracing = Vec::new();
    for (reference, entry) in context.store.of_kind("TracingService") {
        if let Some(Spec::TracingService(service)) = entry.good.as_ref().map(|g| &g.spec) {
            tracing.push((reference, &**service));
        }
    }
    tracing.sort_by_key(|(r, _)| (&r.name, &r.namespace));
    if let Some(((first, _), rest)) = tracing.split_first() {
        for (other, _) in rest {
            let text = format!(
                "traces go to one TracingService, and {first} is it; this one is not in force"
            );
            let mut d = Diagnostic::new(Severity::Error, (*other).clone(), "", text);
            d.hint("remove one of them");
            found.push(d);
        }
    }
    let mut claim = |reference: &ObjectRef, asked: Asked<'_>| {
        context.claim(reference, "spec.service", asked, module, found)
    };
    let tracing = tracing.first().and_then(|(reference, service)| {
        Some(Chosen {
            reference: (*reference).clone(),
            claim: claim(
                reference,
                Asked {
                    marker: Some("tracing"),
                    service: &service.service,
                    grpc: matches!(service.driver, Driver::OpenTelemetry { .. }),
                    stats_name: service.stats_name.as_ref(),
                    breakers: None,
                    own_tls: false,
                    tls: None,
                },
            )?,
            service: (*service).clone(),
        })
    });
    let mut logs = Vec::new();
    for (reference, entry) in context.store.of_kind("LogService") {
        let Some(Spec::LogService(service)) = entry.good.as_ref().map(|g| &g.spec) else {
            continue;
        };
        let Some(claim) = claim(
            reference,
            Asked {
                marker: Some("logging"),
                service: &service.service,
                grpc: true,
                stats_name: service.stats_name.as_ref(),
                breakers: None,
                own_tls: false,
                tls: None,
            },
        ) else {
            continue;
        };
        logs.push(Chosen {
            reference: reference.clone(),
            claim,
            service: LogService::clone(service),
        });
    }
    Told { tracing, logs }
}

impl Told {
    /// What Listeners tell, with the clusters' names.
    pub fn telemetry<'a>(&self, cluster: impl Fn(&ObjectRef) -> Option<&'a str>) -> Telemetry {
        let tracing = self.tracing.as_ref().and_then(|chosen| {
            Some(Tracing {
                cluster: cluster(&chosen.reference)?.to_owned(),
                driver: chosen.service.driver.clone(),
                sampling: chosen.service.sampling,
                tags: chosen.service.tags.clone(),
            })
        });
        let log = |chosen: &Chosen<LogService>| {
            Some(AccessLog {
                name: chosen.reference.name.clone(),
                cluster: cluster(&chosen.reference)?.to_owned(),
                flush_ms: chosen.service.flush_ms,
                flush_bytes: chosen.service.flush_bytes,
                about: chosen.service.about.clone(),
            })
        };
        Telemetry { tracing, logs: self.logs.iter().filter_map(log).collect() }
    }
}
