//! What a row says of a model that the catalogue does not know: its own columns and its name.

use super::measurement::Measurement;

/// What the speed of a model depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guess {
    /// All parameters.
    pub(super) total: f64,
    /// Parameters read for one token.
    pub(super) active: f64,
    pub(super) experts: bool,
    pub(super) layers: u32,
    /// Bytes of 16-bit KV cache for each token of context, layers with full attention.
    pub(super) kv_full: f64,
    /// The same of layers with a sliding window, and the window.
    pub(super) kv_window: (f64, f64),
}

/// Facts by rules of thumb from the row's parameters and architecture; its name, where that contradicts them.
pub(super) fn guess(row: &Measurement) -> Option<Guess> {
    const BILLION: f64 = 1e9;
    let name = Name::of(&row.model_tag);
    let stated = row.params_b.filter(|params| *params > 0.0);
    let total = match stated {
        Some(stated) if name.agrees(stated) => stated,
        _ => name.sizes.first().copied().or(stated)?,
    };
    // Facts of another model: the name's size is what was run.
    let scale = stated.map_or(1.0, |stated| total / stated);
    let is_other_model = scale < 0.6 && name.active.is_none();
    let stated_active = row.active_params_b.filter(|active| *active > 0.0 && !is_other_model).map(|a| a * scale);
    let experts = !is_other_model
        && match stated_active {
            Some(active) => row.moe && active < 0.7 * total,
            None => {
                name.active.is_some()
                    || (total > 5.0 && (row.moe || row.arch.contains("moe")))
                    || (row.arch.is_empty() && COMMON_MIXTURE.contains(&total))
            }
        };
    let arch = if is_other_model { "" } else { row.arch.as_str() };
    let active = if experts {
        // Named counts are rounded; a stated one is better unless they differ much.
        match (stated_active, name.active) {
            (Some(stated), Some(named)) if !(0.6..=1.6).contains(&(stated / named)) => named,
            (Some(stated), _) => stated,
            (None, Some(named)) => named,
            (None, None) => total * 0.09,
        }
    } else if let Some(effective) = name.effective {
        // Gemma's "E4B": per-layer embeddings are looked up, not read; the rest is a little more than the name says.
        effective * 1.1
    } else {
        total - untied_embedding(total, arch)
    };
    // Small models are deep for their size.
    let layers = if experts { 16.0 * total.powf(0.22) } else { (18.0 * total.powf(0.36)).max(20.0) };
    let attention = Attention::of(arch);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
    let layer_count = layers.round() as u32;
    Some(Guess {
        total: total * BILLION,
        active: active.min(total) * BILLION,
        experts,
        layers: layer_count,
        kv_full: layers * attention.full * attention.width * 2.0,
        kv_window: (layers * attention.sliding * attention.width * 2.0, attention.window),
    })
}

/// Whether the engine guesses ahead with prediction heads of the model's own: llama.cpp uses them when told to only,
/// which the rows say; the others do when the weights carry them.
pub(super) fn drafts(row: &Measurement) -> bool {
    let carries = Name::of(&row.model_tag).drafts || row.arch.ends_with("_mtp");
    matches!(row.runtime.as_str(), "vllm" | "ollama") && carries
}

/// Billions of parameters that only mixtures with about 3 B active have in what people run since 2025 (Qwen3.5-35B-A3B
/// and what is built on it), for rows that say a size and nothing else.
const COMMON_MIXTURE: std::ops::RangeInclusive<f64> = 34.5..=36.5;

/// Billions of parameters of an input embedding that is not the output too: models from 4 B on have one of about
/// 150,000 words, Gemma and Cohere never.
fn untied_embedding(total: f64, arch: &str) -> f64 {
    if total < 4.0 || arch.starts_with("gemma") || arch.starts_with("cohere") {
        return 0.0;
    }
    0.23 * total.powf(0.42)
}

/// Which layers keep what, by architecture; shares of all layers.
struct Attention {
    full: f64,
    sliding: f64,
    window: f64,
    /// Elements cached for each token and layer, keys and values.
    width: f64,
}

impl Attention {
    fn of(arch: &str) -> Self {
        let (full, sliding, window, width) = match arch {
            _ if arch.starts_with("qwen3_5") || arch.starts_with("qwen3_next") || arch.starts_with("qwen4") => {
                (0.25, 0.0, 0.0, 1024.0)
            }
            _ if arch.starts_with("lfm2") => (0.35, 0.0, 0.0, 1024.0),
            "nemotron_h" | "jamba" | "granitemoehybrid" | "falcon_h1" | "bailing_hybrid" => (0.12, 0.0, 0.0, 2048.0),
            "gemma2" => (0.5, 0.5, 4096.0, 4096.0),
            _ if arch.starts_with("gemma") => (0.17, 0.83, 1024.0, 3072.0),
            "gpt_oss" => (0.5, 0.5, 128.0, 1024.0),
            "afmoe" | "laguna" | "cohere2" | "cohere2_moe" | "olmo3" | "exaone4" => (0.25, 0.75, 2048.0, 2048.0),
            _ if arch.starts_with("deepseek") || arch.starts_with("kimi") || arch == "glm4_moe_lite" => {
                (1.0, 0.0, 0.0, 576.0)
            }
            "qwen2" => (1.0, 0.0, 0.0, 1024.0),
            _ => (1.0, 0.0, 0.0, 2048.0),
        };
        Self { full, sliding, window, width }
    }
}

/// What a model's name says by its numbers.
pub(super) struct Name {
    /// Sizes it may mean, billions, the plainest first.
    sizes: Vec<f64>,
    /// "A3B".
    active: Option<f64>,
    /// "E4B".
    effective: Option<f64>,
    /// It says that it carries prediction heads.
    drafts: bool,
}

impl Name {
    pub(super) fn of(tag: &str) -> Self {
        let lower = tag.to_lowercase();
        let words: Vec<&str> =
            lower.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').filter(|word| !word.is_empty()).collect();
        let mut name = Self { sizes: Vec::new(), active: None, effective: None, drafts: words.contains(&"mtp") };
        for (index, word) in words.iter().enumerate() {
            if let Some(size) = word.strip_prefix('a').and_then(billions) {
                name.active = name.active.or(Some(size));
            } else if let Some(size) = word.strip_prefix('e').and_then(billions) {
                name.effective = name.effective.or(Some(size));
            } else if let Some(size) = billions(word) {
                name.sizes.push(size);
                // "2-5-1-5b": a tool wrote dashes for dots.
                let before = index.checked_sub(1).and_then(|before| words[before].parse::<u32>().ok());
                if let Some(whole) = before.filter(|whole| *whole < 10)
                    && size < 10.0
                {
                    name.sizes.push(f64::from(whole) + size / 10.0);
                }
            }
        }
        name
    }

    /// Whether a stated size may be what the name says. Names without a size agree with all.
    pub(super) fn agrees(&self, stated: f64) -> bool {
        self.sizes.is_empty()
            || self.effective.is_some()
            || self.sizes.iter().any(|size| (0.65..=1.5).contains(&(stated / size)))
    }
}

/// "7b", "1.5b", "350m".
fn billions(word: &str) -> Option<f64> {
    let (number, unit) = match (word.strip_suffix('b'), word.strip_suffix('m')) {
        (Some(number), _) => (number, 1.0),
        (_, Some(number)) => (number, 1e-3),
        _ => return None,
    };
    number.parse::<f64>().ok().filter(|number| *number > 0.0).map(|number| number * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(tag: &str, params: Option<f64>, active: Option<f64>, arch: &str) -> Measurement {
        Measurement {
            model_tag: tag.to_owned(),
            params_b: params,
            active_params_b: active,
            moe: active.is_some(),
            arch: arch.to_owned(),
            ..Measurement::default()
        }
    }

    /// Billions of parameters, all and active, by a row's columns and the name in it.
    #[test]
    fn names_correct_the_facts_of_another_model() {
        for (tag, params, active, arch, expected) in [
            ("Qwen/Qwen3-14B", Some(14.77), None, "qwen3", (14.8, 14.1)),
            ("openai/gpt-oss-20b", Some(21.5), Some(3.5), "gpt_oss", (21.5, 3.5)),
            // Another model's facts, of a distillation and of packed weights.
            ("deepseek-r1:14b", Some(684.5), Some(37.0), "deepseek_v3", (14.0, 13.3)),
            ("ggml-org/gpt-oss-20b-GGUF", Some(1.774), Some(0.299), "gpt_oss", (20.0, 3.4)),
            ("nvidia/Nemotron-3-Nano-30B-A3B-NVFP4", Some(101.6), Some(2.8), "nemotron_h", (30.0, 3.0)),
            // Dashes for dots, effective sizes, no facts at all.
            ("qwen2-5-1-5b-agent-gpu50", Some(1.544), None, "qwen2", (1.5, 1.5)),
            ("gemma-4-E4B-it", Some(8.0), None, "gemma4", (8.0, 4.4)),
            ("someone/Codestral-22B-v0.1", None, None, "", (22.0, 21.2)),
            ("someone/LFM2-24B-A2B", None, None, "", (24.0, 2.0)),
        ] {
            let guess = guess(&tagged(tag, params, active, arch)).unwrap_or_else(|| panic!("{tag} has no size"));
            let found = (guess.total / 1e9, guess.active / 1e9);
            let near = |a: f64, b: f64| (a - b).abs() < 0.12;
            assert!(near(found.0, expected.0) && near(found.1, expected.1), "{tag}: {found:?}, not {expected:?}");
        }
        assert!(guess(&tagged("someone/Magistral-Small", None, None, "")).is_none());
    }
}
