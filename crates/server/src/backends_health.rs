//! `GET /v1/backends/health`: how every engine is, by the role of its entry in `models.yaml`.
//!
//! Beside the entries stand the models of this machine that were configured in another way or are loaded, by their ids. A
//! model that is not loaded is `unreachable`, which is the contract's word for a backend that does not run; a request
//! loads it. All engines are asked at once, a few at a time, and each has [`PATIENCE`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::{BackendHealth, BackendStatus};
use axum::Json;
use axum::extract::State;
use engine::{Adapter, Health};
use futures_util::StreamExt;
use node::{InstanceView, Model, View};

use crate::backends::{Backends, Known, Outcome};
use crate::preload::Preloads;
use tokio::sync::watch;

/// What an engine has to answer (router contract).
const PATIENCE: Duration = Duration::from_secs(5);
/// How many are asked at once.
const AT_ONCE: usize = 32;

/// What the route reads.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) node: node::Handle,
    pub(crate) backends: watch::Receiver<Arc<Backends>>,
    pub(crate) preloads: Preloads,
}

/// Health of all backends, by role; of models that are no entry of a `models.yaml`, by id.
#[utoipa::path(
    get, path = "/v1/backends/health", tag = "health",
    responses((status = 200, body = BTreeMap<String, BackendHealth>)),
)]
pub(crate) async fn health(State(watched): State<Watched>) -> Json<BTreeMap<String, BackendHealth>> {
    let view = Arc::clone(&watched.node.view().borrow());
    let questions = questions(&watched, &view);
    let answers =
        futures_util::stream::iter(questions).map(|(name, question)| async move { (name, question.ask().await) });
    Json(answers.buffer_unordered(AT_ONCE).collect().await)
}

/// An engine that is to be asked, or what is known without asking.
struct Question {
    known: BackendHealth,
    engine: Option<(SocketAddr, Adapter)>,
}

impl Question {
    async fn ask(self) -> BackendHealth {
        let Some((address, adapter)) = self.engine else { return self.known };
        let (status, http_status, error) = match engine::health(address, &adapter, PATIENCE).await {
            Health::Healthy => (BackendStatus::Healthy, None, None),
            Health::Unhealthy(status) => (BackendStatus::Unhealthy, Some(status.as_u16()), None),
            Health::Timeout => {
                let waited = format!("no answer within {} s", PATIENCE.as_secs());
                (BackendStatus::Timeout, None, Some(waited))
            }
            Health::Unreachable(error) => {
                (BackendStatus::Unreachable, None, Some(format!("{error} - backend not running")))
            }
            Health::Garbled => (BackendStatus::Error, None, Some("what it answered is no HTTP".to_owned())),
        };
        BackendHealth { status, http_status, error, ..self.known }
    }
}

fn questions(watched: &Watched, view: &View) -> Vec<(String, Question)> {
    let backends = Arc::clone(&watched.backends.borrow());
    let entries = backends.all.iter();
    let mut questions: Vec<(String, Question)> =
        entries.map(|known| (known.backend.role.clone(), of_entry(known, watched, view))).collect();
    let is_entry = |model: &Model| backends.all.iter().any(|known| known.model() == Some(model.key.id.as_str()));
    let others = view.library.models().filter(|model| model.provider.is_local() && !is_entry(model));
    for model in others {
        let instance = view.instance_of(&model.key);
        // A folder may hold hundreds that nobody means to run.
        if instance.is_none() && !model.named {
            continue;
        }
        let id = model.key.id.to_string();
        let is_taken = questions.iter().any(|(name, _)| *name == id);
        let name = if is_taken { model.key.to_string() } else { id };
        questions.push((name, of_model(model, model.key.id.as_str(), instance, None, None)));
    }
    questions
}

fn of_entry(known: &Known, watched: &Watched, view: &View) -> Question {
    let backend = &known.backend;
    let (model_id, port) = (backend.id.clone(), Some(backend.port));
    let kind = Some(backend.kind.as_str().to_owned());
    let told = |status: BackendStatus, kind: Option<String>, error: Option<String>| Question {
        known: BackendHealth { status, port, model_id: model_id.clone(), backend: kind, http_status: None, error },
        engine: None,
    };
    let model = match &known.outcome {
        Outcome::Disabled => return told(BackendStatus::Disabled, None, None),
        Outcome::Failed(reason) => return told(BackendStatus::Error, kind, Some(reason.clone())),
        Outcome::Runs { model, .. } => model,
    };
    let Some(found) = view.library.find(model) else {
        return told(BackendStatus::Error, kind, Some("its model is not known to this machine".to_owned()));
    };
    let instance = view.instance_of(&found.key);
    if instance.is_some_and(|instance| instance.target.is_some()) {
        watched.preloads.forgive(model);
    }
    of_model(&found, &backend.id, instance, watched.preloads.failure(model), port)
}

fn of_model(
    model: &Model,
    id: &str,
    instance: Option<&InstanceView>,
    failure: Option<String>,
    port: Option<u16>,
) -> Question {
    let address = instance.and_then(|instance| instance.status.address);
    let crash = instance.and_then(|instance| instance.status.failure.as_ref()).map(ToString::to_string);
    let (status, error) = match failure.or(crash) {
        Some(failure) => (BackendStatus::Error, failure),
        None => (BackendStatus::Unreachable, "not loaded; a request loads it".to_owned()),
    };
    Question {
        known: BackendHealth {
            status,
            port: port.or(address.map(|address| address.port())),
            model_id: id.to_owned(),
            backend: Some(model.backend().to_owned()),
            http_status: None,
            error: Some(error),
        },
        engine: address.map(|address| (address, model.settings.adapter.clone())),
    }
}
