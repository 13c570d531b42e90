//! Weights that stay in RAM for models that are not loaded.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use node::{ReadyState, Unloaded, View};
use route::{Activate, Unavailable};
use types::{ByteCount, DeviceName};

use crate::support::{LONG, SHORT, Stage, is_alive, key, names, next_swap, one_place};

fn roomy(stage: Stage) -> Stage {
    stage.with(|config| config.ready_budget = ByteCount::gib(1))
}

#[tokio::test]
async fn what_is_to_be_ready_is_while_it_is_not_loaded() {
    let stage = roomy(one_place());
    let run = stage.start().await;
    run.keep_ready(&["a"]).await;
    let view = run.until_ready(&["a"]).await;
    let weights = &view.ready[0];
    assert_eq!(weights.bytes, view.library.find("a").unwrap().size);
    assert!(weights.locked == weights.bytes || weights.note.is_some(), "{weights:?}");
    assert_eq!(run.table.current().by_name["a"].listing.state, "Ready");

    run.load("a").await;
    run.until_ready(&[]).await;
    run.load("b").await;
    run.until_ready(&["a"]).await;
    run.load("a").await;
    run.until_ready(&[]).await;
    let model = key("a");
    assert_eq!(run.node.unload("a").await, Ok(Unloaded { model: model.clone(), kept: true }), "by hand as well");
    run.until_ready(&["a"]).await;
    run.keep_ready(&[]).await;
    run.until_ready(&[]).await;
    run.load("a").await;
    assert_eq!(run.node.unload("a").await, Ok(Unloaded { model, kept: false }));
    run.end().await;
}

#[tokio::test]
async fn what_nobody_uses_leaves_its_weights() {
    let stage = roomy(Stage::new(&[("a", "")])).with(|config| config.idle_unload = Some(SHORT));
    let run = stage.start().await;
    let lease = run.lease("a").await;
    run.keep_ready(&["a"]).await;
    assert!(run.node.view().borrow().ready.is_empty(), "it is loaded");
    drop(lease);
    run.until_ready(&["a"]).await;
    run.end().await;
}

#[tokio::test]
async fn a_pinned_model_is_unloaded_only_by_hand_and_then_it_is_ready() {
    let stage = roomy(one_place()).with(|config| config.idle_unload = Some(SHORT));
    let run = stage.start().await;
    run.load("a").await;
    run.node.pin("a", true).await.unwrap();
    let gone = tokio::time::timeout(SHORT * 3, run.until("a is gone", |view| view.instances.is_empty())).await;
    assert!(gone.is_err(), "unused is no reason");
    assert!(matches!(run.refused("b").await, Unavailable::NoRoom { .. }));

    assert!(run.node.unload("a").await.unwrap().kept);
    let view = run.until_ready(&["a"]).await;
    assert!(view.ready[0].pinned && view.instances.is_empty());
    assert!(run.node.unload("a").await.unwrap().kept, "it stays so");
    run.node.pin("a", false).await.unwrap();
    assert!(!run.node.unload("a").await.unwrap().kept);
    run.until_ready(&[]).await;
    run.end().await;
}

#[tokio::test]
async fn the_budget_is_for_all_of_them() {
    let stage = Stage::new(&[("a", ""), ("b", ""), ("c", "")]).sized("a", 12).sized("b", 12).sized("c", 40);
    let stage = stage.with(|config| config.ready_budget = ByteCount::mib(20));
    let run = stage.start().await;
    let mut view = run.node.view();
    run.keep_ready(&["a", "c"]).await;
    run.until_ready(&["a"]).await;
    // The one that was used last stays.
    run.load("b").await;
    run.keep_ready(&["a", "b", "c"]).await;
    run.node.unload("b").await.unwrap();
    run.until_ready(&["b"]).await;
    // What had to go for it comes back when there is room again.
    run.keep_ready(&["a", "c"]).await;
    run.until_ready(&["a"]).await;
    let sum: ByteCount = view.borrow_and_update().ready.iter().map(|one| one.bytes).sum();
    assert!(sum <= ByteCount::mib(20), "{sum}");
    run.end().await;
}

#[tokio::test]
async fn weights_leave_before_anybody_is_ended_or_refused() {
    let small = "--fake-model-mib 12 --fake-kv-mib 1";
    let stage = roomy(Stage::new(&[("a", small), ("b", small), ("c", small)])).sized("b", 64).with(|config| {
        // So that what they need does not depend on what there is.
        (config.sources.defaults.slots, config.sources.defaults.context) = (Some(1), Some(512));
    });
    let run = stage.start().await;
    run.load("a").await;
    run.load("c").await;
    let need: ByteCount = run.node.view().borrow().instances.iter().map(|one| one.holds().on(&DeviceName::cpu())).sum();
    run.end().await;

    // Room for those two and half of the weights.
    let stage = stage.with(|config| config.ram = Some(need + ByteCount::mib(32)));
    let run = stage.start().await;
    run.load("a").await;
    run.keep_ready(&["b"]).await;
    let weights = run.until_ready(&["b"]).await.ready[0].clone();
    run.load("c").await;
    assert_eq!(names(&run.node.view().borrow()), ["a", "c"], "nobody was ended");
    if weights.note.is_none() {
        assert!(run.node.view().borrow().ready.is_empty(), "there is no room for them");
        run.node.unload("c").await.unwrap();
    }
    run.until_ready(&["b"]).await;
    run.end().await;
}

#[tokio::test]
async fn a_file_that_changed_or_vanished_is_not_kept() {
    let stage = roomy(Stage::new(&[("a", ""), ("b", "")]));
    let run = stage.start().await;
    run.keep_ready(&["a", "b"]).await;
    run.until_ready(&["a", "b"]).await;
    std::fs::remove_file(stage.model_file("a")).unwrap();
    run.node.look().await;
    run.until_ready(&["b"]).await;

    let stage = stage.sized("b", 6);
    let bytes = std::fs::metadata(stage.model_file("b")).unwrap().len();
    run.node.look().await;
    let view = run.until_ready(&["b"]).await;
    assert_eq!(view.ready[0].bytes, ByteCount::bytes(bytes), "the new file's");
    let stage = stage.sized("a", 6);
    run.node.look().await;
    run.until_ready(&["a", "b"]).await;
    drop(stage);
    run.end().await;
}

#[tokio::test]
async fn nothing_is_left_of_what_is_discarded() {
    let stage = roomy(one_place());
    let run = stage.start().await;
    run.keep_ready(&["a", "b"]).await;
    run.until_ready(&["a", "b"]).await;
    let lease = run.lease("a").await;
    let pid = run.pid_of("a").await;
    run.node.pin("a", true).await.unwrap();
    tokio::time::timeout(LONG, run.node.discard(&key("a"))).await.unwrap();
    assert!(!is_alive(pid), "whoever used it");
    drop(lease);
    tokio::time::timeout(LONG, run.node.discard(&key("b"))).await.unwrap();
    let view = run.node.view().borrow().clone();
    assert!(view.instances.is_empty() && view.ready.is_empty(), "{:?}", view.ready);

    // Its file is still there, but about to go.
    assert!(matches!(run.refused("a").await, Unavailable::Unloaded { .. }));
    std::fs::remove_file(stage.model_file("a")).unwrap();
    run.node.look().await;
    assert!(matches!(run.refused("a").await, Unavailable::NotFound { .. }));
    // That says nothing of the other, which somebody else may be deleting right now.
    assert!(matches!(run.refused("b").await, Unavailable::Unloaded { .. }));
    run.keep_ready(&[]).await;
    run.keep_ready(&["b"]).await;
    assert!(run.node.view().borrow().ready.is_empty(), "nor do its weights come back");
    let file = std::fs::File::options().write(true).open(stage.model_file("b")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + LONG).unwrap();
    run.node.look().await;
    run.until_ready(&["b"]).await;
    run.load("b").await;
    run.end().await;
}

#[tokio::test]
async fn who_waits_for_what_is_discarded_is_told() {
    let stage = Stage::new(&[("a", "--fake-hang-load")]);
    let run = stage.start().await;
    let caller = run.ask("a");
    run.until("a loads", |view| !view.instances.is_empty()).await;
    tokio::time::timeout(LONG, run.node.discard(&key("a"))).await.unwrap();
    assert!(matches!(caller.await.unwrap(), Err(Unavailable::Unloaded { .. })));
    run.end().await;
}

#[tokio::test]
async fn who_asks_for_what_is_being_discarded_does_not_bring_it_back() {
    // It takes longer to end than a variant rests.
    let stage = Stage::new(&[("a", "--fake-ignore-term")]).with(|config| {
        config.policy.patience.stop = Duration::from_secs(6);
    });
    let run = stage.start().await;
    drop(run.lease("a").await);
    let (node, pid) = (run.node.clone(), run.pid_of("a").await);
    let mut discard = run.tracker.spawn(async move { node.discard(&key("a")).await });
    run.until("a leaves", |view: &View| view.instances.iter().any(|one| one.leaving)).await;
    let mut asked = 0;
    while tokio::time::timeout(SHORT, &mut discard).await.is_err() {
        assert!(matches!(run.refused("a").await, Unavailable::Unloaded { .. }));
        run.node.look().await;
        asked += 1;
        assert!(asked < 1000, "it is never gone");
    }
    assert!(!is_alive(pid));
    assert!(matches!(run.refused("a").await, Unavailable::Unloaded { .. }), "its files are being deleted now");
    run.end().await;
}

#[tokio::test]
async fn only_what_nobody_uses_is_discarded_by_the_way() {
    let stage = roomy(one_place()).with(|config| config.patience = LONG);
    let run = stage.start().await;
    let discarded = async |name| run.node.discard_if_unused(&key(name)).await;
    let lease = run.lease("a").await;
    let other = run.ask("b");
    run.waits_for("b", 1).await;
    assert!(!discarded("a").await, "it runs");
    assert!(!discarded("b").await, "it is waited for");
    drop(lease);
    drop(other.await.unwrap().expect("it was not told off"));
    run.keep_ready(&["a"]).await;
    run.until_ready(&["a"]).await;
    assert!(!discarded("a").await, "its weights are kept");
    run.until_ready(&["a"]).await;
    run.keep_ready(&[]).await;
    run.until_ready(&[]).await;
    assert!(discarded("a").await);
    assert!(matches!(run.refused("a").await, Unavailable::Unloaded { .. }), "its file is about to go");
    assert!(!discarded("b").await);
    drop(run.lease("b").await);
    run.end().await;
}

#[tokio::test]
async fn the_end_waits_for_no_weights() {
    let stage = roomy(Stage::new(&[("a", "")])).sized("a", 64);
    let run = stage.start().await;
    run.node.keep_ready(BTreeSet::from([key("a")])).await;
    let view = run.node.view().borrow().clone();
    assert!(view.ready.iter().any(|one| matches!(one.state, ReadyState::Locking | ReadyState::Ready)), "{view:?}");
    run.end().await;
}

#[tokio::test]
async fn swaps_are_told_of() {
    let stage = one_place();
    let run = stage.start().await;
    let mut swaps = run.node.swaps();
    drop(run.lease("a").await);
    drop(run.lease("b").await);
    assert_eq!(next_swap(&mut swaps).await, ("a".to_owned(), "b".to_owned()));
    // A busy one that makes way has been swapped as well.
    let lease = run.lease("b").await;
    let other = run.ask("a");
    run.until_one_yields().await;
    drop(lease);
    drop(other.await.unwrap().unwrap());
    assert_eq!(next_swap(&mut swaps).await, ("b".to_owned(), "a".to_owned()));
    // A load that has its place without anybody leaving is none, nor is one in another context.
    run.node.unload("a").await.unwrap();
    drop(run.lease("b").await);
    run.node.load("b", Some(512)).await.unwrap();
    assert!(swaps.try_recv().is_err());
    run.end().await;
}

#[tokio::test]
async fn a_load_that_was_given_up_is_no_swap() {
    let stage = Stage::new(&[("a", "--fake-ignore-term"), ("b", "")]).with(|config| {
        config.instances_max = Some(1);
        config.policy.patience.stop = Duration::from_millis(200);
    });
    let run = stage.start().await;
    let mut swaps = run.node.swaps();
    drop(run.lease("a").await);
    let caller = run.ask("b");
    run.until("a leaves", |view: &View| view.instances.iter().any(|one| one.leaving)).await;
    caller.abort();
    let _aborted = caller.await;
    run.until("a is gone", |view| view.instances.is_empty()).await;
    let node = Arc::new(run.node.clone());
    drop(tokio::time::timeout(LONG, node.activate("b")).await.unwrap().unwrap());
    assert!(swaps.try_recv().is_err());
    drop(node);
    run.end().await;
}

/// Chance that is the same every time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// What must hold of every picture that is shown.
fn check(view: &View, budget: ByteCount, ram: ByteCount) {
    let kept: ByteCount = view.ready.iter().map(|one| one.bytes).sum();
    assert!(kept <= budget, "above budget: {:?}", view.ready);
    let mut keys: Vec<_> = view.ready.iter().map(|one| &one.model).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), view.ready.len(), "kept twice: {:?}", view.ready);
    let held: ByteCount = view.instances.iter().map(|one| one.holds().on(&DeviceName::cpu())).sum();
    let beside: ByteCount = view
        .ready
        .iter()
        .filter(|weights| view.instances.iter().all(|one| one.model.key != weights.model))
        .map(|weights| weights.locked)
        .sum();
    assert!(held + beside <= ram, "above what models may use: {held} and {beside} of {ram}");
}

#[tokio::test]
async fn whatever_is_asked_for_no_sum_exceeds_its_budget_and_everybody_is_answered() {
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    let small = "--fake-model-mib 5 --fake-kv-mib 1";
    let mut stage = Stage::new(&NAMES.map(|name| (name, small)));
    for (name, mib) in NAMES.into_iter().zip([8, 12, 20, 30]) {
        stage = stage.sized(name, mib);
    }
    let (budget, ram) = (ByteCount::mib(40), ByteCount::mib(700));
    let stage = stage.with(|config| {
        (config.sources.defaults.slots, config.sources.defaults.context) = (Some(1), Some(512));
        (config.ready_budget, config.ram, config.instances_max) = (budget, Some(ram), Some(2));
        config.patience = Duration::ZERO;
        config.room_wait_max = LONG;
    });
    let run = stage.start().await;
    let mut view = run.node.view();
    let watch = run.tracker.spawn(async move {
        while view.changed().await.is_ok() {
            check(&view.borrow_and_update(), budget, ram);
        }
    });
    let mut chance = Chance(7);
    let mut leases = Vec::new();
    let mut answers = Vec::new();
    for _ in 0..300 {
        let name = NAMES[chance.below(NAMES.len())];
        let node = run.node.clone();
        match chance.below(9) {
            0 | 1 => answers.push(run.tracker.spawn(async move { drop(node.load(name, None).await) })),
            2 => answers.push(run.tracker.spawn(async move { drop(node.unload(name).await) })),
            3 => answers.push(run.tracker.spawn(async move { drop(node.activate(name).await) })),
            4 => drop(node.pin(name, chance.below(3) == 0).await),
            5 => node.keep_ready(NAMES.into_iter().filter(|_| chance.below(2) == 0).map(key).collect()).await,
            6 if chance.below(4) == 0 => {
                answers.push(run.tracker.spawn(async move { node.discard(&key(name)).await }));
            }
            6 => node.look().await,
            7 => {
                let lease = tokio::time::timeout(SHORT, node.activate(name)).await;
                leases.extend(lease.ok().and_then(Result::ok));
            }
            _ => {
                let held = leases.len().max(1);
                drop((chance.below(held) < leases.len()).then(|| leases.swap_remove(chance.below(held))));
            }
        }
    }
    leases.clear();
    for name in NAMES {
        run.node.pin(name, false).await.unwrap();
    }
    for answer in answers {
        tokio::time::timeout(LONG, answer).await.expect("everybody is answered").unwrap();
    }
    run.node.keep_ready(BTreeSet::new()).await;
    for name in NAMES {
        run.node.unload(name).await.unwrap();
    }
    run.until("nothing is left", |view| view.instances.is_empty() && view.ready.is_empty()).await;
    run.end().await;
    watch.await.expect("every picture was right");
}
