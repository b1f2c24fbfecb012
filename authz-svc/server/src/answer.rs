//! A decision as Envoy's `CheckResponse`.

use authz_core::filter::ResponseHeader;
use authz_core::request::is_settable;
use authz_core::{Mutations, Outcome, Reply};
use bytes::BytesMut;
use prost::Message as _;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption, QueryParameter};
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use proto::envoy::service::auth::v3::{CheckResponse, DeniedHttpResponse, OkHttpResponse};
use proto::envoy::r#type::v3::HttpStatus;
use proto::google::rpc::Status as RpcStatus;
use serde_json::{Map, Value as Json};

/// How it is told that a request could not be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// As a denial.
    Denied,
    /// As an error, for which Envoy (1.37 or later) has a setting of its own.
    Error,
}

/// `CheckResponse { status: { code: 0 }, ok_response: {} }`.
const ALLOWED: &[u8] = &[0x0a, 0x00, 0x1a, 0x00];

/// Appends the message.
pub(crate) fn write(outcome: Outcome, style: Style, out: &mut BytesMut) {
    let message = match outcome {
        Outcome::Allow(mutations) if *mutations == Mutations::default() => {
            return out.extend_from_slice(ALLOWED);
        }
        Outcome::Allow(mutations) => allow(*mutations),
        Outcome::Error(reply) if style == Style::Error => error(reply),
        Outcome::Deny(reply) | Outcome::Error(reply) => deny(reply),
    };
    out.reserve(message.encoded_len());
    message.encode_raw(out);
}

/// The outcome, or a refusal when it would put something else into a request or a response than
/// one header: nothing of a client or a server may get that far.
pub(crate) fn checked(outcome: Outcome) -> Outcome {
    let is_value = |value: &str| !value.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0));
    let is_header =
        |name: &str, value: &str| is_settable(&name.to_ascii_lowercase()) && is_value(value);
    let good = match &outcome {
        Outcome::Allow(mutations) => {
            mutations.set.iter().all(|(name, value)| is_header(name, value))
                && mutations.remove.iter().all(|name| is_settable(name))
                && mutations.response_headers.iter().all(|h| is_header(&h.name, &h.value))
        }
        Outcome::Deny(reply) | Outcome::Error(reply) => {
            reply.headers.iter().all(|(name, value)| is_header(name, value))
        }
    };
    if good {
        return outcome;
    }
    tracing::error!("an answer with a header that is none was not given; the request was denied");
    Outcome::Deny(Reply::json(500, "the authorization service failed", ""))
}

fn header((key, value): (String, String)) -> HeaderValueOption {
    header_option(key, value, HeaderAppendAction::OverwriteIfExistsOrAdd)
}

fn header_option(key: String, value: String, action: HeaderAppendAction) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key, value, ..HeaderValue::default() }),
        append_action: action.into(),
        ..HeaderValueOption::default()
    }
}

fn response_header(header: ResponseHeader) -> HeaderValueOption {
    let action = if header.append {
        HeaderAppendAction::AppendIfExistsOrAdd
    } else {
        HeaderAppendAction::OverwriteIfExistsOrAdd
    };
    header_option(header.name, header.value, action)
}

fn response(code: i32, http_response: HttpResponse) -> CheckResponse {
    CheckResponse {
        status: Some(RpcStatus { code, ..RpcStatus::default() }),
        http_response: Some(http_response),
        dynamic_metadata: None,
    }
}

fn allow(mutations: Mutations) -> CheckResponse {
    let query = |(key, value): (String, String)| QueryParameter { key, value };
    let ok = OkHttpResponse {
        headers: mutations.set.into_iter().map(header).collect(),
        headers_to_remove: mutations.remove,
        response_headers_to_add: mutations
            .response_headers
            .into_iter()
            .map(response_header)
            .collect(),
        query_parameters_to_set: mutations.query_set.into_iter().map(query).collect(),
        query_parameters_to_remove: mutations.query_remove,
        ..OkHttpResponse::default()
    };
    let metadata = (!mutations.metadata.is_empty()).then(|| structure(mutations.metadata));
    CheckResponse {
        dynamic_metadata: metadata,
        ..response(tonic::Code::Ok.into(), HttpResponse::OkResponse(ok))
    }
}

fn structure(map: Map<String, Json>) -> Struct {
    Struct { fields: map.into_iter().map(|(name, json)| (name, value(json))).collect() }
}

fn value(json: Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(flag) => Kind::BoolValue(flag),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(list) => {
            Kind::ListValue(ListValue { values: list.into_iter().map(value).collect() })
        }
        Json::Object(map) => Kind::StructValue(structure(map)),
    };
    Value { kind: Some(kind) }
}

fn error(reply: Reply) -> CheckResponse {
    let code = tonic::Code::Unavailable.into();
    let error = DeniedHttpResponse {
        status: Some(HttpStatus { code: i32::from(reply.status) }),
        headers: reply.headers.into_iter().map(header).collect(),
        body: reply.body,
    };
    response(code, HttpResponse::ErrorResponse(error))
}

fn deny(reply: Reply) -> CheckResponse {
    let code = match reply.status {
        401 => tonic::Code::Unauthenticated,
        _ => tonic::Code::PermissionDenied,
    };
    let denied = DeniedHttpResponse {
        status: Some(HttpStatus { code: i32::from(reply.status) }),
        headers: reply.headers.into_iter().map(header).collect(),
        body: reply.body,
    };
    response(code.into(), HttpResponse::DeniedResponse(denied))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(outcome: Outcome, style: Style) -> CheckResponse {
        let mut out = BytesMut::new();
        write(outcome, style, &mut out);
        CheckResponse::decode(out.freeze()).unwrap()
    }

    #[test]
    fn the_constant_is_the_message() {
        let read = written(Outcome::Allow(Box::default()), Style::Denied);
        assert_eq!(read, allow(Mutations::default()));
    }

    #[test]
    fn an_undecided_request_is_denied_or_an_error() {
        let outcome = Outcome::Error(Reply::json(503, "the provider is down", "r"));
        let denied = written(outcome.clone(), Style::Denied).http_response;
        assert!(matches!(denied, Some(HttpResponse::DeniedResponse(_))));
        let error = written(outcome, Style::Error);
        assert_ne!(error.status.unwrap().code, 0);
        let Some(HttpResponse::ErrorResponse(error)) = error.http_response else {
            panic!("no error");
        };
        assert_eq!(error.status.unwrap().code, 503);
    }

    #[test]
    fn nothing_is_smuggled_through_a_header() {
        let set = |name: &str, value: &str| {
            let set = vec![(name.to_owned(), value.to_owned())];
            Outcome::Allow(Box::new(Mutations { set, ..Mutations::default() }))
        };
        let reply = |value: &str| Outcome::Deny(Reply::json(401, "no", "").with_header("x", value));
        for bad in [
            set("x-a", "1\r\nx-admin: yes"),
            set("x-a", "1\0"),
            set("x-a\n", "1"),
            set(":path", "/"),
            set("host", "evil"),
            reply("a\nset-cookie: b"),
        ] {
            assert!(
                matches!(checked(bad.clone()), Outcome::Deny(reply) if reply.status == 500),
                "{bad:?}"
            );
        }
        for good in [set("x-a", "1"), reply("a b")] {
            assert_eq!(checked(good.clone()), good);
        }
    }
}
