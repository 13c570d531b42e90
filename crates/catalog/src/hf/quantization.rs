//! How a folder's weights are quantised, by `quantization_config` (transformers) or `quantization` (MLX).

use std::collections::HashMap;

use serde_json::Value;

use super::config;
use super::error::Error;

/// How weights are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantization {
    /// As the catalogue calls it: `BF16`, `FP8`, `AWQ-4bit`, `GPTQ-8bit`, `W4A16`, `NVFP4`, `MXFP4`, `NF4`, `INT8`,
    /// `mlx-4bit`.
    pub label: String,
    /// Bits of a quantised weight; 16 or 32 where nothing is quantised.
    pub bits: u32,
    /// Whether anything is quantised at all.
    pub quantized: bool,
    /// Modules with bits of their own (MLX).
    modules: HashMap<String, u32>,
}

impl Quantization {
    /// Reads what a `config.json` says.
    ///
    /// # Errors
    /// If it is no JSON object.
    pub fn read(config: &[u8]) -> Result<Self, Error> {
        let root = config::parse(config)?;
        let text = root.get("text_config").and_then(Value::as_object);
        let find = |name: &str| {
            let of = |section: &serde_json::Map<String, Value>| section.get(name).filter(|v| !v.is_null()).cloned();
            of(&root).or_else(|| text.and_then(of))
        };
        if let Some(section) = find("quantization_config") {
            let quantization = of_transformers(&section);
            // MLX repeats its section under the other's name.
            if let Some(found) = quantization {
                return Ok(found);
            }
        }
        if let Some(section) = find("quantization").or_else(|| find("quantization_config")) {
            return Ok(of_mlx(&section));
        }
        let kind = find("torch_dtype").or_else(|| find("dtype"));
        let (label, bits) = match kind.as_ref().and_then(Value::as_str) {
            Some("float16" | "half") => ("F16", 16),
            Some("float32" | "float") => ("F32", 32),
            Some("float8_e4m3fn") => ("FP8", 8),
            _ => ("BF16", 16),
        };
        Ok(Self { quantized: false, ..Self::of(label, bits) })
    }

    fn of(label: &str, bits: u32) -> Self {
        Self { label: label.to_owned(), bits, quantized: true, modules: HashMap::new() }
    }

    /// Parameters that `elements` of a stored tensor stand for: more where they are packed, none where they are scales.
    pub(super) fn parameters(&self, tensor: &str, kind: &str, elements: u64) -> u64 {
        if !self.quantized {
            return elements;
        }
        if is_scale(tensor) {
            return 0;
        }
        let module = tensor.rsplit_once('.').map_or(tensor, |(module, _)| module);
        let bits = self.modules.get(module).copied().unwrap_or(self.bits);
        match kind {
            "I32" | "U32" => elements.saturating_mul(32) / u64::from(bits),
            "U8" | "I8" if bits == 4 => elements.saturating_mul(2),
            _ => elements,
        }
    }
}

/// Names of tensors that belong to a quantised weight and are none: scales, zero points, orders, tables.
fn is_scale(name: &str) -> bool {
    const ENDS: [&str; 16] = [
        "scale",
        "scales",
        "scale_inv",
        "scale_2",
        "qzeros",
        "g_idx",
        "biases",
        "zero_point",
        "weight_shape",
        "absmax",
        "quant_map",
        "SCB",
        "weight_format",
        "perm",
        "zeros",
        "scale_b",
    ];
    name.contains(".quant_state.") || ENDS.iter().any(|end| name.ends_with(end))
}

/// `quantization_config` of transformers; `None` where it is MLX's.
fn of_transformers(section: &Value) -> Option<Quantization> {
    let bits = |names: &[&str]| {
        let found = names.iter().find_map(|name| section.get(name)?.as_u64());
        found.and_then(|bits| u32::try_from(bits).ok()).filter(|bits| (1..=16).contains(bits))
    };
    let method = section.get("quant_method").and_then(Value::as_str)?.to_ascii_lowercase();
    Some(match method.as_str() {
        "awq" => of_bits("AWQ", bits(&["bits", "w_bit"]).unwrap_or(4)),
        "gptq" | "auto-round" | "autoround" | "intel/auto-round" => {
            of_bits("GPTQ", bits(&["bits", "w_bit"]).unwrap_or(4))
        }
        "fp8" | "fbgemm_fp8" | "finegrained_fp8" => Quantization::of("FP8", 8),
        "mxfp4" => Quantization::of("MXFP4", 4),
        "bitsandbytes" => match section.get("load_in_8bit").and_then(Value::as_bool) {
            Some(true) => Quantization::of("INT8", 8),
            _ => {
                let kind = section.get("bnb_4bit_quant_type").and_then(Value::as_str);
                Quantization::of(if kind == Some("fp4") { "FP4" } else { "NF4" }, 4)
            }
        },
        "modelopt" | "modelopt_fp4" => {
            let algorithm = section.get("quant_algo").and_then(Value::as_str).unwrap_or("NVFP4").to_ascii_uppercase();
            let of = |label| if algorithm.contains("FP8") { ("FP8", 8) } else { (label, 4) };
            let (label, bits) = of(if algorithm.contains("INT4") { "W4A16" } else { "NVFP4" });
            Quantization::of(label, bits)
        }
        "compressed-tensors" => of_compressed(section),
        other => {
            of_bits(&other.chars().take(20).collect::<String>().to_ascii_uppercase(), bits(&["bits"]).unwrap_or(8))
        }
    })
}

/// `compressed-tensors` (llm-compressor): one group of settings or several, of which the first says what it is called.
fn of_compressed(section: &Value) -> Quantization {
    let groups = section.get("config_groups").and_then(Value::as_object);
    let mut kinds = groups.into_iter().flat_map(|groups| groups.values()).filter_map(|group| {
        let weights = group.get("weights")?;
        let bits = weights.get("num_bits").and_then(Value::as_u64).and_then(|bits| u32::try_from(bits).ok())?;
        let input = group.get("input_activations").and_then(|input| input.get("num_bits")).and_then(Value::as_u64);
        let is_float = weights.get("type").and_then(Value::as_str) == Some("float");
        let group_size = weights.get("group_size").and_then(Value::as_u64);
        let bits = Some(bits).filter(|bits| (1..=16).contains(bits))?;
        Some((bits, is_float, group_size, input))
    });
    let format = section.get("format").and_then(Value::as_str).unwrap_or_default();
    match kinds.next() {
        Some((4, true, Some(32), _)) => Quantization::of("MXFP4", 4),
        Some((4, true, ..)) => Quantization::of("NVFP4", 4),
        Some((8, true, ..)) => Quantization::of("FP8", 8),
        Some((bits, _, _, input)) => Quantization::of(&format!("W{bits}A{}", input.unwrap_or(16)), bits),
        None if format.contains("nvfp4") => Quantization::of("NVFP4", 4),
        None if format.contains("mxfp4") => Quantization::of("MXFP4", 4),
        None if format.contains("float") => Quantization::of("FP8", 8),
        None => Quantization::of("W4A16", 4),
    }
}

/// MLX: bits for all, and for single modules under their names.
fn of_mlx(section: &Value) -> Quantization {
    let bits = |value: &Value| {
        value
            .get("bits")
            .and_then(Value::as_u64)
            .and_then(|bits| u32::try_from(bits).ok())
            .filter(|b| (2..=8).contains(b))
    };
    let all = bits(section).unwrap_or(4);
    let modules = section.as_object().into_iter().flatten();
    let modules = modules.filter_map(|(name, value)| Some((name.clone(), bits(value)?))).collect();
    Quantization { modules, ..Quantization::of(&format!("mlx-{all}bit"), all) }
}

fn of_bits(name: &str, bits: u32) -> Quantization {
    Quantization::of(&format!("{name}-{bits}bit"), bits)
}
