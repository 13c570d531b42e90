//! Prompts that were read need not be read again: not after a swap, not after a restart.

use serde_json::{Value, json};
use testkit::{Snug, Stage, eventually};

use crate::support::{SAMPLE, fake, real_with_sample};

fn two_models(stage: Stage) -> Stage {
    let faults = "--fake-prompt-tokens 500";
    let stage = stage.arguments(&["--max-loaded-models", "1"]);
    stage.fake_model("one.gguf", faults).fake_model("two.gguf", faults)
}

/// How many tokens of the prompt were there already.
async fn cached(snug: &Snug<'_>, model: &str, more: Value) -> u64 {
    snug.chat(model, more).await.ok()["timings"]["cache_n"].as_u64().unwrap()
}

/// The saved slots.
fn kept(stage: &Stage) -> usize {
    let folders = std::fs::read_dir(stage.data_dir().join("prompt-cache")).into_iter().flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|kind| kind == "bin")).count()
}

#[tokio::test]
async fn they_outlive_a_swap_and_a_restart() {
    let stage = two_models(fake());
    let mut snug = stage.start().await;
    for (model, expected) in [("one", 0), ("two", 0), ("one", 499), ("two", 499)] {
        assert_eq!(cached(&snug, model, json!({})).await, expected, "{model}");
    }
    snug.terminate();
    assert!(snug.ended().await.success());
    drop(snug);

    let snug = stage.start().await;
    for model in ["one", "two"] {
        assert_eq!(cached(&snug, model, json!({})).await, 499, "{model}");
    }
    drop(snug);

    let stage = stage.config("[engine]\nprompt_cache = \"0\"\n");
    let snug = stage.start().await;
    for model in ["one", "two", "one"] {
        assert_eq!(cached(&snug, model, json!({})).await, 0, "{model}");
    }
    eventually("what was kept is removed", async || (kept(&stage) == 0).then_some(())).await;
}

/// The real engine writes some 8 MiB for this prompt.
#[tokio::test]
async fn a_full_disk_costs_nothing_else() {
    let Some(stage) = real_with_sample() else { return };
    let mut stage =
        stage.arguments(&["--max-loaded-models", "1"]).model("tiny.gguf", &testkit::gguf::ChatModel::default().file());
    stage.limit_file_size(Some(4096));
    let prompt = "The quick brown fox jumps over the lazy dog and runs away. ".repeat(25);
    let prompt = json!({ "messages": [{ "role": "user", "content": prompt }], "max_tokens": 1 });
    let snug = stage.start().await;
    assert_eq!(cached(&snug, SAMPLE, prompt).await, 0);
    snug.chat("tiny", json!({})).await.ok();
    assert!(snug.log().contains("could not save a slot"), "{}", snug.log());
    assert_eq!(kept(&stage), 0);
    assert_eq!(cached(&snug, SAMPLE, json!({ "max_tokens": 1 })).await, 0);
}
