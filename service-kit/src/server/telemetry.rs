//! Logs, to standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging for the whole process. `level` is `error`, `warn` (`warning`), `info`, `debug`
/// or `trace` in any case, or a list of directives as in `info,h2=off`.
///
/// # Errors
/// The words for the user when `level` is neither, or logging was started before.
pub fn init(level: &str, format: Format) -> Result<(), String> {
    let level = match level.to_ascii_lowercase().as_str() {
        "warning" => "warn".to_owned(),
        other => other.to_owned(),
    };
    let filter = EnvFilter::try_new(&level).map_err(|_| {
        format!("`{level}` is not a log level; use error, warn, info, debug or trace")
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Colours are for people at a terminal, not for files and other programs.
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        Format::Text => builder.with_target(false).try_init(),
        Format::Json => builder.json().try_init(),
    }
    .map_err(|e| format!("logging is started already: {e}"))
}
