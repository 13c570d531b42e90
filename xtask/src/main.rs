//! The chores of the project, in Rust: `cargo xtask check`, `cargo xtask bench gateway`, `cargo xtask fit-accuracy`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod accuracy;
mod bench;
mod check;

/// The chores of the project.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Everything that must hold before a change lands: fmt, clippy, docs, deny, tests.
    Check(check::Arguments),
    /// Measurements that compare ratios in one run.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// How far estimated speeds are from published measurements.
    FitAccuracy(accuracy::Arguments),
    /// Fits the constants of the speed model to published measurements and prints them.
    FitCalibrate(accuracy::Arguments),
}

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().chore {
        Chore::Check(arguments) => check::run(&arguments),
        Chore::Bench(bench) => bench::run(&bench).map(|()| ExitCode::SUCCESS),
        Chore::FitAccuracy(arguments) => accuracy::accuracy(&arguments).map(|()| ExitCode::SUCCESS),
        Chore::FitCalibrate(arguments) => accuracy::calibrate(&arguments).map(|()| ExitCode::SUCCESS),
    }
}
