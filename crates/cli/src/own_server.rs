//! A server for one command, where none runs: the same program, on a port of the system's choice, gone when the command is
//! done. Engines that an earlier snug left running are left alone.

use std::time::Duration;

use client::Client;
use config::{Config, Flags, Sources};
use server::{Server, Shutdown};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::settings::Settings;

/// How long the server may take to end.
const END: Duration = Duration::from_secs(10);

/// Asks the server that was named, or the one that runs here, or one that is started for this.
pub(crate) async fn or_the_one_that_runs(
    settings: &Settings,
    command: impl AsyncFnOnce(&Client) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let client = settings.client()?;
    if settings.url_was_given() || client.health().await.is_ok() {
        return command(&client).await;
    }
    let failed = |error: anyhow::Error| Failure::new(Exit::Failed, format!("{error:#}"));
    let flags = Flags {
        host: Some("127.0.0.1".to_owned()),
        port: Some("0".to_owned()),
        // What matters the command says itself.
        log_level: Some("error".to_owned()),
        keep_engines: true,
        ..Flags::default()
    };
    let mut config = Config::load(&Sources { flags, ..settings.sources() })?;
    config.library.default_model = None;
    // It is here for one thing.
    config.storage.cleanup_enabled = false;
    config.node.ram_budget_mb = 1;
    let logging = server::start_logging(&config.logging).map_err(failed)?;
    let server = Server::bind(&config, settings.hub(), &logging).await.map_err(failed)?;
    let client = Client::new(&format!("http://{}", server.address().map_err(failed)?), None)?;
    let shutdown = Shutdown::default();
    let running = server.run(shutdown.clone());
    tokio::pin!(running);
    let done = tokio::select! {
        done = command(&client) => done,
        ended = &mut running => return ended.map_err(failed),
    };
    shutdown.polite.cancel();
    shutdown.at_once.cancel();
    let _ended = tokio::time::timeout(END, running).await;
    done
}
