//! `cargo xtask bench ready`: what it is worth to keep the weights of a model in RAM while it is not loaded.
//!
//! One model, larger than any cache of a disk or a processor, loaded again and again by the real engine. *Cold*: between
//! two loads its pages are dropped from the page cache, as when other programs needed the memory, so all comes from the
//! disk. *Ready*: the variant is hot-ready, so snug keeps its pages; dropping them is tried just the same, and shows that
//! they stay. What a model costs beyond reading it (context, warm-up) is in both.

#![expect(clippy::print_stdout, reason = "the table is what this is for")]

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::fs::{Advice, fadvise};
use serde_json::Value;
use testkit::gguf::ChatModel;

use super::figures::{Spread, mib, millis};
use super::snug::Stage;
use super::{load, programs};

/// How much and how often to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Size of the model, MiB. It is written into the temporary folder, which must have room for it, and removed.
    #[arg(long, default_value_t = 1536)]
    size: u64,
    /// How many loads of each kind.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

const MODEL: &str = "large";
const VARIANT: &str = "F32";
/// A state takes no longer than this to come.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(5);

/// One load, and how much of the model's file was dropped before it.
struct Round {
    load: f64,
    dropped: f64,
}

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let engine = programs::engine().context("no llama-server; 'scripts/setup run' gets it")?;
    let stage = Stage::new(programs::snug()?, engine)?;
    let model = ChatModel { name: "Large".to_owned(), ..ChatModel::default() };
    let file = model.with_file_size(arguments.size << 20).file().with_random_weights();
    let path = stage.large_model(&format!("{MODEL}-{VARIANT}.gguf"), &file)?;
    drop(file);
    let size = mib(std::fs::metadata(&path)?.len());
    let server = stage.start(&[]).await?;
    let snug = Snug(server.address);

    let mut cold = vec![];
    for _ in 0..arguments.rounds {
        cold.push(snug.round(&path, "Unloaded").await?);
    }
    snug.post(&format!("variants/{VARIANT}/hot-ready")).await.context("it cannot be made hot-ready")?;
    // What is to be kept must have been read once.
    snug.load().await?;
    snug.unload("Ready").await?;
    let mut ready = vec![];
    for _ in 0..arguments.rounds {
        ready.push(snug.round(&path, "Ready").await?);
    }
    print(size, &cold, &ready);
    Ok(())
}

fn print(size: f64, cold: &[Round], ready: &[Round]) {
    println!(
        "{:<64}{:>10}   range",
        format!("load of a model of {size:.0} MiB, {} times each, ms", cold.len()),
        "median"
    );
    let row = |what: &str, rounds: &[Round]| {
        let spread = Spread::of(rounds.iter().map(|round| round.load));
        let dropped = Spread::of(rounds.iter().map(|round| round.dropped)).median;
        println!(
            "{:<64}{:>10.0}   {}",
            format!("{what}, {dropped:.0} MiB of it dropped"),
            spread.median,
            spread.range()
        );
        spread
    };
    let (cold, ready) = (row("cold: from the disk", cold), row("ready: weights kept in RAM", ready));
    let chance = if cold.overlaps(&ready) { "; may be chance, some rounds overlap" } else { "" };
    println!("ready: {:.1} times as fast as cold{chance}", cold.median / ready.median);
}

/// The management API of a running snug.
struct Snug(SocketAddr);

impl Snug {
    /// Drops what is not kept of the model's file, then loads it and has it leave into `state` again.
    async fn round(&self, path: &Path, state: &str) -> anyhow::Result<Round> {
        let dropped = drop_pages(path)?;
        let load = self.load().await?;
        self.unload(state).await?;
        Ok(Round { load, dropped })
    }

    /// How long it took, milliseconds.
    async fn load(&self) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let answer = self.post("load").await?;
        let took = millis(begun.elapsed());
        ensure!(answer["status"] == "loaded", "it is not loaded: {answer}");
        Ok(took)
    }

    /// Ends when it is in `state`.
    async fn unload(&self, state: &str) -> anyhow::Result<()> {
        self.post("unload").await?;
        let begun = Instant::now();
        loop {
            let answer = load::ask(self.0, b"GET /api/models HTTP/1.1\r\nhost: bench\r\n\r\n").await?;
            let answer: Value = serde_json::from_slice(&answer)?;
            let rows = answer["models"].as_array().into_iter().flatten();
            let mut ours = rows.filter(|row| row["model"] == MODEL);
            let row = ours.next().with_context(|| format!("{MODEL} is not listed: {answer}"))?;
            if row["state"] == state {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "{MODEL} was to be {state}: {row}");
            tokio::time::sleep(POLL).await;
        }
    }

    async fn post(&self, matter: &str) -> anyhow::Result<Value> {
        // Addressed to this machine, as the management API wants it from whoever has no token.
        let request =
            format!("POST /api/models/{MODEL}/{matter} HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\n\r\n", self.0);
        let answer = load::ask(self.0, request.as_bytes()).await.with_context(|| format!("POST {matter}"))?;
        Ok(serde_json::from_slice(&answer)?)
    }
}

/// Drops a file's pages from the page cache, as far as nobody holds them; how much that was, MiB.
fn drop_pages(path: &Path) -> anyhow::Result<f64> {
    let cached = || -> anyhow::Result<u64> {
        let text = std::fs::read_to_string("/proc/meminfo")?;
        let line = text.lines().find_map(|line| line.strip_prefix("Cached:")).context("no page cache")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    };
    let before = cached()?;
    fadvise(File::open(path)?, 0, None, Advice::DontNeed)?;
    Ok(mib(before.saturating_sub(cached()?)))
}
