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
            efficiency: 0.805,
            experts: 0.930,
            kv_efficiency: 0.950,
            per_token: 357.7e-6,
            per_layer: 31.2e-6,
            per_expert_layer: 26.7e-6,
            prefill: 0.460,
            first_token: 0.020,
            spread: Spread { low: 0.55, high: 1.68 },
            measurements: 334,
        },
        // LlamaCudaUnified
        Rates {
            efficiency: 0.670,
            experts: 0.820,
            kv_efficiency: 0.585,
            per_token: 195.2e-6,
            per_layer: 12.9e-6,
            per_expert_layer: 25.1e-6,
            prefill: 0.300,
            first_token: 0.020,
            spread: Spread { low: 0.85, high: 1.25 },
            measurements: 68,
        },
        // LlamaRocm
        Rates {
            efficiency: 0.821,
            experts: 0.669,
            kv_efficiency: 0.517,
            per_token: 633.7e-6,
            per_layer: 36.9e-6,
            per_expert_layer: 19.5e-6,
            prefill: 0.347,
            first_token: 0.020,
            spread: Spread { low: 0.57, high: 1.10 },
            measurements: 115,
        },
        // LlamaMetal
        Rates {
            efficiency: 0.772,
            experts: 0.616,
            kv_efficiency: 0.531,
            per_token: 304.7e-6,
            per_layer: 21.6e-6,
            per_expert_layer: 20.3e-6,
            prefill: 0.548,
            first_token: 0.020,
            spread: Spread { low: 0.40, high: 1.26 },
            measurements: 44,
        },
        // LlamaIntegrated
        Rates {
            efficiency: 0.401,
            experts: 0.599,
            kv_efficiency: 0.607,
            per_token: 295.6e-6,
            per_layer: 19.7e-6,
            per_expert_layer: 20.3e-6,
            prefill: 0.248,
            first_token: 0.020,
            spread: Spread { low: 0.88, high: 2.49 },
            measurements: 23,
        },
        // LlamaOther
        Rates {
            efficiency: 0.519,
            experts: 0.850,
            kv_efficiency: 0.596,
            per_token: 315.6e-6,
            per_layer: 21.7e-6,
            per_expert_layer: 20.0e-6,
            prefill: 0.300,
            first_token: 0.020,
            spread: Spread { low: 0.64, high: 1.52 },
            measurements: 1,
        },
        // Vllm
        Rates {
            efficiency: 0.950,
            experts: 0.371,
            kv_efficiency: 0.550,
            per_token: 278.8e-6,
            per_layer: 16.6e-6,
            per_expert_layer: 37.9e-6,
            prefill: 1.010,
            first_token: 0.020,
            spread: Spread { low: 0.85, high: 2.14 },
            measurements: 53,
        },
        // Mlx
        Rates {
            efficiency: 0.859,
            experts: 0.523,
            kv_efficiency: 0.660,
            per_token: 319.4e-6,
            per_layer: 22.5e-6,
            per_expert_layer: 21.4e-6,
            prefill: 0.401,
            first_token: 0.020,
            spread: Spread { low: 0.74, high: 2.23 },
            measurements: 19,
        },
        // Cpu
        Rates {
            efficiency: 0.507,
            experts: 0.837,
            kv_efficiency: 0.736,
            per_token: 168.1e-6,
            per_layer: 7.0e-6,
            per_expert_layer: 18.8e-6,
            prefill: 4.603,
            first_token: 0.020,
            spread: Spread { low: 0.61, high: 1.30 },
            measurements: 124,
        },
    ],
    quant_on_accelerator: [1.000, 1.027, 1.154, 0.828, 1.116, 0.849, 0.984, 0.883],
    quant_on_cpu: [1.000, 1.115, 1.408, 1.500, 1.000, 1.000, 1.000, 1.000],
    prefill_experts: 0.598,
    core_flops: 30.0e9,
    hop: 314.9e-6,
    all_reduce: 22.7e-6,
    draft_gain: 1.453,
    mixed: Spread { low: 0.59, high: 2.21 },
};
