//! What a model file's name says: `SmolLM2-135M-Instruct.Q4_1-00001-of-00002` is the first of two files of the variant
//! `Q4_1` of `SmolLM2-135M-Instruct`.
//!
//! Owns the spelling of quantisations in file names. Works on stems (names without folder and `.gguf`) and sees no file.

use types::{ModelId, ModelKey, Variant};

/// Takes a stem apart into id and variant: the variant is the quantisation at its end, spelled as it is there, and the
/// id is what stands before it and its separator (`-`, `.` or `_`). Without a quantisation the variant is empty.
pub fn key(stem: &str) -> ModelKey {
    // The leftmost separator behind which everything is a quantisation, so that `UD-Q4_K_XL` stays whole.
    let cut = stem
        .char_indices()
        .filter(|(at, c)| *at > 0 && matches!(c, '-' | '.' | '_'))
        .map(|(at, _)| (&stem[..at], &stem[at + 1..]))
        .find(|(id, rest)| !id.ends_with(['-', '.', '_']) && is_quantization(rest));
    let (id, variant) = cut.unwrap_or((stem, ""));
    ModelKey { id: ModelId::new(id), variant: Variant::new(variant) }
}

/// The place of a file in a split set, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard<'a> {
    /// The stem without the numbers: what all files of the set begin with.
    pub stem: &'a str,
    /// This file, counted from 1.
    pub number: u32,
    /// Files in the set.
    pub count: u32,
}

/// Reads `NAME-00001-of-00003`; `None` for a file that stands alone.
pub fn shard(stem: &str) -> Option<Shard<'_>> {
    let number = |text: &str| -> Option<u32> {
        (text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
    };
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (stem, own) = rest.rsplit_once('-')?;
    let (own, count) = (number(own)?, number(count)?);
    (!stem.is_empty() && (1..=count).contains(&own)).then_some(Shard { stem, number: own, count })
}

/// Whether `text` as a whole is how people write a quantisation: `Q4_K_M`, `iq2_xxs`, `BF16`, `UD-Q4_K_XL`, `mxfp4_moe`.
fn is_quantization(text: &str) -> bool {
    let text = text.to_ascii_uppercase();
    // Unsloth's dynamic quantisations and those made with an importance matrix carry a mark in front.
    let text = ["UD-", "UD_", "I1-"].iter().find_map(|mark| text.strip_prefix(mark)).unwrap_or(&text);
    let mut parts = text.split('_');
    let base = parts.next().unwrap_or_default();
    match base {
        "F16" | "F32" | "F64" | "BF16" | "FP16" | "FP32" | "FP8" | "NVFP4" => parts.next().is_none(),
        "MXFP4" => matches!(parts.next(), None | Some("MOE")) && parts.next().is_none(),
        _ => {
            let digits = ["IQ", "TQ", "Q", "I"].iter().find_map(|letters| base.strip_prefix(letters));
            let is_level = digits.is_some_and(|digits| digits.len() == 1 && digits.as_bytes()[0].is_ascii_digit());
            // `I2_S` is a type, `I2` alone could be anything.
            let needs_size = !base.contains('Q');
            let sizes: Vec<&str> = parts.collect();
            is_level && !(needs_size && sizes.is_empty()) && sizes.iter().all(|size| SIZES.contains(size))
        }
    }
}

/// What may follow the level of a quantisation.
const SIZES: [&str; 19] =
    ["0", "1", "4", "8", "K", "S", "M", "L", "XS", "XXS", "XL", "XXL", "NL", "KS", "KSS", "KL", "KT", "R4", "R8"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(stem: &str, id: &str, variant: &str) {
        let key = key(stem);
        assert_eq!((key.id.as_str(), key.variant.as_str()), (id, variant), "{stem}");
    }

    #[test]
    fn cuts_the_quantization_off() {
        check("SmolLM2-135M-Instruct.Q4_1", "SmolLM2-135M-Instruct", "Q4_1");
        check("Qwen2.5-7B-Instruct-Q4_K_M", "Qwen2.5-7B-Instruct", "Q4_K_M");
        check("qwen2.5-7b-instruct-q4_k_m", "qwen2.5-7b-instruct", "q4_k_m");
        check("foo_IQ2_XXS", "foo", "IQ2_XXS");
        check("x-UD-Q4_K_XL", "x", "UD-Q4_K_XL");
        check("Model.i1-IQ3_M", "Model", "i1-IQ3_M");
        check("m-F16", "m", "F16");
        check("m.BF16", "m", "BF16");
        check("m-fp16", "m", "fp16");
        check("gpt-oss-20b-mxfp4", "gpt-oss-20b", "mxfp4");
        check("gpt-oss-20b-MXFP4_MOE", "gpt-oss-20b", "MXFP4_MOE");
        check("phi-4-q4", "phi-4", "q4");
        check("Phi-3-mini-4k-instruct-q4", "Phi-3-mini-4k-instruct", "q4");
        check("gemma-3-4b-it-qat-q4_0", "gemma-3-4b-it-qat", "q4_0");
        check("Llama-3-8B-Q4_0_4_8", "Llama-3-8B", "Q4_0_4_8");
        check("mistral-7b-v0.3.Q6_K_L", "mistral-7b-v0.3", "Q6_K_L");
        check("bitnet-b1.58-2B-TQ2_0", "bitnet-b1.58-2B", "TQ2_0");
        check("ggml-model-i2_s", "ggml-model", "i2_s");
        check("Kimi-K2-IQ4_KSS", "Kimi-K2", "IQ4_KSS");
    }

    #[test]
    fn leaves_other_endings_alone() {
        for stem in [
            "llama-3.2-1b",
            "model-v0.3",
            "Mistral-7B-f",
            "Qwen3-4B",
            "phi-4",
            "phi-4-q",
            "Q4_K_M",
            "-Q4_K_M",
            "gemma-3-4b-it-qat",
            "model-i2",
            "model-Q44",
            "model-Q4_K_M_extra",
            "model_k",
            "größe-模型",
            "",
        ] {
            check(stem, stem, "");
        }
    }

    #[test]
    fn reads_places_in_split_sets() {
        let check = |stem, expected| assert_eq!(shard(stem).map(|s| (s.stem, s.number, s.count)), expected, "{stem}");
        check("big-Q4_K_M-00001-of-00003", Some(("big-Q4_K_M", 1, 3)));
        check("a-of-b-00003-of-00003", Some(("a-of-b", 3, 3)));
        check("big-00000-of-00003", None);
        check("big-00004-of-00003", None);
        check("big-1-of-3", None);
        check("big-+0001-of-00003", None);
        check("-00001-of-00003", None);
        check("00001-of-00003", None);
        check("big", None);
    }

    proptest! {
        #[test]
        fn nothing_is_lost(stem in "\\PC{0,40}") {
            let key = key(&stem);
            if key.variant.as_str().is_empty() {
                prop_assert_eq!(key.id.as_str(), stem);
            } else {
                prop_assert!(stem.starts_with(key.id.as_str()) && stem.ends_with(key.variant.as_str()));
                prop_assert_eq!(key.id.as_str().len() + 1 + key.variant.as_str().len(), stem.len());
                prop_assert!(!key.id.as_str().is_empty());
            }
        }

        #[test]
        fn quantizations_come_off_whatever_they_follow(
            id in "[A-Za-z][A-Za-z0-9]{0,8}(-[0-9]{1,2}[bB])?",
            separator in "[-._]",
            variant in "(UD-)?I?Q[2-8]_(K_)?(XS|S|M|L|XL)|F16|bf16|mxfp4",
        ) {
            let key = key(&format!("{id}{separator}{variant}"));
            prop_assert_eq!((key.id.as_str(), key.variant.as_str()), (id.as_str(), variant.as_str()));
        }
    }
}
