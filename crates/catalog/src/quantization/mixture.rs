//! Which of ggml's types a GGUF file stores a tensor in: llama.cpp's rules for each file type, at the pinned version.

use super::Place;
use crate::shape::{Role, Tensor};

/// A type of ggml: how a block of values is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq1S,
    Iq1M,
    Iq2Xxs,
    Iq2Xs,
    Iq2S,
    Iq3Xxs,
    Iq3S,
    Iq4Nl,
    Iq4Xs,
    Tq1_0,
    Tq2_0,
    Mxfp4,
}

/// A file type: the type that most tensors have, and how much is done for those that matter more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mixture {
    base: Block,
    size: Size,
    /// Whether embedding and head are in Q8_0 (`_L` and `_XL` of bartowski's).
    large_outside: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Plain,
    Small,
    Medium,
    Big,
    /// Unsloth's dynamic ones choose types by model; here values, shared experts, latent projections and the embedding
    /// are one type above the medium mixture, and below four bits and above five all of attention. Within 3 % of the
    /// published files of Qwen3 8B.
    Dynamic,
}

/// What the rules tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Category {
    Embedding,
    Output,
    Query,
    Key,
    Value,
    Qkv,
    AttentionOutput,
    Gate,
    Up,
    Down,
    Other,
}

impl Block {
    /// Values of a block, and its bytes.
    const fn layout(self) -> (u64, u64) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q4_0 | Self::Iq4Nl => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q8_0 => (32, 34),
            Self::Q2K => (256, 84),
            Self::Q3K | Self::Iq3S => (256, 110),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
            Self::Iq1S => (256, 50),
            Self::Iq1M => (256, 56),
            Self::Iq2Xxs | Self::Tq2_0 => (256, 66),
            Self::Iq2Xs => (256, 74),
            Self::Iq2S => (256, 82),
            Self::Iq3Xxs => (256, 98),
            Self::Iq4Xs => (256, 136),
            Self::Tq1_0 => (256, 54),
            Self::Mxfp4 => (32, 17),
        }
    }

    /// Bytes of a row of `columns` values.
    pub(super) const fn row_bytes(self, columns: u64) -> u64 {
        let (values, bytes) = self.layout();
        columns.div_ceil(values).saturating_mul(bytes)
    }

    const fn takes(self, columns: u64) -> bool {
        columns.is_multiple_of(self.layout().0)
    }

    const fn is_quantised(self) -> bool {
        !matches!(self, Self::F32 | Self::F16 | Self::Bf16)
    }

    /// The type for rows that this one cannot hold whole (`tensor_type_fallback`).
    const fn or_fallback(self, columns: u64) -> Self {
        if self.takes(columns) {
            return self;
        }
        let smaller = match self {
            Self::Iq1S
            | Self::Iq1M
            | Self::Iq2Xxs
            | Self::Iq2Xs
            | Self::Iq2S
            | Self::Iq3Xxs
            | Self::Iq3S
            | Self::Iq4Xs => Self::Iq4Nl,
            Self::Q2K | Self::Q3K | Self::Tq1_0 | Self::Tq2_0 => Self::Q4_0,
            Self::Q4K => Self::Q5_0,
            Self::Q5K => Self::Q5_1,
            Self::Q6K => Self::Q8_0,
            other => other,
        };
        if smaller.takes(columns) { smaller } else { Self::F16 }
    }

    /// One step more precise.
    const fn above(self) -> Self {
        match self {
            Self::Q2K => Self::Q3K,
            Self::Q3K => Self::Q4K,
            Self::Q4K => Self::Q5K,
            Self::Q5K => Self::Q6K,
            Self::Q6K => Self::Q8_0,
            Self::Q8_0 => Self::F16,
            other => other,
        }
    }
}

impl Mixture {
    pub(super) const fn plain(base: Block) -> Self {
        Self { base, size: Size::Plain, large_outside: false }
    }

    pub(super) const fn small(base: Block) -> Self {
        Self { base, size: Size::Small, large_outside: false }
    }

    pub(super) const fn medium(base: Block) -> Self {
        Self { base, size: Size::Medium, large_outside: false }
    }

    pub(super) const fn big(base: Block) -> Self {
        Self { base, size: Size::Big, large_outside: false }
    }

    pub(super) const fn dynamic(base: Block) -> Self {
        Self { base, size: Size::Dynamic, large_outside: false }
    }

    pub(super) const fn large(of: Self) -> Self {
        Self { large_outside: true, ..of }
    }

    /// The type in which `tensor` is stored.
    pub(super) fn block_for(self, tensor: &Tensor, place: &Place) -> Block {
        if matches!(tensor.role, Role::Norm | Role::RecurrentSmall | Role::Router) {
            return Block::F32;
        }
        if !self.base.is_quantised() {
            return self.base;
        }
        self.choose(tensor, place).or_fallback(tensor.columns)
    }

    fn choose(self, tensor: &Tensor, place: &Place) -> Block {
        let category = Category::of(tensor.role);
        if category == Category::Output || (place.tied && category == Category::Embedding) {
            return self.output(tensor.columns);
        }
        if self.base == Block::Mxfp4 {
            return if tensor.role.is_routed() { Block::Mxfp4 } else { Block::Q8_0 };
        }
        if category == Category::Embedding {
            return self.embedding();
        }
        if self.size == Size::Dynamic {
            let of_medium = Self::medium(self.base).choose(tensor, place);
            let attends = matches!(category, Category::Query | Category::Key | Category::AttentionOutput);
            // At four and five bits only the most telling tensors get more.
            let matters = matches!(category, Category::Value | Category::Qkv)
                || (attends && !matches!(self.base, Block::Q4K | Block::Q5K));
            let shared = matches!(tensor.role, Role::FfnGateShared | Role::FfnUpShared | Role::FfnDownShared);
            let latent = tensor.role == Role::AttentionLatent;
            return if matters || shared || latent { of_medium.above() } else { of_medium };
        }
        if matches!(self.base, Block::Iq1S | Block::Iq1M | Block::Iq2Xxs | Block::Iq2Xs | Block::Iq2S) {
            return self.layer_below_3_bits(category, place);
        }
        self.layer(category, place)
    }

    fn output(self, columns: u64) -> Block {
        match self.base {
            _ if self.large_outside => Block::Q8_0,
            _ if self.size == Size::Dynamic && matches!(self.base, Block::Q6K | Block::Q8_0) => self.base.above(),
            Block::Mxfp4 | Block::Q8_0 => Block::Q8_0,
            base if !base.takes(columns) => Block::Q8_0,
            Block::Iq1S | Block::Iq1M | Block::Iq2Xxs | Block::Iq2Xs | Block::Iq2S | Block::Iq3Xxs => Block::Q5K,
            _ => Block::Q6K,
        }
    }

    fn embedding(self) -> Block {
        match (self.base, self.size) {
            _ if self.large_outside => Block::Q8_0,
            (base, Size::Dynamic) => base.above(),
            (Block::Iq2Xxs | Block::Iq2Xs | Block::Iq1S | Block::Iq1M, _) => Block::Q2K,
            (Block::Iq2S | Block::Iq3Xxs, _) => Block::Iq3S,
            (Block::Tq1_0 | Block::Tq2_0, _) => Block::Q4K,
            (base, _) => base,
        }
    }

    fn layer_below_3_bits(self, category: Category, place: &Place) -> Block {
        let is_iq2_s = self.base == Block::Iq2S;
        let better = if is_iq2_s { Block::Iq3S } else { Block::Q2K };
        // IQ2_S stores most in IQ2_XS, and IQ2_M in IQ2_S.
        let base = if self.size == Size::Small { Block::Iq2Xs } else { self.base };
        match category {
            Category::Value | Category::Qkv if place.heads_per_kv_head >= 4 || place.experts >= 4 => Block::Q4K,
            Category::Value | Category::Qkv => better,
            Category::Key if place.experts == 8 => Block::Q4K,
            Category::Down if place.layer < place.layers / 8 => better,
            Category::AttentionOutput if place.experts == 8 => Block::Q5K,
            Category::AttentionOutput if matches!(base, Block::Iq1S | Block::Iq1M) => Block::Iq2Xxs,
            Category::AttentionOutput if is_iq2_s => Block::Iq3S,
            _ => base,
        }
    }

    fn layer(self, category: Category, place: &Place) -> Block {
        use Block::{Iq2S, Iq3S, Iq3Xxs, Q2K, Q3K, Q4K, Q5K, Q6K, Q8_0};
        let (base, size) = (self.base, self.size);
        let Place { experts, heads_per_kv_head, .. } = *place;
        let (layer, layers) = (u64::from(place.layer), u64::from(place.layers));
        let grouped = heads_per_kv_head >= 4;
        let more_bits = layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
        match category {
            Category::Value | Category::Qkv => {
                let chosen = match (base, size) {
                    (Q2K, Size::Medium) => {
                        if grouped {
                            Q4K
                        } else {
                            Q3K
                        }
                    }
                    (Q2K, Size::Small) if grouped => Q4K,
                    (Iq3Xxs, _) if grouped => Q4K,
                    (Iq3S, Size::Small | Size::Plain) if grouped => Q4K,
                    (Iq3S, Size::Medium) => Q4K,
                    (Q3K, Size::Medium) => {
                        if layer < 2 {
                            Q5K
                        } else {
                            Q4K
                        }
                    }
                    (Q3K, Size::Big) => Q5K,
                    (Block::Iq4Nl | Block::Iq4Xs, _) if grouped => Q5K,
                    (Q4K | Q5K, Size::Medium) if more_bits => Q6K,
                    (Q4K, Size::Small) if layer < 4 => Q5K,
                    _ => base,
                };
                // The 70B shares each value among eight heads, which leaves room.
                let of_70b =
                    layers == 80 && place.hidden == 8192 && heads_per_kv_head == 8 && matches!(chosen, Q3K | Q4K);
                match chosen {
                    _ if experts == 8 => Q8_0,
                    _ if of_70b => Q5K,
                    chosen => chosen,
                }
            }
            Category::Key if experts == 8 => Q8_0,
            Category::Key | Category::Query if base == Iq3S && size == Size::Small => Iq3Xxs,
            Category::Key | Category::Query if base == Iq3Xxs => Iq2S,
            Category::Down => match (base, size) {
                (Q2K, Size::Medium) => Q3K,
                (Q2K, Size::Small) if layer < layers / 8 => Q4K,
                (Q3K, Size::Medium) => {
                    if layer < layers / 16 {
                        Q5K
                    } else {
                        Q4K
                    }
                }
                (Iq3S, Size::Medium) if layer < layers / 8 || (experts == 8 && more_bits) => Q4K,
                (Q3K, Size::Big) => Q5K,
                (Q4K | Q5K, Size::Medium) if more_bits => Q6K,
                (Q4K, Size::Small) if layer < layers / 8 => Q5K,
                _ => base,
            },
            Category::AttentionOutput if experts == 8 => match base {
                Q2K | Q3K | Q4K | Iq3S | Iq3Xxs | Block::Iq4Nl | Block::Iq4Xs if size != Size::Big => Q5K,
                _ => base,
            },
            Category::AttentionOutput => match (base, size) {
                (Q2K, Size::Medium) => Q3K,
                (Iq3Xxs, _) => Iq3S,
                (Q3K | Iq3S, Size::Medium) => Q4K,
                (Q3K, Size::Big) => Q5K,
                _ => base,
            },
            Category::Gate | Category::Up if base == Iq3S && size == Size::Small => {
                if layer >= layers / 8 && layer < 7 * layers / 8 { Iq3Xxs } else { base }
            }
            _ => base,
        }
    }
}

impl Category {
    fn of(role: Role) -> Self {
        match role {
            Role::TokenEmbedding | Role::PerLayerEmbedding => Self::Embedding,
            Role::Output => Self::Output,
            Role::AttentionQuery => Self::Query,
            Role::AttentionKey => Self::Key,
            Role::AttentionValue => Self::Value,
            Role::AttentionQkv => Self::Qkv,
            Role::AttentionOutput => Self::AttentionOutput,
            Role::FfnGate | Role::FfnGateExperts | Role::FfnGateShared => Self::Gate,
            Role::FfnUp | Role::FfnUpExperts | Role::FfnUpShared => Self::Up,
            Role::FfnDown | Role::FfnDownExperts | Role::FfnDownShared => Self::Down,
            Role::AttentionLatent
            | Role::Router
            | Role::Recurrent
            | Role::RecurrentSmall
            | Role::Norm
            | Role::Other => Self::Other,
        }
    }
}
