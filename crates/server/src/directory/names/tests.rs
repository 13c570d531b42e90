//! Configurations in, what names mean out.

use config::Sources;
use serde_json::json;

use super::*;

const HERE: [&str; 3] = ["a", "b", "cloud/here"];

fn config(text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("snug.toml");
    std::fs::write(&file, text).unwrap();
    let environment = [("HOME".to_owned(), "/home/ada".to_owned())].into();
    let sources = Sources { file: Some(file), environment, current_dir: "/".into(), ..Sources::default() };
    Config::load(&sources).unwrap_or_else(|problems| panic!("{problems}"))
}

fn names(text: &str, configs: &[serde_json::Value]) -> Names {
    let configs: Vec<ModelConfig> = configs.iter().map(|config| ModelConfig::new(config).unwrap()).collect();
    let lists = Lists::from([("cloud".to_owned(), Arc::from(["listed".to_owned()]))]);
    let is_here = |name: &str| HERE.contains(&name);
    let variable = |name: &str| (name == "OPENAI_API_KEY").then(|| "sk-env".to_owned());
    all(&config(text), &Backends::default(), &configs, &lists, &is_here, &variable)
}

/// The steps of what a name means: members of one beside each other, steps after each other.
fn told(names: &Names, name: &str) -> String {
    let member = |member: &Member| match member {
        Member::Local(local) => local.name.clone(),
        Member::Remote(remote) => format!("{}>{}", remote.provider.name, remote.model),
    };
    match names.meaning(name, |name| HERE.contains(&name)) {
        None => "nothing".to_owned(),
        Some(Meaning::Chain(chain)) => {
            let steps = chain.steps.iter().map(|step| step.members.iter().map(member).collect::<Vec<_>>().join(" | "));
            steps.collect::<Vec<_>>().join(", ")
        }
        Some(other) => format!("{other:?}"),
    }
}

const CLOUD: &str = "[[providers]]\nname = \"cloud\"\nbase_url = \"http://127.0.0.1:1/v1\"\napi_key = \"sk-cloud\"\n";

#[test]
fn routes_lead_where_they_say() {
    let route = |id: &str, models: &str, spread: &str| {
        format!("[[routes]]\nid = \"{id}\"\nmodels = [{models}]\nspread = \"{spread}\"\n")
    };
    let text = [
        CLOUD.to_owned(),
        route("alias", "\"a\"", "fallback"),
        route("chain", "\"a\", \"cloud/gpt\", \"alias\"", "fallback"),
        route("pair", "\"a\", \"b\"", "replicas"),
        route("outer", "\"pair\", \"cloud/gpt\"", "fallback"),
        route("near", "\"cloud/here\"", "fallback"),
    ]
    .concat();
    let names = names(&text, &[]);
    for (name, expected) in [
        ("alias", "a"),
        ("chain", "a, cloud>gpt, a"),
        ("pair", "a | b"),
        ("outer", "a | b, cloud>gpt"),
        ("near", "cloud/here"),
        ("cloud/any/model", "cloud>any/model"),
        ("cloud/here", "nothing"),
        ("elsewhere/model", "nothing"),
        ("a", "nothing"),
    ] {
        assert_eq!(told(&names, name), expected, "{name}");
    }
}

#[test]
fn what_is_listed_stands_beside_what_is_here() {
    let names = names(&format!("{CLOUD}[[routes]]\nid = \"alias\"\nmodels = [\"a\"]\n"), &[]);
    let listed: Vec<_> =
        names.listed.iter().map(|row| (row.listing.id.as_str(), row.model.as_deref(), row.stands_for_it)).collect();
    assert_eq!(listed, [("cloud/listed", None, false), ("alias", Some("a"), false)]);
    let label = |name: &str| match names.meaning(name, |_| false) {
        Some(Meaning::Chain(chain)) => match &chain.steps[0].members[0] {
            Member::Remote(remote) => remote.label.clone(),
            Member::Local(local) => panic!("{local:?}"),
        },
        other => panic!("{other:?}"),
    };
    assert_eq!((label("cloud/listed").as_str(), label("cloud/x").as_str()), ("cloud/listed", "cloud/other"));
}

/// A key goes where it was meant to go.
#[test]
fn the_key_of_a_model_config_is_its_own_or_of_its_place() {
    let key = |text: &str, fields: serde_json::Value| {
        let mut config = json!({ "model": "m", "provider": "openai" });
        config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let names = names(text, &[config]);
        let Some(Meaning::Chain(chain)) = names.meaning("m", |_| false) else { panic!("no chain") };
        let Member::Remote(remote) = &chain.steps[0].members[0] else { panic!("{chain:?}") };
        (remote.provider.base.clone(), remote.provider.key.as_ref().map(|key| key.expose().to_owned()))
    };
    let usual = "https://api.openai.com/v1".to_owned();
    assert_eq!(key("", json!({})), (usual.clone(), Some("sk-env".to_owned())));
    assert_eq!(key("", json!({ "api_key": "sk-own" })), (usual.clone(), Some("sk-own".to_owned())));
    assert_eq!(key("", json!({ "api_base": "https://api.openai.com/v1/" })), (usual, Some("sk-env".to_owned())));
    let other = json!({ "api_base": "http://127.0.0.1:9/v1" });
    assert_eq!(key("", other.clone()), ("http://127.0.0.1:9/v1".to_owned(), None));
    let named = "[[providers]]\nname = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\napi_key = \"sk-named\"\n";
    assert_eq!(key(named, other), ("http://127.0.0.1:9/v1".to_owned(), Some("sk-named".to_owned())));
    let elsewhere = json!({ "api_base": "http://127.0.0.1:8/v1" });
    assert_eq!(key(named, elsewhere), ("http://127.0.0.1:8/v1".to_owned(), None));
}
