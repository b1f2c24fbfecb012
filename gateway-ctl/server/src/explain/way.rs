//! The way of a request: Listener, Host, Mapping, cluster, authorization, limits, as what is in force
//! has it. Pure.

use std::sync::Arc;

use gateway_core::Overview;
use gateway_core::overview::{HostOverview, ListenerOverview, RouteOverview};
use serde::{Deserialize, Serialize};
use service_kit::{Object, ObjectRef};

use super::limits::{self, Fates};
use super::policies::{self, Decision, Denial};
use super::{Request, matching};

/// Mappings that fit the path but not the rest, at most so many are named.
const NEAR_MISSES: usize = 8;

/// A line of the way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The part it is of; empty: the same as the line before.
    pub part: String,
    /// What it says.
    pub text: String,
}

/// Lines of parts.
#[derive(Debug, Default)]
pub(super) struct Lines(pub(super) Vec<Line>);

impl Lines {
    /// A line that begins a part.
    pub(super) fn say(&mut self, part: &str, text: impl Into<String>) {
        self.0.push(Line { part: part.to_owned(), text: text.into() });
    }

    /// A further line of the same part.
    pub(super) fn more(&mut self, text: impl Into<String>) {
        self.say("", text);
    }
}

/// What a request meets.
#[derive(Debug, Default)]
pub(super) struct Way<'a> {
    /// In words.
    pub(super) lines: Lines,
    /// The port; none: there is no Listener on it.
    pub(super) listener: Option<&'a ListenerOverview>,
    /// Whether the Listener is taken for want of one on the request's port.
    pub(super) other_port: bool,
    pub(super) host: Option<&'a HostOverview>,
    /// `Redirect` or `Reject`, if that is done with it because it is in the clear.
    pub(super) refused: Option<&'a str>,
    /// The first route that fits, and those that share its requests.
    pub(super) routes: Vec<&'a RouteOverview>,
    /// Routes that fit, too, but are tried later.
    pub(super) shadowed: Vec<&'a RouteOverview>,
    /// Routes with the path that do not fit, and why.
    pub(super) misses: Vec<(&'a RouteOverview, String)>,
    /// Routes whose path nearly fits, and what it lacks.
    pub(super) near: Vec<(&'a RouteOverview, String)>,
    pub(super) denial: Option<Denial>,
    pub(super) fates: Option<Fates>,
}

/// Goes the way of `request`; `passed`: what was seen shows that authorization let it pass.
pub(super) fn follow<'a>(
    request: &Request,
    overview: &'a Overview,
    objects: &[Arc<Object>],
    refused: &[ObjectRef],
    ambassador_id: &str,
    passed: bool,
) -> Way<'a> {
    let mut way = Way::default();
    let out = &mut way.lines;
    out.say(
        "Request",
        format!("{} {} to {}", request.method, request.path_and_query(), request.host),
    );
    let Some(listener) = listener(request, overview, out) else { return way };
    way.other_port = listener.port != request.port;
    way.listener = Some(listener);
    way.host = host(request, overview, listener, out);
    let Some(host) = way.host else { return way };
    way.refused = refusal(request, listener, host, out);
    way.take_routes(request, overview, host);
    let Some(route) = way.routes.first().copied().filter(|_| way.refused.is_none()) else {
        return way;
    };
    let out = &mut way.lines;
    target(route, overview, out);
    let decision = match policies::explain(request, route, overview, objects, ambassador_id, out) {
        Decision::Denied(_) if passed && overview.closed.is_none() => {
            out.more("but it passed: the log has neither its headers nor a refusal");
            Decision::GoesOn(policies::Passed::default())
        }
        decision => decision,
    };
    match decision {
        Decision::GoesOn(passed) if route.redirect.is_none() => {
            let mut request = request.clone();
            request.headers.retain(|(name, _)| !passed.headers.iter().any(|(set, _)| set == name));
            request.headers.extend(passed.headers);
            request.metadata = passed.metadata;
            let fates = limits::explain(&request, route, overview, objects, refused, out);
            way.fates = Some(fates);
        }
        Decision::GoesOn(_) => {}
        Decision::Denied(denial) => {
            out.say("Rate limits", "not asked: the request is denied before");
            way.denial = Some(*denial);
        }
    }
    way
}

fn listener<'a>(
    request: &Request,
    overview: &'a Overview,
    out: &mut Lines,
) -> Option<&'a ListenerOverview> {
    let fits = overview.listeners.iter().find(|l| l.port == request.port);
    let listener = match (fits, overview.listeners.as_slice()) {
        (Some(listener), _) => listener,
        (None, [only]) => {
            out.say(
                "Listener",
                format!("none on port {}; the answer is for the only one there is", request.port),
            );
            only
        }
        (None, []) => {
            out.say("Listener", "none is in force: the connection is refused");
            return None;
        }
        (None, several) => {
            let ports: Vec<String> = several.iter().map(|l| l.port.to_string()).collect();
            out.say(
                "Listener",
                format!(
                    "none on port {}: the connection is refused (there are {})",
                    request.port,
                    ports.join(", ")
                ),
            );
            return None;
        }
    };
    out.say(
        "Listener",
        format!(
            "{} on {}:{}, {}",
            listener.listener, listener.address, listener.port, listener.security_model
        ),
    );
    Some(listener)
}

fn host<'a>(
    request: &Request,
    overview: &'a Overview,
    listener: &ListenerOverview,
    out: &mut Lines,
) -> Option<&'a HostOverview> {
    let best = overview
        .hosts
        .iter()
        .filter(|h| listener.hosts.contains(&h.host))
        .filter_map(|h| Some((matching::host_rank(&h.hostname, &request.host)?, h)))
        .max_by_key(|(rank, _)| *rank);
    let Some((_, host)) = best else {
        out.say("Host", format!("none of this Listener fits {}: 404", request.host));
        return None;
    };
    let name = if host.host.name.is_empty() {
        "the default Host (there is no Host of its own)".to_owned()
    } else {
        host.host.to_string()
    };
    out.say("Host", format!("{name}: hostname `{}` is the closest fit", host.hostname));
    Some(host)
}

/// What is done with a request in the clear, unless it is routed.
fn refusal<'a>(
    request: &Request,
    listener: &ListenerOverview,
    host: &'a HostOverview,
    out: &mut Lines,
) -> Option<&'a str> {
    let secure = match listener.security_model.as_str() {
        "SECURE" => true,
        "INSECURE" => false,
        _ => request.is_https,
    };
    if secure || host.insecure_action == "Route" {
        return None;
    }
    let what = match host.insecure_action.as_str() {
        "Redirect" => "301 to https (requestPolicy.insecure.action is Redirect)",
        _ => "404 (requestPolicy.insecure.action is Reject)",
    };
    out.more(format!("the request is in clear text: {what}"));
    Some(host.insecure_action.as_str())
}

impl<'a> Way<'a> {
    /// Finds the routes of `host` that fit, and those that nearly do.
    fn take_routes(&mut self, request: &Request, overview: &'a Overview, host: &HostOverview) {
        for route in overview.routes.iter().filter(|r| r.host == host.host) {
            match matching::misses(request, route) {
                Ok(()) => match self.routes.first() {
                    Some(first) if !matching::is_same_group(first, route) => {
                        self.shadowed.push(route);
                    }
                    _ => self.routes.push(route),
                },
                Err(matching::Miss::Path) => {}
                Err(matching::Miss::NearPath(why)) => self.near.push((route, why)),
                Err(matching::Miss::Hostname(why) | matching::Miss::Other(why)) => {
                    self.misses.push((route, why));
                }
            }
        }
        if self.refused.is_some() {
            return;
        }
        let out = &mut self.lines;
        match self.routes.as_slice() {
            [] => out.say("Mapping", "none fits: 404"),
            [route, others @ ..] => {
                out.say("Mapping", format!("{}: {}", route.mapping, matching::describe(route)));
                if !matches!(route.weight, 0 | 100) {
                    out.more(format!("gets {} % of these requests", route.weight));
                }
                for other in others {
                    let (mapping, weight) = (&other.mapping, other.weight);
                    out.more(format!("shares its requests with {mapping} ({weight} %)"));
                }
            }
        }
        for (route, why) in self.misses.iter().chain(&self.near).take(NEAR_MISSES) {
            out.more(format!("not {}: {why}", route.mapping));
        }
        for route in self.shadowed.iter().take(NEAR_MISSES) {
            out.more(format!("{} would fit, too, and is tried later", route.mapping));
        }
    }
}

fn target(route: &RouteOverview, overview: &Overview, out: &mut Lines) {
    if let Some(status) = route.redirect {
        let text = format!("redirect with status {status} {}", route.rewrite);
        out.say("Answer", text.trim_end());
        return;
    }
    let Some(name) = &route.cluster else {
        out.say("Cluster", "none");
        return;
    };
    let address = overview.clusters.iter().find(|c| c.name == *name).map(|c| &*c.address);
    out.say(
        "Cluster",
        format!("{name} ({}), service `{}`", address.unwrap_or("unknown"), route.service),
    );
    if !route.rewrite.is_empty() {
        out.more(route.rewrite.as_str());
    }
    out.more(match route.timeout_ms {
        0 => "no timeout".to_owned(),
        ms => format!("given up after {ms} ms"),
    });
    for shadow in &route.shadows {
        out.more(format!("a copy goes to {shadow}"));
    }
}
