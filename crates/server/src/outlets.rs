//! Those who are told of each finished request besides what snug itself remembers: a collector of spans, a file. Both are
//! off unless they are configured.

use std::time::SystemTime;

use anyhow::Context;
use config::Config;
use gateway::{Finished, Outcome};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;
use spans::Called;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::reload::InForce;
use crate::request_log;

/// Where engines of this machine are.
const HERE: &str = "127.0.0.1";
/// Who runs them, as `gen_ai.provider.name` has it.
const OURS: &str = "llama.cpp";
/// The same of canned answers.
const MOCK: &str = "mock";

/// See the module's text.
#[derive(Clone)]
pub(crate) struct Outlets {
    spans: Option<spans::Handle>,
    log: Option<request_log::Handle>,
    /// Where providers are.
    in_force: InForce,
}

impl Outlets {
    /// Begins to tell, in tasks of `tracker` until `stop`.
    ///
    /// # Errors
    /// If the file cannot be written, or the collector's address is none.
    pub(crate) fn start(
        config: &Config,
        in_force: InForce,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let collector = config.tracing.otlp_endpoint.clone().map(|endpoint| spans::Config {
            endpoint,
            service_name: config.tracing.service_name.clone(),
            service_version: env!("CARGO_PKG_VERSION").to_owned(),
            sample: config.tracing.sample,
        });
        let spans = collector.map(|collector| spans::start(&collector, tracker, stop.clone())).transpose();
        let file = config
            .request_log
            .file
            .clone()
            .map(|file| request_log::Settings { file, bytes_max: config.request_log.max_bytes.as_u64() });
        let log = file.map(|settings| request_log::start(settings, tracker, stop.clone())).transpose()?;
        Ok(Self { spans: spans.context("tracing.otlp_endpoint")?, log, in_force })
    }

    /// A request has ended just now. Never waits.
    pub(crate) fn finished(&self, finished: &Finished) {
        if let Some(log) = &self.log {
            log.finished(finished);
        }
        if let Some(spans) = &self.spans {
            spans.finished(self.told(finished));
        }
    }

    /// Adds how much was told to a registry.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Counts { spans: self.spans.clone(), log: self.log.clone() }));
    }

    fn told(&self, finished: &Finished) -> spans::Finished {
        spans::Finished {
            operation: operation(finished.endpoint),
            request: finished.id.as_str().to_owned(),
            model: finished.model.clone(),
            called: finished.by.as_ref().map(|by| self.called(by)),
            key: finished.caller.key_id().map(|id| id.to_string()),
            status: finished.status.map(|status| status.as_u16()),
            error: error(finished),
            input_tokens: finished.usage.prompt_tokens,
            output_tokens: finished.usage.completion_tokens,
            is_stream: finished.is_stream,
            first_piece: finished.first_piece,
            total: finished.total,
            ended: SystemTime::now(),
            traceparent: finished.traceparent.as_ref().and_then(|header| Some(header.to_str().ok()?.to_owned())),
        }
    }

    fn called(&self, by: &gateway::By) -> Called {
        let (instance, model) = (by.instance.as_str(), by.model.to_string());
        // Models of a provider are called by its name, and so is whoever answered for them.
        match model.strip_prefix(instance).and_then(|rest| rest.strip_prefix('/')) {
            Some(theirs) => {
                let config = self.in_force.borrow();
                let provider = config.providers.iter().find(|provider| provider.name == instance);
                let address = provider.map_or(instance, |provider| host(provider.base_url())).to_owned();
                Called { provider: instance.to_owned(), model: theirs.to_owned(), address }
            }
            None => {
                let provider = if instance == MOCK { MOCK } else { OURS };
                Called { provider: provider.to_owned(), model, address: HERE.to_owned() }
            }
        }
    }
}

/// What the conventions call what an endpoint does, where they know it.
fn operation(endpoint: &'static str) -> &'static str {
    match endpoint {
        "chat_completions" | "responses" | "messages" | "ollama" => "chat",
        "completions" => "text_completion",
        "images" => "generate_content",
        other => other,
    }
}

/// Why a request failed, in a word: its status, or what cut it.
fn error(finished: &Finished) -> Option<String> {
    match (finished.outcome, finished.status) {
        (Outcome::Success, _) => None,
        (Outcome::ClientError | Outcome::ServerError, Some(status)) => Some(status.as_str().to_owned()),
        (outcome, _) => Some(outcome.label().to_owned()),
    }
}

/// The host of an address.
fn host(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Reads what was told when asked.
struct Counts {
    spans: Option<spans::Handle>,
    log: Option<request_log::Handle>,
}

impl std::fmt::Debug for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counts")
    }
}

impl Collector for Counts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut counter = |name: &str, help: &str, count: u64| {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(count).encode(metric)
        };
        if let Some(spans) = &self.spans {
            let counts = spans.counts();
            counter("snug_spans_sent", "Requests that the collector was told of", counts.sent)?;
            counter("snug_spans_lost", "Requests that it could not be told of", counts.lost)?;
        }
        if let Some(log) = &self.log {
            let (written, lost) = log.counts();
            counter("snug_request_log_written", "Lines of the request log", written)?;
            counter("snug_request_log_lost", "Lines that could not be written", lost)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_addresses() {
        let check = |address: &str, expected: &str| assert_eq!(host(address), expected, "{address}");
        check("https://api.openai.com/v1", "api.openai.com");
        check("http://10.0.0.7:8787/v1", "10.0.0.7");
        check("http://[::1]:8787", "[::1]");
        check("http://[fe80::1]", "[fe80::1]");
        check("http://localhost", "localhost");
    }
}
