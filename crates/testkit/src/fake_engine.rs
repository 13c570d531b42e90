//! Where the fake engines' programs are. What the first can do is said in `src/bin/fake-llama-server/options.rs`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of `fake-llama-server`, built if need be.
///
/// Cargo hands a program's path only to tests of the program's own package, so this one asks Cargo: once per test
/// process, into the target folder the test itself lies in, which takes a moment when nothing changed. Set
/// `SNUG_FAKE_LLAMA_SERVER` to the program to skip that.
///
/// # Panics
///
/// If it does not build: a test that needs it cannot go on.
pub fn fake_engine() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        std::env::var_os("SNUG_FAKE_LLAMA_SERVER").map_or_else(|| build("fake-llama-server"), PathBuf::from)
    })
}

/// The path of `fake-python-server`, which stands in for `python` and `mlx-openai-server` where a link of that name leads
/// to it; built if need be, as [`fake_engine`].
///
/// # Panics
///
/// If it does not build: a test that needs it cannot go on.
pub fn fake_python() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build("fake-python-server"))
}

fn build(program: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "testkit", "--bin", program]);
    command.args(["--message-format", "json-render-diagnostics"]);
    command.args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
    if let Some(folder) = target_folder() {
        command.arg("--target-dir").arg(folder);
    }
    let output = command.output().expect("cargo, which built this test, can be started");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the program it built")
}

/// `target` where this test is `target/debug/deps/name-hash`.
fn target_folder() -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    let deps = test.parent().filter(|folder| folder.ends_with("deps"))?;
    deps.parent()?.parent().map(Path::to_path_buf)
}
