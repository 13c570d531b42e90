//! Two models where only one has room: they take turns, and nobody's answer is cut short for it.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Instant;

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::{Snug, gguf};

use crate::support::{SAMPLE, real, real_with_sample};

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

/// Callers and requests of the larger swap, between a model that people use and one of another architecture.
const MANY_CALLERS: usize = 16;
const ALL_REQUESTS: usize = 200;
const EXPERTS: &str = "Experts";

/// Every swap is counted, and none costs an answer. What a swap takes beyond the engines' own stop and load is printed.
#[tokio::test]
async fn two_hundred_requests_are_answered_across_swaps() {
    let Some(stage) = real_with_sample() else { return };
    let stage = stage.model(&format!("{EXPERTS}-F16.gguf"), &gguf::kinds::experts());
    let stage = stage.arguments(&["--max-loaded-models", "1"]);
    let snug = stage.start().await;
    // What the engines take by themselves, with warm files.
    let (mut loads, mut stops) = (vec![], vec![]);
    for _ in 0..2 {
        for model in [EXPERTS, SAMPLE] {
            loads.push(snug.load(model, "").await.ok()["load_ms"].as_f64().unwrap());
            let begun = Instant::now();
            snug.post(&format!("/api/models/{model}/unload"), &Value::Null).await.ok();
            stops.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
    }
    snug.load(SAMPLE, "").await.ok();
    let loaded_before = loads_of(&snug);
    let swaps_before = swaps(&snug).await.len();

    let next = Cell::new(0);
    let begun = Instant::now();
    let answered: usize = join_all((0..MANY_CALLERS).map(|_| answers(&snug, &next))).await.into_iter().sum();
    let took = begun.elapsed();
    assert_eq!(answered, ALL_REQUESTS);
    for word in ["broke", "did not answer", "signal 9", "crashed"] {
        assert!(!snug.log().contains(word), "an engine was ended while busy ({word}): {}", snug.log());
    }

    let swaps = swaps(&snug).await.split_off(swaps_before);
    assert!(swaps.len() >= 2, "they took turns: {swaps:?}");
    // The one that was loaded at the beginning was none, each other load was.
    assert_eq!(swaps.len(), loads_of(&snug) - loaded_before, "every swap is counted: {swaps:?}\n{}", snug.log());
    let mut between = SAMPLE;
    for swap in &swaps {
        let other = if between == SAMPLE { EXPERTS } else { SAMPLE };
        assert_eq!((&swap["from"], &swap["to"]), (&json!(between), &json!(other)), "{swaps:?}");
        between = other;
    }
    let times: Vec<f64> = swaps.iter().map(|swap| swap["time_ms"].as_f64().unwrap()).collect();
    report(took, &times, median(&loads), median(&stops));
}

#[expect(clippy::print_stdout, reason = "a measurement for the record, of which nothing is asserted")]
fn report(took: std::time::Duration, times: &[f64], load: f64, stop: f64) {
    let (swap, count) = (median(times), times.len());
    println!("{ALL_REQUESTS} requests by {MANY_CALLERS} callers in {:.1} s, {count} swaps", took.as_secs_f64());
    let added = swap - load - stop;
    println!("a swap: {swap:.0} ms; the engines' own load {load:.0} ms and stop {stop:.0} ms; added {added:.0} ms");
}

/// Asks until all requests are made, of each model in turn; how many were answered.
async fn answers(snug: &Snug<'_>, next: &Cell<usize>) -> usize {
    let mut answered = 0;
    loop {
        let number = next.get();
        if number == ALL_REQUESTS {
            return answered;
        }
        next.set(number + 1);
        // Two by two, so that callers do not all change over at once.
        let model = [SAMPLE, EXPERTS][number / 2 % 2];
        let answer = snug.chat(model, json!({ "max_tokens": 4, "temperature": 0 })).await.ok();
        assert!(answer["choices"][0]["message"]["content"].is_string(), "{answer}");
        answered += 1;
    }
}

/// How many loads were begun so far.
fn loads_of(snug: &Snug<'_>) -> usize {
    [SAMPLE, EXPERTS].iter().map(|model| snug.log().matches(&format!("loading {model}")).count()).sum()
}

async fn swaps(snug: &Snug<'_>) -> Vec<Value> {
    snug.get("/api/stats/swaps").await.ok().as_array().expect("a list").clone()
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
