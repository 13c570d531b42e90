//! From a finished request to its spans. Pure: ids are handed in.

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::finished::Finished;
use crate::traceparent::Parent;

/// Longest text of an attribute: ids of models and keys are shorter, and what a client wrote has a bound.
const TEXT_MAX: usize = 256;

/// Fresh ids for the spans of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ids {
    pub(crate) trace: TraceId,
    pub(crate) server: SpanId,
    pub(crate) client: SpanId,
}

/// Whether a request is sent, of which a share of `sample` is: as its sender has decided, else by its trace's id.
pub(crate) fn is_sampled(parent: Option<Parent>, ids: &Ids, sample: f64) -> bool {
    match parent {
        Some(parent) => parent.is_sampled,
        None => {
            // The share of all ids that is below this one's lower half, which is chance.
            #[expect(clippy::cast_possible_truncation, reason = "its lower half")]
            let lower = u128::from_be_bytes(ids.trace.to_bytes()) as u64;
            #[expect(clippy::cast_precision_loss, reason = "a share need not be that exact")]
            let share = lower as f64 / u64::MAX as f64;
            sample >= 1.0 || share < sample
        }
    }
}

/// The spans of a request: of itself, and of the call of whoever answered.
pub(crate) fn spans(
    finished: &Finished,
    parent: Option<Parent>,
    ids: &Ids,
    scope: &InstrumentationScope,
) -> Vec<SpanData> {
    let trace = parent.map_or(ids.trace, |parent| parent.trace);
    let context = |span| SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::default());
    let began = finished.ended.checked_sub(finished.total).unwrap_or(finished.ended);
    let span = |id, kind: SpanKind, name: String, attributes| SpanData {
        span_context: context(id),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: kind.clone(),
        name: name.into(),
        start_time: began,
        end_time: finished.ended,
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: status_of(finished, &kind),
        instrumentation_scope: scope.clone(),
    };
    let named = |model: Option<&str>| match model {
        Some(model) => format!("{} {}", finished.operation, bounded(model)),
        None => finished.operation.to_owned(),
    };
    let mut server = span(ids.server, SpanKind::Server, named(finished.model.as_deref()), of_request(finished));
    if let Some(parent) = parent {
        (server.parent_span_id, server.parent_span_is_remote) = (parent.span, true);
    }
    let client = finished.called.as_ref().map(|called| {
        let mut client = span(ids.client, SpanKind::Client, named(Some(&called.model)), of_call(finished));
        client.parent_span_id = ids.server;
        client
    });
    std::iter::once(server).chain(client).collect()
}

/// Of a request that its sender is at fault for, the conventions have whoever was asked say nothing.
fn status_of(finished: &Finished, kind: &SpanKind) -> Status {
    let is_senders = *kind == SpanKind::Server && finished.status.is_some_and(|status| (400..500).contains(&status));
    if finished.error.is_none() || is_senders { Status::Unset } else { Status::error("") }
}

/// What both spans tell.
fn of_both(finished: &Finished) -> Vec<KeyValue> {
    let mut attributes = vec![KeyValue::new("gen_ai.operation.name", finished.operation)];
    attributes.extend(finished.called.iter().flat_map(|called| {
        [
            KeyValue::new("gen_ai.provider.name", bounded(&called.provider)),
            KeyValue::new("gen_ai.response.model", bounded(&called.model)),
            KeyValue::new("server.address", bounded(&called.address)),
        ]
    }));
    attributes.extend(finished.error.as_deref().map(|error| KeyValue::new("error.type", bounded(error))));
    for (name, tokens) in
        [("gen_ai.usage.input_tokens", finished.input_tokens), ("gen_ai.usage.output_tokens", finished.output_tokens)]
    {
        // Nobody generates of nothing: 0 is that nobody counted.
        if tokens > 0 {
            attributes.push(KeyValue::new(name, i64::try_from(tokens).unwrap_or(i64::MAX)));
        }
    }
    attributes
}

fn of_request(finished: &Finished) -> Vec<KeyValue> {
    let mut attributes = of_both(finished);
    attributes.extend(finished.model.as_deref().map(|model| KeyValue::new("gen_ai.request.model", bounded(model))));
    attributes.extend(finished.key.as_deref().map(|key| KeyValue::new("snug.key_id", bounded(key))));
    attributes.extend(finished.status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))));
    attributes.push(KeyValue::new("snug.request_id", bounded(&finished.request)));
    attributes.push(KeyValue::new("snug.stream", finished.is_stream));
    if finished.is_stream {
        attributes.push(KeyValue::new("snug.time_to_first_token_s", finished.first_piece.as_secs_f64()));
    }
    attributes
}

fn of_call(finished: &Finished) -> Vec<KeyValue> {
    let mut attributes = of_both(finished);
    attributes
        .extend(finished.called.as_ref().map(|called| KeyValue::new("gen_ai.request.model", bounded(&called.model))));
    attributes
}

/// At most so much of a text, at the end of a character.
fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(trace: u128) -> Ids {
        Ids {
            trace: TraceId::from_bytes(trace.to_be_bytes()),
            server: SpanId::from_bytes(1_u64.to_be_bytes()),
            client: SpanId::from_bytes(2_u64.to_be_bytes()),
        }
    }

    #[test]
    fn which_are_sent() {
        let check = |parent: Option<bool>, trace: u128, sample: f64, expected: bool| {
            let parent = parent.map(|is_sampled| Parent { trace: TraceId::INVALID, span: SpanId::INVALID, is_sampled });
            assert_eq!(is_sampled(parent, &ids(trace), sample), expected, "{parent:?} {trace:x} {sample}");
        };
        check(None, u128::MAX, 1.0, true);
        check(None, 1, 0.0, false);
        check(None, 0, 0.0, false);
        check(None, u128::from(u64::MAX / 4), 0.5, true);
        check(None, u128::from(u64::MAX / 4 * 3), 0.5, false);
        // Its sender knows better.
        check(Some(true), 1, 0.0, true);
        check(Some(false), 1, 1.0, false);
    }

    #[test]
    fn texts_are_bounded() {
        assert_eq!(bounded("short"), "short");
        assert_eq!(bounded(&"ü".repeat(1000)).len(), 256);
        assert_eq!(bounded(&format!("x{}", "ü".repeat(1000))).len(), 255);
    }
}
