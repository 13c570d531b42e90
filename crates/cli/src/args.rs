//! The arguments as they are typed. Their doc comments are the help.

use std::convert::Infallible;

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use client::Token;

use crate::exit;

/// Models that fit: run language models on this machine and talk to them.
#[derive(Debug, Parser)]
#[command(name = "snug", version, after_help = exit::HELP, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// The server's address [default: SNUG_URL, else http://127.0.0.1:8787]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Token that shows the server who is asking [default: SNUG_TOKEN]
    #[arg(long, global = true, value_name = "TOKEN", value_parser = token)]
    pub(crate) token: Option<Token>,
    /// Answer with one JSON object, and with one on stderr if something goes wrong
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

fn token(text: &str) -> Result<Token, Infallible> {
    Ok(Token::new(text))
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the server
    Serve(Box<ServeArgs>),
    /// Chat with a model, or ask it one thing
    Run(RunArgs),
    /// List the models that are loaded
    Ps,
    /// List the models that there are
    Models,
    /// Load a model
    Load {
        /// The model, such as SmolLM2-135M-Instruct or SmolLM2-135M-Instruct:Q4_1
        #[arg(value_name = "MODEL[:VARIANT]")]
        model: String,
        /// Context of each slot, in tokens [default: as configured]
        #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u64).range(1..))]
        context: Option<u64>,
    },
    /// Unload a model
    Unload {
        /// The model, as in `snug ps`
        model: String,
    },
    /// Print a configuration file with every setting, its documentation and its default
    Config,
    /// Print a script that teaches your shell the arguments of snug
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the version
    Version,
}

/// What `snug serve` is told. The texts are read together with the file and the environment, so that all mistakes are
/// reported at once.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Configuration file [default: snug/snug.toml in the XDG configuration folder, if it exists]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<String>,
    /// Address to listen on [default: 0.0.0.0]
    #[arg(long)]
    pub(crate) host: Option<String>,
    /// Port to listen on; 0 lets the system choose [default: 8787]
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) port: Option<String>,
    /// Folder for everything snug keeps [default: snug in the XDG data folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// Folder in which models are found [default: models in the data folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) models_dir: Option<String>,
    /// A model's file or folder, in addition; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) model: Vec<String>,
    /// Accelerator memory that models may use together, such as 24G [default: all]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// System memory that models may use together, such as 64G [default: what can be spared]
    #[arg(long, value_name = "SIZE")]
    pub(crate) ram: Option<String>,
    /// Largest context a model is loaded with, in tokens
    #[arg(long, value_name = "TOKENS")]
    pub(crate) max_context: Option<String>,
    /// How many models are loaded at once at most; 0 for as many as fit [default: 0]
    #[arg(long, value_name = "COUNT")]
    pub(crate) max_loaded_models: Option<String>,
    /// How long an unused model stays loaded, such as 15m, or never [default: 15m]
    #[arg(long, value_name = "TIME")]
    pub(crate) idle_unload: Option<String>,
    /// Let everybody on the network manage models
    #[arg(long)]
    pub(crate) insecure_lan: bool,
    /// Leave engines running when snug is stopped
    #[arg(long)]
    pub(crate) keep_engines: bool,
    /// The llama-server program [default: on PATH, else in the data folder]
    #[arg(long, value_name = "FILE")]
    pub(crate) llama_server: Option<String>,
    /// What to log: error, warn, info, debug, trace, off, or such as info,gateway=debug [default: info]
    #[arg(long, value_name = "FILTER")]
    pub(crate) log_level: Option<String>,
    /// How to log: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The model, such as SmolLM2-135M-Instruct or SmolLM2-135M-Instruct:Q4_1
    #[arg(value_name = "MODEL[:VARIANT]")]
    pub(crate) model: String,
    /// What to ask; without it, and with a terminal, a chat begins. Text piped in is added to it
    pub(crate) prompt: Vec<String>,
    /// What the model is told before anything else
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Longest answer, in tokens [default: the model's own]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_tokens: Option<u64>,
    /// How freely words are chosen, 0 to 2 [default: the engine's own]
    #[arg(long, value_name = "NUMBER", value_parser = temperature)]
    pub(crate) temperature: Option<f64>,
}

fn temperature(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "it must be a number, 0 to 2".to_owned())?;
    if (0.0..=2.0).contains(&value) { Ok(value) } else { Err("it must be 0 to 2".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declaration_is_sound() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }
}
