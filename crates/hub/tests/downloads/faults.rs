//! Everything that a network or a server does to a download.

use std::fs;

use hub::download::{Class, FileWish, Refused};
use testkit::{Content, Fault};

use crate::support::{MIB, REPOSITORY, Scene, Script, files_under, of_hub, scene, sha256};

const ALWAYS: u32 = u32::MAX;

/// A file of 3 MiB, large as the hub sees it, with this fault.
fn broken(fault: Fault) -> (Scene, String) {
    let scene = scene();
    let sha256 = scene.hub.put(REPOSITORY, "x.gguf", Content::Random { seed: 1, size: 3 * MIB });
    scene.hub.fault(&format!("{REPOSITORY}/x.gguf"), fault);
    (scene, sha256)
}

/// It is mended on the way; so many bytes are given for the 3 MiB.
async fn is_mended(fault: Fault, bytes: std::ops::RangeInclusive<u64>) {
    let shown = format!("{fault:?}");
    let (scene, expected) = broken(fault);
    let files = scene.fetch(vec![of_hub("x.gguf")]).await;
    assert_eq!(sha256(&files[0]), expected, "{shown}");
    let counts = scene.counts("x.gguf");
    assert!(bytes.contains(&counts.bytes), "{shown}: {counts:?}");
}

/// It fails, of this class, with words that have all these parts; nothing is left under its name.
async fn fails(fault: Fault, class: Class, parts: &[&str]) {
    let shown = format!("{fault:?}");
    let (scene, _) = broken(fault);
    let (is, reason) = scene.fail(of_hub("x.gguf")).await;
    assert_eq!(is, class, "{shown}: {reason}");
    for part in parts {
        assert!(reason.contains(part), "{shown}: {part:?} is not in {reason:?}");
    }
    assert!(hub::cache::cached(&scene.cache(), REPOSITORY, "main", "x.gguf").is_none());
    let blobs = files_under(&scene.cache().join("models--org--name-GGUF/blobs"));
    assert!(blobs.iter().all(|name| name.ends_with(".incomplete")), "{shown}: {blobs:?}");
}

#[tokio::test]
async fn what_breaks_goes_on_where_it_was() {
    let exact = 3 * MIB..=3 * MIB;
    is_mended(Fault::Cut { after: MIB, times: 2 }, exact.clone()).await;
    is_mended(Fault::Cut { after: 0, times: 3 }, exact.clone()).await;
    is_mended(Fault::Stall { after: 2 * MIB, times: 1 }, exact.clone()).await;
    is_mended(Fault::Refused { status: 503, code: "", retry_after: None, times: 3 }, exact.clone()).await;
    is_mended(Fault::Refused { status: 429, code: "", retry_after: Some(1), times: 2 }, exact.clone()).await;
    is_mended(Fault::StorageRefused { status: 500, times: 2 }, exact.clone()).await;
    is_mended(Fault::Slow(20 * MIB), exact.clone()).await;
    is_mended(Fault::NoRanges, exact).await;
}

#[tokio::test]
async fn a_connection_that_breaks_now_and_then_ends_nothing() {
    // More breaks than tries; each brings enough to be forgiven.
    is_mended(Fault::Cut { after: MIB + 1, times: ALWAYS }, 3 * MIB..=3 * MIB).await;
    // One that brings too little each time is given up.
    fails(Fault::Cut { after: 1000, times: ALWAYS }, Class::Unreachable, &["127.0.0.1 fails", "tried 4 times"]).await;
    fails(Fault::Stall { after: 10, times: ALWAYS }, Class::Unreachable, &["it is silent", "what has come is kept"])
        .await;
}

#[tokio::test]
async fn without_ranges_it_begins_anew_and_not_for_ever() {
    let (scene, expected) = broken(Fault::NoRanges);
    scene.hub.fault(&format!("{REPOSITORY}/x.gguf"), Fault::Cut { after: 2 * MIB, times: 3 });
    let files = scene.fetch(vec![of_hub("x.gguf")]).await;
    assert_eq!(sha256(&files[0]), expected);
    assert_eq!(
        scene.counts("x.gguf").gets,
        5,
        "each break costs a try that shows that there are no ranges, and one anew"
    );

    let (scene, _) = broken(Fault::NoRanges);
    scene.hub.fault(&format!("{REPOSITORY}/x.gguf"), Fault::Cut { after: 2 * MIB, times: ALWAYS });
    let (class, reason) = scene.fail(of_hub("x.gguf")).await;
    assert_eq!(class, Class::Unreachable);
    assert!(reason.contains("fails"), "{reason}");
}

#[tokio::test]
async fn what_cannot_be_mended_says_what_to_do() {
    fails(Fault::OtherBytes, Class::Corrupt, &["x.gguf: sha256 is ", ", expected "]).await;
    fails(Fault::Length(2 * MIB), Class::Corrupt, &["x.gguf is 2097152 bytes long, expected 3145728"]).await;
    fails(Fault::Length(4 * MIB), Class::Corrupt, &["x.gguf is 4194304 bytes long, expected 3145728"]).await;
    fails(Fault::Gated, Class::Denied, &["org/name-GGUF is gated: accept its licence at http://", "HF_TOKEN"]).await;
    let refused = |status, code| Fault::Refused { status, code, retry_after: None, times: ALWAYS };
    fails(refused(403, "GatedRepo"), Class::Denied, &["accept its licence"]).await;
    fails(refused(401, "RepoNotFound"), Class::NotFound, &["the hub has no x.gguf of org/name-GGUF"]).await;
    fails(refused(503, ""), Class::Unreachable, &["too busy (503) after 4 tries"]).await;
    let patient = Fault::Refused { status: 429, code: "", retry_after: Some(3600), times: ALWAYS };
    fails(patient, Class::Unreachable, &["(429) after 1 tries, and asks for a wait of 3600 s"]).await;
    fails(Fault::StorageRefused { status: 403, times: ALWAYS }, Class::Denied, &["answers 403", "permission"]).await;
    fails(Fault::StorageRefused { status: 500, times: ALWAYS }, Class::Unreachable, &["too busy (500) after 4"]).await;
    let scene = scene();
    let (class, reason) = scene.fail(of_hub("absent.gguf")).await;
    assert!(class == Class::NotFound && reason.contains("the hub has no absent.gguf of"), "{reason}");
}

#[tokio::test]
async fn a_small_file_is_checked_as_git_names_it() {
    let scene = scene();
    scene.hub.put(REPOSITORY, "config.json", "{\"small\": true}");
    scene.hub.put(REPOSITORY, "empty", "");
    let files = scene.fetch(vec![of_hub("config.json"), of_hub("empty")]).await;
    assert_eq!(fs::read_to_string(&files[0]).unwrap(), "{\"small\": true}");
    assert_eq!(fs::read(&files[1]).unwrap(), b"");
    scene.hub.put(REPOSITORY, "other.json", "{}");
    scene.hub.fault(&format!("{REPOSITORY}/other.json"), Fault::OtherBytes);
    let (class, reason) = scene.fail(of_hub("other.json")).await;
    assert!(class == Class::Corrupt && reason.contains("other.json: git sha1 is "), "{reason}");
}

#[tokio::test]
async fn a_hash_that_was_given_must_be_the_hubs_too() {
    let (scene, _) = broken(Fault::Slow(u64::MAX));
    let wish = FileWish { sha256: Some("0".repeat(64)), ..of_hub("x.gguf") };
    let (class, reason) = scene.fail(wish).await;
    assert!(class == Class::Corrupt && reason.contains(&format!("expected {}", "0".repeat(64))), "{reason}");
    assert_eq!(scene.counts("x.gguf").gets, 0, "it is clear before anything is fetched");
}

#[tokio::test]
async fn a_token_opens_what_is_gated_and_stays_at_the_hub() {
    let scene = Scene::new(Script { token: Some("hf_secret"), ..Script::default() });
    let expected = scene.hub.put(REPOSITORY, "x.gguf", Content::Random { seed: 1, size: 2 * MIB });
    scene.hub.fault(&format!("{REPOSITORY}/x.gguf"), Fault::Gated);
    let files = scene.fetch(vec![of_hub("x.gguf")]).await;
    assert_eq!(sha256(&files[0]), expected);
    let asked = scene.hub.asked();
    assert!(asked.iter().all(|asked| asked.has_token != asked.at_storage), "{asked:#?}");
    assert!(asked.iter().any(|asked| asked.at_storage));
}

#[tokio::test]
async fn an_address_of_the_storage_that_has_expired_is_asked_for_anew() {
    let (scene, expected) = broken(Fault::Cut { after: MIB, times: 1 });
    // The second request for bytes goes straight to the storage, which does not know the address any more.
    scene.hub.fault(&format!("{REPOSITORY}/x.gguf"), Fault::Slow(8 * MIB));
    scene.begin("x", vec![of_hub("x.gguf")]).await;
    scene.comes("x", 1).await;
    scene.hub.fault(&format!("{REPOSITORY}/x.gguf"), Fault::StorageRefused { status: 403, times: 1 });
    let hub::download::Ended::Finished { files, .. } = scene.ended().await else { panic!("it failed") };
    assert_eq!(sha256(&files[0]), expected);
    assert_eq!(scene.counts("x.gguf").bytes, 3 * MIB);
}

#[tokio::test]
async fn plain_addresses_are_no_different() {
    let scene = scene();
    let expected = scene.hub.put_file("x.gguf", Content::Random { seed: 2, size: 3 * MIB });
    let wish = || FileWish { sha256: Some(expected.clone()), ..scene.file("x.gguf") };
    scene.hub.fault("files/x.gguf", Fault::Cut { after: MIB, times: 2 });
    let files = scene.fetch(vec![wish()]).await;
    assert_eq!((files[0].as_path(), sha256(&files[0])), (scene.path("x.gguf").as_path(), expected.clone()));
    assert_eq!(files_under(&scene.path("")), ["x.gguf"], "nothing else is left");
    assert_eq!(scene.hub.counts("files/x.gguf").bytes, 3 * MIB);
    assert_eq!(scene.fetch(vec![wish()]).await, files, "what is there is not fetched again");
    assert_eq!(scene.hub.counts("files/x.gguf").bytes, 3 * MIB);

    fs::remove_file(scene.path("x.gguf")).unwrap();
    scene.hub.fault("files/x.gguf", Fault::OtherBytes);
    let (class, reason) = scene.fail(wish()).await;
    assert!(class == Class::Corrupt && reason.contains(&format!("expected {expected}")), "{reason}");
    assert_eq!(files_under(&scene.path("")), [""; 0], "what is wrong is removed");

    let (class, reason) = scene.fail(scene.file("absent")).await;
    assert!(class == Class::NotFound && reason.contains("/files/absent answers 404: check the address"), "{reason}");
    assert_eq!(files_under(&scene.path("")), [""; 0], "nor of what was not there");
    scene.hub.put_file("empty", "");
    scene.hub.put_file("small", "small");
    let files = scene.fetch(vec![scene.file("empty"), scene.file("small")]).await;
    assert_eq!(files.iter().map(|file| fs::read(file).unwrap()).collect::<Vec<_>>(), [&b""[..], b"small"]);
}

#[tokio::test]
async fn a_full_disk_says_so_and_a_folder_that_cannot_be_written_too() {
    let scene = scene();
    scene.hub.put_file("x.gguf", Content::Random { seed: 2, size: 3 * MIB });
    fs::create_dir_all(scene.path("")).unwrap();
    // Whatever is written there: no space left on device.
    std::os::unix::fs::symlink("/dev/full", scene.path("x.gguf.partial")).unwrap();
    let (class, reason) = scene.fail(scene.file("x.gguf")).await;
    assert!(class == Class::NoRoom && reason.contains("is full: delete something, then begin again"), "{reason}");

    fs::write(scene.path("file"), "").unwrap();
    let (class, reason) = scene
        .fail(FileWish {
            source: hub::download::Source::Url { url: scene.hub.file_url("x.gguf"), to: scene.path("file/x.gguf") },
            ..scene.file("x.gguf")
        })
        .await;
    assert!(class == Class::Disk && reason.contains("cannot write"), "{reason}");
}

#[tokio::test]
async fn offline_only_what_is_here_is_had() {
    let scene = scene();
    scene.hub.put(REPOSITORY, "x.gguf", "small");
    let files = scene.fetch(vec![of_hub("x.gguf")]).await;
    let scene = scene.restart(Script { offline: true, ..Script::default() }).await;
    let asked = scene.hub.asked().len();
    assert_eq!(scene.fetch(vec![of_hub("x.gguf")]).await, files);
    let job = |files| hub::download::Job { id: hub::download::JobId::new("x"), files };
    assert_eq!(scene.downloads.begin(job(vec![of_hub("y.gguf")])).await, Err(Refused::Offline));
    assert_eq!(scene.hub.asked().len(), asked, "nobody was asked");
}
