//! Envoy's substitution format (`%REQ(x-user)%`) in the values of headers that are added.

/// How a command takes an argument in round brackets.
#[derive(Clone, Copy, PartialEq)]
enum Argument {
    None,
    Optional,
    Required,
}

/// Commands of Envoy 1.40 that make sense in a header, and their arguments.
#[rustfmt::skip]
const COMMANDS: &[(&str, Argument)] = {
    use Argument::{None, Optional, Required};
    &[
        ("ACCESS_LOG_TYPE", None), ("BYTES_RECEIVED", None), ("BYTES_SENT", None),
        ("CLUSTER_METADATA", Required), ("COMMON_DURATION", Required),
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
        ("ENVIRONMENT", Required), ("FILTER_CHAIN_NAME", None), ("FILTER_STATE", Required),
        ("GRPC_STATUS", Optional), ("GRPC_STATUS_NUMBER", None), ("HOSTNAME", None),
        ("LOCAL_REPLY_BODY", None), ("METADATA", Required), ("PATH", Optional),
        ("PROTOCOL", None), ("QUERY_PARAM", Required), ("QUERY_PARAMS", Optional),
        ("REQ", Required), ("REQUESTED_SERVER_NAME", Optional),
        ("REQUEST_DURATION", None), ("REQUEST_HEADERS_BYTES", None),
        ("REQUEST_TX_DURATION", None), ("RESP", Required), ("RESPONSE_CODE", None),
        ("RESPONSE_CODE_DETAILS", Optional), ("RESPONSE_DURATION", None),
        ("RESPONSE_FLAGS", None), ("RESPONSE_FLAGS_LONG", None),
        ("RESPONSE_HEADERS_BYTES", None), ("RESPONSE_TRAILERS_BYTES", None),
        ("RESPONSE_TX_DURATION", None), ("ROUNDTRIP_DURATION", None), ("ROUTE_NAME", None),
        ("SPAN_ID", None), ("START_TIME", Optional), ("START_TIME_LOCAL", Optional),
        ("STREAM_ID", None), ("TLS_JA3_FINGERPRINT", None), ("TLS_JA4_FINGERPRINT", None),
        ("TRACE_ID", None), ("TRAILER", Required), ("UNIQUE_ID", None),
        ("UPSTREAM_CLUSTER", None), ("UPSTREAM_CLUSTER_RAW", None),
        ("UPSTREAM_CONNECTION_ID", None), ("UPSTREAM_CONNECTION_POOL_READY_DURATION", None),
        ("UPSTREAM_DETECTED_CLOSE_TYPE", None), ("UPSTREAM_FILTER_STATE", Required),
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
    match (takes, argument) {
        (Argument::None, Some(_)) => Err(format!("`%{name}%` takes no argument")),
        (Argument::Required, None | Some("")) => {
            Err(format!("`%{name}%` needs an argument, as in `%{name}(x)%`"))
        }
        _ => Ok(rest),
    }
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
        for value in ["50%", "%", "% x %", "%NOPE%", "%REQ%", "%REQ(x", "%REQ(x)", "%PROTOCOL(x)%"]
        {
            assert!(check(value).is_err(), "{value}");
        }
    }
}
