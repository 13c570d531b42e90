//! What people write about a model of theirs: the model configs of the model-server contract.
//!
//! Owns their form: which fields there are and what they may hold, how one is laid over another, what of it is shown, and
//! how a file of them is read and written. Opens no file and knows no provider's API; whether a file exists is for others
//! to find out.
//!
//! ```text
//!   JSON ── new ──▶ ModelConfig ── merged(JSON) ──▶ ModelConfig ── to_shown_json ──▶ with defaults, without secrets
//!   file ── File::parse ──▶ entries ── merge_into ──▶ many          └ write_file ──▶ as it was written
//! ```
//!
//! - All that is wrong is said at once, each with its path.
//! - A field that nobody here knows is kept and passed on.
//! - Laying one over another is JSON's merge patch (RFC 7386): objects merge field by field, a `null` removes, anything
//!   else replaces. A list replaces the list that was there, `variants` too: there is no way to say that one is to go.
//! - A secret is never shown. What a reader was shown in its place, and sends back, leaves the secret as it is.

mod file;
mod merge;
mod name;
mod options;
mod problem;
mod read;
mod secret;
mod text;
mod variant;

#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::{Map, Value, json};
use types::{ByteCount, Mode, Provider};

pub use file::{File, FileError, entries, merge_into, write_file};
pub use name::check as check_name;
pub use options::RuntimeOptions;
pub use problem::{Problem, Problems};
pub use variant::{Download, VariantConfig};

use read::Fields;

/// Largest number of tokens that a field may say.
const MOST_TOKENS: u64 = i32::MAX as u64;

/// How deep a field may nest: what is written into a file must be readable again, two levels further down.
const DEEPEST: usize = 32;

/// Place in the order of preference where none is given.
const RANKING: u64 = 50;

/// What [`ModelConfig::to_shown_json`] says where nothing was written, as the contract does.
const SHOWN_DEFAULTS: [(&str, u64); 5] = [
    ("ranking", RANKING),
    ("context_window", 4096),
    ("max_tokens", 2048),
    ("max_input_tokens", 3072),
    ("max_output_tokens", 1024),
];

/// What may be written as `mode`.
const MODES: [(&str, Mode); 4] =
    [("chat", Mode::Chat), ("embedding", Mode::Embedding), ("embeddings", Mode::Embedding), ("rerank", Mode::Rerank)];

/// What somebody wrote about a model, found to be sound.
///
/// Neither `Debug` nor `Display` shows more than name, provider and the number of variants: the rest may hold secrets.
#[derive(Clone, PartialEq)]
pub struct ModelConfig {
    /// As it was written, without `null`s.
    written: Map<String, Value>,
    facts: Facts,
}

/// What the fields say.
#[derive(Clone, PartialEq)]
struct Facts {
    name: String,
    provider: Provider,
    mode: Option<Mode>,
    ranking: Option<u64>,
    file_path: Option<String>,
    api_base: Option<String>,
    api_key: Option<String>,
    context_window: Option<u64>,
    max_tokens: Option<u64>,
    max_input_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    min_system_ram: Option<ByteCount>,
    variants: Vec<VariantConfig>,
    runtime_options: RuntimeOptions,
}

impl ModelConfig {
    /// A new model's config.
    ///
    /// # Errors
    /// All that is wrong with it; `model` and `provider` must be there.
    pub fn new(written: &Value) -> Result<Self, Problems> {
        Self::laid_over(&Map::new(), written)
    }

    /// This config with another laid over it. What `patch` does not name stays as it is; a `null` removes; a masked secret
    /// that is sent back as it was shown stays what it is.
    ///
    /// # Errors
    /// All that would be wrong with the result. `patch` must name this model, and may name it only.
    pub fn merged(&self, patch: &Value) -> Result<Self, Problems> {
        let merged = Self::laid_over(&self.written, patch)?;
        if merged.name() != self.name() {
            let reason = format!("must stay {:?}: a model's name does not change", self.name());
            return Err(Problem::new("model", reason).into());
        }
        Ok(merged)
    }

    fn laid_over(written: &Map<String, Value>, patch: &Value) -> Result<Self, Problems> {
        let Value::Object(patch) = patch else {
            let reason = format!("must be a JSON object with `model` and `provider`, is {}", read::shown(patch));
            return Err(Problem::new("", reason).into());
        };
        if let Some((field, _)) = patch.iter().find(|(_, value)| is_deeper(value, DEEPEST)) {
            return Err(Problem::new(field, format!("must not nest deeper than {DEEPEST} levels")).into());
        }
        let mut problems = Problems::default();
        // A merge keeps the rest, yet it must say whose rest.
        if patch.get("model").is_none_or(Value::is_null) {
            problems.push("model", "is required");
        }
        let mut patch = patch.clone();
        secret::unmask(&mut patch, written);
        let mut merged = written.clone();
        merge::lay_over(&mut merged, &patch);
        secret::refuse_masks(&merged, &mut problems);
        let facts = Facts::read(&merged, &mut problems);
        match facts {
            Some(facts) if problems.is_empty() => Ok(Self { written: merged, facts }),
            _ => Err(problems),
        }
    }

    /// Its name: what requests call it.
    pub fn name(&self) -> &str {
        &self.facts.name
    }

    /// Who runs it.
    pub fn provider(&self) -> Provider {
        self.facts.provider
    }

    /// What it is for: chat unless something else was written.
    pub fn mode(&self) -> Mode {
        self.facts.mode.unwrap_or_default()
    }

    /// What it is for, if that was written: where it was not, the model's file may know better.
    pub fn written_mode(&self) -> Option<Mode> {
        self.facts.mode
    }

    /// Its place in the order of preference, 0 to 100; 50 unless written.
    pub fn ranking(&self) -> u64 {
        self.facts.ranking.unwrap_or(RANKING)
    }

    /// Where its file lies, as it was written: absolute, or relative to what the caller decides.
    pub fn file_path(&self) -> Option<&str> {
        self.facts.file_path.as_deref()
    }

    /// Where its provider answers, if not at its usual place.
    pub fn api_base(&self) -> Option<&str> {
        self.facts.api_base.as_deref()
    }

    /// The key for its provider. Not to be logged or shown.
    pub fn api_key(&self) -> Option<&str> {
        self.facts.api_key.as_deref()
    }

    /// Its context in tokens, if that was written.
    pub fn context_window(&self) -> Option<u64> {
        self.facts.context_window
    }

    /// Most tokens of one completion, if that was written.
    pub fn max_tokens(&self) -> Option<u64> {
        self.facts.max_tokens
    }

    /// Most tokens of a prompt, if that was written.
    pub fn max_input_tokens(&self) -> Option<u64> {
        self.facts.max_input_tokens
    }

    /// Most tokens of an answer, if that was written.
    pub fn max_output_tokens(&self) -> Option<u64> {
        self.facts.max_output_tokens
    }

    /// The RAM that a machine must have for it, if that was written.
    pub fn min_system_ram(&self) -> Option<ByteCount> {
        self.facts.min_system_ram
    }

    /// Its quantisations, in the order they were written. A projector that was written as a variant is none: it belongs to
    /// those that have none of their own. A `download` of the model itself counts as a variant where there are no others.
    pub fn variants(&self) -> &[VariantConfig] {
        &self.facts.variants
    }

    /// How its engine is to be started.
    pub fn runtime_options(&self) -> &RuntimeOptions {
        &self.facts.runtime_options
    }

    /// A field as it was written, for those that have no function here. May hold secrets.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.written.get(name)
    }

    /// All of it as it was written, for a file that only its owner may read: it holds the secrets.
    pub fn to_file_json(&self) -> Value {
        Value::Object(self.written.clone())
    }

    /// What may be shown of it: defaults where nothing was written, masks in place of secrets.
    pub fn to_shown_json(&self) -> Value {
        let mut shown = secret::masked(&self.written);
        shown.entry("mode").or_insert_with(|| json!(Mode::default().as_str()));
        for (field, default) in SHOWN_DEFAULTS {
            shown.entry(field).or_insert_with(|| json!(default));
        }
        Value::Object(shown)
    }
}

impl fmt::Debug for ModelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelConfig")
            .field("name", &self.facts.name)
            .field("provider", &self.facts.provider)
            .field("variants", &self.facts.variants.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for ModelConfig {
    /// `gpt-4o-mini (openai)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.facts.name, self.facts.provider)
    }
}

impl Facts {
    /// Reads every field that is known here; `None` only where `problems` says why.
    fn read(written: &Map<String, Value>, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(written, problems);
        let name = fields.text("model", name::check);
        if !fields.has("provider") {
            fields.bad("provider", format!("is required; {}", one_of(&providers())));
        }
        let provider = fields.word("provider", &providers());
        fields.text("version", text::line);
        let mode = fields.word("mode", &MODES);
        let ranking = fields.whole("ranking", 0..=100, "from 0 to 100");
        let api_base = fields.text("api_base", text::url_or_none);
        let api_key = fields.secret("api_key");
        let file_path = fields.text("file_path", text::path);
        let [context_window, max_tokens, max_input_tokens, max_output_tokens] =
            ["context_window", "max_tokens", "max_input_tokens", "max_output_tokens"].map(|field| fields.tokens(field));
        fields.flag("examples_as_sys_msg");
        fields.texts("backend_priority");
        fields.texts("disabled_backends");
        fields.object("compatibility");
        if let Some(mut pricing) = fields.object("pricing") {
            pricing.number("prompt_token_cost", "a price of 0 or above");
            pricing.number("completion_token_cost", "a price of 0 or above");
        }
        let min_system_ram = fields.object("hardware_requirements").and_then(|mut requirements| {
            requirements.text_or_number("parameter_count");
            requirements.mib_from_zero("min_system_ram_mb")
        });
        if let Some(mut scaling) = fields.object("context_scaling") {
            let base = scaling.tokens("base_context");
            let most = scaling.tokens("max_context");
            scaling.number("vram_per_1k_context_mb", "a number of MiB, 0 or above");
            if let (Some(base), Some(most)) = (base, most)
                && most < base
            {
                scaling.bad("max_context", format!("must be at least base_context ({base}), is {most}"));
            }
        }
        let runtime_options = fields.object("runtime_options").map(RuntimeOptions::of).unwrap_or_default();
        let variants = variant::read_all(&mut fields);
        Some(Self {
            name: name?.to_owned(),
            provider: provider?,
            mode,
            ranking,
            file_path: file_path.filter(|path| !path.is_empty()).map(str::to_owned),
            api_base: api_base.filter(|base| !base.is_empty()).map(str::to_owned),
            api_key,
            context_window,
            max_tokens,
            max_input_tokens,
            max_output_tokens,
            min_system_ram,
            variants,
            runtime_options,
        })
    }
}

/// Whether a value has more than so many levels.
fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Object(object) => levels == 0 || object.values().any(|value| is_deeper(value, levels - 1)),
        Value::Array(list) => levels == 0 || list.iter().any(|value| is_deeper(value, levels - 1)),
        _ => false,
    }
}

fn providers() -> [(&'static str, Provider); Provider::ALL.len()] {
    Provider::ALL.map(|provider| (provider.as_str(), provider))
}

/// `one of these: a, b, c`.
fn one_of<T>(words: &[(&str, T)]) -> String {
    let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    format!("one of these: {}", words.join(", "))
}
