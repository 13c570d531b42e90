//! `cargo xtask bench …`: measurements that compare ratios in one run, never a timed test.

mod figures;
mod fit;
mod gateway;
mod load;
mod nginx;
mod process;
mod programs;
mod ready;
mod route;
mod snug;
mod swap;

/// Which measurement.
#[derive(clap::Subcommand)]
pub(crate) enum Bench {
    /// nginx and snug in front of the same tiny upstream, alternating; then `swap`.
    Gateway(gateway::Arguments),
    /// How long it takes to reckon the catalogue for a machine, and to answer the fit API.
    Fit(fit::Arguments),
    /// How long it takes to choose one of many replicas for a request.
    Route(route::Arguments),
    /// What snug adds when one model leaves for another, beside the engine's own stop and load.
    Swap(swap::Arguments),
    /// Loads of a large model: from the disk, and with its weights kept in RAM.
    Ready(ready::Arguments),
}

pub(crate) fn run(bench: &Bench) -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        return run_optimised();
    }
    // One thread: the load must not take the cores that are measured.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match bench {
        Bench::Gateway(arguments) => runtime.block_on(gateway::run(arguments)),
        Bench::Fit(arguments) => runtime.block_on(fit::run(arguments)),
        Bench::Route(arguments) => route::run(arguments),
        Bench::Swap(arguments) => runtime.block_on(swap::run(arguments)),
        Bench::Ready(arguments) => runtime.block_on(ready::run(arguments)),
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
