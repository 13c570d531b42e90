//! The steps of the check, in the order in which they run: the quick ones first, the tests last.

use std::{fmt, process::Command};

use clap::ValueEnum;

use super::{Outcome, parts::Parts};

/// One thing that must hold.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    Fmt,
    Shell,
    Deny,
    Pure,
    Unused,
    Clippy,
    Doc,
    Fuzz,
    Doctest,
    Test,
}

/// Crates that decide and never act: values in, values out.
const PURE: [&str; 7] = ["types", "api", "catalog", "fit", "placement", "protocol", "balance"];

/// What acts: none of it may be reached from a pure crate, however indirectly.
const EFFECTS: [&str; 6] = ["tokio", "mio", "hyper", "axum", "reqwest", "notify"];

impl Step {
    /// What the step makes sure of.
    pub(super) fn promise(self) -> &'static str {
        match self {
            Self::Fmt => "the code is formatted",
            Self::Shell => "shellcheck finds nothing in the scripts",
            Self::Deny => "licences, sources and who may depend on whom (deny.toml)",
            Self::Pure => "pure crates reach no runtime and no network",
            Self::Unused => "no dependency is declared and not used",
            Self::Clippy => "no warnings",
            Self::Doc => "the documentation builds without warnings",
            Self::Fuzz => "the fuzz targets compile",
            Self::Doctest => "the examples in the documentation run",
            Self::Test => "the tests pass",
        }
    }

    pub(super) fn run(self, parts: &Parts) -> Outcome {
        match self {
            Self::Fmt => run(parts.cargo(["fmt", "--all", "--check"])),
            Self::Shell => shell(parts),
            Self::Deny => deny(parts),
            Self::Pure => pure(parts),
            Self::Unused => match parts.tool("cargo-shear") {
                Ok(shear) => run(shear),
                Err(why) => Outcome::Skipped(why),
            },
            Self::Clippy => run(parts.locked("clippy", ["--workspace", "--all-targets", "--", "-Dwarnings"])),
            Self::Doc => {
                let mut doc = parts.locked("doc", ["--workspace", "--no-deps"]);
                doc.env("RUSTDOCFLAGS", "-Dwarnings");
                run(doc)
            }
            Self::Fuzz => fuzz(parts),
            Self::Doctest => run(parts.locked("test", ["--workspace", "--doc", "--quiet"])),
            Self::Test => test(parts),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no step is hidden from the command line");
        f.pad(value.get_name())
    }
}

fn shell(parts: &Parts) -> Outcome {
    let mut shellcheck = match parts.tool("shellcheck") {
        Ok(shellcheck) => shellcheck,
        Err(why) => return Outcome::Skipped(why),
    };
    match parts.tracked_shell_scripts() {
        Ok(scripts) => {
            shellcheck.args(["--external-sources", "--source-path=SCRIPTDIR"]).args(scripts);
            run(shellcheck)
        }
        // Not a clone.
        Err(error) => Outcome::Skipped(format!("{error:#}")),
    }
}

fn deny(parts: &Parts) -> Outcome {
    match parts.tool("cargo-deny") {
        Ok(mut deny) => {
            // The rules name who may depend on whom, not who must: a permission nobody uses is no finding.
            deny.args(["check", "--hide-inclusion-graph", "--allow=unused-wrapper", "bans", "licenses", "sources"]);
            run(deny)
        }
        Err(why) => Outcome::Skipped(why),
    }
}

/// What cargo-deny cannot say: the rule is about everything a crate reaches, not about its direct dependencies.
fn pure(parts: &Parts) -> Outcome {
    for name in PURE {
        let manifest = parts.root().join("crates").join(name).join("Cargo.toml");
        if !manifest.exists() {
            continue;
        }
        let mut tree = parts.cargo(["tree", "--edges=normal", "--prefix=none", "--format={lib}", "--manifest-path"]);
        let output = match tree.arg(manifest).output() {
            Ok(output) if output.status.success() => output,
            Ok(output) => return Outcome::Failed(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => return Outcome::Failed(format!("cargo tree: {error}")),
        };
        let reached = String::from_utf8_lossy(&output.stdout).into_owned();
        if let Some(effect) = EFFECTS.into_iter().find(|effect| reached.lines().any(|line| line.trim() == *effect)) {
            let how = format!("cargo tree --package {name} --edges normal --invert {effect}");
            return Outcome::Failed(format!("{name} reaches {effect}; '{how}' shows how"));
        }
    }
    Outcome::Passed
}

fn fuzz(parts: &Parts) -> Outcome {
    let manifest = parts.root().join("fuzz/Cargo.toml");
    if !manifest.exists() {
        return Outcome::Passed;
    }
    let mut check = parts.cargo(["check", "--quiet", "--manifest-path"]);
    check.arg(manifest);
    run(check)
}

fn test(parts: &Parts) -> Outcome {
    if let Some(missing) = parts.missing_for_tests() {
        if parts.all_required() {
            return Outcome::Failed(missing);
        }
        println!("warning: {missing}");
    }
    match parts.tool("cargo-nextest") {
        Ok(mut nextest) => {
            nextest.args(["nextest", "run", "--workspace", "--no-fail-fast"]).args(parts.lock_flag());
            run(nextest)
        }
        // Slower, the same tests.
        Err(_) => run(parts.locked("test", ["--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"])),
    }
}

/// Runs a command with its output where ours goes.
fn run(mut command: Command) -> Outcome {
    match command.status() {
        Ok(status) if status.success() => Outcome::Passed,
        Ok(status) => Outcome::Failed(format!("{}: {status}", shown(&command))),
        Err(error) => Outcome::Failed(format!("{}: {error}", shown(&command))),
    }
}

/// The command as a person would type it, cut to what tells it from others.
fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args().take(4));
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
