//! What is true of every row of the catalogue, beyond that its parameters add up: rules that a hurried hand breaks.

use std::collections::HashMap;

use catalog::catalogue::{Capability, Catalogue, Format, Model, UseCase};

/// Organisations that hold models of others.
const REUPLOADERS: [&str; 2] = ["alpindale", "dreamgen"];
/// Named as if they conversed, but they do one narrow thing.
const NARROW: [&str; 6] = ["towerinstruct", "guard", "translategemma", "functiongemma", "shieldgemma", "lynx"];
/// The rows were written in this month.
const NEWEST: &str = "2026-11-30";

/// Fails with every row of which `rule` says what is wrong.
fn check(rule: impl Fn(&Model) -> Option<String>) {
    let models = Catalogue::embedded().models();
    let wrong: Vec<String> =
        models.iter().filter_map(|model| Some(format!("{}: {}", model.id, rule(model)?))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn organisation(id: &str) -> &str {
    id.split('/').next().unwrap()
}

fn name(id: &str) -> String {
    id.split('/').next_back().unwrap().to_lowercase()
}

/// The sizes that a name states, in billions: 0.6 and 8 of `Qwen3-0.6B-from-8B`.
fn sizes(name: &str) -> Vec<f64> {
    let size = |word: &str| {
        let (number, unit) = word.split_at_checked(word.len().checked_sub(1)?)?;
        let billions = match unit {
            "t" => 1000.0,
            "b" => 1.0,
            "m" => 0.001,
            _ => return None,
        };
        number.parse::<f64>().ok().map(|number| number * billions)
    };
    name.split(['-', '_']).filter_map(size).collect()
}

#[test]
fn every_organisation_is_one_provider() {
    let mut providers: HashMap<&str, &str> = HashMap::new();
    let mut spellings: HashMap<String, &str> = HashMap::new();
    for model in Catalogue::embedded().models() {
        let organisation = organisation(&model.id);
        if !REUPLOADERS.contains(&organisation) {
            let known = providers.entry(organisation).or_insert(&model.provider);
            assert_eq!(*known, model.provider, "{}", model.id);
        }
        let letters = model.provider.to_lowercase().replace(|letter: char| !letter.is_alphanumeric(), "");
        let known = spellings.entry(letters).or_insert(&model.provider);
        assert_eq!(*known, model.provider, "{}", model.id);
    }
}

#[test]
fn names_say_what_models_can_do() {
    check(|model| {
        let (name, can) = (name(&model.id), |capability| model.capabilities.contains(&capability));
        let makes_text = !matches!(model.use_case, UseCase::Embedding | UseCase::Rerank | UseCase::Speech);
        let converses = ["instruct", "chat"].iter().any(|word| name.contains(word)) || name.ends_with("-it");
        let is_narrow = NARROW.iter().any(|word| name.contains(word));
        if makes_text && converses && !is_narrow && !can(Capability::Chat) {
            Some("lacks the capability `chat`".to_owned())
        } else if makes_text && name.ends_with("-base") && can(Capability::Chat) {
            Some("is a base model, which does not converse".to_owned())
        } else if makes_text && name.contains("thinking") && !can(Capability::Thinking) {
            Some("lacks the capability `thinking`".to_owned())
        } else if model.use_case == UseCase::Multimodal && !can(Capability::Vision) && !can(Capability::Audio) {
            Some("is multimodal, and neither sees nor hears".to_owned())
        } else if name.contains("coder") && !matches!(model.use_case, UseCase::Coding | UseCase::Embedding) {
            Some(format!("is for {:?}, not coding", model.use_case))
        } else if name.contains("embedding") && makes_text {
            Some(format!("is for {:?}, not embedding", model.use_case))
        } else {
            None
        }
    });
}

#[test]
fn dates_lie_in_the_time_of_such_models() {
    check(|model| {
        let plausible = "2018" <= model.released.as_str() && model.released.as_str() <= NEWEST;
        (!plausible).then(|| format!("was released {}", model.released))
    });
}

#[test]
fn repositories_hold_the_model_they_are_listed_with() {
    check(|model| {
        let own = sizes(&name(&model.id));
        #[expect(clippy::cast_precision_loss, reason = "billions, compared with a tolerance")]
        let billions = model.parameters as f64 / 1e9;
        model.repositories.iter().skip(1).find_map(|repository| {
            let stated = sizes(&name(&repository.id));
            let fits = stated.is_empty()
                || stated.iter().any(|size| own.contains(size))
                || (own.is_empty() && stated.iter().any(|size| (size / billions - 1.0).abs() < 0.35));
            (!fits).then(|| format!("{} is of another size", repository.id))
        })
    });
}

#[test]
fn a_repository_is_of_one_model() {
    let models = Catalogue::embedded().models();
    let mut owners: HashMap<(&str, Format), &str> = HashMap::new();
    for model in models {
        for repository in &model.repositories {
            let owner = owners.entry((&repository.id, repository.format)).or_insert(&model.id);
            assert_eq!(*owner, model.id, "{} is listed twice", repository.id);
        }
    }
}

#[test]
fn known_mixtures_activate_what_their_cards_say() {
    for (id, billions) in [
        ("deepseek-ai/DeepSeek-V3", 37.0),
        ("Qwen/Qwen3-235B-A22B", 22.0),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", 3.0),
        ("openai/gpt-oss-120b", 5.1),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 12.9),
        ("zai-org/GLM-4.5-Air", 12.0),
        ("moonshotai/Kimi-K2-Instruct", 32.0),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", 17.0),
    ] {
        #[expect(clippy::cast_precision_loss, reason = "billions, compared with a tolerance")]
        let active = Catalogue::embedded().get(id).unwrap().parameters_active as f64 / 1e9;
        assert!((active / billions - 1.0).abs() < 0.1, "{id}: {active}");
    }
}
