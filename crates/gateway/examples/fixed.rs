//! The gateway alone, in front of one engine that runs already: `fixed ENGINE_ADDRESS`.
//!
//! Serves the model `bench` on a port the system chooses, and says which. For measurements of the gateway by itself.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::serve::ListenerExt as _;
use gateway::{Limits, Metrics, Parts};
use route::{Activate, Activation, Route, Routes, Table, Target, Unavailable};
use types::{InstanceId, ModelId, ModelKey, Variant};

struct Nothing;

impl Activate for Nothing {
    fn activate<'a>(&'a self, _: &'a str) -> Activation<'a> {
        Box::pin(async { Err(Unavailable::Stopping) })
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let engine = arguments.next().ok_or("usage: fixed ENGINE_ADDRESS [THREADS]")?.parse()?;
    let threads = match arguments.next() {
        Some(threads) => threads.parse()?,
        None => std::thread::available_parallelism()?.get(),
    };
    let table = Table::default();
    table.publish(routes(engine));

    // One runtime per thread, each with its own listener on the same port: a connection stays on the thread that took
    // it. On small machines that passes a quarter more requests than one runtime that moves tasks between threads.
    let first = listen("127.0.0.1:0".parse()?)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..threads {
        listeners.push(listen(address)?);
    }
    writeln!(std::io::stderr(), "listening on http://{address}")?;
    std::thread::scope(|scope| {
        for listener in listeners {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(serve(listener, table.clone()))
            });
        }
    });
    Ok(())
}

/// A listener that shares its port with others like it.
fn listen(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    // Only registered with that runtime for the moment.
    let _entered = runtime.enter();
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(1024)?.into_std()
}

async fn serve(listener: std::net::TcpListener, table: Table) -> std::io::Result<()> {
    let (completed, mut reports) = tokio::sync::mpsc::channel(1024);
    tokio::spawn(async move { while reports.recv().await.is_some() {} });
    let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
    let limits = Limits { max_in_flight: 4096, ..Limits::default() };
    let router = gateway::router(Parts { table, activate: Arc::new(Nothing), limits, metrics, completed });
    let listener = tokio::net::TcpListener::from_std(listener)?;
    axum::serve(listener.tap_io(|stream| drop(stream.set_nodelay(true))), router).await
}

fn routes(engine: SocketAddr) -> Routes {
    let key = ModelKey { id: ModelId::new("bench"), variant: Variant::new("") };
    let target = Target::new(InstanceId::new("bench"), key, engine, Arc::default());
    let listing = Arc::new(api::Model {
        id: "bench".to_owned(),
        object: "model".to_owned(),
        created: 0,
        owned_by: "snug".to_owned(),
        permission: vec![],
        backend: "llamacpp".to_owned(),
        port: Some(target.address().port()),
        model_type: "lm".to_owned(),
        context_length: None,
        quantization: None,
        variants: vec![],
        supports_function_calling: false,
        enabled: true,
        state: "Loaded".to_owned(),
    });
    let route = Route { listing: Arc::clone(&listing), target: Some(target) };
    Routes { by_name: HashMap::from([("bench".to_owned(), route)]), listed: vec![listing] }
}
