//! A machine as this crate tells it: plain values, no way to read them.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use types::{Backend, ByteCount};

use crate::Ram;
use crate::parts::Part;
use crate::probe::Record;

/// A machine: this one, or a simulated one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct System {
    /// Its name, for people.
    pub node_name: String,
    /// `linux`, `macos`; what the fit API calls `node.os`.
    pub os: String,
    /// The processor.
    pub cpu: Cpu,
    /// System memory, as this process may use it; all zero if it could not be read, and then a note says so.
    pub ram: Ram,
    /// What computes besides the processor, by vendor, then in the order of the bus.
    pub accelerators: Vec<Accelerator>,
    /// What could not be read, and what a person can do about it.
    pub notes: Vec<Note>,
    /// Whether somebody made this machine up (a name, a file, an override of its accelerators).
    pub simulated: bool,
    /// What the doors answered, for `snug doctor`; empty for a simulated machine.
    #[serde(skip)]
    pub records: Arc<[Record]>,
}

impl System {
    /// The accelerators that count when one is asked for: the kind (name, size) with the most memory in all.
    pub fn primary(&self) -> Vec<&Accelerator> {
        let of_kind = |one: &Accelerator| -> Vec<&Accelerator> {
            self.accelerators.iter().filter(|other| other.is_same_kind(one)).collect()
        };
        let total = |kind: &Vec<&Accelerator>| kind.iter().map(|one| one.memory).sum::<ByteCount>();
        // `max_by_key` takes the last of equals; the first listed should win.
        self.accelerators.iter().rev().map(of_kind).max_by_key(total).unwrap_or_default()
    }

    /// By what engines would compute here: the primary accelerator's interface, or the processor's.
    pub fn backend(&self) -> Backend {
        self.primary().first().map_or(self.cpu.backend, |accelerator| accelerator.backend)
    }
}

/// The processor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cpu {
    /// Its name as its vendor writes it; `unknown` if it does not tell.
    pub name: String,
    /// [`Backend::CpuX86`] or [`Backend::CpuArm`].
    pub backend: Backend,
    /// Logical cores that this process may use: its affinity (cpuset) and its cgroup's quota, rounded up, counted. At
    /// least one.
    pub cores: u32,
    /// Physical cores among them. At most `cores`.
    pub cores_physical: u32,
    /// What all cores together read from memory, bytes/s, as measured by [`crate::bandwidth`], `None` before that; of a
    /// simulated machine, as described or usual.
    pub bandwidth: Option<f64>,
    /// Which share of the time, 0 to 1, all cores of the machine together were at work between the last two looks; `None`
    /// before the second, and where the system does not tell.
    pub busy: Option<f64>,
}

/// One device that computes besides the processor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Accelerator {
    /// Its name as its vendor or driver writes it.
    pub name: String,
    /// Who made it.
    pub vendor: Vendor,
    /// How engines use it.
    pub backend: Backend,
    /// What its driver lets programs use: its own memory, or, where `unified`, the part of the system's that it may take.
    pub memory: ByteCount,
    /// What all programs use of its own memory now; `None` where the driver does not say, or where it has none.
    pub used: Option<ByteCount>,
    /// What could be had of `memory` now; `None` where the driver does not say.
    pub free: Option<ByteCount>,
    /// Which share of the time, 0 to 1, it was at work lately; `None` where the driver does not say.
    pub busy: Option<f64>,
    /// Whether it computes out of the system's memory.
    pub unified: bool,
    /// The part of `memory` that firmware keeps for the device, and that [`System::ram`] therefore does not count.
    /// All of `memory` for a card with its own; for a unified one zero, unless its carve-out is what it uses.
    pub reserved: ByteCount,
    /// Its profile (`1g.10gb`), where it is a slice (MIG) of a card. A process can use one slice only.
    pub mig: Option<String>,
    /// Vendor and device on the PCI bus.
    pub pci_id: Option<PciId>,
    /// Where it is on the PCI bus: `0000:01:00.0`.
    pub address: Option<String>,
    /// The driver's lasting name for it.
    pub uuid: Option<String>,
    /// Version of its driver.
    pub driver: Option<String>,
    /// What its cores can do, as its vendor counts: `8.9` (NVIDIA's compute capability), `gfx1100` (AMD's target).
    pub compute_capability: Option<String>,
    /// The best its PCI Express link can do.
    pub link: Option<Link>,
    /// Which door told of it.
    pub source: Source,
    /// What its maker says of it; `None` where the table of parts does not know it.
    #[serde(skip)]
    pub part: Option<&'static Part>,
}

impl Accelerator {
    /// One of which nothing but the least is known; the doors fill in the rest.
    pub(crate) fn new(name: impl Into<String>, vendor: Vendor, memory: ByteCount, source: Source) -> Self {
        Self {
            name: name.into(),
            vendor,
            backend: vendor.backend(),
            memory,
            used: None,
            free: None,
            busy: None,
            unified: false,
            reserved: memory,
            mig: None,
            pci_id: None,
            address: None,
            uuid: None,
            driver: None,
            compute_capability: None,
            link: None,
            source,
            part: None,
        }
    }

    /// The same, computing out of the system's memory.
    pub(crate) fn unified(mut self, ram: Ram) -> Self {
        self.unified = true;
        self.reserved = ByteCount::ZERO;
        self.free = Some(self.memory.min(ram.available));
        self
    }

    /// What it reads from its memory by its maker's figures, bytes/s; of a slice, as much of it as it has of the card's memory.
    /// `None` where the part is not known.
    pub fn bandwidth(&self) -> Option<f64> {
        let part = self.part?;
        let share = match (&self.mig, &part.memory[..]) {
            (Some(_), [card, ..]) => as_f64(self.memory) / as_f64(*card),
            _ => 1.0,
        };
        Some(part.bandwidth * share.min(1.0))
    }

    /// Its dense 16-bit FLOP/s by its maker's figures; of a slice, as many sevenths of the card's as its profile has (`3g`).
    /// `None` where the part is not known.
    pub fn flops(&self) -> Option<f64> {
        let sevenths = self.mig.as_ref().and_then(|profile| profile.split_once('g')?.0.parse::<u8>().ok());
        let share = sevenths.map_or(1.0, |sevenths| f64::from(sevenths.min(7)) / 7.0);
        Some(self.part?.fp16 * share)
    }

    /// Whether the two are interchangeable: of one name, size and interface.
    pub fn is_same_kind(&self, other: &Self) -> bool {
        self.name == other.name && self.memory == other.memory && self.backend == other.backend
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes of memory are far below 2^53")]
fn as_f64(memory: ByteCount) -> f64 {
    memory.as_u64() as f64
}

/// Who made a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Vendor {
    /// NVIDIA.
    Nvidia,
    /// AMD.
    Amd,
    /// Intel.
    Intel,
    /// Apple.
    Apple,
    /// Huawei, whose accelerators are called Ascend.
    Huawei,
    /// Somebody else.
    Other,
}

impl Vendor {
    /// Its number on the PCI bus.
    pub const fn pci(self) -> Option<u16> {
        match self {
            Self::Nvidia => Some(0x10de),
            Self::Amd => Some(0x1002),
            Self::Intel => Some(0x8086),
            Self::Apple => Some(0x106b),
            Self::Huawei => Some(0x19e5),
            Self::Other => None,
        }
    }

    /// Who has this number on the PCI bus.
    pub fn of_pci(vendor: u16) -> Self {
        let all = [Self::Nvidia, Self::Amd, Self::Intel, Self::Apple, Self::Huawei];
        all.into_iter().find(|one| one.pci() == Some(vendor)).unwrap_or(Self::Other)
    }

    /// The interface that engines use on its devices, if nothing speaks against it.
    pub const fn backend(self) -> Backend {
        match self {
            Self::Nvidia => Backend::Cuda,
            Self::Amd => Backend::Rocm,
            Self::Intel => Backend::Sycl,
            Self::Apple => Backend::Metal,
            Self::Huawei => Backend::Ascend,
            Self::Other => Backend::Vulkan,
        }
    }

    /// Its name, for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nvidia => "NVIDIA",
            Self::Amd => "AMD",
            Self::Intel => "Intel",
            Self::Apple => "Apple",
            Self::Huawei => "Huawei",
            Self::Other => "unknown vendor",
        }
    }
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A device's vendor and model on the PCI bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct PciId {
    /// Who made it: `0x10de` is NVIDIA.
    pub vendor: u16,
    /// What it is: `0x2684` is the RTX 4090.
    pub device: u16,
}

impl fmt::Display for PciId {
    /// `10de:2684`, as `lspci -n` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.device)
    }
}

/// A PCI Express link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// 1 to 7.
    pub generation: u32,
    /// Lanes, 1 to 32.
    pub width: u32,
}

impl Link {
    /// What it carries each way, bytes/s, after line coding: PCI-SIG's transfer rates (2.5, 5, 8, 16, 32, 64 and 128 GT/s per
    /// lane) at 8b/10b up to generation 2, 128b/130b up to 5, and whole FLITs (242 of 256 bytes) from 6 on.
    pub fn bandwidth(self) -> f64 {
        let (gigatransfers, coding) = match self.generation {
            0 | 1 => (2.5, 0.8),
            2 => (5.0, 0.8),
            3 => (8.0, 128.0 / 130.0),
            4 => (16.0, 128.0 / 130.0),
            5 => (32.0, 128.0 / 130.0),
            6 => (64.0, 242.0 / 256.0),
            _ => (128.0, 242.0 / 256.0),
        };
        gigatransfers * 1e9 / 8.0 * coding * f64::from(self.width)
    }
}

/// The door through which something was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// NVIDIA's library, `libnvidia-ml`.
    Nvml,
    /// The program `nvidia-smi`.
    NvidiaSmi,
    /// The kernel's files below `/sys` and `/proc`.
    Sysfs,
    /// The program `system_profiler`.
    SystemProfiler,
    /// The program `npu-smi`.
    NpuSmi,
    /// The program `vulkaninfo`.
    Vulkaninfo,
    /// Somebody said so: a simulated machine, an override.
    Simulated,
}

impl Source {
    /// Its name, for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nvml => "NVML",
            Self::NvidiaSmi => "nvidia-smi",
            Self::Sysfs => "sysfs",
            Self::SystemProfiler => "system_profiler",
            Self::NpuSmi => "npu-smi",
            Self::Vulkaninfo => "vulkaninfo",
            Self::Simulated => "simulated",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Something that could not be read, or that a reader would wonder about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// What it is about: a device, a program, `RAM`.
    pub about: String,
    /// What is so, and why.
    pub text: String,
    /// What the person can do; empty if nothing needs doing.
    pub hint: String,
}

impl Note {
    pub(crate) fn new(about: impl Into<String>, text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { about: about.into(), text: text.into(), hint: hint.into() }
    }
}

impl fmt::Display for Note {
    /// `NVIDIA: the driver does not answer; restart the machine`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.about, self.text)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "; {}", self.hint) }
    }
}
