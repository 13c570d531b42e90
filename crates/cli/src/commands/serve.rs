//! `snug serve`: the one command that is a server.

use std::time::Duration;

use config::{Config, Flags, Sources};
use server::{Server, Shutdown};

use crate::args::ServeArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::settings::Settings;

/// How long the end waits for work on the disk.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Reads the configuration and serves until it is told to stop.
pub(crate) fn run(args: ServeArgs, settings: &Settings) -> Result<(), Failure> {
    let sources = sources(args, settings);
    let config = Config::load(&sources)?;
    // Requests are served on threads of their own; what is left here waits more than it works.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(serve(config, sources, settings.hub()));
    // A look at a folder whose disk hangs must not keep the program from ending.
    runtime.shutdown_timeout(LAST_LOOK);
    ended
}

async fn serve(config: Config, sources: Sources, hub: hub::Settings) -> Result<(), Failure> {
    let failed = |error: anyhow::Error| Failure::new(Exit::Failed, format!("{error:#}"));
    let logging = server::start_logging(&config.logging).map_err(failed)?;
    let server =
        Server::bind(&config, hub, &logging).await.and_then(|server| server.follow(sources)).map_err(failed)?;
    let shutdown = Shutdown::default();
    let signals = server::shutdown_on_signals(shutdown.clone());
    let serving = server.run(shutdown);
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => ended.map_err(failed),
        // Both signals came, or they cannot be heard; either way the server ends by itself.
        heard = signals => {
            heard?;
            serving.await.map_err(failed)
        }
    }
}

fn sources(args: ServeArgs, settings: &Settings) -> Sources {
    let flags = Flags {
        host: args.host,
        port: args.port,
        ollama_port: args.ollama_port,
        data_dir: args.data_dir,
        models_dir: args.models_dir,
        override_path: args.override_path,
        models_yaml: args.models_yaml,
        memory: args.memory,
        ram: args.ram,
        max_context: args.max_context,
        cpu_cores: args.cpu_cores,
        simulate: args.simulate,
        max_loaded_models: args.max_loaded_models,
        idle_unload: args.idle_unload,
        insecure_lan: args.insecure_lan,
        keep_engines: args.keep_engines,
        llama_server: args.llama_server,
        log_level: args.log_level,
        log_format: args.log_format,
        models: args.model,
    };
    Sources {
        file: args.config.map(Into::into),
        environment: settings.environment.clone(),
        flags,
        current_dir: settings.current_dir.clone(),
    }
}
