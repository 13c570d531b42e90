//! `snug serve`: the one command that is a server.

use config::{Config, Flags, Sources};

use crate::args::ServeArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::settings::Settings;

/// Reads the configuration and serves until it is told to stop.
pub(crate) fn run(args: ServeArgs, settings: &Settings) -> Result<(), Failure> {
    let config = Config::load(&sources(args, settings))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(config))
}

/// The seam to the server.
async fn serve(config: Config) -> Result<(), Failure> {
    let address = format!("{}:{}", config.server.host, config.server.port);
    Err(Failure::new(Exit::Failed, format!("this build has no server to listen on {address}")))
}

fn sources(args: ServeArgs, settings: &Settings) -> Sources {
    let flags = Flags {
        host: args.host,
        port: args.port,
        data_dir: args.data_dir,
        models_dir: args.models_dir,
        memory: args.memory,
        ram: args.ram,
        max_context: args.max_context,
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
