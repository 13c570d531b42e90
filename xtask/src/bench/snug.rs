//! The real product, `snug serve`, with folders of its own.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use serde_json::Value;

use super::load;
use super::process::{Server, free_address};

/// Where snug finds its models and keeps what it keeps. Its models are small GGUF files.
pub(crate) struct Stage {
    folder: tempfile::TempDir,
    program: PathBuf,
    engine: PathBuf,
}

/// An engine that a snug runs.
pub(crate) struct Engine {
    pub(crate) pid: u32,
    pub(crate) address: SocketAddr,
    /// From its start to ready, as snug saw it, milliseconds.
    pub(crate) load_ms: f64,
}

impl Stage {
    /// Fresh folders for `program`, which will start `engine`.
    pub(crate) fn new(program: PathBuf, engine: PathBuf) -> anyhow::Result<Self> {
        let stage = Self { folder: tempfile::tempdir()?, program, engine };
        std::fs::create_dir(stage.models())?;
        Ok(stage)
    }

    /// Writes a model; `faults` are for the fake engine.
    pub(crate) fn model(&self, id: &str, faults: &str) -> anyhow::Result<()> {
        testkit::gguf::ChatModel::default().file().write(&self.models().join(format!("{id}.gguf")))?;
        Ok(std::fs::write(self.models().join(format!("{id}.gguf.fake")), faults)?)
    }

    /// Writes a model of any size, to the disk and not only into memory. Where it lies.
    pub(crate) fn large_model(&self, name: &str, file: &testkit::gguf::File) -> anyhow::Result<PathBuf> {
        let path = self.models().join(name);
        file.write(&path)?;
        File::options().write(true).open(&path)?.sync_all()?;
        Ok(path)
    }

    /// For files of others who take part.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts snug and waits for its first good answer. What it says is shown if it fails to.
    pub(crate) async fn start(&self, arguments: &[&str]) -> anyhow::Result<Server> {
        let address = free_address()?;
        let mut command = Command::new(&self.program);
        // Nothing of this machine's settings takes part.
        command.env_clear().env("HOME", self.folder());
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.args(["serve", "--host", "127.0.0.1", "--port", &address.port().to_string()]);
        command.args(["--log-level", "warn", "--idle-unload", "never"]);
        command.arg("--data-dir").arg(self.folder().join("data"));
        command.arg("--models-dir").arg(self.models());
        command.arg("--llama-server").arg(&self.engine);
        let log = self.folder().join("snug.log");
        command.args(arguments).stdin(Stdio::null()).stderr(File::create(&log)?);
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        Server::start(command, address).await.with_context(|| format!("snug does not start: {}", said()))
    }

    fn models(&self) -> PathBuf {
        self.folder().join("models")
    }
}

/// The engine that serves `model` of the snug at `address`.
pub(crate) async fn engine(address: SocketAddr, model: &str) -> anyhow::Result<Engine> {
    let answer = load::ask(address, b"GET /api/models/loaded HTTP/1.1\r\nhost: bench\r\n\r\n").await?;
    let answer: Value = serde_json::from_slice(&answer)?;
    let rows = answer["models"].as_array().into_iter().flatten();
    let mut ready = rows.filter(|row| row["model"] == model && row["instance_state"] == "ready");
    let found = ready.next().and_then(|row| {
        Some(Engine {
            pid: u32::try_from(row["pid"].as_u64()?).ok()?,
            address: ([127, 0, 0, 1], u16::try_from(row["port"].as_u64()?).ok()?).into(),
            load_ms: row["load_ms"].as_f64()?,
        })
    });
    found.with_context(|| format!("{model} is not loaded: {answer}"))
}
