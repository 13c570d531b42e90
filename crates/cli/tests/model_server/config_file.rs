//! Section 2: the contract's configuration file.

use serde_json::{Value, json};
use testkit::{Stage, gguf};

use crate::files::Files;
use crate::stage::{add, beside, configured, downloadable, fake, small_model, written};
use crate::table::{Table, get, row};

/// The document's example. Where it listens and where its folders are is the test's own; all else is word for word.
fn example(stage: &Stage) -> Value {
    json!({
        "host": "127.0.0.1",
        "port": 0,
        "model_config_paths": ["config"],
        "models_dir": stage.models_dir(),
        "default_model": "",
        "default_variant": "",
        "override_path": "",
        "ram_budget_mb": 0,
        "max_concurrent_downloads": 2,
        "storage": {
            "limit": "0",
            "cleanup_enabled": true,
            "cleanup_max_age_days": 30,
            "cleanup_interval_hours": 24
        },
        "hardware": {
            "vram_overrides": { "0": 32000 },
            "default_backend_priority": ["vulkan"]
        },
        "logging": {
            "level": "info",
            "directory": "",
            "rotate_hour": 0,
            "retain_days": 7
        }
    })
}

#[tokio::test]
async fn the_example_of_the_document_is_read() {
    let stage = fake().model("tiny-Q4_K_M.gguf", &gguf::ChatModel::default().file());
    let path = written(&stage, &example(&stage));
    let data_dir = stage.data_dir();
    let data_dir = data_dir.to_str().unwrap();
    for option in ["-c", "--config"] {
        let engine = testkit::fake_engine().to_str().unwrap();
        let command = stage.command(&["serve", option, &path, "--data-dir", data_dir, "--llama-server", engine]);
        let snug = stage.start_as(command).await;
        let mut table = Table::of(&snug);
        table
            .rows([
                row(
                    "2",
                    format!("`{option}` FILE: models_dir"),
                    get("/api/storage"),
                    200,
                    json!({
                        "models_directory": stage.models_dir(), "storage_limit_bytes": 0, "cleanup_enabled": true
                    }),
                ),
                row(
                    "2",
                    "models in models_dir are found",
                    get("/v1/models"),
                    200,
                    json!({ "data": ["<some>", { "id": "tiny" }] }),
                ),
                row(
                    "2",
                    "storage.cleanup_…",
                    get("/api/storage/cleanup/config"),
                    200,
                    json!({
                        "enabled": true, "max_age_hours": 720, "check_interval_hours": 24
                    }),
                ),
                row(
                    "2",
                    "no default_model: nothing is loaded",
                    get("/api/models/loaded"),
                    200,
                    json!({ "models": [] }),
                ),
            ])
            .await;
        table.done();
        snug.kill();
    }
}

#[tokio::test]
async fn comments_are_allowed_in_it() {
    let stage = fake();
    let text = format!("// The limit of this machine.\n{}", json!({ "storage": { "limit": "50G" } }));
    std::fs::write(beside(&stage, "commented.json"), text.replace('}', " /* so much */ }")).unwrap();
    let path = beside(&stage, "commented.json");
    let stage = stage.arguments(&["--config", path.to_str().unwrap()]);
    let snug = stage.start().await;
    let mut table = Table::of(&snug);
    // The document's own pair of numbers: "50G" here, 53687091200 in the answer.
    table
        .row(row(
            "2",
            "storage.limit with a suffix",
            get("/api/storage"),
            200,
            json!({ "storage_limit_bytes": 53_687_091_200_u64 }),
        ))
        .await;
    table.done();
}

#[tokio::test]
async fn its_storage_keys_reach_what_they_are_for() {
    for (limit, bytes) in
        [("500M", 500_u64 << 20), ("1.5G", 3 << 29), ("2g", 2 << 30), ("1048576", 1 << 20), ("", 0), ("0", 0)]
    {
        let stage = configured(&json!({
            "storage": { "limit": limit, "cleanup_enabled": false, "cleanup_max_age_days": 7, "cleanup_interval_hours": 6 }
        }));
        let snug = stage.start().await;
        let mut table = Table::of(&snug);
        table
            .rows([
                row(
                    "2",
                    format!("storage.limit {limit:?}"),
                    get("/api/storage"),
                    200,
                    json!({
                        "storage_limit_bytes": bytes, "cleanup_enabled": false
                    }),
                ),
                row(
                    "2",
                    "days are hours",
                    get("/api/storage/cleanup/config"),
                    200,
                    json!({
                        "enabled": false, "max_age_hours": 168, "check_interval_hours": 6
                    }),
                ),
            ])
            .await;
        table.done();
    }
}

#[tokio::test]
async fn the_default_model_is_loaded_at_the_start() {
    let model = gguf::ChatModel::default().file();
    let stage = configured(&json!({ "default_model": "tiny", "default_variant": "Q8_0" }));
    let stage = stage.model("tiny-Q4_K_M.gguf", &model).model("tiny-Q8_0.gguf", &model);
    let snug = stage.start().await;
    let mut table = Table::of(&snug);
    table
        .eventually(row(
            "2",
            "default_model and default_variant",
            get("/api/models/loaded"),
            200,
            json!({
                "models": [{ "model": "tiny", "variant": "Q8_0", "state": "Loaded" }]
            }),
        ))
        .await;
    table.done();
}

#[tokio::test]
async fn a_default_model_that_loads_for_ever_keeps_nobody_waiting() {
    let stage = configured(&json!({ "default_model": "slow" })).fake_model("slow-Q4_K_M.gguf", "--fake-hang-load");
    // Not `start`: that waits until it is ready, which it never is.
    let mut child = stage.serve();
    let log = beside(&stage, "own.log");
    child.stderr(std::fs::File::create(&log).unwrap()).stdout(std::process::Stdio::null());
    let mut child = child.spawn().unwrap();
    let url = testkit::eventually("it listens", async || {
        let text = std::fs::read_to_string(&log).ok()?;
        let (_, rest) = text.split_once("listening on ")?;
        rest.split_once('\n')?.0.split_whitespace().next().map(str::to_owned)
    })
    .await;
    let health: Value = serde_json::from_str(&testkit::fetch(&format!("{url}/health")).await).unwrap();
    let ready: Value = serde_json::from_str(&testkit::fetch(&format!("{url}/readyz")).await).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(health["status"], "ok", "the listener does not wait for default_model");
    assert_eq!(ready["ready"], false, "readiness says what is missing: {ready}");
}

#[tokio::test]
async fn downloads_are_as_many_as_it_says() {
    let names = ["one-Q4_K_M.gguf", "two-Q4_K_M.gguf", "three-Q4_K_M.gguf"];
    let files = Files::serve(names.map(|name| (name, small_model()))).await;
    // Two is the default.
    let stage = fake();
    let snug = stage.start().await;
    add(&snug, ["one", "two", "three"].map(|model| downloadable(model, &files, &format!("{model}-Q4_K_M.gguf")))).await;
    for name in names {
        files.hold(name);
    }
    for model in ["one", "two", "three"] {
        let answer = snug.post(&format!("/api/models/{model}/download"), &Value::Null).await;
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    let mut table = Table::of(&snug);
    let under_way =
        |model: &str| json!({ "model": model, "state": "Downloading", "bytes_downloaded": files.size(names[0]) / 2 });
    table
        .eventually(row("2", "two at a time, and the third waits", get("/api/downloads"), 200, json!({
            "downloads": ["<some>", under_way("one"), under_way("two"), { "model": "three", "state": "Downloading", "bytes_downloaded": 0 }]
        })))
        .await;
    table.holds("2", "the third is not asked for", files.asked(names[2]) == 0, "a request for it");
    files.release(names[0]);
    files.release(names[2]);
    table
        .eventually(row(
            "2",
            "one that ends makes way for the next",
            get("/api/downloads"),
            200,
            json!({ "downloads": [under_way("two")] }),
        ))
        .await;
    files.release(names[1]);
    table.eventually(row("2", "then all are done", get("/api/downloads"), 200, json!({ "downloads": [] }))).await;
    table.done();
}

#[tokio::test]
async fn model_configs_are_read_from_folders() {
    let stage = fake();
    let (first, second) = (beside(&stage, "first"), beside(&stage, "second"));
    for folder in [first.join("models"), second.clone()] {
        std::fs::create_dir_all(folder).unwrap();
    }
    let file = |models: Value| json!({ "schema_version": "1.1.0", "models": models }).to_string();
    std::fs::write(
        first.join("models/base.json"),
        file(json!([
            { "model": "gpt-4o-mini", "provider": "openai", "ranking": 10, "context_window": 128_000 },
            { "model": "only-first", "provider": "mock" }
        ])),
    )
    .unwrap();
    let later = file(json!([{ "model": "gpt-4o-mini", "provider": "openai", "ranking": 20 }]));
    std::fs::write(second.join("later.json"), format!("// Comments are allowed.\n{later}")).unwrap();
    let path = written(&stage, &json!({ "model_config_paths": [first, second] }));
    let stage = stage.arguments(&["--config", &path]);
    let snug = stage.start().await;
    let mut table = Table::of(&snug);
    table
        .rows([
            row("2", "configs are found in `models` of a folder", get("/api/models/config/only-first"), 200, json!({ "provider": "mock" })),
            row("4", "and in the folder itself; later ones are merged into earlier ones", get("/api/models/config/gpt-4o-mini"), 200, json!({
                "ranking": 20, "context_window": 128_000
            })),
            row("3.1", "they are models like all others", get("/v1/models"), 200, json!({
                "data": ["<some>", { "id": "gpt-4o-mini", "owned_by": "openai" }, { "id": "only-first", "owned_by": "mock" }]
            })),
        ])
        .await;
    table.done();
}

#[tokio::test]
async fn logs_go_into_its_folder() {
    let stage = fake();
    let folder = beside(&stage, "written-logs");
    let path = written(&stage, &json!({ "logging": { "level": "debug", "directory": folder } }));
    let stage = stage.arguments(&["--config", &path]);
    let _snug = stage.start().await;
    testkit::eventually("a log file is written", async || {
        let mut files =
            std::fs::read_dir(&folder).ok()?.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok());
        files.any(|text| text.contains("listening on")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_in_it_is_told_by_its_path() {
    let stage = fake();
    for (settings, told) in [
        (json!({ "storage": { "limit": "much" } }), "storage.limit"),
        (json!({ "logging": { "level": "loud" } }), "logging.level"),
        (json!({ "ram_budget_mb": -1 }), "ram_budget_mb"),
        (json!({ "max_concurrent_downloads": "two" }), "max_concurrent_downloads"),
        (json!({ "hardware": { "vram_overrides": { "first": 1 } } }), "hardware.vram_overrides"),
        (json!({ "no_such_key": 1 }), "no_such_key"),
    ] {
        let path = written(&stage, &settings);
        let mut command = stage.serve();
        command.args(["--config", &path]).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{settings} was taken: {text}");
        assert!(text.contains(told), "{told}: {text}");
    }
}
