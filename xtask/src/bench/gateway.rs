//! `cargo xtask bench gateway`: what the gateway adds to a request, beside nginx in front of the same upstream.
//!
//! Direct, nginx and snug take turns within one run, so that whatever else the machine does falls on all of them. Every
//! figure is the median over the rounds, with the least and the greatest beside it.

#![expect(clippy::print_stdout, reason = "the table is what this is for")]

use std::time::Duration;

use hdrhistogram::Histogram;

use super::load;
use super::processes::{Programs, Server};

/// How long to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often each takes its turn.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds per turn at one and at 64 connections each.
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// Threads of snug and worker processes of nginx; default, one per core.
    #[arg(long)]
    threads: Option<usize>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism()?;
    let threads = arguments.threads.unwrap_or(cores.get());
    let programs = Programs::build(threads)?;
    println!("nginx and snug on {threads} threads each; {cores} cores for them, the load and the upstream\n");
    // One thread: the load must not take the cores that are measured.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(&programs, arguments))
}

/// How many connections make the load of the throughput figures.
const MANY: usize = 64;

/// Events of the long streams, in which the first one does not count.
const LONG: u32 = 4000;

/// Events of the paced streams, one per millisecond.
const PACED: u32 = 300;

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
    /// Processor time per paced token.
    cpu_per_token: f64,
    /// Processor time per request at [`MANY`] connections.
    cpu_per_request: f64,
}

async fn measure(programs: &Programs, arguments: &Arguments) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let upstream = programs.upstream(folder.path()).await?;
    let nginx = programs.nginx(upstream.address, folder.path()).await?;
    let snug = programs.snug(upstream.address).await?;
    let idle = [nginx.resident(), snug.resident()];
    let servers = [&upstream, &nginx, &snug];

    let mut turns = [const { Vec::new() }; 3];
    for round in 0..=arguments.rounds {
        for place in 0..servers.len() {
            let who = (round + place) % servers.len();
            let turn = take_turn(servers[who], arguments).await?;
            // The first round only warms up.
            if round > 0 {
                turns[who].push(turn);
            }
        }
    }
    print_table(&turns);
    println!();
    println!("{:<44}{:>14}{:>14}", "", "nginx", "snug");
    let busy = [nginx.resident(), snug.resident()];
    for (what, [nginx, snug]) in [("resident memory, idle, MiB", idle), ("resident memory, after the load, MiB", busy)]
    {
        println!("{what:<44}{:>14.1}{:>14.1}", mib(nginx), mib(snug));
    }
    let started = [nginx.started_in, snug.started_in].map(|duration| duration.as_secs_f64() * 1000.0);
    println!("{:<44}{:>14.1}{:>14.1}", "start to first good answer, ms", started[0], started[1]);
    Ok(())
}

async fn take_turn(server: &Server, arguments: &Arguments) -> anyhow::Result<Turn> {
    let duration = Duration::from_secs_f64(arguments.seconds);
    let address = server.address;
    let whole = request(r#""max_tokens":16"#);
    let one = load::requests(address, &whole, 1, duration).await?;
    let before = server.processor_time();
    let many = load::requests(address, &whole, MANY, duration).await?;
    let cpu = server.processor_time() - before;

    let first = load::streams(address, &request(r#""stream":true,"max_tokens":8"#), 1, 500).await?;
    let long = load::streams(address, &request(&format!(r#""stream":true,"max_tokens":{LONG}"#)), 1, 10).await?;
    let before = server.processor_time();
    let paced = request(&format!(r#""stream":true,"max_tokens":{PACED},"fake_token_ms":1"#));
    load::streams(address, &paced, 8, 1).await?;
    let paced_cpu = server.processor_time() - before;
    Ok(Turn {
        one_p50: micros(&one.latency, 0.5),
        one_p99: micros(&one.latency, 0.99),
        many_p50: micros(&many.latency, 0.5),
        many_p99: micros(&many.latency, 0.99),
        rate: many.rate,
        first_p50: micros(&first.first, 0.5),
        first_p99: micros(&first.first, 0.99),
        later: micros(&long.later, 0.5),
        cpu_per_token: paced_cpu.as_secs_f64() * 1e6 / (8.0 * f64::from(PACED)),
        cpu_per_request: cpu.as_secs_f64() / (many.rate * arguments.seconds) * 1e6,
    })
}

fn print_table([direct, nginx, snug]: &[Vec<Turn>; 3]) {
    println!("{:<44}{:>14}{:>14}{:>14}   {:<22}", "", "direct", "nginx", "snug", "snug against its target");
    type Figure = fn(&Turn) -> f64;
    let row = |what: &str, figure: Figure, verdict: &dyn Fn(f64, f64, f64) -> String| {
        let spread = [direct, nginx, snug].map(|turns| Spread::of(turns, figure));
        let [direct, nginx, snug] = &spread;
        let verdict = verdict(direct.median, nginx.median, snug.median);
        println!("{what:<44}{:>14.1}{:>14.1}{:>14.1}   {verdict}", direct.median, nginx.median, snug.median);
        println!("{:<44}{:>14}{:>14}{:>14}", "", direct.range(), nginx.range(), snug.range());
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
    row("stream: own CPU per token, one per ms, us", |turn| turn.cpu_per_token, &|_, nginx, snug| {
        format!("{:.2} of nginx", snug / nginx)
    });
}

/// One figure over the rounds.
struct Spread {
    least: f64,
    median: f64,
    greatest: f64,
}

impl Spread {
    fn of(turns: &[Turn], figure: fn(&Turn) -> f64) -> Self {
        let mut figures: Vec<f64> = turns.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
        Self { least: at(0), median: at(figures.len() / 2), greatest: at(figures.len().saturating_sub(1)) }
    }

    fn range(&self) -> String {
        format!("{:.0}..{:.0}", self.least, self.greatest)
    }
}

fn word(well: bool) -> &'static str {
    if well { "reached" } else { "MISSED" }
}

fn request(fields: &str) -> Vec<u8> {
    let body = format!(
        r#"{{"model":"bench","messages":[{{"role":"system","content":"You are a helpful assistant."}},{{"role":"user","content":"Say something of ordinary length, please."}}],"temperature":0.7,{fields}}}"#
    );
    let length = body.len();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\naccept: */*\r\nuser-agent: xtask\r\n\
         authorization: Bearer none\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of one request are far below 2^52")]
fn micros(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
