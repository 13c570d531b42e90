//! Tensors by their role: what a quantisation decides by, and where an engine puts them.

/// What a tensor is for. Quantisations store roles at different precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// `token_embd`: one row for each token of the vocabulary.
    TokenEmbedding,
    /// `per_layer_token_embd`: a second embedding with a row part for each layer.
    PerLayerEmbedding,
    /// `output`: the head.
    Output,
    /// `attn_q`; with it the gate of an attention's output.
    AttentionQuery,
    /// `attn_k`.
    AttentionKey,
    /// `attn_v`.
    AttentionValue,
    /// `attn_qkv`: the three in one.
    AttentionQkv,
    /// `attn_output`.
    AttentionOutput,
    /// `attn_q_a`, `attn_q_b`, `attn_kv_a_mqa`, `attn_k_b`, `attn_v_b`: multi-head latent attention.
    AttentionLatent,
    /// `ffn_gate`.
    FfnGate,
    /// `ffn_up`.
    FfnUp,
    /// `ffn_down`.
    FfnDown,
    /// `ffn_gate_exps`.
    FfnGateExperts,
    /// `ffn_up_exps`.
    FfnUpExperts,
    /// `ffn_down_exps`.
    FfnDownExperts,
    /// `ffn_gate_shexp`.
    FfnGateShared,
    /// `ffn_up_shexp`.
    FfnUpShared,
    /// `ffn_down_shexp`.
    FfnDownShared,
    /// `ffn_gate_inp`: chooses the experts; never quantised.
    Router,
    /// `ssm_in`, `ssm_out` and their kin: the large matrices of recurrent layers.
    Recurrent,
    /// Convolutions, decays, time steps of recurrent layers; never quantised.
    RecurrentSmall,
    /// Norms and biases; never quantised.
    Norm,
    /// Any other matrix.
    Other,
}

impl Role {
    /// Whether it belongs to routed experts, of which a token uses a few.
    pub const fn is_routed(self) -> bool {
        matches!(self, Self::FfnGateExperts | Self::FfnUpExperts | Self::FfnDownExperts)
    }
}

/// A tensor, or as many equal ones as there are experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// What it is for.
    pub role: Role,
    /// Length of a row: what goes in. Quantisation blocks lie along it.
    pub columns: u64,
    /// Rows: what comes out.
    pub rows: u64,
    /// How many of them.
    pub count: u64,
}

impl Tensor {
    /// One matrix that takes `columns` in and gives `rows` out.
    pub const fn matrix(role: Role, columns: u64, rows: u64) -> Self {
        Self { role, columns, rows, count: 1 }
    }

    /// Values that are never quantised.
    pub const fn norm(length: u64) -> Self {
        Self { role: Role::Norm, columns: length, rows: 1, count: 1 }
    }

    /// Its elements.
    pub const fn elements(&self) -> u64 {
        self.columns.saturating_mul(self.rows).saturating_mul(self.count)
    }
}
