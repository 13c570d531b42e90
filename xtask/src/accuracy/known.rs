//! The catalogue's model of a row, so that rows are estimated as the product estimates.

use std::collections::HashMap;
use std::sync::LazyLock;

use catalog::catalogue::{Catalogue, Model};

use super::measurement::Measurement;
use super::model::Name;

/// The model that the row names: by id, by a repository of it, else by the last part of a name. `None` where the
/// catalogue has none, or one of another size than the row's tag says.
pub(super) fn model(row: &Measurement) -> Option<&'static Model> {
    let found = find(&row.catalog_model).or_else(|| find(&row.model_tag))?;
    #[expect(clippy::cast_precision_loss, reason = "compared with a tolerance")]
    let billions = found.parameters as f64 / 1e9;
    Name::of(&row.model_tag).agrees(billions).then_some(found)
}

fn find(name: &str) -> Option<&'static Model> {
    let name = name.trim().to_lowercase();
    let last = name.rsplit('/').next()?;
    let stem = last.strip_suffix("-gguf").unwrap_or(last);
    if stem.is_empty() {
        return None;
    }
    let index = LazyLock::force(&INDEX);
    index.get(&name).or_else(|| index.get(last)).or_else(|| index.get(stem)).copied()
}

/// By names in lower case; ids come before repositories, and both before their last parts.
static INDEX: LazyLock<HashMap<String, &'static Model>> = LazyLock::new(|| {
    let models = Catalogue::embedded().models();
    let ids = models.iter().map(|model| (model.id.as_str(), model));
    let repositories =
        models.iter().flat_map(|model| model.repositories.iter().map(move |one| (one.id.as_str(), model)));
    let names: Vec<_> = ids.chain(repositories).map(|(name, model)| (name.to_lowercase(), model)).collect();
    let last = |(name, model): &(String, &'static Model)| Some((name.rsplit('/').next()?.to_owned(), *model));
    let mut index = HashMap::new();
    for (name, model) in names.iter().cloned().chain(names.iter().filter_map(last)) {
        index.entry(name).or_insert(model);
    }
    index
});

#[cfg(test)]
mod tests {
    use super::super::measurement::row;
    use super::*;

    #[test]
    fn rows_name_models_of_the_catalogue() {
        for (catalog_model, tag, expected) in [
            ("Qwen/Qwen3-14B", "qwen3:14b", Some("Qwen/Qwen3-14B")),
            ("someone/qwen3-14b", "qwen3:14b", Some("Qwen/Qwen3-14B")),
            ("", "Qwen/Qwen3-14B", Some("Qwen/Qwen3-14B")),
            ("unsloth/Qwen3-14B-GGUF", "Qwen3-14B-Q4_K_M.gguf", Some("Qwen/Qwen3-14B")),
            // A distillation under its teacher's name is another model.
            ("deepseek-ai/DeepSeek-R1", "deepseek-r1:14b", None),
            ("", "my-model", None),
            ("", "", None),
        ] {
            let found = model(&row(&[("catalog_model", catalog_model), ("model_tag", tag)]));
            assert_eq!(found.map(|model| model.id.as_str()), expected, "{catalog_model} {tag}");
        }
    }
}
