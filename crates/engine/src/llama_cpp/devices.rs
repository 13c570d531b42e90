//! Which accelerators this build of `llama-server` sees, by its own word.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use types::{ByteCount, DeviceName};

/// Drivers can hang; what has not answered by then has no devices for us.
const TIMEOUT: Duration = Duration::from_secs(20);

/// One accelerator as the engine lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedDevice {
    /// The engine's name for it: `CUDA0`.
    pub name: DeviceName,
    /// The maker's name for it.
    pub description: String,
    /// Its memory.
    pub total: ByteCount,
    /// What of it was free when asked.
    pub free: ByteCount,
}

/// Asks `llama-server --list-devices`. An engine that cannot say has none; why is logged.
pub async fn list_devices(program: &Path) -> Vec<ListedDevice> {
    let mut command = tokio::process::Command::new(program);
    command.arg("--list-devices").stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(TIMEOUT, command.output()).await {
        Ok(Ok(output)) => {
            let text = [output.stdout, output.stderr].concat();
            parse(&String::from_utf8_lossy(&text))
        }
        Ok(Err(error)) => {
            tracing::warn!(engine.program = %program.display(), %error, "could not ask the engine for its devices");
            Vec::new()
        }
        Err(_) => {
            tracing::warn!(engine.program = %program.display(), "the engine did not list its devices in time");
            Vec::new()
        }
    }
}

/// `  CUDA0: NVIDIA H200 (143771 MiB, 143000 MiB free)`
fn parse(output: &str) -> Vec<ListedDevice> {
    output.lines().skip_while(|line| !line.starts_with("Available devices")).skip(1).filter_map(device).collect()
}

fn device(line: &str) -> Option<ListedDevice> {
    let (name, rest) = line.trim().split_once(": ")?;
    let (description, memory) = rest.rsplit_once(" (")?;
    let (total, free) = memory.strip_suffix(" MiB free)")?.split_once(" MiB, ")?;
    let mib = |text: &str| text.trim().parse().ok().map(ByteCount::mib);
    Some(ListedDevice {
        name: DeviceName::new(name),
        description: description.to_owned(),
        total: mib(total)?,
        free: mib(free)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_list() {
        assert_eq!(parse("Available devices:\n  (none)\n"), []);
        let found = parse(
            "ggml_cuda_init: found 1 CUDA devices\nAvailable devices:\n  CUDA0: NVIDIA H200 (SXM) (143771 MiB, 143000 MiB free)\n",
        );
        let expected = ListedDevice {
            name: DeviceName::new("CUDA0"),
            description: "NVIDIA H200 (SXM)".into(),
            total: ByteCount::mib(143_771),
            free: ByteCount::mib(143_000),
        };
        assert_eq!(found, [expected]);
    }
}
