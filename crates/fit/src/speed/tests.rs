//! Published rates are met, every rule of the estimate holds, and nothing makes it panic.

use proptest::prelude::*;
use types::{Backend, ByteCount, DeviceName};

use super::*;
use crate::machine::Cpu;

/// Cards of one kind in a desktop, by vendor figures.
fn desktop(cards: usize, backend: Backend, gib: u64, bandwidth: f64, flops: f64) -> Machine {
    let card = |index| Accelerator {
        device: DeviceName::new(format!("GPU{index}")),
        backend,
        memory: ByteCount::gib(gib),
        unified: matches!(backend, Backend::Metal),
        bandwidth: Some(bandwidth),
        flops: Some(flops),
        link: None,
    };
    Machine {
        ram: ByteCount::gib(64),
        cpu: Cpu { backend: Backend::CpuX86, cores: 8, bandwidth: 60e9 },
        accelerators: (0..cards).map(card).collect(),
    }
}

fn rtx_4090s(cards: usize) -> Machine {
    desktop(cards, Backend::Cuda, 24, 1008e9, 330e12)
}

fn place(device: Device, bytes: f64) -> Place {
    Place { device, weights_read: bytes, weights_held: bytes, kv_read: 0.0 }
}

/// Llama 3.1 8B in Q4_K_M: 4.9 GB, of which the input embedding (0.3 GB) is not read.
fn llama_8b(places: &[Place]) -> Work<'_> {
    Work {
        engine: Engine::LlamaCpp,
        quant: Quant::K,
        places,
        tensor_parallel: false,
        active_parameters: 7.5e9,
        layers: 32,
        experts: false,
        drafts: false,
        prompt_tokens: 512.0,
    }
}

const LLAMA_8B_READ: f64 = 4.6e9;
const CARD: Device = Device::Accelerator(0);

/// Rates that are widely published for Llama 3.1 8B Q4_K_M: the estimate is near, and its interval holds them.
#[test]
fn known_machines_are_near_what_people_measure() {
    let measured = [
        ("RTX 4090", rtx_4090s(1), CARD, 130.0),
        ("RTX 3060", desktop(1, Backend::Cuda, 12, 360e9, 51e12), CARD, 58.0),
        ("RX 7900 XTX", desktop(1, Backend::Rocm, 24, 960e9, 123e12), CARD, 118.0),
        ("Apple M2 Pro", desktop(1, Backend::Metal, 32, 204.8e9, 6.8e12), CARD, 33.0),
        ("eight cores, DDR5-5600", cpu_only(8, 89.6e9), Device::Cpu, 11.5),
    ];
    for (name, machine, device, tps) in measured {
        let speed = estimate(&machine, &llama_8b(&[place(device, LLAMA_8B_READ)]));
        assert!((0.7..1.4).contains(&(speed.decode_tps / tps)), "{name}: {:.1}, not {tps}", speed.decode_tps);
        assert!((speed.decode_low..=speed.decode_high).contains(&tps), "{name}: {speed:?}");
        assert_eq!(speed.confidence, Confidence::Calibrated, "{name}");
    }
}

fn cpu_only(cores: u32, bandwidth: f64) -> Machine {
    let mut machine = rtx_4090s(0);
    machine.cpu = Cpu { backend: Backend::CpuX86, cores, bandwidth };
    machine
}

/// Decode rates of two setups, the first of which must be faster.
#[track_caller]
fn check_faster(faster: (&Machine, &Work<'_>), slower: (&Machine, &Work<'_>)) {
    let (fast, slow) = (estimate(faster.0, faster.1).decode_tps, estimate(slower.0, slower.1).decode_tps);
    assert!(fast > slow, "{fast:.2} tokens/s is not more than {slow:.2}");
}

#[test]
fn what_makes_decoding_slower() {
    let machine = rtx_4090s(1);
    let on_card = [place(CARD, LLAMA_8B_READ)];
    let whole = llama_8b(&on_card);

    // The further from the card, the slower.
    let half = [place(CARD, LLAMA_8B_READ / 2.0), place(Device::Cpu, LLAMA_8B_READ / 2.0)];
    let nothing = [place(Device::Cpu, LLAMA_8B_READ)];
    check_faster((&machine, &whole), (&machine, &llama_8b(&half)));
    check_faster((&machine, &llama_8b(&half)), (&machine, &llama_8b(&nothing)));

    // A long context is read for every token.
    let long = [Place { kv_read: 4e9, ..on_card[0] }];
    check_faster((&machine, &whole), (&machine, &llama_8b(&long)));

    // A mixture of experts reads few of the bytes it holds; look-up tables cost more per byte on a processor.
    let mixture = [Place { weights_read: LLAMA_8B_READ / 8.0, ..on_card[0] }];
    check_faster((&machine, &Work { experts: true, ..llama_8b(&mixture) }), (&machine, &whole));

    // Two slow cores cannot unpack what memory brings.
    check_faster((&cpu_only(8, 80e9), &llama_8b(&nothing)), (&cpu_only(2, 80e9), &llama_8b(&nothing)));
}

#[test]
fn cards_in_tensor_parallel_work_together_and_layers_wait_for_each_other() {
    let halves = [place(CARD, 8e9), place(Device::Accelerator(1), 8e9)];
    let whole = [place(CARD, 16e9)];
    let vllm = |places, tensor_parallel| Work {
        engine: Engine::Vllm,
        quant: Quant::Float,
        tensor_parallel,
        ..llama_8b(places)
    };
    let two = rtx_4090s(2);
    check_faster((&two, &vllm(&halves, true)), (&two, &vllm(&whole, false)));
    check_faster((&two, &vllm(&whole, false)), (&two, &vllm(&halves, false)));
}

#[test]
fn unknown_parts_get_a_guess_and_a_wide_interval() {
    let places = [place(CARD, LLAMA_8B_READ)];
    let work = llama_8b(&places);
    let mut machine = rtx_4090s(1);
    let known = estimate(&machine, &work);
    (machine.accelerators[0].bandwidth, machine.accelerators[0].flops) = (None, None);
    let unknown = estimate(&machine, &work);
    assert_eq!(unknown.confidence, Confidence::Rough);
    assert!((0.4..2.5).contains(&(unknown.decode_tps / known.decode_tps)), "{unknown:?}");
    assert!(unknown.decode_high / unknown.decode_low > known.decode_high / known.decode_low);
}

#[test]
fn nothing_to_run_has_no_speed() {
    let speed = estimate(&rtx_4090s(1), &llama_8b(&[]));
    assert_eq!((speed.decode_tps, speed.prefill_tps, speed.ttft), (0.0, 0.0, 0.0));
}

fn any_work() -> impl Strategy<Value = (Vec<Place>, f64, u32, bool, Engine)> {
    let place = (0..4_usize, 1e6..1e12_f64, 0.0..1e11_f64).prop_map(|(device, bytes, kv)| Place {
        device: if device == 3 { Device::Cpu } else { Device::Accelerator(device) },
        weights_read: bytes,
        weights_held: 2.0 * bytes,
        kv_read: kv,
    });
    let engine = prop_oneof![Just(Engine::LlamaCpp), Just(Engine::Vllm), Just(Engine::Mlx)];
    (prop::collection::vec(place, 1..5), 1e6..3e12_f64, 1..200_u32, any::<bool>(), engine)
}

proptest! {
    #[test]
    fn every_estimate_is_a_positive_number_inside_its_interval((places, active, layers, flag, engine) in any_work()) {
        let work = Work {
            engine,
            active_parameters: active,
            layers,
            experts: flag,
            tensor_parallel: flag,
            ..llama_8b(&places)
        };
        let mut machine = rtx_4090s(2);
        let speed = estimate(&machine, &work);
        for value in [speed.decode_low, speed.decode_tps, speed.decode_high, speed.prefill_tps, speed.ttft] {
            prop_assert!(value.is_finite() && value > 0.0, "{speed:?}");
        }
        prop_assert!(speed.decode_low < speed.decode_tps && speed.decode_tps < speed.decode_high);
        for accelerator in &mut machine.accelerators {
            accelerator.bandwidth = accelerator.bandwidth.map(|bandwidth| 2.0 * bandwidth);
        }
        prop_assert!(estimate(&machine, &work).decode_tps >= speed.decode_tps);
    }
}

#[test]
fn wide_memory_of_a_processor_is_read_as_a_cards() {
    let of = |bandwidth: Option<f64>, unified| {
        let accelerator = Accelerator {
            device: DeviceName::new("ROCm0"),
            backend: Backend::Rocm,
            memory: ByteCount::gib(96),
            unified,
            bandwidth,
            flops: None,
            link: None,
        };
        Platform::of(Engine::LlamaCpp, &accelerator)
    };
    assert_eq!(of(Some(256e9), true), Platform::LlamaRocm);
    assert_eq!(of(Some(120e9), true), Platform::LlamaIntegrated);
    assert_eq!(of(None, true), Platform::LlamaIntegrated);
    assert_eq!(of(Some(960e9), false), Platform::LlamaRocm);
}
