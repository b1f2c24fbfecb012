//! Compresses answers.

use proto::envoy::config::core::v3::TypedExtensionConfig;
use proto::envoy::extensions::compression::gzip::compressor::v3::Gzip;
use proto::envoy::extensions::filters::http::compressor::v3::Compressor;
use proto::envoy::extensions::filters::http::compressor::v3::compressor::{
    CommonDirectionConfig, ResponseDirectionConfig,
};
use proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;

use crate::ir::{HttpFilters, HttpOptions};

// `content_type` is deprecated for what Envoys before 1.38 do not know.
#[expect(deprecated)]
pub(super) fn make(_: &HttpFilters, options: &HttpOptions) -> Option<HttpFilter> {
    let ir = options.filters.gzip.as_ref()?;
    let gzip = Gzip {
        memory_level: ir.memory_level,
        compression_level: ir.level,
        compression_strategy: ir.strategy,
        window_bits: ir.window_bits,
        ..Gzip::default()
    };
    let library = "envoy.extensions.compression.gzip.compressor.v3.Gzip";
    let compressor = Compressor {
        compressor_library: Some(TypedExtensionConfig {
            name: "gzip".to_owned(),
            typed_config: Some(crate::envoy::any(library, &gzip)),
        }),
        response_direction_config: Some(ResponseDirectionConfig {
            common_config: Some(CommonDirectionConfig {
                min_content_length: ir.min_content_length,
                content_type: ir.content_type.clone(),
                ..CommonDirectionConfig::default()
            }),
            disable_on_etag_header: ir.disable_on_etag_header,
            remove_accept_encoding_header: ir.remove_accept_encoding_header,
            ..ResponseDirectionConfig::default()
        }),
        ..Compressor::default()
    };
    let name = "envoy.extensions.filters.http.compressor.v3.Compressor";
    Some(super::filter(super::COMPRESSOR, name, &compressor))
}
