//! Which web pages may read answers, and which may manage.

use serde_json::json;
use testkit::{Method, Snug};

use crate::support::fake;

const PAGE: &str = "https://chat.example";

/// Status, who may read, and on what that depends.
async fn asked(snug: &Snug<'_>, method: Method, path: &str, origin: &str) -> (u16, String, String) {
    let answer = snug.send(method, path, &[("origin", origin)], "").await;
    (answer.status, answer.header("access-control-allow-origin").to_owned(), answer.header("vary").to_owned())
}

#[tokio::test]
async fn everybody_may_read_unless_told_otherwise_and_nobody_may_manage() {
    let stage = fake().fake_model("m.gguf", "");
    let snug = stage.start().await;
    for (path, status) in
        [("/health", 200), ("/v1/models", 200), ("/api/v1/system", 200), ("/v1/models/none", 404), ("/nowhere", 404)]
    {
        assert_eq!(asked(&snug, Method::GET, path, PAGE).await, (status, "*".to_owned(), String::new()), "{path}");
    }
    let body = json!({ "model": "m", "messages": [] }).to_string();
    let headers = [("origin", PAGE), ("content-type", "application/json")];
    let answer = snug.send(Method::POST, "/v1/chat/completions", &headers, &body).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, "*"));
    // Without a page, too: who asks may be a page's proxy.
    assert_eq!(snug.get("/health").await.header("access-control-allow-origin"), "*");

    for path in ["/api/models/m/load", "/api/models/m/unload"] {
        let answer = snug.send(Method::POST, path, &[("origin", PAGE)], "").await;
        answer.refusal(401, "admin_token_required");
        assert_eq!(answer.header("access-control-allow-origin"), "*", "it may read why");
    }
    snug.send(Method::GET, "/api/logs", &[("origin", PAGE)], "").await.refusal(401, "admin_token_required");
}

#[tokio::test]
async fn a_browser_may_ask_before_it_sends() {
    let stage = fake();
    let snug = stage.start().await;
    for path in ["/v1/chat/completions", "/api/models/a/b/load", "/api/v1/system", "/nowhere"] {
        let headers = [
            ("origin", PAGE),
            ("access-control-request-method", "DELETE"),
            ("access-control-request-headers", "authorization,x-anything"),
        ];
        let answer = snug.send(Method::OPTIONS, path, &headers, "").await;
        assert_eq!((answer.status, answer.text.as_str()), (204, ""), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert_eq!(answer.header("access-control-allow-methods"), "GET, POST, PUT, PATCH, DELETE, OPTIONS");
        assert_eq!(answer.header("access-control-allow-headers"), "authorization,x-anything");
        assert_eq!(answer.header("access-control-max-age"), "86400");
        assert!(!answer.header("x-request-id").is_empty());
    }
    let answer = snug.send(Method::OPTIONS, "/health", &[], "").await;
    assert_eq!((answer.status, answer.header("access-control-allow-headers")), (204, "*"));
}

#[tokio::test]
async fn a_site_that_is_named_may_read_and_manage_and_others_may_not() {
    let stage = fake().fake_model("m.gguf", "").config(&format!("cors_origins = [\"{PAGE}\"]"));
    let snug = stage.start().await;
    let varies = "origin".to_owned();
    assert_eq!(asked(&snug, Method::GET, "/health", PAGE).await, (200, PAGE.to_owned(), varies.clone()));
    let other = "https://other.example";
    assert_eq!(asked(&snug, Method::GET, "/health", other).await, (200, String::new(), varies.clone()));
    assert_eq!(asked(&snug, Method::OPTIONS, "/health", other).await.1, "");
    assert_eq!(asked(&snug, Method::POST, "/api/models/m/load", other).await, (401, String::new(), varies.clone()));
    assert_eq!(asked(&snug, Method::POST, "/api/models/m/load", PAGE).await, (200, PAGE.to_owned(), varies));
    // Its name resolved to this machine is not this machine.
    let rebound = [("origin", PAGE), ("host", "chat.example")];
    snug.send(Method::POST, "/api/models/m/unload", &rebound, "").await.refusal(401, "admin_token_required");
}

#[tokio::test]
async fn where_nobody_is_named_no_answer_says_anything() {
    let stage = fake().config("cors_origins = []");
    let snug = stage.start().await;
    assert_eq!(asked(&snug, Method::GET, "/health", PAGE).await, (200, String::new(), String::new()));
    let answer = snug.send(Method::OPTIONS, "/health", &[("origin", PAGE)], "").await;
    assert_eq!((answer.status, answer.header("access-control-allow-methods")), (405, ""));
}
