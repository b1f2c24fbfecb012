//! A group: Mappings that match the same requests and share them by weight.

use service_kit::{Diagnostic, ObjectRef, Severity};

use super::cluster::Claim;
use super::weight;
use crate::ir::error_page::ErrorPages;
use crate::ir::{
    Action, Auth, Cors, HeaderEdit, HeaderEdits, RateAction, Retry, Rewrite, Route, Shadow,
};
use crate::resource::label::Labels;
use crate::resource::mapping::{Mapping, Target};
use crate::resource::module::{LabelDefaults, MappingDefaults};

/// Routes of one group on one set of Hosts, in order, and what is wrong with its members.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// The routes.
    pub routes: Vec<Route>,
    /// What is wrong.
    pub found: Vec<Diagnostic>,
}

/// A member of a group.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Which Mapping.
    pub reference: &'a ObjectRef,
    /// What it says.
    pub mapping: &'a Mapping,
    /// Its cluster; none for a redirect.
    pub cluster: Option<&'a str>,
    /// What it wants of the cluster.
    pub claim: Option<&'a Claim>,
}

/// What all groups depend on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Environment {
    /// The Module's defaults.
    pub defaults: MappingDefaults,
    /// The Module's rate limit labels.
    pub labels: LabelDefaults,
    /// The rate limit service's domain, if there is a service.
    pub limit_domain: Option<String>,
    /// Paths at which Envoy answers probes before it looks at routes.
    pub probes: Vec<String>,
}

/// Lowers the members of a group that one set of Hosts takes. They have one key.
pub fn lower(mut members: Vec<Member<'_>>, env: &Environment) -> Group {
    members.sort_by_key(|m| (&m.reference.name, &m.reference.namespace));
    let mut found = Vec::new();
    members.retain(|m| {
        let fits = m.mapping.regex_size <= env.defaults.regex_max_size;
        if !fits {
            let text = format!(
                "a regular expression of about {} instructions is larger than regex_max_size {}",
                m.mapping.regex_size, env.defaults.regex_max_size
            );
            let d = error(m.reference, "spec", text);
            found.push(with_hint(d, "shorten it, or raise regex_max_size in the Module"));
        }
        fits
    });
    if let Some((first, rest)) = members.split_first() {
        let first = *first;
        let agreeing: Vec<Member<'_>> =
            rest.iter().copied().filter(|m| agrees(first, *m, &mut found)).collect();
        members = std::iter::once(first).chain(agreeing).collect();
    }
    let shadows = take_shadows(&mut members, &mut found);
    let mut routes = match members.first().map(|m| &m.mapping.target) {
        Some(Target::Redirect(_)) => lower_redirect(&members, env, &mut found),
        Some(_) => lower_services(&members, shadows, env, &mut found),
        None => {
            for m in shadows {
                let text = "it copies nothing: no other Mapping matches the same requests";
                found.push(notice(m.reference, "spec.shadow", text.to_owned()));
            }
            Vec::new()
        }
    };
    for m in &members {
        check_label_domains(*m, env, &mut found);
        check_probes(*m, env, &mut found);
    }
    // They are kept, and most groups have one.
    routes.shrink_to_fit();
    Group { routes, found }
}

/// Whether a member agrees with the first one in what all members of a group have in common. What
/// it leaves out is no disagreement.
fn agrees(first: Member<'_>, other: Member<'_>, found: &mut Vec<Diagnostic>) -> bool {
    let (a, b) = (first.mapping, other.mapping);
    let (ua, ub) = (&a.upstream, &b.upstream);
    let differs = fields_that_differ(&[
        ("bypass_auth", a.bypass_auth || !b.bypass_auth),
        ("circuit_breakers", same(&ua.breakers, &ub.breakers)),
        ("connect_timeout_ms", same(&ua.connect_timeout_ms, &ub.connect_timeout_ms)),
        ("cluster_idle_timeout_ms", same(&ua.idle_timeout_ms, &ub.idle_timeout_ms)),
        (
            "cluster_max_connection_lifetime_ms",
            same(&ua.max_connection_lifetime_ms, &ub.max_connection_lifetime_ms),
        ),
        ("keepalive", same(&ua.keepalive, &ub.keepalive)),
        ("load_balancer", same(&ua.load_balancer, &ub.load_balancer)),
        ("labels", same(&a.labels, &b.labels)),
    ]);
    if let Some(field) = differs.first() {
        let text = format!(
            "cannot accept Mapping {} with mismatched {}: it matches the same requests as {}",
            other.reference.name,
            differs.join(", "),
            first.reference
        );
        let d = error(other.reference, &format!("spec.{field}"), text);
        found.push(with_hint(d, "set these fields alike, or give it a match of its own"));
    }
    differs.is_empty()
}

/// Whether a member has what the first one has, or says nothing of it.
fn same<T: PartialEq>(first: &Option<T>, other: &Option<T>) -> bool {
    other.is_none() || first == other
}

/// The fields that are not the same.
fn fields_that_differ(fields: &[(&'static str, bool)]) -> Vec<&'static str> {
    fields.iter().filter(|(_, same)| !same).map(|(field, _)| *field).collect()
}

/// Takes the shadows out of the members; one is enough.
fn take_shadows<'a>(members: &mut Vec<Member<'a>>, found: &mut Vec<Diagnostic>) -> Vec<Member<'a>> {
    let (shadows, rest): (Vec<_>, Vec<_>) =
        members.iter().partition(|m| m.mapping.target == Target::Shadow);
    *members = rest;
    if let Some((first, more)) = shadows.split_first() {
        for second in more {
            let text = format!(
                "cannot accept {} as second shadow after {}",
                second.reference.name, first.reference.name
            );
            found.push(error(second.reference, "spec.shadow", text));
        }
        return vec![*first];
    }
    shadows
}

/// A copy is what was sent to the service, so of a shadow only where it goes and how often counts.
fn check_shadow(shadow: Member<'_>, first: Member<'_>, found: &mut Vec<Diagnostic>) {
    let (a, b) = (first.mapping, shadow.mapping);
    let unused = fields_that_differ(&[
        ("rewrite", a.rewrite == b.rewrite),
        ("host_rewrite", a.host_rewrite == b.host_rewrite),
        ("timeout_ms", same(&a.timeout_ms, &b.timeout_ms)),
        ("idle_timeout_ms", same(&a.idle_timeout_ms, &b.idle_timeout_ms)),
        ("retry_policy", same(&a.retry, &b.retry)),
        ("add_request_headers", same(&a.edits.add_request, &b.edits.add_request)),
        ("remove_request_headers", same(&a.edits.remove_request, &b.edits.remove_request)),
        ("add_response_headers", same(&a.edits.add_response, &b.edits.add_response)),
        ("remove_response_headers", same(&a.edits.remove_response, &b.edits.remove_response)),
        ("cors", same(&a.cors, &b.cors)),
    ]);
    if let Some(field) = unused.first() {
        let text = format!(
            "{} of a shadow: no effect; the copy is the request as {} sends it",
            unused.join(", "),
            first.reference
        );
        let d = notice(shadow.reference, &format!("spec.{field}"), text);
        found.push(with_hint(d, "leave it out of the Mapping with `shadow: true`"));
    }
}

fn lower_redirect(
    members: &[Member<'_>],
    env: &Environment,
    found: &mut Vec<Diagnostic>,
) -> Vec<Route> {
    let Some((first, rest)) = members.split_first() else { return Vec::new() };
    let Target::Redirect(redirect) = &first.mapping.target else { return Vec::new() };
    for m in rest {
        let (name, one) = (&m.reference.name, &first.reference.name);
        let text = match m.mapping.target {
            Target::Redirect(_) => {
                format!("cannot accept {name} as second host_redirect after {one}")
            }
            _ => {
                format!("cannot accept {name} without host_redirect after {one} with host_redirect")
            }
        };
        found.push(error(m.reference, "spec.host_redirect", text));
    }
    vec![Route {
        mapping: first.reference.clone(),
        service: first.mapping.upstream.service.text.clone(),
        below: 100,
        share: 100,
        action: Action::Redirect(redirect.clone()),
        // No service sees the request.
        edits: HeaderEdits {
            add_request: Vec::new(),
            remove_request: Vec::new(),
            ..common_edits(&[*first], env)
        },
        auth: Auth::Bypass,
        cors: None,
        error_pages: ErrorPages::Common,
    }]
}

fn lower_services(
    members: &[Member<'_>],
    shadows: Vec<Member<'_>>,
    env: &Environment,
    found: &mut Vec<Diagnostic>,
) -> Vec<Route> {
    let (members, redirects): (Vec<Member<'_>>, Vec<Member<'_>>) =
        members.iter().partition(|m| m.mapping.target == Target::Service);
    let Some(first) = members.first() else { return Vec::new() };
    for m in redirects {
        let text = format!(
            "cannot accept {} with host_redirect after mappings without host_redirect (eg {})",
            m.reference.name, first.reference.name
        );
        found.push(error(m.reference, "spec.host_redirect", text));
    }
    for shadow in &shadows {
        check_shadow(*shadow, *first, found);
    }
    let shadows: Vec<Shadow> = shadows
        .iter()
        .filter_map(|m| {
            let percent = m.mapping.weight.unwrap_or(100).min(100);
            Some(Shadow { cluster: m.cluster?.to_owned(), percent })
        })
        .collect();
    let weights: Vec<Option<u32>> = members.iter().map(|m| m.mapping.weight).collect();
    let (order, shares) = weight::divide(&weights);
    if members.len() > 1 && shares.written > 100 {
        let text = format!("the total weight of the group, {}, exceeds 100", shares.written);
        let d = error(first.reference, "spec.weight", text);
        found.push(with_hint(d, "lower the weights of the Mappings that match the same requests"));
    } else if shares.leaves_some {
        let text = format!(
            "the weights of the group sum up to {}, so the other requests go to the next route that matches",
            shares.written
        );
        let d = notice(first.reference, "spec.weight", text);
        found.push(with_hint(d, "leave one weight out to have it take the rest"));
    }
    let common = Common::of(&members, env);
    let mut routes = Vec::new();
    for (index, (below, share)) in order.into_iter().zip(shares.members) {
        let Some(member) = members.get(index) else { continue };
        if share == 0 {
            continue;
        }
        let Some(mut route) = lower_member(*member, &common, &shadows, env) else { continue };
        route.below = below;
        route.share = share;
        route.cors.clone_from(&common.cors);
        routes.push(route);
    }
    routes
}

/// What all members of a group have, whichever of them says it: of several the last one that does.
struct Common<'a> {
    edits: HeaderEdits,
    cors: Option<Cors>,
    retry: Option<Retry>,
    upgrades: &'a [String],
    high_priority: bool,
    /// For members that rewrite as they would without a word.
    regex_rewrite: Option<&'a Rewrite>,
    /// The first one's: others have the same, or none.
    labels: Option<&'a Labels>,
}

impl<'a> Common<'a> {
    fn of(members: &[Member<'a>], env: &Environment) -> Self {
        let last = || members.iter().rev().map(|m| m.mapping);
        let upgrades = last().map(|m| m.upgrades.as_slice()).find(|u| !u.is_empty());
        Self {
            edits: common_edits(members, env),
            cors: last().find_map(|m| m.cors.clone()).or_else(|| env.defaults.cors.clone()),
            retry: last().find_map(|m| m.retry.clone()).or_else(|| env.defaults.retry.clone()),
            upgrades: upgrades.unwrap_or_default(),
            high_priority: last().any(|m| m.high_priority),
            regex_rewrite: last().map(|m| &m.rewrite).find(|r| matches!(r, Rewrite::Regex { .. })),
            labels: members.first().and_then(|m| m.mapping.labels.as_ref()),
        }
    }

    fn rewrite(&self, own: &Rewrite) -> Rewrite {
        match (own, self.regex_rewrite) {
            (Rewrite::Prefix(usual), Some(regex)) if usual == "/" => regex.clone(),
            _ => own.clone(),
        }
    }
}

/// Header edits of a group: those that are set of all members, those that are removed of the last
/// member; the Module's are those of a member that says nothing.
fn common_edits(members: &[Member<'_>], env: &Environment) -> HeaderEdits {
    let merge = |get: fn(&Mapping) -> &Option<Vec<HeaderEdit>>, default: &Vec<HeaderEdit>| {
        let mut edits: Vec<HeaderEdit> = Vec::new();
        for own in members.iter().map(|m| get(m.mapping).as_ref().unwrap_or(default)) {
            edits.retain(|e| !own.iter().any(|o| o.name.eq_ignore_ascii_case(&e.name)));
            edits.extend(own.iter().cloned());
        }
        edits
    };
    let last = |get: fn(&Mapping) -> &Option<Vec<String>>, default: &Vec<String>| {
        members.iter().rev().find_map(|m| get(m.mapping).clone()).unwrap_or_else(|| default.clone())
    };
    let defaults = &env.defaults.edits;
    HeaderEdits {
        add_request: merge(|m| &m.edits.add_request, &defaults.add_request),
        add_response: merge(|m| &m.edits.add_response, &defaults.add_response),
        remove_request: last(|m| &m.edits.remove_request, &defaults.remove_request),
        remove_response: last(|m| &m.edits.remove_response, &defaults.remove_response),
    }
}

fn lower_member(
    member: Member<'_>,
    common: &Common<'_>,
    shadows: &[Shadow],
    env: &Environment,
) -> Option<Route> {
    let m = member.mapping;
    let Some(cluster) = member.cluster else {
        // Where TLS was asked for and cannot be had, no other route must take its place.
        m.upstream.tls.as_ref()?;
        return Some(Route {
            mapping: member.reference.clone(),
            service: m.upstream.service.text.clone(),
            below: 100,
            share: 100,
            action: Action::Unavailable,
            edits: HeaderEdits::default(),
            error_pages: m.error_pages.clone(),
            auth: Auth::Bypass,
            cors: None,
        });
    };
    let mut edits = common.edits.clone();
    if m.add_linkerd_headers.unwrap_or(env.defaults.add_linkerd_headers) {
        edits.add_request.push(HeaderEdit {
            name: "l5d-dst-override".to_owned(),
            value: member.claim?.destination(),
            append: false,
        });
    }
    Some(Route {
        mapping: member.reference.clone(),
        service: m.upstream.service.text.clone(),
        below: 100,
        share: 100,
        action: Action::Forward {
            cluster: cluster.to_owned(),
            rewrite: common.rewrite(&m.rewrite),
            host_rewrite: m.host_rewrite.clone(),
            timeout_ms: m.timeout_ms.unwrap_or(env.defaults.timeout_ms),
            idle_timeout_ms: m.idle_timeout_ms,
            retry: common.retry.clone(),
            upgrades: common.upgrades.to_vec(),
            high_priority: common.high_priority,
            hash_on: member.claim.and_then(|c| c.hash_on.clone()).map(Box::new),
            shadows: shadows.to_vec(),
            rate_limits: rate_limits(common.labels, env),
        },
        edits,
        error_pages: m.error_pages.clone(),
        auth: if m.bypass_auth { Auth::Bypass } else { Auth::Ask(m.auth_context.clone()) },
        cors: None,
    })
}

/// The descriptors of labels: the groups of the service's domain, each after the domain's
/// defaults. A group of Mappings without labels has the defaults alone, if the service's domain is the
/// default one.
fn rate_limits(labels: Option<&Labels>, env: &Environment) -> Vec<Vec<RateAction>> {
    let Some(domain) = &env.limit_domain else { return Vec::new() };
    let defaults = env.labels.defaults.get(domain).map_or(&[][..], Vec::as_slice);
    match labels {
        None if *domain == env.labels.domain && !defaults.is_empty() => vec![defaults.to_vec()],
        None => Vec::new(),
        Some(labels) => labels
            .get(domain)
            .into_iter()
            .flatten()
            .map(|group| defaults.iter().chain(group).cloned().collect())
            .collect(),
    }
}

/// Labels of a domain that nothing asks about are probably meant for another.
fn check_label_domains(member: Member<'_>, env: &Environment, found: &mut Vec<Diagnostic>) {
    let (Some(domain), Some(labels)) = (&env.limit_domain, &member.mapping.labels) else { return };
    if labels.contains_key(domain) {
        return;
    }
    let text = format!(
        "no label is of the domain `{domain}` of the RateLimitService, so nothing of this Mapping is limited"
    );
    found.push(notice(member.reference, "spec.labels", text));
}

/// A Mapping of a probe's path gets no request.
fn check_probes(member: Member<'_>, env: &Environment, found: &mut Vec<Diagnostic>) {
    let path = member.mapping.key.path.trim_end_matches('/');
    if env.probes.iter().any(|p| p == path) {
        let text = format!("Envoy itself answers probes at {path}, so no request gets here");
        let d = notice(member.reference, "spec.prefix", text);
        found.push(with_hint(
            d,
            "set enabled: false in the Module's liveness_probe or readiness_probe, or name this service there",
        ));
    }
}

fn error(object: &ObjectRef, path: &str, message: String) -> Diagnostic {
    Diagnostic::new(Severity::Error, object.clone(), path, message)
}

fn notice(object: &ObjectRef, path: &str, message: String) -> Diagnostic {
    Diagnostic::new(Severity::Notice, object.clone(), path, message)
}

fn with_hint(mut diagnostic: Diagnostic, hint: &str) -> Diagnostic {
    diagnostic.hint(hint);
    diagnostic
}
