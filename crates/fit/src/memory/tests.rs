//! Estimates beside what llama.cpp's allocator reserves for the same shapes, computed with its `no_alloc` mode at the
//! pinned version: caches to the byte, compute buffers near enough.

use catalog::shape::Shape;

use super::*;
use crate::facts::UBATCH;

/// A shape with what tests leave to it.
pub(crate) fn shape(text: &str) -> Shape {
    toml::from_str(&format!("name = 'x'\narchitecture = 'x'\n{text}")).unwrap()
}

pub(crate) fn facts(text: &str, quantization: &str) -> Facts {
    Facts::of(&shape(text), quantization.parse().unwrap()).unwrap()
}

const SMOLLM2: &str = "
    hidden = 576
    vocabulary = 49152
    tied = true
    context = 8192
    [[blocks]]
    layers = 30
    attention = { heads = 9, kv_heads = 3, head = 64 }
    feed_forward = 1536";

/// The sample model.
pub(crate) fn smollm2() -> Facts {
    facts(SMOLLM2, "Q4_1")
}

const LLAMA_8B: &str = "
    hidden = 4096
    vocabulary = 128256
    context = 131072
    [[blocks]]
    layers = 32
    attention = { heads = 32, kv_heads = 8, head = 128 }
    feed_forward = 14336";

const GEMMA3_12B: &str = "
    gguf = 'gemma3'
    hidden = 3840
    vocabulary = 262208
    tied = true
    context = 131072
    [[blocks]]
    layers = 48
    mixers = 'sssssf'
    attention = { heads = 16, kv_heads = 8, head = 256 }
    sliding = { window = 1024 }
    feed_forward = 15360";

const GEMMA4_31B: &str = "
    gguf = 'gemma4'
    hidden = 5376
    vocabulary = 262144
    tied = true
    context = 262144
    [[blocks]]
    layers = 60
    mixers = 'sssssf'
    attention = { heads = 32, kv_heads = 16, head = 512 }
    sliding = { window = 1024, head = 256 }
    feed_forward = 21504";

const GPT_OSS_20B: &str = "
    gguf = 'gpt-oss'
    hidden = 2880
    vocabulary = 201088
    context = 131072
    [[blocks]]
    layers = 24
    mixers = 'sf'
    attention = { heads = 64, kv_heads = 8, head = 64 }
    sliding = { window = 128 }
    experts = { total = 32, used = 4, width = 2880 }";

pub(crate) const QWEN3_30B_A3B: &str = "
    hidden = 2048
    vocabulary = 151936
    context = 40960
    [[blocks]]
    layers = 48
    attention = { heads = 32, kv_heads = 4, head = 128 }
    experts = { total = 128, used = 8, width = 768 }";

const DEEPSEEK_V3: &str = "
    hidden = 7168
    vocabulary = 129280
    context = 163840
    [[blocks]]
    layers = 3
    attention = { heads = 128, kv_heads = 128, head = 192 }
    latent = { query_rank = 1536, rank = 512, rope = 64, key = 128, value = 128 }
    feed_forward = 18432
    [[blocks]]
    layers = 58
    attention = { heads = 128, kv_heads = 128, head = 192 }
    latent = { query_rank = 1536, rank = 512, rope = 64, key = 128, value = 128 }
    experts = { total = 256, used = 8, width = 2048, shared_width = 2048 }";

const MAMBA2_2_7B: &str = "
    hidden = 2560
    vocabulary = 50288
    tied = true
    context = 8192
    [[blocks]]
    layers = 64
    recurrent = { kind = 'mamba2', inner = 5120, state = 128, convolution = 4, heads = 80, groups = 1 }
    feed_forwards = 'n'";

const QWEN3_NEXT_80B: &str = "
    hidden = 2048
    vocabulary = 151936
    context = 262144
    [[blocks]]
    layers = 48
    mixers = 'rrrf'
    attention = { heads = 16, kv_heads = 2, head = 256, output_gate = true }
    recurrent = { kind = 'delta_net', key_heads = 16, value_heads = 32, key = 128, value = 128, convolution = 4 }
    experts = { total = 512, used = 10, width = 512, shared_width = 512 }";

const LFM2_1_2B: &str = "
    hidden = 2048
    vocabulary = 65536
    tied = true
    context = 128000
    [[blocks]]
    layers = 16
    mixers = 'rrfrrfrrfrfrfrfr'
    attention = { heads = 32, kv_heads = 8, head = 64 }
    recurrent = { kind = 'short_convolution', convolution = 3 }
    feed_forward = 8192";

pub(crate) fn setting(context: u64, slots: u32) -> Setting {
    Setting {
        context,
        slots,
        offload: vec![],
        experts_in_ram: 0,
        cache_type_k: CacheType::F16,
        cache_type_v: CacheType::F16,
        all_outputs: false,
    }
}

fn mib(bytes: ByteCount) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "mebibytes with two decimals")]
    let bytes = bytes.as_u64() as f64;
    bytes / f64::from(1 << 20)
}

#[track_caller]
fn near(what: &str, estimate: ByteCount, reserved_mib: f64) {
    let difference = mib(estimate) - reserved_mib;
    let allowed = (0.1 * reserved_mib).max(16.0);
    assert!(difference.abs() <= allowed, "{what}: {:.1} MiB, llama.cpp reserves {reserved_mib} MiB", mib(estimate));
}

/// MiB: the cache, and compute buffers with all in RAM; with all on an accelerator, there and in RAM.
#[track_caller]
fn check(text: &str, setting: &Setting, kv: f64, ram: f64, accelerator: f64, host: f64) {
    let facts = facts(text, "Q4_K_M");
    let outputs = Buffers::of(&facts, setting).kept_outputs;
    let in_ram = in_ram(&facts, setting);
    assert!((mib(in_ram.kv) - kv).abs() < 0.01, "cache: {} MiB, llama.cpp allocates {kv} MiB", mib(in_ram.kv));
    near("in RAM", in_ram.compute.saturating_sub(outputs), ram);
    let whole = on_accelerator(&facts, setting);
    assert_eq!(whole.accelerator.kv, in_ram.kv);
    near("on an accelerator", whole.accelerator.compute.saturating_sub(ACCELERATOR_OVERHEAD), accelerator);
    near("beside it", whole.ram.compute.saturating_sub(outputs), host);
}

#[test]
fn dense() {
    check(SMOLLM2, &setting(4096, 1), 90.0, 17.51, 16.38, 6.26);
    check(SMOLLM2, &setting(32768, 1), 720.0, 45.51, 44.38, 34.26);
    check(SMOLLM2, &Setting { all_outputs: true, ..setting(4096, 1) }, 90.0, 101.14, 101.14, 6.27);
    check(LLAMA_8B, &setting(4096, 1), 512.0, 120.01, 112.01, 20.01);
    check(LLAMA_8B, &setting(32768, 1), 4096.0, 148.01, 140.01, 48.01);
    check(LLAMA_8B, &setting(8192, 4), 4096.0, 124.01, 116.01, 24.01);
    check(LLAMA_8B, &Setting { all_outputs: true, ..setting(4096, 1) }, 512.0, 278.52, 270.51, 20.02);
    let q8 = Setting { cache_type_k: CacheType::Q8_0, cache_type_v: CacheType::Q8_0, ..setting(32768, 1) };
    check(LLAMA_8B, &q8, 2176.0, 140.09, 132.09, 48.09);
}

#[test]
fn sliding_window() {
    check(GEMMA3_12B, &setting(32768, 1), 2528.0, 154.02, 146.52, 48.52);
    check(GEMMA3_12B, &setting(8192, 4), 3968.0, 130.02, 122.52, 24.52);
    check(GEMMA4_31B, &setting(32768, 1), 11440.0, 212.52, 212.52, 54.52);
    // Where the engine does not know windows it keeps everything.
    let as_llama = GEMMA3_12B.replace("gemma3", "llama");
    assert_eq!(in_ram(&facts(&as_llama, "Q8_0"), &setting(4096, 1)).kv, ByteCount::mib(1536));
}

#[test]
fn experts() {
    check(GPT_OSS_20B, &setting(4096, 1), 114.0, 97.0, 91.52, 16.02);
    check(GPT_OSS_20B, &setting(32768, 1), 786.0, 125.0, 119.52, 44.02);
    check(QWEN3_30B_A3B, &setting(4096, 1), 384.0, 92.01, 88.01, 12.01);
    check(QWEN3_30B_A3B, &setting(8192, 4), 3072.0, 96.01, 92.01, 16.01);
}

#[test]
fn latent_attention() {
    check(DEEPSEEK_V3, &setting(4096, 1), 274.5, 412.01, 382.01, 32.01);
    check(DEEPSEEK_V3, &setting(8192, 4), 2196.0, 416.01, 386.01, 36.01);
}

#[test]
fn recurrent() {
    check(MAMBA2_2_7B, &setting(4096, 1), 163.94, 69.78, 74.28, 10.0);
    check(MAMBA2_2_7B, &setting(8192, 4), 655.75, 77.65, 82.15, 10.0);
    check(QWEN3_NEXT_80B, &setting(4096, 1), 171.375, 90.01, 86.01, 12.01);
    check(QWEN3_NEXT_80B, &setting(8192, 4), 1069.5, 94.01, 90.01, 16.01);
    check(LFM2_1_2B, &setting(8192, 4), 384.625, 68.07, 64.07, 16.01);
}

fn cards(layers: [u32; 2]) -> Vec<(DeviceName, u32)> {
    vec![(DeviceName::new("CUDA0"), layers[0]), (DeviceName::new("CUDA1"), layers[1])]
}

/// Compute buffers in RAM, on the first card and on the second, MiB.
#[track_caller]
fn check_split(text: &str, setting: &Setting, expected: [f64; 3]) {
    let facts = facts(text, "F32");
    let outputs = Buffers::of(&facts, setting).kept_outputs;
    let memory = memory(&facts, setting);
    for (device, expected) in ["CPU", "CUDA0", "CUDA1"].iter().zip(expected) {
        let device = DeviceName::new(*device);
        let Some(held) = memory.0.get(&device) else { continue };
        let beside = if device.is_cpu() { outputs } else { ACCELERATOR_OVERHEAD };
        near(device.as_str(), held.compute.saturating_sub(beside), expected);
    }
}

#[test]
fn several_cards_have_copies_of_their_inputs() {
    check_split(LLAMA_8B, &Setting { offload: cards([17, 15]), ..setting(32768, 1) }, [168.05, 268.04, 300.04]);
    check_split(GEMMA3_12B, &Setting { offload: cards([25, 23]), ..setting(8192, 4) }, [75.58, 181.07, 211.07]);
}

#[test]
fn accelerators_borrow_what_stays_in_ram() {
    let card = |layers| vec![(DeviceName::new("CUDA0"), layers)];
    // F32, as llama.cpp was asked for: a feed-forward matrix of 224 MiB, experts of 768 MiB, of 1,012.5 MiB.
    check_split(LLAMA_8B, &Setting { offload: card(11), ..setting(4096, 1) }, [20.01, 316.0, 0.0]);
    let stay = |count| Setting { offload: card(48), experts_in_ram: count, ..setting(4096, 1) };
    check_split(QWEN3_30B_A3B, &stay(48), [12.01, 832.01, 0.0]);
    check_split(QWEN3_30B_A3B, &stay(10), [12.01, 832.01, 0.0]);
}

fn sum(memory: &MemoryUse, kind: fn(&DeviceMemory) -> ByteCount) -> ByteCount {
    memory.0.values().map(kind).sum()
}

#[test]
fn layers_on_two_cards_and_in_ram_add_up() {
    for text in [SMOLLM2, GEMMA3_12B, QWEN3_30B_A3B, DEEPSEEK_V3, QWEN3_NEXT_80B] {
        let facts = facts(text, "Q4_K_M");
        let layers = facts.layer_count();
        let whole = memory(&facts, &setting(2048, 2));
        let copied = facts.outside().tied;
        for (offload, experts_in_ram) in
            [([10, 7], 0), ([layers, 0], 0), ([8, layers - 8], 0), ([8, layers - 8], 9), ([1, 1], 99)]
        {
            let split = memory(&facts, &Setting { offload: cards(offload), experts_in_ram, ..setting(2048, 2) });
            assert_eq!(sum(&split, |held| held.kv), sum(&whole, |held| held.kv), "{offload:?}");
            assert_eq!(sum(&split, |held| held.model), sum(&whole, |held| held.model) + copied, "{offload:?}");
        }
    }
}

#[test]
fn experts_in_ram_leave_room_on_the_card() {
    let facts = facts(QWEN3_30B_A3B, "Q4_K_M");
    let on_card = |experts_in_ram| {
        let offload = vec![(DeviceName::new("CUDA0"), 48)];
        memory(&facts, &Setting { offload, experts_in_ram, ..setting(8192, 1) }).0[&DeviceName::new("CUDA0")].model
    };
    assert_eq!(on_card(0).saturating_sub(on_card(48)), facts.experts());
    assert!(on_card(0) > on_card(1) && on_card(1) > on_card(48));
}

#[test]
fn caches_are_padded_and_cheaper_types_cost_less() {
    let kv = |setting: &Setting| in_ram(&smollm2(), setting).kv.as_u64();
    assert_eq!(kv(&setting(1, 1)), kv(&setting(256, 1)));
    assert_eq!(kv(&setting(257, 1)), kv(&setting(512, 1)));
    let full = kv(&setting(8192, 1));
    let typed = |cache_type| kv(&Setting { cache_type_k: cache_type, cache_type_v: cache_type, ..setting(8192, 1) });
    assert_eq!((typed(CacheType::Q8_0), typed(CacheType::Q4_0)), (full * 34 / 64, full * 18 / 64));
}

#[test]
fn what_a_token_reads_is_less_than_what_lies_there() {
    let moe = facts(QWEN3_30B_A3B, "Q4_K_M");
    // 3.3 B of 30.5 B parameters, of which the embedding is read a row at a time.
    let share = mib(moe.weights_per_token()) / mib(moe.weights());
    assert!((0.09..0.12).contains(&share), "{share}");
    assert!(UBATCH > 0 && smollm2().weights_per_token() < smollm2().weights() + ByteCount::bytes(1));
}
