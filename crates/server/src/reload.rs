//! Another configuration while snug runs: on SIGHUP, and when a file that it was read from has changed.
//!
//! Owns the configuration that is in force, and hands it out to those who follow it ([`InForce`]). What changed and who
//! has to know is decided in [`plan`], when a file has changed in [`watched`].
//!
//! ```text
//!  SIGHUP ─┐
//!  a file ─┴▶ Config::load ─ problems ─▶ each in the log; what is in force stays
//!                  └ sound ▶ Plan::between ─▶ log filter, limits, sites, node, storage ─▶ in force ─▶ followers
//! ```
//!
//! Nothing in flight is cut: limits count for requests that come, a model keeps what it was loaded with.

mod plan;
mod watched;

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use anyhow::Context;
use arc_swap::ArcSwap;
use config::{Config, Problems, Sources};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use storage::Storage;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::backends::Backends;
use crate::cors::Readers;
use crate::logging::Level;
use crate::{assembly, logging};

use plan::{Part, Plan};
use watched::Watched;

/// The configuration that is in force. Of settings that count from the next start on it has what is written, not what is
/// in use.
pub(crate) type InForce = watch::Receiver<Arc<Config>>;

/// Those who take what is new.
#[derive(Clone)]
pub(crate) struct Followers {
    pub(crate) level: Level,
    pub(crate) limits: gateway::LiveLimits,
    pub(crate) readers: Arc<ArcSwap<Readers>>,
    pub(crate) access: Access,
    pub(crate) node: node::Handle,
    pub(crate) storage: Storage,
    pub(crate) backends: watch::Sender<Arc<Backends>>,
}

/// See the module's text.
pub(crate) struct Reload {
    /// As snug was started with.
    started: Arc<Config>,
    in_force: watch::Sender<Arc<Config>>,
    followers: Followers,
    outcomes: Outcomes,
}

/// How often it was tried and how it went, for `/metrics`.
#[derive(Clone, Default)]
pub(crate) struct Outcomes {
    counts: Family<OutcomeLabel, Counter>,
    last: Gauge<i64, AtomicI64>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

impl Outcomes {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let outcomes = Self::default();
        let known = ["success", "failure"].map(|outcome| OutcomeLabel { outcome });
        known.iter().for_each(|label| drop(outcomes.counts.get_or_create(label)));
        outcomes.last.set(1);
        registry.register(
            "snug_config_reloads",
            "Configurations that were read while snug ran, by whether they were taken",
            outcomes.counts.clone(),
        );
        registry.register(
            "snug_config_last_reload_successful",
            "Whether the last one was taken; 0 means that what is written is not what is in force",
            outcomes.last.clone(),
        );
        outcomes
    }

    fn count(&self, is_success: bool) {
        let outcome = if is_success { "success" } else { "failure" };
        self.counts.get_or_create(&OutcomeLabel { outcome }).inc();
        self.last.set(i64::from(is_success));
    }
}

impl Reload {
    /// With the configuration that snug starts with.
    pub(crate) fn new(config: &Config, followers: Followers, outcomes: Outcomes) -> Self {
        let started = Arc::new(config.clone());
        Self { in_force: watch::Sender::new(Arc::clone(&started)), started, followers, outcomes }
    }

    /// What is in force, now and whenever it changes.
    pub(crate) fn in_force(&self) -> InForce {
        self.in_force.subscribe()
    }

    /// Takes what `sources` say whenever that may have changed, until `stop`.
    ///
    /// # Errors
    /// If the signal cannot be listened to.
    pub(crate) fn follow(
        self,
        sources: Sources,
        stop: CancellationToken,
    ) -> anyhow::Result<impl Future<Output = ()> + Send> {
        let mut hangups = signal(SignalKind::hangup()).context("cannot listen to SIGHUP")?;
        let terminal = Terminal::now();
        Ok(async move {
            let mut watched = Watched::new(files(&sources, &self.started)).await;
            // What changed before anybody watched shows only by itself.
            let now = load(&sources).await;
            if now.is_some_and(|now| now.as_ref() != Ok(&*self.started)) {
                self.again(&sources, "it changed since the start").await;
            }
            loop {
                // Each arm waits for a signal, a stored permit or a timer, and what a file was is looked at anew.
                let why = tokio::select! {
                    () = stop.cancelled() => return,
                    () = terminal.hung_up(&mut hangups, false) => "SIGHUP",
                    () = watched.changed() => "a file of it changed",
                };
                watched.now_read().await;
                self.again(&sources, why).await;
                watched.watch(files(&sources, &self.in_force.borrow()));
            }
        })
    }

    /// Reads everything anew and takes what changed, or nothing.
    async fn again(&self, sources: &Sources, why: &str) {
        let Some(loaded) = load(sources).await else { return };
        let sound =
            loaded.map_err(|problems| problems.0.iter().map(ToString::to_string).collect()).and_then(|config| {
                let filter = logging::filter(&config.logging).map_err(|error| vec![format!("{error:#}")])?;
                Ok((config, filter))
            });
        let (config, filter) = match sound {
            Ok(sound) => sound,
            Err(problems) => {
                let problems: Vec<String> = problems;
                for problem in &problems {
                    tracing::error!("{problem}");
                }
                tracing::error!(
                    problems = problems.len(),
                    "the configuration was read again ({why}) and not taken: what is in force stays until that is mended"
                );
                self.outcomes.count(false);
                return;
            }
        };
        let before = Arc::clone(&self.in_force.borrow());
        let plan = Plan::between(&before, &config);
        if plan.parts.contains(&Part::Level)
            && let Err(error) = self.followers.level.set(filter)
        {
            tracing::error!("logging.level stays as it is: {error:#}");
        }
        self.take(&plan.parts, &config).await;
        tracing::info!(changed = plan.keys.join(", "), "the configuration was read again ({why})");
        let waiting = Plan::between(&self.started, &config).at_restart;
        if !waiting.is_empty() {
            tracing::warn!(keys = waiting.join(", "), "some of it counts from the next start on");
        }
        self.in_force.send_replace(Arc::new(config));
        self.outcomes.count(true);
    }

    async fn take(&self, parts: &BTreeSet<Part>, config: &Config) {
        let Followers { limits, readers, access, node, storage, backends, .. } = &self.followers;
        for part in parts {
            match part {
                // Whoever follows what is in force sees it there.
                Part::Level | Part::Seen => {}
                Part::Limits => limits.set(assembly::gateway_limits(config)),
                Part::Sites => {
                    readers.store(Arc::new(Readers::new(&config.server.cors_origins)));
                    access.trust(&config.server.cors_origins);
                }
                Part::Defaults => storage.set_defaults(assembly::settings_of_engine(&config.engine)).await,
                Part::Node => {
                    let found = assembly::backends(config);
                    found.report(&config.models_yaml);
                    node.reconfigure(assembly::node_config(config, &found)).await;
                    backends.send_replace(Arc::new(found));
                }
            }
        }
    }
}

/// What sources say now; `None` where snug ends meanwhile.
async fn load(sources: &Sources) -> Option<Result<Config, Problems>> {
    let sources = sources.clone();
    tokio::task::spawn_blocking(move || Config::load(&sources)).await.ok()
}

/// The files that a configuration is made of.
fn files(sources: &Sources, config: &Config) -> Vec<PathBuf> {
    let of_keys = config.providers.iter().filter_map(|provider| provider.api_key_file.clone());
    sources.file().into_iter().chain(config.library.models_yaml.clone()).chain(of_keys).collect()
}

/// Whether we were started from a terminal. One that is closed sends the same signal as somebody who wants us to read
/// the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal(bool);

impl Terminal {
    pub(crate) fn now() -> Self {
        Self(std::io::stderr().is_terminal())
    }

    /// Waits for a SIGHUP: of the terminal's end, if `by_its_end`, else of anybody else.
    pub(crate) async fn hung_up(self, hangups: &mut Signal, by_its_end: bool) {
        loop {
            if hangups.recv().await.is_none() {
                // No more signals can come.
                std::future::pending::<()>().await;
            }
            if (self.0 && !std::io::stderr().is_terminal()) == by_its_end {
                return;
            }
        }
    }
}
