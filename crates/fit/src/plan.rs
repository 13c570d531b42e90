//! From a wish to a start that fits: what was asked for is kept, what was left open is chosen.

use std::collections::BTreeMap;

use types::{ByteCount, CacheType, DeviceName, FailureClass, MemoryUse};

use crate::{Facts, Machine, Setting, memory};

/// Context of a slot where nobody asked for one: enough for a long chat, little enough for a small machine.
const CONTEXT_DEFAULT: u64 = 8192;
/// A chosen context is not made smaller than this.
const CONTEXT_LEAST: u64 = 2048;
/// Slots where nobody asked for a number.
const SLOTS_DEFAULT: u32 = 4;

/// What is asked for. `None` leaves the choice here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Tokens of context for each slot.
    pub context: Option<u64>,
    /// Where [`Self::context`] is left open: the context to begin with, in place of 8,192 tokens. Less is taken where that
    /// does not fit, or where the model was trained for less.
    pub context_wanted: Option<u64>,
    /// The largest context the owner of the machine allows.
    pub context_max: Option<u64>,
    /// Requests served at once.
    pub slots: Option<u32>,
    /// Layers kept on accelerators.
    pub gpu_layers: Option<u32>,
    /// Whether routed experts may stay in RAM while all layers are on accelerators, where they do not fit there.
    pub experts_in_ram: bool,
    /// Type of the cached keys.
    pub cache_type_k: CacheType,
    /// Type of the cached values.
    pub cache_type_v: CacheType,
    /// Whether every token's output is wanted.
    pub all_outputs: bool,
    /// Whether a context beyond the trained one is meant so (it was given a way to stretch).
    pub stretched: bool,
}

/// What models may use of each device with nothing loaded; RAM is `CPU`.
pub type Capacity = BTreeMap<DeviceName, ByteCount>;

/// Where a model has to fit.
struct Room {
    capacity: Capacity,
    /// Accelerators whose memory is a part of RAM: what they hold counts there too.
    unified: Vec<DeviceName>,
}

impl Room {
    fn fits(&self, memory: &MemoryUse) -> bool {
        self.ram_fits(memory) && self.accelerators_fit(memory)
    }

    fn accelerators_fit(&self, memory: &MemoryUse) -> bool {
        memory.0.keys().filter(|device| !device.is_cpu()).all(|device| memory.on(device) <= self.of(device))
    }

    fn ram_fits(&self, memory: &MemoryUse) -> bool {
        let shared: ByteCount = self.unified.iter().map(|device| memory.on(device)).sum();
        memory.on(&DeviceName::cpu()) + shared <= self.of(&DeviceName::cpu())
    }

    fn of(&self, device: &DeviceName) -> ByteCount {
        self.capacity.get(device).copied().unwrap_or_default()
    }

    fn accelerators(&self) -> Vec<(&DeviceName, u64)> {
        let accelerators = self.capacity.iter().filter(|(device, _)| !device.is_cpu());
        accelerators.map(|(device, capacity)| (device, capacity.as_u64())).collect()
    }

    /// All memory there is, counted once.
    fn total(&self, only_accelerators: bool) -> ByteCount {
        let counts = |device: &DeviceName| match (only_accelerators, device.is_cpu()) {
            (true, is_cpu) => !is_cpu,
            (false, is_cpu) => is_cpu || !self.unified.contains(device),
        };
        self.capacity.iter().filter(|(device, _)| counts(device)).map(|(_, capacity)| *capacity).sum()
    }
}

/// A start that fits the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How to start it.
    pub setting: Setting,
    /// What it will hold.
    pub memory: MemoryUse,
}

/// What a machine falls short of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Accelerator memory.
    Vram,
    /// System memory.
    Ram,
    /// The model's own context, or the owner's limit for it.
    Context,
}

/// Why no start fits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Misfit {
    /// What it falls short of.
    pub limit: Limit,
    /// Its class in the words of the model-server contract.
    pub class: FailureClass,
    /// With the values: what is needed, what there is, what would work.
    pub message: String,
}

/// The best start that fits the empty machine.
///
/// What the wish names is kept or refused, never changed. What it leaves open is made smaller until the rest fits: first
/// the slots (4, 2, 1), then the context (by halves, down to 2,048 tokens).
///
/// # Errors
/// A [`Misfit`] that says what is missing and what would fit instead.
pub fn plan(facts: &Facts, wish: &Wish, capacity: &Capacity) -> Result<Plan, Misfit> {
    plan_in(facts, wish, &Room { capacity: capacity.clone(), unified: vec![] })
}

/// The largest context for which a start fits the empty machine, tokens, up to `most`; found to within a thousand or so.
/// 0 where none fits.
pub fn largest_context(facts: &Facts, wish: &Wish, capacity: &Capacity, most: u64) -> u64 {
    /// Contexts are made in steps of this.
    const STEP: u64 = 1024;
    let fits = |context: u64| {
        let wish = Wish { context: Some(context), slots: Some(1), ..wish.clone() };
        plan(facts, &wish, capacity).is_ok()
    };
    if fits(most) {
        return most;
    }
    let (mut fitting, mut beyond) = (0, most.div_ceil(STEP));
    while beyond - fitting > 1 {
        let middle = fitting.midpoint(beyond);
        if fits(middle * STEP) { fitting = middle } else { beyond = middle }
    }
    fitting * STEP
}

/// The same on a described machine, where an accelerator may share the system's memory: what it holds is then counted
/// in RAM too.
///
/// # Errors
/// As [`plan`].
pub fn plan_on(facts: &Facts, wish: &Wish, machine: &Machine) -> Result<Plan, Misfit> {
    let mut capacity = Capacity::from([(DeviceName::cpu(), machine.ram)]);
    capacity.extend(machine.accelerators.iter().map(|card| (card.device.clone(), card.memory)));
    let unified = machine.accelerators.iter().filter(|card| card.unified).map(|card| card.device.clone()).collect();
    plan_in(facts, wish, &Room { capacity, unified })
}

fn plan_in(facts: &Facts, wish: &Wish, room: &Room) -> Result<Plan, Misfit> {
    let context_cap = wish.context_max.unwrap_or(u64::MAX);
    if let Some(asked) = wish.context {
        check_context(facts, wish, asked, context_cap)?;
    }
    let wanted = wish.context_wanted.unwrap_or(CONTEXT_DEFAULT);
    let is_bound = facts.context_native() > 0 && !(wish.stretched && wish.context_wanted.is_some());
    let native = if is_bound { facts.context_native() } else { u64::MAX };
    let first = wish.context.unwrap_or(native.min(wanted).min(context_cap)).max(1);
    let contexts = match wish.context {
        Some(asked) => vec![asked.max(1)],
        None => halves(first, CONTEXT_LEAST.min(first)),
    };
    let slots = wish.slots.map_or_else(|| vec![SLOTS_DEFAULT, 2, 1], |slots| vec![slots.max(1)]);

    for &context in &contexts {
        for &slots in &slots {
            if let Some(plan) = place(facts, wish, room, context, slots) {
                return Ok(plan);
            }
        }
    }
    Err(misfit(facts, wish, room, *contexts.last().unwrap_or(&first), *slots.last().unwrap_or(&1)))
}

fn check_context(facts: &Facts, wish: &Wish, asked: u64, cap: u64) -> Result<(), Misfit> {
    let too_large = |limit: u64, whose: &str| Misfit {
        limit: Limit::Context,
        class: FailureClass::ContextTooLarge,
        message: format!("a context of {asked} tokens was asked for; {whose} {limit}"),
    };
    if asked > cap {
        return Err(too_large(cap, "this server's limit (max_context) is"));
    }
    if facts.context_native() > 0 && asked > facts.context_native() && !wish.stretched {
        return Err(too_large(facts.context_native(), "the model was trained for at most"));
    }
    Ok(())
}

/// As many layers on accelerators as fit (or as were asked for), the rest in RAM. Where experts may stay in RAM, all
/// layers go to accelerators, and of as many of them as must the experts stay.
fn place(facts: &Facts, wish: &Wish, room: &Room, context: u64, slots: u32) -> Option<Plan> {
    let layers = facts.layer_count();
    let wanted = wish.gpu_layers.unwrap_or(layers).min(layers);
    let least = if wish.gpu_layers.is_some() { wanted } else { 0 };
    let accelerators = room.accelerators();
    let weights: Vec<u64> = accelerators.iter().map(|(_, capacity)| *capacity).collect();
    let start = |count: u32, experts_in_ram: u32| {
        // llama.cpp splits layers in proportion to each card's memory.
        let shares = split(count, &weights);
        let setting = Setting {
            offload: accelerators.iter().zip(shares).map(|((device, _), layers)| ((*device).clone(), layers)).collect(),
            experts_in_ram,
            ..setting(wish, context, slots)
        };
        Plan { memory: memory(facts, &setting), setting }
    };
    if accelerators.is_empty() {
        return Some(start(0, 0)).filter(|plan| room.fits(&plan.memory));
    }
    let whole = start(wanted, 0);
    if room.fits(&whole.memory) || wanted == least {
        return Some(whole).filter(|plan| room.fits(&plan.memory));
    }
    if wish.experts_in_ram && wish.gpu_layers.is_none() && facts.experts() > ByteCount::ZERO {
        let fewest = first(1, layers, |stay| room.accelerators_fit(&start(layers, stay).memory));
        if let Some(plan) = fewest.map(|stay| start(layers, stay)).filter(|plan| room.fits(&plan.memory)) {
            return Some(plan);
        }
    }
    // Fewer layers there are less memory there.
    let away = first(1, wanted - least, |away| room.accelerators_fit(&start(wanted - away, 0).memory))?;
    Some(start(wanted - away, 0)).filter(|plan| room.fits(&plan.memory))
}

fn setting(wish: &Wish, context: u64, slots: u32) -> Setting {
    Setting {
        context,
        slots,
        offload: vec![],
        experts_in_ram: 0,
        cache_type_k: wish.cache_type_k,
        cache_type_v: wish.cache_type_v,
        all_outputs: wish.all_outputs,
    }
}

/// The first number from `from` to `to` that `holds`, which does for all after it, by halves.
fn first(from: u32, to: u32, holds: impl Fn(u32) -> bool) -> Option<u32> {
    let (mut low, mut high) = (from, to);
    if low > high || !holds(high) {
        return None;
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Some(low)
}

/// `count` shared out in proportion to `weights`, nothing lost.
pub(crate) fn split(count: u32, weights: &[u64]) -> Vec<u32> {
    split_by(count, weights.iter().copied()).collect()
}

/// The same, one by one.
pub(crate) fn split_by(count: u32, weights: impl Iterator<Item = u64> + Clone) -> impl Iterator<Item = u32> + Clone {
    let total: u128 = weights.clone().map(u128::from).sum::<u128>().max(1);
    let mut given = 0;
    let mut before: u128 = 0;
    weights.map(move |weight| {
        before += u128::from(weight);
        let up_to = match (u64::try_from(u128::from(count) * before), u64::try_from(total)) {
            // Of any real machine: many times as quick.
            (Ok(product), Ok(total)) => u128::from(product / total),
            _ => u128::from(count) * before / total,
        };
        let up_to = u32::try_from(up_to).unwrap_or(count);
        let share = up_to.saturating_sub(given);
        given = up_to;
        share
    })
}

fn halves(from: u64, least: u64) -> Vec<u64> {
    let mut steps: Vec<u64> =
        std::iter::successors(Some(from), |context| Some(context / 2)).take_while(|&context| context > least).collect();
    steps.push(least);
    steps
}

/// Says what is missing for the smallest start that the wish allows.
fn misfit(facts: &Facts, wish: &Wish, room: &Room, context: u64, slots: u32) -> Misfit {
    let accelerators = !room.accelerators().is_empty();
    let only_vram = accelerators && wish.gpu_layers.is_some_and(|layers| layers > 0);
    let needed = memory(facts, &setting(wish, context, slots)).total();
    let allowed = room.total(only_vram);
    let (limit, what) = if only_vram { (Limit::Vram, "accelerator memory") } else { (Limit::Ram, "memory") };
    let smaller = Wish { context: None, slots: None, ..wish.clone() };
    let would_fit = wish.context.is_some().then(|| plan_in(facts, &smaller, room).ok()).flatten();
    match would_fit {
        Some(plan) => Misfit {
            limit,
            class: FailureClass::ContextTooLarge,
            message: format!(
                "a context of {context} tokens for each of {slots} slots needs {needed} of {what}, models may use \
                 {allowed}; {} slots of {} tokens would fit",
                plan.setting.slots, plan.setting.context
            ),
        },
        None => Misfit {
            limit,
            class: if only_vram { FailureClass::InsufficientVram } else { FailureClass::InsufficientRam },
            message: format!("it needs at least {needed} of {what}, models may use {allowed}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::tests::{QWEN3_30B_A3B, facts, smollm2};
    use crate::{Accelerator, Cpu};
    use proptest::prelude::*;

    fn capacity(devices: &[(&str, u64)]) -> Capacity {
        devices.iter().map(|&(name, mib)| (DeviceName::new(name), ByteCount::mib(mib))).collect()
    }

    fn check(wish: &Wish, devices: &[(&str, u64)], expected: &str) {
        let found = match plan(&smollm2(), wish, &capacity(devices)) {
            Ok(Plan { setting, .. }) => {
                let offload: u32 = setting.offload.iter().map(|(_, layers)| layers).sum();
                format!("{} x {}, {offload} layers offloaded", setting.slots, setting.context)
            }
            Err(misfit) => format!("{}: {misfit}", misfit.class),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn what_was_left_open_is_made_smaller_until_it_fits() {
        let open = Wish::default();
        check(&open, &[("CPU", 4096)], "4 x 8192, 0 layers offloaded");
        check(&open, &[("CPU", 600)], "2 x 8192, 0 layers offloaded");
        check(&open, &[("CPU", 300)], "1 x 4096, 0 layers offloaded");
        check(
            &open,
            &[("CPU", 100)],
            "insufficient_ram: it needs at least 216.8 MiB of memory, models may use 100.0 MiB",
        );
    }

    #[test]
    fn what_was_asked_for_is_kept_or_refused() {
        let context = |context| Wish { context: Some(context), ..Wish::default() };
        check(&context(4096), &[("CPU", 4096)], "4 x 4096, 0 layers offloaded");
        check(
            &context(100_000_000),
            &[("CPU", 4096)],
            "context_too_large: a context of 100000000 tokens was asked for; the model was trained for at most 8192",
        );
        check(
            &Wish { context_max: Some(2048), ..context(4096) },
            &[("CPU", 4096)],
            "context_too_large: a context of 4096 tokens was asked for; this server's limit (max_context) is 2048",
        );
        check(
            &Wish { slots: Some(4), ..context(8192) },
            &[("CPU", 300)],
            "context_too_large: a context of 8192 tokens for each of 4 slots needs 898.4 MiB of memory, models may use \
             300.0 MiB; 1 slots of 4096 tokens would fit",
        );
    }

    #[test]
    fn a_context_that_is_wanted_is_where_it_begins() {
        let wanted = |tokens| Wish { context_wanted: Some(tokens), ..Wish::default() };
        check(&wanted(1500), &[("CPU", 4096)], "4 x 1500, 0 layers offloaded");
        check(&wanted(100_000), &[("CPU", 4096)], "4 x 8192, 0 layers offloaded");
        check(&wanted(6000), &[("CPU", 300)], "1 x 3000, 0 layers offloaded");
        check(&Wish { context: Some(512), ..wanted(6000) }, &[("CPU", 4096)], "4 x 512, 0 layers offloaded");
        check(&Wish { context_max: Some(1000), ..wanted(6000) }, &[("CPU", 4096)], "4 x 1000, 0 layers offloaded");
        check(&Wish { stretched: true, ..wanted(16_384) }, &[("CPU", 4096)], "4 x 16384, 0 layers offloaded");
    }

    #[test]
    fn layers_go_to_the_accelerator_as_far_as_they_fit() {
        let open = Wish::default();
        check(&open, &[("CPU", 4096), ("CUDA0", 24_000)], "4 x 8192, 30 layers offloaded");
        check(&open, &[("CPU", 4096), ("CUDA0", 800)], "4 x 8192, 13 layers offloaded");
        check(&open, &[("CPU", 4096), ("CUDA0", 10)], "4 x 8192, 0 layers offloaded");
        let all = Wish { gpu_layers: Some(99), ..open };
        check(
            &all,
            &[("CPU", 4096), ("CUDA0", 100)],
            "insufficient_vram: it needs at least 216.8 MiB of accelerator memory, models may use 100.0 MiB",
        );
    }

    #[test]
    fn experts_stay_in_ram_before_layers_do() {
        let model = facts(QWEN3_30B_A3B, "Q4_K_M");
        let check = |experts_in_ram, ram, vram, expected: &str| {
            let wish = Wish { experts_in_ram, context: Some(8192), slots: Some(1), ..Wish::default() };
            let setting = plan(&model, &wish, &capacity(&[("CPU", ram), ("CUDA0", vram)])).unwrap().setting;
            let found = format!("{} layers, experts of {} in RAM", setting.offload[0].1, setting.experts_in_ram);
            assert_eq!(found, expected);
        };
        check(true, 64_000, 24_000, "48 layers, experts of 0 in RAM");
        check(true, 64_000, 12_000, "48 layers, experts of 20 in RAM");
        check(true, 64_000, 4_000, "48 layers, experts of 44 in RAM");
        check(true, 64_000, 1_000, "0 layers, experts of 0 in RAM");
        check(false, 64_000, 12_000, "29 layers, experts of 0 in RAM");
    }

    #[test]
    fn shared_memory_is_counted_once() {
        let machine = |unified| Machine {
            ram: ByteCount::mib(900),
            cpu: Cpu { backend: types::Backend::CpuArm, cores: 8, bandwidth: 1e11 },
            accelerators: vec![Accelerator {
                device: DeviceName::new("Metal"),
                backend: types::Backend::Metal,
                memory: ByteCount::mib(1000),
                unified,
                bandwidth: None,
                flops: None,
                link: None,
            }],
        };
        let wish = Wish { context: Some(4096), slots: Some(2), ..Wish::default() };
        let held = |unified| plan_on(&smollm2(), &wish, &machine(unified)).map(|plan| plan.memory.total());
        assert!(held(true).unwrap() <= ByteCount::mib(900));
        let large = Wish { context: Some(8192), slots: Some(4), ..Wish::default() };
        let fits = |unified| plan_on(&smollm2(), &large, &machine(unified)).is_ok();
        assert!(fits(false) && !fits(true));
    }

    proptest! {
        #[test]
        fn a_plan_always_fits(ram in 0..3000_u64, vram in prop::option::of(0..3000_u64), context in prop::option::of(1..9000_u64)) {
            let mut devices = vec![("CPU", ram)];
            devices.extend(vram.map(|vram| ("CUDA0", vram)));
            let capacity = capacity(&devices);
            if let Ok(plan) = plan(&smollm2(), &Wish { context, ..Wish::default() }, &capacity) {
                for device in plan.memory.0.keys() {
                    prop_assert!(plan.memory.on(device) <= capacity[device]);
                }
                prop_assert!(context.is_none_or(|context| context == plan.setting.context));
            }
        }

        #[test]
        fn nothing_is_lost_in_a_split(count in 0..200_u32, weights in prop::collection::vec(1..u64::MAX, 1..8)) {
            prop_assert_eq!(split(count, &weights).iter().sum::<u32>(), count);
        }
    }
}
