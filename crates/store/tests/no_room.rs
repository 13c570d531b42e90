//! A disk without room: what is there can be read, what cannot be written is said.

use std::path::Path;
use std::process::Command;

use store::{Error, Store};

const PATH: &str = "STORE_NO_ROOM_PATH";

/// Not a test by itself: the one below starts it where no file may grow.
#[tokio::test]
async fn cramped() {
    let Some(path) = std::env::var_os(PATH) else { return };
    let store = Store::open(path.as_ref()).await.unwrap();
    assert_eq!(store.setting("name").await.unwrap().as_deref(), Some("value"));
    let refused = store.set_setting("name", "x".repeat(10_000).as_str()).await.unwrap_err();
    assert!(matches!(refused, Error::Full { .. } | Error::Failed { .. }), "{refused:?}");
    assert!(refused.to_string().starts_with("cannot write a setting"), "{refused}");
    assert_eq!(store.setting("name").await.unwrap().as_deref(), Some("value"));
    store.close().await;
}

fn is_read_without_room(path: &Path) {
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" cramped --exact --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env(PATH, path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn what_is_there_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snug.db");
    let store = Store::open(&path).await.unwrap();
    store.set_setting("name", "value").await.unwrap();
    store.close().await;
    is_read_without_room(&path);
    // As after the end of a process: what was written last is not in the file itself yet.
    let store = Store::open(&path).await.unwrap();
    store.set_setting("name", "other").await.unwrap();
    store.set_setting("name", "value").await.unwrap();
    let (wal, kept) = (folder.path().join("snug.db-wal"), folder.path().join("kept"));
    std::fs::copy(&wal, &kept).unwrap();
    let database = std::fs::read(&path).unwrap();
    store.close().await;
    std::fs::write(&path, database).unwrap();
    std::fs::rename(&kept, &wal).unwrap();
    is_read_without_room(&path);
}
