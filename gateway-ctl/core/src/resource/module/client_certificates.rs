//! What of a client's certificate services are told: `forward_client_cert_details` and
//! `set_current_client_cert_details`.

use schemars::JsonSchema;
use serde::Deserialize;
use service_kit::Diagnostics;

use crate::ir::listener::{ClientCertificates, Forwarding};

/// Parts of a client's certificate.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct Details {
    /// Its subject.
    subject: Option<bool>,
    /// The certificate itself, as PEM.
    cert: Option<bool>,
    /// The whole chain, as PEM.
    chain: Option<bool>,
    /// Its DNS names.
    dns: Option<bool>,
    /// Its URIs.
    uri: Option<bool>,
}

/// Reads both keys. `None` when the first is wrong: what a client wrote must not pass for what it
/// showed.
pub(super) fn read(
    forward: Option<&str>,
    details: Option<&Details>,
    found: &mut Diagnostics<'_>,
) -> Option<ClientCertificates> {
    let forwarding = match forward {
        None | Some("" | "SANITIZE") => Forwarding::Sanitize,
        Some("FORWARD_ONLY") => Forwarding::ForwardOnly,
        Some("APPEND_FORWARD") => Forwarding::AppendForward,
        Some("SANITIZE_SET") => Forwarding::SanitizeSet,
        Some("ALWAYS_FORWARD_ONLY") => Forwarding::AlwaysForwardOnly,
        Some(other) => {
            let path = "spec.config.forward_client_cert_details";
            found.error(path, format!("unknown value `{}`", other.escape_debug())).hint(
                "SANITIZE, FORWARD_ONLY, APPEND_FORWARD, SANITIZE_SET or ALWAYS_FORWARD_ONLY",
            );
            return None;
        }
    };
    let standard = Details::default();
    let details = details.unwrap_or(&standard);
    let sets = matches!(forwarding, Forwarding::AppendForward | Forwarding::SanitizeSet);
    let yes = |part: Option<bool>| part.unwrap_or(false) && sets;
    if !sets
        && [details.subject, details.cert, details.chain, details.dns, details.uri]
            .contains(&Some(true))
    {
        found
            .warning(
                "spec.config.set_current_client_cert_details",
                "it has no effect: forward_client_cert_details sets nothing",
            )
            .hint("set forward_client_cert_details to SANITIZE_SET or APPEND_FORWARD");
    }
    Some(ClientCertificates {
        forwarding,
        subject: yes(details.subject),
        certificate: yes(details.cert),
        chain: yes(details.chain),
        dns: yes(details.dns),
        uri: yes(details.uri),
    })
}
