//! The kinds that have a CustomResourceDefinition.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::json;

use super::{Column, Definition, Owner, unread};
use crate::resource::{
    auth_service, host, listener, mapping, module, rate_limit_service, resolver, tcp_mapping,
    tls_context,
};

/// Those of resources that Edge Stack had in older versions, too.
const OWN: &[&str] = &["v1beta1", "v1beta2", "v2", "v3alpha1"];
const FROM_V1: &[&str] = &["v1", "v2", "v3alpha1"];

const fn column(name: &'static str, format: &'static str, path: &'static str) -> Column {
    Column { name, format, path, wide: false }
}

const ACCEPTED: Column =
    column("Accepted", "string", r#".status.conditions[?(@.type=="Accepted")].status"#);
const PROGRAMMED: Column =
    column("Programmed", "string", r#".status.conditions[?(@.type=="Programmed")].status"#);
const REASON: Column =
    column("Reason", "string", r#".status.conditions[?(@.type=="Accepted")].reason"#);
const STATUS: &[Column] = &[ACCEPTED, PROGRAMMED];

/// Every kind that has one, in the order of their names.
pub const DEFINITIONS: &[Definition] = &[
    emissary("AuthService", "authservices", FROM_V1, STATUS, auth_service::schema),
    emissary("ConsulResolver", "consulresolvers", FROM_V1, STATUS, of::<unread::ConsulResolver>),
    emissary("DevPortal", "devportals", FROM_V1, STATUS, of::<unread::DevPortal>),
    own("Filter", "filters", &["fil"], &[ACCEPTED, PROGRAMMED, REASON], filter),
    own(
        "FilterPolicy",
        "filterpolicies",
        &["fp"],
        &[ACCEPTED, PROGRAMMED, REASON],
        of::<authz_core::spec::FilterPolicy>,
    ),
    emissary(
        "Host",
        "hosts",
        &["v2", "v3alpha1"],
        &[
            column("Hostname", "string", ".spec.hostname"),
            ACCEPTED,
            PROGRAMMED,
            column("Address", "string", ".status.addresses[0].value"),
        ],
        host::schema,
    ),
    emissary(
        "KubernetesEndpointResolver",
        "kubernetesendpointresolvers",
        FROM_V1,
        STATUS,
        resolver::schema,
    ),
    emissary(
        "KubernetesServiceResolver",
        "kubernetesserviceresolvers",
        FROM_V1,
        STATUS,
        resolver::schema,
    ),
    emissary(
        "Listener",
        "listeners",
        &["v3alpha1"],
        &[
            column("Port", "integer", ".spec.port"),
            column("Protocol", "string", ".spec.protocol"),
            column("Stack", "string", ".spec.protocolStack"),
            column("Security", "string", ".spec.securityModel"),
            ACCEPTED,
            PROGRAMMED,
        ],
        listener::schema,
    ),
    emissary("LogService", "logservices", FROM_V1, STATUS, of::<unread::LogService>),
    emissary(
        "Mapping",
        "mappings",
        FROM_V1,
        &[
            // An object has the one or, as in older versions, the other.
            column("Source Host", "string", ".spec['hostname','host']"),
            column("Source Prefix", "string", ".spec.prefix"),
            column("Dest Service", "string", ".spec.service"),
            ACCEPTED,
            PROGRAMMED,
            Column { wide: true, ..REASON },
        ],
        mapping::schema,
    ),
    emissary("Module", "modules", FROM_V1, STATUS, module::schema),
    own(
        "RateLimit",
        "ratelimits",
        &["rl"],
        &[column("Domain", "string", ".spec.domain"), ACCEPTED, PROGRAMMED],
        of::<ratelimit_core::spec::RateLimit>,
    ),
    emissary("RateLimitService", "ratelimitservices", FROM_V1, STATUS, rate_limit_service::schema),
    emissary("TCPMapping", "tcpmappings", FROM_V1, STATUS, tcp_mapping::schema),
    emissary("TLSContext", "tlscontexts", FROM_V1, STATUS, tls_context::schema),
    emissary("TracingService", "tracingservices", FROM_V1, STATUS, of::<unread::TracingService>),
];

type MakeSchema = fn(&mut SchemaGenerator) -> Schema;

const fn own(
    kind: &'static str,
    plural: &'static str,
    short_names: &'static [&'static str],
    columns: &'static [Column],
    schema: MakeSchema,
) -> Definition {
    Definition { kind, plural, short_names, owner: Owner::Own, versions: OWN, columns, schema }
}

const fn emissary(
    kind: &'static str,
    plural: &'static str,
    versions: &'static [&'static str],
    columns: &'static [Column],
    schema: MakeSchema,
) -> Definition {
    Definition { kind, plural, short_names: &[], owner: Owner::Emissary, versions, columns, schema }
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    T::json_schema(generator)
}

/// The schema of a Filter, with the spelling that is in older objects: its rule counts the kinds.
fn filter(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = of::<authz_core::spec::Filter>(generator);
    let fields = schema.ensure_object().get_mut("properties");
    if let Some(fields) = fields.and_then(|f| f.as_object_mut()) {
        let mut alias = fields.get("APIKey").cloned().unwrap_or_default();
        alias["description"] = json!("`APIKey` as conversion to older versions left it.");
        fields.insert("v3APIKey".to_owned(), alias);
    }
    schema
}
