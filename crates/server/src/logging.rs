//! Our own log, on standard error.

use anyhow::Context;
use config::LogFormat;
use tracing_subscriber::EnvFilter;

/// Starts logging to standard error for the whole process. Called once, before anything else runs.
///
/// # Errors
/// If the filter cannot be read or logging was started before.
pub fn start(logging: &config::Logging) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(logging.level.as_str()).with_context(|| format!("logging.level `{}`", logging.level.as_str()))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match logging.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => {
            let colours =
                std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
            builder.with_ansi(colours).with_target(false).try_init()
        }
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}
