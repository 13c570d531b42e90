//! The gateway alone, in front of one engine that runs already: `fixed ENGINE_ADDRESS`.
//!
//! Serves the model `bench` on a port the system chooses, and says which. For measurements of the gateway by itself.

use std::collections::HashMap;
use std::io::Write as _;
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

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = std::env::args().nth(1).ok_or("usage: fixed ENGINE_ADDRESS")?.parse()?;
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
    let table = Table::default();
    let route = Route { listing: Arc::clone(&listing), target: Some(target) };
    table.publish(Routes { by_name: HashMap::from([("bench".to_owned(), route)]), listed: vec![listing] });

    let (completed, mut reports) = tokio::sync::mpsc::channel(1024);
    tokio::spawn(async move { while reports.recv().await.is_some() {} });
    let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
    let limits = Limits { max_in_flight: 4096, ..Limits::default() };
    let router = gateway::router(Parts { table, activate: Arc::new(Nothing), limits, metrics, completed });

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stderr(), "listening on http://{}", listener.local_addr()?)?;
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    Ok(axum::serve(listener, router).await?)
}
