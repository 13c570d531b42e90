//! The constants of the speed model, with their meaning. The values are the output of `cargo xtask fit-calibrate`;
//! `docs/speed.md` says on what they were fitted, and how.

use super::{Platform, Quant};

/// All constants.
#[derive(Clone, Debug, PartialEq)]
pub struct Constants {
    /// By platform, in the order of [`Platform::ALL`].
    pub rates: [Rates; Platform::COUNT],
    /// What a byte of each kind of [`Quant`] does for the efficiency on an accelerator; 1 is that of K-quants.
    pub quant_on_accelerator: [f64; Quant::COUNT],
    /// The same on a processor.
    pub quant_on_cpu: [f64; Quant::COUNT],
    /// Share of the prefill rate that mixtures of experts reach.
    pub prefill_experts: f64,
    /// FLOP/s at which one core unpacks and multiplies weights for a single token. An assumption, not
    /// fitted, for published rows do not say their cores: a third of the peak of an AVX2 core at 3 GHz (96 GFLOP/s).
    pub core_flops: f64,
    /// Seconds for each token to get from one device to the next.
    pub hop: f64,
    /// Seconds for cards in tensor parallelism to wait for each other once.
    pub all_reduce: f64,
    /// How many times faster decoding is with prediction heads of the model's own.
    pub draft_gain: f64,
    /// Of setups that use cards and processor together.
    pub mixed: Spread,
}

/// Those of one platform.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Share of the stated bandwidth that reading dense weights reaches.
    pub efficiency: f64,
    /// Share of that share which experts reach.
    pub experts: f64,
    /// Share of the stated bandwidth that reading the KV cache reaches.
    pub kv_efficiency: f64,
    /// Seconds that each token takes beside reading.
    pub per_token: f64,
    /// Seconds that each layer takes beside reading.
    pub per_layer: f64,
    /// Seconds that each layer of experts takes on top.
    pub per_expert_layer: f64,
    /// Share of the stated FLOP/s that prompts reach; of a processor, a multiple of [`Constants::core_flops`].
    pub prefill: f64,
    /// Seconds before the first token that do not depend on the prompt.
    pub first_token: f64,
    /// How measurements lie about the estimate.
    pub spread: Spread,
    /// How many measurements the constants were fitted to.
    pub measurements: u32,
}

/// Four of five measurements lie between `low` and `high` times the estimate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Below 1.
    pub low: f64,
    /// Above 1.
    pub high: f64,
}

/// The fitted values.
pub static CONSTANTS: Constants = Constants {
    rates: [
        // LlamaCuda
        Rates {
            efficiency: 0.776,
            experts: 0.758,
            kv_efficiency: 0.848,
            per_token: 293.0e-6,
            per_layer: 22.5e-6,
            per_expert_layer: 23.8e-6,
            prefill: 0.440,
            first_token: 0.020,
            spread: Spread { low: 0.49, high: 1.73 },
            measurements: 339,
        },
        // LlamaCudaUnified
        Rates {
            efficiency: 0.696,
            experts: 0.848,
            kv_efficiency: 0.614,
            per_token: 283.7e-6,
            per_layer: 19.0e-6,
            per_expert_layer: 20.0e-6,
            prefill: 0.300,
            first_token: 0.020,
            spread: Spread { low: 0.85, high: 1.25 },
            measurements: 68,
        },
        // LlamaRocm
        Rates {
            efficiency: 0.770,
            experts: 0.635,
            kv_efficiency: 0.582,
            per_token: 346.8e-6,
            per_layer: 25.7e-6,
            per_expert_layer: 20.4e-6,
            prefill: 0.335,
            first_token: 0.020,
            spread: Spread { low: 0.49, high: 1.16 },
            measurements: 112,
        },
        // LlamaMetal
        Rates {
            efficiency: 0.771,
            experts: 0.749,
            kv_efficiency: 0.590,
            per_token: 298.7e-6,
            per_layer: 19.9e-6,
            per_expert_layer: 20.5e-6,
            prefill: 0.424,
            first_token: 0.020,
            spread: Spread { low: 0.34, high: 1.33 },
            measurements: 45,
        },
        // LlamaIntegrated
        Rates {
            efficiency: 0.421,
            experts: 0.804,
            kv_efficiency: 0.585,
            per_token: 305.5e-6,
            per_layer: 20.8e-6,
            per_expert_layer: 20.1e-6,
            prefill: 0.296,
            first_token: 0.020,
            spread: Spread { low: 0.84, high: 2.92 },
            measurements: 23,
        },
        // LlamaOther
        Rates {
            efficiency: 0.538,
            experts: 0.850,
            kv_efficiency: 0.600,
            per_token: 305.9e-6,
            per_layer: 20.8e-6,
            per_expert_layer: 20.0e-6,
            prefill: 0.300,
            first_token: 0.020,
            spread: Spread { low: 0.61, high: 1.62 },
            measurements: 1,
        },
        // Vllm
        Rates {
            efficiency: 0.750,
            experts: 0.662,
            kv_efficiency: 0.581,
            per_token: 308.7e-6,
            per_layer: 20.0e-6,
            per_expert_layer: 20.0e-6,
            prefill: 0.322,
            first_token: 0.020,
            spread: Spread { low: 0.64, high: 2.29 },
            measurements: 53,
        },
        // Mlx
        Rates {
            efficiency: 0.792,
            experts: 0.558,
            kv_efficiency: 0.605,
            per_token: 306.1e-6,
            per_layer: 20.6e-6,
            per_expert_layer: 20.5e-6,
            prefill: 0.333,
            first_token: 0.020,
            spread: Spread { low: 0.66, high: 2.20 },
            measurements: 19,
        },
        // Cpu
        Rates {
            efficiency: 0.561,
            experts: 0.698,
            kv_efficiency: 0.669,
            per_token: 231.0e-6,
            per_layer: 8.4e-6,
            per_expert_layer: 18.8e-6,
            prefill: 3.717,
            first_token: 0.020,
            spread: Spread { low: 0.60, high: 1.29 },
            measurements: 125,
        },
    ],
    quant_on_accelerator: [1.000, 1.054, 0.906, 0.890, 1.113, 1.000, 1.000, 0.968],
    quant_on_cpu: [1.000, 1.101, 1.109, 1.070, 1.000, 1.000, 1.000, 1.000],
    prefill_experts: 0.531,
    core_flops: 30.0e9,
    hop: 214.7e-6,
    all_reduce: 19.4e-6,
    draft_gain: 1.600,
    mixed: Spread { low: 0.56, high: 2.55 },
};
