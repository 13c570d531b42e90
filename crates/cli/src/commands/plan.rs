//! `snug plan`: what a model needs, how it could be run here, what would help.

use api::{PlanAnswer, PlanPath, PlanRequest};

use crate::advice::Advice;
use crate::args::PlanArgs;
use crate::failure::Failure;
use crate::printer::Printer;

/// Prints the plan.
pub(crate) async fn run(args: &PlanArgs, model: String, advice: &Advice, printer: &Printer) -> Result<(), Failure> {
    let request = PlanRequest {
        model,
        context: args.context,
        quant: args.quant.clone(),
        kv_quant: args.kv_quant.clone(),
        target_tps: args.target_tps,
        slots: args.slots,
        ..PlanRequest::default()
    };
    let plan = advice.plan(&request).await?;
    Ok(printer.data(&plan, || text(&plan))?)
}

fn text(plan: &PlanAnswer) -> String {
    let PlanAnswer { model, context, quant, kv_quant, slots, .. } = plan;
    let mut text = format!("{model} as {quant}, {slots} x {context} tokens of context, {kv_quant} cache\n");
    text.push_str(match (&plan.here, plan.feasible) {
        (Some(_), true) => "  It runs here.\n",
        (Some(_), false) => "  It runs here, slower than wanted.\n",
        (None, _) => "  It does not run here.\n",
    });
    for path in &plan.paths {
        text.push_str(&line(path));
    }
    let hardware = &plan.hardware;
    text.push_str(&format!(
        "  needs       {:.1} GiB of accelerator memory, or {:.1} GiB of RAM",
        hardware.vram_gb, hardware.ram_gb
    ));
    if let Some(bandwidth) = hardware.bandwidth_gbps {
        text.push_str(&format!("; {bandwidth:.0} GB/s for the speed that is wanted"));
    }
    text.push('\n');
    if !hardware.accelerators.is_empty() {
        text.push_str(&format!("  such as     {}\n", hardware.accelerators.join(", ")));
    }
    if !plan.would_leave.is_empty() {
        text.push_str(&format!("  would leave {}\n", plan.would_leave.join(", ")));
    }
    for suggestion in &plan.suggestions {
        text.push_str(&format!("  would help  {suggestion}\n"));
    }
    text
}

fn line(path: &PlanPath) -> String {
    let PlanPath { run_mode, fit_level, vram_gb, ram_gb, estimated_tps, missing, .. } = path;
    let speed = estimated_tps.map(|speed| format!(", about {speed:.1} tok/s")).unwrap_or_default();
    let outcome = missing.clone().unwrap_or_else(|| format!("{}{speed}", fit_level.replace('_', " ")));
    format!("  {run_mode:<12}{vram_gb:.1} GiB VRAM + {ram_gb:.1} GiB RAM: {outcome}\n")
}
