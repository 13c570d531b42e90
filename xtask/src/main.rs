//! The chores of the project, in Rust: `cargo xtask check`, `cargo xtask bench gateway`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
}

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().chore {
        Chore::Check(arguments) => check::run(&arguments),
        Chore::Bench(bench) => bench::run(&bench).map(|()| ExitCode::SUCCESS),
    }
}
