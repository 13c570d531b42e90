//! NVIDIA's own library, loaded when it is there, and its answer as plain values. What the answer means is the caller's
//! business.

use std::ffi::OsStr;
use std::sync::{Mutex, TryLockError};

use nvml_wrapper::error::NvmlError;
use serde::{Deserialize, Serialize};

/// Where the library is: its lasting name, for the unversioned one comes with development packages only; then where
/// Windows puts it for its Linux subsystem.
const LIBRARIES: [&str; 2] = ["libnvidia-ml.so.1", "/usr/lib/wsl/lib/libnvidia-ml.so.1"];

/// More devices than a machine has.
const DEVICES_MAX: u32 = 256;

/// Something that answers as the library does.
pub(crate) trait Nvml: Send + Sync {
    /// All it knows, now. Blocks.
    fn ask(&self) -> Result<Answer, Absent>;
}

/// What the library says of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    #[serde(default)]
    pub(crate) driver: Option<String>,
    pub(crate) devices: Vec<Device>,
}

/// One card, or one slice of a card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Device {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) uuid: Option<String>,
    /// `00000000:01:00.0`.
    #[serde(default)]
    pub(crate) bus_id: Option<String>,
    /// Device and vendor: `0x268410de`.
    #[serde(default)]
    pub(crate) pci_device_id: Option<u32>,
    #[serde(default)]
    pub(crate) memory: Memory,
    #[serde(default)]
    pub(crate) compute_capability: Option<(i32, i32)>,
    /// The best PCI Express generation and width that card and slot can do.
    #[serde(default)]
    pub(crate) link: Option<(u32, u32)>,
    /// Of the last moments, the share in which it was at work, percent.
    #[serde(default)]
    pub(crate) busy_percent: Option<u32>,
    /// Its slices, where it is cut into some.
    #[serde(default)]
    pub(crate) mig: Option<Vec<Device>>,
    /// Why it did not answer at all.
    #[serde(default)]
    pub(crate) error: Option<String>,
}

/// A device's own memory, bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Memory {
    /// It has its own.
    Own { total: u64, used: Option<u64>, free: Option<u64> },
    /// It has none: it computes out of the system's.
    NotSupported,
    /// The library would not say.
    #[default]
    Unknown,
}

/// Why the library does not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Absent {
    #[error("NVIDIA's library libnvidia-ml.so.1 is not installed")]
    Library,
    #[error("NVIDIA's library does not answer: {0}")]
    Silent(String),
}

/// The real one. It stays loaded once it has answered.
#[derive(Default)]
pub(crate) struct Library {
    loaded: Mutex<Option<nvml_wrapper::Nvml>>,
}

impl Nvml for Library {
    fn ask(&self) -> Result<Answer, Absent> {
        let mut loaded = match self.loaded.try_lock() {
            Ok(loaded) => loaded,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(Absent::Silent("an earlier question hangs".to_owned())),
        };
        let library = match loaded.take() {
            Some(library) => library,
            None => load()?,
        };
        let answer = answer(&library).map_err(|error| Absent::Silent(error.to_string()))?;
        // Kept only if it answered: a driver that was replaced meanwhile needs it to be loaded anew.
        *loaded = Some(library);
        Ok(answer)
    }
}

fn load() -> Result<nvml_wrapper::Nvml, Absent> {
    let mut silent = None;
    for path in LIBRARIES {
        match nvml_wrapper::Nvml::builder().lib_path(OsStr::new(path)).init() {
            Ok(library) => return Ok(library),
            Err(NvmlError::LibloadingError(_)) => {}
            Err(error) => silent = silent.or(Some(error.to_string())),
        }
    }
    Err(silent.map_or(Absent::Library, Absent::Silent))
}

fn answer(library: &nvml_wrapper::Nvml) -> Result<Answer, NvmlError> {
    let count = library.device_count()?.min(DEVICES_MAX);
    let devices = (0..count).map(|index| match library.device_by_index(index) {
        Ok(handle) => {
            let mut card = device(&handle);
            let is_cut = handle.mig_mode().is_ok_and(|mode| mode.current != 0);
            card.mig = is_cut.then(|| {
                let places = handle.mig_device_count().unwrap_or(0).min(DEVICES_MAX);
                // Places without a slice answer `NotFound`.
                (0..places).filter_map(|place| handle.mig_device_by_index(place).ok()).map(|one| device(&one)).collect()
            });
            card
        }
        Err(error) => Device { error: Some(error.to_string()), ..Device::default() },
    });
    Ok(Answer { driver: library.sys_driver_version().ok(), devices: devices.collect() })
}

fn device(handle: &nvml_wrapper::Device<'_>) -> Device {
    let pci = handle.pci_info().ok();
    Device {
        name: handle.name().unwrap_or_default(),
        uuid: handle.uuid().ok(),
        bus_id: pci.as_ref().map(|pci| pci.bus_id.clone()),
        pci_device_id: pci.map(|pci| pci.pci_device_id),
        memory: match handle.memory_info() {
            Ok(memory) => Memory::Own { total: memory.total, used: Some(memory.used), free: Some(memory.free) },
            Err(NvmlError::NotSupported) => Memory::NotSupported,
            Err(_) => Memory::Unknown,
        },
        compute_capability: handle.cuda_compute_capability().ok().map(|version| (version.major, version.minor)),
        link: handle.max_pcie_link_gen().ok().zip(handle.max_pcie_link_width().ok()),
        busy_percent: handle.utilization_rates().ok().map(|rates| rates.gpu),
        mig: None,
        error: None,
    }
}
