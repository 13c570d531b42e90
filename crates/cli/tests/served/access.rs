//! Who may manage models.

use serde_json::{Value, json};
use testkit::Method;

use crate::support::fake;

#[tokio::test]
async fn foreign_pages_and_names_may_not_manage() {
    let stage = fake().fake_model("m.gguf", "");
    let snug = stage.start().await;
    let load = async |headers: &[(&str, &str)]| snug.send(Method::POST, "/api/models/m/load", headers, "").await;

    for headers in [
        [("host", "evil.example")],
        [("origin", "https://evil.example")],
        [("origin", "null")],
        [("x-forwarded-for", "10.0.0.7")],
        [("authorization", "Bearer wrong")].map(|_| ("host", "snug.lan:8787")),
    ] {
        load(&headers).await.refusal(401, "admin_token_required");
    }
    assert_eq!(snug.loaded().await, Vec::<Value>::new());

    // Asking models is open, whatever the name.
    let body = json!({ "model": "m", "messages": [] }).to_string();
    let headers = [("host", "evil.example"), ("content-type", "application/json")];
    snug.send(Method::POST, "/v1/chat/completions", &headers, &body).await.ok();

    let log = snug.log();
    let token = log.lines().find_map(|line| line.split_once("shown this once): ")).unwrap().1.trim();
    load(&[("host", "snug.lan:8787"), ("authorization", &format!("Bearer {token}"))]).await.ok();
    load(&[("host", "snug.lan:8787"), ("x-api-key", token)]).await.ok();
    load(&[]).await.ok();
}
