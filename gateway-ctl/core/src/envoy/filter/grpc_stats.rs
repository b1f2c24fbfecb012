//! Counts gRPC calls.

use proto::envoy::config::core::v3::{GrpcMethodList, grpc_method_list::Service};
use proto::envoy::extensions::filters::http::grpc_stats::v3::{
    FilterConfig, filter_config::PerMethodStatSpecifier,
};
use proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;

use crate::ir::{HttpFilters, HttpOptions};

pub(super) fn make(_: &HttpFilters, options: &HttpOptions) -> Option<HttpFilter> {
    let stats = options.filters.grpc_stats.as_ref()?;
    let specifier = match &stats.services {
        None => PerMethodStatSpecifier::StatsForAllMethods(true),
        Some(services) if services.is_empty() => PerMethodStatSpecifier::StatsForAllMethods(false),
        Some(services) => {
            let service = |(name, methods): (&String, &Vec<String>)| Service {
                name: name.clone(),
                method_names: methods.clone(),
            };
            let services = services.iter().map(service).collect();
            PerMethodStatSpecifier::IndividualMethodStatsAllowlist(GrpcMethodList { services })
        }
    };
    let config = FilterConfig {
        per_method_stat_specifier: Some(specifier),
        enable_upstream_stats: stats.upstream,
        ..FilterConfig::default()
    };
    let name = "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig";
    Some(super::filter(super::GRPC_STATS, name, &config))
}
