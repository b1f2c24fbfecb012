//! The question over gRPC: Envoy's own, with what filters before changed of it.

use std::collections::BTreeMap;

use prost::Message as _;
use proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use proto::envoy::config::core::v3::{HeaderMap, HeaderValue, HeaderValueOption};
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use proto::envoy::service::auth::v3::{
    CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};

use super::{External, HOPS};
use crate::context::Context;
use crate::filter::{Judged, Modification, ResponseHeader, Verdict};
use crate::need::GrpcCall;
use crate::reply::Reply;
use crate::request::is_settable;
use crate::structure;

/// The method.
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

impl External {
    pub(super) fn ask_grpc(&self, context: &Context<'_>, body: &[u8], hops: String) -> Judged {
        let mut metadata = Vec::new();
        if self.linkerd {
            metadata.push(("l5d-dst-override".to_owned(), self.authority.clone()));
        }
        let call = GrpcCall {
            origin: self.origin.clone(),
            path: CHECK,
            metadata,
            message: question(context, body, hops).encode_to_vec(),
            transport: self.transport.clone(),
            timeout: self.timeout,
        };
        let answer = match context.grpc(call)? {
            Err(error) => return Ok(self.no_answer(context, error)),
            Ok(answer) => CheckResponse::decode(answer.as_slice()),
        };
        let Ok(answer) = answer else {
            return Ok(self.failed(context, "the authorization service's answer cannot be read"));
        };
        let code = answer.status.as_ref().map_or(0, |status| status.code);
        Ok(match answer.http_response {
            Some(HttpResponse::OkResponse(ok)) if code == 0 => {
                let mut modification = allowed(context, ok);
                if let Some(metadata) = answer.dynamic_metadata {
                    modification.metadata = structure::to_json(metadata);
                }
                Verdict::Allow(Box::new(modification))
            }
            None if code == 0 => Verdict::allow(),
            Some(HttpResponse::DeniedResponse(denied)) => Verdict::Deny(refused(denied)),
            None => Verdict::Deny(Reply::json(
                403,
                "the authorization service refused",
                context.request_id(),
            )),
            _ => self.failed(context, "the authorization service failed"),
        })
    }
}

/// Envoy's question, with headers as they are now and what of the body may be sent.
fn question(context: &Context<'_>, body: &[u8], hops: String) -> CheckRequest {
    let mut check = context.request.check().clone();
    let http = check
        .attributes
        .as_mut()
        .and_then(|attributes| attributes.request.as_mut())
        .and_then(|request| request.http.as_mut());
    let Some(http) = http else { return check };
    let headers = context.changes.headers(context.request);
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let headers = headers.chain([(HOPS.to_owned(), hops)]);
    if http.header_map.is_some() {
        let raw = |(key, value): (String, String)| HeaderValue {
            key,
            raw_value: value.into_bytes().into(),
            ..HeaderValue::default()
        };
        http.header_map = Some(HeaderMap { headers: headers.map(raw).collect() });
    } else {
        http.headers = headers.collect();
    }
    if http.raw_body.is_empty() {
        http.body = String::from_utf8_lossy(body).into_owned();
    } else {
        http.raw_body = body.to_vec().into();
    }
    check
}

fn allowed(context: &Context<'_>, ok: OkHttpResponse) -> Modification {
    // As the service leaves them; by name, for it may send many.
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    for option in ok.headers {
        let action = action(&option);
        let Some((name, value)) = pair(option) else { continue };
        match (action, values.get_mut(&name), context.header(&name)) {
            (HeaderAppendAction::AppendIfExistsOrAdd, Some(before), _) => {
                before.push(',');
                before.push_str(&value);
            }
            (HeaderAppendAction::AppendIfExistsOrAdd, None, Some(before)) => {
                let joined = format!("{before},{value}");
                values.insert(name, joined);
            }
            (HeaderAppendAction::AddIfAbsent, Some(_), _)
            | (HeaderAppendAction::AddIfAbsent, _, Some(_))
            | (HeaderAppendAction::OverwriteIfExists, None, None) => {}
            _ => {
                values.insert(name, value);
            }
        }
    }
    let mut headers: Vec<(String, Option<String>)> =
        values.into_iter().map(|(name, value)| (name, Some(value))).collect();
    let removed = ok.headers_to_remove.into_iter().map(|name| name.to_ascii_lowercase());
    headers.extend(removed.filter(|name| is_settable(name)).map(|name| (name, None)));
    Modification {
        headers,
        response_headers: ok.response_headers_to_add.into_iter().filter_map(response).collect(),
        query_set: ok.query_parameters_to_set.into_iter().map(|q| (q.key, q.value)).collect(),
        query_remove: ok.query_parameters_to_remove,
        ..Modification::default()
    }
}

/// What is to become of a header that is there. Without a word of the service it is overwritten:
/// the client may have sent it.
fn action(option: &HeaderValueOption) -> HeaderAppendAction {
    #[expect(deprecated)]
    match option.append {
        Some(true) => HeaderAppendAction::AppendIfExistsOrAdd,
        Some(false) => HeaderAppendAction::OverwriteIfExistsOrAdd,
        None => match option.append_action() {
            HeaderAppendAction::AppendIfExistsOrAdd => HeaderAppendAction::OverwriteIfExistsOrAdd,
            other => other,
        },
    }
}

/// Name (lower case) and value; none when it must not be set.
fn pair(option: HeaderValueOption) -> Option<(String, String)> {
    let header = option.header?;
    let value = if header.raw_value.is_empty() {
        header.value
    } else {
        String::from_utf8(header.raw_value.to_vec()).ok()?
    };
    let name = header.key.to_ascii_lowercase();
    is_settable(&name).then_some((name, value))
}

fn response(option: HeaderValueOption) -> Option<ResponseHeader> {
    let appended = action(&option) == HeaderAppendAction::AppendIfExistsOrAdd;
    let (name, value) = pair(option)?;
    let append = appended || name == "set-cookie";
    Some(ResponseHeader { name, value, append })
}

/// The answer as it is.
fn refused(denied: DeniedHttpResponse) -> Reply {
    let status = denied.status.and_then(|s| u16::try_from(s.code).ok()).filter(|s| *s >= 200);
    Reply {
        status: status.unwrap_or(403),
        headers: denied.headers.into_iter().filter_map(pair).collect(),
        body: denied.body,
        reason: "the authorization service refused".into(),
    }
}
