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

const START: Rates = Rates {
    efficiency: 0.75,
    experts: 0.9,
    kv_efficiency: 0.6,
    per_token: 0.3e-3,
    per_layer: 20e-6,
    per_expert_layer: 20e-6,
    prefill: 0.3,
    first_token: 0.02,
    spread: Spread { low: 0.75, high: 1.3 },
    measurements: 0,
};

/// The fitted values.
pub static CONSTANTS: Constants = Constants {
    rates: [START; Platform::COUNT],
    quant_on_accelerator: [1.0; Quant::COUNT],
    quant_on_cpu: [1.0; Quant::COUNT],
    prefill_experts: 0.4,
    core_flops: 25e9,
    hop: 0.2e-3,
    all_reduce: 15e-6,
    draft_gain: 1.6,
    mixed: Spread { low: 0.5, high: 1.6 },
};
