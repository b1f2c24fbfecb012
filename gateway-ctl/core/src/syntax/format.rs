//! Envoy's substitution format (`%REQ(x-user)%`) in the values of headers that are added.

use super::header;

/// How a command takes an argument in round brackets.
#[derive(Clone, Copy)]
enum Argument {
    None,
    Optional,
    Required,
    /// A header, and maybe another in its stead: `x?y`.
    Header,
    /// A key, and maybe how it is written.
    FilterState,
    /// One of these, and maybe after a colon one of those.
    OneOf(&'static [&'static str], &'static [&'static str]),
    /// One of these before a colon.
    Kind(&'static [&'static str]),
    /// Two points in time and a unit.
    Span,
}

/// Points in time of a request.
const POINTS: &[&str] = &[
    "DS_RX_BEG",
    "DS_RX_END",
    "US_CX_BEG",
    "US_CX_END",
    "US_HS_END",
    "US_TX_BEG",
    "US_TX_END",
    "US_RX_BEG",
    "US_RX_BODY_BEG",
    "US_RX_END",
    "DS_TX_BEG",
    "DS_TX_END",
];

/// Commands of Envoy 1.40 that make sense in a header, and their arguments.
#[rustfmt::skip]
const COMMANDS: &[(&str, Argument)] = {
    use Argument::{FilterState, Header, Kind, None, OneOf, Optional, Required, Span};
    &[
        ("ACCESS_LOG_TYPE", None), ("BYTES_RECEIVED", None), ("BYTES_SENT", None),
        ("CLUSTER_METADATA", Required), ("COMMON_DURATION", Span),
        ("CONNECTION_ID", None), ("CONNECTION_TERMINATION_DETAILS", None),
        ("DOWNSTREAM_DETECTED_CLOSE_TYPE", None), ("DOWNSTREAM_DIRECT_LOCAL_ADDRESS", None),
        ("DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT", Optional),
        ("DOWNSTREAM_DIRECT_LOCAL_PORT", None), ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", None),
        ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", Optional),
        ("DOWNSTREAM_DIRECT_REMOTE_PORT", None), ("DOWNSTREAM_HANDSHAKE_DURATION", None),
        ("DOWNSTREAM_HEADER_BYTES_RECEIVED", None), ("DOWNSTREAM_HEADER_BYTES_SENT", None),
        ("DOWNSTREAM_LOCAL_ADDRESS", None), ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", Optional),
        ("DOWNSTREAM_LOCAL_DNS_SAN", None), ("DOWNSTREAM_LOCAL_EMAIL_SAN", None),
        ("DOWNSTREAM_LOCAL_IP_SAN", None), ("DOWNSTREAM_LOCAL_OTHERNAME_SAN", None),
        ("DOWNSTREAM_LOCAL_PORT", None), ("DOWNSTREAM_LOCAL_SUBJECT", None),
        ("DOWNSTREAM_LOCAL_URI_SAN", None), ("DOWNSTREAM_PEER_CERT", None),
        ("DOWNSTREAM_PEER_CERT_V_END", Optional), ("DOWNSTREAM_PEER_CERT_V_START", Optional),
        ("DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1", None),
        ("DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256", None),
        ("DOWNSTREAM_PEER_CHAIN_SERIALS", None), ("DOWNSTREAM_PEER_DNS_SAN", None),
        ("DOWNSTREAM_PEER_EMAIL_SAN", None), ("DOWNSTREAM_PEER_FINGERPRINT_1", None),
        ("DOWNSTREAM_PEER_FINGERPRINT_256", None), ("DOWNSTREAM_PEER_IP_SAN", None),
        ("DOWNSTREAM_PEER_ISSUER", None), ("DOWNSTREAM_PEER_OTHERNAME_SAN", None),
        ("DOWNSTREAM_PEER_SERIAL", None), ("DOWNSTREAM_PEER_SUBJECT", None),
        ("DOWNSTREAM_PEER_URI_SAN", None), ("DOWNSTREAM_REMOTE_ADDRESS", None),
        ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Optional), ("DOWNSTREAM_REMOTE_PORT", None),
        ("DOWNSTREAM_TLS_CIPHER", None), ("DOWNSTREAM_TLS_SESSION_ID", None),
        ("DOWNSTREAM_TLS_VERSION", None), ("DOWNSTREAM_TRANSPORT_FAILURE_REASON", None),
        ("DOWNSTREAM_WIRE_BYTES_RECEIVED", None), ("DOWNSTREAM_WIRE_BYTES_SENT", None),
        ("DURATION", None), ("DYNAMIC_METADATA", Required), ("EMIT_TIME", Optional),
        ("ENVIRONMENT", Required), ("FILTER_CHAIN_NAME", None), ("FILTER_STATE", FilterState),
        ("GRPC_STATUS", OneOf(&["CAMEL_STRING", "SNAKE_STRING", "NUMBER"], &[])), ("GRPC_STATUS_NUMBER", None), ("HOSTNAME", None),
        ("LOCAL_REPLY_BODY", None), ("METADATA", Kind(&["DYNAMIC", "CLUSTER", "ROUTE", "UPSTREAM_HOST", "LISTENER", "VIRTUAL_HOST"])), ("PATH", OneOf(&["WQ", "NQ"], &["ORIG", "PATH", "ORIG_OR_PATH"])),
        ("PROTOCOL", None), ("QUERY_PARAM", Required), ("QUERY_PARAMS", OneOf(&["ORIG", "DECODED"], &[])),
        ("REQ", Header), ("REQUESTED_SERVER_NAME", OneOf(&["SNI_ONLY", "SNI_FIRST", "HOST_FIRST"], &["ORIG", "HOST", "ORIG_OR_HOST"])),
        ("REQUEST_DURATION", None), ("REQUEST_HEADERS_BYTES", None),
        ("REQUEST_TX_DURATION", None), ("RESP", Header), ("RESPONSE_CODE", None),
        ("RESPONSE_CODE_DETAILS", Optional), ("RESPONSE_DURATION", None),
        ("RESPONSE_FLAGS", None), ("RESPONSE_FLAGS_LONG", None),
        ("RESPONSE_HEADERS_BYTES", None), ("RESPONSE_TRAILERS_BYTES", None),
        ("RESPONSE_TX_DURATION", None), ("ROUNDTRIP_DURATION", None), ("ROUTE_NAME", None),
        ("SPAN_ID", None), ("START_TIME", Optional), ("START_TIME_LOCAL", Optional),
        ("STREAM_ID", None), ("TLS_JA3_FINGERPRINT", None), ("TLS_JA4_FINGERPRINT", None),
        ("TRACE_ID", None), ("TRAILER", Header), ("UNIQUE_ID", None),
        ("UPSTREAM_CLUSTER", None), ("UPSTREAM_CLUSTER_RAW", None),
        ("UPSTREAM_CONNECTION_ID", None), ("UPSTREAM_CONNECTION_POOL_READY_DURATION", None),
        ("UPSTREAM_DETECTED_CLOSE_TYPE", None), ("UPSTREAM_FILTER_STATE", FilterState),
        ("UPSTREAM_HEADER_BYTES_RECEIVED", None), ("UPSTREAM_HEADER_BYTES_SENT", None),
        ("UPSTREAM_HOST", None), ("UPSTREAM_HOST_NAME", None),
        ("UPSTREAM_HOST_NAME_WITHOUT_PORT", None), ("UPSTREAM_LOCAL_ADDRESS", None),
        ("UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", Optional), ("UPSTREAM_LOCAL_PORT", None),
        ("UPSTREAM_METADATA", Required), ("UPSTREAM_PEER_CERT", None),
        ("UPSTREAM_PEER_CERT_V_END", Optional), ("UPSTREAM_PEER_CERT_V_START", Optional),
        ("UPSTREAM_PEER_ISSUER", None), ("UPSTREAM_PEER_SUBJECT", None),
        ("UPSTREAM_PEER_URI_SAN", None), ("UPSTREAM_PROTOCOL", None),
        ("UPSTREAM_REMOTE_ADDRESS", None), ("UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Optional),
        ("UPSTREAM_REMOTE_PORT", None), ("UPSTREAM_REQUEST_ATTEMPT_COUNT", None),
        ("UPSTREAM_TLS_CIPHER", None), ("UPSTREAM_TLS_SESSION_ID", None),
        ("UPSTREAM_TLS_VERSION", None), ("UPSTREAM_TRANSPORT_FAILURE_REASON", None),
        ("UPSTREAM_WIRE_BYTES_RECEIVED", None), ("UPSTREAM_WIRE_BYTES_SENT", None),
        ("VIRTUAL_CLUSTER_NAME", None),
    ]
};

/// Checks a header's value: `%%` is a percent sign, `%COMMAND%`, `%COMMAND(argument)%` and
/// `%COMMAND(argument):length%` are replaced.
///
/// # Errors
/// The text for the user: which command is wrong, and how.
pub fn check(value: &str) -> Result<(), String> {
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('%') {
        rest = match after.strip_prefix('%') {
            Some(next) => next,
            None => command(after)?,
        };
    }
    Ok(())
}

/// Checks one command, without its first `%`, and gives what follows it.
fn command(text: &str) -> Result<&str, String> {
    let stray = || "a `%` that starts no command (write `%%` for a percent sign)".to_owned();
    let end = text
        .find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
        .ok_or_else(stray)?;
    let (name, mut rest) = text.split_at(end);
    if name.is_empty() {
        return Err(stray());
    }
    let argument = match rest.strip_prefix('(') {
        Some(inner) => {
            let (argument, after) = inner
                .split_once(')')
                .ok_or_else(|| format!("`%{name}(`: the bracket is not closed"))?;
            rest = after;
            Some(argument)
        }
        None => None,
    };
    if let Some(length) = rest.strip_prefix(':') {
        let digits = length.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = length.split_at(digits);
        if number.parse::<u32>().is_err() || argument.is_none() {
            return Err(format!("`%{name}…:`: a length is a number and follows a bracket"));
        }
        rest = after;
    }
    let rest = rest
        .strip_prefix('%')
        .ok_or_else(|| format!("`%{name}` does not end in `%` (write `%%` for a percent sign)"))?;
    let Some((_, takes)) = COMMANDS.iter().find(|(n, _)| *n == name) else {
        return Err(format!("`%{name}%` is no command of Envoy"));
    };
    match takes.check(argument) {
        Ok(()) => Ok(rest),
        Err(why) => Err(format!("`%{name}%` {why}")),
    }
}

impl Argument {
    /// Checks what stands in the brackets, if there are any.
    fn check(self, argument: Option<&str>) -> Result<(), String> {
        let needed = || argument.filter(|a| !a.is_empty()).ok_or("needs an argument in brackets");
        match self {
            Self::None if argument.is_some() => Err("takes no argument".to_owned()),
            Self::None | Self::Optional => Ok(()),
            Self::Required => needed().map(|_| ()).map_err(str::to_owned),
            Self::Header => {
                let text = needed()?;
                let names: Vec<&str> = text.split('?').collect();
                if names.len() > 2 {
                    return Err("takes one header and at most one in its stead".to_owned());
                }
                names.iter().try_for_each(|n| header::check_match_name(n))
            }
            Self::FilterState => {
                let mut parts = needed()?.split(':').skip(1);
                match parts.next() {
                    None | Some("PLAIN" | "TYPED") => Ok(()),
                    Some("FIELD") if parts.next().is_some_and(|f| !f.is_empty()) => Ok(()),
                    Some(_) => Err("writes PLAIN, TYPED or FIELD:name after the key".to_owned()),
                }
            }
            Self::Kind(words) => one_of(needed()?.split(':').next().unwrap_or_default(), words),
            Self::OneOf(first, second) => {
                match argument.map(|a| a.split_once(':').unwrap_or((a, ""))) {
                    None => Ok(()),
                    Some((word, "")) => one_of(word, first),
                    Some((word, other)) => one_of(word, first).and_then(|()| one_of(other, second)),
                }
            }
            Self::Span => {
                let parts: Vec<&str> = needed()?.split(':').collect();
                match parts.as_slice() {
                    [from, to, "ms" | "us" | "ns"]
                        if POINTS.contains(from) && POINTS.contains(to) =>
                    {
                        Ok(())
                    }
                    _ => Err("takes two points in time and ms, us or ns".to_owned()),
                }
            }
        }
    }
}

fn one_of(word: &str, words: &[&str]) -> Result<(), String> {
    if words.contains(&word) {
        return Ok(());
    }
    Err(format!("takes one of {}", words.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_commands_and_percent_signs() {
        for value in
            ["", "plain", "100%%", "%REQ(x-user?:path):20%", "%PROTOCOL%-%START_TIME(%%s)%"]
        {
            assert!(check(value).is_ok(), "{value}");
        }
    }

    #[test]
    fn refuses_what_envoy_refuses() {
        for value in [
            "50%",
            "%",
            "% x %",
            "%NOPE%",
            "%REQ%",
            "%REQ(x",
            "%REQ(x)",
            "%PROTOCOL(x)%",
            "%REQ(a?b?c)%",
            "%PATH(x)%",
            "%METADATA(x)%",
            "%FILTER_STATE(a:b)%",
            "%COMMON_DURATION(a)%",
            "%PATH(NQ:x)%",
        ] {
            assert!(check(value).is_err(), "{value}");
        }
    }
}
