//! Quantisations: their names in every spelling that people use, the exact bytes of a tensor, and what they cost.
//!
//! A name stands for rules, not for a number of bits: a `Q4_K_M` file stores some tensors in Q4_K, some in Q6_K and
//! norms in F32. [`Quantization::bytes`] follows those rules tensor by tensor, so that sums are the sizes of files.

mod mixture;

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use types::ByteCount;

use crate::shape::{Role, Shape, Tensor};
use mixture::{Block, Mixture};

/// One way to store a model's weights.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Quantization(u8);

/// Who can run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Container {
    /// A GGUF file, for llama.cpp.
    Gguf,
    /// Safetensors as vLLM and others read them.
    Safetensors,
    /// MLX's own layout of safetensors, for Apple silicon.
    Mlx,
}

/// What a rule may depend on besides the tensor itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The layer, counted from 0; anything for tensors outside of layers.
    pub layer: u32,
    /// Layers of the model.
    pub layers: u32,
    /// Routed experts of a layer; 0 for a dense model.
    pub experts: u64,
    /// Heads of queries for each head of keys and values.
    pub heads_per_kv_head: u64,
    /// Whether the token embedding is the head too.
    pub tied: bool,
    /// Width of the residual stream.
    pub hidden: u64,
}

impl Place {
    /// Outside of the layers of a model of this shape.
    pub fn of(shape: &Shape) -> Self {
        let attention = shape.blocks.iter().find_map(|block| block.attention);
        let sharing = attention.map_or(1, |attention| attention.heads.checked_div(attention.kv_heads).unwrap_or(1));
        let latent = shape.blocks.iter().any(|block| block.latent.is_some());
        Self {
            layer: 0,
            layers: u32::try_from(shape.layer_count()).unwrap_or(u32::MAX),
            experts: shape.blocks.iter().filter_map(|block| block.experts.as_ref()).map(|e| e.total).max().unwrap_or(0),
            // Latent attention is stored as if all heads shared one.
            heads_per_kv_head: if latent { attention.map_or(1, |attention| attention.heads) } else { sharing },
            tied: shape.tied,
            hidden: shape.hidden,
        }
    }

    /// In that layer, counted from 0.
    #[must_use]
    pub const fn at(self, layer: u32) -> Self {
        Self { layer, ..self }
    }
}

/// Text that names no known quantisation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no quantisation that is known here; Q4_K_M, Q8_0, BF16, FP8, AWQ-4bit and mlx-4bit are some")]
pub struct UnknownQuantization(String);

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    /// A GGUF mixture of types.
    Gguf(Mixture),
    /// Every matrix in so many bits, groups with a scale and more; embeddings and head in 16 bits.
    Grouped { bits: u64, group: u64, beside: u64 },
    /// MLX: the same, embeddings and head included.
    Mlx { bits: u64, group: u64, beside: u64 },
    /// Every value in 16 bits, as the maker published them.
    Plain,
}

struct Entry {
    name: &'static str,
    scheme: Scheme,
    /// Bits of a weight in a large model, all in all.
    bits: f32,
    /// Share by which perplexity grows.
    penalty: f32,
}

const fn gguf(name: &'static str, mixture: Mixture, bits: f32, penalty: f32) -> Entry {
    Entry { name, scheme: Scheme::Gguf(mixture), bits, penalty }
}

const fn other(name: &'static str, scheme: Scheme, bits: f32, penalty: f32) -> Entry {
    Entry { name, scheme, bits, penalty }
}

/// AWQ and GPTQ: groups of 128 with a 16-bit scale and a zero as wide as a weight.
const fn grouped(bits: u64) -> Scheme {
    Scheme::Grouped { bits, group: 128, beside: 16 + bits }
}

/// MLX: groups of 64 with a 16-bit scale and a 16-bit bias.
const fn mlx(bits: u64) -> Scheme {
    Scheme::Mlx { bits, group: 64, beside: 32 }
}

/// All of them.
///
/// Bits of GGUF types are those of Llama 3.1 8B in llama.cpp's quantize README. Penalties are relative: what llama.cpp's
/// quantize program prints for Llama 3 8B (perplexity 6.23 in F16), and between these, for types it prints nothing for,
/// interpolated by bits, i-quants as the k-quant a quarter bit above. 8-bit floats, AWQ and GPTQ: about what the 8-bit
/// and 4-bit k-quants lose (vLLM's and AutoAWQ's published perplexities).
const ENTRIES: &[Entry] = &[
    gguf("F32", Mixture::plain(Block::F32), 32.0, 0.0),
    gguf("BF16", Mixture::plain(Block::Bf16), 16.0, 0.0),
    gguf("F16", Mixture::plain(Block::F16), 16.0, 0.0003),
    gguf("UD-Q8_K_XL", Mixture::dynamic(Block::Q8_0), 10.5, 0.0003),
    gguf("Q8_0", Mixture::plain(Block::Q8_0), 8.5, 0.0004),
    gguf("UD-Q6_K_XL", Mixture::dynamic(Block::Q6K), 7.3, 0.0025),
    gguf("Q6_K_L", Mixture::large(Mixture::plain(Block::Q6K)), 6.8, 0.003),
    gguf("Q6_K", Mixture::plain(Block::Q6K), 6.56, 0.0035),
    gguf("UD-Q5_K_XL", Mixture::dynamic(Block::Q5K), 5.8, 0.008),
    gguf("Q5_K_L", Mixture::large(Mixture::medium(Block::Q5K)), 6.0, 0.0085),
    gguf("Q5_K_M", Mixture::medium(Block::Q5K), 5.70, 0.009),
    gguf("Q5_K_S", Mixture::plain(Block::Q5K), 5.57, 0.017),
    gguf("Q5_1", Mixture::plain(Block::Q5_1), 6.0, 0.017),
    gguf("Q5_0", Mixture::plain(Block::Q5_0), 5.5, 0.021),
    gguf("UD-Q4_K_XL", Mixture::dynamic(Block::Q4K), 5.0, 0.022),
    gguf("Q4_K_L", Mixture::large(Mixture::medium(Block::Q4K)), 5.2, 0.027),
    gguf("Q4_K_M", Mixture::medium(Block::Q4K), 4.89, 0.028),
    gguf("Q4_K_S", Mixture::small(Block::Q4K), 4.67, 0.043),
    gguf("IQ4_NL", Mixture::plain(Block::Iq4Nl), 4.68, 0.04),
    gguf("IQ4_XS", Mixture::plain(Block::Iq4Xs), 4.46, 0.045),
    gguf("MXFP4", Mixture::plain(Block::Mxfp4), 4.6, 0.045),
    gguf("Q4_1", Mixture::plain(Block::Q4_1), 5.1, 0.072),
    gguf("Q4_0", Mixture::plain(Block::Q4_0), 4.65, 0.075),
    gguf("UD-Q3_K_XL", Mixture::dynamic(Block::Q3K), 4.2, 0.08),
    gguf("Q3_K_XL", Mixture::large(Mixture::big(Block::Q3K)), 4.6, 0.085),
    gguf("Q3_K_L", Mixture::big(Block::Q3K), 4.30, 0.089),
    gguf("IQ3_M", Mixture::medium(Block::Iq3S), 3.76, 0.1),
    gguf("Q3_K_M", Mixture::medium(Block::Q3K), 4.00, 0.105),
    gguf("IQ3_S", Mixture::plain(Block::Iq3S), 3.66, 0.12),
    gguf("IQ3_XS", Mixture::small(Block::Iq3S), 3.50, 0.145),
    gguf("UD-IQ3_XXS", Mixture::plain(Block::Iq3Xxs), 3.3, 0.17),
    gguf("IQ3_XXS", Mixture::plain(Block::Iq3Xxs), 3.25, 0.18),
    gguf("Q3_K_S", Mixture::small(Block::Q3K), 3.64, 0.262),
    gguf("UD-Q2_K_XL", Mixture::dynamic(Block::Q2K), 3.4, 0.28),
    gguf("Q2_K_L", Mixture::large(Mixture::medium(Block::Q2K)), 3.6, 0.5),
    gguf("Q2_K_S", Mixture::small(Block::Q2K), 2.97, 0.511),
    gguf("Q2_K", Mixture::medium(Block::Q2K), 3.16, 0.565),
    gguf("UD-IQ2_M", Mixture::medium(Block::Iq2S), 3.0, 0.36),
    gguf("IQ2_M", Mixture::medium(Block::Iq2S), 2.93, 0.39),
    gguf("IQ2_S", Mixture::small(Block::Iq2S), 2.74, 0.5),
    gguf("IQ2_XS", Mixture::plain(Block::Iq2Xs), 2.59, 0.6),
    gguf("UD-IQ2_XXS", Mixture::plain(Block::Iq2Xxs), 2.4, 0.75),
    gguf("IQ2_XXS", Mixture::plain(Block::Iq2Xxs), 2.38, 0.8),
    gguf("UD-IQ1_M", Mixture::plain(Block::Iq1M), 2.15, 1.4),
    gguf("IQ1_M", Mixture::plain(Block::Iq1M), 2.15, 1.5),
    gguf("UD-IQ1_S", Mixture::plain(Block::Iq1S), 2.0, 2.3),
    gguf("IQ1_S", Mixture::plain(Block::Iq1S), 2.00, 2.5),
    gguf("TQ2_0", Mixture::plain(Block::Tq2_0), 2.3, 0.0),
    gguf("TQ1_0", Mixture::plain(Block::Tq1_0), 1.9, 0.0),
    other("FP8", Scheme::Grouped { bits: 8, group: 128 * 128, beside: 32 }, 8.2, 0.002),
    other("INT8", Scheme::Grouped { bits: 8, group: 4096, beside: 16 }, 8.2, 0.003),
    other("GPTQ-8bit", grouped(8), 8.4, 0.001),
    other("NVFP4", Scheme::Grouped { bits: 4, group: 16, beside: 8 }, 4.7, 0.045),
    other("AWQ-4bit", grouped(4), 4.4, 0.03),
    other("GPTQ-4bit", grouped(4), 4.4, 0.04),
    other("AutoRound-4bit", grouped(4), 4.4, 0.03),
    other("AWQ-8bit", grouped(8), 8.4, 0.001),
    other("AutoRound-8bit", grouped(8), 8.4, 0.001),
    other("GPTQ-3bit", grouped(3), 3.4, 0.15),
    other("GPTQ-2bit", grouped(2), 2.4, 1.0),
    other("16bit", Scheme::Plain, 16.0, 0.0),
    other("mlx-bf16", Scheme::Mlx { bits: 16, group: 64, beside: 0 }, 16.0, 0.0),
    other("mlx-8bit", mlx(8), 8.5, 0.001),
    other("mlx-6bit", mlx(6), 6.5, 0.005),
    other("mlx-5bit", mlx(5), 5.5, 0.017),
    other("mlx-4bit", mlx(4), 4.5, 0.06),
    other("mlx-mxfp4", Scheme::Mlx { bits: 4, group: 32, beside: 8 }, 4.25, 0.07),
    other("mlx-3bit", mlx(3), 3.5, 0.25),
    other("mlx-2bit", mlx(2), 2.5, 2.0),
];

/// Other spellings, after capitals and separators are set right.
const ALIASES: &[(&str, &str)] = &[
    ("FP32", "F32"),
    ("FP16", "F16"),
    ("HALF", "F16"),
    ("BFLOAT16", "BF16"),
    ("FLOAT16", "F16"),
    ("FLOAT32", "F32"),
    ("Q8_K_XL", "UD-Q8_K_XL"),
    ("Q6_K_XL", "UD-Q6_K_XL"),
    ("Q5_K_XL", "UD-Q5_K_XL"),
    ("Q4_K_XL", "UD-Q4_K_XL"),
    ("Q2_K_XL", "UD-Q2_K_XL"),
    ("Q5_K", "Q5_K_M"),
    ("Q4_K", "Q4_K_M"),
    ("Q3_K", "Q3_K_M"),
    ("Q8", "Q8_0"),
    ("Q6", "Q6_K"),
    ("Q4", "Q4_K_M"),
    ("MXFP4_MOE", "MXFP4"),
    ("FP8_DYNAMIC", "FP8"),
    ("FP8_E4M3", "FP8"),
    ("F8_E4M3", "FP8"),
    ("FP8_BLOCK", "FP8"),
    ("W8A8", "INT8"),
    ("W8A16", "GPTQ-8bit"),
    ("W4A16", "AWQ-4bit"),
    ("W4A4", "NVFP4"),
    ("NVFP4_MIXED", "NVFP4"),
    ("FP4", "NVFP4"),
    ("INT4", "AWQ-4bit"),
    ("4BIT", "AWQ-4bit"),
    ("8BIT", "INT8"),
    ("AWQ", "AWQ-4bit"),
    ("AWQ_INT4", "AWQ-4bit"),
    ("GPTQ", "GPTQ-4bit"),
    ("GPTQ_INT4", "GPTQ-4bit"),
    ("GPTQ_INT8", "GPTQ-8bit"),
    ("AUTOROUND", "AutoRound-4bit"),
    ("AUTO_ROUND", "AutoRound-4bit"),
    ("AUTOROUND_INT4", "AutoRound-4bit"),
    ("MLX", "mlx-4bit"),
    ("MLX_FP16", "mlx-bf16"),
    ("MLX_F16", "mlx-bf16"),
];

impl Quantization {
    /// As it is mostly taken where memory allows no more: `Q4_K_M`.
    pub const Q4_K_M: Self = Self::named("Q4_K_M");
    /// 8 bits, next to nothing lost.
    pub const Q8_0: Self = Self::named("Q8_0");
    /// 16 bits in a GGUF file.
    pub const BF16: Self = Self::named("BF16");

    /// All of them; GGUF first.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..ENTRIES.len()).filter_map(|index| u8::try_from(index).ok().map(Self))
    }

    /// Its name, as files and repositories are mostly named after it.
    pub fn as_str(self) -> &'static str {
        self.entry().name
    }

    /// Bits of a weight in a large model, all in all; [`Quantization::bytes`] is exact.
    pub fn bits(self) -> f64 {
        f64::from(self.entry().bits)
    }

    /// The share by which it makes perplexity grow: 0.03 for 3 %. Rank qualities by it, the least first.
    pub fn penalty(self) -> f64 {
        f64::from(self.entry().penalty)
    }

    /// What kind of file holds it.
    pub fn container(self) -> Container {
        match self.entry().scheme {
            Scheme::Gguf(_) => Container::Gguf,
            Scheme::Grouped { .. } | Scheme::Plain => Container::Safetensors,
            Scheme::Mlx { .. } => Container::Mlx,
        }
    }

    /// Bytes of `tensor` at `place`.
    pub fn bytes(self, tensor: &Tensor, place: &Place) -> ByteCount {
        let bits = |bits: u64| ByteCount::bytes(in_bits(tensor.elements(), bits));
        let is_small = matches!(tensor.role, Role::Norm | Role::RecurrentSmall | Role::Router);
        let is_outside = matches!(tensor.role, Role::TokenEmbedding | Role::PerLayerEmbedding | Role::Output);
        let in_groups = |width: u64, group: u64, beside: u64| {
            let groups = tensor.elements().div_ceil(group.max(1));
            ByteCount::bytes(in_bits(tensor.elements(), width).saturating_add(in_bits(groups, beside)))
        };
        match self.entry().scheme {
            Scheme::Gguf(mixture) => {
                let block = mixture.block_for(tensor, place);
                ByteCount::bytes(
                    block.row_bytes(tensor.columns).saturating_mul(tensor.rows).saturating_mul(tensor.count),
                )
            }
            Scheme::Plain => bits(16),
            Scheme::Grouped { .. } if is_small || is_outside => bits(16),
            Scheme::Mlx { .. } if is_small => bits(16),
            Scheme::Grouped { bits: width, group, beside } | Scheme::Mlx { bits: width, group, beside } => {
                in_groups(width, group, beside)
            }
        }
    }

    const fn named(name: &str) -> Self {
        let mut index = 0;
        while index < ENTRIES.len() {
            if same(ENTRIES[index].name, name) {
                #[expect(clippy::cast_possible_truncation, reason = "there are fewer than 256 entries")]
                return Self(index as u8);
            }
            index += 1;
        }
        panic!("no entry of this name")
    }

    fn entry(self) -> &'static Entry {
        &ENTRIES[usize::from(self.0)]
    }
}

const fn same(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut index = 0;
    while index < left.len() && index < right.len() && left[index] == right[index] {
        index += 1;
    }
    index == left.len() && index == right.len()
}

/// Bytes of `count` values of `bits` bits each.
fn in_bits(count: u64, bits: u64) -> u64 {
    u64::try_from((u128::from(count) * u128::from(bits)).div_ceil(8)).unwrap_or(u64::MAX)
}

impl FromStr for Quantization {
    type Err = UnknownQuantization;

    /// Reads any spelling: `q4_k_m`, `Q4-K-M`, `UD-Q4_K_XL`, `i1-IQ3_M`, `mlx-4bit`, `MLX 4-bit`, `w4a16`, `gptq-int4`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let normal = normalised(text);
        let bare = normal.strip_prefix("I1_").unwrap_or(&normal);
        let find = |name: &str| BY_NAME.get(name).copied();
        // A dynamic one that is not listed is stored much as its plain namesake.
        find(bare)
            .or_else(|| bare.strip_prefix("UD_").and_then(find))
            .ok_or_else(|| UnknownQuantization(text.to_owned()))
    }
}

/// All spellings, capitals and separators set right.
static BY_NAME: LazyLock<HashMap<String, Quantization>> = LazyLock::new(|| {
    let named = |name: &str| Quantization::all().find(|known| known.as_str() == name);
    let names = Quantization::all().map(|known| (normalised(known.as_str()), known));
    let aliases = ALIASES.iter().filter_map(|(alias, name)| Some(((*alias).to_owned(), named(name)?)));
    names.chain(aliases).collect()
});

/// Capitals, and underscores between parts; `4-bit` and `4 bit` are `4BIT`.
fn normalised(text: &str) -> String {
    let upper = text.trim().to_ascii_uppercase().replace(['-', ' ', '.'], "_");
    upper.replace("_BITS", "BIT").replace("_BIT", "BIT")
}

impl fmt::Display for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quantization({self})")
    }
}

#[cfg(test)]
mod tests;
