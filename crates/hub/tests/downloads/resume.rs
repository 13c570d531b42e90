//! What an abrupt end leaves, and what is made of it.

use std::process::{Command, Stdio};
use std::time::Instant;

use hub::download::{Ended, FileWish, Job, JobId};
use testkit::{Content, Counts, Fault, eventually};

use crate::support::{MIB, REPOSITORY, Scene, Script, client, files_under, of_hub, scene, sha256};

/// Tells a child of this test what it is, and where the hub and the folder are.
const CHILD: &str = "SNUG_DOWNLOADS_CHILD";

const BIG: u64 = 500 * MIB;

/// Not a test by itself: the process that is killed in the middle of a download.
#[tokio::test]
async fn child_that_downloads() {
    let Ok(given) = std::env::var(CHILD) else { return };
    let (url, job) = given.split_once(' ').unwrap();
    let job: Job = serde_json::from_str(job).unwrap();
    let cache = std::path::PathBuf::from(std::env::var("HF_HUB_CACHE").unwrap());
    let config = hub::download::Config::new(cache);
    let (tracker, stop) = Default::default();
    let room = std::sync::Arc::new(crate::support::Limit::new(u64::MAX));
    let client = client(url, &Script::default());
    let downloads = hub::download::Downloads::start(config, &client, room, &tracker, stop).unwrap();
    let mut ends = downloads.events();
    downloads.begin(job).await.unwrap();
    // It is killed long before.
    let ended = ends.recv().await.unwrap();
    panic!("{ended:?}");
}

/// Has a process download it, and kills that when so many bytes were given.
async fn kill_at(scene: &Scene, job: &Job, file: &str, bytes: u64) -> Counts {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "resume::child_that_downloads", "--nocapture"])
        .env(CHILD, format!("{} {}", scene.hub.url(), serde_json::to_string(job).unwrap()))
        .env("HF_HUB_CACHE", scene.cache())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it comes", async || (scene.hub.counts(file).bytes >= bytes).then_some(())).await;
    // SIGKILL: nothing of it runs any more.
    child.kill().unwrap();
    child.wait().unwrap();
    scene.hub.counts(file)
}

#[expect(clippy::print_stderr, reason = "figures that a person wants to see")]
async fn survives(scene: Scene, wish: FileWish, file: &str, expected: &str) {
    let job = Job { id: JobId::new("big"), files: vec![wish.clone()] };
    // Fast, but not so fast that it is done before it is killed.
    scene.hub.fault(file, Fault::Slow(60 * MIB));
    let before = kill_at(&scene, &job, file, 200 * MIB).await;
    assert!(before.bytes < BIG, "it was done too early");
    scene.hub.mend(file);
    let begun = Instant::now();
    let files = scene.fetch(vec![wish]).await;
    let took = begun.elapsed();
    let total = scene.hub.counts(file).bytes;
    assert_eq!(sha256(&files[0]), expected);
    let again = total.saturating_sub(BIG);
    eprintln!(
        "{file}: killed after {} MiB, {} MiB fetched again; the other {} MiB took {} ms",
        before.bytes / MIB,
        again / MIB,
        (total - before.bytes) / MIB,
        took.as_millis(),
    );
    // Four pieces of 8 MiB were under way, and what the sockets held.
    assert!(again < 64 * MIB, "{again} bytes of {} were fetched again", before.bytes);
}

#[tokio::test]
async fn a_kill_in_the_middle_of_500_mb_from_the_hub_costs_little() {
    let scene = scene();
    let expected = scene.hub.put(REPOSITORY, "big.gguf", Content::Random { seed: 1, size: BIG });
    survives(scene, of_hub("big.gguf"), &format!("{REPOSITORY}/big.gguf"), &expected).await;
}

#[tokio::test]
async fn a_kill_in_the_middle_of_500_mb_from_any_address_costs_little() {
    let scene = scene();
    let expected = scene.hub.put_file("big.gguf", Content::Random { seed: 1, size: BIG });
    let wish = scene.file("big.gguf");
    survives(scene, wish, "files/big.gguf", &expected).await;
}

#[tokio::test]
async fn a_file_that_changed_since_is_begun_anew() {
    for sha_is_known in [true, false] {
        let scene = scene();
        scene.hub.put_file("x", Content::Random { seed: 1, size: 6 * MIB });
        scene.hub.fault("files/x", Fault::Slow(4 * MIB));
        scene.begin("x", vec![scene.file("x")]).await;
        scene.comes("x", 2 * MIB).await;
        let scene = scene.restart(Script::default()).await;
        assert_eq!(files_under(&scene.path("")), ["x.partial", "x.partial.json"]);
        scene.hub.mend("files/x");
        let expected = scene.hub.put_file("x", Content::Random { seed: 2, size: 5 * MIB });
        let sha = Some(expected.clone()).filter(|_| sha_is_known);
        let files = scene.fetch(vec![FileWish { sha256: sha, ..scene.file("x") }]).await;
        assert_eq!(sha256(&files[0]), expected);
        assert_eq!(files_under(&scene.path("")), ["x"]);
    }
}

#[tokio::test]
async fn bytes_of_which_nobody_knows_the_version_are_not_gone_on_with() {
    let scene = scene();
    let expected = scene.hub.put_file("x", Content::Random { seed: 1, size: 6 * MIB });
    scene.hub.fault("files/x", Fault::NoEtag);
    std::fs::create_dir_all(scene.path("")).unwrap();
    std::fs::write(scene.path("x.partial"), vec![7; 1000]).unwrap();
    let files = scene.fetch(vec![scene.file("x")]).await;
    assert_eq!(sha256(&files[0]), expected);
}

#[tokio::test]
async fn what_another_program_began_is_gone_on_with() {
    let scene = scene();
    let content = Content::Random { seed: 1, size: 6 * MIB };
    let expected = scene.hub.put(REPOSITORY, "x.gguf", content.clone());
    let files = scene.fetch(vec![of_hub("x.gguf")]).await;
    let bytes = std::fs::read(&files[0]).unwrap();
    let blob = files[0].canonicalize().unwrap();
    hub::cache::remove(&scene.cache(), &files[0]).unwrap();
    // The first bytes, as `huggingface_hub` leaves them.
    std::fs::create_dir_all(blob.parent().unwrap()).unwrap();
    std::fs::write(blob.with_extension("incomplete"), &bytes[..5_000_000]).unwrap();
    scene.begin("x", vec![of_hub("x.gguf")]).await;
    let Ended::Finished { files, .. } = scene.ended().await else { panic!("it failed") };
    assert_eq!(sha256(&files[0]), expected);
    assert_eq!(scene.counts("x.gguf").bytes, 6 * MIB + (6 * MIB - 5_000_000));
}
