//! Section 3.7: health and version.

use serde_json::json;

use crate::stage::fake;
use crate::table::{Table, get, row};

#[tokio::test]
async fn chapter_3_7() {
    let stage = fake();
    let snug = stage.start().await;
    let mut table = Table::of(&snug);
    let health = || json!({ "status": "ok", "version": "<text>" });
    table
        .rows([
            row("3.7", "health", get("/health"), 200, health()),
            row("3.7", "the same under /v1", get("/v1/health"), 200, health()),
        ])
        .await;
    let version = json!({ "version": "<text>", "major": "<integer>", "minor": "<integer>", "patch": "<integer>" });
    let version = table.row(row("3.7", "the version", get("/api/version"), 200, version)).await;
    let numbers = ["major", "minor", "patch"].map(|part| version[part].to_string()).join(".");
    table.holds("3.7", "its numbers are those of its text", version["version"] == numbers, &version);
    let health = snug.get("/health").await.json();
    table.holds("3.7", "health tells the same version", health["version"] == version["version"], &health);
    table.done();
}
