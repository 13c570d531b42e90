//! What one token reads, by the memory it lies in: the bridge from where a model lies to how fast it is.

use std::ops::Range;

use catalog::quantization::Quantization;
use types::{ByteCount, DeviceName};

use crate::facts::Facts;
use crate::machine::Machine;
use crate::memory::Setting;
use crate::speed::{Device, Place, Quant};

/// The parts of a model started so, in the order of its layers, for one request of which `filled` tokens are cached.
///
/// Routed experts count as read by the share that a token uses; of embeddings nothing is read but as the head. Where
/// experts stay in RAM, they are a part of their own.
pub fn places(facts: &Facts, setting: &Setting, filled: u64, machine: &Machine) -> Vec<Place> {
    let device = |name: &DeviceName| machine.accelerators.iter().position(|one| one.device == *name);
    let offload =
        setting.offload.iter().map(|(name, layers)| (device(name).map_or(Device::Cpu, Device::Accelerator), *layers));
    let mut places = vec![];
    lay(facts, setting, offload, filled, &mut places);
    places
}

/// The same with devices in place of the setting's names.
pub(crate) fn lay(
    facts: &Facts,
    setting: &Setting,
    offload: impl Iterator<Item = (Device, u32)> + Clone,
    filled: u64,
    places: &mut Vec<Place>,
) {
    let count = facts.layers().len();
    let offloaded: u64 = offload.clone().map(|(_, layers)| u64::from(layers)).sum();
    let first = count - usize::try_from(offloaded).unwrap_or(usize::MAX).min(count);
    let stay = (setting.experts_in_ram as usize).min(count);
    places.clear();
    if first == count {
        places.push(Part::whole(facts, setting, filled).at(Device::Cpu));
        return;
    }
    let cards = offload.filter(|(_, layers)| *layers > 0);
    let last = cards.clone().count().saturating_sub(1);
    let mut experts = Part::default();
    let mut next = first;
    for (index, (device, layers)) in cards.enumerate() {
        let end = next.saturating_add(layers as usize).min(count);
        if end - next == count && stay == 0 {
            places.push(Part::whole(facts, setting, filled).at(device));
        } else {
            let mut card = Part::of(facts, setting, filled, next..end);
            if stay > next {
                let elsewhere = facts.sum(next..stay.min(end));
                card.read = card.read.saturating_sub(elsewhere.experts_read);
                card.held = card.held.saturating_sub(elsewhere.experts);
                experts.read += elsewhere.experts_read;
                experts.held += elsewhere.experts;
            }
            if index == last {
                card.output(facts);
            }
            places.push(card.at(device));
        }
        next = end;
    }
    let ram = Part::of(facts, setting, filled, 0..first);
    for part in [experts, ram].into_iter().filter(|part| part.read > ByteCount::ZERO) {
        places.insert(0, part.at(Device::Cpu));
    }
}

impl From<Quantization> for Quant {
    fn from(quantization: Quantization) -> Self {
        let name = quantization.as_str();
        let is_any = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
        match name {
            "NVFP4" => Self::Fp4,
            "FP8" => Self::Fp8,
            "INT8" | "Q8_0" | "UD-Q8_K_XL" | "GPTQ-8bit" | "AWQ-8bit" | "AutoRound-8bit" => Self::Int8,
            "Q4_0" | "Q4_1" | "Q5_0" | "Q5_1" => Self::Legacy,
            _ if is_any(&["F32", "F16", "BF16", "16bit", "mlx-bf16"]) => Self::Float,
            _ if is_any(&["AWQ", "GPTQ", "AutoRound"]) => Self::Int4,
            _ if is_any(&["IQ", "UD-IQ", "TQ"]) => Self::Iq,
            _ => Self::K,
        }
    }
}

/// What lies in one memory.
#[derive(Clone, Copy, Default)]
struct Part {
    read: ByteCount,
    held: ByteCount,
    kept: u64,
}

impl Part {
    fn whole(facts: &Facts, setting: &Setting, filled: u64) -> Self {
        Self {
            read: facts.weights_per_token(),
            held: facts.weights(),
            kept: facts.kept_read(filled, setting.cache_type_k, setting.cache_type_v),
        }
    }

    fn of(facts: &Facts, setting: &Setting, filled: u64, layers: Range<usize>) -> Self {
        let sum = facts.sum(layers.clone());
        let kept = facts.kept_read_of(layers, filled, setting.cache_type_k, setting.cache_type_v);
        Self { read: sum.read(), held: sum.weights, kept }
    }

    fn output(&mut self, facts: &Facts) {
        let head = facts.outside().output + facts.outside().tied;
        self.read += head;
        self.held += head;
    }

    fn at(&self, device: Device) -> Place {
        #[expect(clippy::cast_precision_loss, reason = "factors of a product, never sums that must be exact")]
        let float = |bytes: u64| bytes as f64;
        Place {
            device,
            weights_read: float(self.read.as_u64()),
            weights_held: float(self.held.as_u64()),
            kv_read: float(self.kept),
        }
    }
}

#[cfg(test)]
mod tests {
    use types::Backend;

    use super::*;
    use crate::memory::tests::{QWEN3_30B_A3B, facts, setting, smollm2};
    use crate::{Accelerator, Cpu};

    fn machine() -> Machine {
        let card = |name| Accelerator {
            device: DeviceName::new(name),
            backend: Backend::Cuda,
            memory: ByteCount::mib(24_000),
            unified: false,
            bandwidth: None,
            flops: None,
            link: None,
        };
        Machine {
            ram: ByteCount::mib(64_000),
            cpu: Cpu { backend: Backend::CpuX86, cores: 8, bandwidth: 5e10 },
            accelerators: vec![card("CUDA0"), card("CUDA1")],
        }
    }

    fn sums(places: &[Place]) -> (f64, f64) {
        (places.iter().map(|place| place.weights_read).sum(), places.iter().map(|place| place.kv_read).sum())
    }

    #[test]
    fn wherever_it_lies_a_token_reads_the_same() {
        let model = facts(QWEN3_30B_A3B, "Q4_K_M");
        let whole = sums(&places(&model, &setting(8192, 1), 4096, &machine()));
        let card = |index: usize, layers| (machine().accelerators[index].device.clone(), layers);
        for (offload, experts_in_ram, parts) in [
            (vec![card(0, 48)], 0, vec![Device::Accelerator(0)]),
            (vec![card(0, 20)], 0, vec![Device::Cpu, Device::Accelerator(0)]),
            (vec![card(0, 24), card(1, 24)], 0, vec![Device::Accelerator(0), Device::Accelerator(1)]),
            (vec![card(0, 48)], 30, vec![Device::Cpu, Device::Accelerator(0)]),
            (vec![card(1, 10)], 48, vec![Device::Cpu, Device::Cpu, Device::Accelerator(1)]),
        ] {
            let split =
                places(&model, &crate::Setting { offload, experts_in_ram, ..setting(8192, 1) }, 4096, &machine());
            let (weights, kept) = sums(&split);
            assert!((weights / whole.0 - 1.0).abs() < 1e-6 && (kept / whole.1 - 1.0).abs() < 1e-6, "{split:?}");
            assert_eq!(split.iter().map(|place| place.device).collect::<Vec<_>>(), parts);
        }
    }

    #[test]
    fn only_what_is_filled_is_read() {
        let read = |filled| sums(&places(&smollm2(), &setting(8192, 4), filled, &machine())).1;
        assert!((read(1000) - 1000.0 * 30.0 * 2.0 * 192.0 * 2.0).abs() < 1.0);
        assert!((read(2000) / read(1000) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn every_quantisation_is_of_a_family() {
        let of = |name: &str| Quant::from(name.parse::<Quantization>().unwrap());
        for (name, expected) in [
            ("Q4_K_M", Quant::K),
            ("UD-Q4_K_XL", Quant::K),
            ("mxfp4", Quant::K),
            ("mlx-4bit", Quant::K),
            ("Q4_0", Quant::Legacy),
            ("Q8_0", Quant::Int8),
            ("IQ4_XS", Quant::Iq),
            ("BF16", Quant::Float),
            ("AWQ", Quant::Int4),
            ("GPTQ-8bit", Quant::Int8),
            ("FP8", Quant::Fp8),
            ("NVFP4", Quant::Fp4),
        ] {
            assert_eq!(of(name), expected, "{name}");
        }
    }
}
