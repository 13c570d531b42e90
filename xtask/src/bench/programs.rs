//! The programs that are measured: ours, built as they ship, and the engine that set-up got.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

/// `snug`, built as it ships.
pub(crate) fn snug() -> anyhow::Result<PathBuf> {
    build("cli", "snug")
}

/// The tiny upstream.
pub(crate) fn fake_engine() -> anyhow::Result<PathBuf> {
    build("testkit", "fake-llama-server")
}

/// A real llama-server, where there is one.
pub(crate) fn engine() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let output = Command::new(root.join("scripts/where")).arg("engine").output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| path.trim_end().into())
}

fn build(package: &str, program: &str) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--release", "--message-format", "json-render-diagnostics"])
        .args(["--package", package, "--bin", program])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "{program} does not build");
    let messages = output.stdout.split(|byte| *byte == b'\n');
    let mut messages = messages.filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
    let program = messages.find_map(|message| message["executable"].as_str().map(PathBuf::from));
    program.context("cargo names the program it built")
}
