//! `cargo xtask bench gateway`: what the gateway adds to a request, beside nginx in front of the same upstream.
//!
//! Direct, nginx and snug take turns within one run, so that whatever else the machine does falls on all of them. Every
//! figure is the median over the rounds, with the least and the greatest beside it.

#![expect(clippy::print_stdout, reason = "the table is what this is for")]

use std::net::SocketAddr;
use std::time::Duration;

use super::figures::{Spread, mib, micros, millis, word};
use super::process::{Processes, Server};
use super::snug::Stage;
use super::{load, nginx, programs, snug, swap};

/// How long to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often each takes its turn.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds per turn at one and at 64 connections each.
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// How many swaps of a model for another; none leaves that part out.
    #[arg(long, default_value_t = 15)]
    swaps: usize,
}

/// How many connections make the load of the throughput figures.
const MANY: usize = 64;

/// Events of the long streams, in which the first one does not count.
const LONG: u32 = 4000;

/// Events of the paced streams, one per millisecond.
const PACED: u32 = 300;

/// How often each is started to see how long that takes.
const STARTS: usize = 9;

/// After the start, until memory counts as idle.
const REST: Duration = Duration::from_secs(1);

/// Memory and start-up may take this much: MiB and milliseconds.
const RESIDENT_MAX: f64 = 30.0;
const START_MAX: f64 = 50.0;

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let program = programs::snug()?;
    let fake_engine = programs::fake_engine()?;
    let cores = std::thread::available_parallelism()?.get();
    println!("nginx with {cores} workers; {cores} cores for it, snug, the load and the upstream\n");
    let stage = Stage::new(program.clone(), fake_engine)?;
    stage.model("bench", &format!("--fake-tokens {LONG}"))?;
    measure(&stage, cores, arguments).await?;
    println!();
    match programs::engine() {
        _ if arguments.swaps == 0 => Ok(()),
        Some(engine) => swap::measure(program, engine, arguments.swaps).await,
        None => {
            println!("swap: not measured: no llama-server; 'scripts/setup run' gets it");
            Ok(())
        }
    }
}

/// Who is measured.
struct Contender {
    address: SocketAddr,
    processes: Processes,
}

/// What one contender showed in one round.
#[derive(Default, Clone)]
struct Turn {
    one_p50: f64,
    one_p99: f64,
    many_p50: f64,
    many_p99: f64,
    rate: f64,
    first_p50: f64,
    first_p99: f64,
    /// Per later token, at full speed.
    later: f64,
    /// From sent to arrived, per later token of a paced stream.
    way_p50: f64,
    way_p99: f64,
    /// Processor time per paced token.
    cpu_per_token: f64,
    /// Processor time per request at [`MANY`] connections.
    cpu_per_request: f64,
}

async fn measure(stage: &Stage, workers: usize, arguments: &Arguments) -> anyhow::Result<()> {
    let (of_snug, snug_starts) = start_often(async || stage.start(&[]).await).await?;
    let snug = Contender { address: of_snug.address, processes: Processes::one(of_snug.pid()) };
    tokio::time::sleep(REST).await;
    let snug_idle = snug.processes.resident();

    // The first request loads the model. The engine that snug then has is the one that all are in front of.
    load::ask(snug.address, &load::chat("bench", r#""max_tokens":1"#)).await?;
    let engine = snug::engine(snug.address, "bench").await?;
    let direct = Contender { address: engine.address, processes: Processes::one(engine.pid) };
    let start_nginx = async || nginx::start(engine.address, workers, stage.folder()).await;
    let (of_nginx, nginx_starts) = start_often(start_nginx).await?;
    tokio::time::sleep(REST).await;
    let nginx = Contender { address: of_nginx.address, processes: Processes::family(of_nginx.pid()) };
    let nginx_idle = nginx.processes.resident();

    let contenders = [&direct, &nginx, &snug];
    let mut turns = [const { Vec::new() }; 3];
    for round in 0..=arguments.rounds {
        for place in 0..contenders.len() {
            let who = (round + place) % contenders.len();
            let turn = take_turn(contenders[who], arguments).await?;
            // The first round only warms up.
            if round > 0 {
                turns[who].push(turn);
            }
        }
    }
    print_table(&turns);
    let row = |what: &str, nginx: f64, snug: f64, verdict: &str| {
        println!("{what:<50}{:>14}{nginx:>14.1}{snug:>14.1}   {verdict}", "");
    };
    let at_most = |max: f64, snug: f64| format!("at most {max}: {}", word(snug <= max));
    let idle = mib(snug_idle);
    row("resident memory, idle, MiB", mib(nginx_idle), idle, &at_most(RESIDENT_MAX, idle));
    row("resident memory, after the load, MiB", mib(nginx.processes.resident()), mib(snug.processes.resident()), "");
    let (nginx_start, snug_start) = (nginx_starts.median, snug_starts.median);
    row("start to first healthy answer, ms", nginx_start, snug_start, &at_most(START_MAX, snug_start));
    println!("{:<50}{:>14}{:>14}{:>14}", "", "", nginx_starts.range(), snug_starts.range());
    Ok(())
}

/// Starts a server some times and keeps the last one; with the milliseconds it took.
async fn start_often(start: impl AsyncFn() -> anyhow::Result<Server>) -> anyhow::Result<(Server, Spread)> {
    let mut times = vec![];
    loop {
        let server = start().await?;
        times.push(millis(server.started_in));
        if times.len() == STARTS {
            return Ok((server, Spread::of(times.into_iter())));
        }
    }
}

async fn take_turn(contender: &Contender, arguments: &Arguments) -> anyhow::Result<Turn> {
    let duration = Duration::from_secs_f64(arguments.seconds);
    let address = contender.address;
    let whole = load::chat("bench", r#""max_tokens":16"#);
    let one = load::requests(address, &whole, 1, duration).await?;
    let before = contender.processes.processor_time();
    let many = load::requests(address, &whole, MANY, duration).await?;
    let cpu = contender.processes.processor_time() - before;

    let first = load::streams(address, &load::chat("bench", r#""stream":true,"max_tokens":8"#), 1, 500).await?;
    let long =
        load::streams(address, &load::chat("bench", &format!(r#""stream":true,"max_tokens":{LONG}"#)), 1, 10).await?;
    let way = load::ways(
        address,
        &load::chat(
            "bench",
            &format!(r#""stream":true,"max_tokens":{PACED},"fake_token_ms":1,"fake_timestamps":true"#),
        ),
    )
    .await?;
    let before = contender.processes.processor_time();
    let paced = load::chat("bench", &format!(r#""stream":true,"max_tokens":{PACED},"fake_token_ms":1"#));
    load::streams(address, &paced, 8, 1).await?;
    let paced_cpu = contender.processes.processor_time() - before;
    Ok(Turn {
        one_p50: micros(&one.latency, 0.5),
        one_p99: micros(&one.latency, 0.99),
        many_p50: micros(&many.latency, 0.5),
        many_p99: micros(&many.latency, 0.99),
        rate: many.rate,
        first_p50: micros(&first.first, 0.5),
        first_p99: micros(&first.first, 0.99),
        later: micros(&long.later, 0.5),
        way_p50: micros(&way, 0.5),
        way_p99: micros(&way, 0.99),
        cpu_per_token: paced_cpu.as_secs_f64() * 1e6 / (8.0 * f64::from(PACED)),
        cpu_per_request: cpu.as_secs_f64() / (many.rate * arguments.seconds) * 1e6,
    })
}

fn print_table([direct, nginx, snug]: &[Vec<Turn>; 3]) {
    println!("{:<50}{:>14}{:>14}{:>14}   {:<22}", "", "direct", "nginx", "snug", "snug against its target");
    type Figure = fn(&Turn) -> f64;
    let row = |what: &str, figure: Figure, verdict: &dyn Fn(f64, f64, f64) -> String| {
        let spread = [direct, nginx, snug].map(|turns| Spread::of(turns.iter().map(figure)));
        let [direct, nginx, snug] = &spread;
        let verdict = verdict(direct.median, nginx.median, snug.median);
        println!("{what:<50}{:>14.1}{:>14.1}{:>14.1}   {verdict}", direct.median, nginx.median, snug.median);
        let doubt = if direct.overlaps(snug) { "direct and snug overlap" } else { "" };
        let line = format!("{:<50}{:>14}{:>14}{:>14}   {doubt}", "", direct.range(), nginx.range(), snug.range());
        println!("{}", line.trim_end());
    };
    let added = |limit: f64, or_nginx: Option<f64>| {
        move |direct: f64, nginx: f64, snug: f64| {
            let (of_snug, of_nginx) = (snug - direct, nginx - direct);
            let well = of_snug <= limit || or_nginx.is_some_and(|factor| of_snug <= factor * of_nginx);
            let or = or_nginx.map(|factor| format!(" or {factor} x nginx's")).unwrap_or_default();
            format!("adds {of_snug:.1}, nginx {of_nginx:.1}: at most {limit}{or}: {}", word(well))
        }
    };
    let told = |direct: f64, nginx: f64, snug: f64| format!("adds {:.1}, nginx {:.1}", snug - direct, nginx - direct);
    row("1 connection: latency p50, us", |turn| turn.one_p50, &told);
    row("1 connection: latency p99, us", |turn| turn.one_p99, &added(110.0, Some(1.5)));
    row("64 connections: latency p50, us", |turn| turn.many_p50, &told);
    row("64 connections: latency p99, us", |turn| turn.many_p99, &told);
    row("64 connections: requests per second", |turn| turn.rate, &|_, nginx, snug| {
        format!("{:.2} of nginx: at least 0.90: {}", snug / nginx, word(snug >= 0.9 * nginx))
    });
    row("64 connections: own CPU per request, us", |turn| turn.cpu_per_request, &|_, nginx, snug| {
        format!("{:.2} of nginx", snug / nginx)
    });
    row("stream: first token p50, us", |turn| turn.first_p50, &told);
    row("stream: first token p99, us", |turn| turn.first_p99, &added(300.0, None));
    row("stream: per later token at full speed, us", |turn| turn.later, &added(3.0, None));
    row("stream: way of a later token, one per ms, p50, us", |turn| turn.way_p50, &added(3.0, None));
    row("stream: way of a later token, one per ms, p99, us", |turn| turn.way_p99, &told);
    row("stream: own CPU per token, one per ms, us", |turn| turn.cpu_per_token, &|_, nginx, snug| {
        format!("{:.2} of nginx", snug / nginx)
    });
}
