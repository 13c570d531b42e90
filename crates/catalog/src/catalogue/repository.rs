//! Repositories on the hub that hold a model's weights, and in which quantisations.

/// A repository with weights of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Its id on the hub, such as `unsloth/Qwen3-8B-GGUF`.
    pub id: String,
    /// How the weights are stored.
    pub format: Format,
    /// Quantisations it is known to hold, the largest first.
    pub quantizations: Vec<String>,
}

/// How a repository stores weights, which decides what engines take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// As the maker published them.
    Safetensors,
    /// llama.cpp.
    Gguf,
    /// MLX on Apple silicon.
    Mlx,
    /// 4-bit, activation-aware.
    Awq,
    /// 4 or 8 bits, GPTQ.
    Gptq,
    /// 8-bit floats.
    Fp8,
    /// 4-bit floats: MXFP4, NVFP4.
    Fp4,
}

/// What publishers of GGUF repositories make of every model. Their lists on the hub as of 2026.
const GGUF_PUBLISHERS: &[(&str, &[&str])] = &[
    (
        "unsloth",
        &[
            "BF16",
            "Q8_0",
            "UD-Q6_K_XL",
            "Q6_K",
            "UD-Q5_K_XL",
            "Q5_K_M",
            "UD-Q4_K_XL",
            "Q4_K_M",
            "IQ4_XS",
            "UD-Q3_K_XL",
            "Q3_K_M",
            "UD-Q2_K_XL",
            "Q2_K",
            "UD-IQ2_M",
            "UD-IQ1_M",
        ],
    ),
    (
        "bartowski",
        &[
            "Q8_0", "Q6_K_L", "Q6_K", "Q5_K_L", "Q5_K_M", "Q5_K_S", "Q4_K_L", "Q4_K_M", "Q4_K_S", "IQ4_XS", "Q3_K_XL",
            "Q3_K_L", "Q3_K_M", "IQ3_M", "Q3_K_S", "IQ3_XS", "Q2_K", "IQ2_M",
        ],
    ),
    (
        "mradermacher",
        &["Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "IQ4_XS", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K"],
    ),
    ("lmstudio-community", &["Q8_0", "Q6_K", "Q4_K_M", "Q3_K_L"]),
    ("MaziyarPanahi", &["Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K"]),
    (
        "TheBloke",
        &["Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_0", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K"],
    ),
    ("Qwen", &["Q8_0", "Q6_K", "Q5_K_M", "Q5_0", "Q4_K_M", "Q4_0", "Q3_K_M", "Q2_K"]),
    ("ggml-org", &["Q8_0", "Q4_K_M"]),
];

/// What any other publisher of GGUF repositories can be expected to have.
const GGUF_OTHERS: &[&str] = &["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K"];

impl Repository {
    /// The maker's own, stored as `native` (16-bit unless stated).
    pub(super) fn own(id: &str, native: Option<&str>) -> Self {
        Self {
            id: id.to_owned(),
            format: Format::Safetensors,
            quantizations: vec![native.unwrap_or("BF16").to_owned()],
        }
    }

    /// A repack; its quantisations are told by its name where it has one only (`…-4bit`, `…-Q4_0-GGUF`), else by its
    /// publisher's habit.
    pub(super) fn repack(id: &str, format: Format) -> Self {
        let (publisher, name) = id.split_once('/').unwrap_or(("", id));
        let lower = name.to_lowercase();
        let one = |quantization: &str| vec![quantization.to_owned()];
        let quantizations = match format {
            Format::Gguf if lower.contains("mxfp4") => one("MXFP4"),
            Format::Gguf => {
                let listed = GGUF_PUBLISHERS.iter().find(|(name, _)| *name == publisher).map(|(_, list)| *list);
                listed.unwrap_or(GGUF_OTHERS).iter().map(|&quantization| quantization.to_owned()).collect()
            }
            Format::Mlx => {
                let bits = ["3bit", "4bit", "5bit", "6bit", "8bit"].into_iter().find(|bits| lower.contains(bits));
                one(&bits.map_or("mlx-4bit".to_owned(), |bits| format!("mlx-{bits}")))
            }
            Format::Awq => one("AWQ-4bit"),
            Format::Gptq if lower.contains("8bit") || lower.contains("int8") => one("GPTQ-8bit"),
            Format::Gptq => one("GPTQ-4bit"),
            Format::Fp8 => one("FP8"),
            Format::Fp4 if lower.contains("nvfp4") => one("NVFP4"),
            Format::Fp4 => one("MXFP4"),
            Format::Safetensors => one("BF16"),
        };
        Self { id: id.to_owned(), format, quantizations }
    }
}
