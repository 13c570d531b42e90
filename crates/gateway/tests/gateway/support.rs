//! A gateway to ask, engines to answer, and what stands between them.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use gateway::{Finished, Limits, LiveLimits, Metrics, Outcome, Parts, Shared};
use keys::Keys;
use prometheus_client::registry::Registry;
use route::{Activate, Activation, Directory, Keep, Listing, Route, Routes, Table, Target, Unavailable};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use types::{InstanceId, ModelId, ModelKey, Variant};

/// The model that every test asks for.
pub(crate) const MODEL: &str = "org/model";

/// A chat request for it, with a field nobody knows.
pub(crate) const CHAT: &str = r#"{ "model":"org/model", "messages":[],  "unknown_field":{"a":[1,2.50]} }"#;

/// A gateway that listens.
pub(crate) struct House {
    pub(crate) address: SocketAddr,
    pub(crate) table: Table,
    pub(crate) directory: Directory,
    pub(crate) completed: mpsc::Receiver<Finished>,
    pub(crate) client: reqwest::Client,
    registry: Registry,
}

/// What a test may choose.
pub(crate) struct Setup {
    pub(crate) limits: Limits,
    pub(crate) activate: Arc<dyn Activate>,
    pub(crate) keys: Keys,
}

impl Default for Setup {
    fn default() -> Self {
        let refuse = |_: &str| Err(Unavailable::Stopping);
        Self { limits: Limits::default(), activate: Arc::new(Answering(refuse)), keys: Keys::new([]) }
    }
}

impl House {
    /// A gateway in front of one ready engine.
    pub(crate) async fn before(engine: SocketAddr) -> Self {
        let house = Self::start(Setup::default()).await;
        house.publish(Some(target(engine)));
        house
    }

    /// A gateway without routes.
    pub(crate) async fn start(setup: Setup) -> Self {
        let mut registry = Registry::default();
        let (table, directory) = (Table::default(), Directory::default());
        let (sender, completed) = mpsc::channel(16);
        let router = gateway::router(Parts {
            table: table.clone(),
            activate: setup.activate,
            keys: setup.keys,
            limits: LiveLimits::new(setup.limits),
            metrics: Metrics::register(&mut registry),
            directory: directory.clone(),
            shared: Shared::default(),
            finished: Arc::new(move |finished: Finished| {
                if finished.outcome == Outcome::Success {
                    drop(sender.try_send(finished));
                }
            }),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { address, table, directory, completed, client, registry }
    }

    /// Makes [`MODEL`] known, ready at `target` if there is one, and another that is not ready.
    pub(crate) fn publish(&self, target: Option<Arc<Target>>) {
        let ready = Arc::new(listing(MODEL, if target.is_some() { "Loaded" } else { "Unloaded" }));
        let other = Arc::new(listing("other", "Unloaded"));
        let mut by_name = HashMap::new();
        for name in [MODEL, "org/model:Q4_0"] {
            by_name.insert(
                name.to_owned(),
                Route { listing: Arc::clone(&ready), provider: types::Provider::Llama, target: target.clone() },
            );
        }
        by_name.insert(
            "other".to_owned(),
            Route { listing: Arc::clone(&other), provider: types::Provider::Llama, target: None },
        );
        self.table.publish(Routes { by_name, listed: vec![ready, other] });
    }

    /// Makes [`MODEL`] known as one that somebody else runs.
    pub(crate) fn publish_of(&self, provider: types::Provider) {
        let listing = Arc::new(listing(MODEL, "Loaded"));
        let route = Route { listing: Arc::clone(&listing), provider, target: None };
        self.table.publish(Routes { by_name: HashMap::from([(MODEL.to_owned(), route)]), listed: vec![listing] });
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> reqwest::Response {
        self.client.post(self.url(path)).body(body).send().await.unwrap()
    }

    pub(crate) async fn chat(&self) -> reqwest::Response {
        self.post("/v1/chat/completions", CHAT).await
    }

    /// What `/metrics` would say.
    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    /// Waits until `/metrics` has this line.
    pub(crate) async fn await_metric(&self, line: &str) {
        eventually(line, || self.metrics().lines().any(|known| known == line)).await;
    }
}

/// Waits until a condition holds, for as long as any healthy machine needs.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..2000 {
        if condition() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("it never came to this: {what}");
}

/// An answer's status and error object, with the checks that hold for all of them.
pub(crate) async fn error_of(response: reqwest::Response) -> (u16, serde_json::Value) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/json");
    assert!(response.headers().contains_key("x-request-id"));
    let body: serde_json::Value = response.json().await.unwrap();
    assert_eq!(body["detail"], body["error"]["message"], "the router contract's clients read `detail`");
    (status, body["error"].clone())
}

pub(crate) fn key() -> ModelKey {
    ModelKey { id: ModelId::new(MODEL), variant: Variant::new("Q4_0") }
}

pub(crate) fn target(engine: SocketAddr) -> Arc<Target> {
    target_for(engine, 256)
}

/// One that takes so many requests at once.
pub(crate) fn target_for(engine: SocketAddr, limit: u64) -> Arc<Target> {
    Target::new(InstanceId::new("instance-1"), key(), engine, Arc::default(), limit)
}

fn listing(id: &str, state: &str) -> Listing {
    Listing {
        id: id.to_owned(),
        object: "model".to_owned(),
        created: 1,
        owned_by: "snug".to_owned(),
        permission: vec![],
        backend: "llamacpp".to_owned(),
        port: None,
        model_type: "lm".to_owned(),
        context_length: Some(2048),
        quantization: Some("Q4_0".to_owned()),
        variants: vec!["Q4_0".to_owned()],
        supports_function_calling: false,
        enabled: true,
        state: state.to_owned(),
    }
}

/// An [`Activate`] that answers at once.
pub(crate) struct Answering<F>(pub(crate) F);

impl<F> Activate for Answering<F>
where
    F: Fn(&str) -> Result<route::Lease, Unavailable> + Send + Sync,
{
    fn activate<'a>(&'a self, name: &'a str) -> Activation<'a> {
        Box::pin(async move { (self.0)(name) })
    }

    fn keep<'a>(&'a self, _: &'a str, _: Keep) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(std::future::ready(()))
    }
}

/// An [`Activate`] whose load ends when the test says so, and which tells when a caller gives up.
#[derive(Default)]
pub(crate) struct Loading {
    callers: Mutex<Vec<Caller>>,
}

struct Caller {
    result: oneshot::Sender<Result<route::Lease, Unavailable>>,
}

impl Loading {
    /// Callers that still wait.
    pub(crate) fn waiting(&self) -> usize {
        self.callers.lock().unwrap().iter().filter(|caller| !caller.result.is_closed()).count()
    }

    /// Ends the load.
    pub(crate) fn finish(&self, target: &Arc<Target>) {
        for caller in self.callers.lock().unwrap().drain(..) {
            let _ = caller.result.send(Ok(target.lease().unwrap()));
        }
    }
}

impl Activate for Loading {
    fn activate<'a>(&'a self, _: &'a str) -> Activation<'a> {
        Box::pin(async {
            let (result, answer) = oneshot::channel();
            self.callers.lock().unwrap().push(Caller { result });
            answer.await.unwrap_or(Err(Unavailable::Stopping))
        })
    }

    fn keep<'a>(&'a self, _: &'a str, _: Keep) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(std::future::ready(()))
    }
}

/// An engine that does with each connection what a test says. The second argument counts connections from 0.
pub(crate) async fn engine<F, T>(script: F) -> SocketAddr
where
    F: Fn(Peer, usize) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(script(Peer { stream, buffer: Vec::new() }, number));
        }
    });
    address
}

/// The gateway, as an engine sees it.
pub(crate) struct Peer {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A request as it came over the wire.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Received {
    /// The value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| line.split_once(": ").filter(|(key, _)| *key == name)).map(|(_, v)| v)
    }
}

impl Peer {
    /// The next request, or `None` once the gateway has closed the connection.
    pub(crate) async fn request(&mut self) -> Option<Received> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                let total = end + 4 + length.parse::<usize>().unwrap();
                if self.buffer.len() >= total {
                    let body = String::from_utf8(self.buffer[end + 4..total].to_vec()).unwrap();
                    self.buffer.drain(..total);
                    return Some(Received { head, body });
                }
            }
            if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    pub(crate) async fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// A whole answer.
    pub(crate) async fn answer(&mut self, body: &str) {
        let length = body.len();
        self.write(&format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
        .await;
    }

    /// The head of a stream of events.
    pub(crate) async fn begin_stream(&mut self) {
        self.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    }

    pub(crate) async fn chunk(&mut self, text: &str) {
        self.write(&format!("{:x}\r\n{text}\r\n", text.len())).await;
    }

    pub(crate) async fn end_stream(&mut self) {
        self.write("0\r\n\r\n").await;
    }

    /// Waits until the gateway closes the connection.
    pub(crate) async fn closed(mut self) {
        let mut byte = [0];
        while self.stream.read(&mut byte).await.unwrap_or(0) > 0 {}
    }
}
