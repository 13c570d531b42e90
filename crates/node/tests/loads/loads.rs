//! Jobs and their turns: who loads, who leaves, who waits.

use std::sync::Arc;
use std::time::Duration;

use node::{Entry, KeepFor, Settings, View};
use route::{QueueBounds, Unavailable};
use types::{FailureClass, InstanceState};

use crate::support::{LONG, SHORT, Stage, is_alive, kill, names, one_place};

#[tokio::test]
async fn one_load_however_many_callers() {
    let stage = Stage::new(&[("a", "--fake-load-ms 100")]);
    let run = stage.start().await;
    let callers: Vec<_> = (0..20).map(|_| run.ask("a")).collect();
    let mut instances = Vec::new();
    for caller in callers {
        instances.push(caller.await.unwrap().unwrap().target().instance().clone());
    }
    instances.dedup();
    assert_eq!(instances.len(), 1, "one instance serves all");
    run.end().await;
}

#[tokio::test]
async fn all_callers_get_the_same_failure() {
    let stage = Stage::new(&[("a", "--fake-fail insufficient_ram --fake-load-ms 50")]);
    let run = stage.start().await;
    let callers: Vec<_> = (0..5).map(|_| run.ask("a")).collect();
    for caller in callers {
        let refused = caller.await.unwrap().unwrap_err();
        let Unavailable::LoadFailed(failure) = refused else { panic!("{refused:?}") };
        assert_eq!(failure.class, FailureClass::InsufficientRam);
        assert!(failure.engine_log.contains("failed to allocate"), "{failure:?}");
    }
    run.until("nothing is left", |view| view.instances.is_empty()).await;
    run.end().await;
}

#[tokio::test]
async fn the_least_recently_used_leaves() {
    let stage = Stage::new(&[("a", ""), ("b", ""), ("c", "")]).with(|config| config.instances_max = Some(2));
    let run = stage.start().await;
    drop(run.lease("a").await);
    drop(run.lease("b").await);
    drop(run.lease("a").await);
    drop(run.lease("c").await);
    assert_eq!(names(&run.node.view().borrow()), ["a", "c"]);
    run.end().await;
}

#[tokio::test]
async fn a_busy_one_is_never_evicted_and_the_refusal_names_it() {
    let stage = Stage::new(&[("a", ""), ("b", "")]).with(|config| {
        config.instances_max = Some(1);
        config.room_wait_max = SHORT * 10;
    });
    let run = stage.start().await;
    let lease = run.lease("a").await;
    let refused = run.refused("b").await;
    let Unavailable::NoRoom { blockers, .. } = &refused else { panic!("{refused:?}") };
    let found: Vec<_> = blockers.iter().map(|one| (one.model.id.as_str(), one.reason, one.in_flight)).collect();
    assert_eq!(found, [("a", "busy", 1)]);
    assert!(!lease.target().is_closed());
    run.end().await;
}

#[tokio::test]
async fn two_models_in_one_place_take_turns() {
    let stage = one_place();
    let run = stage.start().await;
    let (first, other, later) = run.one_in_use_two_waiting().await;
    assert!(!other.is_finished() && !later.is_finished(), "nobody is served while a is busy");
    drop(first);
    let other = other.await.unwrap().unwrap();
    assert!(!later.is_finished(), "a waits for its turn");
    drop(other);
    assert_eq!(later.await.unwrap().unwrap().target().model().id.as_str(), "a");
    run.end().await;
}

#[tokio::test]
async fn a_model_that_made_way_serves_on_if_nobody_needs_its_place_any_more() {
    let stage = one_place();
    let run = stage.start().await;
    let (first, other, later) = run.one_in_use_two_waiting().await;
    other.abort();
    let later = tokio::time::timeout(LONG, later).await.unwrap().unwrap().unwrap();
    assert_eq!(later.target().instance(), first.target().instance(), "it need not load again");
    run.end().await;
}

#[tokio::test]
async fn a_bare_id_goes_on_to_mean_the_variant_that_runs_while_that_makes_way() {
    let stage = Stage::new(&[("m-Q4_K_M", ""), ("m-F16", ""), ("b", "")]).with(|config| {
        config.instances_max = Some(1);
        config.patience = Duration::ZERO;
    });
    let run = stage.start().await;
    let first = run.lease("m:F16").await;
    let other = run.ask("b");
    run.until("m takes no new requests", |view| {
        view.instances.iter().any(|one| one.target.as_ref().is_some_and(|target| target.is_closed()))
    })
    .await;
    let later = run.ask("m");
    run.waits_for("m", 1).await;
    drop(first);
    drop(other.await.unwrap().unwrap());
    assert_eq!(later.await.unwrap().unwrap().target().model().variant.as_str(), "F16");
    run.end().await;
}

#[tokio::test]
async fn what_pinned_models_leave_no_room_for_is_refused_at_once() {
    let stage = Stage::new(&[("a", ""), ("b", "")]);
    let pinned = Entry {
        files: vec![stage.model_file("a")],
        settings: Settings { pinned: true, ..Settings::default() },
        ..Entry::default()
    };
    let stage = stage.with(|config| {
        config.instances_max = Some(1);
        config.sources.entries.push(pinned);
    });
    let run = stage.start().await;
    drop(run.lease("a").await);
    let asked = std::time::Instant::now();
    let refused = run.refused("b").await;
    assert!(asked.elapsed() < LONG / 2, "it waited for what cannot come");
    let Unavailable::NoRoom { blockers, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!(blockers.iter().map(|one| one.reason).collect::<Vec<_>>(), ["pinned"]);
    run.end().await;
}

#[tokio::test]
async fn the_queue_is_bounded_and_those_who_left_take_no_place() {
    let stage = Stage::new(&[("a", "--fake-hang-load")]).with(|config| config.waiting_max = 1);
    let run = stage.start().await;
    let first = run.ask("a");
    run.until("a loads", |view| !view.instances.is_empty()).await;
    let refused = run.refused("a").await;
    assert!(matches!(refused, Unavailable::QueueFull { waiting: 1, limit: 1, .. }), "{refused:?}");
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let next = run.ask("a");
    let waits = tokio::time::timeout(SHORT, next).await;
    assert!(waits.is_err(), "the place of one who left is free: {waits:?}");
    run.end().await;
}

#[tokio::test]
async fn who_finds_all_places_taken_after_the_load_waits_at_the_target() {
    let stage = Stage::new(&[("a", "--fake-load-ms 200")]).with(|config| config.in_flight_max = 1);
    let run = stage.start().await;
    let callers = [run.ask("a"), run.ask("a")];
    let [first, second] = callers.map(|caller| async { caller.await.unwrap() });
    let (lease, busy) = match (first.await, second.await) {
        (Ok(lease), Err(busy)) | (Err(busy), Ok(lease)) => (lease, busy),
        other => panic!("{other:?}"),
    };
    let Unavailable::Busy { target } = &busy else { panic!("{busy:?}") };
    assert_eq!(target.limit(), 1);
    let waits = {
        let target = Arc::clone(target);
        let bounds = QueueBounds { waiting_max: 1, per_caller_max: 1 };
        run.tracker.spawn(async move { target.wait(1, &bounds).await })
    };
    testkit::eventually("it waits", async || (target.load().waiting == 1).then_some(())).await;
    drop(lease);
    drop(tokio::time::timeout(LONG, waits).await.unwrap().unwrap().unwrap());
    run.end().await;
}

#[tokio::test]
async fn a_model_can_be_unloaded_while_it_loads() {
    let stage = Stage::new(&[("a", "--fake-hang-load")]);
    let run = stage.start().await;
    let caller = run.ask("a");
    let loads = |view: &View| view.instances.iter().any(|one| one.status.state == InstanceState::Loading);
    let pid = run.until("a loads", loads).await.instances[0].status.pid.unwrap();
    assert_eq!(run.node.unload("a").await.unwrap().model.id.as_str(), "a");
    let refused = caller.await.unwrap().unwrap_err();
    assert!(matches!(refused, Unavailable::Unloaded { .. }), "{refused:?}");
    assert!(!is_alive(pid));
    run.end().await;
}

#[tokio::test]
async fn a_model_that_waits_for_room_can_be_unloaded_too() {
    let stage = Stage::new(&[("a", ""), ("b", "")]).with(|config| config.instances_max = Some(1));
    let run = stage.start().await;
    let lease = run.lease("a").await;
    let caller = run.ask("b");
    run.waits_for("b", 1).await;
    run.node.unload("b").await.unwrap();
    let refused = caller.await.unwrap().unwrap_err();
    assert!(matches!(refused, Unavailable::Unloaded { .. }), "{refused:?}");
    drop(lease);
    run.end().await;
}

#[tokio::test]
async fn a_model_whose_file_is_gone_can_still_be_unloaded() {
    let stage = Stage::new(&[("a", "")]);
    let run = stage.start().await;
    drop(run.lease("a").await);
    std::fs::remove_file(stage.model_file("a")).unwrap();
    run.until("the file is missed", |view| view.library.find("a").is_none()).await;
    run.node.unload("a").await.unwrap();
    assert!(run.node.view().borrow().instances.is_empty());
    run.end().await;
}

#[tokio::test]
async fn another_context_waits_for_the_requests_in_flight() {
    let stage = Stage::new(&[("a", "")]);
    let run = stage.start().await;
    assert_eq!(run.node.load("a", Some(512)).await.unwrap().context, 512);
    let lease = run.lease("a").await;
    let node = run.node.clone();
    let other = run.tracker.spawn(async move { node.load("a", Some(1024)).await });
    run.waits_for("a", 1).await;
    assert!(!other.is_finished());
    drop(lease);
    assert_eq!(other.await.unwrap().unwrap().context, 1024);
    let again = run.node.load("a", Some(1024)).await.unwrap();
    assert_eq!(again.load_time, Duration::ZERO, "it is loaded so already");
    run.end().await;
}

#[tokio::test]
async fn a_context_that_cannot_be_costs_nobody_the_model() {
    let stage = Stage::new(&[("a", "")]);
    let run = stage.start().await;
    drop(run.lease("a").await);
    let pid = run.pid_of("a").await;
    let refused = run.node.load("a", Some(1 << 40)).await.unwrap_err();
    let Unavailable::LoadFailed(failure) = &refused else { panic!("{refused:?}") };
    assert_eq!(failure.class, FailureClass::ContextTooLarge);
    assert_eq!(run.pid_of("a").await, pid, "the one that was loaded still is");
    run.end().await;
}

#[tokio::test]
async fn a_load_that_failed_rests_until_its_file_is_another() {
    let stage = Stage::new(&[("m", "--fake-fail file_corrupt")]);
    let running = stage.start().await;
    assert!(matches!(running.refused("m").await, Unavailable::LoadFailed(_)));
    let Unavailable::Resting { failure, retry_after } = running.refused("m").await else {
        panic!("tried at once again")
    };
    assert_eq!(failure.class, FailureClass::FileCorrupt);
    assert!(retry_after <= Duration::from_secs(5));

    // The file is replaced by a good one; the watch on the folder sees it.
    std::fs::write(stage.model_file("m").with_extension("gguf.fake"), "").unwrap();
    testkit::gguf::ChatModel { layers: 3, ..Default::default() }.file().write(&stage.model_file("m")).unwrap();
    let before = running.node.view().borrow().library.find("m").unwrap();
    running.until("the new file is found", |view| view.library.find("m").is_some_and(|now| now != before)).await;
    drop(running.lease("m").await);
    running.end().await;
}

#[tokio::test]
async fn a_crash_loop_is_cut_and_rests_until_asked_by_hand() {
    let stage = Stage::new(&[("a", "")]);
    let run = stage.start().await;
    drop(run.lease("a").await);
    let first = run.pid_of("a").await;
    kill(first);
    let again = |view: &View| {
        view.instances.iter().any(|one| one.target.is_some() && one.status.pid.is_some_and(|pid| pid != first))
    };
    let second = run.until("a serves again", again).await.instances[0].status.pid.unwrap();
    let lease = run.lease("a").await;
    let address = run.node.view().borrow().instances[0].status.address;
    assert_eq!(Some(lease.target().address()), address, "requests go to the new process");
    drop(lease);
    kill(second);
    run.until("it is given up", |view| view.instances.is_empty()).await;
    let refused = run.refused("a").await;
    assert!(matches!(refused, Unavailable::Resting { .. }), "{refused:?}");
    run.node.load("a", None).await.unwrap();
    drop(run.lease("a").await);
    run.end().await;
}

#[tokio::test]
async fn engines_end_with_the_node_unless_they_are_kept() {
    let stage = Stage::new(&[("a", "")]);
    let run = stage.start().await;
    drop(run.lease("a").await);
    let pid = run.pid_of("a").await;
    run.node.stop(true, Duration::ZERO).await;
    assert!(is_alive(pid));

    let run = stage.start().await;
    let view = run.node.view().borrow().clone();
    assert!(view.instances[0].status.adopted);
    assert!(run.table.current().by_name["a"].target.is_some(), "it serves at once");
    assert_eq!(run.pid_of("a").await, pid, "the same process, no reload");
    run.end().await;
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn the_end_does_not_wait_for_a_patient_unload() {
    let stage = Stage::new(&[("a", "")]);
    let run = stage.start().await;
    let lease = run.lease("a").await;
    let node = run.node.clone();
    let unload = run.tracker.spawn(async move { node.unload("a").await });
    run.until("a leaves", |view| view.instances.iter().any(|one| one.leaving)).await;
    tokio::time::timeout(LONG, run.node.stop(false, Duration::ZERO)).await.expect("the node stops");
    assert!(unload.await.unwrap().is_ok());
    drop(lease);
}

#[tokio::test]
async fn what_is_to_go_when_it_is_unused_goes_then() {
    let stage = Stage::new(&[("a", ""), ("b", "")]);
    let run = stage.start().await;
    let lease = run.lease("a").await;
    run.lease("b").await;
    run.node.keep_for("a", KeepFor::Idle(Duration::ZERO)).await;
    let view = run.node.view().borrow().clone();
    assert_eq!(view.instances.len(), 2, "one in use stays");
    let (a, b) = (&view.instances[0], &view.instances[1]);
    assert_eq!((view.goes_in(a), view.goes_in(b)), (Some(Duration::ZERO), None));
    drop(lease);
    run.until("a is gone", |view| view.instances.len() == 1).await;
    run.lease("a").await;
    let view = run.until("a is here", |view| view.instances.len() == 2).await;
    assert!(view.instances.iter().all(|one| one.keep == KeepFor::Default), "what was said was said of the one before");
    run.end().await;
}

#[tokio::test]
async fn what_is_to_stay_stays() {
    let stage = Stage::new(&[("a", ""), ("b", "")]).with(|config| config.idle_unload = Some(SHORT));
    let run = stage.start().await;
    let lease = run.lease("a").await;
    run.node.keep_for("a", KeepFor::Forever).await;
    drop(lease);
    run.lease("b").await;
    run.until("b is gone", |view| view.instances.len() == 1).await;
    let view = run.node.view().borrow().clone();
    assert_eq!((view.instances[0].keep, view.goes_in(&view.instances[0])), (KeepFor::Forever, None));
    run.node.keep_for("a", KeepFor::Default).await;
    run.until("a is gone", |view| view.instances.is_empty()).await;
    run.node.keep_for("nobody", KeepFor::Forever).await;
    run.end().await;
}

#[tokio::test]
async fn what_nobody_uses_is_unloaded_after_a_while() {
    let stage = Stage::new(&[("a", "")]).with(|config| config.idle_unload = Some(SHORT));
    let run = stage.start().await;
    let lease = run.lease("a").await;
    let pid = run.pid_of("a").await;
    let gone = tokio::time::timeout(SHORT * 3, run.until("a is gone", |view| view.instances.is_empty())).await;
    assert!(gone.is_err(), "one in use stays");
    drop(lease);
    run.until("a is gone", |view| view.instances.is_empty()).await;
    assert!(!is_alive(pid));
    run.end().await;
}
