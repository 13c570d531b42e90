//! `cargo xtask bench swap`: what snug adds when one model leaves for another.
//!
//! Two tiny models take turns under a limit of one. Beside each swap, in the same run, stands the engine's own cost:
//! TERM to exit, start to healthy, and the same request, with the command line that snug uses.

#![expect(clippy::print_stdout, reason = "the table is what this is for")]

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use anyhow::Context as _;
use tokio::process::{Child, Command};

use super::figures::{Spread, millis, word};
use super::process::{free_address, healthy, terminate};
use super::snug::{self, Stage};
use super::{load, programs};

/// How long to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many swaps.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
}

/// The most that a swap may add to the engine's own stop and load, milliseconds.
const ADDED_MAX: f64 = 50.0;

/// One swap, and what the engine alone takes for the same; milliseconds.
struct Round {
    swap: f64,
    /// Of the swap, from start of the engine to ready.
    swap_load: f64,
    stop: f64,
    load: f64,
    answer: f64,
}

impl Round {
    fn engine(&self) -> f64 {
        self.stop + self.load + self.answer
    }
}

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let engine = programs::engine().context("no llama-server; 'scripts/setup run' gets it")?;
    measure(programs::snug()?, engine, arguments.rounds).await
}

/// Measures and prints.
pub(crate) async fn measure(program: PathBuf, engine: PathBuf, rounds: usize) -> anyhow::Result<()> {
    const MODELS: [&str; 2] = ["one", "two"];
    let stage = Stage::new(program, engine)?;
    for model in MODELS {
        stage.model(model, "")?;
    }
    let server = stage.start(&["--max-loaded-models", "1"]).await?;
    let mut alone: Option<Alone> = None;
    let mut measured = vec![];
    for round in 0..=rounds {
        let model = MODELS[round % MODELS.len()];
        let request = load::chat(model, r#""max_tokens":1"#);
        let begun = Instant::now();
        load::ask(server.address, &request).await?;
        let swap = millis(begun.elapsed());
        let engine = snug::engine(server.address, model).await?;

        let command = CommandLine::of(engine.pid)?;
        let begun = Instant::now();
        if let Some(alone) = alone.take() {
            alone.end().await?;
        }
        let stop = millis(begun.elapsed());
        let begun = Instant::now();
        let started = Alone::start(&command).await?;
        let load = millis(begun.elapsed());
        let begun = Instant::now();
        load::ask(started.address, &request).await?;
        let answer = millis(begun.elapsed());
        alone = Some(started);
        // In the first round there was nothing to stop.
        if round > 0 {
            measured.push(Round { swap, swap_load: engine.load_ms, stop, load, answer });
        }
    }
    print(&measured);
    Ok(())
}

fn print(rounds: &[Round]) {
    println!("{:<64}{:>10}   range", format!("swap of two tiny models, {} times, ms", rounds.len()), "median");
    let row = |what: &str, figure: fn(&Round) -> f64| {
        let spread = Spread::of(rounds.iter().map(figure));
        println!("{what:<64}{:>10.1}   {}", spread.median, spread.range());
        spread.median
    };
    let swap = row("snug: request for the model that is not loaded, to its answer", |round| round.swap);
    row("      of which start of the engine to ready, as snug saw it", |round| round.swap_load);
    row("engine alone: TERM to exit", |round| round.stop);
    row("engine alone: start to healthy", |round| round.load);
    row("engine alone: the same request", |round| round.answer);
    let alone = row("engine alone: all three", Round::engine);
    let added = swap - alone;
    println!("swap: snug adds {added:.1} ms: at most {ADDED_MAX}: {}", word(added <= ADDED_MAX));
}

/// How a process was started.
struct CommandLine {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl CommandLine {
    /// That of a process that runs.
    fn of(pid: u32) -> anyhow::Result<Self> {
        let words = |file: &str| -> anyhow::Result<Vec<Vec<u8>>> {
            let bytes = std::fs::read(format!("/proc/{pid}/{file}")).context("the engine is gone")?;
            let bytes = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
            Ok(bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect())
        };
        let mut arguments = words("cmdline")?.into_iter().map(OsString::from_vec);
        let program = arguments.next().context("a program has a name")?;
        let environment = words("environ")?.into_iter().filter_map(|word| {
            let at = word.iter().position(|byte| *byte == b'=')?;
            Some((OsString::from_vec(word[..at].to_vec()), OsString::from_vec(word[at + 1..].to_vec())))
        });
        Ok(Self { program, arguments: arguments.collect(), environment: environment.collect() })
    }

    /// The same on another port.
    fn on(&self, port: u16) -> Command {
        let mut arguments = self.arguments.clone();
        if let Some(at) = arguments.iter().position(|argument| argument == "--port")
            && let Some(value) = arguments.get_mut(at + 1)
        {
            *value = port.to_string().into();
        }
        let mut command = Command::new(&self.program);
        command.args(arguments).env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// An engine without snug.
struct Alone {
    child: Child,
    address: SocketAddr,
}

impl Alone {
    /// Starts one and waits until it is healthy.
    async fn start(command: &CommandLine) -> anyhow::Result<Self> {
        let address = free_address()?;
        let mut command = command.on(address.port());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn()?;
        healthy(address, || Ok(child.try_wait()?.is_some())).await?;
        Ok(Self { child, address })
    }

    /// Ends it politely.
    async fn end(mut self) -> anyhow::Result<()> {
        terminate(self.child.id().context("it was not waited for yet")?);
        self.child.wait().await?;
        Ok(())
    }
}
