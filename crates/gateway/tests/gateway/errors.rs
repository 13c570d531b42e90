//! What is refused, and in which words.

use std::sync::Arc;
use std::time::Duration;

use gateway::Limits;
use route::{Blocker, Unavailable};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use types::{ByteCount, FailureClass, LoadFailure};

use crate::support::{Answering, CHAT, House, Loading, Setup, engine, error_of, eventually, key, target_for};

async fn check(house: &House, body: &str, status: u16, code: &str, param: Option<&str>) -> serde_json::Value {
    let (found, error) = error_of(house.post("/v1/chat/completions", body.to_owned()).await).await;
    assert_eq!((found, error["code"].as_str()), (status, Some(code)), "{body}: {error}");
    assert_eq!(error["param"].as_str(), param, "{body}: {error}");
    error
}

#[tokio::test]
async fn bad_requests_are_told_what_is_wrong() {
    let house = House::start(Setup::default()).await;
    house.publish(None);
    let error = check(&house, "{\"model\": nope}", 400, "invalid_json", None).await;
    assert_eq!(error["type"], "invalid_request_error");
    assert_eq!(error["details"], serde_json::json!({ "line": 1, "column": 12 }));
    check(&house, "", 400, "invalid_json", None).await;
    check(&house, "[]", 400, "invalid_json", None).await;
    check(&house, "{}", 400, "missing_model", Some("model")).await;
    check(&house, r#"{"model":1}"#, 400, "invalid_request", Some("model")).await;
    check(&house, r#"{"model":"a","model":"b"}"#, 400, "invalid_request", Some("model")).await;
    let error = check(&house, r#"{"model":"nope"}"#, 404, "model_not_found", Some("model")).await;
    assert_eq!(error["type"], "not_found_error");
    assert_eq!(error["details"]["available"], serde_json::json!(["org/model", "other"]));
    assert!(error["message"].as_str().unwrap().contains("org/model, other"), "{error}");
    house.await_metric("snug_requests_total{model=\"unknown\",endpoint=\"chat_completions\",status=\"4xx\"} 7").await;
}

#[tokio::test]
async fn a_very_long_name_is_not_sent_back_whole() {
    let house = House::start(Setup::default()).await;
    let body = format!(r#"{{"model":"{}"}}"#, "x".repeat(1_000_000));
    let error = check(&house, &body, 404, "model_not_found", Some("model")).await;
    assert!(error["message"].as_str().unwrap().len() < 500);
}

#[tokio::test]
async fn other_methods_are_refused_with_those_that_would_do() {
    let house = House::start(Setup::default()).await;
    for (method, path, allow) in [
        ("GET", "/v1/chat/completions", "POST"),
        ("PUT", "/v1/completions/", "POST"),
        ("DELETE", "/v1/embeddings", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/v1/models/a/b", "GET, HEAD"),
    ] {
        let response = house.client.request(method.parse().unwrap(), house.url(path)).send().await.unwrap();
        let allows = response.headers().get_all("allow").iter().map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(allows.collect::<Vec<_>>(), [allow], "{method} {path}");
        let (status, error) = error_of(response).await;
        assert_eq!((status, error["code"].as_str()), (405, Some("method_not_allowed")), "{method} {path}");
    }
}

fn small_bodies() -> Limits {
    Limits { max_body: ByteCount::bytes(1000), ..Limits::default() }
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_refused() {
    let house = House::start(Setup { limits: small_bodies(), ..Setup::default() }).await;
    let error = check(&house, &"x".repeat(1001), 413, "body_too_large", None).await;
    assert_eq!(error["details"]["max_body_bytes"], 1000);
    assert!(error["message"].as_str().unwrap().contains("1000 bytes"), "{error}");
    check(&house, &"x".repeat(1000), 400, "invalid_json", None).await;
}

#[tokio::test]
async fn whoever_asks_first_need_not_send_it() {
    let house = House::start(Setup { limits: small_bodies(), ..Setup::default() }).await;
    let mut client = tokio::net::TcpStream::connect(house.address).await.unwrap();
    let head = "POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: 5000000\r\nexpect: 100-continue\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(String::from_utf8(answer).unwrap(), "HTTP/1.1 413");
}

#[tokio::test]
async fn a_body_that_turns_out_too_large_is_refused() {
    let house = House::start(Setup { limits: small_bodies(), ..Setup::default() }).await;
    let mut client = tokio::net::TcpStream::connect(house.address).await.unwrap();
    client.write_all(b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    for _ in 0..20 {
        client.write_all(format!("64\r\n{}\r\n", "x".repeat(100)).as_bytes()).await.unwrap();
    }
    client.write_all(b"0\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 12];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(String::from_utf8(answer).unwrap(), "HTTP/1.1 413");
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up() {
    let limits = Limits { body_timeout: Duration::from_millis(50), ..Limits::default() };
    let house = House::start(Setup { limits, ..Setup::default() }).await;
    let mut client = tokio::net::TcpStream::connect(house.address).await.unwrap();
    client.write_all(b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{").await.unwrap();
    let mut answer = vec![0; 12];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(String::from_utf8(answer).unwrap(), "HTTP/1.1 408");
}

/// What the gateway says when a model cannot be had.
async fn refused(unavailable: Unavailable) -> (u16, Option<String>, serde_json::Value) {
    let activate = Arc::new(Answering(move |_: &str| Err(unavailable.clone())));
    let house = House::start(Setup { activate, ..Setup::default() }).await;
    house.publish(None);
    let response = house.chat().await;
    let retry_after = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    let (status, error) = error_of(response).await;
    (status, retry_after, error)
}

#[tokio::test]
async fn a_model_that_cannot_be_had_comes_with_the_reasons() {
    let retry_after = Duration::from_millis(2500);
    let failure = Box::new(LoadFailure {
        model: key(),
        context_requested: Some(4096),
        class: FailureClass::FileCorrupt,
        message: "the file ends early".to_owned(),
        engine_log: "tensor data is not within the file bounds".to_owned(),
    });
    let details = serde_json::json!({
        "model": "org/model", "variant": "Q4_0", "context_requested": 4096, "error_code": "model_load_error",
        "reason": "file_corrupt", "recoverable": true, "action": "delete_and_redownload",
        "suggestion": FailureClass::FileCorrupt.suggestion(), "llama_log": "tensor data is not within the file bounds",
    });

    let (status, retry, error) = refused(Unavailable::LoadFailed(failure.clone())).await;
    assert_eq!((status, retry, error["code"].as_str()), (503, None, Some("model_load_error")));
    assert_eq!((error["type"].as_str(), &error["details"]), (Some("server_error"), &details));

    let (status, retry, error) = refused(Unavailable::Resting { failure, retry_after }).await;
    assert_eq!((status, retry.as_deref(), error["code"].as_str()), (503, Some("3"), Some("model_load_error")));
    assert_eq!(error["details"], details);

    let blockers = vec![Blocker { model: key(), reason: "busy", in_flight: 2, holds: "1.0 GiB".to_owned() }];
    let (needed, free) = ("2.0 GiB on CPU".to_owned(), "0 B".to_owned());
    let (status, retry, error) =
        refused(Unavailable::NoRoom { model: key(), needed, free, blockers, retry_after }).await;
    assert_eq!((status, retry.as_deref(), error["code"].as_str()), (503, Some("3"), Some("insufficient_memory")));
    let blocker =
        serde_json::json!({ "model": "org/model:Q4_0", "reason": "busy", "in_flight": 2, "holds": "1.0 GiB" });
    assert_eq!(error["details"]["blockers"], serde_json::json!([blocker]));
    assert_eq!((&error["details"]["needed"], &error["details"]["free"]), (&"2.0 GiB on CPU".into(), &"0 B".into()));

    let (status, retry, error) = refused(Unavailable::QueueFull { waiting: 9, limit: 8, retry_after }).await;
    assert_eq!((status, retry.as_deref(), error["code"].as_str()), (503, Some("3"), Some("queue_full")));
    assert_eq!(error["details"], serde_json::json!({ "waiting": 9, "limit": 8 }));

    let waited = Duration::from_secs(60);
    let state = "loading".to_owned();
    let (status, retry, error) = refused(Unavailable::StillLoading { model: key(), state, waited, retry_after }).await;
    assert_eq!((status, retry.as_deref(), error["code"].as_str()), (503, Some("3"), Some("model_loading")));
    assert_eq!(error["details"]["state"], "loading");

    let (status, retry, error) = refused(Unavailable::Stopping).await;
    assert_eq!((status, retry.as_deref(), error["code"].as_str()), (503, Some("1"), Some("shutting_down")));

    let gone = Unavailable::NotFound { name: "org/model".to_owned(), known: vec!["other".to_owned()] };
    let (status, retry, error) = refused(gone).await;
    assert_eq!((status, retry, error["code"].as_str()), (404, None, Some("model_not_found")));
    assert_eq!(error["details"]["available"], serde_json::json!(["other"]));
}

#[tokio::test]
async fn an_engine_with_too_much_to_do_is_spared() {
    let address = engine(|mut peer, _| async move {
        while peer.request().await.is_some() {
            peer.answer("{}").await;
        }
    });
    let house = House::start(Setup::default()).await;
    let target = target_for(address.await, 1);
    house.publish(Some(Arc::clone(&target)));
    let lease = target.lease().unwrap();
    let response = house.chat().await;
    assert_eq!(response.headers()["retry-after"], "1");
    let (status, error) = error_of(response).await;
    assert_eq!((status, error["code"].as_str()), (429, Some("queue_full")));
    assert_eq!(error["type"], "rate_limit_error");
    drop(lease);
    assert_eq!(house.chat().await.status(), 200);
}

#[tokio::test]
async fn who_leaves_while_waiting_gives_up_the_place() {
    let loading = Arc::new(Loading::default());
    let house = House::start(Setup { activate: Arc::clone(&loading) as _, ..Setup::default() }).await;
    house.publish(None);
    let request = tokio::spawn(house.client.post(house.url("/v1/chat/completions")).body(CHAT).send());
    eventually("a caller waits", || loading.waiting() == 1).await;
    request.abort();
    eventually("nobody waits", || loading.waiting() == 0).await;
    house
        .await_metric("snug_requests_total{model=\"org/model\",endpoint=\"chat_completions\",status=\"cancelled\"} 1")
        .await;
    house.await_metric("snug_waiting_requests{model=\"org/model\"} 0").await;
}
