//! What all Listeners share: the Module, the authorization service and the rate limit service.

use service_kit::{Diagnostic, ObjectRef, Reason, Severity};

use super::cluster::{self, Asked, Claim};
use super::group::Environment;
use super::resolver::{Asker, Resolved, Resolvers};
use super::telemetry::{self, Told};
use super::tls::Lookup;
use crate::ir::listener::AuthorizerHttp;
use crate::ir::{Authorizer, HttpFilters, HttpOptions, Limiter};
use crate::resource::{AuthService, Module, RateLimitService, Spec, module};
use crate::store::Store;

/// Headers of a request that are always sent to a service that is asked over HTTP.
const REQUEST_HEADERS: &[&str] = &[
    "authorization",
    "cookie",
    "from",
    "proxy-authorization",
    "user-agent",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];
/// Headers of its answer that are always taken.
const RESPONSE_HEADERS: &[&str] =
    &["authorization", "location", "proxy-authenticate", "set-cookie", "www-authenticate"];

/// A service with the cluster that it wants.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen<T> {
    /// The object.
    pub reference: ObjectRef,
    /// What it says.
    pub service: T,
    /// Its cluster.
    pub claim: Claim,
}

/// What all Listeners and groups share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Services {
    /// What groups depend on.
    pub env: Environment,
    /// The Module in force.
    pub module: Option<ObjectRef>,
    /// Options of Listeners.
    pub http: HttpOptions,
    /// Whether a dot in a Secret's name is only a dot, and does not part it from its namespace,
    /// unless a TLSContext says otherwise.
    pub plain_secret_names: bool,
    /// Why everything is refused, if it is.
    pub closed: Option<String>,
    /// The authorization service.
    pub auth: Option<Chosen<AuthService>>,
    /// The rate limit service.
    pub limit: Option<Chosen<RateLimitService>>,
    /// The services that are told of traffic.
    pub told: Told,
    /// What is wrong with several of a kind.
    pub found: Vec<Diagnostic>,
}

/// What choosing services depends on.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The objects.
    pub store: &'a Store,
    /// The controller's own namespace.
    pub own_namespace: &'a str,
    /// Whether services with `https` are of this installation.
    pub own_tls: bool,
    /// Whether endpoints may be used.
    pub endpoints: bool,
}

impl Context<'_> {
    /// The cluster of a service that Envoy asks, for `object`, whose field `path` names it. Where it
    /// cannot be resolved as the Module says, its name is asked for in DNS. None where the TLSContext
    /// that it names cannot be used: it must not be asked in the clear.
    pub(super) fn claim(
        &self,
        object: &ObjectRef,
        path: &str,
        asked: Asked<'_>,
        module: &Module,
        found: &mut Vec<Diagnostic>,
    ) -> Option<Claim> {
        let defaults = &module.defaults;
        let namespace =
            if defaults.unqualified_services { self.own_namespace } else { &object.namespace };
        let resolvers = Resolvers {
            store: self.store,
            own_namespace: self.own_namespace,
            default: defaults.resolver.as_deref(),
            endpoints: self.endpoints,
        };
        let asker = Asker {
            object,
            path,
            service: asked.service,
            resolver: None,
            balances: false,
            service_namespace: namespace,
        };
        let resolved = resolvers
            .resolve(&asker, found)
            .unwrap_or(Resolved { hosts: None, in_kubernetes: true });
        let lookup = Lookup {
            store: self.store,
            own_namespace: self.own_namespace,
            namespacing: !module.plain_secret_names,
        };
        let tls = match cluster::origin(&lookup, asked.tls, asked.service, &object.namespace) {
            Ok(tls) => tls,
            Err(why) => {
                let mut d = error(object, "spec.tls", format!("{why}; it is not asked"));
                d.hint("create the TLSContext, or correct the name").reason(Reason::RefNotResolved);
                found.push(d);
                return None;
            }
        };
        let namespace = &object.namespace;
        Some(cluster::of_service(asked, resolved, tls, namespace, self.own_namespace, defaults))
    }
}

/// Chooses the Module and the services.
pub fn lower(context: &Context<'_>) -> Services {
    let mut found = Vec::new();
    let (chosen, module) = choose_module(context.store, context.own_namespace, &mut found);
    let mut closed = module.closed.clone();
    let auth = choose_auth(context, &module, &mut closed, &mut found);
    let limit = choose_limit(context, &module, &mut closed, &mut found);
    let told = telemetry::choose(context, &module, &mut found);
    let limit_domain = limit
        .as_ref()
        .map(|l| l.service.domain.clone().unwrap_or_else(|| module.labels.domain.clone()));
    Services {
        env: Environment { defaults: module.defaults, labels: module.labels, limit_domain },
        http: module.http,
        plain_secret_names: module.plain_secret_names,
        closed,
        auth,
        limit,
        module: chosen,
        told,
        found,
    }
}

/// The Module of the own namespace, else of the first.
fn choose_module(
    store: &Store,
    own_namespace: &str,
    found: &mut Vec<Diagnostic>,
) -> (Option<ObjectRef>, Module) {
    let mut modules: Vec<_> = store
        .of_kind("Module")
        .filter(|(reference, _)| reference.name == module::NAME)
        .filter_map(|(reference, entry)| match &entry.good.as_ref()?.spec {
            Spec::Module(module) => Some((reference, module)),
            _ => None,
        })
        .collect();
    modules.sort_by_key(|(r, _)| (r.namespace != own_namespace, &r.namespace));
    let Some(((first, module), rest)) = modules.split_first() else {
        return (None, Module::default());
    };
    for (reference, _) in rest {
        let text =
            format!("it is not in force: there is one Module of this name, and {first} is it");
        found.push(error(reference, "metadata.namespace", text));
    }
    (Some((*first).clone()), Module::clone(module))
}

fn choose_auth(
    context: &Context<'_>,
    module: &Module,
    closed: &mut Option<String>,
    found: &mut Vec<Diagnostic>,
) -> Option<Chosen<AuthService>> {
    let mut services = Vec::new();
    for (reference, entry) in context.store.of_kind("AuthService") {
        match entry.good.as_ref().map(|g| &g.spec) {
            Some(Spec::AuthService(service)) => services.push((reference, service)),
            // One that cannot be asked must not mean that nobody is.
            _ => {
                let why = "the authorization service (AuthService) is misconfigured";
                *closed = Some(why.to_owned());
            }
        }
    }
    services.sort_by_key(|(r, _)| (&r.name, &r.namespace));
    let ((reference, service), rest) = services.split_first()?;
    for (other, _) in rest {
        let text =
            format!("one AuthService is asked, and {reference} is it; this one is not in force");
        let mut d = error(other, "", text);
        d.hint("remove one of them");
        found.push(d);
    }
    let asked = Asked {
        marker: Some("extauth"),
        service: &service.service,
        grpc: service.grpc,
        stats_name: service.stats_name.as_ref(),
        breakers: service.breakers.as_ref(),
        own_tls: context.own_tls,
        tls: service.tls.as_deref(),
    };
    let claim = context.claim(reference, "spec.auth_service", asked, module, found);
    if claim.is_none() {
        *closed = Some("the authorization service (AuthService) is misconfigured".to_owned());
    }
    Some(Chosen {
        reference: (*reference).clone(),
        claim: claim?,
        service: AuthService::clone(service),
    })
}

fn choose_limit(
    context: &Context<'_>,
    module: &Module,
    closed: &mut Option<String>,
    found: &mut Vec<Diagnostic>,
) -> Option<Chosen<RateLimitService>> {
    let mut services = Vec::new();
    let mut denies = false;
    for (reference, entry) in context.store.of_kind("RateLimitService") {
        match entry.good.as_ref().map(|g| &g.spec) {
            Some(Spec::RateLimitService(service)) => services.push((reference, service)),
            // Broken: off, unless it asks to deny when there is no answer.
            _ => {
                let deny = entry.latest.json.pointer("/spec/failure_mode_deny");
                denies |= deny.and_then(serde_json::Value::as_bool) == Some(true);
            }
        }
    }
    let refused = "the rate limit service (RateLimitService) is misconfigured".to_owned();
    if services.len() > 1 {
        denies |= services.iter().any(|(_, s)| s.failure_mode_deny);
        for (reference, _) in &services {
            let text = "only one RateLimitService is supported; with several none is in force";
            found.push(error(reference, "", text.to_owned()));
        }
        services.clear();
    }
    if denies && services.is_empty() {
        *closed = closed.take().or(Some(refused));
    }
    let (reference, service) = services.first()?;
    let asked = Asked {
        marker: None,
        service: &service.service,
        grpc: true,
        stats_name: service.stats_name.as_ref(),
        breakers: service.breakers.as_ref(),
        own_tls: context.own_tls,
        tls: service.tls.as_deref(),
    };
    let claim = context.claim(reference, "spec.service", asked, module, found);
    if claim.is_none() && service.failure_mode_deny {
        *closed = closed.take().or_else(|| {
            Some("the rate limit service (RateLimitService) is misconfigured".to_owned())
        });
    }
    Some(Chosen {
        reference: (*reference).clone(),
        claim: claim?,
        service: RateLimitService::clone(service),
    })
}

impl Services {
    /// Every service with the cluster that it wants.
    pub fn claims(&self) -> impl Iterator<Item = (&ObjectRef, &Claim)> {
        let auth = self.auth.iter().map(|a| (&a.reference, &a.claim));
        let limit = self.limit.iter().map(|l| (&l.reference, &l.claim));
        let tracing = self.told.tracing.iter().map(|t| (&t.reference, &t.claim));
        let logs = self.told.logs.iter().map(|l| (&l.reference, &l.claim));
        auth.chain(limit).chain(tracing).chain(logs)
    }

    /// The filters of every Listener, with the clusters' names.
    pub fn filters<'a>(&self, cluster: impl Fn(&ObjectRef) -> Option<&'a str>) -> HttpFilters {
        let mut closed = self.closed.clone();
        let authorizer = self.auth.as_ref().and_then(|a| {
            Some(authorizer(a, cluster(&a.reference)?, self.env.defaults.add_linkerd_headers))
        });
        if self.auth.is_some() && authorizer.is_none() {
            closed = Some("the authorization service has no cluster".to_owned());
        }
        let limiter = self.limit.as_ref().and_then(|l| {
            Some(Limiter {
                cluster: cluster(&l.reference)?.to_owned(),
                domain: self.env.limit_domain.clone()?,
                timeout_ms: l.service.timeout_ms,
                failure_mode_deny: l.service.failure_mode_deny,
                resource_exhausted: l.service.resource_exhausted,
            })
        });
        HttpFilters { closed, authorizer, limiter }
    }
}

fn authorizer(chosen: &Chosen<AuthService>, cluster: &str, linkerd: bool) -> Authorizer {
    let service = &chosen.service;
    let names = |standard: &[&str], own: &[String]| {
        let mut names: Vec<String> = standard.iter().map(|n| (*n).to_owned()).collect();
        names.extend(own.iter().map(|n| n.to_ascii_lowercase()));
        names.sort();
        names.dedup();
        names
    };
    let authority = chosen.claim.destination();
    let http = (!service.grpc).then(|| {
        let mut add_headers = service.add_headers.clone();
        if service.add_linkerd_headers.unwrap_or(linkerd) {
            add_headers.insert("l5d-dst-override".to_owned(), authority.clone());
        }
        AuthorizerHttp {
            path_prefix: service.path_prefix.clone(),
            request_headers: names(REQUEST_HEADERS, &service.request_headers),
            response_headers: names(RESPONSE_HEADERS, &service.response_headers),
            add_headers,
        }
    });
    Authorizer {
        cluster: cluster.to_owned(),
        authority,
        http,
        timeout_ms: service.timeout_ms,
        body: service.body,
        failure_mode_allow: service.failure_mode_allow,
        status_on_error: service.status_on_error,
    }
}

fn error(object: &ObjectRef, path: &str, message: String) -> Diagnostic {
    Diagnostic::new(Severity::Error, object.clone(), path, message)
}
