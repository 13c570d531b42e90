//! Who plays engines and providers, and what names mean to the house: one line for each, so that a test can be a table.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use route::{
    Chain, Dialect, Listed, Local, Meaning, Member, Names, Provider, Remote, Rewrite, Route, Routes, Step, Target,
};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use types::{InstanceId, ModelId, ModelKey, Secret, Variant};

use crate::support::{House, Peer, Received, listing};

/// What is done with a request.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// A whole JSON answer with this status.
    Answer(u16, String),
    /// The same with more headers, each with its line's end.
    AnswerWith(u16, &'static str, String),
    /// A stream of events, these pieces.
    Stream(Vec<String>),
    /// The same, and then the connection ends.
    BreakOff(Vec<String>),
    /// The connection ends without an answer.
    Die,
    /// It ends after the head.
    DieAfterHead,
    /// Nothing, until the other side gives up.
    Hang,
    /// The head of a stream, then nothing.
    HangAfterHead,
}

/// A whole answer of success.
pub(crate) fn well(body: impl Into<String>) -> Act {
    Act::Answer(200, body.into())
}

/// A stream of these events.
pub(crate) fn stream(events: &[&str]) -> Act {
    Act::Stream(events.iter().map(|event| (*event).to_owned()).collect())
}

/// Somebody who answers, and remembers what was asked. Can be killed.
#[derive(Clone)]
pub(crate) struct Actor {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Received>>>,
    life: AbortHandle,
}

impl Actor {
    /// Begins to listen.
    pub(crate) async fn plays(script: impl Fn(&Received) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<Received>>>::default();
        let (script, told) = (Arc::new(script), Arc::clone(&asked));
        let life = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let peer = Peer::of(listener.accept().await.unwrap().0);
                let (script, told) = (Arc::clone(&script), Arc::clone(&told));
                connections.spawn(serve(peer, move |request: Received| {
                    let act = script(&request);
                    told.lock().unwrap().push(request);
                    act
                }));
            }
        });
        Self { address, asked, life: life.abort_handle() }
    }

    /// One that does always the same.
    pub(crate) async fn always(act: Act) -> Self {
        Self::plays(move |_| act.clone()).await
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Received> {
        self.asked.lock().unwrap().clone()
    }

    /// How often it was asked.
    pub(crate) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// What it was asked last.
    pub(crate) fn last(&self) -> Received {
        self.asked.lock().unwrap().last().unwrap().clone()
    }

    /// Its connections and its port are closed.
    pub(crate) fn kill(&self) {
        self.life.abort();
    }

    /// A ready instance of this model, with room for so many requests.
    pub(crate) fn target_for(&self, model: &str, limit: u64) -> Arc<Target> {
        target_at(self.address, model, limit)
    }

    /// A ready instance of this model.
    pub(crate) fn target(&self, model: &str) -> Arc<Target> {
        self.target_for(model, 256)
    }
}

/// An address at which nobody listens.
pub(crate) fn nowhere() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A ready instance of a model, somewhere. No two are the same.
pub(crate) fn target_at(address: SocketAddr, model: &str, limit: u64) -> Arc<Target> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let instance = InstanceId::new(format!("instance-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
    let key = ModelKey { id: ModelId::new(model), variant: Variant::new("Q4_0") };
    Target::new(instance, key, address, Arc::default(), limit)
}

async fn serve(mut peer: Peer, mut act: impl FnMut(Received) -> Act) {
    while let Some(request) = peer.request().await {
        match act(request) {
            Act::Answer(status, body) => peer.answer_with(status, "", &body).await,
            Act::AnswerWith(status, headers, body) => peer.answer_with(status, headers, &body).await,
            Act::Stream(pieces) => {
                peer.begin_stream().await;
                for piece in pieces {
                    peer.chunk(&piece).await;
                }
                peer.end_stream().await;
            }
            Act::BreakOff(pieces) => {
                peer.begin_stream().await;
                for piece in pieces {
                    peer.chunk(&piece).await;
                }
                return;
            }
            Act::Die => return,
            Act::DieAfterHead => {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n";
                return peer.write(head).await;
            }
            Act::Hang => return peer.closed().await,
            Act::HangAfterHead => {
                peer.begin_stream().await;
                return peer.closed().await;
            }
        }
    }
}

/// A model of this machine.
pub(crate) fn local(name: &str) -> Member {
    Member::Local(Local { name: name.to_owned(), ..Local::default() })
}

/// The same, whose engine may be silent for a tenth of a second.
pub(crate) fn impatient(name: &str) -> Member {
    let idle_timeout = Some(Duration::from_millis(100));
    Member::Local(Local { name: name.to_owned(), idle_timeout, ..Local::default() })
}

/// A model of a provider.
pub(crate) fn remote(provider: &Provider, model: &str) -> Member {
    Member::Remote(Remote {
        provider: Arc::new(provider.clone()),
        model: model.to_owned(),
        label: format!("{}/{model}", provider.name),
    })
}

/// The key that providers want.
pub(crate) const PROVIDERS_KEY: &str = "sk-of-the-provider";

/// A provider that this one plays.
pub(crate) fn provider(actor: &Actor, dialect: Dialect) -> Provider {
    provider_at(actor.address, dialect)
}

/// A provider somewhere.
pub(crate) fn provider_at(address: SocketAddr, dialect: Dialect) -> Provider {
    let base = match dialect {
        Dialect::OpenAi => format!("http://{address}/v1"),
        Dialect::Anthropic => format!("http://{address}"),
    };
    Provider {
        name: "cloud".to_owned(),
        dialect,
        base,
        key: Some(Secret::new(PROVIDERS_KEY)),
        idle_timeout: Duration::from_secs(10),
        in_flight_max: 64,
    }
}

/// A route of these steps, without rewrites.
pub(crate) fn chain(id: &str, steps: &[&[Member]]) -> (String, Meaning) {
    chain_with(id, steps, Rewrite::default())
}

/// A route of these steps.
pub(crate) fn chain_with(id: &str, steps: &[&[Member]], rewrite: Rewrite) -> (String, Meaning) {
    let steps = steps.iter().map(|members| Step { members: members.to_vec() }).collect();
    (id.to_owned(), Meaning::Chain(Arc::new(Chain { id: id.to_owned(), steps, rewrite })))
}

impl House {
    /// These are the models of this machine.
    pub(crate) fn has(&self, models: &[(&str, Option<&Arc<Target>>)]) {
        let mut routes = Routes::default();
        for (name, target) in models {
            let state = if target.is_some() { "Loaded" } else { "Unloaded" };
            let listing = Arc::new(listing(name, state));
            routes.listed.push(Arc::clone(&listing));
            let route = Route { listing, provider: types::Provider::Llama, target: target.cloned() };
            routes.by_name.insert((*name).to_owned(), route);
        }
        self.table.publish(routes);
    }

    /// This is what names mean beyond them. Routes are listed.
    pub(crate) fn means(&self, meanings: impl IntoIterator<Item = (String, Meaning)>) {
        let by_name: HashMap<_, _> = meanings.into_iter().collect();
        let listed = by_name
            .keys()
            .map(|id| Listed { listing: Arc::new(listing(id, "Loaded")), model: None, stands_for_it: false })
            .collect();
        self.directory.publish(Names { by_name, listed, ..Names::default() });
    }

    /// This provider's models can be asked for as `cloud/MODEL`.
    pub(crate) fn knows(&self, provider: Provider) {
        let providers = HashMap::from([(provider.name.clone(), Arc::new(provider))]);
        self.directory.publish(Names { providers, ..Names::default() });
    }

    /// Asks a model for a chat.
    pub(crate) async fn ask(&self, model: &str) -> reqwest::Response {
        let body = serde_json::json!({ "model": model, "messages": [{ "role": "user", "content": "hello" }] });
        self.post("/v1/chat/completions", body.to_string()).await
    }
}

/// A header of an answer; empty where it is not there.
pub(crate) fn header<'a>(response: &'a reqwest::Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}
