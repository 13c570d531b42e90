//! `cargo xtask bench fit`: how long it takes to reckon the whole catalogue for a machine, and to answer the fit API.
//!
//! Machines take turns within one run, so that whatever else this machine does falls on all of them; the server is
//! `snug serve` as it ships, asked on loopback by one connection.

#![expect(clippy::print_stdout, reason = "the table is what this is for")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use ::fit::Machine;
use advisor::{Analysis, Book, Known, Terms};
use anyhow::Context as _;
use catalog::catalogue::Catalogue;
use hardware::System;
use types::MemoryUse;

use super::figures::{Spread, micros, millis, word};
use super::snug::Stage;
use super::{load, programs};

/// How long to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often each machine takes its turn.
    #[arg(long, default_value_t = 50)]
    rounds: usize,
    /// Seconds that each request is asked over and over.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Leaves the server out.
    #[arg(long)]
    no_server: bool,
}

/// From a laptop without a graphics card to a server: each way of running models is the best one somewhere.
const MACHINES: [&str; 7] = [
    "16 GB",
    "RTX 3060 12 GB, 32 GB",
    "RTX 4090, 64 GB",
    "2x RTX 4090, 128 GB",
    "RX 7900 XTX, 64 GB",
    "M4 Max 128 GB",
    "8x H100, 1024 GB",
];

/// The most that a machine's whole catalogue may take, milliseconds.
const ANALYSIS_MAX: f64 = 1.0;
/// The most that half of all requests may take, milliseconds.
const ANSWER_MAX: f64 = 10.0;

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    analyses(arguments.rounds)?;
    if !arguments.no_server {
        println!();
        answers(arguments.seconds).await?;
    }
    Ok(())
}

fn analyses(rounds: usize) -> anyhow::Result<()> {
    let models = Catalogue::embedded().models();
    let begun = Instant::now();
    let book = Book::new(models);
    let built = millis(begun.elapsed());
    let again = Spread::of((0..5).map(|_| {
        let begun = Instant::now();
        black_box(Book::new(models));
        millis(begun.elapsed())
    }));
    println!("book of {} models: {built:.1} ms, again {:.1} ms ({})\n", book.len(), again.median, again.range());

    let simulated = |words: &&str| -> anyhow::Result<Machine> {
        Ok(advisor::machine(&System::simulated(words)?, &MemoryUse::default()))
    };
    let machines = MACHINES.iter().map(simulated).collect::<anyhow::Result<Vec<_>>>()?;
    let (terms, known) = (Terms::default(), Known::default());
    let mut figures = vec![vec![]; machines.len()];
    for _ in 0..rounds.max(1) {
        for (machine, figures) in machines.iter().zip(&mut figures) {
            let begun = Instant::now();
            let analysis = Analysis::of(black_box(&book), black_box(machine), &terms, &known);
            figures.push(begun.elapsed().as_secs_f64() * 1e6);
            drop(black_box(analysis));
        }
    }
    println!("{:<40}{:>10}{:>12}   range", "analysis of all models, one thread", "µs", "µs/model");
    let mut slowest: f64 = 0.0;
    for (words, figures) in MACHINES.iter().zip(figures) {
        let spread = Spread::of(figures.into_iter());
        #[expect(clippy::cast_precision_loss, reason = "a count of models")]
        let each = spread.median / book.len().max(1) as f64;
        println!("{words:<40}{:>10.0}{each:>12.2}   {}", spread.median, spread.range());
        slowest = slowest.max(spread.median);
    }
    let slowest = slowest / 1e3;
    println!("analysis: slowest machine {slowest:.2} ms: at most {ANALYSIS_MAX}: {}", word(slowest <= ANALYSIS_MAX));
    Ok(())
}

async fn answers(seconds: f64) -> anyhow::Result<()> {
    let stage = Stage::new(programs::snug()?, programs::fake_engine()?)?;
    let server = stage.start(&[]).await?;
    let get = |path: &str, headers: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: bench\r\naccept: */*\r\n{headers}\r\n").into_bytes()
    };
    println!("{:<40}{:>10}{:>10}{:>12}", "answer on loopback, one connection", "p50, ms", "p99, ms", "bytes");
    let mut slowest: f64 = 0.0;
    for (what, path, headers) in [
        ("/api/v1/models?limit=20", "/api/v1/models?limit=20", String::new()),
        ("/api/v1/models?limit=20, gzip", "/api/v1/models?limit=20", "accept-encoding: gzip\r\n".to_owned()),
        ("/api/v1/models, all", "/api/v1/models", String::new()),
        ("/api/v1/models, all, gzip", "/api/v1/models", "accept-encoding: gzip\r\n".to_owned()),
        // The tag is known when it is asked for: what runs meanwhile may change the memory, and with it the answer.
        ("/api/v1/models, If-None-Match: 304", "/api/v1/models", "if-none-match: ".to_owned()),
        ("/api/v1/models/top", "/api/v1/models/top", String::new()),
        ("/api/v1/system", "/api/v1/system", String::new()),
    ] {
        let headers = if headers.starts_with("if-none-match") {
            let head = load::head(server.address, &get(path, "")).await?;
            let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).context("the list has an ETag")?;
            format!("{headers}{tag}\r\n")
        } else {
            headers
        };
        let request = get(path, &headers);
        // The first answer of a kind is made, the others are given.
        let length = load::ask(server.address, &request).await?.len();
        let sample = load::requests(server.address, &request, 1, Duration::from_secs_f64(seconds)).await?;
        let (p50, p99) = (micros(&sample.latency, 0.5) / 1e3, micros(&sample.latency, 0.99) / 1e3);
        println!("{what:<40}{p50:>10.3}{p99:>10.3}{length:>12}");
        slowest = slowest.max(p50);
    }
    println!("answers: slowest median {slowest:.2} ms: at most {ANSWER_MAX}: {}", word(slowest <= ANSWER_MAX));
    Ok(())
}
