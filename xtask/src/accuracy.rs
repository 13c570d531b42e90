//! `cargo xtask fit-accuracy`, `cargo xtask fit-calibrate`: the speed model against published measurements.
//!
//! A measurement is estimated from what describes it (hardware name, memory, model, quantisation, context, engine);
//! what was measured, and the bandwidth column, are never read for the estimate.

mod calibrate;
mod known;
mod layout;
mod measurement;
mod model;
mod quantization;
mod report;
mod setup;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use fit::speed::{self, Constants};

use measurement::{Measurement, REQUIRED};
use setup::Setup;

/// Where the measurements are.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Measurements, with the columns that `docs/speed.md` lists.
    #[arg(long)]
    csv: PathBuf,
    /// Also print the rows whose estimates are farthest off.
    #[arg(long, default_value_t = 0)]
    worst: usize,
}

/// A measurement with the setup that its row describes.
struct Case {
    row: Measurement,
    setup: Setup,
}

impl Case {
    /// What the measurement should have shown, by the constants: tokens/s, with the interval.
    fn expected(&self, constants: &Constants) -> Expected {
        let speed = speed::estimate_with(constants, &self.setup.machine, &self.setup.work());
        // Some tools divide the output by the time from request to the end: prompt and first token count there.
        let seen = |tps: f64| match self.setup.whole_request {
            Some(tokens) => tokens / (speed.ttft + (tokens - 1.0) / tps),
            None => tps,
        };
        Expected {
            decode: seen(speed.decode_tps),
            low: seen(speed.decode_low),
            high: seen(speed.decode_high),
            prefill: speed.prefill_tps,
        }
    }
}

struct Expected {
    decode: f64,
    low: f64,
    high: f64,
    prefill: f64,
}

/// Prints how far the estimates are from the measurements, per set.
pub(crate) fn accuracy(arguments: &Arguments) -> anyhow::Result<()> {
    let read = read(&arguments.csv)?;
    report::print(&read.cases, &read.left_out, &fit::speed::CONSTANTS);
    report::print_worst(&read.cases, arguments.worst, &fit::speed::CONSTANTS);
    Ok(())
}

/// Fits the constants and prints them as the table in `fit::speed::constants`.
pub(crate) fn calibrate(arguments: &Arguments) -> anyhow::Result<()> {
    let read = read(&arguments.csv)?;
    calibrate::run(&read.cases);
    Ok(())
}

struct Read {
    cases: Vec<Case>,
    /// The reason, and whether the row is in the anchor set.
    left_out: Vec<(&'static str, bool)>,
}

fn read(path: &Path) -> anyhow::Result<Read> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .flexible(true)
        .from_path(path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let columns = reader.headers().with_context(|| format!("cannot read {}", path.display()))?.clone();
    let missing: Vec<&str> =
        REQUIRED.into_iter().filter(|name| !columns.iter().any(|column| column == *name)).collect();
    if !missing.is_empty() {
        anyhow::bail!(
            "{} has no column {}; it has {}",
            path.display(),
            missing.join(", "),
            columns.iter().collect::<Vec<_>>().join(", ")
        );
    }
    let mut read = Read { cases: Vec::new(), left_out: Vec::new() };
    let mut unreadable = None;
    for row in reader.deserialize() {
        let row: Measurement = match row {
            Ok(row) => row,
            Err(error) => {
                unreadable.get_or_insert(error);
                read.left_out.push(("a row that cannot be read", false));
                continue;
            }
        };
        match Setup::of(&row) {
            Ok(setup) => read.cases.push(Case { row, setup }),
            Err(reason) => read.left_out.push((reason, row.in_anchor_set)),
        }
    }
    match unreadable {
        Some(error) if read.cases.is_empty() => {
            Err(error).with_context(|| format!("{} has no usable row; the first", path.display()))
        }
        _ if read.cases.is_empty() => anyhow::bail!("{} has no usable row", path.display()),
        _ => Ok(read),
    }
}
