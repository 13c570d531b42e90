//! `cargo xtask bench …`: measurements that compare ratios in one run, never a timed test.

mod gateway;
mod load;
mod processes;

/// Which measurement.
#[derive(clap::Subcommand)]
pub(crate) enum Bench {
    /// nginx and snug in front of the same tiny upstream, alternating.
    Gateway(gateway::Arguments),
}

pub(crate) fn run(bench: &Bench) -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        return run_optimised();
    }
    match bench {
        Bench::Gateway(arguments) => gateway::run(arguments),
    }
}

/// An unoptimised load generator would measure itself.
fn run_optimised() -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = std::process::Command::new(cargo);
    command.args(["run", "--quiet", "--release", "--package", "xtask", "--"]).args(std::env::args_os().skip(1));
    anyhow::ensure!(command.status()?.success(), "the measurement failed");
    Ok(())
}
