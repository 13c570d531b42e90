//! The constants of the speed model. Written by `cargo xtask fit-calibrate`; see `docs/speed.md` for the procedure.

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
    /// FLOP/s of one core on unpacked weights.
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
    /// Share of the stated FLOP/s that prompts reach.
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
            experts: 0.915,
            kv_efficiency: 1.000,
            per_token: 369.1e-6,
            per_layer: 31.0e-6,
            per_expert_layer: 26.6e-6,
            prefill: 0.460,
            first_token: 0.020,
            spread: Spread { low: 0.52, high: 1.87 },
            measurements: 334,
        },
        // LlamaCudaUnified
        Rates {
            efficiency: 0.673,
            experts: 0.813,
            kv_efficiency: 0.591,
            per_token: 189.7e-6,
            per_layer: 13.5e-6,
            per_expert_layer: 23.4e-6,
            prefill: 0.298,
            first_token: 0.020,
            spread: Spread { low: 0.84, high: 1.32 },
            measurements: 68,
        },
        // LlamaRocm
        Rates {
            efficiency: 0.823,
            experts: 0.668,
            kv_efficiency: 0.533,
            per_token: 603.5e-6,
            per_layer: 38.6e-6,
            per_expert_layer: 18.8e-6,
            prefill: 0.347,
            first_token: 0.020,
            spread: Spread { low: 0.56, high: 1.12 },
            measurements: 115,
        },
        // LlamaMetal
        Rates {
            efficiency: 0.769,
            experts: 0.616,
            kv_efficiency: 0.554,
            per_token: 296.1e-6,
            per_layer: 19.5e-6,
            per_expert_layer: 20.6e-6,
            prefill: 0.548,
            first_token: 0.020,
            spread: Spread { low: 0.40, high: 1.28 },
            measurements: 44,
        },
        // LlamaIntegrated
        Rates {
            efficiency: 0.403,
            experts: 0.596,
            kv_efficiency: 0.599,
            per_token: 299.5e-6,
            per_layer: 20.3e-6,
            per_expert_layer: 20.3e-6,
            prefill: 0.250,
            first_token: 0.020,
            spread: Spread { low: 0.87, high: 2.53 },
            measurements: 23,
        },
        // LlamaOther
        Rates {
            efficiency: 0.505,
            experts: 0.850,
            kv_efficiency: 0.606,
            per_token: 284.1e-6,
            per_layer: 18.5e-6,
            per_expert_layer: 20.0e-6,
            prefill: 0.300,
            first_token: 0.020,
            spread: Spread { low: 0.62, high: 1.62 },
            measurements: 1,
        },
        // Vllm
        Rates {
            efficiency: 1.000,
            experts: 0.372,
            kv_efficiency: 0.557,
            per_token: 314.2e-6,
            per_layer: 17.5e-6,
            per_expert_layer: 36.8e-6,
            prefill: 1.011,
            first_token: 0.020,
            spread: Spread { low: 0.84, high: 2.17 },
            measurements: 53,
        },
        // Mlx
        Rates {
            efficiency: 0.840,
            experts: 0.554,
            kv_efficiency: 0.654,
            per_token: 325.7e-6,
            per_layer: 23.6e-6,
            per_expert_layer: 24.4e-6,
            prefill: 0.393,
            first_token: 0.020,
            spread: Spread { low: 0.77, high: 2.31 },
            measurements: 19,
        },
        // Cpu
        Rates {
            efficiency: 0.501,
            experts: 0.849,
            kv_efficiency: 1.000,
            per_token: 188.1e-6,
            per_layer: 7.1e-6,
            per_expert_layer: 20.6e-6,
            prefill: 1.500,
            first_token: 0.020,
            spread: Spread { low: 0.58, high: 1.35 },
            measurements: 124,
        },
    ],
    quant_on_accelerator: [1.000, 1.025, 1.157, 0.827, 1.115, 0.809, 0.862, 0.787],
    quant_on_cpu: [1.000, 1.133, 1.322, 1.500, 1.000, 1.000, 1.000, 1.000],
    prefill_experts: 0.561,
    core_flops: 86.9e9,
    hop: 256.9e-6,
    all_reduce: 17.5e-6,
    draft_gain: 1.549,
    mixed: Spread { low: 0.54, high: 2.70 },
};
