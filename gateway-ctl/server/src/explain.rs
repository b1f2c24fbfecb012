//! What would happen to a request, and why: the same order of questions as Envoy's, asked of what
//! is in force.

mod limits;
mod matching;
mod policies;
mod request;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use gateway_core::overview::{HostOverview, ListenerOverview, RouteOverview};
use gateway_core::{Engine, Overview, Settings};
use service_kit::server::objects::FileObjects;
use service_kit::{Object, ObjectRef, Severity};

use crate::folder;
pub use request::Request;

/// Mappings that fit the path but not the rest, at most so many are named.
const NEAR_MISSES: usize = 8;

/// The explanation of `request` by the resources in `paths`.
///
/// # Errors
/// When a path cannot be read; the text names it.
pub fn explain(request: &Request, paths: &[PathBuf], settings: Settings) -> io::Result<String> {
    let change = FileObjects::new().update(folder::read(paths)?);
    let objects: Vec<Arc<Object>> = change.applied.clone();
    let mut engine = Engine::new(settings);
    let ambassador_id = engine.settings().ambassador_id.clone();
    engine.apply(change.applied, change.deleted);
    let refused: Vec<ObjectRef> = engine
        .diagnostics()
        .into_iter()
        .filter(|d| d.severity == Severity::Error)
        .map(|d| d.object)
        .collect();
    let mut text = explain_with(request, &engine.overview(), &objects, &refused, &ambassador_id);
    if !refused.is_empty() {
        text.push_str(
            "\nSome objects have errors and are not in force; see `gateway-ctl check`.\n",
        );
    }
    Ok(text)
}

fn explain_with(
    request: &Request,
    overview: &Overview,
    objects: &[Arc<Object>],
    refused: &[ObjectRef],
    ambassador_id: &str,
) -> String {
    let mut out = Lines::default();
    out.say(
        "Request",
        format!("{} {} to {}", request.method, request.path_and_query(), request.host),
    );
    let Some(listener) = listener(request, overview, &mut out) else { return out.0 };
    let Some(host) = host(request, overview, listener, &mut out) else { return out.0 };
    if !is_let_in(request, listener, host, &mut out) {
        return out.0;
    }
    let Some(route) = route(request, overview, host, &mut out) else { return out.0 };
    target(route, overview, &mut out);
    let decision = policies::explain(request, route, overview, objects, ambassador_id, &mut out);
    match decision {
        policies::Decision::GoesOn(headers) if route.redirect.is_none() => {
            let mut request = request.clone();
            request.headers.retain(|(name, _)| !headers.iter().any(|(set, _)| set == name));
            request.headers.extend(headers);
            limits::explain(&request, route, overview, objects, refused, &mut out);
        }
        policies::Decision::GoesOn(_) => {}
        policies::Decision::Denied => {
            out.say("Rate limits", "not asked: the request is denied before");
        }
    }
    out.0
}

/// Text in two columns.
#[derive(Default)]
struct Lines(String);

impl Lines {
    /// A line that begins a part.
    fn say(&mut self, part: &str, text: impl AsRef<str>) {
        let _ = writeln!(self.0, "{part:<14} {}", text.as_ref());
    }

    /// A further line of the same part.
    fn more(&mut self, text: impl AsRef<str>) {
        self.say("", text);
    }
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

fn is_let_in(
    request: &Request,
    listener: &ListenerOverview,
    host: &HostOverview,
    out: &mut Lines,
) -> bool {
    let secure = match listener.security_model.as_str() {
        "SECURE" => true,
        "INSECURE" => false,
        _ => request.is_https,
    };
    if secure || host.insecure_action == "Route" {
        return true;
    }
    let what = match host.insecure_action.as_str() {
        "Redirect" => "301 to https (requestPolicy.insecure.action is Redirect)",
        _ => "404 (requestPolicy.insecure.action is Reject)",
    };
    out.more(format!("the request is in clear text: {what}"));
    false
}

fn route<'a>(
    request: &Request,
    overview: &'a Overview,
    host: &HostOverview,
    out: &mut Lines,
) -> Option<&'a RouteOverview> {
    let mut misses = Vec::new();
    let mut found: Option<&RouteOverview> = None;
    for route in overview.routes.iter().filter(|r| r.host == host.host) {
        if let Some(first) = found {
            if matching::is_same_group(first, route) {
                out.more(format!(
                    "shares its requests with {} ({} %)",
                    route.mapping, route.weight
                ));
                continue;
            }
            break;
        }
        match matching::misses(request, route) {
            Ok(()) => {
                out.say("Mapping", format!("{}: {}", route.mapping, matching::describe(route)));
                if !matches!(route.weight, 0 | 100) {
                    out.more(format!("gets {} % of these requests", route.weight));
                }
                found = Some(route);
            }
            Err(matching::Miss::Path) => {}
            Err(matching::Miss::Other(why)) => misses.push((route, why)),
        }
    }
    if found.is_none() {
        out.say("Mapping", "none fits: 404");
    }
    for (route, why) in misses.iter().take(NEAR_MISSES) {
        out.more(format!("not {}: {why}", route.mapping));
    }
    found
}

fn target(route: &RouteOverview, overview: &Overview, out: &mut Lines) {
    if let Some(status) = route.redirect {
        out.say("Answer", format!("redirect with status {status} {}", route.rewrite).trim_end());
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
        out.more(&route.rewrite);
    }
    out.more(match route.timeout_ms {
        0 => "no timeout".to_owned(),
        ms => format!("given up after {ms} ms"),
    });
    for shadow in &route.shadows {
        out.more(format!("a copy goes to {shadow}"));
    }
}
