//! What an engine holds of prompts outlives a swap: with the real one, and with the fake one for what goes wrong.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use engine::lifecycle::Patience;
use engine::{Handle, Launch, Policy, PromptCaches, Spec, Status};
use serde_json::{Value, json};
use types::{ByteCount, InstanceId, InstanceState, ModelId, ModelKey, Variant};

use crate::llama_server::parts;
use crate::stage::{LONG, Stage, launch, policy, wait_for};

/// Enough tokens to be worth saving.
const MANY: &str = "--fake-prompt-tokens 500";

/// A model of the fake engine, which writes down what it was asked.
struct Model<'a> {
    stage: &'a Stage,
    path: PathBuf,
}

impl<'a> Model<'a> {
    fn new(stage: &'a Stage, name: &str, faults: &str) -> Self {
        let model = Self { stage, path: stage.folder.path().join(name) };
        std::fs::write(&model.path, "GGUF").unwrap();
        model.fault(faults);
        model
    }

    /// What goes wrong from the next start on.
    fn fault(&self, faults: &str) {
        let record = self.path.with_extension("record");
        let faults = format!("{faults} --fake-record {}", record.display());
        std::fs::write(self.path.with_extension("gguf.fake"), faults).unwrap();
    }

    fn launch(&self) -> Launch {
        let name = self.path.file_stem().unwrap().to_str().unwrap();
        Launch {
            id: InstanceId::new(name),
            model: ModelKey { id: ModelId::new(name), variant: Variant::new("") },
            ..launch(testkit::fake_engine().to_owned(), self.path.clone())
        }
    }

    async fn start(&self) -> Running {
        Running::of(self.stage.start(self.launch())).await
    }

    /// What the engines were asked about slots since the last call, and chats.
    fn asked(&self) -> Vec<String> {
        let record = self.path.with_extension("record");
        let text = std::fs::read_to_string(&record).unwrap_or_default();
        let _none = std::fs::remove_file(record);
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }
}

/// An engine that is ready.
struct Running {
    handle: Handle,
    status: Status,
}

impl Running {
    async fn of(handle: Handle) -> Self {
        let status = wait_for(&handle, "ready", |status| status.over || status.state == InstanceState::Ready).await;
        assert!(!status.over, "{:?}", status.failure);
        Self { handle, status }
    }

    async fn chat(&self, fields: Value) -> Value {
        let address = self.status.address.unwrap();
        let mut body = json!({ "messages": [{ "role": "user", "content": "Hello" }], "max_tokens": 4 });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        testkit::post(&format!("http://{address}/v1/chat/completions"), &body).await.ok()
    }

    /// How many tokens of the prompt were there already.
    async fn cached(&self) -> u64 {
        self.chat(json!({})).await["timings"]["cache_n"].as_u64().unwrap()
    }

    async fn retire(self) {
        self.handle.retire();
        self.gone().await;
    }

    async fn gone(self) {
        wait_for(&self.handle, "over", |status| status.over).await;
    }
}

/// All files below the folder of prompts.
fn kept(stage: &Stage) -> Vec<PathBuf> {
    let list = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let mut files: Vec<_> = list(&stage.folder.path().join("prompt-cache")).iter().flat_map(|one| list(one)).collect();
    files.sort();
    files
}

fn names(files: &[PathBuf]) -> Vec<&str> {
    files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect()
}

#[tokio::test]
async fn each_slot_comes_back_as_it_was() {
    let stage = Stage::new();
    let model = Model::new(&stage, "m.gguf", MANY);
    let first = model.start().await;
    assert_eq!(first.cached().await, 0);
    first.chat(json!({ "id_slot": 1, "max_tokens": 10 })).await;
    model.asked();
    first.retire().await;
    assert_eq!(model.asked(), ["/slots", "/slots/1?action=save", "/slots/0?action=save"], "the largest first");

    let files = kept(&stage);
    assert_eq!(names(&files), ["kept.json", "slot-0.bin", "slot-1.bin"]);
    for path in files.iter().map(PathBuf::as_path).chain(files[0].parent()) {
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} holds prompts", path.display());
    }

    let second = model.start().await;
    let mut asked = model.asked();
    asked.sort();
    assert_eq!(asked, ["/slots/0?action=restore", "/slots/1?action=restore"]);
    assert_eq!(second.cached().await, 499);
    second.retire().await;
    // Slot 1 was not used, and lies on disk already.
    assert_eq!(model.asked(), ["/v1/chat/completions", "/slots", "/slots/0?action=save"]);
    let third = model.start().await;
    assert_eq!(third.chat(json!({ "id_slot": 1 })).await["timings"]["cache_n"], 499);
    third.retire().await;
}

#[tokio::test]
async fn an_engine_that_holds_next_to_nothing_leaves_at_once() {
    let stage = Stage::new();
    let model = Model::new(&stage, "m.gguf", "");
    let running = model.start().await;
    running.chat(json!({})).await;
    running.retire().await;
    assert_eq!(model.asked(), ["/v1/chat/completions", "/slots"]);
    model.start().await.retire().await;
    assert_eq!(model.asked(), ["/slots"]);
    assert_eq!(kept(&stage), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn it_is_saved_when_the_last_request_has_ended() {
    let stage = Stage::new();
    let model = Model::new(&stage, "m.gguf", MANY);
    let running = model.start().await;
    running.chat(json!({})).await;
    running.handle.stop(LONG);
    running.handle.drained();
    running.gone().await;
    assert_eq!(names(&kept(&stage)), ["kept.json", "slot-0.bin"]);
}

#[tokio::test]
async fn a_stop_in_a_hurry_asks_nothing() {
    let stage = Stage::new();
    let model = Model::new(&stage, "m.gguf", MANY);
    let running = model.start().await;
    running.chat(json!({})).await;
    running.handle.stop(Duration::ZERO);
    running.handle.drained();
    running.gone().await;
    assert_eq!(model.asked(), ["/v1/chat/completions"]);
    assert_eq!(kept(&stage), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn an_engine_that_saves_for_ever_is_not_waited_for() {
    let stage = Stage::new();
    let model = Model::new(&stage, "m.gguf", &format!("{MANY} --fake-save-ms 3600000"));
    let patience = Patience { prompt_cache: Duration::from_millis(100), ..policy().patience };
    let handle = stage.start_with(model.launch(), Policy { patience, ..policy() });
    let running = Running::of(handle).await;
    running.chat(json!({})).await;
    running.retire().await;
    assert_eq!(model.asked()[1..], ["/slots", "/slots/0?action=save"]);
    assert_eq!(kept(&stage), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn an_engine_that_restores_for_ever_is_ready_all_the_same() {
    let stage = Stage::new();
    let model = Model::new(&stage, "m.gguf", MANY);
    let running = model.start().await;
    running.chat(json!({})).await;
    running.retire().await;
    model.fault(&format!("{MANY} --fake-restore-ms 3600000"));
    let patience = Patience { prompt_cache: Duration::from_millis(100), ..policy().patience };
    let handle = stage.start_with(model.launch(), Policy { patience, ..policy() });
    let running = Running::of(handle).await;
    assert_eq!(names(&kept(&stage)), ["kept.json"], "it would be as slow the next time");
    running.retire().await;
}

#[tokio::test]
async fn an_engine_that_refuses_is_asked_once() {
    let stage = Stage::new();
    let model = Model::new(&stage, "m.gguf", &format!("{MANY} --fake-refuse-save"));
    for asked in [&["/v1/chat/completions", "/slots", "/slots/0?action=save"][..], &["/v1/chat/completions"]] {
        let running = model.start().await;
        running.chat(json!({})).await;
        running.retire().await;
        assert_eq!(model.asked(), asked);
    }
}

#[tokio::test]
async fn a_file_that_was_not_written_whole_is_not_kept() {
    let stage = Stage::new();
    let model = Model::new(&stage, "m.gguf", &format!("{MANY} --fake-half-save"));
    let running = model.start().await;
    running.chat(json!({})).await;
    running.retire().await;
    assert_eq!(kept(&stage), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_changed_model_begins_with_nothing() {
    let stage = Stage::new();
    let model = Model::new(&stage, "m.gguf", MANY);
    let running = model.start().await;
    running.chat(json!({})).await;
    running.retire().await;
    assert_eq!(kept(&stage).len(), 2);

    let other = Launch { spec: Spec { context: 1024, ..model.launch().spec }, ..model.launch() };
    let running = Running::of(stage.start(other)).await;
    assert_eq!(running.cached().await, 0, "another context");
    running.handle.stop(Duration::ZERO);
    running.gone().await;

    std::fs::write(&model.path, "GGUF, but another").unwrap();
    let running = model.start().await;
    assert_eq!(running.cached().await, 0, "another file");
    running.retire().await;
    assert_eq!(kept(&stage).len(), 2, "what the old file left behind is gone");
}

#[tokio::test]
async fn a_file_that_the_engine_does_not_take_is_removed() {
    let stage = Stage::new();
    let model = Model::new(&stage, "m.gguf", MANY);
    let running = model.start().await;
    running.chat(json!({})).await;
    running.retire().await;
    let file = kept(&stage).pop().unwrap();
    let same_length = "x".repeat(std::fs::read(&file).unwrap().len());
    std::fs::write(&file, same_length).unwrap();
    let running = model.start().await;
    assert_eq!(names(&kept(&stage)), ["kept.json"]);
    assert_eq!(running.cached().await, 0);
    running.retire().await;
}

#[tokio::test]
async fn an_engine_that_dies_of_what_was_kept_is_started_without_it() {
    let stage = Stage::new();
    let model = Model::new(&stage, "m.gguf", MANY);
    let running = model.start().await;
    running.chat(json!({})).await;
    running.retire().await;
    model.fault(&format!("{MANY} --fake-die-on-restore"));
    let running = model.start().await;
    assert_eq!(running.status.restarts, 1);
    assert_eq!(running.cached().await, 0);
    running.handle.stop(Duration::ZERO);
    running.gone().await;
}

#[tokio::test]
async fn what_would_not_fit_is_not_saved() {
    let stage = Stage::new();
    let prompts = stage.folder.path().join("prompt-cache");
    // By what the fake engine reports, a token takes 90 KiB and all of them some 44 MiB.
    for (limit, saves) in [(46, true), (40, false)] {
        let prompt_caches = PromptCaches::open(prompts.clone(), ByteCount::mib(limit));
        let stage = Stage { prompt_caches, ..Stage::new() };
        let model = Model::new(&stage, "m.gguf", MANY);
        let running = model.start().await;
        running.chat(json!({})).await;
        running.retire().await;
        assert_eq!(model.asked().contains(&"/slots/0?action=save".to_owned()), saves, "{limit} MiB");
    }
}

/// A prompt of some 500 tokens in an engine that leaves and comes back.
#[tokio::test]
#[expect(clippy::print_stdout, reason = "how much it is worth can be read off")]
async fn the_real_engine_need_not_read_a_prompt_again() {
    let Some((program, model)) = parts() else { return };
    let stage = Stage::new();
    let base = launch(program, model);
    let spec = Spec { context: 2048, embeddings: true, ..base.spec };
    let launch = Launch { spec, ..base };
    let prompt = "The quick brown fox jumps over the lazy dog and runs away. ".repeat(40);
    let ask = async |running: &Running| {
        let begun = Instant::now();
        let answer = running.chat(json!({ "messages": [{ "role": "user", "content": prompt }] })).await;
        (answer["timings"]["cache_n"].as_u64().unwrap(), answer["timings"]["prompt_n"].clone(), begun.elapsed())
    };
    let first = Running::of(stage.start(launch.clone())).await;
    let load = first.status.load_time;
    let (cached, read, took) = ask(&first).await;
    println!("first start: load {load:?}; {read} tokens read, {cached} cached, answer after {took:?}");
    assert_eq!(cached, 0);
    let begun = Instant::now();
    first.retire().await;
    println!("saved and ended in {:?}: {:?}", begun.elapsed(), names(&kept(&stage)));

    let second = Running::of(stage.start(launch.clone())).await;
    let load = second.status.load_time;
    let (cached, read, took) = ask(&second).await;
    println!("after the swap: load {load:?}; {read} tokens read, {cached} cached, answer after {took:?}");
    assert!(cached > 400, "{cached}");
    second.handle.stop(Duration::ZERO);
    second.gone().await;

    let nowhere = tempfile::tempdir().unwrap();
    let prompt_caches = PromptCaches::open(nowhere.path().to_owned(), ByteCount::ZERO);
    let stage = Stage { prompt_caches, ..stage };
    let third = Running::of(stage.start(launch)).await;
    let load = third.status.load_time;
    let (cached, read, took) = ask(&third).await;
    println!("without it: load {load:?}; {read} tokens read, {cached} cached, answer after {took:?}");
    assert_eq!(cached, 0);
    let begun = Instant::now();
    third.retire().await;
    println!("ended in {:?}", begun.elapsed());
}

/// A file that was cut kills the real engine; it must never be given one.
#[tokio::test]
async fn the_real_engine_survives_a_cut_file() {
    let Some((program, model)) = parts() else { return };
    let stage = Stage::new();
    let launch = launch(program, model);
    let first = Running::of(stage.start(launch.clone())).await;
    first.chat(json!({ "messages": [{ "role": "user", "content": "and so on ".repeat(150) }] })).await;
    first.retire().await;
    let files = kept(&stage);
    assert_eq!(files.len(), 2, "{files:?}");
    let length = std::fs::metadata(&files[1]).unwrap().len();
    std::fs::File::options().write(true).open(&files[1]).unwrap().set_len(length / 2).unwrap();
    let second = Running::of(stage.start(launch)).await;
    assert_eq!(second.status.restarts, 0);
    assert_eq!(names(&kept(&stage)), ["kept.json"]);
    second.handle.stop(Duration::ZERO);
    second.gone().await;
}
