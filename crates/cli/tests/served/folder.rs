//! Models that come and go while snug runs.

use serde_json::json;
use testkit::{Snug, eventually, gguf};

use crate::support::fake;

async fn ids(snug: &Snug<'_>) -> Vec<String> {
    let listed = snug.get("/v1/models").await.ok();
    listed["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_file_is_found_and_missed_without_a_restart() {
    let stage = fake();
    let snug = stage.start().await;
    assert_eq!(ids(&snug).await, Vec::<String>::new());
    snug.chat("New", json!({})).await.refusal(404, "model_not_found");

    // A folder that was not there before, too.
    let new = stage.models_dir().join("New-Q4_K_M.gguf");
    gguf::ChatModel::default().file().write(&new).unwrap();
    let deep = stage.models_dir().join("deep");
    std::fs::create_dir(&deep).unwrap();
    std::fs::copy(&new, deep.join("Deep-F16.gguf")).unwrap();
    eventually("both are listed", async || (ids(&snug).await == ["Deep", "New"]).then_some(())).await;
    snug.chat("New", json!({})).await.ok();

    std::fs::remove_file(&new).unwrap();
    eventually("it is missed", async || (ids(&snug).await == ["Deep"]).then_some(())).await;
    snug.chat("Deep", json!({})).await.ok();
}
