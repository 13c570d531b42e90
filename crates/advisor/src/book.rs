//! The catalogue, made ready to be reckoned with: each model with the variants it is to be had in.

use std::collections::HashMap;
use std::sync::Arc;

use catalog::catalogue::{Capability, Format, Model, Repository, UseCase};
use catalog::quantization::Quantization;
use catalog::shape::Shape;
use fit::speed::Engine;
use fit::{Candidate, Facts, Trend, Variant};

use crate::query::Category;

/// GGUF quantisations that are reckoned with, of those a repository has: between them lies little.
const LADDER: &[&str] =
    &["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M", "UD-Q2_K_XL", "Q2_K", "UD-IQ2_M", "UD-IQ1_M"];
/// What anybody can make of a model of which no GGUF repository is known.
const LADDER_OF_NONE: &[&str] = &["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K"];
/// Models this small are run unquantised, too.
const UNQUANTIZED_PARAMETERS_MAX: u64 = 1_000_000_000;

/// All models that can be advised.
#[derive(Debug)]
pub struct Book {
    entries: Vec<Entry>,
}

/// A model that can be advised.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) model: Model,
    /// The last part of its id in lower case: what files on a machine are called.
    pub(crate) name: String,
    pub(crate) candidate: Candidate,
    /// The quantisation of each of the candidate's variants.
    pub(crate) quantizations: Vec<Quantization>,
    pub(crate) category: Category,
    /// Name, maker, size, use and category in lower case: what is searched.
    pub(crate) text: String,
    /// `7.6B`, `567M`.
    pub(crate) parameter_count: String,
}

impl Book {
    /// Of these models. Takes some tens of milliseconds for a thousand.
    pub fn new(models: &[Model]) -> Self {
        let trend = Trend::of(models);
        let mut facts = FactsOf::default();
        let entries = models.iter().filter_map(|model| Entry::new(model, &trend, &mut facts)).collect();
        Self { entries }
    }

    /// How many models it has.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The model that a name on this machine means: one whose last part is the same.
    pub fn named(&self, name: &str) -> Option<&str> {
        let last = name.rsplit('/').next().unwrap_or_default();
        let same = |entry: &&Entry| entry.name.eq_ignore_ascii_case(last);
        self.entries.iter().find(same).map(|entry| entry.model.id.as_str())
    }

    /// Repositories of the hub that hold GGUF files of the model that a name means: its id, or the last part of it.
    pub fn gguf_repositories(&self, name: &str) -> Vec<String> {
        let exact = self.entries.iter().find(|entry| entry.model.id.eq_ignore_ascii_case(name));
        let last = || self.entries.iter().find(|entry| entry.name.eq_ignore_ascii_case(name));
        exact.or_else(last).map(|entry| entry.gguf_repositories().map(str::to_owned).collect()).unwrap_or_default()
    }

    pub(crate) fn insert(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

impl Entry {
    /// `None` of a model that no engine of ours runs.
    fn new(model: &Model, trend: &Trend, facts: &mut FactsOf) -> Option<Self> {
        let mut variants: Vec<(Quantization, Variant)> = vec![];
        for quantization in offers(model) {
            if !variants.iter().any(|(known, _)| *known == quantization)
                && let Some(facts) = facts.of(&model.shape, quantization)
            {
                let facts = match variants.first() {
                    Some((_, first)) => facts.sharing(&first.facts),
                    None => facts,
                };
                variants.push((quantization, variant(model, quantization, facts)));
            }
        }
        variants.sort_by(|(_, a), (_, b)| a.quality_loss.total_cmp(&b.quality_loss));
        let (quantizations, variants): (Vec<_>, Vec<_>) = variants.into_iter().unzip();
        if variants.is_empty() {
            return None;
        }
        let category = category(model.use_case);
        let parameter_count = count(model.parameters);
        let text = [&model.id, &model.provider, &parameter_count, use_case_words(model.use_case), category.as_str()]
            .join(" ")
            .to_lowercase();
        let candidate = Candidate {
            use_case: model.use_case,
            quality: fit::quality(model, trend),
            context: model.context,
            parameters_active: model.parameters_active,
            is_moe: model.shape.has_experts(),
            variants,
        };
        let name = model.id.rsplit('/').next().unwrap_or_default().to_lowercase();
        Some(Self { model: model.clone(), name, candidate, quantizations, category, text, parameter_count })
    }

    /// The repositories of the variant's quantisation, with who made them.
    pub(crate) fn gguf_repositories(&self) -> impl Iterator<Item = &str> {
        self.model.repositories.iter().filter(|one| one.format == Format::Gguf).map(|one| one.id.as_str())
    }
}

/// A model stored so.
pub(crate) fn variant(model: &Model, quantization: Quantization, facts: Facts) -> Variant {
    // What it was trained in costs it nothing, however few bits that are.
    let is_own = model.repositories.first().is_some_and(|own| stores(&own.quantizations, quantization));
    let quality_loss = if is_own { 0.0 } else { fit::quality_loss(quantization, model) };
    Variant { engine: Engine::of(quantization), quant: quantization.into(), quality_loss, facts }
}

fn stores(labels: &[String], quantization: Quantization) -> bool {
    labels.iter().any(|label| label.parse() == Ok(quantization))
}

/// Quantisations in which a model is to be had.
fn offers(model: &Model) -> Vec<Quantization> {
    let mut labels: Vec<&str> = vec![];
    if model.shape.gguf.is_some() {
        let of_gguf = |one: &&Repository| one.format == Format::Gguf;
        let known = model.repositories.iter().filter(of_gguf).flat_map(|one| &one.quantizations).map(String::as_str);
        let own = model.repositories.first().map_or(&[][..], |own| &own.quantizations);
        if own.iter().any(|label| label == "MXFP4") {
            // Its files keep the bits it was trained in, whatever they are called.
            labels.push("MXFP4");
        } else {
            labels.extend(known.filter(|label| LADDER.contains(label) || *label == "MXFP4"));
        }
        if labels.is_empty() {
            labels.extend(LADDER_OF_NONE);
        }
        if model.parameters <= UNQUANTIZED_PARAMETERS_MAX {
            labels.push("F16");
        }
    }
    for repository in model.repositories.iter().filter(|one| one.format != Format::Gguf) {
        labels.extend(repository.quantizations.iter().map(|label| match label.as_str() {
            // The names of GGUF types, where the file is none.
            "BF16" | "F16" | "F32" => "16bit",
            "MXFP4" if repository.format != Format::Mlx => "NVFP4",
            label => label,
        }));
    }
    labels.into_iter().filter_map(|label| label.parse().ok()).collect()
}

/// Facts of shapes in quantisations, each made once.
#[derive(Default)]
struct FactsOf(HashMap<(String, Quantization), Option<Facts>>);

impl FactsOf {
    fn of(&mut self, shape: &Arc<Shape>, quantization: Quantization) -> Option<Facts> {
        let key = (shape.name.clone(), quantization);
        self.0.entry(key).or_insert_with(|| Facts::of(shape, quantization).ok()).clone()
    }
}

/// The contract knows six categories: what orders texts is counted with what makes vectors, what hears or speaks with
/// what sees.
pub(crate) fn category(use_case: UseCase) -> Category {
    match use_case {
        UseCase::General => Category::General,
        UseCase::Coding => Category::Coding,
        UseCase::Reasoning => Category::Reasoning,
        UseCase::Chat => Category::Chat,
        UseCase::Multimodal | UseCase::Speech => Category::Multimodal,
        UseCase::Embedding | UseCase::Rerank => Category::Embedding,
    }
}

/// What a model is made for, in words.
pub(crate) fn use_case_words(use_case: UseCase) -> &'static str {
    match use_case {
        UseCase::General => "General purpose text",
        UseCase::Coding => "Code generation and completion",
        UseCase::Reasoning => "Reasoning, long chains of thought",
        UseCase::Chat => "Conversation",
        UseCase::Multimodal => "Images and text",
        UseCase::Embedding => "Text embeddings for retrieval",
        UseCase::Rerank => "Reranking for retrieval",
        UseCase::Speech => "Speech",
    }
}

/// The words of the fit API for what a model can do.
pub(crate) const fn capability_word(capability: Capability) -> &'static str {
    match capability {
        Capability::Chat => "chat",
        Capability::Tools => "tool_use",
        Capability::Thinking => "thinking",
        Capability::Infill => "infill",
        Capability::Vision => "vision",
        Capability::Audio => "audio",
        Capability::Speech => "speech",
        Capability::Embedding => "embedding",
        Capability::Rerank => "rerank",
    }
}

/// `7.6B`, `70B`, `567M`: as model names have it.
pub(crate) fn count(parameters: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let millions = parameters as f64 / 1e6;
    let (number, unit) = match millions {
        millions if millions < 999.5 => (millions, "M"),
        millions if millions < 999_500.0 => (millions / 1e3, "B"),
        millions => (millions / 1e6, "T"),
    };
    if number < 9.95 && unit != "M" { format!("{number:.1}{unit}") } else { format!("{number:.0}{unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_read_like_names() {
        for (parameters, expected) in [
            (22_700_000, "23M"),
            (999_900_000, "1.0B"),
            (1_540_000_000, "1.5B"),
            (9_970_000_000, "10B"),
            (70_550_000_000, "71B"),
            (2_780_000_000_000, "2.8T"),
        ] {
            assert_eq!(count(parameters), expected);
        }
    }
}
