//! What the estimator must know of a machine. Who finds that out is not its business.

use types::{Backend, ByteCount, DeviceName};

/// A machine as the estimator sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// System memory that models may use.
    pub ram: ByteCount,
    /// The processor.
    pub cpu: Cpu,
    /// Accelerators in the order in which engines list them.
    pub accelerators: Vec<Accelerator>,
}

/// The processor, with the memory it reads from.
#[derive(Clone, Debug, PartialEq)]
pub struct Cpu {
    /// [`Backend::CpuX86`] or [`Backend::CpuArm`].
    pub backend: Backend,
    /// Cores that engines may use.
    pub cores: u32,
    /// What it reads from memory, bytes/s, all cores together.
    pub bandwidth: f64,
}

/// One accelerator.
#[derive(Clone, Debug, PartialEq)]
pub struct Accelerator {
    /// The engine's name for it.
    pub device: DeviceName,
    /// How engines use it.
    pub backend: Backend,
    /// Memory that models may use. Where `unified`, it is a part of [`Machine::ram`], not beside it.
    pub memory: ByteCount,
    /// Whether its memory is the system's.
    pub unified: bool,
    /// What it reads from its memory, bytes/s by its vendor; `None` where the part is not known.
    pub bandwidth: Option<f64>,
    /// Dense 16-bit matrix FLOP/s by its vendor; `None` where the part is not known.
    pub flops: Option<f64>,
    /// Bytes/s between its memory and the system's; `None` where not known.
    pub link: Option<f64>,
}
