//! The cache as downloads leave it.

use std::fs;

use hub::cache;
use testkit::{Content, Fault};

use crate::support::{MIB, REPOSITORY, files_under, of_hub, scene, sha256};

#[tokio::test]
async fn the_cache_is_laid_out_as_others_know_it() {
    let scene = scene();
    let sha = scene.hub.put(REPOSITORY, "Q4_K_M/x-Q4_K_M.gguf", Content::Random { seed: 1, size: 2 * MIB });
    scene.hub.put(REPOSITORY, "config.json", "{}");
    let files = scene.fetch(vec![of_hub("Q4_K_M/x-Q4_K_M.gguf"), of_hub("config.json")]).await;
    let commit = scene.hub.commit(REPOSITORY);
    let folder = "models--org--name-GGUF";
    // `git hash-object` of `{}`.
    let small = "9e26dfeeb6e641a33dae4961196235bdb965b21b";
    let expected = [
        format!(".locks/{folder}/{sha}.lock"),
        format!(".locks/{folder}/{small}.lock"),
        "CACHEDIR.TAG".to_owned(),
        format!("{folder}/blobs/{sha}"),
        format!("{folder}/blobs/{small}"),
        format!("{folder}/refs/main"),
        format!("{folder}/snapshots/{commit}/Q4_K_M/x-Q4_K_M.gguf"),
        format!("{folder}/snapshots/{commit}/config.json"),
    ];
    let mut found = files_under(&scene.cache());
    found.sort();
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(fs::read_link(&files[0]).unwrap().to_str().unwrap(), format!("../../../blobs/{sha}"));
    assert_eq!(fs::read_to_string(scene.cache().join(folder).join("refs/main")).unwrap(), commit);
    let find = |revision| cache::cached(&scene.cache(), REPOSITORY, revision, "config.json");
    assert_eq!((find("main"), find(&commit), find("dev")), (Some(files[1].clone()), Some(files[1].clone()), None));
}

#[tokio::test]
async fn a_long_file_comes_in_ranges_side_by_side_over_few_connections() {
    let scene = scene();
    let expected = scene.hub.put(REPOSITORY, "x.gguf", Content::Random { seed: 1, size: 300 * MIB });
    let files = scene.fetch(vec![of_hub("x.gguf")]).await;
    assert_eq!(sha256(&files[0]), expected);
    let asked = scene.hub.asked();
    let ranges = asked.iter().filter(|asked| asked.at_storage && asked.range.starts_with("bytes=")).count();
    assert_eq!((ranges, scene.counts("x.gguf").bytes), (38, 300 * MIB), "300 MiB in pieces of 8 MiB");
    // The storage's address is kept: the hub is asked for the file's head, and once for its bytes.
    assert_eq!(asked.iter().filter(|asked| !asked.at_storage).count(), 2);
    let connections = scene.hub.connections();
    assert!((4..=8).contains(&connections), "{connections}");
}

#[tokio::test]
async fn what_is_in_the_cache_is_not_fetched_again() {
    let scene = scene();
    scene.hub.put(REPOSITORY, "x.gguf", Content::Random { seed: 1, size: 2 * MIB });
    let first = scene.fetch(vec![of_hub("x.gguf")]).await;
    assert_eq!(scene.fetch(vec![of_hub("x.gguf")]).await, first);
    // A new commit with the same file: its blob is here.
    scene.hub.put(REPOSITORY, "README.md", "words");
    let second = scene.fetch(vec![of_hub("x.gguf")]).await;
    assert_ne!(first, second);
    assert_eq!(first[0].canonicalize().unwrap(), second[0].canonicalize().unwrap());
    assert_eq!(scene.counts("x.gguf").bytes, 2 * MIB);
    // Removed from one snapshot it stays for the other.
    assert_eq!(cache::remove(&scene.cache(), &first[0]).unwrap().as_u64(), 0);
    assert_eq!(cache::remove(&scene.cache(), &second[0]).unwrap().as_u64(), 2 * MIB);
    assert!(files_under(&scene.cache()).iter().all(|file| !file.contains("gguf")));
    scene.fetch(vec![of_hub("x.gguf")]).await;
    assert_eq!(scene.counts("x.gguf").bytes, 4 * MIB);
}

#[tokio::test]
async fn a_file_that_changed_in_between_is_fetched_anew() {
    let scene = scene();
    scene.hub.put(REPOSITORY, "x.gguf", Content::Random { seed: 1, size: 4 * MIB });
    scene.hub.fault(&format!("{REPOSITORY}/x.gguf"), Fault::Slow(2 * MIB));
    scene.begin("x", vec![of_hub("x.gguf")]).await;
    scene.comes("x", MIB).await;
    let id = hub::download::JobId::new("x");
    scene.downloads.pause(&id).await.unwrap();
    let changed = scene.hub.put(REPOSITORY, "x.gguf", Content::Random { seed: 9, size: 3 * MIB });
    scene.hub.mend(&format!("{REPOSITORY}/x.gguf"));
    scene.downloads.resume(&id).await.unwrap();
    let hub::download::Ended::Finished { files, .. } = scene.ended().await else { panic!("it failed") };
    assert_eq!(sha256(&files[0]), changed);
}

#[tokio::test]
async fn a_busy_hub_does_not_keep_one_from_what_is_here() {
    let scene = scene();
    scene.hub.put(REPOSITORY, "x.gguf", "small");
    let files = scene.fetch(vec![of_hub("x.gguf")]).await;
    let busy = Fault::Refused { status: 503, code: "", retry_after: None, times: u32::MAX };
    scene.hub.fault(&format!("{REPOSITORY}/x.gguf"), busy);
    assert_eq!(scene.fetch(vec![of_hub("x.gguf")]).await, files);
}

#[tokio::test]
async fn a_repository_is_fetched_by_variant() {
    let scene = scene();
    for (seed, path) in (1..).zip([
        "q/big-Q4_K_M-00001-of-00002.gguf",
        "q/big-Q4_K_M-00002-of-00002.gguf",
        "big-Q8_0.gguf",
        "mmproj-F16.gguf",
    ]) {
        scene.hub.put(REPOSITORY, path, Content::Random { seed, size: (seed + 1) * MIB });
    }
    scene.hub.put(REPOSITORY, "README.md", "words");
    let client = crate::support::client(&scene.hub.url(), &crate::support::Script::default());
    let repository = client.repository(REPOSITORY, "main").await.unwrap();
    assert_eq!((repository.commit.clone(), repository.files.len()), (scene.hub.commit(REPOSITORY), 5));
    let variants = repository.variants();
    let shown: Vec<String> =
        variants.iter().map(|variant| format!("{} {}", variant.key, variant.size.as_u64() / MIB)).collect();
    assert_eq!(shown, ["big:Q8_0 9", "big:Q4_K_M 10"]);
    let files = scene.fetch(repository.wishes(&variants[1])).await;
    assert_eq!(files.len(), 3);
    assert!(matches!(client.repository(REPOSITORY, "none").await, Err(hub::Error::NotFound { .. })));
    assert!(matches!(client.repository("org/none", "main").await, Err(hub::Error::NotFound { .. })));
    assert!(matches!(client.repository(REPOSITORY, "../x").await, Err(hub::Error::Revision { .. })));
}
