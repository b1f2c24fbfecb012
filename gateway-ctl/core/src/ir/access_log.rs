//! The log of requests that the Module describes.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

/// A line as Emissary's users know it, and behind it what says why: the details of the status, the
/// cluster, the route (its Mapping), why TLS to the service failed, the port that the request came to
/// and its scheme. `gateway-ctl explain` reads it.
const TEXT: &str = "ACCESS [%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %RESPONSE_CODE_DETAILS% \"%UPSTREAM_CLUSTER_RAW%\" \"%ROUTE_NAME%\" \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %DOWNSTREAM_LOCAL_PORT% %REQ(X-FORWARDED-PROTO)%\n";

/// The log of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// Where it goes.
    pub target: LogTarget,
    /// What a line is.
    pub format: LogFormat,
}

/// Where a log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Envoy's standard output.
    Stdout,
    /// Envoy's standard error.
    Stderr,
    /// A file of Envoy's.
    File(String),
}

/// What a line of a log is, in Envoy's format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A text, with its line end.
    Text(String),
    /// A JSON object.
    Json(Map<String, Value>),
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { target: LogTarget::Stdout, format: LogFormat::text() }
    }
}

impl LogFormat {
    /// The usual text.
    pub fn text() -> Self {
        Self::Text(TEXT.to_owned())
    }

    /// The usual fields.
    pub fn json() -> Self {
        let fields = json!({
            "authority": "%REQ(:AUTHORITY)%",
            "bytes_received": "%BYTES_RECEIVED%",
            "bytes_sent": "%BYTES_SENT%",
            "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
            "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
            "downstream_transport_failure_reason": "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
            "duration": "%DURATION%",
            "method": "%REQ(:METHOD)%",
            "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
            "protocol": "%PROTOCOL%",
            "request_id": "%REQ(X-REQUEST-ID)%",
            "requested_server_name": "%REQUESTED_SERVER_NAME%",
            "response_code": "%RESPONSE_CODE%",
            "response_code_details": "%RESPONSE_CODE_DETAILS%",
            "response_flags": "%RESPONSE_FLAGS%",
            "route_name": "%ROUTE_NAME%",
            "scheme": "%REQ(X-FORWARDED-PROTO)%",
            "start_time": "%START_TIME%",
            "upstream_cluster": "%UPSTREAM_CLUSTER%",
            "upstream_host": "%UPSTREAM_HOST%",
            "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
            "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
            "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
            "user_agent": "%REQ(USER-AGENT)%",
            "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
        });
        match fields {
            Value::Object(fields) => Self::Json(fields),
            _ => Self::text(),
        }
    }

    /// The usual fields with those by which Datadog joins a line to its trace, as Emissary has them;
    /// what somebody wrote stays as it is.
    pub fn joined_to_datadog(&self) -> Cow<'_, Self> {
        match Self::json() {
            Self::Json(mut fields) if matches!(self, Self::Json(own) if *own == fields) => {
                fields.insert("dd.trace_id".to_owned(), "%REQ(X-DATADOG-TRACE-ID)%".into());
                fields.insert("dd.span_id".to_owned(), "%REQ(X-DATADOG-PARENT-ID)%".into());
                Cow::Owned(Self::Json(fields))
            }
            _ => Cow::Borrowed(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_usual_fields_are_joined_to_a_trace() {
        let LogFormat::Json(fields) = LogFormat::json().joined_to_datadog().into_owned() else {
            panic!("it is no object");
        };
        assert_eq!(fields["dd.trace_id"], "%REQ(X-DATADOG-TRACE-ID)%");
        assert_eq!(fields["method"], "%REQ(:METHOD)%");
        let own = Map::from_iter([("m".to_owned(), "%REQ(:METHOD)%".into())]);
        for other in [LogFormat::text(), LogFormat::Json(own)] {
            assert_eq!(*other.joined_to_datadog(), other);
        }
    }
}
