//! Jobs beside each other: places, pauses, cancels, room.

use std::sync::atomic::Ordering;

use hub::download::{Class, Ended, FileWish, Job, JobId, Refused, State};
use testkit::{Content, Fault, eventually};
use types::ByteCount;

use crate::support::{MIB, REPOSITORY, Scene, Script, files_under, of_hub, scene, sha256};

/// Files that come slowly enough to be caught on their way.
fn slow(scene: &Scene, names: &[&str]) {
    for (seed, name) in (1..).zip(names) {
        scene.hub.put_file(name, Content::Random { seed, size: 4 * MIB });
        scene.hub.fault(&format!("files/{name}"), Fault::Slow(MIB));
    }
}

fn id(name: &str) -> JobId {
    JobId::new(name)
}

#[tokio::test]
async fn of_three_jobs_two_run() {
    let scene = scene();
    slow(&scene, &["a", "b", "c"]);
    for name in ["a", "b", "c"] {
        scene.begin(name, vec![scene.file(name)]).await;
    }
    scene.comes("a", 1).await;
    scene.comes("b", 1).await;
    assert!(matches!(scene.job("c").unwrap().state, State::Queued));
    assert_eq!(scene.hub.counts("files/c").gets, 0);
    for name in ["a", "b"] {
        scene.hub.mend(&format!("files/{name}"));
    }
    let mut most = 0;
    for _ in 0..3 {
        let running = scene.downloads.jobs().iter().filter(|job| matches!(job.state, State::Running)).count();
        most = most.max(running);
        assert!(matches!(scene.ended().await, Ended::Finished { .. }));
    }
    assert!(most <= 2, "{most} ran");
    assert!(scene.downloads.jobs().is_empty(), "what is done is no job");
    let refused = scene.downloads.pause(&id("a")).await;
    assert_eq!(refused, Err(Refused::Unknown));
}

#[tokio::test]
async fn what_is_paused_goes_on_where_it_was() {
    let scene = scene();
    let expected = scene.hub.put(REPOSITORY, "x.gguf", Content::Random { seed: 5, size: 4 * MIB });
    let file = format!("{REPOSITORY}/x.gguf");
    scene.hub.fault(&file, Fault::Slow(2 * MIB));
    scene.begin("x", vec![of_hub("x.gguf")]).await;
    scene.comes("x", MIB).await;
    scene.downloads.pause(&id("x")).await.unwrap();
    scene.downloads.pause(&id("x")).await.unwrap();
    let paused = scene.wait("x", "is paused", |job| matches!(job.state, State::Paused)).await;
    assert_eq!((paused.bytes_total, paused.bytes_per_second, paused.eta), (Some(ByteCount::mib(4)), 0, None));
    assert_eq!(
        scene.downloads.begin(Job { id: id("x"), files: vec![of_hub("x.gguf")] }).await,
        Err(Refused::AlreadyRunning)
    );
    // Nothing comes while it is paused: the connection is gone.
    let before = scene.counts("x.gguf").bytes;
    assert!(before < 4 * MIB);
    scene.hub.mend(&file);
    scene.downloads.resume(&id("x")).await.unwrap();
    let Ended::Finished { files, .. } = scene.ended().await else { panic!("it failed") };
    assert_eq!(sha256(&files[0]), expected);
    let counts = scene.counts("x.gguf");
    assert!(counts.bytes < 5 * MIB, "what was there is not fetched again: {counts:?}");
}

#[tokio::test]
async fn what_is_cancelled_leaves_nothing() {
    let scene = scene();
    slow(&scene, &["a", "b"]);
    scene.hub.put_file("done", "done");
    scene.hub.put(REPOSITORY, "x.gguf", Content::Random { seed: 5, size: 4 * MIB });
    scene.hub.fault(&format!("{REPOSITORY}/x.gguf"), Fault::Slow(MIB));
    scene.begin("a", vec![scene.file("done"), scene.file("a")]).await;
    scene.begin("x", vec![of_hub("x.gguf")]).await;
    scene.begin("b", vec![scene.file("b")]).await;
    scene.comes("a", 1000).await;
    scene.comes("x", 1000).await;
    for name in ["b", "a", "x"] {
        scene.downloads.cancel(&id(name)).await.unwrap();
    }
    assert_eq!(files_under(&scene.path("")), ["done"], "what is complete stays");
    assert!(!files_under(&scene.cache()).iter().any(|file| file.contains("blobs/")));
    assert_eq!(scene.downloads.cancel(&id("a")).await, Err(Refused::Unknown));
    eventually("no job is left", async || scene.downloads.jobs().is_empty().then_some(())).await;
    assert_eq!(scene.hub.counts("files/b").gets, 0);
    // And it can be had all the same.
    scene.hub.mend("files/a");
    scene.fetch(vec![scene.file("a")]).await;
}

#[tokio::test]
async fn a_failed_job_is_shown_until_it_is_begun_again() {
    let scene = scene();
    let (_, reason) = scene.fail(scene.file("late")).await;
    let shown = scene.job("fail").unwrap();
    assert!(matches!(&shown.state, State::Failed(failure) if failure.to_string() == reason), "{shown:?}");
    assert_eq!(scene.downloads.resume(&id("fail")).await, Err(Refused::Unknown));
    scene.hub.put_file("late", "now it is there");
    let again = scene.begin("fail", vec![scene.file("late")]).await;
    assert!(matches!(scene.ended().await, Ended::Finished { run, .. } if run == again));
    let other = scene.begin("fail", vec![scene.file("absent")]).await;
    assert!(matches!(scene.ended().await, Ended::Failed { run, .. } if run == other && other > again));
    scene.fail(scene.file("absent")).await;
    scene.downloads.cancel(&id("fail")).await.unwrap();
    eventually("it is gone", async || scene.job("fail").is_none().then_some(())).await;
}

#[tokio::test]
async fn what_is_begun_while_its_predecessor_is_cancelled_comes_after_it() {
    let scene = scene();
    let expected = scene.hub.put_file("x", Content::Random { seed: 3, size: 4 * MIB });
    scene.hub.fault("files/x", Fault::Slow(4 * MIB));
    let job = Job { id: id("x"), files: vec![scene.file("x")] };
    let mut run = scene.downloads.begin(job.clone()).await.unwrap();
    // The first may be gone before the next comes, but not each time.
    for _ in 0..10 {
        scene.comes("x", 1).await;
        let x = id("x");
        let (cancelled, next) = tokio::join!(scene.downloads.cancel(&x), scene.downloads.begin(job.clone()));
        cancelled.unwrap();
        let next = next.unwrap();
        assert!(next > run);
        run = next;
    }
    scene.hub.mend("files/x");
    scene.downloads.pause(&id("x")).await.unwrap();
    scene.downloads.resume(&id("x")).await.unwrap();
    let Ended::Finished { files, run: ended, .. } = scene.ended().await else { panic!("it failed") };
    assert_eq!((sha256(&files[0]), ended), (expected, run));
}

#[tokio::test]
async fn room_is_asked_for_where_files_will_be() {
    let scene = scene();
    scene.hub.put(REPOSITORY, "x.gguf", "small");
    scene.hub.put_file("y", "small");
    scene.fetch(vec![of_hub("x.gguf"), scene.file("y")]).await;
    let asked = scene.room.asked.lock().unwrap().clone();
    assert!(asked.contains(&scene.cache()) && asked.contains(&scene.path("")), "{asked:?}");
    assert_eq!(asked.len(), 2, "{asked:?}");
}

#[tokio::test]
async fn nothing_is_begun_that_does_not_fit_beside_the_others() {
    let scene = Scene::new(Script { room: 10 * MIB, ..Script::default() });
    slow(&scene, &["a", "b", "c"]);
    for name in ["a", "b", "c"] {
        // So slowly that what has come makes no difference.
        scene.hub.mend(&format!("files/{name}"));
        scene.hub.fault(&format!("files/{name}"), Fault::Slow(MIB / 64));
    }
    let wish = |name: &str, size| FileWish { size: Some(ByteCount::mib(size)), ..scene.file(name) };
    let begin =
        async |name: &str, size| scene.downloads.begin(Job { id: id(name), files: vec![wish(name, size)] }).await;
    begin("a", 4).await.unwrap();
    let refused = begin("b", 7).await.unwrap_err();
    let Refused::NoRoom { available, required, limit } = &refused else { panic!("{refused}") };
    assert_eq!((*required, *limit), (ByteCount::mib(7), Some(ByteCount::gib(1))));
    assert!((6 * MIB..10 * MIB).contains(&available.as_u64()), "{available}");
    assert!(refused.to_string().contains("7.0 MiB are needed and"), "{refused}");
    assert!(refused.to_string().contains("within the storage limit of 1.0 GiB"), "{refused}");
    begin("b", 6).await.unwrap();
    // One that is only queued has its room too. Some of it has come by now: on a busy machine perhaps one MiB.
    begin("c", 3).await.unwrap_err();
    scene.downloads.pause(&id("b")).await.unwrap();
    begin("c", 3).await.unwrap_err();
    scene.downloads.cancel(&id("b")).await.unwrap();
    begin("c", 4).await.unwrap();
}

#[tokio::test]
async fn room_that_goes_while_it_comes_ends_it() {
    let scene = scene();
    scene.hub.put_file("big", Content::Random { seed: 1, size: 300 * MIB });
    scene.hub.fault("files/big", Fault::Slow(100 * MIB));
    scene.begin("x", vec![scene.file("big")]).await;
    scene.comes("x", MIB).await;
    scene.room.free.store(MIB, Ordering::SeqCst);
    let Ended::Failed { failure, .. } = scene.ended().await else { panic!("it was done") };
    assert_eq!(failure.class(), Class::NoRoom);
    assert!(failure.to_string().contains("are still to be written and 1.0 MiB are free"), "{failure}");
    assert!(scene.hub.counts("files/big").bytes < 300 * MIB);
    // One that is known to be too long from its first answer is not begun.
    scene.downloads.cancel(&id("x")).await.unwrap();
    scene.hub.put_file("other", Content::Random { seed: 2, size: 100 * MIB });
    let (class, _) = scene.fail(scene.file("other")).await;
    assert_eq!(class, Class::NoRoom);
    assert!(scene.hub.counts("files/other").bytes < 20 * MIB);
}

#[tokio::test]
async fn progress_is_told_calmly() {
    let scene = scene();
    slow(&scene, &["a"]);
    scene.hub.mend("files/a");
    scene.hub.fault("files/a", Fault::Slow(2 * MIB));
    let mut changes = scene.downloads.changes();
    let begun = std::time::Instant::now();
    scene.begin("a", vec![scene.file("a")]).await;
    let (mut seen, mut last) = (0, 0);
    loop {
        changes.changed().await.unwrap();
        let jobs = changes.borrow_and_update().clone();
        let Some(job) = jobs.first() else { break };
        assert!(job.bytes_done.as_u64() >= last, "never back");
        last = job.bytes_done.as_u64();
        seen += 1;
        if last > 2 * MIB && matches!(job.state, State::Running) {
            assert!((MIB..4 * MIB).contains(&job.bytes_per_second), "{job:?}");
            assert!(job.eta.is_some_and(|eta| eta.as_secs() <= 3), "{job:?}");
        }
    }
    assert_eq!(last, 4 * MIB);
    let most = begun.elapsed().as_secs_f64() * 4.0 + 6.0;
    assert!(f64::from(seen) < most, "{seen} in {} s", begun.elapsed().as_secs());
}

#[tokio::test]
async fn two_jobs_may_share_a_file() {
    let scene = scene();
    slow(&scene, &["mmproj"]);
    scene.hub.put(REPOSITORY, "mmproj.gguf", Content::Random { seed: 5, size: 4 * MIB });
    scene.hub.fault(&format!("{REPOSITORY}/mmproj.gguf"), Fault::Slow(4 * MIB));
    scene.hub.mend("files/mmproj");
    scene.hub.fault("files/mmproj", Fault::Slow(4 * MIB));
    for name in ["a", "b"] {
        scene.begin(name, vec![scene.file("mmproj"), of_hub("mmproj.gguf")]).await;
    }
    for _ in 0..2 {
        assert!(matches!(scene.ended().await, Ended::Finished { .. }));
    }
    assert_eq!((scene.hub.counts("files/mmproj").bytes, scene.counts("mmproj.gguf").bytes), (4 * MIB, 4 * MIB));
}

#[tokio::test]
async fn a_job_that_was_paused_before_a_restart_stays_so() {
    let scene = scene();
    let expected = scene.hub.put_file("x", Content::Random { seed: 3, size: 4 * MIB });
    scene.hub.fault("files/x", Fault::Slow(4 * MIB));
    let wish = FileWish { sha256: Some(expected.clone()), ..scene.file("x") };
    let job = Job { id: id("x"), files: vec![wish] };
    scene.downloads.begin(job.clone()).await.unwrap();
    scene.comes("x", MIB).await;
    let scene = scene.restart(Script::default()).await;
    // As a store keeps it.
    let job: Job = serde_json::from_str(&serde_json::to_string(&job).unwrap()).unwrap();
    scene.downloads.begin_paused(job).await.unwrap();
    let shown = scene.wait("x", "is shown", |job| job.bytes_done > ByteCount::ZERO).await;
    assert!(matches!(shown.state, State::Paused));
    scene.hub.mend("files/x");
    scene.downloads.resume(&id("x")).await.unwrap();
    let Ended::Finished { files, .. } = scene.ended().await else { panic!("it failed") };
    assert_eq!(sha256(&files[0]), expected);
    assert!(scene.hub.counts("files/x").bytes < 5 * MIB);
}

#[tokio::test]
async fn what_failed_before_a_restart_can_be_cancelled_offline() {
    let scene = scene();
    let sha256 = scene.hub.put(REPOSITORY, "x.gguf", Content::Random { seed: 3, size: 4 * MIB });
    scene.hub.put_file("y", Content::Random { seed: 4, size: 4 * MIB });
    let file = format!("{REPOSITORY}/x.gguf");
    scene.hub.fault(&file, Fault::Slow(4 * MIB));
    scene.hub.fault("files/y", Fault::Slow(4 * MIB));
    let wish = FileWish { sha256: Some(sha256), ..of_hub("x.gguf") };
    let jobs = [("x", wish), ("y", scene.file("y"))].map(|(name, wish)| Job { id: id(name), files: vec![wish] });
    for job in &jobs {
        scene.downloads.begin(job.clone()).await.unwrap();
        scene.comes(job.id.as_str(), MIB).await;
    }
    let scene = scene.restart(Script { offline: true, ..Script::default() }).await;
    let asked = scene.hub.asked().len();
    let left = |scene: &Scene| {
        let files = files_under(&scene.cache()).into_iter().chain(files_under(&scene.path("")));
        files.filter(|file| file.contains("incomplete") || file.contains("partial")).count()
    };
    assert_eq!(left(&scene), 3);
    for job in jobs {
        let (id, name) = (job.id.clone(), job.id.to_string());
        scene.downloads.begin_paused(job).await.unwrap();
        let shown = scene.wait(&name, "is shown", |_| true).await;
        assert!(matches!(shown.state, State::Paused) && shown.bytes_done >= ByteCount::mib(1), "{shown:?}");
        assert_eq!(scene.downloads.resume(&id).await, Err(Refused::Offline));
        scene.downloads.cancel(&id).await.unwrap();
    }
    assert_eq!(left(&scene), 0);
    assert_eq!(scene.hub.asked().len(), asked, "nobody was asked");
}
