//! From the node's state to the route table: every name, what `/v1/models` says of it, and where it leads.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use route::Routes;
use types::{InstanceId, Mode, ModelKey};

use crate::library::{Library, Model};
use crate::running::{Going, Running};

/// The routes. Loaded without an instance are those that others run.
fn routes(library: &Library, running: &[Running], ready: &[ModelKey], provided: &[ModelKey]) -> Routes {
    let mut routes = Routes::default();
    let listings: HashMap<_, _> = library
        .models()
        .map(|model| {
            let instance = running.iter().find(|one| one.model.key == model.key);
            let state = match instance {
                Some(instance) if instance.going == Going::Leaves => "Unloading",
                Some(_) => "Loaded",
                None if provided.contains(&model.key) => "Loaded",
                None if ready.contains(&model.key) => "Ready",
                None => "Unloaded",
            };
            (model.key.clone(), Arc::new(listing(library, model, instance, state)))
        })
        .collect();
    for name in library.names() {
        let Some(model) = resolve(library, running, ready, name) else { continue };
        let Some(listing) = listings.get(&model.key) else { continue };
        let instance = running.iter().find(|one| one.model.key == model.key && one.going == Going::Stays);
        let target = instance.and_then(|instance| instance.target.clone());
        routes
            .by_name
            .insert(name.to_owned(), route::Route { listing: Arc::clone(listing), provider: model.provider, target });
    }
    for id in library.ids() {
        if let Some(route) = routes.by_name.get(id.as_str()) {
            routes.listed.push(Arc::clone(&route.listing));
        }
    }
    routes
}

/// All that the routes are made from. They are made anew when it has changed: with a thousand models that takes a
/// moment, and a load tells of its progress four times a second.
pub(crate) struct Basis {
    library: Arc<Library>,
    running: Vec<Routed>,
    ready: Vec<ModelKey>,
    provided: Vec<ModelKey>,
}

/// What the routes say of one instance.
#[derive(PartialEq)]
struct Routed {
    id: InstanceId,
    going: Going,
    target: Option<SocketAddr>,
    address: Option<SocketAddr>,
    context: u64,
}

impl Basis {
    pub(crate) fn of(
        library: &Arc<Library>,
        running: &[Running],
        ready: Vec<ModelKey>,
        provided: Vec<ModelKey>,
    ) -> Self {
        let one = |instance: &Running| {
            let target = instance.target.as_ref().map(|target| target.address());
            let (address, context) = (instance.status.address, instance.status.context);
            Routed { id: instance.id.clone(), going: instance.going, target, address, context }
        };
        Self { library: Arc::clone(library), running: running.iter().map(one).collect(), ready, provided }
    }

    /// The routes that follow from it; `running` is what it was made from.
    pub(crate) fn routes(&self, running: &[Running]) -> Routes {
        routes(&self.library, running, &self.ready, &self.provided)
    }

    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.library, &other.library)
            && self.running == other.running
            && self.ready == other.ready
            && self.provided == other.provided
    }
}

/// The model that a name means: a bare id means its variant that runs, else one that is ready, else its default one.
pub(crate) fn resolve(library: &Library, running: &[Running], ready: &[ModelKey], name: &str) -> Option<Arc<Model>> {
    let model = library.find(name)?;
    if model.key.id.as_str() != name {
        return Some(model);
    }
    // One that yields runs as well: callers queue behind it, rather than load another variant beside it.
    let instance = running.iter().find(|one| one.model.key.id == model.key.id && one.going != Going::Leaves);
    let ready = || ready.iter().find(|key| key.id == model.key.id).and_then(|key| library.get(key));
    Some(instance.map(|instance| Arc::clone(&instance.model)).or_else(ready).unwrap_or(model))
}

fn listing(library: &Library, model: &Model, instance: Option<&Running>, state: &str) -> route::Listing {
    let variants = library.variants_of(&model.key.id).to_vec();
    let context = instance.map(|instance| instance.status.context).filter(|&context| context > 0);
    api::Model {
        id: model.key.id.as_str().to_owned(),
        object: "model".to_owned(),
        created: model.modified,
        owned_by: if model.named { model.provider.as_str() } else { "snug" }.to_owned(),
        permission: Vec::new(),
        backend: model.backend().to_owned(),
        port: instance.and_then(|instance| Some(instance.status.address?.port())),
        model_type: match model.mode {
            Mode::Chat => "lm",
            Mode::Embedding => "embeddings",
            Mode::Rerank => "rerank",
        }
        .to_owned(),
        context_length: context.or(model.settings.context).or(model.context_window).or(model.context_native),
        quantization: Some(model.key.variant.as_str().to_owned()).filter(|variant| !variant.is_empty()),
        variants,
        supports_function_calling: model.knows_tools,
        enabled: true,
        state: state.to_owned(),
    }
}
