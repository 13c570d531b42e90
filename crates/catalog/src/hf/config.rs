//! `config.json` of transformers to a [`Shape`].

use serde_json::{Map, Value};
use types::ByteCount;

use super::draft::Draft;
use super::error::Error;
use super::keys::{Keys, Problems};
use super::{family, tower};
use crate::shape::Shape;

/// The longest configuration that is read. Long ones have settings for each layer: some hundred kB.
const LONGEST: usize = 4 << 20;

/// Sections that hold the language model where a configuration describes more than one.
const TEXT: [&str; 5] = ["text_config", "llm_config", "language_config", "thinker_config", "text_model_config"];

/// The architecture that a `config.json` describes; it is called `name`.
///
/// Families are told by `model_type`. One that is not known is read by the usual keys: layers, heads, widths, experts,
/// sliding windows and latent attention are understood, anything else would be missed.
///
/// # Errors
/// If it is no JSON object, lacks a key (all that are missing are told), has a number that cannot be meant, or
/// describes what a [`Shape`] has no words for.
pub fn shape(name: &str, config: &[u8]) -> Result<Shape, Error> {
    let root = parse(config)?;
    let text = text_section(&root);
    let model_type = |section: &Map<String, Value>| {
        section.get("model_type").and_then(Value::as_str).map(|kind| kind.chars().take(60).collect::<String>())
    };
    let architecture = model_type(&root).or_else(|| model_type(text)).unwrap_or_default();
    // The text section's own type knows its keys; a few wrappers leave it away.
    let kind = model_type(text).unwrap_or_else(|| architecture.clone());
    let family = family::of(&kind).or_else(|| family::of(&architecture));
    let family = family.unwrap_or(&family::UNKNOWN);

    let problems = Problems::default();
    let outer = Keys::new(&root, &[], &problems);
    let keys = Keys::new(text, family.defaults, &problems);
    let mut draft = Draft::read(&keys, family);
    if let Some(tied) = keys.flag("tie_word_embeddings").or_else(|| outer.flag("tie_word_embeddings")) {
        draft.tied = tied;
    }
    let described = (family.adjust)(&keys, &mut draft);
    draft.parts.extend(tower::parts(&outer, draft.hidden));
    draft.ask_for_what_is_needed(&keys);
    problems.into_result(&architecture)?;
    described.map_err(|what| Error::Indescribable { model_type: architecture.clone(), what })?;

    let shape = draft.into_shape(name.to_owned(), architecture);
    shape.layers()?;
    Ok(shape)
}

/// Parses a configuration, within bounds. Deep nesting is refused by the parser (128 levels).
pub(super) fn parse(config: &[u8]) -> Result<Map<String, Value>, Error> {
    if config.len() > LONGEST {
        let (found, limit) = (ByteCount::bytes(config.len() as u64), ByteCount::bytes(LONGEST as u64));
        return Err(Error::TooLong { what: "config.json", found, limit });
    }
    serde_json::from_slice(config).map_err(|source| Error::Form { what: "config.json", source })
}

fn text_section(root: &Map<String, Value>) -> &Map<String, Value> {
    let inner = TEXT.iter().find_map(|name| root.get(*name)?.as_object());
    match inner {
        // Wrappers within wrappers: Qwen's "thinker" has a text section of its own.
        Some(inner) => inner.get("text_config").and_then(Value::as_object).unwrap_or(inner),
        None => root,
    }
}
