//! The client against a small real server that says what each test wants to hear.

#![expect(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]

use std::convert::Infallible;

use api::LoadEvent;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{OriginalUri, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use client::{ChatEvent, ChatRequest, Client, Error, Message, Role, Token};

/// Serves on a port of the system's choice until the test ends.
async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

fn client(url: &str) -> Client {
    Client::new(url, None).unwrap()
}

/// An event stream that comes in these pieces.
fn events(pieces: &'static [&'static str]) -> Response {
    let pieces = pieces.iter().map(|piece| Ok::<_, Infallible>(Bytes::from_static(piece.as_bytes())));
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    ([("content-type", "text/event-stream; charset=utf-8")], body).into_response()
}

fn ask(model: &str) -> ChatRequest {
    let messages = vec![Message { role: Role::User, content: "Hi".to_owned() }];
    ChatRequest { model: model.to_owned(), messages, max_tokens: Some(5), temperature: None }
}

#[tokio::test]
async fn addresses_are_checked() {
    for (url, expected) in [
        ("127.0.0.1:8787", Ok("http://127.0.0.1:8787")),
        ("http://snug:1/prefix/", Ok("http://snug:1/prefix")),
        ("https://snug", Err("TLS is not supported")),
        ("ftp://snug", Err("`ftp` is not http")),
        ("http://", Err("empty host")),
        ("http://snug?x=1", Err("at most a path")),
    ] {
        match (Client::new(url, None), expected) {
            (Ok(client), Ok(base)) => assert_eq!(client.base_url(), base),
            (Err(error), Err(reason)) => assert!(error.to_string().contains(reason), "{url}: {error}"),
            (got, _) => panic!("{url}: {got:?}"),
        }
    }
}

#[tokio::test]
async fn a_token_is_sent_and_never_shown() {
    let echo = |headers: HeaderMap| async move {
        let status = headers["authorization"].to_str().unwrap().to_owned();
        axum::Json(serde_json::json!({"status": status, "version": "1", "router": "healthy",
            "node": {"name": "n", "os": "linux"}}))
    };
    let url = serve(Router::new().route("/health", get(echo))).await;
    let token = Token::new("s3cret");
    let client = Client::new(&url, Some(&token)).unwrap();
    assert_eq!(client.health().await.unwrap().status, "Bearer s3cret");
    assert!(!format!("{client:?} {token:?}").contains("s3cret"));
    assert!(matches!(Client::new(&url, Some(&Token::new("a\nb"))), Err(Error::Token)));
}

#[tokio::test]
async fn nobody_there_is_its_own_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = client(&address.to_string()).health().await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    assert_eq!(error.to_string(), format!("cannot reach snug at http://{address}; is `snug serve` running there?"));
}

#[tokio::test]
async fn refusals_are_read_whatever_their_shape() {
    let ours =
        r#"{"error":{"message":"no such model","type":"not_found_error","param":"model","code":"model_not_found"}}"#;
    for (status, body, message, code) in [
        (404, ours, "no such model", Some("model_not_found")),
        (500, r#"{"error":{"message":"engine","type":"odd","code":500}}"#, "engine", None),
        (400, r#"{"error":"text"}"#, "text", None),
        (422, r#"{"detail":"text"}"#, "text", None),
        (502, "<html>Bad Gateway</html>", "the server answered 502: <html>Bad Gateway</html>", None),
        (503, "", "the server answered 503", None),
    ] {
        let answer = move || async move { (StatusCode::from_u16(status).unwrap(), body) };
        let url = serve(Router::new().route("/v1/models", get(answer))).await;
        let error = client(&url).models().await.unwrap_err();
        assert!(matches!(error, Error::Api { status: got, .. } if got == status), "{error:?}");
        assert_eq!(error.to_string(), message);
        assert_eq!(error.body().and_then(|body| body.error.code.as_deref()), code);
    }
    let url = serve(Router::new().route("/v1/models", get(|| async { "[]" }))).await;
    let error = client(&url).models().await.unwrap_err();
    assert!(error.to_string().starts_with("the answer of /v1/models is not what it should be"), "{error}");
}

#[tokio::test]
async fn names_keep_their_slashes_in_paths() {
    let echo = |OriginalUri(uri): OriginalUri| async move {
        axum::Json(serde_json::json!({"status": "unloaded", "model": uri.to_string(), "state": "Unloaded"}))
    };
    let url = serve(Router::new().fallback(any(echo))).await;
    for (name, path) in [
        ("SmolLM2-135M", "/api/models/SmolLM2-135M/unload"),
        ("org/model:Q4_1", "/api/models/org/model:Q4_1/unload"),
        ("a b?c#ü", "/api/models/a%20b%3Fc%23%C3%BC/unload"),
    ] {
        assert_eq!(client(&url).unload(name).await.unwrap().model, path);
    }
    for name in ["", "../x", "a//b", "."] {
        assert!(matches!(client(&url).unload(name).await, Err(Error::ModelName { .. })), "{name}");
    }
}

#[tokio::test]
async fn a_load_tells_its_progress() {
    let load = |request: Request| async move {
        assert_eq!(request.headers()["accept"], "text/event-stream");
        assert_eq!(request.uri().query(), Some("variant=Q4_1&context=512"));
        events(&[
            "event: progress\r\ndata: {\"phase\":\"wei",
            "ghts\",\"progress\":0.5}\r\n\r\n: keep-alive\n\nevent: news\ndata: 1\n\n",
            "event: loaded\ndata: {\"status\":\"loaded\",\"model\":\"m\",\"variant\":\"Q4_1\",\"context_size\":512,\"load_ms\":7}\n\n",
        ])
    };
    let url = serve(Router::new().route("/api/models/m/load", post(load))).await;
    let mut events = client(&url).load("m", Some("Q4_1"), Some(512)).await.unwrap();
    let progress = LoadEvent::Progress { phase: "weights".to_owned(), progress: 0.5 };
    assert_eq!(events.next().await.unwrap(), Some(progress));
    assert!(matches!(events.next().await.unwrap(), Some(LoadEvent::Loaded(answer)) if answer.load_ms == 7));
    assert_eq!(events.next().await.unwrap(), None);
}

#[tokio::test]
async fn a_load_may_answer_in_one_piece_or_fail_or_be_cut() {
    let whole = || async {
        axum::Json(serde_json::json!({"status":"loaded","model":"m","variant":"","context_size":1,"load_ms":0}))
    };
    let failing = || async {
        events(&[
            "event: error\ndata: {\"error\":{\"message\":\"boom\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n",
        ])
    };
    let cut = || async { events(&["event: progress\ndata: {\"phase\":\"x\",\"progress\":0}\n\n"]) };
    let router = Router::new()
        .route("/api/models/whole/load", post(whole))
        .route("/api/models/failing/load", post(failing))
        .route("/api/models/cut/load", post(cut));
    let client = client(&serve(router).await);

    let mut events = client.load("whole", None, None).await.unwrap();
    assert!(matches!(events.next().await.unwrap(), Some(LoadEvent::Loaded(_))));
    assert_eq!(events.next().await.unwrap(), None);

    let mut events = client.load("failing", None, None).await.unwrap();
    assert!(matches!(events.next().await.unwrap(), Some(LoadEvent::Error(body)) if body.error.message == "boom"));
    assert_eq!(events.next().await.unwrap(), None);

    let mut events = client.load("cut", None, None).await.unwrap();
    events.next().await.unwrap();
    assert!(matches!(events.next().await, Err(Error::Protocol { .. })));
}

#[tokio::test]
async fn a_chat_streams_text_thinking_and_cost() {
    let chat = |body: String| async move {
        let request: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            request,
            serde_json::json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5,
                "stream": true, "stream_options": {"include_usage": true}})
        );
        events(&[
            "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"lo\"}}]}\n",
            "\ndata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2},\"timings\":{\"predicted_per_second\":9.5}}\n\n",
            "data: [DONE]\n\n",
        ])
    };
    let url = serve(Router::new().route("/v1/chat/completions", post(chat))).await;
    let mut chat = client(&url).chat(&ask("m")).await.unwrap();
    let mut got = Vec::new();
    while let Some(event) = chat.next().await.unwrap() {
        got.push(event);
    }
    let usage = client::Usage { prompt_tokens: 3, completion_tokens: 2, tokens_per_second: Some(9.5) };
    assert_eq!(
        got,
        [
            ChatEvent::Reasoning("hm".to_owned()),
            ChatEvent::Text("Hel".to_owned()),
            ChatEvent::Text("lo".to_owned()),
            ChatEvent::Finished("stop".to_owned()),
            ChatEvent::Usage(usage),
        ]
    );
}

#[tokio::test]
async fn a_chat_that_fails_in_the_middle_says_so() {
    let error = || async {
        events(&[
            "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n",
            "data: {\"error\":{\"message\":\"engine died\",\"type\":\"server_error\",\"code\":500}}\n\n",
        ])
    };
    let url = serve(Router::new().route("/v1/chat/completions", post(error))).await;
    let mut chat = client(&url).chat(&ask("m")).await.unwrap();
    assert_eq!(chat.next().await.unwrap(), Some(ChatEvent::Text("Hel".to_owned())));
    let error = chat.next().await.unwrap_err();
    assert!(matches!(error, Error::MidStream { .. }));
    assert_eq!(error.to_string(), "engine died");
    assert_eq!(chat.next().await.unwrap(), None);

    let cut = || async { events(&["data: {\"choices\":[]}\n\n"]) };
    let url = serve(Router::new().route("/v1/chat/completions", post(cut))).await;
    let error = client(&url).chat(&ask("m")).await.unwrap().next().await.unwrap_err();
    assert_eq!(error.to_string(), "the answer ended before its end");
}
