//! Our own log: on standard error, in memory for `/api/logs`, and in files where that is configured. What
//! `logging.level` leaves out is in none of them.

mod files;
mod ring;
mod rotation;

use anyhow::Context;
use config::LogFormat;
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use files::Files;
pub(crate) use ring::{Follower, LINES_MAX, Line, News, Ring};

/// A log that was started. Dropped, it writes what still waits to be written to files.
pub struct Logging {
    pub(crate) ring: Ring,
    pub(crate) level: Level,
    _files: Option<Files>,
}

/// What is logged, which may change while the process runs.
#[derive(Clone)]
pub(crate) struct Level(reload::Handle<EnvFilter, Registry>);

impl Level {
    /// Logs what this filter says from now on.
    pub(crate) fn set(&self, filter: EnvFilter) -> anyhow::Result<()> {
        self.0.reload(filter).context("cannot change what is logged")
    }
}

/// What is to be logged.
pub(crate) fn filter(logging: &config::Logging) -> anyhow::Result<EnvFilter> {
    let level = logging.level.as_str();
    EnvFilter::try_new(level).with_context(|| format!("logging.level `{level}`"))
}

/// Starts logging for the whole process. Called once, before anything else runs.
///
/// # Errors
/// If the filter cannot be read, files cannot be written, or logging was started before.
pub fn start(logging: &config::Logging) -> anyhow::Result<Logging> {
    let (filter, level) = reload::Layer::new(filter(logging)?);
    let ring = Ring::new();
    let settings = logging.directory.clone().map(|folder| files::Settings {
        folder,
        rotate_hour: logging.rotate_hour,
        retain: logging.retain_days,
        format: logging.format,
    });
    let files = settings.map(Files::start).transpose()?;
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    let subscriber = tracing_subscriber::registry()
        .with(filter)
        .with(ring::RingLayer(ring.clone()))
        .with(written(logging.format, colours, std::io::stderr))
        .with(files.as_ref().map(|files| written(logging.format, false, files.lines())));
    subscriber.try_init().context("cannot start logging")?;
    keep_panics(ring.clone());
    Ok(Logging { ring, level: Level(level), _files: files })
}

/// Lines in the format that was asked for.
fn written<S, W>(format: LogFormat, colours: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
        LogFormat::Text => layer.with_ansi(colours).with_target(false).boxed(),
    }
}

/// A panic is told on standard error as ever, and shows in `/api/logs`, where a person may look who cannot see that.
fn keep_panics(ring: Ring) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        ring.push(ring::panicked(info));
        usual(info);
    }));
}
