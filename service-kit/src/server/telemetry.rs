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

/// Starts logging for the whole process. `level` is `error` (`fatal`, `panic`), `warn`
/// (`warning`), `info` (also when empty), `debug`, `trace` or `off` in any case, or a list of
/// directives as in `info,h2=off`.
///
/// # Errors
/// The words for the user when `level` is neither, or logging was started before.
pub fn init(level: &str, format: Format) -> Result<(), String> {
    let filter = filter(level)?;
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

fn filter(text: &str) -> Result<EnvFilter, String> {
    // A variable that is set to nothing counts as not set.
    let text = if text.trim().is_empty() { "info" } else { text };
    let directives: Option<Vec<String>> = text.split(',').map(|d| directive(d.trim())).collect();
    directives.and_then(|all| EnvFilter::try_new(all.join(",")).ok()).ok_or_else(|| {
        format!(
            "`{text}` is not a log level; use error, warn, info, debug or trace, or a list of \
             target=level after one of them"
        )
    })
}

/// A level in any case, or what has `=` or `[` in it. A word alone is a target to the filter: a
/// level with a slip of the pen would turn off all but that.
fn directive(text: &str) -> Option<String> {
    match text.to_ascii_lowercase().as_str() {
        "warning" => Some("warn".to_owned()),
        // Levels of logrus, which LOG_LEVEL of envoyproxy/ratelimit takes: there is none above.
        "fatal" | "panic" => Some("error".to_owned()),
        level @ ("error" | "warn" | "info" | "debug" | "trace" | "off") => Some(level.to_owned()),
        _ => text.contains(['=', '[']).then(|| text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_levels_in_any_case_and_lists() {
        for (text, means) in [
            ("info", "info"),
            ("WARNING", "warn"),
            ("Debug", "debug"),
            ("fatal", "error"),
            ("", "info"),
            ("off", "off"),
            ("warning, h2=off", "h2=off,warn"),
            ("info,authz_svc::check=trace", "authz_svc::check=trace,info"),
        ] {
            assert_eq!(filter(text).unwrap().to_string(), means, "{text}");
        }
    }

    #[test]
    fn refuses_what_would_turn_logs_off_by_mistake() {
        for text in ["verbose", "inof", "info,h2", "h2=loud", "info,"] {
            let why = filter(text).unwrap_err();
            assert!(why.starts_with(&format!("`{text}` is not a log level; use error")), "{why}");
        }
    }
}
