//! The metadata of a header: which entries are kept, and how they are asked for.

use std::collections::{HashMap, HashSet};
use std::io::Read;

use super::source::Source;
use super::{Error, limit};

/// The entries we use, by key. All others are gone over.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    values: HashMap<String, Value>,
}

/// A kept value. Integers of all widths are one kind: writers do not agree on widths.
#[derive(Debug, PartialEq)]
enum Value {
    Integer(u64),
    /// A number below zero or with a fraction: never what we ask for.
    OtherNumber,
    Bool(bool),
    Text(String),
    Integers(Vec<u64>),
    Bools(Vec<bool>),
    /// A list too long to keep, of which only the length matters.
    Length(u64),
}

/// Keys outside the architecture's own namespace.
const GENERAL: [&str; 14] = [
    "general.alignment",
    "general.architecture",
    "general.file_type",
    "general.license",
    "general.name",
    "general.size_label",
    "general.type",
    "split.count",
    "split.no",
    "split.tensors.count",
    "tokenizer.chat_template",
    FILL_PREFIX,
    FILL_PREFIX_BEFORE,
    TOKENS,
];

/// The token before a gap that is to be filled, and the name that it had before.
const FILL_PREFIX: &str = "tokenizer.ggml.fim_pre_token_id";
const FILL_PREFIX_BEFORE: &str = "tokenizer.ggml.prefix_token_id";

/// The vocabulary. Only its length is kept.
const TOKENS: &str = "tokenizer.ggml.tokens";

/// Keys that follow the architecture's name and a full stop.
const OF_ARCHITECTURE: [&str; 46] = [
    "attention.causal",
    "attention.compress_ratios",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.key_length_mla",
    "attention.key_length_swa",
    "attention.kv_lora_rank",
    "attention.recurrent_layers",
    "attention.shared_kv_layers",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attention.value_length",
    "attention.value_length_mla",
    "attention.value_length_swa",
    "block_count",
    "context_length",
    "embedding_length",
    "embedding_length_out",
    "expert_count",
    "expert_feed_forward_length",
    "expert_shared_count",
    "expert_shared_feed_forward_length",
    "expert_used_count",
    "feed_forward_length",
    "full_attention_interval",
    "kda.head_dim",
    "leading_dense_block_count",
    "nextn_predict_layers",
    "pooling_type",
    "rope.dimension_count",
    "shortconv.l_cache",
    "ssm.conv_kernel",
    "ssm.group_count",
    "ssm.inner_size",
    "ssm.state_size",
    "ssm.time_step_rank",
    "token_shift_count",
    "vocab_size",
    "wkv.head_size",
    "attention.indexer.head_count",
    "attention.indexer.key_length",
    "attention.indexer.kpool",
    "attention.indexer.types",
    "embedding_length_per_layer_input",
    "hyper_connection.count",
];

fn is_wanted(key: &str) -> bool {
    GENERAL.contains(&key) || key.split_once('.').is_some_and(|(_, rest)| OF_ARCHITECTURE.contains(&rest))
}

impl Metadata {
    pub(super) fn read(source: &mut Source<impl Read>, count: u64) -> Result<Self, Error> {
        let mut values = HashMap::new();
        let mut seen = HashSet::new();
        for _ in 0..count {
            let key = source.string("bytes of a metadata key", limit::KEY_BYTES)?;
            let key = String::from_utf8(key).ok().filter(|key| !key.is_empty());
            let key = key.ok_or(Error::BadName { of: "a metadata entry" })?;
            let value = read_value(source, &key)?;
            if let Some(value) = value {
                values.insert(key.clone(), value);
            }
            if let Some(name) = seen.replace(key) {
                return Err(Error::Duplicate { name });
            }
        }
        Ok(Self { values })
    }

    /// Where tensors' data may begin: a power of two, 32 unless stated.
    pub(super) fn alignment(&self) -> Result<u64, Error> {
        let key = "general.alignment";
        let alignment = self.integer(key)?.unwrap_or(32);
        if alignment.is_power_of_two() && alignment <= 1 << 31 {
            Ok(alignment)
        } else {
            Err(Error::BadValue { key: key.to_owned(), expected: "a power of two" })
        }
    }

    pub(super) fn integer(&self, key: &str) -> Result<Option<u64>, Error> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Integer(number)) => Ok(Some(*number)),
            Some(_) => Err(Error::BadValue { key: key.to_owned(), expected: "a whole number, not negative" }),
        }
    }

    /// A number, or one for each layer.
    pub(super) fn integers(&self, key: &str) -> Result<Option<Vec<u64>>, Error> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Integer(number)) => Ok(Some(vec![*number])),
            Some(Value::Integers(numbers)) => Ok(Some(numbers.clone())),
            Some(Value::Bools(flags)) => Ok(Some(flags.iter().map(|flag| u64::from(*flag)).collect())),
            Some(_) => Err(Error::BadValue { key: key.to_owned(), expected: "whole numbers, not negative" }),
        }
    }

    /// Whether the value is a list, however short.
    pub(super) fn is_list(&self, key: &str) -> bool {
        matches!(self.values.get(key), Some(Value::Integers(_) | Value::Bools(_) | Value::Length(_)))
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, Error> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(Error::BadValue { key: key.to_owned(), expected: "true or false" }),
        }
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, Error> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(Error::BadValue { key: key.to_owned(), expected: "text" }),
        }
    }

    /// Whether there is a token before a gap that is to be filled.
    pub(super) fn has_fill_prefix(&self) -> bool {
        [FILL_PREFIX, FILL_PREFIX_BEFORE].iter().any(|key| self.values.contains_key(*key))
    }

    /// How many tokens the tokenizer lists.
    pub(super) fn listed_tokens(&self) -> Option<u64> {
        match self.values.get(TOKENS) {
            Some(Value::Length(length)) => Some(*length),
            _ => None,
        }
    }
}

/// Reads the value of `key` if it is wanted, goes over it otherwise.
fn read_value(source: &mut Source<impl Read>, key: &str) -> Result<Option<Value>, Error> {
    let kind = source.u32()?;
    let kind = ValueType::from_id(kind).ok_or_else(|| unknown_type(key, kind))?;
    if !is_wanted(key) {
        skip_value(source, key, kind, limit::NESTING)?;
        return Ok(None);
    }
    match kind {
        ValueType::Text => {
            let text = source.string("bytes of a text we keep", limit::KEPT_STRING_BYTES)?;
            Ok(Some(Value::Text(String::from_utf8_lossy(&text).into_owned())))
        }
        ValueType::Array => read_array(source, key).map(Some),
        scalar => Ok(Some(match read_scalar(source, scalar)? {
            Scalar::Integer(number) => Value::Integer(number),
            Scalar::Bool(flag) => Value::Bool(flag),
            Scalar::Other => Value::OtherNumber,
        })),
    }
}

fn read_array(source: &mut Source<impl Read>, key: &str) -> Result<Value, Error> {
    let (kind, length) = array_head(source, key)?;
    if matches!(kind, ValueType::Text | ValueType::Array) {
        skip_elements(source, key, kind, length, limit::NESTING - 1)?;
        return Ok(Value::Length(length));
    }
    if length > limit::KEPT_ARRAY_LENGTH {
        return Err(Error::TooMuch {
            what: "elements in a list we keep",
            claimed: length,
            limit: limit::KEPT_ARRAY_LENGTH,
        });
    }
    let (mut integers, mut flags) = (vec![], vec![]);
    for _ in 0..length {
        match read_scalar(source, kind)? {
            Scalar::Integer(number) => integers.push(number),
            Scalar::Bool(flag) => flags.push(flag),
            Scalar::Other => {
                return Err(Error::BadValue { key: key.to_owned(), expected: "whole numbers, not negative" });
            }
        }
    }
    Ok(if kind == ValueType::Bool { Value::Bools(flags) } else { Value::Integers(integers) })
}

enum Scalar {
    Integer(u64),
    Bool(bool),
    Other,
}

fn read_scalar(source: &mut Source<impl Read>, kind: ValueType) -> Result<Scalar, Error> {
    let signed = |number: i64| u64::try_from(number).map_or(Scalar::Other, Scalar::Integer);
    Ok(match kind {
        ValueType::U8 => Scalar::Integer(u64::from(source.array::<1>()?[0])),
        ValueType::I8 => signed(i64::from(i8::from_le_bytes(source.array()?))),
        ValueType::U16 => Scalar::Integer(u64::from(u16::from_le_bytes(source.array()?))),
        ValueType::I16 => signed(i64::from(i16::from_le_bytes(source.array()?))),
        ValueType::U32 => Scalar::Integer(u64::from(source.u32()?)),
        ValueType::I32 => signed(i64::from(i32::from_le_bytes(source.array()?))),
        ValueType::U64 => Scalar::Integer(source.u64()?),
        ValueType::I64 => signed(i64::from_le_bytes(source.array()?)),
        ValueType::Bool => Scalar::Bool(source.array::<1>()?[0] != 0),
        ValueType::F32 | ValueType::F64 | ValueType::Text | ValueType::Array => {
            source.skip(kind.width().unwrap_or(0))?;
            Scalar::Other
        }
    })
}

fn skip_value(source: &mut Source<impl Read>, key: &str, kind: ValueType, nesting: u32) -> Result<(), Error> {
    match kind {
        ValueType::Text => source.skip_string(),
        ValueType::Array => {
            if nesting == 0 {
                let limit = u64::from(limit::NESTING);
                return Err(Error::TooMuch { what: "arrays within arrays", claimed: limit + 1, limit });
            }
            let (kind, length) = array_head(source, key)?;
            skip_elements(source, key, kind, length, nesting - 1)
        }
        scalar => source.skip(scalar.width().unwrap_or(0)),
    }
}

fn skip_elements(
    source: &mut Source<impl Read>,
    key: &str,
    kind: ValueType,
    length: u64,
    nesting: u32,
) -> Result<(), Error> {
    match kind.width() {
        Some(width) => source.skip(length.saturating_mul(width)),
        None => (0..length).try_for_each(|_| skip_value(source, key, kind, nesting)),
    }
}

fn array_head(source: &mut Source<impl Read>, key: &str) -> Result<(ValueType, u64), Error> {
    let kind = source.u32()?;
    let kind = ValueType::from_id(kind).ok_or_else(|| unknown_type(key, kind))?;
    let length = source.count("elements in a list", limit::ARRAY_LENGTH)?;
    // Every element takes a byte at least; without this a claim of millions would cost a loop to find out.
    source.require(length)?;
    Ok((kind, length))
}

fn unknown_type(key: &str, found: u32) -> Error {
    Error::UnknownValueType { key: key.chars().take(80).collect(), found }
}

/// Types of metadata values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    Array,
    U64,
    I64,
    F64,
}

impl ValueType {
    fn from_id(id: u32) -> Option<Self> {
        const BY_ID: [ValueType; 13] = [
            ValueType::U8,
            ValueType::I8,
            ValueType::U16,
            ValueType::I16,
            ValueType::U32,
            ValueType::I32,
            ValueType::F32,
            ValueType::Bool,
            ValueType::Text,
            ValueType::Array,
            ValueType::U64,
            ValueType::I64,
            ValueType::F64,
        ];
        BY_ID.get(usize::try_from(id).ok()?).copied()
    }

    /// Bytes of one value; `None` where each value says so itself.
    fn width(self) -> Option<u64> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Text | Self::Array => None,
        }
    }
}
