//! By which interface a device computes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The interface through which engines use a device; the words of the fit API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Backend {
    /// NVIDIA.
    #[serde(rename = "CUDA")]
    Cuda,
    /// Apple.
    Metal,
    /// AMD.
    #[serde(rename = "ROCm")]
    Rocm,
    /// Intel.
    #[serde(rename = "SYCL")]
    Sycl,
    /// Any vendor's, where nothing better is known.
    Vulkan,
    /// Huawei.
    Ascend,
    /// No accelerator: x86-64 cores.
    #[serde(rename = "CPU (x86)")]
    CpuX86,
    /// No accelerator: 64-bit ARM cores.
    #[serde(rename = "CPU (ARM)")]
    CpuArm,
}

impl Backend {
    /// Its name in the fit API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cuda => "CUDA",
            Self::Metal => "Metal",
            Self::Rocm => "ROCm",
            Self::Sycl => "SYCL",
            Self::Vulkan => "Vulkan",
            Self::Ascend => "Ascend",
            Self::CpuX86 => "CPU (x86)",
            Self::CpuArm => "CPU (ARM)",
        }
    }

    /// Whether it is the CPU itself.
    pub const fn is_cpu(self) -> bool {
        matches!(self, Self::CpuX86 | Self::CpuArm)
    }

    /// The backend of this machine's CPU.
    pub const fn of_this_cpu() -> Self {
        if cfg!(target_arch = "aarch64") { Self::CpuArm } else { Self::CpuX86 }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
