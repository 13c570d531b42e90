//! The composition root: builds the parts, binds the port, runs, drains, ends. Holds no logic of its own.
//!
//! ```text
//!  Config ─▶ Server::bind ─▶ follow ─▶ run ─ SIGTERM ─▶ stop accepting ─▶ streams finish (grace) ─▶ engines end ─▶ connections cut
//! ```

mod access;
mod activation;
mod admin_token;
mod advice;
mod adviser;
mod api_keys;
mod assembly;
mod backends;
mod backends_health;
mod catalogue;
mod cors;
mod data_folder;
mod directory;
mod downloads;
mod engine_program;
mod fields;
mod first_model;
mod fit_api;
mod fit_parameters;
mod health;
mod json_body;
mod kept;
mod keyring;
mod listen;
mod logging;
mod logs;
mod metrics;
mod model_configs;
mod model_path;
mod models;
mod ollama;
mod openapi;
mod outlets;
mod preload;
mod query;
mod refused;
mod reload;
mod request_log;
mod router;
mod stats;
mod stored;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use config::{Config, Sources};
use prometheus_client::registry::Registry;
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::data_folder::DataFolder;
use crate::listen::Listen;
use crate::outlets::Outlets;
use crate::reload::{Followers, InForce, Outcomes, Reload, Terminal};

pub use adviser::{Adviser, Meant};
pub use catalogue::{CatalogueStatus, catalogue_status, update_catalogue};
pub use logging::{Logging, start as start_logging};
pub use openapi::document as openapi_document;

/// After the engines have ended, what is left of the answers (an error event, the end) gets this long to be sent.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A killed engine is gone at once, unless the kernel cannot let go of it; then we go without it.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// What requests still have that outlived the grace time, unless snug is to stop at once.
const LAST_REQUESTS: Duration = Duration::from_millis(100);

/// More cores than this are better left to the engines.
const SERVING_THREADS_MAX: usize = 16;

/// A server that is bound and not running yet.
pub struct Server {
    listener: TcpListener,
    /// Where Ollama's clients look, if that is wanted.
    for_ollama: Option<TcpListener>,
    listen: Listen,
    node: node::Handle,
    /// What must not be forgotten.
    store: Store,
    tracker: TaskTracker,
    /// Cancelled when nobody needs to look at the machine any more, and nothing happens that is to be remembered.
    looking: CancellationToken,
    /// Cancelled for answers that have no end of their own.
    stopping: CancellationToken,
    /// Takes what is new of the configuration, once it is told to.
    reload: Option<Reload>,
    in_force: InForce,
    _data_folder: DataFolder,
}

/// What ends a running server.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Ends it politely: no new connections, streams finish within the grace time, engines end.
    pub polite: CancellationToken,
    /// Ends what politeness still waits for.
    pub at_once: CancellationToken,
}

impl Server {
    /// Builds all parts and binds the port. Engines of an earlier snug are taken over here. `hub` is how the Hugging Face
    /// hub is asked; `/api/logs` shows `logging`.
    ///
    /// # Errors
    /// If the data folder is in use or unusable, or the address cannot be bound; the chain says which.
    pub async fn bind(config: &Config, hub: hub::Settings, logging: &Logging) -> anyhow::Result<Self> {
        let data_folder = DataFolder::lock(&config.folders.data)?;
        let listener = listen::bind(&config.server.host, config.server.port, "--port").await?;
        let for_ollama = match config.server.ollama_port {
            Some(port) => Some(listen::bind(&config.server.host, port, "--ollama-port").await?),
            None => None,
        };
        let access = access::Access::new(config, &data_folder)?;

        let (tracker, looking) = (TaskTracker::new(), CancellationToken::new());
        let (table, directory) = (route::Table::default(), route::Directory::default());
        let store = Store::open(&data_folder.path().join("snug.db")).await?;
        let keyring = keyring::Keyring::start(store.clone(), &tracker, looking.clone()).await;
        let keyring = keyring.context("cannot tell which API keys there are")?;
        if !listener.local_addr()?.ip().is_loopback() {
            access.warn_about_open_doors(keyring.keys().is_closed());
        }
        let backends = assembly::backends(config);
        backends.report(&config.models_yaml);
        let setup = storage::Setup::read(assembly::storage_config(config, hub)).await;
        let pinned = store.pinned().await.context("cannot tell which models are pinned")?;
        let node_config = node::Config {
            entries: setup.entries(),
            pinned: pinned.into_iter().collect(),
            ..assembly::node_config(config, &backends)
        };
        let node = node::Node::start(node_config, table.clone(), &tracker)
            .await
            .context("cannot start this machine's node")?;
        greet(&listener, for_ollama.as_ref(), &node, &config.folders.models);
        let advice = advice::Advice::start(assembly::advice_config(config)?, node.clone(), &tracker, looking.clone());
        let asked = advice.clone();
        let repositories: storage::Repositories = Arc::new(move |name| asked.gguf_repositories(name));
        let storage = setup.start(node.clone(), store.clone(), repositories, &tracker, looking.clone()).await;
        let storage = storage.context("cannot tell which models are kept")?;
        let telemetry = telemetry::start(store.clone(), &tracker, looking.clone());
        tracker.spawn(stats::follow_swaps(node.swaps(), telemetry.clone(), looking.clone()));
        let stopping = CancellationToken::new();
        let mut registry = Registry::default();
        let limits = gateway::LiveLimits::new(assembly::gateway_limits(config));
        let readers = Arc::new(ArcSwap::from_pointee(cors::Readers::new(&config.server.cors_origins)));
        let preloaded = backends.preloaded();
        let followers = Followers {
            level: logging.level.clone(),
            limits: limits.clone(),
            readers: Arc::clone(&readers),
            access: access.clone(),
            node: node.clone(),
            storage: storage.clone(),
            backends: watch::Sender::new(Arc::new(backends)),
        };
        let backends = followers.backends.subscribe();
        let reload = Reload::new(config, followers, Outcomes::register(&mut registry));
        let named = directory::Named {
            in_force: reload.in_force(),
            backends: backends.clone(),
            node: node.clone(),
            storage: storage.clone(),
        };
        directory::follow(named, directory.clone(), &tracker, &looking);
        let outlets = Outlets::start(config, reload.in_force(), &tracker, &looking)?;
        outlets.register(&mut registry);
        let parts = router::Parts::new(
            registry,
            router::Owners {
                preloads: preload::begin(preloaded, node.clone(), &tracker),
                backends: backends.clone(),
                first: first_model::load(config, node.clone(), storage.clone(), &tracker),
                logs: logs::Logs { ring: logging.ring.clone(), stopping: stopping.clone() },
                table,
                directory,
                node: node.clone(),
                storage,
                advice,
                telemetry,
                keyring,
                store: store.clone(),
                access,
                limits,
                readers,
                outlets,
            },
        );
        let routers = (0..serving_threads()).map(|_| router::router(parts.clone())).collect();
        Ok(Self {
            listener,
            for_ollama,
            listen: Listen::new(routers, config.gateway.max_connections),
            node,
            store,
            tracker,
            looking,
            stopping,
            in_force: reload.in_force(),
            reload: Some(reload),
            _data_folder: data_folder,
        })
    }

    /// Takes what `sources` say from now on whenever a file of the configuration changes, and on SIGHUP: what may change
    /// while it runs. What is wrong leaves all as it is and is told in the log.
    ///
    /// # Errors
    /// If the signal cannot be listened to.
    pub fn follow(mut self, sources: Sources) -> anyhow::Result<Self> {
        if let Some(reload) = self.reload.take() {
            self.tracker.spawn(reload.follow(sources, self.stopping.clone())?);
        }
        Ok(self)
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn address(&self) -> anyhow::Result<std::net::SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Serves until `shutdown`, then ends in order. When this returns nothing of it is left, except engines that were
    /// to be kept.
    ///
    /// # Errors
    /// If the serving threads cannot be started.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let Self {
            listener,
            for_ollama,
            listen,
            node,
            tracker,
            looking,
            stopping,
            reload: _reload,
            in_force,
            store,
            _data_folder,
        } = self;
        let listeners = [listener].into_iter().chain(for_ollama).collect();
        let connections =
            listen.serve(listeners, shutdown.polite.clone()).await.context("cannot start the serving threads")?;
        let config = Arc::clone(&in_force.borrow());
        let grace = config.gateway.shutdown_grace;
        tracing::info!(grace_s = grace.as_secs(), "stopping: no new requests, those in flight may finish");
        stopping.cancel();
        tokio::select! {
            () = connections.finished() => {}
            () = tokio::time::sleep(grace) => tracing::info!("the grace time is over"),
            () = shutdown.at_once.cancelled() => tracing::info!("asked again: stopping at once"),
        }
        let drain = if shutdown.at_once.is_cancelled() { Duration::ZERO } else { LAST_REQUESTS };
        let engines_end = assembly::PROMPT_CACHE + config.engine.stop_timeout + KILL_PATIENCE;
        if tokio::time::timeout(engines_end, node.stop(config.node.keep_engines, drain)).await.is_err() {
            tracing::error!("an engine does not end although it was killed (its driver may hang); leaving it behind");
        }
        let _unfinished = tokio::time::timeout(LAST_WORDS, connections.finished()).await;
        connections.cut().await;
        drop(node);
        looking.cancel();
        tracker.close();
        let _unfinished = tokio::time::timeout(LAST_WORDS, tracker.wait()).await;
        let _unfinished = tokio::time::timeout(LAST_WORDS, store.close()).await;
        tracing::info!("stopped");
        Ok(())
    }
}

/// One for each core we may use, within reason.
fn serving_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(SERVING_THREADS_MAX)
}

/// Says where we are and what there is; without a model, how to get one.
fn greet(listener: &TcpListener, for_ollama: Option<&TcpListener>, node: &node::Handle, models: &std::path::Path) {
    let address = |listener: &TcpListener| {
        listener.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string())
    };
    let view = node.view().borrow().clone();
    let count = view.library.ids().count();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), models = count, "listening on http://{}", address(listener));
    if let Some(listener) = for_ollama {
        tracing::info!("for Ollama's clients on http://{}, too", address(listener));
    }
    if count == 0 {
        tracing::warn!(
            "no models yet: put a .gguf file into {}, or start with --model FILE; it is found without a restart",
            models.display()
        );
    }
}

/// Cancels `shutdown` on SIGINT, on SIGTERM, and when the terminal goes away that snug was started from: politely on the
/// first, at once on the second.
///
/// # Errors
/// If signals cannot be listened to.
pub async fn shutdown_on_signals(shutdown: Shutdown) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (terminal, mut hangup) = (Terminal::now(), signal(SignalKind::hangup())?);
    for token in [shutdown.polite, shutdown.at_once] {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = terminal.hung_up(&mut hangup, true) => {}
        }
        token.cancel();
    }
    Ok(())
}
