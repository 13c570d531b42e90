//! How a model's engine is to be started: `runtime_options` of a model config, and of a load.

use serde_json::Value;
use types::CacheType;

use super::read::{Fields, shown, whole};
use super::{Problem, Problems, text};

/// What may be written as a type of the KV cache.
const CACHE_TYPES: [(&str, CacheType); 9] = [
    ("f32", CacheType::F32),
    ("f16", CacheType::F16),
    ("bf16", CacheType::Bf16),
    ("q8_0", CacheType::Q8_0),
    ("q4_0", CacheType::Q4_0),
    ("q4_1", CacheType::Q4_1),
    ("iq4_nl", CacheType::Iq4Nl),
    ("q5_0", CacheType::Q5_0),
    ("q5_1", CacheType::Q5_1),
];

/// How an engine is to be started. `None` leaves it to whoever starts it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeOptions {
    /// Whether to use flash attention. `auto` is `None`.
    pub flash_attn: Option<bool>,
    /// Type of the keys in the KV cache.
    pub kv_cache_type_k: Option<CacheType>,
    /// Type of the values in the KV cache.
    pub kv_cache_type_v: Option<CacheType>,
    /// Layers kept on accelerators. -1, as many as fit, is `None`.
    pub n_gpu_layers: Option<u32>,
    /// Whether to read the file into memory in place of mapping it.
    pub no_mmap: Option<bool>,
    /// Whether to keep a cache of full size for sliding windows.
    pub swa_full: Option<bool>,
    /// Which tensors go where, as llama.cpp writes it: `\.ffn_.*_exps\.=CPU`.
    pub override_tensor: Option<String>,
}

impl RuntimeOptions {
    /// Those of a load, which are not part of a config.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn read(written: &Value) -> Result<Self, Problems> {
        let Value::Object(object) = written else {
            return Err(Problem::new("", format!("must be an object, is {}", shown(written))).into());
        };
        let mut problems = Problems::default();
        let options = Self::of(Fields::new(object, &mut problems));
        if problems.is_empty() { Ok(options) } else { Err(problems) }
    }

    /// These, and where they say nothing what `other` says.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        Self {
            flash_attn: self.flash_attn.or(other.flash_attn),
            kv_cache_type_k: self.kv_cache_type_k.or(other.kv_cache_type_k),
            kv_cache_type_v: self.kv_cache_type_v.or(other.kv_cache_type_v),
            n_gpu_layers: self.n_gpu_layers.or(other.n_gpu_layers),
            no_mmap: self.no_mmap.or(other.no_mmap),
            swa_full: self.swa_full.or(other.swa_full),
            override_tensor: self.override_tensor.or_else(|| other.override_tensor.clone()),
        }
    }

    pub(super) fn of(mut fields: Fields<'_, '_>) -> Self {
        // Known to the contract's reference and without a meaning here; of the right type all the same.
        fields.flag("vulkan_no_host_visible_vram");
        number_from_minus_one(&mut fields, "reasoning_budget");
        Self {
            flash_attn: fields.flag_or_word("flash_attn", &[("on", Some(true)), ("off", Some(false)), ("auto", None)]),
            kv_cache_type_k: fields.word("kv_cache_type_k", &CACHE_TYPES),
            kv_cache_type_v: fields.word("kv_cache_type_v", &CACHE_TYPES),
            n_gpu_layers: number_from_minus_one(&mut fields, "n_gpu_layers"),
            no_mmap: fields.flag("no_mmap"),
            swa_full: fields.flag("swa_full"),
            override_tensor: fields
                .text("override_tensor", text::line)
                .filter(|text| !text.is_empty())
                .map(str::to_owned),
        }
    }
}

/// A whole number, or `None` for -1.
fn number_from_minus_one(fields: &mut Fields<'_, '_>, field: &str) -> Option<u32> {
    let value = fields.value(field)?;
    if value.as_i64() == Some(-1) {
        return None;
    }
    let number = whole(value).and_then(|number| u32::try_from(number).ok());
    if number.is_none() {
        fields.must_be(field, "a whole number of -1 or above", value);
    }
    number
}
