//! The programs that are measured: upstream, nginx, snug. Each runs as a child and ends with its handle.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::load;

/// A child that listens.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// From its start to its first good answer.
    pub(crate) started_in: Duration,
}

/// What is built for the measurement.
pub(crate) struct Programs {
    upstream: PathBuf,
    gateway: PathBuf,
    threads: usize,
}

impl Programs {
    /// Builds them, optimised. nginx and snug get this many threads each.
    pub(crate) fn build(threads: usize) -> anyhow::Result<Self> {
        Ok(Self {
            threads,
            upstream: build(&["--package", "testkit", "--bin", "fake-llama-server"])?,
            gateway: build(&["--package", "gateway", "--example", "fixed"])?,
        })
    }

    /// The engine that all are in front of.
    pub(crate) async fn upstream(&self, folder: &Path) -> anyhow::Result<Server> {
        let model = folder.join("bench.gguf");
        std::fs::write(&model, "GGUF")?;
        let mut command = Command::new(&self.upstream);
        command.args(["--port", "0", "--fake-tokens", "4000", "--model"]).arg(model);
        Server::start_and_ask(command, b"GET /health HTTP/1.1\r\nhost: bench\r\n\r\n").await
    }

    /// The gateway in front of it.
    ///
    /// The gateway by itself, in front of an engine that runs already. To measure the whole server, start `snug serve`
    /// here with `fake-llama-server` as its engine (flags for the engine go into `MODEL.gguf.fake`), and ask `/health`.
    pub(crate) async fn snug(&self, upstream: SocketAddr) -> anyhow::Result<Server> {
        let mut command = Command::new(&self.gateway);
        command.arg(upstream.to_string()).arg(self.threads.to_string());
        Server::start_and_ask(command, b"GET /v1/models HTTP/1.1\r\nhost: bench\r\n\r\n").await
    }

    /// nginx in front of it, with what one would switch on for this use.
    pub(crate) async fn nginx(&self, upstream: SocketAddr, folder: &Path) -> anyhow::Result<Server> {
        let folder = folder.join("nginx");
        std::fs::create_dir(&folder)?;
        // nginx may run as another user than we do.
        for folder in [folder.as_path(), folder.parent().unwrap_or(&folder)] {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777))?;
        }
        let address = free_address()?;
        let workers = self.threads;
        let prefix = folder.display();
        let config = format!(
            "daemon off; worker_processes {workers}; pid {prefix}/pid; error_log {prefix}/error.log;
            events {{ worker_connections 4096; }}
            http {{
                access_log off; tcp_nodelay on; keepalive_requests 1000000000; client_max_body_size 64m;
                client_body_buffer_size 1m;
                client_body_temp_path {prefix}/body; proxy_temp_path {prefix}/proxy; fastcgi_temp_path {prefix}/fastcgi;
                uwsgi_temp_path {prefix}/uwsgi; scgi_temp_path {prefix}/scgi;
                upstream engine {{ server {upstream}; keepalive 128; keepalive_requests 1000000000; }}
                server {{
                    listen {address};
                    location / {{
                        proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection \"\";
                        proxy_buffering off; proxy_read_timeout 600s;
                    }}
                }}
            }}"
        );
        let file = folder.join("nginx.conf");
        std::fs::write(&file, config)?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&folder).arg("-c").arg(&file).arg("-e").arg(folder.join("error.log"));
        const NOBODY: u32 = 65534;
        if std::fs::metadata("/proc/self")?.uid() == 0 {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.stderr(Stdio::null());
        let begun = Instant::now();
        let child = command.spawn().context("nginx: is it installed?")?;
        let mut server = Server { child, address, started_in: Duration::ZERO };
        server.ask_until_well(begun, b"GET /health HTTP/1.1\r\nhost: bench\r\n\r\n").await?;
        Ok(server)
    }
}

impl Server {
    /// Starts a program that says `listening on http://…` on stderr.
    async fn start_and_ask(mut command: Command, request: &[u8]) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let mut child = command.stderr(Stdio::piped()).spawn().with_context(|| format!("{command:?}"))?;
        let mut lines = BufReader::new(child.stderr.take().expect("asked for above")).lines().map_while(Result::ok);
        let address = lines.find_map(|line| line.split_once("listening on http://")?.1.trim().parse().ok());
        // Read on: a full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        let mut server = Self { child, address: ([127, 0, 0, 1], 0).into(), started_in: Duration::ZERO };
        server.address = address.with_context(|| format!("{command:?} never listened"))?;
        server.ask_until_well(begun, request).await?;
        Ok(server)
    }

    async fn ask_until_well(&mut self, begun: Instant, request: &[u8]) -> anyhow::Result<()> {
        while !load::answers(self.address, request).await {
            ensure!(self.child.try_wait()?.is_none(), "the server at {} ended", self.address);
            ensure!(begun.elapsed() < Duration::from_secs(10), "the server at {} does not answer", self.address);
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        self.started_in = begun.elapsed();
        Ok(())
    }

    /// Memory in use, bytes, its children's included.
    pub(crate) fn resident(&self) -> u64 {
        let resident = |pid: &u32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
        };
        self.family().iter().map(resident).sum()
    }

    /// Processor time used so far, its children's included.
    pub(crate) fn processor_time(&self) -> Duration {
        let threads = self.family().into_iter().flat_map(|pid| {
            std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().filter_map(Result::ok)
        });
        let nanos = threads.filter_map(|thread| {
            let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    fn family(&self) -> Vec<u32> {
        let pid = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().filter_map(|child| child.parse().ok()).chain([pid]).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // TERM first: a killed master would leave its workers behind.
        let asked = Command::new("kill").arg(self.child.id().to_string()).status();
        let begun = Instant::now();
        while asked.is_ok() && begun.elapsed() < Duration::from_secs(2) {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn build(what: &[&str]) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--release", "--message-format", "json-render-diagnostics"])
        .args(what)
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "cargo build {what:?} failed");
    let messages = output.stdout.split(|byte| *byte == b'\n');
    let mut messages = messages.filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
    let program = messages.find_map(|message| message["executable"].as_str().map(PathBuf::from));
    program.context("cargo names the program it built")
}

/// An address that was free a moment ago, for programs that cannot choose one themselves.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
