//! No room to write: logs, records and measurements are lost, requests are not.

use serde_json::json;
use testkit::gguf;

use crate::support::real;

#[tokio::test]
async fn serving_goes_on_where_nothing_can_be_written() {
    let Some(stage) = real() else { return };
    let model = gguf::ChatModel::default().file();
    let mut stage = stage.model("One-F32.gguf", &model).model("Two-F32.gguf", &model);
    // Once with room, so that what is made only once is there.
    stage.start().await.kill();

    // An engine writes more than this while it loads.
    stage.limit_file_size(Some(4));
    let snug = stage.start().await;
    for _ in 0..2 {
        for name in ["One", "Two"] {
            let text = snug.chat(name, json!({})).await.ok()["choices"][0]["message"]["content"].clone();
            assert_eq!(text, gguf::ChatModel::sentence());
            snug.stream(name, json!({})).await.complete().await.unwrap();
        }
    }
    let log = stage.data_dir().join("logs/One_F32.log");
    assert!(std::fs::metadata(&log).is_ok_and(|file| (1..=4096).contains(&file.len())), "{}", log.display());
    drop(snug);
}
