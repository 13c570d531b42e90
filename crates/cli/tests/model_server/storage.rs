//! Section 3.5: model files on disk, their flags, their limit, their cleanup.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use testkit::{Stage, eventually, gguf};

use crate::files::Files;
use crate::shape::STATES;
use crate::stage::{add, configured, downloadable, fake, model_of_mib, small_model};
use crate::table::{Table, delete, error, get, post, put, row};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Lets a file look as if it had come so long ago.
fn make_older(stage: &Stage, name: &str, by: Duration) {
    let file = File::options().write(true).open(stage.models_dir().join(name)).expect("it is there");
    let then = SystemTime::now() - by;
    file.set_times(std::fs::FileTimes::new().set_modified(then).set_accessed(then)).expect("it is ours");
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

/// A row of `/api/storage/models`.
fn stored(stage: &Stage, model: &str, variant: &str) -> Value {
    let filename = format!("{model}-{variant}.gguf");
    let path = stage.models_dir().join(&filename);
    json!({
        "model": model,
        "variant": variant,
        "filename": filename,
        "file_path": path,
        "file_size_bytes": size(&path),
        "file_size_display": "<text>",
        "downloaded_at": "<time>?",
        "last_used_at": "<time>?",
        "usage_count": "<integer>",
        "hot_ready": "<bool>",
        "protected": "<bool>",
        "runtime_state": STATES
    })
}

/// An item of `variants` of `/api/storage/models/NAME`, or the whole answer for one variant.
fn variant(stage: &Stage, model: &str, variant: &str, hot_ready: bool, protected: bool) -> Value {
    let filename = format!("{model}-{variant}.gguf");
    json!({
        "variant": variant,
        "filename": filename,
        "file_size_bytes": size(&stage.models_dir().join(filename)),
        "usage_count": "<integer>",
        "hot_ready": hot_ready,
        "protected": protected
    })
}

/// Two variants of `big`, one each of `mid` and `low`; sizes fall with the names.
fn shelf() -> Stage {
    let stage = fake().model("big-Q8_0.gguf", &model_of_mib(4)).model("big-Q4_K_M.gguf", &model_of_mib(3));
    stage.model("mid-Q4_K_M.gguf", &model_of_mib(2)).model("low-Q4_K_M.gguf", &gguf::ChatModel::default().file())
}

#[tokio::test]
async fn files_are_listed() {
    let stage = shelf();
    // A file of exactly the document's size, most of which is a hole.
    let example = stage.models_dir().join("qwen2.5-7b-instruct-Q4_K_M.gguf");
    gguf::ChatModel::default().file().write(&example).unwrap();
    File::options().write(true).open(&example).unwrap().set_len(4_680_000_000).unwrap();
    let snug = stage.start().await;
    let mut table = Table::of(&snug);

    let all = [
        stored(&stage, "big", "Q8_0"),
        stored(&stage, "big", "Q4_K_M"),
        stored(&stage, "mid", "Q4_K_M"),
        stored(&stage, "low", "Q4_K_M"),
        stored(&stage, "qwen2.5-7b-instruct", "Q4_K_M"),
    ];
    let total: u64 = all.iter().filter_map(|row| row["file_size_bytes"].as_u64()).sum();
    let overview = table
        .row(row(
            "3.5",
            "the overview",
            get("/api/storage"),
            200,
            json!({
                "models_directory": stage.models_dir(),
                "total_disk_bytes": "<integer>",
                "free_disk_bytes": "<integer>",
                "used_by_models_bytes": total,
                "storage_limit_bytes": "<integer>",
                "available_for_models_bytes": "<integer>",
                "model_count": "<integer>",
                "cleanup_enabled": true
            }),
        ))
        .await;
    let figure = |name: &str| overview[name].as_u64().unwrap_or_default();
    let sane = figure("free_disk_bytes") <= figure("total_disk_bytes")
        && figure("available_for_models_bytes") <= figure("free_disk_bytes");
    table.holds("3.5", "no more is available than is free", sane, &overview);
    let count = [4, 5].contains(&figure("model_count"));
    table.holds("3.5", "models are counted", count, &overview);

    let [a, b, c, d, e] = all;
    table
        .rows([
            row("3.5", "all files", get("/api/storage/models"), 200, json!({
                "models": ["<some>", a, b, c, d, e], "total_count": 5, "total_size_bytes": total
            })),
            row("3.5", "the size for people", get("/api/storage/models"), 200, json!({
                "models": ["<some>", { "model": "qwen2.5-7b-instruct", "file_size_display": "4.4 GB" }]
            })),
            row("3.5", "what was never used counts from when it came here", get("/api/storage/models"), 200, json!({
                "models": ["<each>", { "usage_count": 0, "downloaded_at": "<time>", "last_used_at": "<time>", "hot_ready": false, "protected": false, "runtime_state": "Unloaded" }]
            })),
            row("3.5", "all variants of a model", get("/api/storage/models/big"), 200, json!({
                "model": "big",
                "variants": ["<some>", variant(&stage, "big", "Q4_K_M", false, false), variant(&stage, "big", "Q8_0", false, false)]
            })),
            row("3.5", "one variant", get("/api/storage/models/big/variants/Q8_0"), 200, variant(&stage, "big", "Q8_0", false, false)),
            row("3.5", "one variant by the shorter path", get("/api/storage/models/big/Q8_0"), 200, variant(&stage, "big", "Q8_0", false, false)),
            row("3.5", "an unknown variant", get("/api/storage/models/big/variants/Q2_K"), 404, error("not_found_error")),
            row("3.5", "an unknown variant by the shorter path", get("/api/storage/models/big/Q2_K"), 404, error("not_found_error")),
            row("3.5", "an unknown model", get("/api/storage/models/unknown"), 404, error("not_found_error")),
            row("3.5", "a variant of an unknown model", get("/api/storage/models/unknown/variants/Q8_0"), 404, error("not_found_error")),
        ])
        .await;

    // Three uses, so that orders differ: low twice, mid last.
    for model in ["low", "low", "mid"] {
        snug.chat(model, json!({ "max_tokens": 1 })).await.ok();
    }
    table
        .eventually(row(
            "3.5",
            "uses are counted",
            get("/api/storage/models"),
            200,
            json!({
                "models": ["<some>",
                    { "model": "low", "usage_count": 2, "last_used_at": "<time>", "runtime_state": "Loaded" },
                    { "model": "mid", "usage_count": 1, "last_used_at": "<time>", "runtime_state": "Loaded" },
                    { "model": "big", "variant": "Q8_0", "usage_count": 0, "last_used_at": "<time>" }
                ]
            }),
        ))
        .await;
    for (query, key) in [
        ("", "last_used_at"),
        ("?sort=last_used", "last_used_at"),
        ("?sort=size", "file_size_bytes"),
        ("?sort=name", "model"),
        ("?sort=downloads", "usage_count"),
    ] {
        let path = format!("/api/storage/models{query}");
        let list =
            table.row(row("3.5", format!("the list by {key}"), get(path), 200, json!({ "total_count": 5 }))).await;
        let rows = list["models"].as_array().cloned().unwrap_or_default();
        // The document does not say which end comes first, only what is compared.
        let keys: Vec<String> = rows.iter().map(|row| sortable(&row[key])).collect();
        let sorted = keys.is_sorted() || keys.iter().rev().is_sorted();
        // What never happened comes last, whichever way the rest runs.
        let happened: Vec<&String> = keys.iter().filter(|key| !key.is_empty()).collect();
        let sorted = sorted || happened.is_sorted() || happened.iter().rev().is_sorted();
        table.holds(
            "3.5",
            &format!("`{query}` is in the order of {key}"),
            !rows.is_empty() && sorted,
            format!("{keys:?}"),
        );
    }
    table
        .row(row(
            "3.5",
            "an unknown order",
            get("/api/storage/models?sort=colour"),
            400,
            error("invalid_request_error"),
        ))
        .await;

    // What comes and goes behind our back.
    gguf::ChatModel::default().file().write(&stage.models_dir().join("new-Q4_K_M.gguf")).unwrap();
    std::fs::remove_file(stage.models_dir().join("big-Q8_0.gguf")).unwrap();
    table
        .eventually(row(
            "3.5",
            "a file that appeared is listed",
            get("/api/storage/models"),
            200,
            json!({
                "models": ["<some>", stored(&stage, "new", "Q4_K_M")], "total_count": 5
            }),
        ))
        .await;
    table
        .eventually(row(
            "3.5",
            "a file that vanished is not",
            get("/api/storage/models/big/variants/Q8_0"),
            404,
            error("not_found_error"),
        ))
        .await;
    table.done();
}

/// A text that sorts as the value does; null is empty.
fn sortable(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Number(number) => format!("{:020}", number.as_u64().unwrap_or_default()),
        other => other.as_str().unwrap_or_default().to_owned(),
    }
}

#[tokio::test]
async fn flags_guard_files() {
    let stage = shelf();
    let snug = stage.start().await;
    let mut table = Table::of(&snug);
    let flag = |model: &str, variant: &str, flag: &str| format!("/api/models/{model}/variants/{variant}/{flag}");
    let answer = |status: &str| json!({ "status": status, "model": "big", "variant": "Q4_K_M" });
    let guarded = |hot_ready: bool, protected: bool| {
        json!({
            "error": { "message": "<text>", "type": "invalid_request_error", "param": "<any>", "code": "<any>" },
            "hot_ready": hot_ready,
            "protected": protected
        })
    };
    let one = get("/api/storage/models/big/variants/Q4_K_M");
    let removal = delete("/api/models/big/files?variant=Q4_K_M");
    let bytes = |name: &str| size(&stage.models_dir().join(name));
    let (q4, q8, mid) = (bytes("big-Q4_K_M.gguf"), bytes("big-Q8_0.gguf"), bytes("mid-Q4_K_M.gguf"));

    table
        .rows([
            row("3.5", "hot ready is set", post(flag("big", "Q4_K_M", "hot-ready")), 200, answer("hot_ready_set")),
            row("3.5", "and shown", one.clone(), 200, variant(&stage, "big", "Q4_K_M", true, false)),
            row("3.5", "it may be set again", post(flag("big", "Q4_K_M", "hot-ready")), 200, answer("hot_ready_set")),
            row(
                "3.5",
                "only for this variant",
                get("/api/storage/models/big/Q8_0"),
                200,
                variant(&stage, "big", "Q8_0", false, false),
            ),
            row("3.5", "a hot ready file is not deleted", removal.clone(), 409, guarded(true, false)),
            row("3.5", "protection is set", post(flag("big", "Q4_K_M", "protected")), 200, answer("protected_set")),
            row("3.5", "both are shown", one.clone(), 200, variant(&stage, "big", "Q4_K_M", true, true)),
            row(
                "3.5",
                "both are in the list",
                get("/api/storage/models"),
                200,
                json!({
                    "models": ["<some>", { "model": "big", "variant": "Q4_K_M", "hot_ready": true, "protected": true }]
                }),
            ),
            row("3.5", "a file with both is not deleted", removal.clone(), 409, guarded(true, true)),
            row(
                "3.5",
                "hot ready is cleared",
                delete(flag("big", "Q4_K_M", "hot-ready")),
                200,
                answer("hot_ready_cleared"),
            ),
            row("3.5", "a protected file is not deleted", removal.clone(), 409, guarded(false, true)),
            row("3.5", "nor with all others of its model", delete("/api/models/big/files"), 409, guarded(false, true)),
        ])
        .await;
    let kept = bytes("big-Q4_K_M.gguf") == q4 && bytes("big-Q8_0.gguf") == q8;
    table.holds("3.5", "one guarded variant keeps all", kept, "a file gone");
    table
        .rows([
            row(
                "3.5",
                "a guarded variant does not guard another",
                delete("/api/models/big/files?variant=Q8_0"),
                200,
                json!({
                    "status": "deleted", "model": "big", "freed_bytes": q8
                }),
            ),
            row(
                "3.5",
                "protection is cleared",
                delete(flag("big", "Q4_K_M", "protected")),
                200,
                answer("protected_cleared"),
            ),
            row(
                "3.5",
                "it may be cleared again",
                delete(flag("big", "Q4_K_M", "protected")),
                200,
                answer("protected_cleared"),
            ),
            row("3.5", "neither is shown", one, 200, variant(&stage, "big", "Q4_K_M", false, false)),
            row(
                "3.5",
                "what is free is deleted",
                removal.clone(),
                200,
                json!({ "status": "deleted", "model": "big", "freed_bytes": q4 }),
            ),
        ])
        .await;
    let gone = bytes("big-Q4_K_M.gguf") == 0 && bytes("big-Q8_0.gguf") == 0;
    table.holds("3.5", "what is deleted is gone from disk", gone, "a file");
    table
        .rows([
            row("3.5", "and from the list", get("/api/storage/models"), 200, json!({ "total_count": 2 })),
            row("3.5", "what is gone cannot be deleted", removal, 404, error("not_found_error")),
            row(
                "3.5",
                "the files of an unknown model",
                delete("/api/models/unknown/files"),
                404,
                error("not_found_error"),
            ),
            row(
                "3.5",
                "an unknown variant's files",
                delete("/api/models/mid/files?variant=Q2_K"),
                404,
                error("not_found_error"),
            ),
        ])
        .await;
    for name in ["hot-ready", "protected"] {
        for (model, variant) in [("unknown", "Q4_K_M"), ("mid", "Q2_K")] {
            let path = flag(model, variant, name);
            let statement = format!("{name} of {model} {variant}, which is not there");
            table.row(row("3.5", statement.clone(), post(&path), 404, error("not_found_error"))).await;
            table.row(row("3.5", format!("{statement}, cleared"), delete(&path), 404, error("not_found_error"))).await;
        }
    }

    // A loaded model is unloaded for it, or stays: never half of both.
    snug.load("mid", "").await.ok();
    let answer = snug.send(testkit::Method::DELETE, "/api/models/mid/files", &[], "").await;
    let loaded = snug.loaded().await.iter().any(|row| row["model"] == "mid" && row["state"] == "Loaded");
    let there = bytes("mid-Q4_K_M.gguf") == mid;
    let consistent = match answer.status {
        200 => !loaded && !there && answer.json()["freed_bytes"] == mid,
        409 => loaded && there,
        _ => false,
    };
    table.holds("3.5", "files of a loaded model", consistent, format!("{answer:?}, loaded: {loaded}, file: {there}"));
    table.done();
}

#[tokio::test]
async fn what_is_hot_ready_stays_in_ram_when_it_is_unloaded() {
    let stage = shelf();
    let snug = stage.start().await;
    let mut table = Table::of(&snug);
    let hot_ready = "/api/models/big/variants/Q4_K_M/hot-ready";
    let shown = |state: &str| {
        row(
            "3.5",
            format!("it is {state}"),
            get("/api/storage/models"),
            200,
            json!({ "models": ["<some>", { "model": "big", "variant": "Q4_K_M", "runtime_state": state }] }),
        )
    };
    for (model, variant) in [("big", "Q4_K_M"), ("mid", "Q4_K_M")] {
        snug.load(model, &format!("?variant={variant}")).await.ok();
    }
    table
        .rows([
            row("3.5", "hot ready is set while it is loaded", post(hot_ready), 200, json!({})),
            shown("Loaded"),
            row("3.2", "an unload", post("/api/models/big/unload"), 200, json!({ "status": "unloaded" })),
            row("3.2", "an unload of what is not hot ready", post("/api/models/mid/unload"), 200, json!({})),
        ])
        .await;
    table.eventually(shown("Ready")).await;
    table
        .rows([
            row(
                "3.5",
                "the other left the RAM",
                get("/api/storage/models"),
                200,
                json!({ "models": ["<some>", { "model": "mid", "runtime_state": "Unloaded" }] }),
            ),
            row("3.2", "it is loaded again", post("/api/models/big/load?variant=Q4_K_M"), 200, json!({})),
            shown("Loaded"),
            row("3.2", "a second unload", post("/api/models/big/unload"), 200, json!({})),
            row("3.5", "hot ready is cleared", delete(hot_ready), 200, json!({})),
        ])
        .await;
    table.eventually(shown("Unloaded")).await;
    table.done();
}

#[tokio::test]
async fn flags_and_uses_outlive_a_crash() {
    let stage = shelf();
    let snug = stage.start().await;
    snug.post("/api/models/big/variants/Q8_0/hot-ready", &Value::Null).await.ok();
    snug.post("/api/models/mid/variants/Q4_K_M/protected", &Value::Null).await.ok();
    snug.post("/api/models/mid/pin", &Value::Null).await.ok();
    snug.chat("low", json!({ "max_tokens": 1 })).await.ok();
    let used = eventually("its use is counted", async || {
        let row = snug.get("/api/storage/models/low/variants/Q4_K_M").await.json();
        (row["usage_count"] == 1).then_some(row)
    })
    .await;
    snug.kill();

    let snug = stage.start().await;
    let mut table = Table::of(&snug);
    table
        .rows([
            row(
                "3.5",
                "hot ready outlives a crash",
                get("/api/storage/models/big/variants/Q8_0"),
                200,
                variant(&stage, "big", "Q8_0", true, false),
            ),
            row(
                "3.5",
                "protection outlives a crash",
                get("/api/storage/models/mid/variants/Q4_K_M"),
                200,
                variant(&stage, "mid", "Q4_K_M", false, true),
            ),
            row("3.5", "uses outlive a crash", get("/api/storage/models/low/variants/Q4_K_M"), 200, used),
            row(
                "3.5",
                "a hot ready file is guarded as before",
                delete("/api/models/big/files"),
                409,
                json!({ "hot_ready": true }),
            ),
        ])
        .await;
    table.done();
}

#[tokio::test]
async fn the_limit_is_set_and_kept() {
    let stage = shelf();
    let snug = stage.start().await;
    let mut table = Table::of(&snug);
    let used = snug.get("/api/storage").await.json()["used_by_models_bytes"].as_u64().unwrap_or_default();
    let limit = |bytes: Value| json!({ "limit_bytes": bytes });
    let spare = |bytes: u64| json!({ "storage_limit_bytes": used + bytes, "available_for_models_bytes": bytes });

    table
        .rows([
            row("3.5", "a limit", put("/api/storage/limit").json(limit((used + 1000).into())), 200, spare(1000)),
            row("3.5", "the overview knows it", get("/api/storage"), 200, spare(1000)),
            row(
                "3.5",
                "a limit by POST",
                post("/api/storage/limit").json(limit((used + 2000).into())),
                200,
                spare(2000),
            ),
            row(
                "3.5",
                "a limit below what is used leaves nothing",
                put("/api/storage/limit").json(limit(1.into())),
                200,
                json!({
                    "storage_limit_bytes": 1, "available_for_models_bytes": 0
                }),
            ),
            row("3.5", "and deletes nothing", get("/api/storage/models"), 200, json!({ "total_count": 4 })),
            row(
                "3.5",
                "a limit that is no number",
                put("/api/storage/limit").json(limit("much".into())),
                400,
                error("invalid_request_error"),
            ),
            row(
                "3.5",
                "a limit below 0",
                put("/api/storage/limit").json(limit((-1).into())),
                400,
                error("invalid_request_error"),
            ),
            row(
                "3.5",
                "no limit in the body",
                put("/api/storage/limit").json(json!({})),
                400,
                error("invalid_request_error"),
            ),
            row("3.5", "what was wrong changed nothing", get("/api/storage"), 200, json!({ "storage_limit_bytes": 1 })),
            row(
                "3.5",
                "0 is no limit",
                put("/api/storage/limit").json(limit(0.into())),
                200,
                json!({ "storage_limit_bytes": 0 }),
            ),
        ])
        .await;
    let overview = snug.get("/api/storage").await.json();
    let all_free = overview["available_for_models_bytes"].as_u64() > Some(1 << 20);
    table.holds("3.5", "without a limit all that is free is available", all_free, &overview);
    table
        .row(row(
            "3.5",
            "a limit before a restart",
            put("/api/storage/limit").json(limit((used + 3000).into())),
            200,
            spare(3000),
        ))
        .await;
    table.done();
    snug.kill();
    let snug = stage.start().await;
    let mut table = Table::of(&snug);
    table
        .row(row(
            "3.5",
            "a limit that was set outlives a crash",
            get("/api/storage"),
            200,
            json!({ "storage_limit_bytes": used + 3000 }),
        ))
        .await;
    table.done();
}

#[tokio::test]
async fn cleanup_deletes_what_preview_shows() {
    let files = Files::serve([("fresh-Q4_K_M.gguf", small_model())]).await;
    let stage = configured(&json!({ "storage": { "cleanup_max_age_days": 30 } }));
    let mut stage = stage.model("idle-Q8_0.gguf", &model_of_mib(3)).model("idle-Q4_K_M.gguf", &model_of_mib(2));
    for name in ["hot", "kept", "loaded", "used"] {
        stage = stage.model(&format!("{name}-Q4_K_M.gguf"), &model_of_mib(1));
    }
    make_older(&stage, "idle-Q8_0.gguf", 60 * DAY);
    let snug = stage.start().await;
    add(&snug, [downloadable("fresh", &files, "fresh-Q4_K_M.gguf")]).await;
    snug.post("/api/models/hot/variants/Q4_K_M/hot-ready", &Value::Null).await.ok();
    snug.post("/api/models/kept/variants/Q4_K_M/protected", &Value::Null).await.ok();
    snug.load("loaded", "").await.ok();
    snug.chat("used", json!({ "max_tokens": 1 })).await.ok();
    snug.post("/api/models/used/unload", &Value::Null).await.ok();
    let mut table = Table::of(&snug);
    table
        .eventually(row(
            "3.5",
            "a use is counted",
            get("/api/storage/models/used/variants/Q4_K_M"),
            200,
            json!({ "usage_count": 1 }),
        ))
        .await;
    table.row(row("3.5", "a download", post("/api/models/fresh/download"), 202, json!({}))).await;
    table
        .eventually(row(
            "3.5",
            "a download is dated",
            get("/api/storage/models"),
            200,
            json!({
                "models": ["<some>", { "model": "fresh", "downloaded_at": "<time>" }]
            }),
        ))
        .await;

    // All came here just now, whenever they were written.
    let none = json!({ "candidate_count": 0, "total_reclaimable_bytes": 0, "candidates": [] });
    let nothing = json!({ "freed_bytes": 0, "deleted_count": 0 });
    let (preview, run) = ("/api/storage/cleanup/preview", "/api/storage/cleanup/run");
    table
        .rows([
            row("3.5", "nothing is older than 30 days", get(preview), 200, none.clone()),
            row("3.5", "a cleanup of nothing", post(run), 200, nothing.clone()),
        ])
        .await;

    let bytes = |name: &str| size(&stage.models_dir().join(name));
    let candidate = |model: &str, variant: &str, uses: u64| {
        let filename = format!("{model}-{variant}.gguf");
        json!({
            "model": model,
            "variant": variant,
            "filename": filename,
            "file_size_bytes": bytes(&filename),
            "last_used_at": "<time>",
            "usage_count": uses
        })
    };
    let free = ["idle-Q8_0.gguf", "idle-Q4_K_M.gguf", "used-Q4_K_M.gguf", "fresh-Q4_K_M.gguf"];
    let reclaimable: u64 = free.iter().map(|name| bytes(name)).sum();
    let policy = |policy: Value| put("/api/storage/cleanup/config").json(policy);
    table
        .rows([
            row("3.5", "an age of nothing", policy(json!({ "max_age_hours": 0 })), 200, json!({ "max_age_hours": 0 })),
            row(
                "3.5",
                "a preview shows what is old, free and idle",
                get(preview),
                200,
                json!({
                    "candidate_count": 4,
                    "total_reclaimable_bytes": reclaimable,
                    "candidates": ["<some>",
                        candidate("idle", "Q8_0", 0), candidate("idle", "Q4_K_M", 0),
                        candidate("used", "Q4_K_M", 1), candidate("fresh", "Q4_K_M", 0)
                    ]
                }),
            ),
            row("3.5", "and deletes nothing", get("/api/storage/models"), 200, json!({ "total_count": 7 })),
            row(
                "3.5",
                "a cleanup deletes the same",
                post(run),
                200,
                json!({ "freed_bytes": reclaimable, "deleted_count": 4 }),
            ),
        ])
        .await;
    let kept = ["hot-Q4_K_M.gguf", "kept-Q4_K_M.gguf", "loaded-Q4_K_M.gguf"];
    let left = |names: &[&str]| names.iter().filter(|name| stage.models_dir().join(name).exists()).count();
    table.holds(
        "3.5",
        "these and no others are gone",
        (left(&free), left(&kept)) == (0, 3),
        format!("{} and {}", left(&free), left(&kept)),
    );
    let (hot, protected) = (bytes("hot-Q4_K_M.gguf"), bytes("kept-Q4_K_M.gguf"));
    table
        .rows([
            row("3.5", "nothing is left to clean", get(preview), 200, none.clone()),
            row("3.5", "a second cleanup", post(run), 200, nothing),
            row(
                "3.5",
                "protection need not be respected",
                policy(json!({ "respect_protected": false })),
                200,
                json!({ "respect_protected": false }),
            ),
            row(
                "3.5",
                "then a protected file goes",
                post(run),
                200,
                json!({ "freed_bytes": protected, "deleted_count": 1 }),
            ),
            row(
                "3.5",
                "hot ready need not be respected",
                policy(json!({ "respect_hot_ready": false })),
                200,
                json!({ "respect_hot_ready": false }),
            ),
        ])
        .await;
    table
        .eventually(row(
            "3.5",
            "what is hot ready lies in RAM",
            get("/api/storage/models"),
            200,
            json!({ "models": ["<some>", { "model": "hot", "runtime_state": "Ready" }] }),
        ))
        .await;
    table.row(row("3.5", "what is in RAM or loaded stays whatever the policy", get(preview), 200, none.clone())).await;
    table
        .row(row("3.5", "hot ready, cleared", delete("/api/models/hot/variants/Q4_K_M/hot-ready"), 200, json!({})))
        .await;
    table
        .eventually(row(
            "3.5",
            "once it is not, its file is a candidate",
            get(preview),
            200,
            json!({ "candidates": [candidate("hot", "Q4_K_M", 0)] }),
        ))
        .await;
    table
        .rows([
            row("3.5", "and goes", post(run), 200, json!({ "freed_bytes": hot, "deleted_count": 1 })),
            row("3.5", "what is loaded stays", get(preview), 200, none),
        ])
        .await;
    table.holds("3.5", "its file is there", left(&kept) == 1, left(&kept));
    table.done();
}

#[tokio::test]
async fn the_cleanup_policy_is_changed_field_by_field() {
    const POLICY: &str = "/api/storage/cleanup/config";
    let stage = fake();
    let snug = stage.start().await;
    let mut table = Table::of(&snug);
    let mut policy = json!({
        "enabled": true,
        "max_age_hours": 720,
        "check_interval_hours": 24,
        "target_free_percent": 20.0,
        "respect_hot_ready": true,
        "respect_protected": true
    });
    table.row(row("3.5", "the policy is that of the document", get(POLICY), 200, policy.clone())).await;
    for (field, value) in [
        ("max_age_hours", json!(48)),
        ("check_interval_hours", json!(6)),
        ("target_free_percent", json!(12.5)),
        ("respect_hot_ready", json!(false)),
        ("respect_protected", json!(false)),
        ("enabled", json!(false)),
    ] {
        policy[field] = value.clone();
        let body = json!({ field: value });
        table.row(row("3.5", format!("`{field}` is changed alone"), put(POLICY).json(body), 200, policy.clone())).await;
        table.row(row("3.5", "and is so from then on", get(POLICY), 200, policy.clone())).await;
    }
    table
        .row(row(
            "3.5",
            "the overview knows whether cleanup is on",
            get("/api/storage"),
            200,
            json!({ "cleanup_enabled": false }),
        ))
        .await;
    for (field, value) in [
        ("enabled", json!("yes")),
        ("max_age_hours", json!("old")),
        ("max_age_hours", json!(-1)),
        ("check_interval_hours", json!(1.5)),
        ("target_free_percent", json!(101)),
        ("respect_hot_ready", json!(1)),
    ] {
        let shape = json!({ "error": { "message": format!("<~{field}>"), "type": "invalid_request_error" } });
        let body = json!({ field: value, "respect_protected": true });
        table.row(row("3.5", format!("`{field}` of another kind"), put(POLICY).json(body), 400, shape)).await;
    }
    table
        .rows([
            row("3.5", "nothing to change", put(POLICY).json(json!({})), 200, policy.clone()),
            row("3.5", "what was wrong changed nothing", get(POLICY), 200, policy),
        ])
        .await;
    table.done();
}
