//! The database as its users see it: a real file in a folder of its own.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};
use store::{DownloadRow, Error, FileRow, InferenceRow, Store, SwapRow, Use};
use tempfile::TempDir;
use types::{ModelId, ModelKey, Variant};

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snug.db");
    (folder, path)
}

fn key(id: &str, variant: &str) -> ModelKey {
    ModelKey { id: ModelId::new(id), variant: Variant::new(variant) }
}

fn answer(at_ms: i64) -> InferenceRow {
    InferenceRow {
        at_ms,
        model: key("org/model", "Q4_0"),
        prompt_tokens: 31,
        completion_tokens: 4,
        prompt_tokens_per_second: 100.5,
        generation_tokens_per_second: 5.0,
        latency_ms: 12.25,
        total_time_ms: 900.0,
        prompt_time_ms: 10.0,
        generation_time_ms: 800.0,
    }
}

fn swap(at_ms: i64) -> SwapRow {
    SwapRow { at_ms, from: key("a", "Q4_0"), to: key("b", ""), time_ms: 350.5 }
}

/// Writes to the file behind the store's back.
async fn execute(path: &Path, statement: &'static str) {
    let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    sqlx::query(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let (_folder, path) = place();
    let store = Store::open(&path).await.unwrap();
    let (hot, used) = (key("org/hot", "Q4_K_M"), key("used", ""));
    store.set_hot_ready(&hot, true).await.unwrap();
    store.set_protected(&hot, true).await.unwrap();
    store.set_protected(&hot, false).await.unwrap();
    store.downloaded(&hot, 5).await.unwrap();
    let uses = |count, last_used_ms| [Use { file: used.clone(), count, last_used_ms }];
    store.used(&uses(2, 100)).await.unwrap();
    store.used(&uses(3, 90)).await.unwrap();
    store.downloaded(&key("gone", "F16"), 1).await.unwrap();
    store.forget_file(&key("gone", "F16")).await.unwrap();
    for (model, on) in [("a", true), ("b", true), ("a", true), ("b", false)] {
        store.set_pinned(&ModelId::new(model), on).await.unwrap();
    }
    store.set_setting("limit", "1").await.unwrap();
    store.set_setting("limit", "50G").await.unwrap();
    let download = |id: &str, state: &str| DownloadRow {
        id: id.to_owned(),
        file: hot.clone(),
        job: "{\"files\":[]}".to_owned(),
        state: state.to_owned(),
        reason: (state == "failed").then(|| "no room".to_owned()),
        created_ms: 7,
    };
    for row in [download("one", "running"), download("two", "paused"), download("one", "failed")] {
        store.save_download(&row).await.unwrap();
    }
    store.delete_download("two").await.unwrap();
    store.add_inferences(&[answer(1), answer(2)]).await.unwrap();
    store.add_swaps(&[swap(1), swap(2)]).await.unwrap();
    store.close().await;

    let store = Store::open(&path).await.unwrap();
    let nothing = FileRow {
        file: used.clone(),
        hot_ready: false,
        protected: false,
        usage_count: 0,
        last_used_ms: None,
        downloaded_ms: None,
    };
    assert_eq!(
        store.file_rows().await.unwrap(),
        [
            FileRow { file: hot.clone(), hot_ready: true, downloaded_ms: Some(5), ..nothing.clone() },
            FileRow { usage_count: 5, last_used_ms: Some(100), ..nothing },
        ]
    );
    assert_eq!(store.pinned().await.unwrap(), [ModelId::new("a")]);
    assert_eq!(store.setting("limit").await.unwrap().as_deref(), Some("50G"));
    assert_eq!(store.setting("other").await.unwrap(), None);
    assert_eq!(store.downloads().await.unwrap(), [download("one", "failed")]);
    assert_eq!(store.inferences_since(0, 10).await.unwrap(), [answer(1), answer(2)]);
    assert_eq!(store.last_swaps(10).await.unwrap(), [swap(1), swap(2)]);
    store.close().await;
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "for its user only");
}

#[tokio::test]
async fn its_files_are_for_their_user_only() {
    let (_folder, path) = place();
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = Store::open(&path).await.unwrap();
    store.set_setting("name", "value").await.unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let file = PathBuf::from(format!("{}{suffix}", path.display()));
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn two_handles_at_once() {
    let (_folder, path) = place();
    let (one, two) = (Store::open(&path).await.unwrap(), Store::open(&path).await.unwrap());
    let file = key("m", "Q4_0");
    let write = async |store: Store| {
        for at_ms in 0..100 {
            store.used(&[Use { file: file.clone(), count: 1, last_used_ms: at_ms }]).await.unwrap();
            store.add_inferences(&[answer(at_ms), answer(at_ms)]).await.unwrap();
        }
    };
    // Two of them on the first, so that its own connections meet as well.
    tokio::join!(write(one.clone()), write(one.clone()), write(two.clone()));
    for store in [one, two] {
        assert_eq!(store.file_rows().await.unwrap()[0].usage_count, 300);
        assert_eq!(store.inferences_since(0, 10_000).await.unwrap().len(), 600);
    }
}

#[tokio::test]
async fn history_is_read_and_shortened_by_time_and_number() {
    let (_folder, path) = place();
    let store = Store::open(&path).await.unwrap();
    let rows: Vec<InferenceRow> = (0..1000).map(answer).collect();
    store.add_inferences(&rows).await.unwrap();
    assert_eq!(store.inferences_since(998, 10).await.unwrap(), [answer(998), answer(999)]);
    assert_eq!(store.inferences_since(0, 3).await.unwrap(), [answer(997), answer(998), answer(999)]);
    for (before_ms, most, left) in [(0, 2000, 1000), (100, 2000, 900), (0, 500, 500), (990, 500, 10), (0, 0, 1)] {
        store.prune_inferences(before_ms, most).await.unwrap();
        let rows = store.inferences_since(0, 10_000).await.unwrap();
        assert_eq!(rows.len(), left, "before {before_ms}, at most {most}");
        assert_eq!(rows.last(), Some(&answer(999)));
    }
    store.add_swaps(&(0..20).map(swap).collect::<Vec<_>>()).await.unwrap();
    store.prune_swaps(30).await.unwrap();
    assert_eq!(store.last_swaps(100).await.unwrap().len(), 20);
    store.prune_swaps(2).await.unwrap();
    assert_eq!(store.last_swaps(100).await.unwrap(), [swap(18), swap(19)]);
    assert_eq!(store.last_swaps(1).await.unwrap(), [swap(19)]);
}

#[tokio::test]
async fn nothing_written_is_nothing() {
    let (_folder, path) = place();
    let store = Store::open(&path).await.unwrap();
    store.add_inferences(&[]).await.unwrap();
    store.add_swaps(&[]).await.unwrap();
    store.used(&[]).await.unwrap();
    store.prune_inferences(i64::MAX, 10).await.unwrap();
    store.prune_swaps(1000).await.unwrap();
    assert_eq!(store.inferences_since(0, 10).await.unwrap(), []);
    assert_eq!(store.file_rows().await.unwrap(), []);
}

#[tokio::test]
async fn a_newer_database_is_refused() {
    let (_folder, path) = place();
    Store::open(&path).await.unwrap().close().await;
    execute(
        &path,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'of the future', TRUE, x'00', 0)",
    )
    .await;
    let error = Store::open(&path).await.unwrap_err();
    assert!(matches!(error, Error::Newer { found: 9999, .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()) && text.contains("start that newer one"), "{text}");
}

#[tokio::test]
async fn tables_that_were_tampered_with_are_refused() {
    let (_folder, path) = place();
    Store::open(&path).await.unwrap().close().await;
    execute(&path, "UPDATE _sqlx_migrations SET checksum = x'00'").await;
    let error = Store::open(&path).await.unwrap_err();
    assert!(matches!(error, Error::NotMigrated { .. }), "{error:?}");
}

/// Damage of every kind is found at the start, named, and left as it is.
#[tokio::test]
async fn a_damaged_file_is_refused_and_left_as_it_is() {
    let (_folder, path) = place();
    let store = Store::open(&path).await.unwrap();
    store.add_inferences(&(0..500).map(answer).collect::<Vec<_>>()).await.unwrap();
    store.close().await;
    let whole = std::fs::read(&path).unwrap();
    assert!(whole.len() > 8 * 4096);

    let mut middle = whole.clone();
    let at = whole.len() - 3 * 4096;
    middle[at..at + 4096].fill(0xa5);
    let mut header = whole.clone();
    header[..16].fill(b'x');
    let cut = whole[..whole.len() / 2].to_vec();
    let text = b"this is not a database at all, but long enough to be one\n".repeat(100);
    for (what, bytes) in [("middle", middle), ("header", header), ("cut", cut), ("text", text)] {
        std::fs::write(&path, &bytes).unwrap();
        let error = Store::open(&path).await.expect_err(what);
        assert!(matches!(error, Error::Damaged { .. }), "{what}: {error:?}");
        let text = error.to_string();
        assert!(text.contains(path.to_str().unwrap()) && text.contains("move"), "{text}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{what}: untouched");
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(Store::open(&path).await.unwrap().inferences_since(0, 10_000).await.unwrap().len(), 500);
}

#[tokio::test]
async fn a_place_that_cannot_be_is_named() {
    let (folder, path) = place();
    for wrong in [folder.path().to_owned(), path.join("deeper").join("snug.db")] {
        let error = Store::open(&wrong).await.unwrap_err();
        assert!(matches!(error, Error::NotOpened { .. }), "{error:?}");
        assert!(error.to_string().contains(wrong.to_str().unwrap()));
    }
}

/// What a program of this version does to a database still works after an addition as migrations may make them.
#[tokio::test]
async fn additions_do_not_disturb_a_running_program() {
    let (_folder, path) = place();
    let store = Store::open(&path).await.unwrap();
    store.set_hot_ready(&key("m", ""), true).await.unwrap();
    execute(&path, "ALTER TABLE files ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey'").await;
    execute(&path, "ALTER TABLE inferences ADD COLUMN node TEXT").await;
    store.set_protected(&key("m", ""), true).await.unwrap();
    store.add_inferences(&[answer(1)]).await.unwrap();
    assert!(store.file_rows().await.unwrap()[0].protected);
    assert_eq!(store.inferences_since(0, 1).await.unwrap(), [answer(1)]);
}
