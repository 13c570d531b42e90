//! `cargo xtask check`: everything that must hold before a change lands.
//!
//! Each step is one command or a few; all chosen ones run, in the order of [`Step`], so that one run shows everything
//! that is wrong. Installing is `scripts/setup`'s work: here a missing tool skips its step with a word about it, or with
//! `CI=true` fails it.

#![expect(clippy::print_stdout, reason = "telling a person how the check goes is the job")]

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::ValueEnum;

use self::{parts::Parts, step::Step};

mod parts;
mod step;

/// What to check.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Run this step only; may be given several times.
    #[arg(long, value_name = "STEP")]
    only: Vec<Step>,
    /// Leave this step out; may be given several times.
    #[arg(long, value_name = "STEP")]
    skip: Vec<Step>,
}

/// How a step went.
enum Outcome {
    Passed,
    /// It could not run here; why.
    Skipped(String),
    /// What failed.
    Failed(String),
}

/// Runs the chosen steps and tells how each went; a failure exit if any failed.
///
/// # Errors
///
/// When this is not run by cargo.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let parts = Parts::find()?;
    let began = Instant::now();
    let chosen = Step::value_variants().iter().filter(|step| arguments.choose(**step));
    let outcomes: Vec<_> = chosen.map(|step| attempt(*step, &parts)).collect();

    println!("\n== summary");
    for (step, outcome, took) in &outcomes {
        let (word, why) = match outcome {
            Outcome::Passed => ("ok", ""),
            Outcome::Skipped(why) => ("skipped", why.as_str()),
            Outcome::Failed(why) => ("FAILED", why.as_str()),
        };
        println!("{}", format!("{word:<8}{step:<10}{:>8}  {why}", seconds(*took)).trim_end());
    }
    let count = |wanted: fn(&Outcome) -> bool| outcomes.iter().filter(|(_, outcome, _)| wanted(outcome)).count();
    let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
    println!(
        "steps: {} passed, {failed} failed, {} skipped ({})",
        count(|outcome| matches!(outcome, Outcome::Passed)),
        count(|outcome| matches!(outcome, Outcome::Skipped(_))),
        seconds(began.elapsed()),
    );
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Arguments {
    fn choose(&self, step: Step) -> bool {
        (self.only.is_empty() || self.only.contains(&step)) && !self.skip.contains(&step)
    }
}

fn attempt(step: Step, parts: &Parts) -> (Step, Outcome, Duration) {
    println!("\n== {step}: {}", step.promise());
    let began = Instant::now();
    let outcome = match step.run(parts) {
        Outcome::Skipped(why) if parts.all_required() => Outcome::Failed(why),
        outcome => outcome,
    };
    (step, outcome, began.elapsed())
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
