//! Which name means which model.
//!
//! Owns the rule: an exact id first, then `id:variant`, then a file's whole stem, then the repository of the hub that it is
//! from, bare or with the variant. Where several variants share an id or a repository, the bare one means the one preferred.

use std::collections::HashMap;

use types::Variant;

use crate::discover::Found;

/// Every name and the index of the model it means.
///
/// `rank` says which variant a bare id means: the lowest, and among equals the first of `models`; a complete model
/// always before an incomplete one. [`everyday_rank`] is a good choice.
pub fn index<R: Ord>(models: &[Found], rank: impl Fn(&Found) -> R) -> HashMap<String, usize> {
    let mut names = HashMap::new();
    let mut by_rank: Vec<usize> = (0..models.len()).collect();
    by_rank.sort_by_cached_key(|index| (!models[*index].is_complete(), rank(&models[*index])));
    for &index in &by_rank {
        names.entry(models[index].key.id.as_str().to_owned()).or_insert(index);
    }
    for (index, model) in models.iter().enumerate() {
        names.entry(model.key.to_string()).or_insert(index);
    }
    for (index, model) in models.iter().enumerate() {
        names.entry(model.stem.clone()).or_insert(index);
    }
    for index in by_rank {
        let model = &models[index];
        if let Some(repository) = &model.repository {
            names.entry(repository.clone()).or_insert(index);
            names.entry(format!("{repository}:{}", model.key.variant)).or_insert(index);
        }
    }
    names
}

/// Variants in the order in which people want them when they do not say: small at little loss first, then larger, then
/// lossier. Unknown ones come last.
pub fn everyday_rank(variant: &Variant) -> usize {
    const ORDER: [&str; 19] = [
        "Q4_K_M", "Q4_K_XL", "MXFP4", "Q4_K_S", "Q4_0", "IQ4_XS", "IQ4_NL", "Q4_1", "Q4", "Q5_K_M", "Q5_K_S", "Q6_K",
        "Q8_0", "Q3_K_M", "BF16", "F16", "FP16", "F32", "Q2_K",
    ];
    let name = variant.as_str().to_ascii_uppercase();
    let name = ["UD-", "I1-"].iter().find_map(|mark| name.strip_prefix(mark)).unwrap_or(&name);
    ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len())
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use types::ByteCount;

    use super::*;
    use crate::discover::{self, File};

    #[track_caller]
    fn check(stems: &[&str], expected: &[(&str, Option<&str>)]) {
        let file = |stem: &&str| File { path: PathBuf::from(format!("/m/{stem}.gguf")), size: ByteCount::ZERO };
        let models = discover::settle(discover::in_folder(Path::new("/m"), stems.iter().map(file))).models;
        let names = index(&models, |model| everyday_rank(&model.key.variant));
        for (name, stem) in expected {
            let found = names.get(*name).map(|index| models[*index].stem.as_str());
            assert_eq!(found, *stem, "{name}");
        }
    }

    #[test]
    fn id_pair_and_stem_all_name_a_model() {
        check(
            &["SmolLM2-135M-Instruct.Q4_1"],
            &[
                ("SmolLM2-135M-Instruct", Some("SmolLM2-135M-Instruct.Q4_1")),
                ("SmolLM2-135M-Instruct:Q4_1", Some("SmolLM2-135M-Instruct.Q4_1")),
                ("SmolLM2-135M-Instruct.Q4_1", Some("SmolLM2-135M-Instruct.Q4_1")),
                ("smollm2-135m-instruct", None),
                ("Q4_1", None),
            ],
        );
        // Where there is no variant, all three are one.
        check(&["phi-4"], &[("phi-4", Some("phi-4")), ("phi-4:", None)]);
    }

    #[test]
    fn a_bare_id_means_the_preferred_variant() {
        check(
            &["m-Q2_K", "m-F16", "m-UD-Q4_K_XL", "m-Q8_0"],
            &[("m", Some("m-UD-Q4_K_XL")), ("m:Q2_K", Some("m-Q2_K")), ("m-F16", Some("m-F16"))],
        );
        check(&["m-Q4_K_M-00001-of-00002", "m-F16"], &[("m", Some("m-F16")), ("m:Q4_K_M", Some("m-Q4_K_M"))]);
    }

    #[test]
    fn a_repository_names_what_is_from_it() {
        let file = |name: &str| File {
            path: PathBuf::from(format!("/c/models--org--tiny-GGUF/snapshots/1/{name}")),
            size: ByteCount::ZERO,
        };
        let files = [file("tiny-Q8_0.gguf"), file("tiny-Q4_K_M.gguf")];
        let found = discover::in_hub_cache(Path::new("/c"), files, &std::collections::BTreeMap::new());
        let models = discover::settle(found).models;
        let names = index(&models, |model| everyday_rank(&model.key.variant));
        for (name, stem) in [
            ("org/tiny-GGUF", Some("tiny-Q4_K_M")),
            ("org/tiny-GGUF:Q8_0", Some("tiny-Q8_0")),
            ("org/tiny-GGUF:Q2_K", None),
        ] {
            assert_eq!(names.get(name).map(|index| models[*index].stem.as_str()), stem, "{name}");
        }
    }

    #[test]
    fn an_exact_id_goes_before_anothers_pair_and_stem() {
        // A file whose id is spelled like the other's pair.
        check(&["m-Q8_0", "m:Q8_0"], &[("m:Q8_0", Some("m:Q8_0")), ("m", Some("m-Q8_0"))]);
    }
}
