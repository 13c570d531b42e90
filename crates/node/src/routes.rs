//! From the node's state to the route table: every name, what `/v1/models` says of it, and where it leads.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use route::Routes;
use types::{InstanceId, Mode};

use crate::library::{Library, Model};
use crate::running::{Going, Running};

/// The routes as they are now.
pub(crate) fn routes(library: &Library, running: &[Running]) -> Routes {
    let mut routes = Routes::default();
    let listings: HashMap<_, _> = library
        .models()
        .map(|model| {
            let instance = running.iter().find(|one| one.model.key == model.key);
            (model.key.clone(), Arc::new(listing(library, model, instance)))
        })
        .collect();
    for name in library.names() {
        let Some(model) = resolve(library, running, name) else { continue };
        let Some(listing) = listings.get(&model.key) else { continue };
        let instance = running.iter().find(|one| one.model.key == model.key && one.going == Going::Stays);
        let target = instance.and_then(|instance| instance.target.clone());
        routes.by_name.insert(
            name.to_owned(),
            route::Route { listing: Arc::clone(listing), provider: types::Provider::Llama, target },
        );
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
    pub(crate) fn of(library: &Arc<Library>, running: &[Running]) -> Self {
        let one = |instance: &Running| {
            let target = instance.target.as_ref().map(|target| target.address());
            let (address, context) = (instance.status.address, instance.status.context);
            Routed { id: instance.id.clone(), going: instance.going, target, address, context }
        };
        Self { library: Arc::clone(library), running: running.iter().map(one).collect() }
    }

    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.library, &other.library) && self.running == other.running
    }
}

/// The model that a name means: a bare id means its variant that runs, else its default one.
pub(crate) fn resolve(library: &Library, running: &[Running], name: &str) -> Option<Arc<Model>> {
    let model = library.find(name)?;
    if model.key.id.as_str() != name {
        return Some(model);
    }
    // One that yields runs as well: callers queue behind it, rather than load another variant beside it.
    let instance = running.iter().find(|one| one.model.key.id == model.key.id && one.going != Going::Leaves);
    Some(instance.map_or(model, |instance| Arc::clone(&instance.model)))
}

fn listing(library: &Library, model: &Model, instance: Option<&Running>) -> route::Listing {
    let variants = library.variants_of(&model.key.id).to_vec();
    let state = match instance {
        None => "Unloaded",
        Some(instance) if instance.going == Going::Leaves => "Unloading",
        Some(_) => "Loaded",
    };
    let context = instance.map(|instance| instance.status.context).filter(|&context| context > 0);
    api::Model {
        id: model.key.id.as_str().to_owned(),
        object: "model".to_owned(),
        created: model.modified,
        owned_by: "snug".to_owned(),
        permission: Vec::new(),
        backend: "llamacpp".to_owned(),
        port: instance.and_then(|instance| Some(instance.status.address?.port())),
        model_type: match model.mode {
            Mode::Chat => "lm",
            Mode::Embedding => "embeddings",
            Mode::Rerank => "rerank",
        }
        .to_owned(),
        context_length: context.or(model.settings.context).or(model.context_native),
        quantization: Some(model.key.variant.as_str().to_owned()).filter(|variant| !variant.is_empty()),
        variants,
        supports_function_calling: model.knows_tools,
        enabled: true,
        state: state.to_owned(),
    }
}
