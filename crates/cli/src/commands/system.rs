//! `snug system`: what this machine has.

use api::{SystemAnswer, SystemInfo};

use crate::advice::Advice;
use crate::failure::Failure;
use crate::printer::Printer;

/// Prints processor, memory and accelerators.
pub(crate) async fn run(advice: &Advice, printer: &Printer) -> Result<(), Failure> {
    let answer = advice.system().await?;
    Ok(printer.data(&answer, || text(&answer))?)
}

pub(super) fn text(answer: &SystemAnswer) -> String {
    let SystemInfo { total_ram_gb, available_ram_gb, cpu_cores, cpu_name, backend, memory_bandwidth_gbps, .. } =
        &answer.system;
    let mut text = format!("{} ({})\n", answer.node.name, answer.node.os);
    text.push_str(&format!("  CPU      {cpu_name}, {cpu_cores} cores\n"));
    let bandwidth = memory_bandwidth_gbps.map(|speed| format!(", reads {speed:.0} GB/s")).unwrap_or_default();
    text.push_str(&format!("  RAM      {total_ram_gb:.1} GiB, {available_ram_gb:.1} GiB available{bandwidth}\n"));
    for gpu in &answer.system.gpus {
        let count = if gpu.count > 1 { format!("{} x ", gpu.count) } else { String::new() };
        let free = gpu.free_vram_gb.map(|free| format!(", {free:.1} GiB free")).unwrap_or_default();
        let bandwidth = gpu.memory_bandwidth_gbps.map(|speed| format!(", {speed:.0} GB/s")).unwrap_or_default();
        let unified = if gpu.unified_memory { " of the system's memory" } else { "" };
        text.push_str(&format!("  GPU      {count}{}, {:.1} GiB{unified}{free}{bandwidth}\n", gpu.name, gpu.vram_gb));
    }
    text.push_str(&format!("  Backend  {backend}\n"));
    for note in &answer.notes {
        text.push_str(&format!("  Note     {note}\n"));
    }
    text
}
