//! A configuration that changes while models are loaded, in use, or waited for.

use std::path::PathBuf;
use std::time::Duration;

use node::{Config, Entry, Settings};
use route::Unavailable;

use crate::support::{LONG, Stage, key, names};

/// An entry with this context, as a configuration names it.
fn entry(id: &str, file: PathBuf, context: u64) -> Entry {
    let settings = Settings { context: Some(context), ..Settings::default() };
    Entry { id: Some(id.to_owned()), files: vec![file], settings, ..Entry::default() }
}

/// The stage's configuration with these entries.
fn with(stage: &Stage, entries: Vec<Entry>) -> Config {
    let mut config = stage.config.clone();
    config.sources.entries = entries;
    config
}

#[tokio::test]
async fn entries_come_and_a_changed_one_counts_from_its_next_load() {
    let stage = Stage::new(&[("a", ""), ("b", "")]);
    let run = stage.start().await;
    run.node.reconfigure(with(&stage, vec![entry("mine", stage.model_file("a"), 512)])).await;
    let lease = run.lease("mine").await;
    assert_eq!(run.load("mine").await.context, 512);

    let entries = vec![entry("mine", stage.model_file("a"), 1024), entry("other", stage.model_file("b"), 256)];
    run.node.reconfigure(with(&stage, entries)).await;
    assert!(!lease.target().is_closed(), "what is loaded stays");
    assert_eq!(run.load("mine").await.context, 512);
    assert_eq!(run.load("other").await.context, 256);
    drop(lease);
    run.node.unload("mine").await.unwrap();
    assert_eq!(run.load("mine").await.context, 1024);
    run.end().await;
}

#[tokio::test]
async fn one_whose_entry_is_gone_ends_once_nobody_uses_it() {
    let stage = Stage::new(&[("a", ""), ("b", "")]);
    let run = stage.start().await;
    let entries = vec![entry("used", stage.model_file("a"), 512), entry("idle", stage.model_file("b"), 512)];
    run.node.reconfigure(with(&stage, entries)).await;
    let lease = run.lease("used").await;
    run.load("idle").await;

    run.node.reconfigure(with(&stage, Vec::new())).await;
    run.until("the idle one has ended", |view| names(view) == ["used"]).await;
    assert!(!lease.target().is_closed(), "a request is in flight");
    assert!(matches!(run.refused("used").await, Unavailable::NotFound { .. }));
    drop(lease);
    run.until("the used one has ended", |view| view.instances.is_empty()).await;
    // By the name of its file it is there.
    assert_eq!(run.load("a").await.model, key("a"));
    run.end().await;
}

#[tokio::test]
async fn one_whose_entry_comes_back_in_time_stays() {
    let stage = Stage::new(&[("a", "")]);
    let run = stage.start().await;
    let named = with(&stage, vec![entry("mine", stage.model_file("a"), 512)]);
    run.node.reconfigure(named.clone()).await;
    let lease = run.lease("mine").await;
    let pid = run.pid_of("mine").await;
    run.node.reconfigure(with(&stage, Vec::new())).await;
    run.node.reconfigure(named).await;
    drop(lease);
    drop(run.lease("mine").await);
    assert_eq!(run.pid_of("mine").await, pid);
    run.end().await;
}

#[tokio::test]
async fn limits_count_at_once() {
    let stage = Stage::new(&[("a", ""), ("b", "")]).with(|config| config.instances_max = Some(1));
    let run = stage.start().await;
    let lease = run.lease("a").await;
    let waits = run.ask("b");
    run.waits_for("b", 1).await;
    run.node.reconfigure(Config { instances_max: Some(2), ..stage.config.clone() }).await;
    let other = tokio::time::timeout(LONG, waits).await.unwrap().unwrap().unwrap();
    drop((lease, other));

    run.node.reconfigure(Config { idle_unload: Some(Duration::from_millis(1)), ..stage.config.clone() }).await;
    run.until("both were unused for too long", |view| view.instances.is_empty()).await;
    run.end().await;
}

#[tokio::test]
async fn who_waits_for_one_that_is_taken_away_is_told() {
    let stage = Stage::new(&[("a", ""), ("b", "")]).with(|config| config.instances_max = Some(1));
    let run = stage.start().await;
    run.node.reconfigure(with(&stage, vec![entry("mine", stage.model_file("b"), 512)])).await;
    let lease = run.lease("a").await;
    let waits = run.ask("mine");
    run.waits_for("mine", 1).await;
    run.node.reconfigure(with(&stage, Vec::new())).await;
    let refused = tokio::time::timeout(LONG, waits).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(refused, Unavailable::Unloaded { .. }), "{refused:?}");
    drop(lease);
    run.end().await;
}
