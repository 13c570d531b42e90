//! `cargo xtask bench …`: measurements that compare ratios in one run, never a timed test.

/// Which measurement.
#[derive(clap::Subcommand)]
pub(crate) enum Bench {
    /// nginx and snug in front of the same tiny upstream, alternating.
    Gateway,
}

pub(crate) fn run(_bench: &Bench) -> anyhow::Result<()> {
    Ok(())
}
