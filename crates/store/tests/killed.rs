//! `kill -9` in the middle of writing loses nothing that was acknowledged.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use store::{Store, Use};
use types::{ModelId, ModelKey, Variant};

const PATH: &str = "STORE_KILLED_PATH";
/// Acknowledged writes after which each of the victims dies.
const DEATHS: [u64; 5] = [1, 2, 17, 60, 150];

fn file() -> ModelKey {
    ModelKey { id: ModelId::new("m"), variant: Variant::new("Q4_0") }
}

/// Writes for ever and says after each write how many there were. Not a test by itself: the one below starts it.
#[tokio::test]
async fn victim() {
    let Some(path) = std::env::var_os(PATH) else { return };
    let store = Store::open(path.as_ref()).await.unwrap();
    let mut out = std::io::stdout();
    for number in 1u64.. {
        store.used(&[Use { file: file(), count: 1, last_used_ms: 0 }]).await.unwrap();
        // On a line of its own whatever the test harness has written before.
        write!(out, "\nacknowledged {number}\n").unwrap();
        out.flush().unwrap();
    }
}

#[tokio::test]
async fn acknowledged_writes_survive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snug.db");
    let mut acknowledged = 0;
    for death in DEATHS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["victim", "--exact", "--nocapture"])
            .env(PATH, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let counts = lines.by_ref().filter_map(|line| line.unwrap().strip_prefix("acknowledged ")?.parse().ok());
        let mut said: u64 = counts.take_while(|&count: &u64| count < death).count() as u64 + 1;
        child.kill().unwrap();
        child.wait().unwrap();
        // What it still said while it died.
        said += lines.filter(|line| line.as_ref().is_ok_and(|line| line.starts_with("acknowledged "))).count() as u64;
        acknowledged += said;

        let store = Store::open(&path).await.unwrap();
        let kept = store.file_rows().await.unwrap()[0].usage_count;
        store.close().await;
        assert!(kept >= acknowledged, "{kept} of {acknowledged} are there");
        assert!(kept <= acknowledged + 1, "at most one more was written and not acknowledged: {kept}, {acknowledged}");
        acknowledged = kept;
    }
}
