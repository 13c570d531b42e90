//! Running programs: what they use, and their end.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::load;

/// The request that a program answers well as soon as it serves.
const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nhost: bench\r\n\r\n";

/// How often a program that starts is asked: as close as it gets without taking the processor from it.
const POLL: Duration = Duration::from_millis(1);

/// A program takes no longer than this to start, nor to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A child that serves; it ends with this value.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// From its start to its first good answer.
    pub(crate) started_in: Duration,
}

impl Server {
    /// Starts a program that was told to listen at `address`, and waits until it answers.
    pub(crate) async fn start(mut command: Command, address: SocketAddr) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
        let mut server = Self { child, address, started_in: Duration::ZERO };
        let child = &mut server.child;
        healthy(address, || Ok(child.try_wait()?.is_some())).await?;
        server.started_in = begun.elapsed();
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    #[expect(clippy::disallowed_methods, reason = "drop cannot await, and between measurements nothing else runs")]
    fn drop(&mut self) {
        // Politely first: killed, it would leave children behind.
        let begun = Instant::now();
        terminate(self.child.id());
        while begun.elapsed() < PATIENCE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(POLL);
        }
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Waits until a program that starts answers well at `address`; fails if it `ended`.
pub(crate) async fn healthy(
    address: SocketAddr,
    mut ended: impl FnMut() -> std::io::Result<bool>,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    while load::ask(address, HEALTH).await.is_err() {
        ensure!(!ended()?, "the program that was to listen at {address} ended");
        ensure!(begun.elapsed() < PATIENCE, "the program that was to listen at {address} does not answer");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Asks a process to end; one that is gone needs no asking.
pub(crate) fn terminate(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _gone = kill_process(pid, Signal::TERM);
    }
}

/// An address that was free a moment ago, for programs that do not tell which one they chose.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Processes whose use of the machine counts as one.
pub(crate) struct Processes(Vec<u32>);

impl Processes {
    pub(crate) fn one(pid: u32) -> Self {
        Self(vec![pid])
    }

    /// A process and its children of now.
    pub(crate) fn family(pid: u32) -> Self {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        Self(children.split_whitespace().filter_map(|child| child.parse().ok()).chain([pid]).collect())
    }

    /// Memory in use, bytes; what several share counts for each.
    pub(crate) fn resident(&self) -> u64 {
        let resident = |pid: &u32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
        };
        self.0.iter().map(resident).sum()
    }

    /// Processor time used so far.
    pub(crate) fn processor_time(&self) -> Duration {
        let threads = self.0.iter().flat_map(|pid| {
            std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().filter_map(Result::ok)
        });
        let nanos = threads.filter_map(|thread| {
            let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }
}
