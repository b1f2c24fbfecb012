//! `envoy.config.accesslog.v3.AccessLog` of the Module's settings.

use prost_types::Any;
use proto::envoy::config::accesslog::v3 as accesslog;
use proto::envoy::config::core::v3 as core;
use proto::envoy::extensions::access_loggers::file::v3 as file;
use proto::envoy::extensions::access_loggers::stream::v3 as stream;

use super::any;
use crate::ir::access_log::{AccessLog, LogFormat, LogTarget};
use crate::ir::telemetry::{Driver, Telemetry};

/// Encodes the log of requests.
pub(super) fn encode(ir: &AccessLog, telemetry: &Telemetry) -> accesslog::AccessLog {
    let driver = telemetry.tracing.as_ref().map(|tracing| &tracing.driver);
    match driver {
        Some(Driver::Datadog { .. }) => log(&ir.target, &ir.format.joined_to_datadog()),
        _ => log(&ir.target, &ir.format),
    }
}

fn log(ir: &LogTarget, format: &LogFormat) -> accesslog::AccessLog {
    let (name, config) = target(ir, format);
    let config_type = Some(accesslog::access_log::ConfigType::TypedConfig(config));
    accesslog::AccessLog { name: name.to_owned(), config_type, ..accesslog::AccessLog::default() }
}

/// Encodes the log of connections that no chain of a Listener takes, as of TLS that asks for a name
/// which no Host has: there is no request that could be logged.
pub(super) fn of_refused(ir: &AccessLog) -> accesslog::AccessLog {
    use accesslog::access_log_filter::FilterSpecifier;
    let flags = accesslog::ResponseFlagFilter { flags: vec!["NR".to_owned()] };
    let filter = accesslog::AccessLogFilter {
        filter_specifier: Some(FilterSpecifier::ResponseFlagFilter(flags)),
    };
    accesslog::AccessLog { filter: Some(filter), ..log(&ir.target, &ir.format) }
}

fn target(ir: &LogTarget, format: &LogFormat) -> (&'static str, Any) {
    use file::file_access_log::AccessLogFormat as InFile;
    use stream::stderr_access_log::AccessLogFormat as OnStderr;
    use stream::stdout_access_log::AccessLogFormat as OnStdout;
    let format = encode_format(format);
    match ir {
        LogTarget::Stdout => {
            let message =
                stream::StdoutAccessLog { access_log_format: Some(OnStdout::LogFormat(format)) };
            let kind = "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog";
            ("envoy.access_loggers.stdout", any(kind, &message))
        }
        LogTarget::Stderr => {
            let message =
                stream::StderrAccessLog { access_log_format: Some(OnStderr::LogFormat(format)) };
            let kind = "envoy.extensions.access_loggers.stream.v3.StderrAccessLog";
            ("envoy.access_loggers.stderr", any(kind, &message))
        }
        LogTarget::File(path) => {
            let message = file::FileAccessLog {
                path: path.clone(),
                access_log_format: Some(InFile::LogFormat(format)),
            };
            let kind = "envoy.extensions.access_loggers.file.v3.FileAccessLog";
            ("envoy.access_loggers.file", any(kind, &message))
        }
    }
}

fn encode_format(ir: &LogFormat) -> core::SubstitutionFormatString {
    use core::substitution_format_string::Format;
    let format = match ir {
        LogFormat::Text(text) => Format::TextFormatSource(core::DataSource {
            specifier: Some(core::data_source::Specifier::InlineString(text.clone())),
            ..core::DataSource::default()
        }),
        LogFormat::Json(object) => Format::JsonFormat(super::structure(object)),
    };
    core::SubstitutionFormatString {
        format: Some(format),
        ..core::SubstitutionFormatString::default()
    }
}
