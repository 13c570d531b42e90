//! Two models where only one has room: they take turns, and nobody's answer is cut short for it.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::json;
use testkit::{Snug, gguf};

use crate::support::real;

/// How many callers there are, and how many requests each makes.
const CALLERS: usize = 20;
const REQUESTS: usize = 4;

#[tokio::test]
async fn two_models_take_turns_under_twenty_callers() {
    let Some(stage) = real() else { return };
    let model = gguf::ChatModel::default().file();
    let stage = stage.model("One-F32.gguf", &model).model("Two-F32.gguf", &model);
    let stage = stage.arguments(&["--max-loaded-models", "1"]);
    let snug = stage.start().await;

    let callers = join_all((0..CALLERS).map(|caller| calls(&snug, caller)));
    let (most, ()) = tokio::join!(most_at_once(&snug), async { drop(callers.await) });
    assert!(most <= 1, "{most} engines at once");

    let log = snug.log();
    let loads = log.matches("loading One").count() + log.matches("loading Two").count();
    assert!(
        loads >= 2 && log.matches("leaves to make room").count() + log.matches("takes no new requests").count() >= 1
    );
    for word in ["broke", "did not answer", "signal 9", "crashed"] {
        assert!(!log.contains(word), "an engine was ended while busy ({word}): {log}");
    }
}

/// One caller, whose requests go to the two models in turn, every other one as a stream.
async fn calls(snug: &Snug<'_>, caller: usize) {
    for request in 0..REQUESTS {
        let model = ["One", "Two"][(caller + request) % 2];
        let text = if (caller / 2 + request).is_multiple_of(2) {
            snug.chat(model, json!({})).await.ok()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
        } else {
            let mut stream = snug.stream(model, json!({})).await;
            stream.complete().await.unwrap_or_else(|error| panic!("{model}: {error}"))
        };
        assert_eq!(text, gguf::ChatModel::sentence(), "caller {caller}, request {request}");
    }
}

/// The most engines of models that were seen at once until both models were seen and a while longer.
async fn most_at_once(snug: &Snug<'_>) -> usize {
    let mut models = BTreeSet::new();
    let mut most = 0;
    testkit::eventually("both models are loaded in turn", async || {
        let rows = snug.loaded().await;
        most = most.max(rows.len());
        models.extend(rows.iter().map(|row| row["model"].to_string()));
        (models.len() == 2).then_some(())
    })
    .await;
    most
}
