//! From what was detected to what the estimator reckons with, and to what the fit API shows.

use api::{GpuInfo, SystemInfo};
use fit::{Accelerator, Cpu, Machine};
use hardware::System;
use hardware::parts;
use types::{Backend, ByteCount, DeviceName, MemoryUse};

/// Reads of system memory that any machine manages, bytes/s: one channel of DDR4-2400. Reckoned with where nothing was
/// measured and the processor's name says nothing.
const BANDWIDTH_LEAST: f64 = 19.2e9;

/// The machine as the estimator sees it, with nothing of ours loaded: `held` is what our models hold now.
pub fn machine(system: &System, held: &MemoryUse) -> Machine {
    let accelerators = usable(system);
    // What firmware keeps for a unified accelerator is beside the RAM that the system counts, and as good.
    let reserved: ByteCount = accelerators.iter().filter(|found| found.unified).map(|found| found.reserved).sum();
    let ram = system.ram.for_models(held.on(&DeviceName::cpu())) + reserved;
    let accelerators = accelerators.iter().enumerate().map(|(index, found)| {
        let device = device_name(found.backend, index);
        let free = found.free.map_or(found.memory, |free| (free + held.on(&device)).min(found.memory));
        Accelerator {
            backend: found.backend,
            memory: if found.unified { free.min(ram) } else { free },
            unified: found.unified,
            bandwidth: found.bandwidth(),
            flops: found.flops(),
            link: found.link.map(|link| link.bandwidth()),
            device,
        }
    });
    Machine { ram, cpu: cpu(system), accelerators: accelerators.collect() }
}

/// What the fit API shows of it.
pub fn system_info(system: &System) -> SystemInfo {
    let accelerators = usable(system);
    let mut gpus: Vec<GpuInfo> = vec![];
    for found in &accelerators {
        let free = found.free.map(gib);
        let row = GpuInfo {
            name: found.name.clone(),
            vram_gb: gib(found.memory),
            count: 1,
            unified_memory: found.unified,
            backend: found.backend.as_str().to_owned(),
            free_vram_gb: free,
            memory_bandwidth_gbps: found.bandwidth().map(|bandwidth| round(bandwidth / 1e9, 1)),
        };
        match gpus.iter_mut().find(|other| other.name == row.name && (other.vram_gb - row.vram_gb).abs() < 0.01) {
            Some(same) => {
                same.count += 1;
                same.free_vram_gb = same.free_vram_gb.zip(free).map(|(a, b)| round(a + b, 2));
            }
            None => gpus.push(row),
        }
    }
    let any = !accelerators.is_empty();
    let total: ByteCount = accelerators.iter().map(|found| found.memory).sum();
    let free: Option<ByteCount> = accelerators.iter().map(|found| found.free).sum();
    SystemInfo {
        total_ram_gb: gib(system.ram.total),
        available_ram_gb: gib(system.ram.available),
        cpu_cores: system.cpu.cores,
        cpu_name: system.cpu.name.clone(),
        has_gpu: any,
        gpu_vram_gb: any.then(|| gib(total)),
        gpu_available_gb: free.filter(|_| any).map(gib),
        gpu_name: accelerators.first().map(|found| found.name.clone()),
        gpu_count: u32::try_from(accelerators.len()).unwrap_or(u32::MAX),
        unified_memory: accelerators.iter().any(|found| found.unified),
        backend: system.backend().as_str().to_owned(),
        gpus,
        memory_bandwidth_gbps: system.cpu.bandwidth.map(|bandwidth| round(bandwidth / 1e9, 1)),
        simulated: system.simulated,
    }
}

/// GiB with two decimals.
pub fn gib(bytes: ByteCount) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "rounded to two decimals of a GiB")]
    round(bytes.as_u64() as f64 / f64::from(1 << 30), 2)
}

/// With so many decimals.
pub(crate) fn round(value: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    (value * scale).round() / scale
}

/// Accelerators that one engine uses together: those of the primary one's interface.
fn usable(system: &System) -> Vec<&hardware::Accelerator> {
    let backend = system.backend();
    let first = system.primary();
    let others = system.accelerators.iter().filter(|found| found.backend == backend);
    let is_first = |found: &&hardware::Accelerator| first.iter().any(|one| std::ptr::eq(*one, *found));
    let mut usable: Vec<&hardware::Accelerator> = first.clone();
    usable.extend(others.filter(|found| !is_first(found)));
    usable
}

fn cpu(system: &System) -> Cpu {
    let known = parts::cpu_bandwidth_by_name(&system.cpu.name).map(|memory| memory.bandwidth);
    Cpu {
        backend: system.cpu.backend,
        cores: system.cpu.cores,
        bandwidth: system.cpu.bandwidth.or(known).unwrap_or(BANDWIDTH_LEAST),
    }
}

/// The name llama.cpp gives a device.
fn device_name(backend: Backend, index: usize) -> DeviceName {
    let kind = match backend {
        Backend::Cuda => "CUDA",
        Backend::Metal => "MTL",
        Backend::Rocm => "ROCm",
        Backend::Sycl => "SYCL",
        Backend::Vulkan => "Vulkan",
        Backend::Ascend => "CANN",
        Backend::CpuX86 | Backend::CpuArm => "CPU",
    };
    DeviceName::new(format!("{kind}{index}"))
}
