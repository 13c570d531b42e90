//! Models that have to come first: pulled by name, or fetched because somebody asks for them. The hub is a fake one that
//! does what networks do; what is seen is the port, the commands, the files and what the hub was asked.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use store::Store;
use testkit::{Content, Counts, FakeHub, Fault, Method, Snug, Stage, eventually, fake_engine, gguf, sha256};
use types::ByteCount;

use crate::commands::{ask, run};
use crate::support::{fake, missing};

const MIB: u64 = 1 << 20;

/// A repository with two variants of one model.
const REPOSITORY: &str = "org/tiny-GGUF";
/// What is pulled of it, and the file that this is.
const TINY: &str = "org/tiny-GGUF:Q4_K_M";
const FILE: &str = "org/tiny-GGUF/tiny-Q4_K_M.gguf";

/// So slow that nothing ends by itself while a test looks at it.
const CRAWL: Fault = Fault::Slow(64 << 10);

/// Well before requests in flight would be cut; the rest is for a busy machine.
const SOON: Duration = Duration::from_secs(15);

/// A hub with [`REPOSITORY`], and a stage that asks this hub.
fn tiny() -> (FakeHub, Stage) {
    let hub = FakeHub::start();
    hub.put(REPOSITORY, "README.md", "Words.");
    hub.put(REPOSITORY, "tiny-Q8_0.gguf", model(3));
    hub.put(REPOSITORY, "tiny-Q4_K_M.gguf", model(2));
    let stage = stage(&hub);
    (hub, stage)
}

/// A stage that asks this hub, whichever command it is.
fn stage(hub: &FakeHub) -> Stage {
    let stage = fake();
    let (data, models, engine) = (stage.data_dir(), stage.models_dir(), fake_engine());
    let stage = stage.environment("HF_ENDPOINT", &hub.url());
    [("SNUG_DATA_DIR", data.as_path()), ("SNUG_MODELS_DIR", models.as_path()), ("SNUG_LLAMA_SERVER", engine)]
        .into_iter()
        .fold(stage, |stage, (name, path)| stage.environment(name, path.to_str().expect("a test's path is UTF-8")))
}

/// With model configs that outlive snug.
fn configured(stage: Stage, models: &[Value]) -> Stage {
    let path = home(&stage).join("added.json");
    std::fs::write(&path, json!({ "schema_version": "1.1.0", "models": models }).to_string()).unwrap();
    let path = path.to_str().expect("a test's path is UTF-8").to_owned();
    stage.arguments(&["--override-path", &path])
}

/// The config of a model whose variant `Q4_K_M` lies at an address.
fn config(name: &str, url: &str) -> Value {
    let variant = json!({ "quantization": "Q4_K_M", "download": { "url": url } });
    json!({ "model": name, "provider": "llama", "variants": [variant] })
}

/// The address of [`FILE`].
fn file_url(hub: &FakeHub) -> String {
    format!("{}/{REPOSITORY}/resolve/main/tiny-Q4_K_M.gguf", hub.url())
}

/// The bytes of a model that has about so many MiB.
fn model(mib: u64) -> Vec<u8> {
    gguf::ChatModel::default().with_file_size(mib * MIB).file().bytes()
}

fn home(stage: &Stage) -> PathBuf {
    stage.models_dir().parent().expect("it is in the stage's folder").to_owned()
}

/// The Hugging Face cache.
fn cache(stage: &Stage) -> PathBuf {
    home(stage).join(".cache/huggingface/hub")
}

/// Where a file of a repository lies in it.
fn in_cache(stage: &Stage, hub: &FakeHub, repository: &str, file: &str) -> PathBuf {
    let folder = format!("models--{}", repository.replace('/', "--"));
    cache(stage).join(folder).join("snapshots").join(hub.commit(repository)).join(file)
}

/// All files and links under a folder whose path has this part.
fn files_with(folder: &Path, part: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    let mut found = vec![];
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() && !path.is_symlink() {
            found.extend(files_with(&path, part));
        } else if path.to_string_lossy().contains(part) {
            found.push(path);
        }
    }
    found
}

/// Begins a download, or lets it go on.
async fn begin(snug: &Snug<'_>, name: &str) {
    let answer = snug.post(&format!("/api/models/{name}/download"), &Value::Null).await;
    assert_eq!(answer.status, 202, "{answer:?}");
}

async fn pause(snug: &Snug<'_>, name: &str) {
    let answer = snug.post(&format!("/api/models/{name}/download/pause"), &Value::Null).await.ok();
    assert_eq!(answer["status"], "paused");
}

async fn delete(snug: &Snug<'_>, path: &str) -> testkit::Answer {
    snug.send(Method::DELETE, path, &[], "").await
}

async fn limit(snug: &Snug<'_>, bytes: u64) {
    let (headers, body) = ([("content-type", "application/json")], json!({ "limit_bytes": bytes }).to_string());
    snug.send(Method::PUT, "/api/storage/limit", &headers, &body).await.ok();
}

async fn status(snug: &Snug<'_>, name: &str) -> Value {
    snug.get(&format!("/api/models/{name}/download")).await.ok()
}

/// Phases of all downloads, those that failed too, by model: `a running, b queued`.
async fn phases(snug: &Snug<'_>) -> String {
    let downloads = snug.get("/api/downloads?failed=true").await.ok()["downloads"].clone();
    let rows = downloads.as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rows.map(|row| format!("{} {}", text(&row["model"]), text(&row["phase"]))).collect::<Vec<_>>().join(", ")
}

async fn phases_are(snug: &Snug<'_>, expected: &str) {
    eventually(expected, async || (phases(snug).await == expected).then_some(())).await;
}

/// Waits until some of a download has come.
async fn comes(snug: &Snug<'_>, name: &str) {
    eventually("some of it comes", async || {
        let status = status(snug, name).await;
        (status["phase"] == "running" && status["bytes_downloaded"].as_u64()? > 0).then_some(())
    })
    .await;
}

/// Ends what makes a file slow: of answers that are being given too, by asking anew.
async fn hasten(hub: &FakeHub, snug: &Snug<'_>, file: &str, name: &str) {
    hub.mend(file);
    pause(snug, name).await;
    begin(snug, name).await;
}

async fn is_loaded(snug: &Snug<'_>, model: &str) {
    eventually("it is loaded", async || {
        let rows = snug.loaded().await;
        rows.iter().any(|row| row["model"] == model && row["instance_state"] == "ready").then_some(())
    })
    .await;
}

/// A command that runs, and what it has said to a person so far.
struct Running {
    child: Child,
    said: PathBuf,
}

impl Running {
    fn start(stage: &Stage, mut command: Command) -> Self {
        let said = home(stage).join("said");
        let file = File::create(&said).unwrap();
        Self { child: command.stdout(Stdio::null()).stderr(file).spawn().unwrap(), said }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap()
    }

    /// Presses Ctrl-C once it says that bytes come; gives the exit code.
    async fn interrupt(&mut self) -> i32 {
        eventually("it says that bytes come", async || self.said().contains("running").then_some(())).await;
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        let ended = eventually("it ends", async || self.child.try_wait().unwrap()).await;
        ended.code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[tokio::test]
async fn a_repository_is_pulled_used_and_removed() {
    let (hub, stage) = tiny();
    let snug = stage.start().await;
    let (code, out, error) = ask(&stage, &snug, &["pull", TINY], "").await;
    assert!(code == 0 && out.contains("tiny:Q4_K_M is here"), "{code} {out} {error}");
    let file = in_cache(&stage, &hub, REPOSITORY, "tiny-Q4_K_M.gguf");
    assert_eq!(std::fs::read(&file).unwrap(), model(2));
    assert_eq!(hub.counts("org/tiny-GGUF/tiny-Q8_0.gguf"), Counts::default(), "only what was asked for");

    let (code, out, error) = ask(&stage, &snug, &["models"], "").await;
    assert!(code == 0 && out.contains("tiny") && out.contains("Q4_K_M"), "{out} {error}");
    let rows = snug.get("/api/models").await.ok()["models"].clone();
    assert_eq!(
        (&rows[0]["model"], &rows[0]["variant"], &rows[0]["present"]),
        (&json!("tiny"), &json!("Q4_K_M"), &json!(true))
    );
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
    snug.load("tiny", "").await.ok();
    snug.chat("tiny", json!({})).await.ok();

    let before = hub.counts(FILE);
    let (code, out, error) = ask(&stage, &snug, &["pull", TINY], "").await;
    assert!(code == 0 && out.contains("is here already"), "{code} {out} {error}");
    assert_eq!(hub.counts(FILE), before);

    for (route, flag) in [("protected", "protected"), ("hot-ready", "hot_ready")] {
        let route = format!("/api/models/tiny/variants/Q4_K_M/{route}");
        snug.post(&route, &Value::Null).await.ok();
        let (code, out, error) = ask(&stage, &snug, &["rm", "tiny:Q4_K_M"], "").await;
        assert!(code == 1 && out.is_empty() && error.contains(flag), "{code} {out} {error}");
        assert!(file.is_file());
        delete(&snug, &route).await.ok();
    }

    let size = ByteCount::bytes(model(2).len() as u64).to_string();
    let (code, out, error) = ask(&stage, &snug, &["rm", "tiny:Q4_K_M"], "").await;
    assert!(code == 0 && out.contains(&format!("{size} freed")), "{code} {out} {error}");
    assert_eq!(files_with(&cache(&stage), "blobs"), Vec::<PathBuf>::new());
    assert_eq!(files_with(&cache(&stage), "snapshots"), Vec::<PathBuf>::new());
    assert_eq!(snug.get("/api/models").await.ok()["models"], json!([]));
    assert_eq!(snug.loaded().await, Vec::<Value>::new());
    let (code, _, error) = ask(&stage, &snug, &["rm", "tiny"], "").await;
    assert!(code == 4 && error.contains("tiny"), "{code} {error}");
}

/// Processes that were told of a stage's folder.
fn processes_of(stage: &Stage) -> Vec<PathBuf> {
    let data = stage.data_dir();
    let is_of = |process: &PathBuf| {
        let environment = std::fs::read(process.join("environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(data.to_str().unwrap())
    };
    let all = std::fs::read_dir("/proc").unwrap();
    all.filter_map(|entry| Some(entry.ok()?.path())).filter(is_of).collect()
}

#[tokio::test]
async fn without_a_server_commands_bring_their_own() {
    if std::net::TcpStream::connect("127.0.0.1:8787").is_ok() {
        return missing("a server runs at snug's own port");
    }
    let (hub, stage) = tiny();
    hub.fault(FILE, Fault::Slow(MIB / 2));
    let mut pull = Running::start(&stage, stage.command(&["pull", TINY]));
    eventually("half of it has come", async || (hub.counts(FILE).bytes > MIB).then_some(())).await;
    assert_eq!(pull.interrupt().await, 130, "{}", pull.said());
    assert!(pull.said().contains("snug pull tiny:Q4_K_M") && !pull.said().contains("WARN"), "{}", pull.said());
    assert_eq!(processes_of(&stage), Vec::<PathBuf>::new());

    // By the words that were said: it goes on where it was.
    hub.mend(FILE);
    let (code, out, error) = run(stage.command(&["pull", "tiny:Q4_K_M"]), "").await;
    assert!(code == 0 && out.contains("tiny:Q4_K_M is here"), "{code} {out} {error}");
    assert_eq!(std::fs::read(in_cache(&stage, &hub, REPOSITORY, "tiny-Q4_K_M.gguf")).unwrap(), model(2));
    let range = hub.asked().iter().rfind(|asked| asked.at_storage).unwrap().range.clone();
    assert!(!range.is_empty() && !range.starts_with("bytes=0-"), "{range}");

    let fetched = hub.counts(FILE);
    let (code, out, error) = run(stage.command(&["pull", TINY]), "").await;
    assert!(code == 0 && out.contains("is here already"), "{code} {out} {error}");
    assert_eq!(hub.counts(FILE), fetched);
    assert_eq!(processes_of(&stage), Vec::<PathBuf>::new());
    let mut snug = stage.start().await;
    snug.chat("tiny", json!({})).await.ok();
    snug.terminate();
    assert!(snug.ended().await.success());

    let (code, out, error) = run(stage.command(&["rm", "tiny"]), "").await;
    assert!(code == 0 && out.contains("freed"), "{code} {out} {error}");
    assert_eq!(files_with(&cache(&stage), "blobs"), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_kill_in_the_middle_of_500_mb_costs_neither_the_bytes_nor_the_load() {
    const SIZE: u64 = 500 * MIB;
    let file = "org/big-GGUF/big-Q4_K_M.gguf";
    let hub = FakeHub::start();
    let big = gguf::ChatModel::default().with_file_size(SIZE).file();
    let content = Content::Headed { head: big.header().into(), seed: 1, size: big.length() };
    let expected = hub.put("org/big-GGUF", "big-Q4_K_M.gguf", content);
    let url = format!("{}/org/big-GGUF/resolve/main/big-Q4_K_M.gguf", hub.url());
    let stage = configured(stage(&hub), &[config("big", &url)]);
    let snug = stage.start().await;
    // Fast, but not so fast that it is done before the end.
    hub.fault(file, Fault::Slow(60 * MIB));
    let answer = snug.load("big", "").await;
    assert_eq!((answer.status, &answer.json()["status"]), (202, &json!("downloading")), "{answer:?}");
    eventually("a good part has come", async || (hub.counts(file).bytes > 200 * MIB).then_some(())).await;
    snug.kill();
    let before = hub.counts(file).bytes;
    assert!(before < big.length(), "it was done too early");

    hub.mend(file);
    let snug = stage.start().await;
    is_loaded(&snug, "big").await;
    snug.chat("big", json!({})).await.ok();
    assert_eq!(phases(&snug).await, "");
    let twice = hub.counts(file).bytes - big.length();
    // What was under way: four pieces of 8 MiB at most, and what sockets held. 7 MiB where nothing else runs.
    assert!(twice < 48 * MIB, "{twice} bytes were fetched twice");
    assert_eq!(sha256(&in_cache(&stage, &hub, "org/big-GGUF", "big-Q4_K_M.gguf")), expected);
}

#[tokio::test]
async fn what_came_wrong_is_not_kept_and_the_reason_is() {
    let (hub, stage) = tiny();
    hub.fault(FILE, Fault::OtherBytes);
    let snug = stage.start().await;
    let (code, out, error) = ask(&stage, &snug, &["pull", TINY], "").await;
    assert!(code == 1 && out.is_empty(), "{code} {out} {error}");
    assert!(error.contains("tiny-Q4_K_M.gguf: sha256 is") && error.contains("expected"), "{error}");
    let nothing_is_there = || {
        assert_eq!(files_with(&cache(&stage), "snapshots"), Vec::<PathBuf>::new());
        assert_eq!(files_with(&cache(&stage), "blobs"), Vec::<PathBuf>::new());
    };
    nothing_is_there();
    let failed = status(&snug, "tiny").await;
    let reason = failed["error"].as_str().unwrap();
    assert!(failed["phase"] == "failed" && error.contains(reason), "{failed} {error}");
    assert_eq!(snug.get("/api/models").await.ok()["models"], json!([]));
    // It is shown a moment before it is written down; killed in between, snug tries again.
    let store = Store::open(&stage.data_dir().join("snug.db")).await.unwrap();
    eventually("the reason is written down", async || store.downloads().await.unwrap().pop()?.reason).await;
    snug.kill();
    store.close().await;

    let snug = stage.start().await;
    assert_eq!(status(&snug, "tiny").await["error"], failed["error"]);
    assert_eq!(phases(&snug).await, "tiny failed");
    nothing_is_there();

    // By the name under which it is shown.
    hub.mend(FILE);
    begin(&snug, "tiny").await;
    eventually("it has come", async || (phases(&snug).await.is_empty()).then_some(())).await;
    assert_eq!(std::fs::read(in_cache(&stage, &hub, REPOSITORY, "tiny-Q4_K_M.gguf")).unwrap(), model(2));
    snug.chat("tiny", json!({})).await.ok();
}

#[tokio::test]
async fn what_a_person_has_to_do_is_said_and_no_secret() {
    const TOKEN: &str = "hf_s3cr3tOfAda";
    let (hub, stage) = tiny();
    hub.fault(FILE, Fault::Gated);
    let without = stage.start().await;
    let (code, _, error) = ask(&stage, &without, &["pull", TINY], "").await;
    assert!(code == 1 && error.contains("gated") && error.contains("HF_TOKEN"), "{code} {error}");
    assert!(error.contains(&format!("{}/{REPOSITORY}", hub.url())), "where the licence is: {error}");
    let (code, _, error) = ask(&stage, &without, &["pull", "org/no-such-GGUF"], "").await;
    assert!(code == 4 && error.contains("org/no-such-GGUF"), "{code} {error}");
    let (code, _, error) = ask(&stage, &without, &["pull", "org/tiny-GGUF:Q2_K"], "").await;
    assert!(code != 0 && error.contains("Q4_K_M") && error.contains("Q8_0"), "{code} {error}");
    drop(without);

    let stage = stage.environment("HF_TOKEN", TOKEN);
    hub.mend(FILE);
    hub.fault(FILE, Fault::Refused { status: 403, code: "GatedRepo", retry_after: None, times: u32::MAX });
    let snug = stage.start().await;
    let (code, out, error) = ask(&stage, &snug, &["pull", TINY], "").await;
    assert!(code == 1 && error.contains("gated"), "{code} {error}");
    assert!(hub.asked().iter().any(|asked| asked.has_token), "as whom was it asked?");
    let shown = [
        out,
        error,
        snug.log(),
        snug.get("/api/logs").await.text,
        snug.get("/api/downloads").await.text,
        snug.get("/api/models/tiny/download").await.text,
    ];
    for text in shown {
        assert!(!text.contains(TOKEN), "{text}");
    }
    for file in files_with(&stage.data_dir(), "") {
        let bytes = std::fs::read(&file).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&bytes).contains(TOKEN), "{}", file.display());
    }
}

#[tokio::test]
async fn offline_is_an_answer_at_once() {
    let (hub, stage) = tiny();
    let stage = configured(stage, &[config("known", &file_url(&hub))]).environment("HF_HUB_OFFLINE", "1");
    let snug = stage.start().await;
    for name in [TINY, "known"] {
        let (code, _, error) = ask(&stage, &snug, &["pull", name], "").await;
        assert!(code != 0 && error.contains("HF_HUB_OFFLINE"), "{code} {error}");
    }
    let answer = snug.load("known", "").await;
    assert!(answer.status == 400 && answer.text.contains("HF_HUB_OFFLINE"), "{answer:?}");
    let answer = snug.chat("known", json!({})).await;
    assert!(answer.status == 503 && answer.text.contains("HF_HUB_OFFLINE"), "{answer:?}");
    assert_eq!(phases(&snug).await, "");
    assert_eq!(hub.connections(), 0);
}

#[tokio::test]
async fn downloads_wait_rest_and_go() {
    let hub = FakeHub::start();
    for name in ["a", "b", "c"] {
        hub.put(&format!("org/{name}-GGUF"), &format!("{name}-Q4_K_M.gguf"), model(2));
        hub.fault(&format!("org/{name}-GGUF/{name}-Q4_K_M.gguf"), CRAWL);
    }
    let stage = stage(&hub).environment("SNUG_MAX_CONCURRENT_DOWNLOADS", "2");
    let snug = stage.start().await;
    for name in ["a", "b", "c"] {
        begin(&snug, &format!("org/{name}-GGUF")).await;
    }
    phases_are(&snug, "a running, b running, c queued").await;
    assert_eq!(hub.counts("org/c-GGUF/c-Q4_K_M.gguf").gets, 0);
    comes(&snug, "a").await;
    pause(&snug, "a").await;
    phases_are(&snug, "a paused, b running, c running").await;
    begin(&snug, "a").await;
    phases_are(&snug, "a queued, b running, c running").await;

    comes(&snug, "b").await;
    let partial = || files_with(&cache(&stage).join("models--org--b-GGUF"), "incomplete");
    assert_eq!(partial().len(), 1);
    delete(&snug, "/api/models/b/download").await.ok();
    assert_eq!(partial(), Vec::<PathBuf>::new());
    phases_are(&snug, "a running, c running").await;
    assert_eq!(delete(&snug, "/api/models/b/download").await.refusal(404, "download_not_found")["param"], Value::Null);

    // What rests does so over a restart.
    pause(&snug, "c").await;
    pause(&snug, "a").await;
    snug.kill();
    let snug = stage.start().await;
    assert_eq!(phases(&snug).await, "a paused, c paused");
    for name in ["a", "c"] {
        hub.mend(&format!("org/{name}-GGUF/{name}-Q4_K_M.gguf"));
        begin(&snug, name).await;
    }
    phases_are(&snug, "").await;
    for name in ["a", "c"] {
        let file = in_cache(&stage, &hub, &format!("org/{name}-GGUF"), &format!("{name}-Q4_K_M.gguf"));
        assert_eq!(std::fs::read(file).unwrap(), model(2));
    }
}

#[tokio::test]
async fn a_pull_that_is_interrupted_rests() {
    let (hub, stage) = tiny();
    hub.fault(FILE, CRAWL);
    let snug = stage.start().await;
    let pull = |name: &str| {
        let mut command = stage.command(&["pull", name]);
        command.env("SNUG_URL", &snug.url);
        command
    };
    let mut first = Running::start(&stage, pull(TINY));
    assert_eq!(first.interrupt().await, 130, "{}", first.said());
    assert!(first.said().contains("rests; `snug pull tiny:Q4_K_M`"), "{}", first.said());
    assert_eq!(phases(&snug).await, "tiny paused");

    // The same command goes on, too.
    let mut second = Running::start(&stage, pull(TINY));
    assert_eq!(second.interrupt().await, 130, "{}", second.said());
    assert_eq!(phases(&snug).await, "tiny paused");

    // Dropped by somebody else, it is not said to be here.
    let third = Running::start(&stage, pull("tiny:Q4_K_M"));
    eventually("it says that bytes come", async || third.said().contains("running").then_some(())).await;
    delete(&snug, "/api/models/tiny/download").await.ok();
    let mut third = third;
    let ended = eventually("it ends", async || third.child.try_wait().unwrap()).await;
    assert!(!ended.success() && third.said().contains("tiny"), "{}", third.said());
}

#[tokio::test]
async fn a_pull_whose_server_goes_or_whose_download_is_dropped_does_not_say_that_it_is_here() {
    let (hub, stage) = tiny();
    hub.fault(FILE, CRAWL);
    let stage = configured(stage, &[config("known", &file_url(&hub))]);
    let mut snug = stage.start().await;
    let start = |snug: &Snug<'_>| {
        let mut command = stage.command(&["pull", "known"]);
        command.env("SNUG_URL", &snug.url);
        Running::start(&stage, command)
    };
    let failed = async |mut pull: Running| {
        let ended = eventually("it ends", async || pull.child.try_wait().unwrap()).await;
        assert_eq!(ended.code(), Some(1), "{}", pull.said());
        pull.said()
    };

    let pull = start(&snug);
    comes(&snug, "known").await;
    delete(&snug, "/api/models/known/download").await.ok();
    let said = failed(pull).await;
    assert!(said.contains("known:Q4_K_M was not downloaded") && said.contains("cancelled"), "{said}");

    let pull = start(&snug);
    comes(&snug, "known").await;
    let mut load = snug.follow_load("known").await;
    snug.terminate();
    load.rest().await.unwrap();
    let said = failed(pull).await;
    assert!(said.contains("is stopping") && said.contains("goes on"), "{said}");
    let soon = tokio::time::timeout(SOON, snug.ended()).await;
    assert!(soon.expect("it waits for who waits for a download").success());
}

#[tokio::test]
async fn the_first_model_may_have_to_come_first() {
    let (hub, stage) = tiny();
    hub.fault(FILE, CRAWL);
    let stage = configured(stage, &[config("first", &file_url(&hub))]).environment("SNUG_DEFAULT_MODEL", "first");
    let snug = stage.listen().await;
    assert_eq!(snug.get("/health").await.status, 200);
    comes(&snug, "first").await;
    let readiness = snug.get("/readyz").await;
    assert_eq!((readiness.status, &readiness.json()["waiting_for"]), (503, &json!(["default_model"])), "{readiness:?}");
    // Others are served meanwhile.
    snug.chat("nobody", json!({})).await.refusal(404, "model_not_found");

    hasten(&hub, &snug, FILE, "first").await;
    eventually("it is ready", async || (snug.get("/readyz").await.status == 200).then_some(())).await;
    assert_eq!(snug.instance("first").await["instance_state"], "ready");
}

#[tokio::test]
async fn who_asks_for_what_is_not_here_is_told_to_come_back() {
    let (hub, stage) = tiny();
    hub.fault(FILE, CRAWL);
    let stage = configured(stage, &[config("wanted", &file_url(&hub))]);
    let snug = stage.start().await;
    let check = async || {
        let answer = snug.chat("wanted", json!({})).await;
        let error = answer.refusal(503, "model_downloading");
        let seconds: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&seconds), "{answer:?}");
        let details = &error["details"];
        assert_eq!((&details["model"], &details["state"]), (&json!("wanted:Q4_K_M"), &json!("Downloading")), "{error}");
        assert!(details["percent_complete"].is_number(), "{error}");
    };
    check().await;
    comes(&snug, "wanted").await;
    check().await;
    assert_eq!(phases(&snug).await, "wanted running");

    hasten(&hub, &snug, FILE, "wanted").await;
    eventually("there is an answer", async || (snug.chat("wanted", json!({})).await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn who_asks_for_what_comes_wrong_is_told_why() {
    let (hub, stage) = tiny();
    hub.fault(FILE, Fault::OtherBytes);
    let stage = configured(stage, &[config("wanted", &file_url(&hub))]);
    let snug = stage.start().await;
    snug.chat("wanted", json!({})).await.refusal(503, "model_downloading");
    phases_are(&snug, "wanted failed").await;
    let fetched = hub.counts(FILE);
    let answer = snug.chat("wanted", json!({})).await;
    let error = answer.refusal(503, "model_load_error");
    assert!(error["message"].as_str().unwrap().contains("sha256 is"), "{error}");
    assert_eq!(error["details"]["action"], "redownload", "{error}");
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{answer:?}");
    assert_eq!(hub.counts(FILE), fetched, "not begun again by every request");

    // Whoever mended it asks by hand.
    hub.mend(FILE);
    assert_eq!(snug.load("wanted", "").await.status, 202);
    is_loaded(&snug, "wanted").await;
    snug.chat("wanted", json!({})).await.ok();
}

#[tokio::test]
async fn without_room_three_figures_are_told() {
    let (hub, stage) = tiny();
    let size = model(2).len() as u64;
    let mut declared = config("declared", &file_url(&hub));
    declared["variants"][0]["file_size_mb"] = 2.into();
    let stage = configured(stage, &[declared, config("undeclared", &file_url(&hub))]);
    let snug = stage.start().await;
    limit(&snug, MIB).await;

    let check = |answer: testkit::Answer, required: u64| {
        let error = answer.refusal(507, "insufficient_storage");
        for figures in [&answer.json(), &error["details"]] {
            assert_eq!(figures["available_bytes"], MIB, "{answer:?}");
            assert_eq!(figures["required_bytes"], required, "{answer:?}");
            assert_eq!(figures["storage_limit_bytes"], MIB, "{answer:?}");
        }
    };
    check(snug.load("declared", "").await, 2 * MIB);
    check(snug.post("/api/models/declared/download", &Value::Null).await, 2 * MIB);
    check(snug.chat("declared", json!({})).await, 2 * MIB);
    assert_eq!(hub.connections(), 0, "nothing was asked");
    // Of a repository the hub tells how large it is.
    check(snug.post(&format!("/api/models/{TINY}/download"), &Value::Null).await, size);
    let (code, _, error) = ask(&stage, &snug, &["pull", TINY], "").await;
    assert!(code == 1 && error.contains("limit"), "{code} {error}");
    assert_eq!(phases(&snug).await, "");

    // Where nobody said how large it is, it turns out on the way.
    begin(&snug, "undeclared").await;
    phases_are(&snug, "undeclared failed").await;
    let error = status(&snug, "undeclared").await["error"].clone();
    assert!(error.as_str().unwrap().contains("still to be written"), "{error}");
    assert_eq!(hub.counts(FILE).gets, 0);
    assert_eq!(files_with(&cache(&stage), "blobs"), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn what_rests_is_not_forgotten_for_want_of_room() {
    let (hub, stage) = tiny();
    hub.fault(FILE, CRAWL);
    let snug = stage.start().await;
    begin(&snug, TINY).await;
    comes(&snug, "tiny").await;
    pause(&snug, "tiny").await;
    limit(&snug, MIB).await;
    snug.post("/api/models/tiny/download", &Value::Null).await.refusal(507, "insufficient_storage");
    assert_eq!(phases(&snug).await, "tiny paused");
    snug.kill();

    let snug = stage.start().await;
    assert_eq!(phases(&snug).await, "tiny paused");
    limit(&snug, 4 * MIB).await;
    hub.mend(FILE);
    begin(&snug, "tiny").await;
    phases_are(&snug, "").await;
    assert_eq!(std::fs::read(in_cache(&stage, &hub, REPOSITORY, "tiny-Q4_K_M.gguf")).unwrap(), model(2));
}

/// A model in two files.
fn split() -> [Vec<u8>; 2] {
    let whole = gguf::ChatModel::default().with_file_size(3 * MIB).file();
    let half = whole.tensors.len() / 2;
    let part = |file: gguf::File, number: u16| {
        file.set("split.count", gguf::Value::U16(2)).set("split.no", gguf::Value::U16(number))
    };
    let mut first = part(whole.clone(), 0);
    first.tensors.truncate(half);
    let mut second = part(gguf::File::bare(), 1);
    second.tensors = whole.tensors[half..].to_vec();
    [first.bytes(), second.bytes()]
}

fn projector() -> Vec<u8> {
    gguf::File::new("clip").set("general.type", gguf::Value::text("mmproj")).bytes()
}

#[tokio::test]
async fn all_files_of_a_model_are_one_download() {
    let names = ["pair-Q4_K_M-00001-of-00002.gguf", "pair-Q4_K_M-00002-of-00002.gguf"];
    let repository = "org/pair-GGUF";
    let hub = FakeHub::start();
    for (name, bytes) in names.iter().zip(split()) {
        hub.put(repository, name, bytes);
    }
    hub.put(repository, "mmproj-F16.gguf", projector());
    hub.put(repository, "pair-Q8_0.gguf", model(4));
    let total = split().iter().map(Vec::len).sum::<usize>() + projector().len();
    let stage = stage(&hub);
    let snug = stage.start().await;
    let second = format!("{repository}/{}", names[1]);
    hub.fault(&second, CRAWL);
    begin(&snug, "org/pair-GGUF:Q4_K_M").await;
    comes(&snug, "pair").await;
    let row = status(&snug, "pair").await;
    assert_eq!((&row["variant"], &row["total_bytes"]), (&json!("Q4_K_M"), &json!(total)), "{row}");
    assert_eq!(phases(&snug).await, "pair running");
    assert_eq!(snug.get("/api/storage/models").await.ok()["total_count"], 0, "a part is no model");
    hasten(&hub, &snug, &second, "pair:Q4_K_M").await;
    phases_are(&snug, "").await;
    let row = snug.get("/api/storage/models").await.ok()["models"][0].clone();
    assert_eq!((&row["model"], &row["file_count"]), (&json!("pair"), &json!(3)), "{row}");
    snug.chat("pair", json!({})).await.ok();

    // The projector serves both variants; it goes with the last of them.
    let (code, out, error) = ask(&stage, &snug, &["pull", "org/pair-GGUF:Q8_0"], "").await;
    assert_eq!(code, 0, "{out} {error}");
    let file = in_cache(&stage, &hub, repository, "mmproj-F16.gguf");
    assert!(file.is_file());
    let gets = hub.counts(&format!("{repository}/mmproj-F16.gguf")).gets;
    assert_eq!(gets, 1, "it was here");
    let (code, out, error) = ask(&stage, &snug, &["rm", "pair:Q4_K_M"], "").await;
    assert_eq!(code, 0, "{out} {error}");
    assert!(file.is_file(), "the other variant's");
    snug.chat("pair:Q8_0", json!({})).await.ok();
    let (code, out, error) = ask(&stage, &snug, &["rm", "pair"], "").await;
    assert_eq!(code, 0, "{out} {error}");
    assert_eq!(files_with(&cache(&stage), "blobs"), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn all_files_of_a_config_are_one_download() {
    let hub = FakeHub::start();
    let [one, two] = split();
    for (name, bytes) in [("duo-1.gguf", one), ("duo-2.gguf", two), ("duo-mmproj.gguf", projector())] {
        hub.put_file(name, bytes);
    }
    let file = |name: &str| json!({ "url": hub.file_url(name), "filename": name });
    let variant = json!({
        "quantization": "Q4_K_M",
        "files": [file("duo-1.gguf"), file("duo-2.gguf")],
        "mmproj": file("duo-mmproj.gguf"),
    });
    let model = json!({ "model": "duo", "provider": "llama", "variants": [variant] });
    let stage = configured(stage(&hub), &[model]);
    let snug = stage.start().await;
    let answer = snug.load("duo", "").await;
    assert_eq!(answer.status, 202, "{answer:?}");
    is_loaded(&snug, "duo").await;
    snug.chat("duo", json!({})).await.ok();
    let row = snug.get("/api/storage/models/duo").await.ok()["variants"][0].clone();
    assert_eq!(row["file_count"], 3, "{row}");
    let (code, out, error) = ask(&stage, &snug, &["rm", "duo"], "").await;
    assert_eq!(code, 0, "{out} {error}");
    assert_eq!(files_with(&stage.models_dir(), "duo"), Vec::<PathBuf>::new());
}
