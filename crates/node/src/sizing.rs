//! How a model would be started here and what it would hold: settings and machine through `fit`, corrected by what was
//! measured.

use std::collections::BTreeMap;

use types::{ByteCount, DeviceName, FailureClass, LoadFailure, MemoryUse, Mode};

use crate::demand::Pending;
use crate::library::Model;
use crate::measurements::{Measurements, Start};

/// Context of a model whose file we cannot read and for which nobody asked for one.
const CONTEXT_UNREAD: u64 = 2048;

/// Decides how a pending load is started on a machine of this capacity, and what it will hold.
pub(crate) fn size_up(
    pending: &mut Pending,
    capacity: &BTreeMap<DeviceName, ByteCount>,
    context_max: Option<u64>,
    measurements: &Measurements,
) -> Result<(), LoadFailure> {
    let model = &pending.model;
    let mut spec = spec_of(model);
    let mut need = MemoryUse::default();
    match &model.facts {
        Some(facts) => {
            let plan = fit::plan(facts, &wish(model, pending.context_requested, context_max), capacity)
                .map_err(|misfit| pending.failure(misfit.class, misfit.message))?;
            let offloaded: u32 = plan.setting.offload.iter().map(|(_, layers)| layers).sum();
            spec.context = plan.setting.context;
            spec.slots = plan.setting.slots;
            // The engine counts its output layer as one more, which goes with the last layer.
            spec.gpu_layers = if offloaded > 0 { offloaded.saturating_add(1) } else { 0 };
            if plan.setting.experts_in_ram > 0 {
                spec.extra_args.extend(["--n-cpu-moe".to_owned(), plan.setting.experts_in_ram.to_string()]);
            }
            need = plan.memory;
        }
        None => {
            // We cannot read the file; the engine may, being newer, or will say what is wrong with it.
            spec.context = pending.context_requested.or(model.settings.context).unwrap_or(CONTEXT_UNREAD);
            spec.slots = model.settings.slots.unwrap_or(1);
            need.entry(DeviceName::cpu()).model = model.size;
        }
    }
    let start = Start { file_size: model.size, spec: spec.clone() };
    if let Some(measured) = measurements.memory(&model.key, &start) {
        need = fit::with_overhead(measured);
    }
    pending.spec = spec;
    pending.need = need;
    Ok(())
}

/// What is said of a load that would not fit on the empty machine.
pub(crate) fn refusal(pending: &Pending, short: &[placement::Shortage]) -> LoadFailure {
    let class = if short.iter().any(|shortage| !shortage.device.is_cpu()) {
        FailureClass::InsufficientVram
    } else {
        FailureClass::InsufficientRam
    };
    let one = |shortage: &placement::Shortage| {
        format!("{} needed on {}, models may use {}", shortage.needed, shortage.device, shortage.capacity)
    };
    pending.failure(class, short.iter().map(one).collect::<Vec<_>>().join("; "))
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
        model: model.path.clone(),
        mmproj: model.mmproj.clone(),
        alias: model.key.id.as_str().to_owned(),
        mode: model.mode,
        context: 0,
        slots: 1,
        gpu_layers: 0,
        cache_type_k: settings.cache_type_k,
        cache_type_v: settings.cache_type_v,
        embeddings: settings.embeddings,
        pooling: settings.pooling,
        chat_template_file: settings.chat_template_file.clone(),
        extra_args: settings.extra_args.clone(),
    }
}
