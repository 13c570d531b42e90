//! Where tests begin: a stage with the real engine, or with the fake one.

use std::path::{Path, PathBuf};

use testkit::{Stage, fake_engine};

/// The sample model's id, as its file is named.
pub(crate) const SAMPLE: &str = "SmolLM2-135M-Instruct";

/// A stage whose engine is the real one; `None` where set-up did not run.
pub(crate) fn real() -> Option<Stage> {
    Some(Stage::new(program(), &part("SNUG_LLAMA_SERVER")?))
}

/// The same with the sample model.
pub(crate) fn real_with_sample() -> Option<Stage> {
    let sample = part("SNUG_SAMPLE_MODEL")?;
    let stage = real()?;
    let name = format!("{SAMPLE}.Q4_1.gguf");
    std::os::unix::fs::symlink(sample, stage.models_dir().join(name)).expect("the folder is fresh");
    // For several at once on a small machine: an engine's threads wait for each other by spinning.
    let one_thread = r#"extra_args = ["--threads", "1", "--threads-batch", "1"]"#;
    Some(stage.config(&format!("[engine]\ncontext = 2048\nslots = 4\n{one_thread}\n")))
}

/// A stage whose engine is the fake one.
pub(crate) fn fake() -> Stage {
    Stage::new(program(), fake_engine())
}

/// The program under test.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_snug"))
}

/// What set-up got and named in the environment. Without it there is nothing to test, and in CI that is a failure.
fn part(variable: &str) -> Option<PathBuf> {
    let found = std::env::var_os(variable).map(PathBuf::from);
    if found.is_none() {
        missing(&format!("{variable} is not set"));
    }
    found
}

/// Says why a test is skipped; in CI nothing may be skipped.
#[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
pub(crate) fn missing(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what}; 'scripts/setup test' gets it");
    eprintln!("skipped: {what}");
}
