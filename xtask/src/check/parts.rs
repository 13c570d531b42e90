//! Where the parts of a check lie. What they are and how each is found stands in `scripts/parts.sh` alone; this asks it.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

/// The parts found on this machine.
pub(super) struct Parts {
    root: PathBuf,
    engine: Option<PathBuf>,
    sample_model: Option<PathBuf>,
    tools: Option<PathBuf>,
    all_required: bool,
}

impl Parts {
    pub(super) fn find() -> anyhow::Result<Self> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask check`")?;
        let root = Path::new(&manifest).parent().context("xtask lies in the workspace")?.to_path_buf();
        Ok(Self {
            engine: locate(&root, "engine"),
            sample_model: locate(&root, "model"),
            tools: locate(&root, "tools"),
            all_required: env::var("CI").is_ok_and(|ci| ci == "true"),
            root,
        })
    }

    /// The folder of the workspace.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether a missing part is a failure, as in continuous integration.
    pub(super) fn all_required(&self) -> bool {
        self.all_required
    }

    /// What the tests would want and is not here, in a sentence.
    pub(super) fn missing_for_tests(&self) -> Option<String> {
        let absent: Vec<_> = [("llama-server", &self.engine), ("the sample model", &self.sample_model)]
            .into_iter()
            .filter_map(|(name, part)| part.is_none().then_some(name))
            .collect();
        (!absent.is_empty()).then(|| format!("missing: {}; 'scripts/setup test' gets it", absent.join(", ")))
    }

    /// Cargo at the root of the workspace.
    pub(super) fn cargo<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut cargo = self.command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(arguments);
        cargo
    }

    /// A cargo command that builds: where all is required, so is a lock file that is up to date.
    pub(super) fn locked<'a>(&self, verb: &'a str, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        self.cargo([verb].into_iter().chain(self.lock_flag()).chain(arguments))
    }

    pub(super) fn lock_flag(&self) -> Option<&'static str> {
        self.all_required.then_some("--locked")
    }

    /// A tool, the pinned one first; or why it cannot be run.
    pub(super) fn tool(&self, name: &str) -> Result<Command, String> {
        let pinned = self.tools.iter().map(|tools| tools.join("bin"));
        let path = env::var_os("PATH").unwrap_or_default();
        let program = pinned.chain(env::split_paths(&path)).map(|folder| folder.join(name)).find(|file| file.is_file());
        match program {
            Some(program) => Ok(self.command(program)),
            None => Err(format!("{name} is not installed; 'scripts/setup test' gets it")),
        }
    }

    /// Every file git tracks that a shell runs.
    pub(super) fn tracked_shell_scripts(&self) -> anyhow::Result<Vec<PathBuf>> {
        let output = self.command("git").args(["ls-files", "-z"]).output().context("git ls-files")?;
        anyhow::ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
        let tracked = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(tracked.split_terminator('\0').map(PathBuf::from).filter(|file| is_shell(&self.root.join(file))).collect())
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        for (variable, part) in [("SNUG_LLAMA_SERVER", &self.engine), ("SNUG_SAMPLE_MODEL", &self.sample_model)] {
            if let Some(part) = part {
                command.env(variable, part);
            }
        }
        command
    }
}

fn locate(root: &Path, part: &str) -> Option<PathBuf> {
    let output = Command::new(root.join("scripts/where")).arg(part).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(path.trim_end()))
}

fn is_shell(file: &Path) -> bool {
    if file.extension().is_some_and(|extension| extension == "sh") {
        return true;
    }
    let Ok(text) = std::fs::read(file) else { return false };
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    first == b"#!/usr/bin/env bash" || first == b"#!/bin/sh"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_scripts_are_told_by_their_first_line() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace");
        for (file, expected) in [("scripts/setup", true), ("scripts/parts.sh", true), ("Makefile", false)] {
            assert_eq!(is_shell(&root.join(file)), expected, "{file}");
        }
    }
}
