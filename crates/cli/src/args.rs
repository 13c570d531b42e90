//! The arguments as they are typed. Their doc comments are the help.

use std::convert::Infallible;
use std::time::Duration;

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use client::Token;

use crate::exit;

/// Models that fit: find those that run well on this machine, run them, and talk to them.
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
    /// List the models that there are
    Models,
    /// List the models that are loaded
    Ps,
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
    /// Download a model
    Pull {
        /// A model of the catalogue, a repository of the Hugging Face hub, or a configured model, such as
        /// Qwen/Qwen3-8B:Q4_K_M
        #[arg(value_name = "MODEL[:VARIANT]")]
        model: String,
    },
    /// Delete a model's files
    Rm {
        /// The model, as in `snug models`; without a variant all of its variants
        #[arg(value_name = "MODEL[:VARIANT]")]
        model: String,
    },
    /// Keep a model from being unloaded to make room
    Pin {
        /// The model, as in `snug models`
        model: String,
    },
    /// Let a pinned model be unloaded again
    Unpin {
        /// The model, as in `snug models`
        model: String,
    },
    /// Show the best models for this machine
    Recommend {
        /// What for: general, coding, reasoning, chat, multimodal, embedding [default: each of them]
        #[arg(long, value_name = "USE")]
        use_case: Option<String>,
        /// How many of each
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 3)]
        limit: usize,
        #[command(flatten)]
        machine: MachineArgs,
    },
    /// List models and how well they fit this machine, the best first
    Fit(FitArgs),
    /// Show all that is known of a model, and how it fits this machine
    Info {
        /// The model's id on the hub, words that name it, or its file or folder on this machine
        model: String,
        #[command(flatten)]
        machine: MachineArgs,
    },
    /// Show what a model needs, how it could be run here, and what would help
    Plan(PlanArgs),
    /// Show what this machine has: processor, memory, accelerators
    System(MachineArgs),
    /// Show what was found out about this machine, by which door, and what could not be
    Doctor(MachineArgs),
    /// Show or refresh the catalogue of models
    Catalog {
        #[command(subcommand)]
        action: CatalogAction,
    },
    /// List, make and delete API keys: once there is one without an end, models can be used only with a key
    Keys {
        #[command(subcommand)]
        action: Option<KeysAction>,
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
    #[arg(short = 'c', long, value_name = "FILE")]
    pub(crate) config: Option<String>,
    /// Address to listen on [default: 0.0.0.0]
    #[arg(long)]
    pub(crate) host: Option<String>,
    /// Port to listen on; 0 lets the system choose [default: 8787]
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) port: Option<String>,
    /// Port that answers too, for programs that look for Ollama at 11434 [default: none]
    #[arg(long, value_name = "PORT")]
    pub(crate) ollama_port: Option<String>,
    /// Folder for everything snug keeps [default: snug in the XDG data folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// Folder in which models are found [default: models in the data folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) models_dir: Option<String>,
    /// File that keeps model configs which are added while snug runs [default: none, they are lost with it]
    #[arg(long, value_name = "FILE")]
    pub(crate) override_path: Option<String>,
    /// A models.yaml: entries with a program and a port of their own, all started at once
    #[arg(long, value_name = "FILE")]
    pub(crate) models_yaml: Option<String>,
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
    /// Cores that advice reckons with [default: those there are]
    #[arg(long, value_name = "COUNT")]
    pub(crate) cpu_cores: Option<String>,
    /// Give advice for another machine, such as "2x RTX 4090, 128 GB" or a JSON file that describes one
    #[arg(long, value_name = "MACHINE")]
    pub(crate) simulate: Option<String>,
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

/// Which machine is meant.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct MachineArgs {
    /// Another machine, such as "2x RTX 4090, 128 GB" or a file that describes one
    #[arg(long, value_name = "MACHINE", conflicts_with = "url")]
    pub(crate) simulate: Option<String>,
    /// Memory of each accelerator in place of what was found, such as 24G or 2x24G
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// System memory in place of what was found, such as 64G
    #[arg(long, value_name = "SIZE")]
    pub(crate) ram: Option<String>,
    /// Cores in place of those found
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) cpu_cores: Option<u32>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct FitArgs {
    /// Words that must all be found in a model's name, maker, size or use
    pub(crate) search: Vec<String>,
    /// How many rows
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub(crate) limit: Option<usize>,
    /// Only models that fit perfectly
    #[arg(long)]
    pub(crate) perfect: bool,
    /// The lowest level: perfect, good, marginal, too_tight [default: marginal]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) min_fit: Option<String>,
    /// Show what does not run, too
    #[arg(long)]
    pub(crate) all: bool,
    /// What for: general, coding, reasoning, chat, multimodal, embedding
    #[arg(long, value_name = "USE")]
    pub(crate) use_case: Option<String>,
    /// A part of the maker's name
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<String>,
    /// The engine: any, llamacpp, mlx, vllm
    #[arg(long, value_name = "ENGINE")]
    pub(crate) runtime: Option<String>,
    /// Licences, separated by commas
    #[arg(long, value_name = "LIST")]
    pub(crate) license: Option<String>,
    /// The order: score, tps, params, mem, ctx, date, use_case [default: score]
    #[arg(long, value_name = "COLUMN")]
    pub(crate) sort: Option<String>,
    /// Largest context reckoned with, in tokens [default: 8192]
    #[arg(long, value_name = "TOKENS")]
    pub(crate) max_context: Option<u64>,
    /// Answer with comma-separated values
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PlanArgs {
    /// The model's id on the hub, words that name it, or its file or folder on this machine
    pub(crate) model: String,
    /// Context of each slot, in tokens [default: the model's own, at most 8192]
    #[arg(long, value_name = "TOKENS")]
    pub(crate) context: Option<u64>,
    /// The quantisation, such as Q4_K_M [default: the one that suits best]
    #[arg(long, value_name = "NAME")]
    pub(crate) quant: Option<String>,
    /// Type of the KV cache, such as q8_0 [default: f16]
    #[arg(long, value_name = "TYPE")]
    pub(crate) kv_quant: Option<String>,
    /// Speed that is wanted, in tokens per second
    #[arg(long, value_name = "TOK/S")]
    pub(crate) target_tps: Option<f64>,
    /// Requests served at once [default: 1]
    #[arg(long, value_name = "COUNT")]
    pub(crate) slots: Option<u32>,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CatalogAction {
    /// Say how many models are known, and where from
    Status,
    /// Fetch models that are new on the Hugging Face hub (HF_ENDPOINT, HF_TOKEN)
    Update {
        /// How many of the most downloaded models to look at
        #[arg(long, value_name = "COUNT", default_value_t = 300)]
        limit: usize,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysAction {
    /// Make a key and print it, this once
    Add(Box<KeyArgs>),
    /// Delete a key: nobody is let through with it any more
    Rm {
        /// Its number, as in `snug keys`
        id: i64,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct KeyArgs {
    /// What to call it
    pub(crate) label: String,
    /// How long it lasts, such as 15m or 24h, which is the longest; it then needs --models or --deployments [default: for
    /// ever]
    #[arg(long, value_name = "TIME", value_parser = whole_seconds)]
    pub(crate) ttl: Option<Duration>,
    /// Models it may use, separated by commas: ids, or such as "qwen/*" [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) models: Option<Vec<String>>,
    /// Deployments it may use, separated by commas [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) deployments: Option<Vec<i64>>,
    /// Endpoints it may ask, separated by commas, such as chat_completions,embeddings [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) endpoints: Option<Vec<String>>,
    /// Whose it is
    #[arg(long, value_name = "NAME")]
    pub(crate) owner: Option<String>,
    /// Requests within a minute
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rpm: Option<u64>,
    /// Tokens within a minute, of prompts and answers together
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) tpm: Option<u64>,
    /// Tokens within 24 hours
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) tokens_per_day: Option<u64>,
    /// Requests at once
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_in_flight: Option<u64>,
}

fn whole_seconds(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| format!("{error}; write such as 15m or 24h"))?;
    if time.as_secs() >= 1 { Ok(time) } else { Err("it must be a second or more".to_owned()) }
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
