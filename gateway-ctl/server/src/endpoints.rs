//! Reads the endpoints that Envoy is told of.

use prost::Message as _;
use proto::envoy::config::core::v3::address::Address;
use proto::envoy::config::core::v3::socket_address::PortSpecifier;
use proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use proto::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;

/// The addresses of an encoded `ClusterLoadAssignment`; none when it is not one.
pub(crate) fn addresses(body: &[u8]) -> Option<Vec<String>> {
    let assignment = ClusterLoadAssignment::decode(body).ok()?;
    let endpoints = assignment.endpoints.iter().flat_map(|l| &l.lb_endpoints);
    let address = |id: &HostIdentifier| match id {
        HostIdentifier::Endpoint(endpoint) => match endpoint.address.as_ref()?.address.as_ref()? {
            Address::SocketAddress(a) => Some(match a.port_specifier {
                Some(PortSpecifier::PortValue(port)) => format!("{}:{port}", a.address),
                _ => a.address.clone(),
            }),
            Address::Pipe(pipe) => Some(pipe.path.clone()),
            _ => None,
        },
        HostIdentifier::EndpointName(name) => Some(name.clone()),
    };
    Some(endpoints.filter_map(|e| address(e.host_identifier.as_ref()?)).collect())
}
