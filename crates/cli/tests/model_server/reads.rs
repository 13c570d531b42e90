//! Reads are answered while a load runs.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{eventually, gguf};

use crate::catalogue_of_routes::ROUTES;
use crate::stage::{add, fake};

/// How often each route is asked while the load is held.
const ROUNDS: usize = 20;

#[tokio::test]
#[expect(clippy::print_stdout, reason = "a measurement for the record, of which nothing is asserted")]
async fn reads_are_answered_before_a_load_that_runs() {
    let stage = fake().model("tiny-Q4_K_M.gguf", &gguf::ChatModel::default().file());
    let stage = stage.fake_model("slow-Q4_K_M.gguf", "--fake-hang-load");
    let snug = stage.start().await;
    add(&snug, [json!({ "model": "parrot", "provider": "mock" })]).await;
    let reads: Vec<String> = ROUTES
        .iter()
        .filter(|(method, _)| *method == "GET")
        .map(|(_, route)| route.replace("{name}", "tiny").replace("{variant}", "Q4_K_M"))
        // This one has no config of its own.
        .map(|path| path.replace("/config/tiny", "/config/parrot"))
        .collect();

    let mut times = vec![];
    let looking = async {
        eventually("the load is under way", async || {
            snug.loaded().await.iter().any(|row| row["model"] == "slow" && row["pid"].is_u64()).then_some(())
        })
        .await;
        for _ in 0..ROUNDS {
            for path in &reads {
                let begun = Instant::now();
                let answer = snug.get(path).await;
                times.push((begun.elapsed(), path.clone()));
                assert_eq!(answer.status, 200, "{path}: {answer:?}");
            }
        }
    };
    // The load never ends by itself: had a read waited for it, this would not end either.
    tokio::select! {
        answer = snug.load("slow", "") => panic!("the load that is held ended: {answer:?}"),
        () = looking => {}
    }
    times.sort();
    let p99 = times[times.len() * 99 / 100].0;
    let (slowest, path) = times.last().expect("there were reads");
    println!("{} reads during a load: p99 {} ms, slowest {} ms ({path})", times.len(), millis(p99), millis(*slowest));
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}
