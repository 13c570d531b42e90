//! How a model would be started here and what it would hold: settings and machine through `fit`, corrected by what was
//! measured.

use std::collections::BTreeMap;

use types::{ByteCount, DeviceName, FailureClass, LoadFailure, MemoryUse, Mode};

use crate::demand::Pending;
use crate::library::Model;
use crate::measurements::{Measurements, Start};

/// Context of a model whose file we cannot read and for which nobody asked for one.
const CONTEXT_UNREAD: u64 = 2048;

/// How a model would be started.
pub(crate) struct Sized {
    pub(crate) spec: engine::Spec,
    /// What it will hold.
    pub(crate) need: MemoryUse,
    /// Whether all of it that could be on accelerators is; true where there are none.
    pub(crate) whole: bool,
}

/// Decides how a pending load is started on a machine of this capacity, and what it will hold.
pub(crate) fn size_up(
    pending: &mut Pending,
    capacity: &BTreeMap<DeviceName, ByteCount>,
    context_max: Option<u64>,
    measurements: &Measurements,
) -> Result<(), LoadFailure> {
    let sized = size(&pending.model, pending.context_requested, capacity, context_max, measurements);
    let sized = sized.map_err(|misfit| pending.failure(misfit.class, misfit.message))?;
    pending.spec = sized.spec;
    pending.need = sized.need;
    Ok(())
}

/// The same for a model that nobody waits for yet.
pub(crate) fn size(
    model: &Model,
    context: Option<u64>,
    capacity: &BTreeMap<DeviceName, ByteCount>,
    context_max: Option<u64>,
    measurements: &Measurements,
) -> Result<Sized, fit::Misfit> {
    let mut spec = spec_of(model);
    let mut need = MemoryUse::default();
    let mut whole = true;
    match &model.facts {
        Some(facts) => {
            let plan = fit::plan(facts, &wish(model, context, context_max), capacity)?;
            let offloaded: u32 = plan.setting.offload.iter().map(|(_, layers)| layers).sum();
            spec.context = plan.setting.context;
            spec.slots = plan.setting.slots;
            // The engine counts its output layer as one more, which goes with the last layer.
            spec.gpu_layers = if offloaded > 0 { offloaded.saturating_add(1) } else { 0 };
            let all = model.settings.gpu_layers.unwrap_or(facts.layer_count()).min(facts.layer_count());
            let all_there = offloaded >= all && plan.setting.experts_in_ram == 0;
            whole = plan.setting.offload.is_empty() || all_there;
            if all_there || capacity.keys().all(DeviceName::is_cpu) {
                spec.gpu_layers = model.settings.all_layers.unwrap_or(spec.gpu_layers);
            }
            if plan.setting.experts_in_ram > 0 {
                spec.extra_args.extend(["--n-cpu-moe".to_owned(), plan.setting.experts_in_ram.to_string()]);
            }
            spec.extra_args.extend(split_between_cards(&plan.setting.offload, &model.settings.extra_args));
            need = plan.memory;
        }
        None => {
            // We cannot read the file; the engine may, being newer, or will say what is wrong with it.
            let said = context.or(model.settings.context).or(model.context_window);
            spec.context = said.unwrap_or(if spec.adapter.reads_gguf() { CONTEXT_UNREAD } else { 0 });
            spec.gpu_layers = model.settings.all_layers.unwrap_or(0);
            spec.slots = model.settings.slots.unwrap_or(1);
            need.entry(DeviceName::cpu()).model = model.size;
        }
    }
    let start = Start { file_size: model.size, spec: spec.clone() };
    if let Some(measured) = measurements.memory(&model.key, &start) {
        need = fit::with_overhead(measured);
    }
    Ok(Sized { spec, need, whole })
}

/// The arguments that split layers between cards as they were reckoned with; none where there is one card, or where the
/// owner of the machine splits them. The output goes with the last layer.
fn split_between_cards(offload: &[(DeviceName, u32)], said: &[String]) -> Vec<String> {
    let splits = |argument: &String| {
        let name = argument.split('=').next().unwrap_or_default();
        matches!(name, "-ts" | "--tensor-split" | "-sm" | "--split-mode" | "-mg" | "--main-gpu" | "-dev" | "--device")
    };
    if offload.iter().filter(|(_, layers)| *layers > 0).count() < 2 || said.iter().any(splits) {
        return vec![];
    }
    let mut shares: Vec<(&str, u32)> = offload.iter().map(|(device, layers)| (device.as_str(), *layers)).collect();
    if let Some((_, last)) = shares.iter_mut().rfind(|(_, layers)| *layers > 0) {
        *last += 1;
    }
    // The engine lists cards by number: `CUDA10` after `CUDA9`.
    shares.sort_by_key(|(device, _)| {
        let kind = device.trim_end_matches(|c: char| c.is_ascii_digit());
        (kind.to_owned(), device[kind.len()..].parse::<u32>().unwrap_or(0))
    });
    let shares: Vec<String> = shares.iter().map(|(_, layers)| layers.to_string()).collect();
    vec!["--tensor-split".to_owned(), shares.join(",")]
}

/// What is said of a load that would not fit on the empty machine.
pub(crate) fn refusal(pending: &Pending, short: &[placement::Shortage]) -> LoadFailure {
    let class = if short.iter().any(|shortage| !shortage.device.is_cpu()) {
        FailureClass::InsufficientVram
    } else {
        FailureClass::InsufficientRam
    };
    pending.failure(class, shortage_text(short))
}

/// Where it falls short, in words.
pub(crate) fn shortage_text(short: &[placement::Shortage]) -> String {
    let one = |shortage: &placement::Shortage| {
        format!("{} needed on {}, models may use {}", shortage.needed, shortage.device, shortage.capacity)
    };
    short.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// What is asked of `fit` for a model: its settings, and the context that a caller wants.
pub fn wish(model: &Model, context: Option<u64>, context_max: Option<u64>) -> fit::Wish {
    let settings = &model.settings;
    let stretches = |argument: &String| argument.contains("rope") || argument.contains("yarn");
    let places_tensors = |argument: &String| {
        matches!(argument.as_str(), "-ot" | "-cmoe" | "-ncmoe")
            || argument.contains("cpu-moe")
            || argument.contains("override-tensor")
    };
    fit::Wish {
        context: context.or(settings.context),
        context_wanted: model.context_window.filter(|&tokens| tokens > 0),
        context_max,
        slots: settings.slots,
        gpu_layers: settings.gpu_layers,
        experts_in_ram: !settings.extra_args.iter().any(places_tensors),
        cache_type_k: settings.cache_type_k,
        cache_type_v: settings.cache_type_v,
        all_outputs: settings.embeddings || model.mode != Mode::Chat,
        stretched: settings.extra_args.iter().any(stretches),
    }
}

/// What the settings say; context, slots and layers are decided when the machine's state is known.
pub(crate) fn spec_of(model: &Model) -> engine::Spec {
    let settings = &model.settings;
    engine::Spec {
        adapter: settings.adapter.clone(),
        listen: settings.listen,
        model: model.path.clone(),
        mmproj: model.mmproj.clone(),
        alias: settings.alias.clone().unwrap_or_else(|| model.key.id.as_str().to_owned()),
        mode: model.mode,
        context: 0,
        slots: 1,
        gpu_layers: 0,
        cache_type_k: settings.cache_type_k,
        cache_type_v: settings.cache_type_v,
        embeddings: settings.embeddings,
        pooling: settings.pooling,
        chat_template_file: settings.chat_template_file.clone(),
        chat_template_kwargs: settings.chat_template_kwargs.clone(),
        flash_attn: settings.flash_attn,
        extra_args: settings.extra_args.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_lie_where_they_were_reckoned() {
        let check = |offload: &[(&str, u32)], said: &[&str], expected: &str| {
            let offload: Vec<_> = offload.iter().map(|(device, layers)| (DeviceName::new(*device), *layers)).collect();
            let said: Vec<String> = said.iter().map(|&argument| argument.to_owned()).collect();
            assert_eq!(split_between_cards(&offload, &said).join(" "), expected);
        };
        check(&[("CUDA0", 32)], &[], "");
        check(&[("CUDA0", 32), ("CUDA1", 0)], &[], "");
        check(&[("CUDA0", 20), ("CUDA1", 12)], &[], "--tensor-split 20,13");
        check(&[("CUDA0", 1), ("CUDA1", 1), ("CUDA10", 2), ("CUDA2", 1)], &[], "--tensor-split 1,1,2,2");
        check(&[("CUDA0", 20), ("CUDA1", 12)], &["--split-mode", "row"], "");
    }
}
