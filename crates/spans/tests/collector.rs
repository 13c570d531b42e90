//! Spans as a collector gets them: a small one, which reads the protobuf.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode as SpanStatus};
use prost::Message;
use spans::{Called, Config, Counts, Finished, Handle, QUEUE_MAX};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Long enough for a small machine under load; never waited for in full where all is well.
const LONG: Duration = Duration::from_secs(60);

/// What came.
#[derive(Clone, Default)]
struct Got(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

impl Got {
    fn spans(&self) -> Vec<Span> {
        let requests = self.0.lock().unwrap();
        let scopes = requests.iter().flat_map(|request| &request.resource_spans).flat_map(|spans| &spans.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    fn resource(&self) -> BTreeMap<String, String> {
        let requests = self.0.lock().unwrap();
        texts(&requests[0].resource_spans[0].resource.as_ref().unwrap().attributes)
    }
}

/// A collector that answers with `status`.
async fn collector(status: StatusCode, tracker: &TaskTracker) -> (String, Got) {
    let got = Got::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (kept, connections) = (got.clone(), tracker.clone());
    tracker.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let kept = kept.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let kept = kept.clone();
                async move {
                    assert_eq!((request.uri().path(), request.method().as_str()), ("/v1/traces", "POST"));
                    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    kept.0.lock().unwrap().push(ExportTraceServiceRequest::decode(body).unwrap());
                    Response::builder().status(status).body(Full::new(Bytes::new()))
                }
            });
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            connections.spawn(async move { drop(connection.await) });
        }
    });
    (endpoint, got)
}

fn config(endpoint: String) -> Config {
    Config { endpoint, service_name: "here".to_owned(), service_version: "1.2.3".to_owned(), sample: 1.0 }
}

fn finished() -> Finished {
    Finished {
        operation: "chat",
        request: "r-1".to_owned(),
        model: Some("assistant".to_owned()),
        called: Some(Called {
            provider: "llama.cpp".to_owned(),
            model: "qwen3:Q4_K_M".to_owned(),
            address: "127.0.0.1".to_owned(),
        }),
        key: Some("k-7".to_owned()),
        status: Some(200),
        error: None,
        input_tokens: 31,
        output_tokens: 4,
        is_stream: true,
        first_piece: Duration::from_millis(250),
        total: Duration::from_secs(2),
        ended: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.clone().unwrap().value.unwrap() {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::BoolValue(value) => value.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

async fn until(handle: &Handle, done: impl Fn(Counts) -> bool) {
    let look = async {
        while !done(handle.counts()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, look).await.unwrap_or_else(|_| panic!("{:?}", handle.counts()));
}

#[tokio::test]
async fn a_request_is_two_spans_of_the_trace_that_it_came_in() {
    let tracker = TaskTracker::new();
    let (endpoint, got) = collector(StatusCode::OK, &tracker).await;
    let handle = spans::start(&config(endpoint), &tracker, CancellationToken::new()).unwrap();
    handle.finished(finished());
    until(&handle, |counts| counts.sent == 1).await;

    assert_eq!(got.resource(), map(&[("service.name", "here"), ("service.version", "1.2.3")]));
    let spans = got.spans();
    let [server, client] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((server.name.as_str(), server.kind()), ("chat assistant", SpanKind::Server));
    assert_eq!((client.name.as_str(), client.kind()), ("chat qwen3:Q4_K_M", SpanKind::Client));
    for span in [server, client] {
        assert_eq!(hex(&span.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
        let times = (span.start_time_unix_nano, span.end_time_unix_nano);
        assert_eq!(times, (999_998_000_000_000, 1_000_000_000_000_000));
    }
    assert_eq!(hex(&server.parent_span_id), "00f067aa0ba902b7");
    assert_eq!(client.parent_span_id, server.span_id);
    assert_ne!(client.span_id, server.span_id);
    let both = [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "llama.cpp"),
        ("gen_ai.response.model", "qwen3:Q4_K_M"),
        ("gen_ai.usage.input_tokens", "31"),
        ("gen_ai.usage.output_tokens", "4"),
        ("server.address", "127.0.0.1"),
    ];
    let of_server = [
        ("gen_ai.request.model", "assistant"),
        ("http.response.status_code", "200"),
        ("snug.key_id", "k-7"),
        ("snug.request_id", "r-1"),
        ("snug.stream", "true"),
        ("snug.time_to_first_token_s", "0.25"),
    ];
    assert_eq!(texts(&server.attributes), map(&[&both[..], &of_server].concat()));
    assert_eq!(texts(&client.attributes), map(&[&both[..], &[("gen_ai.request.model", "qwen3:Q4_K_M")]].concat()));
}

#[tokio::test]
async fn one_that_failed_says_why_and_begins_a_trace_of_its_own() {
    let tracker = TaskTracker::new();
    let (endpoint, got) = collector(StatusCode::OK, &tracker).await;
    let handle = spans::start(&config(endpoint), &tracker, CancellationToken::new()).unwrap();
    let failed = Finished {
        model: None,
        called: None,
        key: None,
        status: Some(503),
        error: Some("503".to_owned()),
        input_tokens: 0,
        output_tokens: 0,
        is_stream: false,
        traceparent: Some("not one".to_owned()),
        ..finished()
    };
    handle.finished(failed.clone());
    handle.finished(Finished { status: Some(404), ..failed });
    until(&handle, |counts| counts.sent == 2).await;
    let spans = got.spans();
    let [one, other] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((one.name.as_str(), one.kind(), hex(&one.parent_span_id).as_str()), ("chat", SpanKind::Server, ""));
    assert_ne!(one.trace_id, other.trace_id);
    let codes = [one, other].map(|span| span.status.as_ref().map(|status| status.code()));
    // What a client did wrong is no error of ours.
    assert_eq!((codes[0], codes[1].unwrap_or_default()), (Some(SpanStatus::Error), SpanStatus::Unset));
    let expected = [
        ("error.type", "503"),
        ("gen_ai.operation.name", "chat"),
        ("http.response.status_code", "503"),
        ("snug.request_id", "r-1"),
        ("snug.stream", "false"),
    ];
    assert_eq!(texts(&one.attributes), map(&expected));
}

#[tokio::test]
async fn what_came_before_the_end_is_sent() {
    let tracker = TaskTracker::new();
    let (endpoint, got) = collector(StatusCode::OK, &TaskTracker::new()).await;
    let stop = CancellationToken::new();
    let handle = spans::start(&config(endpoint), &tracker, stop.clone()).unwrap();
    for _ in 0..1500 {
        handle.finished(finished());
    }
    stop.cancel();
    tracker.close();
    tokio::time::timeout(LONG, tracker.wait()).await.unwrap();
    assert_eq!(handle.counts(), Counts { sent: 1500, lost: 0 });
    assert_eq!(got.spans().len(), 3000);
}

#[tokio::test]
async fn only_a_share_is_sent_where_that_is_wanted() {
    let tracker = TaskTracker::new();
    let (endpoint, got) = collector(StatusCode::OK, &tracker).await;
    let none = Config { sample: 0.0, ..config(endpoint) };
    let handle = spans::start(&none, &tracker, CancellationToken::new()).unwrap();
    let undecided = Finished { traceparent: None, ..finished() };
    handle.finished(undecided.clone());
    handle.finished(finished());
    handle.finished(undecided);
    until(&handle, |counts| counts.sent == 1).await;
    assert_eq!((got.spans().len(), handle.counts().lost), (2, 0));
}

#[tokio::test]
async fn a_collector_that_takes_nothing_costs_spans_only() {
    let tracker = TaskTracker::new();
    let (endpoint, _) = collector(StatusCode::BAD_REQUEST, &tracker).await;
    let stop = CancellationToken::new();
    let handle = spans::start(&config(endpoint), &tracker, stop.clone()).unwrap();
    handle.finished(finished());
    until(&handle, |counts| counts.lost == 1).await;

    // Nor does one that is not there, and the queue has an end.
    let sending = TaskTracker::new();
    let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let handle = spans::start(&config(format!("http://{nowhere}")), &sending, stop.clone()).unwrap();
    for _ in 0..QUEUE_MAX + 10 {
        handle.finished(finished());
    }
    assert_eq!(handle.counts(), Counts { sent: 0, lost: 10 });
    stop.cancel();
    sending.close();
    tokio::time::timeout(LONG, sending.wait()).await.unwrap();
    assert_eq!(handle.counts(), Counts { sent: 0, lost: QUEUE_MAX as u64 + 10 });
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
