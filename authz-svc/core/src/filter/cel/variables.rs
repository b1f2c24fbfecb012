//! What expressions know of a request.

use std::borrow::Cow;
use std::collections::HashMap;

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelTimestamp,
    CelUInt,
};
use cel::common::value::Val;
use serde_json::Value as Json;

use super::types::Type;
use crate::context::Context;
use crate::request::Peer;
use crate::structure;

/// A variable of expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Variable {
    Method,
    Scheme,
    Host,
    Path,
    UrlPath,
    Query,
    Headers,
    Protocol,
    Id,
    Time,
    Size,
    SourceAddress,
    SourcePort,
    SourcePrincipal,
    SourceCertificate,
    DestinationAddress,
    DestinationPort,
    DestinationPrincipal,
    ServerName,
    Subject,
    Claims,
    Metadata,
    ContextExtensions,
}

use Variable::*;

/// Their names; those of one part have one beginning.
const NAMES: &[(&str, Variable)] = &[
    ("request.method", Method),
    ("request.scheme", Scheme),
    ("request.host", Host),
    ("request.path", Path),
    ("request.url_path", UrlPath),
    ("request.query", Query),
    ("request.headers", Headers),
    ("request.protocol", Protocol),
    ("request.id", Id),
    ("request.time", Time),
    ("request.size", Size),
    ("source.address", SourceAddress),
    ("source.port", SourcePort),
    ("source.principal", SourcePrincipal),
    ("source.certificate", SourceCertificate),
    ("destination.address", DestinationAddress),
    ("destination.port", DestinationPort),
    ("destination.principal", DestinationPrincipal),
    ("connection.requested_server_name", ServerName),
    ("identity.subject", Subject),
    ("identity.claims", Claims),
    ("metadata", Metadata),
    ("context_extensions", ContextExtensions),
];

type Boxed<'v> = Box<dyn Val + 'v>;

impl Variable {
    /// The one of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(n, _)| *n == name).map(|(_, variable)| *variable)
    }

    /// The second parts of the names that begin so; none when no name does.
    pub(super) fn fields_of(root: &str) -> Vec<&'static str> {
        let parts = NAMES.iter().filter_map(|(name, _)| name.split_once('.'));
        parts.filter(|(first, _)| *first == root).map(|(_, field)| field).collect()
    }

    /// What names begin with.
    pub(super) fn roots() -> Vec<&'static str> {
        let mut roots: Vec<_> =
            NAMES.iter().map(|(name, _)| name.split('.').next().unwrap_or_default()).collect();
        roots.dedup();
        roots
    }

    /// As expressions call it.
    pub(super) fn name(self) -> &'static str {
        NAMES.iter().find(|(_, v)| *v == self).map_or("", |(name, _)| *name)
    }

    pub(super) fn type_of(self) -> Type {
        match self {
            Query => Type::map(Type::list(Type::Text)),
            Headers | ContextExtensions => Type::map(Type::Text),
            Time => Type::Time,
            Size | SourcePort | DestinationPort => Type::Number,
            Claims | Metadata => Type::map(Type::Any),
            _ => Type::Text,
        }
    }

    /// Its value for a request.
    pub(super) fn value<'v>(self, context: &'v Context<'_>) -> Boxed<'v> {
        let request = context.request;
        let attributes = request.check().attributes.as_ref();
        let address =
            |peer: &Peer| peer.address.map_or_else(String::new, |a| a.to_canonical().to_string());
        match self {
            Method => text(request.method()),
            Scheme => text(request.scheme()),
            Host => text(request.authority()),
            Path | UrlPath => text(request.path()),
            Query => query(request.query().unwrap_or_default()),
            Headers => map(context.headers().map(|(name, value)| (name.into(), text(value)))),
            Protocol => text(request.protocol()),
            Id => text(request.id()),
            Time => time(context),
            Size => {
                let http = attributes.and_then(|a| a.request.as_ref()?.http.as_ref());
                Box::new(CelInt::from(http.map_or(-1, |http| http.size)))
            }
            SourceAddress => Box::new(CelString::from(address(request.source()))),
            SourcePort => Box::new(CelInt::from(i64::from(request.source().port))),
            SourcePrincipal => text(&request.source().principal),
            SourceCertificate => certificate(&request.source().certificate),
            DestinationAddress => Box::new(CelString::from(address(request.destination()))),
            DestinationPort => Box::new(CelInt::from(i64::from(request.destination().port))),
            DestinationPrincipal => text(&request.destination().principal),
            ServerName => text(request.server_name()),
            Subject => text(context.identity.map_or("", |identity| &identity.subject)),
            Claims => match context.identity.map(|identity| &*identity.attributes) {
                Some(claims @ Json::Object(_)) => json(claims),
                _ => map([]),
            },
            Metadata => {
                let metadata = attributes.and_then(|a| a.metadata_context.as_ref());
                let filters = metadata.into_iter().flat_map(|m| &m.filter_metadata);
                map(filters.map(|(name, fields)| {
                    let fields = Json::Object(structure::to_json(fields.clone()));
                    (name.as_str().into(), json(&fields))
                }))
            }
            ContextExtensions => {
                let all = attributes.into_iter().flat_map(|a| &a.context_extensions);
                map(all.map(|(name, value)| (name.as_str().into(), text(value))))
            }
        }
    }
}

fn text(value: &str) -> Boxed<'_> {
    Box::new(CelString::from(value))
}

fn map<'v>(entries: impl IntoIterator<Item = (CelMapKey<'v>, Boxed<'v>)>) -> Boxed<'v> {
    Box::new(CelMap::from(entries.into_iter().collect::<HashMap<_, _>>()))
}

/// Each name with all its values, decoded.
fn query<'v>(text: &str) -> Boxed<'v> {
    let mut all: HashMap<String, Vec<Boxed<'v>>> = HashMap::new();
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let value = Box::new(CelString::from(value.into_owned()));
        all.entry(name.into_owned()).or_default().push(value);
    }
    map(all.into_iter().map(|(name, values)| {
        let values: Boxed<'v> = Box::new(CelList::from(values));
        (name.into(), values)
    }))
}

/// When Envoy got the request, or else now.
fn time<'v>(context: &Context<'_>) -> Boxed<'v> {
    let told = context.request.check().attributes.as_ref();
    let told = told.and_then(|a| a.request.as_ref()?.time.as_ref());
    let now = || chrono::DateTime::from_timestamp(0, 0).map(|epoch| epoch + context.now);
    let time = told
        .and_then(|t| chrono::DateTime::from_timestamp(t.seconds, u32::try_from(t.nanos).ok()?))
        .or_else(now);
    match time {
        Some(time) => Box::new(CelTimestamp::from(time.fixed_offset())),
        None => Box::new(CelNull),
    }
}

/// PEM.
fn certificate(encoded: &str) -> Boxed<'_> {
    let decoded = percent_encoding::percent_decode_str(encoded).decode_utf8_lossy();
    Box::new(match decoded {
        Cow::Borrowed(text) => CelString::from(text),
        Cow::Owned(text) => CelString::from(text),
    })
}

fn json<'v>(value: &Json) -> Boxed<'v> {
    match value {
        Json::Null => Box::new(CelNull),
        Json::Bool(flag) => Box::new(CelBool::from(*flag)),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Box::new(CelInt::from(number)),
            (None, Some(number)) => Box::new(CelUInt::from(number)),
            (None, None) => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Json::String(text) => Box::new(CelString::from(text.clone())),
        Json::Array(items) => {
            Box::new(CelList::from(items.iter().map(json).collect::<Vec<Boxed<'v>>>()))
        }
        Json::Object(fields) => {
            map(fields.iter().map(|(name, value)| (name.clone().into(), json(value))))
        }
    }
}
