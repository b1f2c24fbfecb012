//! Lets addresses in, or keeps them out.

use proto::envoy::config::core::v3::CidrRange;
use proto::envoy::config::rbac::v3::{Permission, Policy, Principal, Rbac as Rules};
use proto::envoy::config::rbac::v3::{permission, principal, rbac::Action};
use proto::envoy::extensions::filters::http::rbac::v3::Rbac;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;

use crate::ir::{HttpFilters, HttpOptions};

pub(super) fn make(_: &HttpFilters, options: &HttpOptions) -> Option<HttpFilter> {
    let rule = options.filters.addresses.as_ref()?;
    let principals = rule.ranges.iter().map(|range| {
        let cidr = CidrRange {
            address_prefix: range.address.to_string(),
            prefix_len: Some(u32::from(range.prefix_length)),
        };
        let identifier = if range.peer {
            principal::Identifier::DirectRemoteIp(cidr)
        } else {
            principal::Identifier::RemoteIp(cidr)
        };
        Principal { identifier: Some(identifier) }
    });
    let policy = Policy {
        permissions: vec![Permission { rule: Some(permission::Rule::Any(true)) }],
        principals: principals.collect(),
        ..Policy::default()
    };
    let (action, name) =
        if rule.allow { (Action::Allow, "ip_allow") } else { (Action::Deny, "ip_deny") };
    let rules = Rules {
        action: action.into(),
        policies: [(name.to_owned(), policy)].into(),
        ..Rules::default()
    };
    let rbac = Rbac { rules: Some(rules), ..Rbac::default() };
    Some(super::filter(super::RBAC, "envoy.extensions.filters.http.rbac.v3.RBAC", &rbac))
}
