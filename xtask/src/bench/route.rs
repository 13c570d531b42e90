//! `cargo xtask bench route`: how long it takes to choose one of many replicas for a request.
//!
//! The index of prefixes is full, every request is one of many conversations that go on by a turn, and each decision is
//! taken as the gateway takes it: the name is looked up, the conversation's prefixes are made from the body's bytes, what
//! each replica has to do is counted, and one is chosen. Shown is each part and the whole.

#![expect(clippy::print_stdout, reason = "the table is what this is for")]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::figures::{micros, word};
use super::load;
use balance::{Balance, Load, Prefix, Replicas, Rules};

/// How much to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Names in the table.
    #[arg(long, default_value_t = 10_000)]
    routes: usize,
    /// Replicas of the name that is asked for.
    #[arg(long, default_value_t = 100)]
    replicas: usize,
    /// The longest conversation, KiB: 16 are some four thousand tokens.
    #[arg(long, default_value_t = 16)]
    kib: usize,
    /// Decisions.
    #[arg(long, default_value_t = 200_000)]
    decisions: usize,
}

/// Conversations that go on at once: together they have more prefixes than the index keeps.
const CONVERSATIONS: usize = 400;
/// The most that 99 of 100 decisions may take, microseconds.
const DECISION_MAX: f64 = 20.0;

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let table: HashMap<String, usize> = (0..arguments.routes.max(1)).map(|number| (name(number), number)).collect();
    let longest = arguments.kib.max(1) << 10;
    let conversations: Vec<Vec<u8>> = (0..CONVERSATIONS).map(|number| conversation(number, longest)).collect();
    let mut replicas = Replicas::new(arguments.replicas.max(1), Rules::default(), Balance::default(), Instant::now());
    let in_flight: Vec<AtomicU64> = (0..arguments.replicas.max(1)).map(|_| AtomicU64::new(0)).collect();
    let [mut named, mut made, mut chosen, mut whole] = [(); 4].map(|()| load::histogram());
    let mut answering: Vec<(usize, Instant)> = Vec::new();
    let mut reasons: HashMap<&str, usize> = HashMap::new();
    // The index fills in the first rounds, which are not counted.
    let warm_up = CONVERSATIONS * 5;
    for number in 0..warm_up + arguments.decisions {
        let asked = name(number * 7919 % arguments.routes.max(1));
        let body = &conversations[number * 31 % CONVERSATIONS];
        // A turn more each time it comes round.
        let length = longest / 2 + number / CONVERSATIONS % 16 * (longest / 32);
        let begun = Instant::now();
        black_box(table.get(black_box(&asked)));
        let found = Instant::now();
        let prefix = Prefix::of(&[black_box(&body[..length])]);
        let read = Instant::now();
        let loads = in_flight.iter().map(|in_flight| Load {
            is_ready: true,
            in_flight: in_flight.load(Ordering::Relaxed),
            waiting: 0,
            capacity: 8,
        });
        let choice = replicas.choose(loads, &prefix, &[], read);
        let ended = Instant::now();
        let choice = choice.map_err(|no| anyhow::anyhow!("nobody is chosen: {no:?}"))?;
        in_flight[choice.index].fetch_add(1, Ordering::Relaxed);
        answering.push((choice.index, read));
        // Two in flight for each replica, on average.
        if answering.len() > arguments.replicas * 2 {
            let (index, begun) = answering.swap_remove(number * 17 % answering.len());
            in_flight[index].fetch_sub(1, Ordering::Relaxed);
            replicas.succeeded(index, begun, ended);
        }
        if number >= warm_up {
            *reasons.entry(choice.reason.as_str()).or_default() += 1;
            for (histogram, took) in [
                (&mut named, found - begun),
                (&mut made, read - found),
                (&mut chosen, ended - read),
                (&mut whole, ended - begun),
            ] {
                histogram.saturating_record(load::nanos(took));
            }
        }
    }
    println!(
        "{} names, {} replicas, {CONVERSATIONS} conversations of up to {} KiB, {} decisions\n",
        arguments.routes, arguments.replicas, arguments.kib, arguments.decisions
    );
    println!("{:<40}{:>10}{:>10}{:>10}", "what", "p50, µs", "p99, µs", "most, µs");
    for (what, histogram) in [
        ("the name in the table", &named),
        ("the conversation's prefixes", &made),
        ("loads, affinity, choice, remembering", &chosen),
        ("the whole decision", &whole),
    ] {
        let (p50, p99) = (micros(histogram, 0.5), micros(histogram, 0.99));
        println!("{what:<40}{p50:>10.2}{p99:>10.2}{:>10.1}", micros(histogram, 1.0));
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_unstable();
    let reasons: Vec<_> = reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    println!("\nchosen for: {}", reasons.join(", "));
    let p99 = micros(&whole, 0.99);
    println!("decision: p99 {p99:.1} µs: at most {DECISION_MAX}: {}", word(p99 <= DECISION_MAX));
    Ok(())
}

fn name(number: usize) -> String {
    format!("organisation/model-{number}")
}

/// A conversation in JSON: a system prompt that all share, then what is its own.
fn conversation(number: usize, length: usize) -> Vec<u8> {
    let mut text = String::from(r#"[{"role":"system","content":""#);
    text.push_str(&"You are a helpful assistant. ".repeat(20));
    while text.len() < length {
        let turn = text.len();
        text += &format!(r#""}},{{"role":"user","content":"conversation {number}, byte {turn}: tell me more"#);
    }
    text.truncate(length);
    text.into_bytes()
}
