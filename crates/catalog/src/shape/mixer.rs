//! What lets a token see others: the kinds, their tensors, and what each keeps.

use serde::{Deserialize, Serialize};

use super::tensor::{Role, Tensor};

/// What mixes tokens in a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mixer<'a> {
    /// Attention to all earlier tokens.
    Full(Attention),
    /// Attention to the last `window` tokens.
    Sliding {
        /// Its heads.
        attention: Attention,
        /// How far it looks back, tokens.
        window: u64,
    },
    /// Multi-head latent attention to all earlier tokens.
    Latent {
        /// Its ranks.
        latent: &'a Latent,
        /// Heads.
        heads: u64,
    },
    /// Attention to a window of tokens, and to what came before it through compressed rows.
    Compressed {
        /// Its ranks and window.
        compressed: &'a Compressed,
        /// Heads.
        heads: u64,
        /// Tokens that share a compressed row; 0 where there is only the window.
        ratio: u64,
    },
    /// A state of fixed size.
    Recurrent(&'a Recurrent),
    /// Nothing: the layer has only its feed-forward part.
    None,
}

/// Heads of attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Attention {
    /// Heads of queries.
    pub heads: u64,
    /// Heads of keys and values.
    pub kv_heads: u64,
    /// Elements of a head.
    pub head: u64,
    /// Elements of a value's head, where not `head`.
    #[serde(default)]
    pub value: Option<u64>,
    /// Whether the output is gated by a matrix as large as the query's. Default false.
    #[serde(default)]
    pub output_gate: bool,
    /// Whether keys serve as values, without a matrix of their own (Gemma 4's full layers). Both are still cached.
    /// Default false.
    #[serde(default)]
    pub key_is_value: bool,
    /// Chooses which blocks of tokens are looked at (`MiniMax`-M3, Qwen3.8-Next). All are cached nevertheless, and one
    /// small key for each with them.
    #[serde(default)]
    pub indexer: Option<Indexer>,
}

/// What layers with a sliding window have otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sliding {
    /// How far they look back, tokens.
    pub window: u64,
    /// Heads of queries, where not as in other layers.
    #[serde(default)]
    pub heads: Option<u64>,
    /// Heads of keys and values, where not as in other layers.
    #[serde(default)]
    pub kv_heads: Option<u64>,
    /// Elements of a head, where not as in other layers.
    #[serde(default)]
    pub head: Option<u64>,
    /// Whether keys serve as values. Default false, whatever other layers do.
    #[serde(default)]
    pub key_is_value: bool,
}

/// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Latent {
    /// Rank of the query's projection; 0 where it is one matrix.
    #[serde(default)]
    pub query_rank: u64,
    /// Rank of what is cached for keys and values.
    pub rank: u64,
    /// Elements of a key that carry the position, shared by all heads; cached too.
    #[serde(default)]
    pub rope: u64,
    /// Elements of a head's key without position.
    pub key: u64,
    /// Elements of a head's value.
    pub value: u64,
    /// Chooses which tokens are looked at (DeepSeek sparse attention).
    #[serde(default)]
    pub indexer: Option<Indexer>,
    /// Whether the output is gated by a matrix as large as the output's (Kimi-K3, Hy4). Default false.
    #[serde(default)]
    pub output_gate: bool,
}

/// Compressed attention (DeepSeek-V4; tensors as in llama.cpp's `deepseek4`). A layer caches one row of `head` for each
/// token of the window, and, unless it sees the window only, one such row for each `ratio` tokens before; those that
/// choose among these rows cache an indexer's key with each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Compressed {
    /// Rank of the query's projection.
    pub query_rank: u64,
    /// Elements of a query's head, and of a row that is key and value for all heads.
    pub head: u64,
    /// Groups of heads whose outputs are projected down together.
    pub output_groups: u64,
    /// Rank of a group's output.
    pub output_rank: u64,
    /// How many last tokens are seen as they are.
    pub window: u64,
    /// Tokens that share a row in sparse layers, which choose among their rows.
    pub sparse_ratio: u64,
    /// Tokens that share a row in heavily compressed layers, which look at all of theirs.
    pub heavy_ratio: u64,
    /// Chooses rows in sparse layers.
    pub indexer: Indexer,
}

/// The indexer of sparse attention: one more small key for each token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Indexer {
    /// Its heads.
    pub heads: u64,
    /// Elements of its key, cached.
    pub head: u64,
}

/// A state of fixed size in place of attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Recurrent {
    /// Mamba (arXiv 2312.00752).
    Mamba {
        /// Width of the state's input.
        inner: u64,
        /// Values for each of them.
        state: u64,
        /// Tokens of the convolution.
        convolution: u64,
        /// Rank of the time step.
        time_step: u64,
    },
    /// Mamba-2 (arXiv 2405.21060).
    Mamba2 {
        /// Width of the state's input.
        inner: u64,
        /// Values for each of them.
        state: u64,
        /// Tokens of the convolution.
        convolution: u64,
        /// Heads.
        heads: u64,
        /// Groups that share their keys.
        groups: u64,
    },
    /// Gated delta net (Qwen3-Next and its heirs; arXiv 2412.06464).
    DeltaNet {
        /// Heads of keys.
        key_heads: u64,
        /// Heads of values.
        value_heads: u64,
        /// Elements of a key's head.
        key: u64,
        /// Elements of a value's head.
        value: u64,
        /// Tokens of the convolution.
        convolution: u64,
    },
    /// Kimi delta attention (arXiv 2510.26692).
    Kda {
        /// Heads.
        heads: u64,
        /// Elements of a head.
        head: u64,
        /// Tokens of the convolution.
        convolution: u64,
        /// Whether the output's gate is one matrix instead of two of low rank (Kimi-K3, Ling-3). Default false.
        #[serde(default)]
        full_gate: bool,
    },
    /// A gated short convolution (LFM2).
    ShortConvolution {
        /// Tokens of the convolution.
        convolution: u64,
    },
    /// Linear attention with a decay for each head (Lightning: `MiniMax`-01, Ling 2.5, arXiv 2501.08313).
    Lightning {
        /// Heads.
        heads: u64,
        /// Elements of a head.
        head: u64,
    },
    /// RWKV 6 and 7: time mix; the channel mix is the feed-forward part.
    Rwkv {
        /// Elements of a head.
        head: u64,
        /// Rank of its small projections, together.
        rank: u64,
        /// Whether the gate is one of the small projections and the channel mix has no receptance, as in RWKV 7 (arXiv
        /// 2503.14456). Default false.
        #[serde(default)]
        low_rank_gate: bool,
    },
    /// RG-LRU with a convolution (`RecurrentGemma`, arXiv 2402.19427).
    RgLru {
        /// Its width.
        width: u64,
        /// Tokens of the convolution.
        convolution: u64,
        /// Heads of its block-diagonal gates.
        heads: u64,
    },
}

impl Sliding {
    /// These layers' heads, where the others have `attention`.
    pub(super) fn over(&self, attention: Attention) -> Attention {
        Attention {
            heads: self.heads.unwrap_or(attention.heads),
            kv_heads: self.kv_heads.unwrap_or(attention.kv_heads),
            head: self.head.unwrap_or(attention.head),
            value: if self.head.is_some() { None } else { attention.value },
            key_is_value: self.key_is_value,
            ..attention
        }
    }
}

impl Attention {
    /// Elements of a value's head.
    pub fn value_head(&self) -> u64 {
        self.value.unwrap_or(self.head)
    }
}

impl Mixer<'_> {
    /// Its tensors, in a model of width `hidden`.
    pub(super) fn tensors(&self, hidden: u64) -> Vec<Tensor> {
        match self {
            Self::Full(attention) | Self::Sliding { attention, .. } => attention_tensors(attention, hidden),
            Self::Latent { latent, heads } => latent_tensors(latent, *heads, hidden),
            Self::Compressed { compressed, heads, ratio } => compressed_tensors(compressed, *heads, *ratio, hidden),
            Self::Recurrent(recurrent) => recurrent.tensors(hidden),
            Self::None => vec![],
        }
    }
}

fn attention_tensors(attention: &Attention, hidden: u64) -> Vec<Tensor> {
    let queries = attention.heads * attention.head * if attention.output_gate { 2 } else { 1 };
    let mut tensors = vec![
        Tensor::matrix(Role::AttentionQuery, hidden, queries),
        Tensor::matrix(Role::AttentionKey, hidden, attention.kv_heads * attention.head),
        Tensor::matrix(Role::AttentionOutput, attention.heads * attention.value_head(), hidden),
    ];
    if !attention.key_is_value {
        tensors.push(Tensor::matrix(Role::AttentionValue, hidden, attention.kv_heads * attention.value_head()));
    }
    if let Some(indexer) = attention.indexer {
        tensors.push(Tensor::matrix(Role::AttentionLatent, hidden, (indexer.heads + 1) * indexer.head));
    }
    tensors
}

fn latent_tensors(latent: &Latent, heads: u64, hidden: u64) -> Vec<Tensor> {
    let query = heads * (latent.key + latent.rope);
    let part = |columns, rows| Tensor::matrix(Role::AttentionLatent, columns, rows);
    let mut tensors = if latent.query_rank > 0 {
        vec![part(hidden, latent.query_rank), part(latent.query_rank, query)]
    } else {
        vec![Tensor::matrix(Role::AttentionQuery, hidden, query)]
    };
    tensors.push(part(hidden, latent.rank + latent.rope));
    tensors.push(part(latent.rank, heads * latent.key));
    tensors.push(part(latent.rank, heads * latent.value));
    tensors.push(Tensor::matrix(Role::AttentionOutput, heads * latent.value, hidden));
    if let Some(indexer) = latent.indexer {
        let from = if latent.query_rank > 0 { latent.query_rank } else { hidden };
        tensors.push(part(from, indexer.heads * indexer.head));
        tensors.push(part(hidden, indexer.head));
        tensors.push(part(hidden, indexer.heads));
    }
    if latent.output_gate {
        tensors.push(part(hidden, heads * latent.value));
    }
    tensors
}

fn compressed_tensors(compressed: &Compressed, heads: u64, ratio: u64, hidden: u64) -> Vec<Tensor> {
    let &Compressed { query_rank, head, output_groups, output_rank, sparse_ratio, indexer, .. } = compressed;
    let part = |columns, rows| Tensor::matrix(Role::AttentionLatent, columns, rows);
    let mut tensors = vec![
        part(hidden, query_rank),
        part(query_rank, heads * head),
        part(hidden, head),
        Tensor::matrix(Role::AttentionOutput, heads * head / output_groups.max(1), output_groups * output_rank),
        Tensor::matrix(Role::AttentionOutput, output_groups * output_rank, hidden),
    ];
    // Rows of sparse layers overlap, so that their values and gates are made twice.
    let overlap = if ratio == sparse_ratio { 2 } else { 1 };
    if ratio > 0 {
        tensors.push(part(hidden, 2 * overlap * head));
    }
    if ratio > 0 && ratio == sparse_ratio {
        tensors.push(part(query_rank, indexer.heads * indexer.head));
        tensors.push(part(hidden, indexer.heads + 2 * overlap * indexer.head));
    }
    tensors
}

impl Recurrent {
    /// Values that a sequence keeps in the convolution's memory: what came before.
    pub fn convolution_state(&self, hidden: u64) -> u64 {
        let before = |tokens: u64| tokens.saturating_sub(1);
        match *self {
            Self::Mamba { inner, convolution, .. } => before(convolution) * inner,
            Self::Mamba2 { inner, state, convolution, groups, .. } => {
                before(convolution) * (inner + 2 * groups * state)
            }
            Self::DeltaNet { key_heads, value_heads, key, value, convolution } => {
                before(convolution) * (2 * key_heads * key + value_heads * value)
            }
            Self::Kda { heads, head, convolution, .. } => before(convolution) * 3 * heads * head,
            Self::ShortConvolution { convolution } => before(convolution) * hidden,
            Self::RgLru { width, convolution, .. } => before(convolution) * width,
            Self::Lightning { .. } => 0,
            Self::Rwkv { .. } => 2 * hidden,
        }
    }

    /// Values that a sequence keeps in the state itself.
    pub fn state(&self, hidden: u64) -> u64 {
        match *self {
            Self::Mamba { inner, state, .. } | Self::Mamba2 { inner, state, .. } => inner * state,
            Self::DeltaNet { value_heads, key, value, .. } => value_heads * key * value,
            Self::Kda { heads, head, .. } | Self::Lightning { heads, head } => heads * head * head,
            Self::ShortConvolution { .. } => 0,
            Self::Rwkv { head, .. } => hidden * head,
            Self::RgLru { width, .. } => width,
        }
    }

    fn tensors(&self, hidden: u64) -> Vec<Tensor> {
        let matrix = |columns, rows| Tensor::matrix(Role::Recurrent, columns, rows);
        let small = |count| Tensor::matrix(Role::RecurrentSmall, count, 1);
        match *self {
            Self::Mamba { inner, state, convolution, time_step } => vec![
                matrix(hidden, 2 * inner),
                matrix(inner, time_step + 2 * state),
                matrix(time_step, inner),
                matrix(inner, hidden),
                small(inner * (convolution + state + 2)),
            ],
            Self::Mamba2 { inner, state, convolution, heads, groups } => {
                let mixed = inner + 2 * groups * state;
                vec![
                    matrix(hidden, inner + mixed + heads),
                    matrix(inner, hidden),
                    small(mixed * (convolution + 1) + 3 * heads + inner),
                ]
            }
            Self::DeltaNet { key_heads, value_heads, key, value, convolution } => {
                let mixed = 2 * key_heads * key + value_heads * value;
                vec![
                    Tensor::matrix(Role::AttentionQkv, hidden, mixed),
                    matrix(hidden, value_heads * value),
                    matrix(hidden, 2 * value_heads),
                    matrix(value_heads * value, hidden),
                    small(mixed * convolution + 2 * value_heads + value),
                ]
            }
            Self::Kda { heads, head, convolution, full_gate } => {
                let width = heads * head;
                let mut tensors = vec![
                    Tensor::matrix(Role::AttentionQuery, hidden, width),
                    Tensor::matrix(Role::AttentionKey, hidden, width),
                    Tensor::matrix(Role::AttentionValue, hidden, width),
                    Tensor::matrix(Role::AttentionOutput, width, hidden),
                    matrix(hidden, heads),
                    small(3 * width * convolution + 2 * width),
                ];
                // The decay, and the gate of the output where that is of low rank, too.
                tensors.extend([matrix(hidden, head), matrix(head, width)]);
                if full_gate {
                    tensors.push(matrix(hidden, width));
                } else {
                    tensors.extend([matrix(hidden, head), matrix(head, width)]);
                }
                tensors
            }
            Self::ShortConvolution { convolution } => {
                vec![matrix(hidden, 3 * hidden), matrix(hidden, hidden), small(hidden * convolution)]
            }
            Self::Lightning { heads, head } => {
                let width = heads * head;
                vec![
                    Tensor::matrix(Role::AttentionQkv, hidden, 3 * width),
                    matrix(hidden, width),
                    Tensor::matrix(Role::AttentionOutput, width, hidden),
                ]
            }
            Self::Rwkv { rank, low_rank_gate, .. } => vec![
                // Receptance, key, value and output; before RWKV 7 a gate, and the receptance of the channel mix.
                matrix(hidden, if low_rank_gate { 4 } else { 6 } * hidden),
                matrix(hidden, 2 * rank),
                small(12 * hidden),
            ],
            Self::RgLru { width, convolution, heads } => vec![
                matrix(hidden, 2 * width),
                matrix(width, hidden),
                matrix(width, 2 * width / heads.max(1)),
                small(width * (convolution + 4)),
            ],
        }
    }
}
