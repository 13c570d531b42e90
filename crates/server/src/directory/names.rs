//! All names, from all that names models. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use catalog::model_config::ModelConfig;
use config::{Config, Route, Spread};
use route::{Chain, Dialect, Listed, Listing, Local, Meaning, Member, Names, Provider, Remote, Rewrite, Step};
use types::Secret;

use super::lists::Lists;
use crate::backends::{self, Backends, Known};

/// Routes that name routes are followed so deep; the configuration has no cycles.
const DEEPEST: usize = 32;

/// How the services are called that model configs name, where they are, and which variable holds their key.
const SERVICES: [(types::Provider, Dialect, &str, &str); 4] = [
    (types::Provider::OpenAi, Dialect::OpenAi, "https://api.openai.com/v1", "OPENAI_API_KEY"),
    (types::Provider::Anthropic, Dialect::Anthropic, "https://api.anthropic.com", "ANTHROPIC_API_KEY"),
    (types::Provider::DeepSeek, Dialect::OpenAi, "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    (types::Provider::OpenRouter, Dialect::OpenAi, "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
];

/// What all names mean. `variable` tells an environment variable.
pub(super) fn all(
    config: &Config,
    backends: &Backends,
    configs: &[ModelConfig],
    lists: &Lists,
    is_here: &dyn Fn(&str) -> bool,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Names {
    let mut names = Names {
        providers: config.providers.iter().map(|one| (one.name.clone(), Arc::new(provider(one)))).collect(),
        ..Names::default()
    };
    for of_cloud in configs {
        if let Some(remote) = remote(of_cloud, &names.providers, variable) {
            let chain =
                chain(of_cloud.name(), vec![Step { members: vec![Member::Remote(remote)] }], Rewrite::default());
            names.by_name.insert(of_cloud.name().to_owned(), chain);
        }
    }
    add_backends(&mut names, backends);
    add_lists(&mut names, config, lists);
    let routes: HashMap<&str, &Route> = config.routes.iter().map(|route| (route.id.as_str(), route)).collect();
    let mut made = Vec::new();
    for route in &config.routes {
        let steps = steps(route, &routes, &names, is_here, DEEPEST);
        made.push((route.id.clone(), listed(route, &steps), chain(&route.id, steps, rewrite(route))));
    }
    for (id, listed, chain) in made {
        names.by_name.insert(id, chain);
        names.listed.push(listed);
    }
    names
}

/// A service of the configuration.
pub(super) fn provider(written: &config::Provider) -> Provider {
    Provider {
        name: written.name.clone(),
        dialect: match written.kind {
            config::Dialect::OpenAi => Dialect::OpenAi,
            config::Dialect::Anthropic => Dialect::Anthropic,
        },
        base: written.base_url().to_owned(),
        key: written.api_key.clone(),
        idle_timeout: written.idle_timeout,
        in_flight_max: u64::from(written.max_in_flight),
    }
}

/// The service of a model config. Its key is the config's own, else that of the provider of that name, else the
/// environment's.
fn remote(
    config: &ModelConfig,
    providers: &HashMap<String, Arc<Provider>>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Option<Remote> {
    let (service, dialect, base, key) = SERVICES.into_iter().find(|(service, ..)| *service == config.provider())?;
    let known = providers.get(service.as_str());
    let said = config.api_key().map(Secret::new);
    let of_provider = || known.and_then(|known| known.key.clone());
    let of_environment = || variable(key).filter(|key| !key.is_empty()).map(Secret::new);
    let usual_base = known.map_or(base, |known| known.base.as_str());
    let base = config.api_base().unwrap_or(usual_base).trim_end_matches('/');
    // A key goes where it was meant to go: another place gets only a key that was written beside it.
    let is_usual_place = base == usual_base.trim_end_matches('/');
    let usual = config::Provider::default();
    let provider = Provider {
        name: service.as_str().to_owned(),
        dialect,
        base: base.to_owned(),
        key: said.or_else(|| if is_usual_place { of_provider().or_else(of_environment) } else { None }),
        idle_timeout: known.map_or(usual.idle_timeout, |known| known.idle_timeout),
        in_flight_max: known.map_or(u64::from(usual.max_in_flight), |known| known.in_flight_max),
    };
    let model = config.name().to_owned();
    Some(Remote { provider: Arc::new(provider), label: model.clone(), model })
}

fn add_backends(names: &mut Names, backends: &Backends) {
    let member = |known: &Known, model: &str| {
        let kwargs = known.backend.llama_cpp.chat_template_kwargs.as_ref().filter(|kwargs| !kwargs.is_empty());
        let chat_defaults = kwargs.map(|kwargs| {
            let json = serde_json::Value::Object(kwargs.clone()).to_string();
            vec![("chat_template_kwargs".to_owned(), json)]
        });
        Member::Local(Local {
            name: model.to_owned(),
            idle_timeout: Some(known.backend.default_timeout),
            rewrite: Rewrite { chat_defaults: chat_defaults.unwrap_or_default(), ..Rewrite::default() },
        })
    };
    let members: HashMap<&str, Member> =
        backends.all.iter().filter_map(|known| Some((known.model()?, member(known, known.model()?)))).collect();
    let step = |models: &[String]| {
        let members = models.iter().filter_map(|model| members.get(model.as_str()).cloned()).collect();
        vec![Step { members }]
    };
    for known in &backends.all {
        let id = known.backend.id.as_str();
        // One of several with the same id can be asked for by its own name.
        if let Some(model) = known.model().filter(|model| *model != id) {
            names.by_name.insert(model.to_owned(), chain(model, step(&[model.to_owned()]), Rewrite::default()));
        }
        if names.by_name.contains_key(id) {
            continue;
        }
        let Some(meaning) = backends.meaning(id) else { continue };
        let meaning = match meaning {
            backends::Meaning::Unique(model) => chain(id, step(&[model]), Rewrite::default()),
            backends::Meaning::Replicas(models) => chain(id, step(&models), Rewrite::default()),
            backends::Meaning::Ambiguous(roles) => {
                Meaning::Ambiguous { candidates: roles.iter().map(|role| format!("{id}@{role}")).collect() }
            }
            backends::Meaning::Disabled => Meaning::Disabled,
            backends::Meaning::Failed(reason) => Meaning::Failed { reason },
        };
        names.by_name.insert(id.to_owned(), meaning);
        let model = known.model().map(str::to_owned);
        names.listed.push(Listed { listing: Arc::new(of_backend(known)), model, stands_for_it: true });
    }
    // The rows of those with the same id are one.
    for known in &backends.all {
        if let Some(model) = known.model().filter(|model| *model != known.backend.id) {
            let row = Listing { id: model.to_owned(), ..of_backend(known) };
            names.listed.push(Listed { listing: Arc::new(row), model: Some(model.to_owned()), stands_for_it: true });
        }
    }
}

fn of_backend(known: &Known) -> Listing {
    let backend = &known.backend;
    Listing {
        backend: backend.kind.as_str().to_owned(),
        port: Some(backend.port),
        model_type: backend.model_type.as_str().to_owned(),
        context_length: backend.context_length,
        quantization: Some(backend.quantization.clone()).filter(|words| !words.is_empty()),
        supports_function_calling: backend.supports_function_calling,
        enabled: backend.enabled,
        ..row(&backend.id, "Unloaded")
    }
}

/// The models of providers: those that were named, and those that they list.
fn add_lists(names: &mut Names, config: &Config, lists: &Lists) {
    for provider in &config.providers {
        let listed = lists.get(&provider.name).map_or(&[][..], |list| list);
        for model in provider.models.iter().chain(listed) {
            let id = format!("{}/{model}", provider.name);
            let backend = match provider.kind {
                config::Dialect::OpenAi => "openai",
                config::Dialect::Anthropic => "anthropic",
            };
            let owned_by = provider.name.clone();
            let row = Listing { backend: backend.to_owned(), owned_by, ..row(&id, "Loaded") };
            names.listed.push(Listed { listing: Arc::new(row), model: None, stands_for_it: false });
            names.provided.insert(id);
        }
    }
}

/// The ways of a route, those of routes that it names in their place.
fn steps(
    route: &Route,
    routes: &HashMap<&str, &Route>,
    names: &Names,
    is_here: &dyn Fn(&str) -> bool,
    depth: usize,
) -> Vec<Step> {
    let meant = |name: &String| match routes.get(name.as_str()) {
        Some(inner) if depth > 0 && inner.id != route.id => steps(inner, routes, names, is_here, depth - 1),
        _ => match names.meaning(name, is_here) {
            Some(Meaning::Chain(chain)) => chain.steps.clone(),
            _ => vec![Step { members: vec![Member::Local(Local { name: name.clone(), ..Local::default() })] }],
        },
    };
    let steps: Vec<Step> = route.models.iter().flat_map(meant).collect();
    match route.spread {
        Spread::Fallback => steps,
        Spread::Replicas => vec![Step { members: steps.into_iter().flat_map(|step| step.members).collect() }],
    }
}

fn rewrite(route: &Route) -> Rewrite {
    Rewrite {
        system: route.system.clone(),
        defaults: route.defaults.iter().map(|(name, value)| (name.clone(), value.to_string())).collect(),
        chat_defaults: Vec::new(),
    }
}

/// The row of a route: its state is that of the first model of this machine in it.
fn listed(route: &Route, steps: &[Step]) -> Listed {
    let members = || steps.iter().flat_map(|step| &step.members);
    let model = members().find_map(|member| match member {
        Member::Local(local) => Some(local.name.clone()),
        Member::Remote(_) => None,
    });
    let is_remote = members().any(|member| matches!(member, Member::Remote(_)));
    let state = if is_remote { "Loaded" } else { "Unloaded" };
    let model = model.filter(|_| !is_remote);
    Listed { listing: Arc::new(row(&route.id, state)), model, stands_for_it: false }
}

fn chain(id: &str, steps: Vec<Step>, rewrite: Rewrite) -> Meaning {
    Meaning::Chain(Arc::new(Chain { id: id.to_owned(), steps, rewrite }))
}

fn row(id: &str, state: &str) -> Listing {
    Listing {
        id: id.to_owned(),
        object: "model".to_owned(),
        created: 0,
        owned_by: "snug".to_owned(),
        permission: Vec::new(),
        backend: "route".to_owned(),
        port: None,
        model_type: "lm".to_owned(),
        context_length: None,
        quantization: None,
        variants: Vec::new(),
        supports_function_calling: false,
        enabled: true,
        state: state.to_owned(),
    }
}

#[cfg(test)]
mod tests;
