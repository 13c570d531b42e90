//! In which quantisation a row's model was measured.

use catalog::quantization::{Container, Quantization};

use super::measurement::Measurement;

/// Labels that name no quantisation of ours, by the one nearest in bits and kind.
const OTHERS: [(&str, &str); 13] = [
    ("NVFP4", "NVFP4"),
    ("INT8", "INT8"),
    ("AWQ", "AWQ-4bit"),
    ("GPTQ", "GPTQ-4bit"),
    ("MIXED4", "AWQ-4bit"),
    ("MQ4", "Q4_K_M"),
    ("PQ2", "Q2_K"),
    ("TQ3", "Q3_K_M"),
    ("Q2_", "Q2_K"),
    ("Q3_", "Q3_K_M"),
    ("Q4_", "Q4_K_M"),
    ("Q5_", "Q5_K_M"),
    ("Q8_", "Q8_0"),
];

/// The quantisation, and whether the row says it: a label that nobody knows is taken for the one most in use.
pub(super) fn of(row: &Measurement, is_mlx: bool) -> (Quantization, bool) {
    if row.arch == "gpt_oss" && row.runtime != "vllm" {
        // Published in MXFP4 only, whatever a file calls itself; attention and embeddings have 8 or 16 bits.
        return (named("MXFP4"), true);
    }
    // `~` marks a guess of who collected the rows. A file's own name knows better than a column.
    let guessed = row.quant.ends_with('~');
    let label = row.quant.trim_end_matches('~').trim();
    // A repository named after the 16 bits it was trained in says nothing of the file that was run.
    let is_gguf = |found: &Quantization| found.container() == Container::Gguf && found.bits() < 12.0;
    let from_tag = if guessed { None } else { words(&row.model_tag).find_map(parse).filter(is_gguf) };
    let found = from_tag.or_else(|| parse(label)).or_else(|| words(label).find_map(parse)).or_else(|| {
        let label = label.to_uppercase();
        OTHERS.iter().find(|(part, _)| label.contains(part)).map(|(_, name)| named(name)).or_else(|| by_bits(&label))
    });
    let found = found.map(|found| if is_mlx { as_mlx(found) } else { found });
    (found.unwrap_or(Quantization::Q4_K_M), found.is_some() || label.is_empty())
}

fn parse(text: &str) -> Option<Quantization> {
    text.parse().ok()
}

fn named(name: &str) -> Quantization {
    name.parse().expect("the tables above name quantisations of the catalogue; a test goes through them")
}

/// Parts of a label or of a file's name.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.len() > 1)
}

/// ExLlama's way to name them: `EXL3-4.00bpw`.
fn by_bits(label: &str) -> Option<Quantization> {
    let bits: f64 = label.strip_suffix("BPW")?.rsplit(['-', ' ']).next()?.parse().ok()?;
    Some(named(match bits {
        bits if bits < 2.75 => "GPTQ-2bit",
        bits if bits < 3.75 => "GPTQ-3bit",
        bits if bits < 6.0 => "GPTQ-4bit",
        _ => "GPTQ-8bit",
    }))
}

/// On Apple silicon `NVFP4` and `4bit` are MLX's own.
fn as_mlx(found: Quantization) -> Quantization {
    match found.container() {
        Container::Mlx => found,
        _ if found.bits() > 12.0 => named("mlx-bf16"),
        _ if found.bits() > 7.0 => named("mlx-8bit"),
        _ if found.bits() > 5.2 => named("mlx-6bit"),
        _ => named("mlx-4bit"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::measurement::row;
    use super::*;

    #[test]
    fn labels_mean_quantisations() {
        for (quant, tag, expected, is_said) in [
            ("Q4_K_M~", "a/model", "Q4_K_M", true),
            ("Q4_K_M~", "a/model-Q8_0.gguf", "Q4_K_M", true),
            ("Q4_K_M", "qwen3.5:9b-q8_0", "Q8_0", true),
            ("Q4_K_M", "nvidia/Nemotron-BF16", "Q4_K_M", true),
            ("UD-IQ2_XXS", "a/model", "UD-IQ2_XXS", true),
            ("Unsloth-Dynamic-Q4_K_M", "a/model", "Q4_K_M", true),
            ("GSQ-RCO-IQ2_XS-MTP", "a/model", "IQ2_XS", true),
            ("EXL3-4.00bpw", "a/model", "GPTQ-4bit", true),
            ("fp8", "a/model", "FP8", true),
            ("Q3_K_P", "a/model", "Q3_K_M", true),
            ("", "a/model", "Q4_K_M", true),
            ("XS-Pro", "a/model", "Q4_K_M", false),
        ] {
            let found = of(&row(&[("quant", quant), ("model_tag", tag)]), false);
            assert_eq!((found.0.as_str(), found.1), (expected, is_said), "{quant} {tag}");
        }
        let apple = of(&row(&[("quant", "NVFP4")]), true);
        assert_eq!(apple.0.as_str(), "mlx-4bit");
    }

    #[test]
    fn tables_name_quantisations_of_the_catalogue() {
        for (_, name) in OTHERS {
            assert!(parse(name).is_some(), "{name}");
        }
    }
}
