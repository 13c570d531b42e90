//! Section 4: model configs that were added are there after a restart, if a file is named for them.

use std::path::Path;

use serde_json::{Value, json};
use testkit::{Stage, gguf};

use crate::shape::differences;
use crate::stage::{beside, fake, written};
use crate::table::{Table, delete, error, get, post, put, row};

const CONFIG: &str = "/api/models/config";

/// A stage whose override file is `runtime_models.json` in a folder of its own.
fn persistent(settings: Value) -> (Stage, std::path::PathBuf) {
    let stage = fake();
    let folder = beside(&stage, "overrides");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("runtime_models.json");
    let mut settings = settings;
    settings["override_path"] = json!(file);
    let path = written(&stage, &settings);
    (stage.arguments(&["--config", &path]), file)
}

fn content(file: &Path) -> Value {
    std::fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

fn mini() -> Value {
    json!({ "model": "gpt-4o-mini", "provider": "openai", "ranking": 80, "context_window": 128_000, "max_tokens": 16384 })
}

#[tokio::test]
async fn added_configs_outlive_a_crash() {
    let (stage, file) = persistent(json!({}));
    let snug = stage.start().await;
    let mut table = Table::of(&snug);
    let holds = |table: &mut Table<'_>, statement: &str, shape: Value| {
        let found = content(&file);
        let wrong = differences(&shape, &found);
        table.holds("4", statement, wrong.is_empty(), format!("{wrong:?}"));
    };

    table.row(row("4", "a config is added", post(CONFIG).json(mini()), 201, json!({}))).await;
    holds(
        &mut table,
        "every POST writes the file, in the document's form",
        json!({
            "schema_version": "1.1.0",
            "models": [{
                "model": "gpt-4o-mini", "provider": "openai", "ranking": 80, "context_window": 128_000, "max_tokens": 16384
            }]
        }),
    );
    table
        .row(row(
            "4",
            "a config is changed",
            put(CONFIG).json(json!({ "model": "gpt-4o-mini", "provider": "openai", "ranking": 95 })),
            200,
            json!({}),
        ))
        .await;
    holds(
        &mut table,
        "every PUT writes it",
        json!({ "models": [{ "model": "gpt-4o-mini", "ranking": 95, "max_tokens": 16384 }] }),
    );
    table
        .row(row(
            "4",
            "another is added",
            post(CONFIG).json(json!({ "model": "parrot", "provider": "mock" })),
            201,
            json!({}),
        ))
        .await;
    holds(
        &mut table,
        "all of them are in it",
        json!({ "models": ["<some>", { "model": "gpt-4o-mini" }, { "model": "parrot" }] }),
    );
    table.row(row("4", "one is removed", delete(format!("{CONFIG}/parrot")), 200, json!({}))).await;
    holds(&mut table, "every DELETE writes it", json!({ "models": [{ "model": "gpt-4o-mini" }] }));
    let names: Vec<_> =
        std::fs::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    table.holds("4", "no temporary file stays", names.len() == 1, format!("{names:?}"));
    let before = snug.get(&format!("{CONFIG}/gpt-4o-mini")).await.json();
    table.done();
    snug.kill();

    let snug = stage.start().await;
    let mut table = Table::of(&snug);
    table
        .rows([
            row("4", "what was added is there again", get(format!("{CONFIG}/gpt-4o-mini")), 200, before),
            row("4", "what was removed is not", get(format!("{CONFIG}/parrot")), 404, error("not_found_error")),
            row(
                "4",
                "what is there again can be used",
                get("/v1/models/gpt-4o-mini"),
                200,
                json!({ "owned_by": "openai" }),
            ),
            row(
                "4",
                "it exists, so it cannot be added",
                post(CONFIG).json(mini()),
                409,
                error("invalid_request_error"),
            ),
            row("4", "the last one is removed", delete(format!("{CONFIG}/gpt-4o-mini")), 200, json!({})),
        ])
        .await;
    let left = content(&file)["models"].as_array().is_none_or(Vec::is_empty);
    table.holds("4", "then none is in the file", left, content(&file));
    table.done();
    snug.kill();

    let snug = stage.start().await;
    let mut table = Table::of(&snug);
    table
        .row(row(
            "4",
            "the last one stays removed",
            get(format!("{CONFIG}/gpt-4o-mini")),
            404,
            error("not_found_error"),
        ))
        .await;
    table.done();
}

#[tokio::test]
async fn added_configs_go_before_those_of_files() {
    let stage = fake();
    let base = beside(&stage, "base");
    std::fs::create_dir(&base).unwrap();
    let models = json!({ "schema_version": "1.1.0", "models": [
        { "model": "gpt-4o-mini", "provider": "openai", "ranking": 10, "context_window": 128_000 },
        { "model": "parrot", "provider": "mock" }
    ] });
    std::fs::write(base.join("models.json"), models.to_string()).unwrap();
    let file = base.join("a_runtime.json");
    let path = written(&stage, &json!({ "model_config_paths": [base], "override_path": file }));
    let stage = stage.arguments(&["--config", &path]);
    let named = || get(format!("{CONFIG}/gpt-4o-mini"));

    let snug = stage.start().await;
    let mut table = Table::of(&snug);
    table
        .rows([
            row("4", "a model of a file exists", post(CONFIG).json(mini()), 409, error("invalid_request_error")),
            row(
                "4",
                "and can be updated",
                put(CONFIG).json(json!({ "model": "gpt-4o-mini", "provider": "openai", "ranking": 95 })),
                200,
                json!({
                    "updated": ["gpt-4o-mini"]
                }),
            ),
            row("4", "only in what was named", named(), 200, json!({ "ranking": 95, "context_window": 128_000 })),
        ])
        .await;
    let written =
        content(&file)["models"].as_array().is_some_and(|models| models.iter().all(|model| model["model"] != "parrot"));
    table.holds("4", "only what was added at run time is written", written, content(&file));
    table.done();
    snug.kill();

    let snug = stage.start().await;
    let mut table = Table::of(&snug);
    // The override file's folder is a config path too, and its name sorts before the others: it is still read last.
    let merged = json!({ "ranking": 95, "context_window": 128_000 });
    table
        .rows([
            row("4", "the override file is read after all others", named(), 200, merged.clone()),
            // What was read at the start is still what was added at run time: the next write keeps it.
            row(
                "4",
                "another is added after the restart",
                post(CONFIG).json(json!({ "model": "later", "provider": "mock" })),
                201,
                json!({ "added": ["later"] }),
            ),
        ])
        .await;
    table.done();
    snug.kill();

    let snug = stage.start().await;
    let mut table = Table::of(&snug);
    table
        .rows([
            row("4", "what was added before two restarts is there", named(), 200, merged),
            row(
                "4",
                "and what was added before one",
                get(format!("{CONFIG}/later")),
                200,
                json!({ "provider": "mock" }),
            ),
        ])
        .await;
    table.done();
}

#[tokio::test]
async fn the_file_is_whole_at_every_moment() {
    let (stage, file) = persistent(json!({}));
    let snug = stage.start().await;
    let long = "x".repeat(1500);
    let mut models = vec![];
    let writes = async {
        for number in 0..40 {
            let config = json!({ "model": format!("m{number}"), "provider": "mock", "api_base": format!("http://127.0.0.1:9/{long}") });
            let answer = snug.post(CONFIG, &config).await;
            assert_eq!(answer.status, 201, "{answer:?}");
        }
    };
    let reads = async {
        loop {
            if let Ok(bytes) = std::fs::read(&file) {
                let whole: Result<Value, _> = serde_json::from_slice(&bytes);
                models.push(whole.expect("the file is whole")["models"].as_array().map_or(0, Vec::len));
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = writes => {}
        () = reads => unreachable!("it reads for ever"),
    }
    assert!(models.is_sorted(), "an older file came back: {models:?}");
    assert!(
        models.iter().collect::<std::collections::BTreeSet<_>>().len() > 5,
        "it was seen while it grew: {models:?}"
    );
    assert_eq!(content(&file)["models"].as_array().map(Vec::len), Some(40));
    snug.kill();
    let snug = stage.start().await;
    let listed = snug.get("/v1/models").await.ok()["data"].as_array().map(Vec::len);
    assert_eq!(listed, Some(40), "all are there again");
}

#[tokio::test]
async fn without_a_file_nothing_is_kept() {
    let stage = fake().model("tiny-Q4_K_M.gguf", &gguf::ChatModel::default().file());
    let snug = stage.start().await;
    let mut table = Table::of(&snug);
    table.row(row("4", "a config is added", post(CONFIG).json(mini()), 201, json!({}))).await;
    table.done();
    snug.kill();
    let snug = stage.start().await;
    let mut table = Table::of(&snug);
    table
        .row(row(
            "4",
            "by default it is lost with the process",
            get(format!("{CONFIG}/gpt-4o-mini")),
            404,
            error("not_found_error"),
        ))
        .await;
    table.done();
}

#[tokio::test]
async fn the_file_may_be_named_by_an_option() {
    let stage = fake();
    let file = beside(&stage, "runtime_models.json");
    let stage = stage.arguments(&["--override-path", file.to_str().unwrap()]);
    let snug = stage.start().await;
    let mut table = Table::of(&snug);
    table.row(row("4", "a config is added", post(CONFIG).json(mini()), 201, json!({}))).await;
    table.has_shape("4", "it is in the file", &json!({ "models": [{ "model": "gpt-4o-mini" }] }), &content(&file));
    table.done();
    snug.kill();
    let snug = stage.start().await;
    let mut table = Table::of(&snug);
    table.row(row("4", "and there again", get("/api/models/config/gpt-4o-mini"), 200, mini())).await;
    table.done();
}

#[tokio::test]
async fn a_damaged_file_is_not_written_over() {
    let (stage, file) = persistent(json!({}));
    let damaged = "{\"schema_version\": \"1.1.0\", \"models\": [{\"model\": \"precious\"";
    std::fs::write(&file, damaged).unwrap();
    let snug = stage.start().await;
    assert!(snug.log().contains("runtime_models.json"), "it says what it could not read: {}", snug.log());
    let answer = snug.post(CONFIG, &mini()).await;
    assert_ne!(answer.status, 500, "{answer:?}");
    let kept = std::fs::read_dir(file.parent().unwrap()).unwrap().any(|entry| {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        text.contains(damaged)
    });
    assert!(kept, "what a person wrote is gone with a slip of theirs: {answer:?}");
}
