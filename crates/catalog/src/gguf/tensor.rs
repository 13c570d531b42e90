//! Tensors: how types store elements, how many bytes each tensor has, and their sums by place in the model.

use std::collections::HashSet;
use std::fmt;
use std::io::Read;

use types::ByteCount;

use super::source::Source;
use super::{Error, limit};

/// One tensor of a model, without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// How its elements are stored.
    pub kind: TensorType,
    /// Sizes, the row's length first; at most four.
    pub dimensions: Vec<u64>,
    /// Exact bytes, without the padding behind it.
    pub bytes: ByteCount,
}

impl Tensor {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.dimensions.iter().fold(1, |product: u64, size| product.saturating_mul(*size))
    }

    /// The layer it belongs to, from its name: `blk.N.`.
    pub fn layer(&self) -> Option<u32> {
        self.name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok().filter(|layer| *layer < limit::LAYERS)
    }

    /// Whether it holds the weights of routed experts, of which each token uses a few.
    pub fn is_experts(&self) -> bool {
        self.name.contains("_exps.") || self.name.contains("_chexps.")
    }
}

/// How a tensor's elements are stored, by ggml's number.
///
/// Numbers newer than this program are kept: the tensor's bytes are then taken from where the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TensorType(u32);

impl TensorType {
    /// ggml's number.
    pub fn id(self) -> u32 {
        self.0
    }

    /// Elements in a block, where the type is known.
    pub fn block_elements(self) -> Option<u64> {
        self.layout().map(|layout| layout.1)
    }

    /// Bytes of a block, where the type is known.
    pub fn block_bytes(self) -> Option<u64> {
        self.layout().map(|layout| layout.2)
    }

    fn layout(self) -> Option<Layout> {
        TYPES.get(usize::try_from(self.0).ok()?).copied().flatten()
    }
}

impl fmt::Display for TensorType {
    /// `Q4_K`; `type 77` where it has no name here.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layout() {
            Some((name, ..)) => f.pad(name),
            None => write!(f, "type {}", self.0),
        }
    }
}

/// Name, elements of a block, bytes of a block.
type Layout = (&'static str, u64, u64);

/// ggml's types by number; `None` for those that were withdrawn.
const TYPES: [Option<Layout>; 43] = [
    Some(("F32", 1, 4)),
    Some(("F16", 1, 2)),
    Some(("Q4_0", 32, 18)),
    Some(("Q4_1", 32, 20)),
    None, // Q4_2
    None, // Q4_3
    Some(("Q5_0", 32, 22)),
    Some(("Q5_1", 32, 24)),
    Some(("Q8_0", 32, 34)),
    Some(("Q8_1", 32, 36)),
    Some(("Q2_K", 256, 84)),
    Some(("Q3_K", 256, 110)),
    Some(("Q4_K", 256, 144)),
    Some(("Q5_K", 256, 176)),
    Some(("Q6_K", 256, 210)),
    Some(("Q8_K", 256, 292)),
    Some(("IQ2_XXS", 256, 66)),
    Some(("IQ2_XS", 256, 74)),
    Some(("IQ3_XXS", 256, 98)),
    Some(("IQ1_S", 256, 50)),
    Some(("IQ4_NL", 32, 18)),
    Some(("IQ3_S", 256, 110)),
    Some(("IQ2_S", 256, 82)),
    Some(("IQ4_XS", 256, 136)),
    Some(("I8", 1, 1)),
    Some(("I16", 1, 2)),
    Some(("I32", 1, 4)),
    Some(("I64", 1, 8)),
    Some(("F64", 1, 8)),
    Some(("IQ1_M", 256, 56)),
    Some(("BF16", 1, 2)),
    None, // Q4_0_4_4
    None, // Q4_0_4_8
    None, // Q4_0_8_8
    Some(("TQ1_0", 256, 54)),
    Some(("TQ2_0", 256, 66)),
    None, // IQ4_NL_4_4
    None, // IQ4_NL_4_8
    None, // IQ4_NL_8_8
    Some(("MXFP4", 32, 17)),
    Some(("NVFP4", 64, 36)),
    Some(("Q1_0", 128, 18)),
    Some(("Q2_0", 64, 18)),
];

/// The highest type number that is believed to be of a newer ggml rather than garbage.
const NEWEST_BELIEVABLE_TYPE: u32 = 255;

/// Bytes of a model's tensors by their place in it: what an engine puts where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Weights {
    /// All tensors.
    pub total: ByteCount,
    /// The token embedding (`token_embd.weight`). Engines keep it in RAM.
    pub token_embedding: ByteCount,
    /// The output layer (`output*`). Where `output_is_tied`, only its norm.
    pub output: ByteCount,
    /// Whether the token embedding is also the output matrix. An engine that puts the output layer on a GPU then holds
    /// these bytes a second time.
    pub output_is_tied: bool,
    /// Each layer (`blk.N.`), as many as the model has.
    pub layers: Vec<LayerWeights>,
    /// Routed experts of all layers together.
    pub experts: ByteCount,
    /// What is in none of these places.
    pub other: ByteCount,
}

/// Bytes of one layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LayerWeights {
    /// All its tensors.
    pub total: ByteCount,
    /// Of these, the routed experts.
    pub experts: ByteCount,
}

impl Weights {
    /// The sums over `tensors` of a model of `layers` layers.
    pub(super) fn of(tensors: &[Tensor], layers: u32) -> Self {
        let mut sums = Self { output_is_tied: true, ..Self::default() };
        sums.layers.resize(layers.min(limit::LAYERS) as usize, LayerWeights::default());
        for tensor in tensors {
            sums.total += tensor.bytes;
            if let Some(layer) = tensor.layer() {
                let index = layer as usize;
                if index >= sums.layers.len() {
                    sums.layers.resize(index + 1, LayerWeights::default());
                }
                sums.layers[index].total += tensor.bytes;
                if tensor.is_experts() {
                    sums.layers[index].experts += tensor.bytes;
                    sums.experts += tensor.bytes;
                }
            } else if tensor.name == "token_embd.weight" {
                sums.token_embedding += tensor.bytes;
            } else if tensor.name.starts_with("output") {
                sums.output += tensor.bytes;
                sums.output_is_tied &= tensor.name != "output.weight";
            } else {
                sums.other += tensor.bytes;
            }
        }
        // Without an embedding there is nothing to tie to: a projector, an adapter, a later file of a split set.
        sums.output_is_tied &= sums.token_embedding > ByteCount::ZERO;
        sums
    }
}

/// Reads `count` tensor descriptions and checks that the file holds their data. Also says where the data begins.
pub(super) fn read(
    source: &mut Source<impl Read>,
    count: u64,
    alignment: u64,
    file_length: ByteCount,
) -> Result<(Vec<Tensor>, ByteCount), Error> {
    let mut described = vec![];
    for _ in 0..count {
        described.push(Described::read(source)?);
    }
    let mut names = HashSet::new();
    if let Some(twice) = described.iter().find(|tensor| !names.insert(tensor.name.as_str())) {
        return Err(Error::Duplicate { name: twice.name.clone() });
    }
    let position = source.position();
    if described.is_empty() {
        return Ok((vec![], ByteCount::bytes(position)));
    }
    // Cannot overflow: a header is at most 512 MiB and the alignment at most 2 GiB.
    let data_offset = position.next_multiple_of(alignment);

    let mut tensors = Vec::with_capacity(described.len());
    let mut expected_offset = 0u64;
    let mut needed = data_offset;
    for (index, tensor) in described.iter().enumerate() {
        if tensor.offset != expected_offset {
            return Err(tensor.bad(format!("begins at {}, not at {expected_offset}", tensor.offset)));
        }
        let bytes = match tensor.bytes()? {
            Some(bytes) => bytes,
            None => {
                let data_length = file_length.as_u64().saturating_sub(data_offset);
                let end = described.get(index + 1).map_or(data_length, |next| next.offset);
                end.checked_sub(tensor.offset).ok_or_else(|| tensor.bad("overlaps the next one".to_owned()))?
            }
        };
        let too_large = || tensor.bad("is larger than any file".to_owned());
        let end = tensor.offset.checked_add(bytes).ok_or_else(too_large)?;
        needed = data_offset.checked_add(end).ok_or_else(too_large)?;
        expected_offset = end.checked_next_multiple_of(alignment).ok_or_else(too_large)?;
        tensors.push(Tensor {
            name: tensor.name.clone(),
            kind: tensor.kind,
            dimensions: tensor.dimensions.clone(),
            bytes: ByteCount::bytes(bytes),
        });
    }
    if needed > file_length.as_u64() {
        return Err(Error::DataCutShort { length: file_length, needed: ByteCount::bytes(needed) });
    }
    Ok((tensors, ByteCount::bytes(data_offset)))
}

/// A tensor as the header describes it.
struct Described {
    name: String,
    dimensions: Vec<u64>,
    kind: TensorType,
    offset: u64,
}

impl Described {
    fn read(source: &mut Source<impl Read>) -> Result<Self, Error> {
        let name = source.string("bytes of a tensor's name", limit::TENSOR_NAME_BYTES)?;
        let name = String::from_utf8(name).ok().filter(|name| !name.is_empty());
        let name = name.ok_or(Error::BadName { of: "a tensor" })?;
        let rank = source.u32()?;
        if rank > 4 {
            return Err(Error::BadTensor { name, problem: format!("has {rank} dimensions; there are at most 4") });
        }
        let mut dimensions = vec![];
        for _ in 0..rank {
            dimensions.push(source.u64()?);
        }
        let kind = TensorType(source.u32()?);
        let offset = source.u64()?;
        Ok(Self { name, dimensions, kind, offset })
    }

    /// Bytes by ggml's rule: whole blocks in every row. `None` for types newer than this program.
    fn bytes(&self) -> Result<Option<u64>, Error> {
        // ggml counts in signed 64-bit numbers.
        let elements = self.dimensions.iter().try_fold(1u64, |product, size| product.checked_mul(*size));
        let Some(elements) = elements.filter(|elements| i64::try_from(*elements).is_ok()) else {
            return Err(self.bad(format!("has the impossible shape {:?}", self.dimensions)));
        };
        let Some((name, block_elements, block_bytes)) = self.kind.layout() else {
            let may_be_newer = TYPES.len() <= self.kind.0 as usize && self.kind.0 <= NEWEST_BELIEVABLE_TYPE;
            return if may_be_newer {
                Ok(None)
            } else {
                Err(self.bad(format!("has type {}, which engines no longer read or never did", self.kind.0)))
            };
        };
        let row = self.dimensions.first().copied().unwrap_or(1);
        if !row.is_multiple_of(block_elements) {
            return Err(self.bad(format!("has rows of {row} elements, which {name} cannot store")));
        }
        let bytes = (elements / block_elements).checked_mul(block_bytes);
        bytes.map(Some).ok_or_else(|| self.bad("is larger than any file".to_owned()))
    }

    fn bad(&self, problem: String) -> Error {
        Error::BadTensor { name: self.name.clone(), problem }
    }
}
