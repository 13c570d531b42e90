//! `/metrics`: the request metrics of the gateway and a picture of the node, for Prometheus.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use gateway::{ApiError, Usage};
use http::header::CONTENT_TYPE;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use storage::Storage;
use tokio::sync::watch;
use types::{ByteCount, DeviceMemory, ModelKey};

/// The page.
#[derive(Clone)]
pub(crate) struct Page(Arc<Registry>);

impl Page {
    pub(crate) fn new(registry: Registry) -> Self {
        Self(Arc::new(registry))
    }
}

/// `GET /metrics`.
pub(crate) async fn page(State(page): State<Page>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &page.0) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => ApiError::new(
            http::StatusCode::INTERNAL_SERVER_ERROR,
            api::ErrorType::ServerError,
            "metrics_failed",
            "the metrics could not be written",
        )
        .into_response(),
    }
}

/// Reads the node's picture when asked; nothing is counted twice.
#[derive(Debug)]
pub(crate) struct NodeCollector(watch::Receiver<Arc<node::View>>);

impl NodeCollector {
    pub(crate) fn new(view: watch::Receiver<Arc<node::View>>) -> Self {
        Self(view)
    }
}

impl Collector for NodeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let view = Arc::clone(&self.0.borrow());
        let mut memory = encoder.encode_descriptor(
            "snug_instance_memory",
            "Memory that an instance holds, by device and kind: as its engine reported, as estimated before",
            Some(&Unit::Bytes),
            MetricType::Gauge,
        )?;
        type Kind = (&'static str, fn(&DeviceMemory) -> ByteCount);
        const KINDS: [Kind; 3] =
            [("model", |memory| memory.model), ("kv", |memory| memory.kv), ("compute", |memory| memory.compute)];
        for instance in &view.instances {
            let model = instance.model.key.to_string();
            for (device, held) in &instance.holds().0 {
                for (kind, of) in KINDS {
                    let labels = [("model", model.as_str()), ("device", device.as_str()), ("kind", kind)];
                    ConstGauge::new(of(held).as_u64()).encode(memory.encode_family(&labels)?)?;
                }
            }
        }
        let mut capacity = encoder.encode_descriptor(
            "snug_device_capacity",
            "What models may use of a device",
            Some(&Unit::Bytes),
            MetricType::Gauge,
        )?;
        for (device, bytes) in &view.capacity {
            let labels = [("device", device.as_str())];
            ConstGauge::new(bytes.as_u64()).encode(capacity.encode_family(&labels)?)?;
        }
        let mut states = encoder.encode_descriptor("snug_instances", "Instances by state", None, MetricType::Gauge)?;
        for state in ["starting", "loading", "ready", "stopping"] {
            let count = view.instances.iter().filter(|instance| instance.status.state.as_str() == state).count();
            ConstGauge::new(count as u64).encode(states.encode_family(&[("state", state)])?)?;
        }
        let queue =
            encoder.encode_descriptor("snug_loads_waiting", "Loads that wait for room", None, MetricType::Gauge)?;
        ConstGauge::new(view.waiting.len() as u64).encode(queue)
    }
}

/// Tells those who count what an answer used: the node how fast its engines generate, the storage which models are used.
pub(crate) fn counted_by(node: node::Handle, storage: Storage) -> impl Fn(&ModelKey, &Usage) + Send + Sync {
    move |model, usage| {
        if let Some(tokens_per_second) = usage.tokens_per_second {
            node.ran(model.clone(), tokens_per_second);
        }
        storage.used(model.clone());
    }
}
