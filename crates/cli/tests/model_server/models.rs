//! Section 3.2: models are loaded, unloaded, pinned and downloaded.

use serde_json::{Value, json};
use testkit::gguf;

use crate::files::Files;
use crate::shape::STATES;
use crate::stage::{add, configured, downloadable, fake, small_model};
use crate::table::{Table, delete, error, get, post, put, row};

/// A row of `/api/models`.
fn available(model: &str, variant: &str) -> Value {
    json!({
        "model": model,
        "variant": variant,
        "can_run": "<bool>",
        "max_context_size": "<integer>",
        "limiting_factor": "<|vram|ram|context>",
        "estimated_vram_mb": "<integer>",
        "gpu_indices": ["<any>", "<integer>"]
    })
}

/// A row of `/api/models/loaded`.
fn tracked(model: &str, state: &str, pinned: bool) -> Value {
    json!({
        "model": model,
        "variant": "Q4_K_M",
        "state": state,
        "vram_usage_mb": "<integer>",
        "ram_usage_mb": "<integer>",
        "estimated_vram_mb": "<integer>",
        "context_size": "<integer>",
        "gpu_indices": ["<any>", "<integer>"],
        "pinned": pinned
    })
}

fn status(status: &str, model: &str) -> Value {
    json!({ "status": status, "model": model })
}

#[tokio::test]
async fn models_are_loaded_and_unloaded() {
    let model = gguf::ChatModel::default().file();
    let stage = fake().model("tiny-Q4_K_M.gguf", &model).model("tiny-Q8_0.gguf", &model);
    let stage = stage.model("other-Q4_K_M.gguf", &model);
    let snug = stage.start().await;
    add(&snug, [json!({ "model": "gpt-4", "provider": "openai" })]).await;
    let mut table = Table::of(&snug);
    let loaded = |rows: Value| json!({ "models": rows });

    table
        .rows([
            row("3.2", "all available models, with what fits", get("/api/models"), 200, json!({
                "models": ["<some>", available("tiny", "Q4_K_M"), available("tiny", "Q8_0"), available("other", "Q4_K_M")]
            })),
            row("3.2", "a small model can run, and says with how much context", get("/api/models"), 200, json!({
                "models": ["<some>", { "model": "tiny", "variant": "Q4_K_M", "can_run": true, "max_context_size": 2048, "limiting_factor": "" }]
            })),
            row("3.2", "a model of a cloud can run and needs nothing here", get("/api/models"), 200, json!({
                "models": ["<some>", {
                    "model": "gpt-4", "variant": "", "can_run": true, "max_context_size": 0, "limiting_factor": "",
                    "estimated_vram_mb": 0, "gpu_indices": []
                }]
            })),
            row("3.2", "nothing is loaded at first", get("/api/models/loaded"), 200, json!({ "models": "<list>" })),
            row("3.2", "a load", post("/api/models/tiny/load?variant=Q4_K_M"), 200, status("loaded", "tiny")),
            row("3.2", "what is loaded", get("/api/models/loaded"), 200, loaded(json!([tracked("tiny", "Loaded", false)]))),
            row("3.2", "a load of what is loaded", post("/api/models/tiny/load?variant=Q4_K_M"), 200, status("loaded", "tiny")),
            row("3.2", "a load of another variant loads that one", post("/api/models/tiny/load?variant=Q8_0"), 200, json!({
                "status": "loaded", "model": "tiny", "variant?": "Q8_0"
            })),
            row("3.2", "and it is loaded", get("/api/models/loaded"), 200, json!({
                "models": ["<some>", { "model": "tiny", "variant": "Q8_0", "state": "Loaded" }]
            })),
            row("3.2", "every model is in one of five states", get("/api/models/loaded"), 200, json!({
                "models": ["<each>", { "state": STATES }]
            })),
            row("3.2", "without `variant` one is selected", post("/api/models/other/load"), 200, status("loaded", "other")),
            row("3.2", "`context` is the size of the context", post("/api/models/other/load?context=1024"), 200, status("loaded", "other")),
            row("3.2", "and it is loaded with it", get("/api/models/loaded"), 200, json!({
                "models": ["<some>", { "model": "other", "context_size": 1024 }]
            })),
            row("3.2", "a model of a cloud counts as loaded at once", post("/api/models/gpt-4/load"), 200, status("loaded", "gpt-4")),
            row("3.2", "an unload", post("/api/models/other/unload"), 200, status("unloaded", "other")),
        ])
        .await;
    let rows = snug.loaded().await;
    let gone = rows.iter().all(|row| row["model"] != "other" || row["state"] == "Unloaded");
    table.holds("3.2", "what is unloaded is not loaded any more", gone, format!("{rows:?}"));

    table
        .rows([
            row(
                "3.2",
                "an unload of what is not loaded",
                post("/api/models/other/unload"),
                200,
                status("unloaded", "other"),
            ),
            row(
                "3.2",
                "a model that is not loaded can be pinned",
                post("/api/models/other/pin"),
                200,
                status("pinned", "other"),
            ),
            row("3.2", "and unpinned", post("/api/models/other/unpin"), 200, status("unpinned", "other")),
            row("3.2", "a load before it is pinned", post("/api/models/other/load"), 200, status("loaded", "other")),
            row("3.2", "a pin", post("/api/models/other/pin"), 200, status("pinned", "other")),
            row(
                "3.2",
                "what is pinned says so",
                get("/api/models/loaded"),
                200,
                json!({ "models": ["<some>", tracked("other", "Loaded", true)] }),
            ),
            row(
                "3.2",
                "an unload of a pinned model says the same",
                post("/api/models/other/unload"),
                200,
                status("unloaded", "other"),
            ),
        ])
        .await;
    table
        .eventually(row(
            "3.2",
            "a pinned model moves to Ready instead",
            get("/api/models/loaded"),
            200,
            json!({
                "models": ["<some>", tracked("other", "Ready", true)]
            }),
        ))
        .await;
    table
        .rows([
            row("3.2", "a Ready model is loaded again", post("/api/models/other/load"), 200, status("loaded", "other")),
            row("3.2", "an unpin", post("/api/models/other/unpin"), 200, status("unpinned", "other")),
            row(
                "3.2",
                "what is unpinned says so",
                get("/api/models/loaded"),
                200,
                json!({ "models": ["<some>", tracked("other", "Loaded", false)] }),
            ),
            row(
                "3.2",
                "an unload of what was unpinned",
                post("/api/models/other/unload"),
                200,
                status("unloaded", "other"),
            ),
        ])
        .await;
    let rows = snug.loaded().await;
    let gone = rows.iter().all(|row| row["model"] != "other" || row["state"] == "Unloaded");
    table.holds("3.2", "an unpinned model does not stay Ready", gone, format!("{rows:?}"));

    for action in ["unload", "pin", "unpin", "download"] {
        let request = post(format!("/api/models/unknown/{action}"));
        let statement = format!("a {action} of an unknown model");
        table.row(row("3.2", statement, request, [400, 404], error("<invalid_request_error|not_found_error>"))).await;
    }
    table
        .rows([
            row(
                "3.2",
                "the download of an unknown model",
                get("/api/models/unknown/download"),
                [400, 404],
                error("<invalid_request_error|not_found_error>"),
            ),
            row(
                "3.2",
                "an unknown parameter of a load",
                post("/api/models/tiny/load?contxt=1"),
                400,
                error("invalid_request_error"),
            ),
            row(
                "3.2",
                "a context that is no number",
                post("/api/models/tiny/load?context=large"),
                400,
                error("invalid_request_error"),
            ),
        ])
        .await;
    table.done();
}

/// The reasons that an engine's last lines tell, whether a program can do something about them, and what.
/// `context_too_large` is told before an engine is started.
const REASONS: [(&str, bool, &str); 7] = [
    ("file_not_found", true, "redownload"),
    ("file_corrupt", true, "delete_and_redownload"),
    ("insufficient_vram", true, "<reduce_context|use_smaller_variant>"),
    ("insufficient_ram", true, "<reduce_context|use_smaller_variant>"),
    ("unsupported_arch", false, "update_server"),
    ("backend_error", false, "check_logs"),
    ("unknown", false, "check_logs"),
];

#[tokio::test]
async fn a_load_that_fails_says_why() {
    let mut stage = fake();
    for (reason, ..) in REASONS {
        stage = stage.fake_model(&format!("{reason}-Q4_K_M.gguf"), &format!("--fake-fail {reason}"));
    }
    let long = gguf::ChatModel { context: 1 << 31, ..gguf::ChatModel::default() }.file();
    let stage = stage.model("tiny-Q4_K_M.gguf", &gguf::ChatModel::default().file()).model("long-Q4_K_M.gguf", &long);
    let stage = stage.arguments(&["--ram", "1G"]);
    let snug = stage.start().await;
    let mut table = Table::of(&snug);

    let refused = |model: &str, variant: Value, context: u64, reason: &str, recoverable: bool, action: &str| {
        json!({
            "error": {
                "message": "<text>",
                "type": "invalid_request_error",
                "code": "model_load_error",
                "param": "model",
                "details": {
                    "model": model,
                    "variant": variant,
                    "context_requested": if context == 0 { json!("<integer>") } else { json!(context) },
                    "error_code": "model_load_error",
                    "reason": reason,
                    "recoverable": recoverable,
                    "action": action,
                    "suggestion": "<text>",
                    "llama_log": "<string>"
                }
            }
        })
    };
    for (reason, recoverable, action) in REASONS {
        table
            .row(row(
                "3.2",
                format!("a load that fails for {reason}"),
                post(format!("/api/models/{reason}/load?variant=Q4_K_M&context=1024")),
                400,
                refused(reason, "Q4_K_M".into(), 1024, reason, recoverable, action),
            ))
            .await;
    }
    let answer = snug.post("/api/models/unsupported_arch/load", &Value::Null).await.json();
    let log = &answer["error"]["details"]["llama_log"];
    let told = log.as_str().is_some_and(|log| log.contains("unknown model architecture: 'unheard-of'"));
    table.holds("3.2", "llama_log holds what the engine said", told, log);

    let unknown_model =
        json!({ "error": { "type": "invalid_request_error", "code": "model_not_found", "param": "model" } });
    table
        .rows([
            row(
                "3.2",
                "a context beyond what the model has",
                post("/api/models/tiny/load?context=1000000"),
                400,
                refused("tiny", "<string>?".into(), 1_000_000, "context_too_large", true, "reduce_context"),
            ),
            row(
                "3.2",
                "a context beyond what the machine has memory for",
                post("/api/models/long/load?context=1000000000"),
                400,
                refused("long", "<string>?".into(), 1_000_000_000, "context_too_large", true, "reduce_context"),
            ),
            row("3.2", "a load of an unknown model", post("/api/models/nobody/load"), 400, unknown_model.clone()),
            row("3.2", "a load of an unknown variant", post("/api/models/tiny/load?variant=Q2_K"), 400, unknown_model),
        ])
        .await;
    std::fs::remove_file(stage.models_dir().join("tiny-Q4_K_M.gguf")).unwrap();
    let answer = snug.load("tiny", "").await;
    let code = &answer.json()["error"]["code"];
    let told = answer.status == 400 && (code == "model_load_error" || code == "model_not_found");
    table.holds("3.2", "a load of a file that went away is refused", told, format!("{answer:?}"));
    table.done();
}

#[tokio::test]
async fn models_are_downloaded() {
    let names = ["one-Q4_K_M.gguf", "two-Q4_K_M.gguf", "three-Q4_K_M.gguf", "bad-Q4_K_M.gguf"];
    let files = Files::serve(names.map(|name| (name, small_model()))).await;
    let stage = configured(&json!({ "max_concurrent_downloads": 1 }));
    let stage = stage.model("here-Q4_K_M.gguf", &gguf::ChatModel::default().file());
    let snug = stage.start().await;
    let mut bad = downloadable("bad", &files, "bad-Q4_K_M.gguf");
    bad["variants"][0]["download"]["sha256"] = "0".repeat(64).into();
    add(
        &snug,
        [
            downloadable("one", &files, "one-Q4_K_M.gguf"),
            downloadable("two", &files, "two-Q4_K_M.gguf"),
            downloadable("three", &files, "three-Q4_K_M.gguf"),
            bad,
            json!({ "model": "gpt-4", "provider": "openai" }),
        ],
    )
    .await;
    for name in ["one", "two", "three"] {
        files.hold(&format!("{name}-Q4_K_M.gguf"));
    }
    let total = files.size("one-Q4_K_M.gguf");
    let progress = |model: &str| {
        json!({
            "model": model,
            "state": "Downloading",
            "bytes_downloaded": "<integer>",
            "total_bytes": "<integer>",
            "percent_complete": "<number>",
            "speed_mbps": "<number>",
            "eta_seconds": "<integer>?"
        })
    };
    let idle = |model: &str, state: &str| json!({ "model": model, "state": state, "bytes_downloaded": "<absent>", "percent_complete": "<absent>" });
    let mut table = Table::of(&snug);

    table
        .rows([
            row(
                "3.2",
                "a model that is not here and not wanted yet",
                get("/api/models/one/download"),
                200,
                idle("one", "Unloaded"),
            ),
            row(
                "3.2",
                "a download begins",
                post("/api/models/one/download?variant=Q4_K_M"),
                202,
                status("downloading", "one"),
            ),
        ])
        .await;
    let halfway = table
        .eventually(row("3.2", "a download tells how far it is", get("/api/models/one/download"), 200, {
            let mut shape = progress("one");
            shape["total_bytes"] = total.into();
            shape["bytes_downloaded"] = (total / 2).into();
            shape
        }))
        .await;
    let percent = halfway["percent_complete"].as_f64().unwrap_or_default();
    table.holds("3.2", "half of it is 50 percent", (percent - 50.0).abs() < 0.2, &halfway);
    table
        .rows([
            row("3.5", "active downloads", get("/api/downloads"), 200, {
                let mut shape = progress("one");
                shape["variant"] = "Q4_K_M".into();
                json!({ "downloads": [shape] })
            }),
            row("3.2", "a download that is under way already", post("/api/models/one/download?variant=Q4_K_M"), 202, status("downloading", "one")),
            row("3.2", "what is downloaded is tracked", get("/api/models/loaded"), 200, json!({
                "models": ["<some>", tracked("one", "Downloading", false)]
            })),
            row("3.2", "a load of what is being downloaded", post("/api/models/one/load"), 202, status("downloading", "one")),
            row("3.2", "a load of what is not here downloads it", post("/api/models/two/load"), 202, status("downloading", "two")),
            row("2", "downloads beyond max_concurrent_downloads wait, and are shown", get("/api/downloads"), 200, json!({
                "downloads": ["<some>", { "model": "one", "state": "Downloading" }, { "model": "two", "state": "Downloading" }]
            })),
        ])
        .await;
    table.holds(
        "2",
        "max_concurrent_downloads is kept to",
        files.asked("two-Q4_K_M.gguf") == 0,
        "a request for the second file",
    );
    let part = std::fs::exists(stage.models_dir().join("one-Q4_K_M.gguf")).unwrap();
    table.holds("3.2", "a file has its name only once it is whole", !part, "it under its name");

    files.release("one-Q4_K_M.gguf");
    table
        .eventually(row(
            "3.2",
            "a download that a load waits for goes on into the load",
            get("/api/models/loaded"),
            200,
            json!({
                "models": ["<some>", tracked("one", "Loaded", false)]
            }),
        ))
        .await;
    table
        .rows([
            row(
                "3.2",
                "the state of what is not being downloaded",
                get("/api/models/one/download"),
                200,
                idle("one", "Loaded"),
            ),
            row(
                "3.2",
                "a download of what is here",
                post("/api/models/one/download?variant=Q4_K_M"),
                200,
                status("already_available", "one"),
            ),
            row(
                "3.2",
                "a download of a file that was put here",
                post("/api/models/here/download"),
                200,
                status("already_available", "here"),
            ),
            row(
                "3.2",
                "a download of a model of a cloud",
                post("/api/models/gpt-4/download"),
                200,
                status("already_available", "gpt-4"),
            ),
            row(
                "3.2",
                "a download of an unknown variant",
                post("/api/models/one/download?variant=Q2_K"),
                [400, 404],
                error("<invalid_request_error|not_found_error>"),
            ),
        ])
        .await;
    files.release("two-Q4_K_M.gguf");
    table
        .eventually(row(
            "3.5",
            "what is done is no active download",
            get("/api/downloads"),
            200,
            json!({ "downloads": [] }),
        ))
        .await;
    table
        .rows([row(
            "3.2",
            "a download without a variant",
            post("/api/models/three/download"),
            202,
            status("downloading", "three"),
        )])
        .await;
    files.release("three-Q4_K_M.gguf");
    table
        .eventually(row(
            "3.2",
            "a downloaded model waits to be loaded",
            get("/api/models/three/download"),
            200,
            json!({
                "model": "three", "state": "<Unloaded|Ready>", "bytes_downloaded": "<absent>"
            }),
        ))
        .await;
    let whole = std::fs::read(stage.models_dir().join("three-Q4_K_M.gguf")).unwrap_or_default() == small_model();
    table.holds("3.3", "a download has the file name of its config", whole, "another file, or none");

    table
        .row(row(
            "3.3",
            "a download with another hash begins",
            post("/api/models/bad/download"),
            202,
            status("downloading", "bad"),
        ))
        .await;
    table
        .eventually(row(
            "3.3",
            "and ends, and says why",
            get("/api/models/bad/download"),
            200,
            json!({ "model": "bad", "state": "Unloaded", "error": "<~sha256>" }),
        ))
        .await;
    let all = "/api/downloads?failed=true";
    let failed = json!({ "model": "bad", "state": "Unloaded", "phase": "failed", "error": "<~sha256>" });
    table
        .rows([
            row("3.5", "what failed is not active", get("/api/downloads"), 200, json!({ "downloads": [] })),
            row("3.5", "what failed is shown if asked for", get(all), 200, json!({ "downloads": [failed] })),
            row("3.5", "until it is dropped", delete("/api/models/bad/download"), 200, json!({ "model": "bad" })),
            row("3.5", "and then is not", get(all), 200, json!({ "downloads": [] })),
        ])
        .await;
    let there = std::fs::exists(stage.models_dir().join("bad-Q4_K_M.gguf")).unwrap();
    table.holds("3.3", "a file with another hash is not kept", !there, "the file");
    table.done();
}

/// Bytes; less than the smallest model has.
const LIMIT: u64 = 100_000;

#[tokio::test]
async fn what_does_not_fit_on_disk_is_refused() {
    let files = Files::serve([("large-Q4_K_M.gguf", small_model())]).await;
    let stage = fake();
    let snug = stage.start().await;
    let mut large = downloadable("large", &files, "large-Q4_K_M.gguf");
    large["variants"][0]["file_size_mb"] = 4680.into();
    add(&snug, [large]).await;
    let mut table = Table::of(&snug);
    table
        .row(row("3.5", "a limit", put("/api/storage/limit").json(json!({ "limit_bytes": LIMIT })), 200, json!({})))
        .await;

    let mut seen = vec![];
    for (statement, request) in [
        ("a download that does not fit within the limit", post("/api/models/large/download")),
        ("a load that does not fit within the limit", post("/api/models/large/load")),
    ] {
        let body = table.row(row("3.2", statement, request, 507, json!({ "error": { "message": "<text>" } }))).await;
        // The document does not say where in the body they are.
        let figure = |name: &str| [&body[name], &body["error"]["details"][name]].into_iter().find_map(Value::as_u64);
        let told = figure("available_bytes") == Some(LIMIT) && figure("storage_limit_bytes") == Some(LIMIT);
        table.holds("3.2", &format!("{statement}: what is available, and the limit"), told, &body);
        let required = figure("required_bytes").is_some_and(|bytes| bytes > LIMIT);
        table.holds("3.2", &format!("{statement}: what it would take"), required, &body);
        seen.push(body["error"]["type"].clone());
    }
    table.holds("3.2", "both are told in the same form", seen[0] == seen[1], format!("{seen:?}"));
    table.holds("3.2", "nothing was asked for", files.asked("large-Q4_K_M.gguf") == 0, "a request");
    table.row(row("3.5", "nothing is being downloaded", get("/api/downloads"), 200, json!({ "downloads": [] }))).await;
    table.done();
}
