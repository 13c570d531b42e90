//! A process that may be ours by birth or by adoption: who it is, how it is signalled, when it ends.
//!
//! A process id alone names nobody: the kernel gives it to another process one day. Together with the time it was started
//! (and the boot it was started in) it does.

use std::io;
#[cfg(not(target_os = "linux"))]
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use tokio::process::Child;

/// Who a process is, for as long as the machine is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Its id.
    pub(crate) pid: u32,
    /// When it was started, in words that only equal themselves.
    pub(crate) started: String,
}

impl Identity {
    /// Who has this id now; `None` if nobody, or only a dead process that was not yet collected.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, started: start_time(pid)? })
    }

    /// Whether this very process still runs.
    pub(crate) fn is_alive(&self) -> bool {
        start_time(self.pid).as_ref() == Some(&self.started)
    }
}

/// A running process.
#[derive(Debug)]
pub(crate) enum Process {
    /// Our child.
    Child { child: Child, identity: Identity },
    /// An earlier snug's child.
    Adopted { identity: Identity, exit: ExitWatch },
}

/// How a process ended, as far as its parent is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Its exit code; unknown for an adopted one.
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
}

impl Process {
    /// Takes over a running process.
    pub(crate) fn adopt(identity: Identity) -> io::Result<Self> {
        let exit = ExitWatch::new(&identity)?;
        Ok(Self::Adopted { identity, exit })
    }

    pub(crate) fn identity(&self) -> &Identity {
        match self {
            Self::Child { identity, .. } | Self::Adopted { identity, .. } => identity,
        }
    }

    /// Waits until it has ended. Cancel-safe: both ways only wait for a state that stays.
    pub(crate) async fn ended(&mut self) -> Ended {
        use std::os::unix::process::ExitStatusExt;
        match self {
            Self::Child { child, .. } => match child.wait().await {
                Ok(status) => Ended { code: status.code(), signal: status.signal() },
                Err(_) => Ended { code: None, signal: None },
            },
            Self::Adopted { exit, .. } => {
                exit.ended().await;
                Ended { code: None, signal: None }
            }
        }
    }

    /// Signals its whole group. A group that is gone already is no error.
    pub(crate) fn signal(&self, signal: Signal) {
        let identity = self.identity();
        // A child that was not collected yet keeps its id; an adopted one may be gone and its id given away.
        if matches!(self, Self::Adopted { .. }) && !identity.is_alive() {
            return;
        }
        let pid = i32::try_from(identity.pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid
            && let Err(error) = rustix::process::kill_process_group(pid, signal)
            && error != rustix::io::Errno::SRCH
        {
            tracing::warn!(engine.pid = identity.pid, ?signal, %error, "could not signal the engine");
        }
    }
}

/// How often an adopted process is looked at where the system cannot tell of its end.
#[cfg(not(target_os = "linux"))]
const EXIT_POLL: Duration = Duration::from_millis(250);

/// Tells when a process that is not our child has ended.
#[derive(Debug)]
pub(crate) struct ExitWatch {
    #[cfg(target_os = "linux")]
    pidfd: tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>,
    #[cfg(not(target_os = "linux"))]
    identity: Identity,
}

#[cfg(target_os = "linux")]
impl ExitWatch {
    fn new(identity: &Identity) -> io::Result<Self> {
        let pid = i32::try_from(identity.pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::NONBLOCK)?;
        #[expect(deprecated, reason = "what is warned of are types without I/O safety; OwnedFd has it")]
        let watch = Self { pidfd: tokio::io::unix::AsyncFd::with_interest(pidfd, tokio::io::Interest::READABLE)? };
        // The id may have been given away between the record and this line; the descriptor holds whoever has it now.
        if identity.is_alive() { Ok(watch) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    async fn ended(&self) {
        // A pidfd becomes readable when its process ends, and stays so.
        let _readable = self.pidfd.readable().await;
    }
}

#[cfg(not(target_os = "linux"))]
impl ExitWatch {
    fn new(identity: &Identity) -> io::Result<Self> {
        if identity.is_alive() { Ok(Self { identity: identity.clone() }) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    async fn ended(&self) {
        while self.identity.is_alive() {
            tokio::time::sleep(EXIT_POLL).await;
        }
    }
}

/// When a process was started: boot id and clock ticks since boot (`/proc/PID/stat`, field 22; proc(5)).
#[cfg(target_os = "linux")]
fn start_time(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything, also parentheses.
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    let ticks = fields.nth(18)?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{}:{ticks}", boot.trim()))
}

/// When a process was started, by `ps`, to the second.
#[cfg(not(target_os = "linux"))]
fn start_time(pid: u32) -> Option<String> {
    let output =
        std::process::Command::new("ps").args(["-o", "stat=,lstart=", "-p", &pid.to_string()]).output().ok()?;
    let line = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let (state, started) = line.split_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| started.trim().to_owned())
}

/// Resident memory of a process, bytes; only where `/proc` tells.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * u64::try_from(rustix::param::page_size()).ok()?)
}

/// The process whose environment holds `NAME=value`, if the system lets us look: for an engine that was started in
/// the moment before snug was killed, when its id was not written down yet.
pub(crate) fn find_by_environment(name: &str, value: &str) -> Option<Identity> {
    let wanted = format!("{name}={value}");
    let processes = std::fs::read_dir("/proc").ok()?;
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        // What an engine starts inherits its environment; the engine itself leads the group that is signalled.
        .filter(|&pid| leads_its_group(pid))
        .find(|pid| {
            std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environment| environment.split(|&byte| byte == 0).any(|entry| entry == wanted.as_bytes()))
        })
        .and_then(Identity::of)
}

/// By `/proc/PID/stat`, field 5: of a process outside our container the kernel names no group, which `getpgid` takes ill.
fn leads_its_group(pid: u32) -> bool {
    let group = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|stat| {
        let (_, after_name) = stat.rsplit_once(") ")?;
        after_name.split(' ').nth(2)?.parse::<u32>().ok()
    });
    group == Some(pid)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sleeper() -> Child {
        tokio::process::Command::new("sleep").arg("60").process_group(0).kill_on_drop(true).spawn().unwrap()
    }

    #[tokio::test]
    async fn an_adopted_process_is_signalled_and_its_end_is_seen() {
        let mut child = sleeper();
        let identity = Identity::of(child.id().unwrap()).unwrap();
        assert!(identity.is_alive());
        let mut adopted = Process::adopt(identity.clone()).unwrap();
        adopted.signal(Signal::TERM);
        tokio::time::timeout(Duration::from_secs(10), adopted.ended()).await.unwrap();
        child.wait().await.unwrap();
        assert!(!identity.is_alive());
        assert!(Process::adopt(identity).is_err());
    }

    #[tokio::test]
    async fn another_start_time_is_another_process() {
        let me = Identity::of(std::process::id()).unwrap();
        let other = Identity { started: "other".into(), ..me.clone() };
        assert!(me.is_alive());
        assert!(!other.is_alive());
        assert!(Process::adopt(other).is_err());
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn a_process_is_found_by_its_environment() {
        let mark = format!("mark-{}", std::process::id());
        let mut child = tokio::process::Command::new("sleep")
            .arg("60")
            .env("SNUG_TEST_MARK", &mark)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        // The kernel lets a parent go on a moment before the child's new environment can be seen.
        let found = async {
            loop {
                match find_by_environment("SNUG_TEST_MARK", &mark) {
                    Some(identity) => return identity.pid,
                    None => tokio::task::yield_now().await,
                }
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(10), found).await.unwrap();
        assert_eq!(Some(found), child.id());
        assert_eq!(find_by_environment("SNUG_TEST_MARK", "nobody"), None);
        child.kill().await.unwrap();
    }
}
