//! Section 3.3: model configs are added, merged, shown and removed while snug runs.

use serde_json::{Value, json};
use testkit::gguf;

use crate::stage::{beside, fake};
use crate::table::{Table, delete, error, get, post, put, row};

const CONFIG: &str = "/api/models/config";

/// Everything that a config can say, in the document's order.
fn every_field() -> Value {
    json!({
        "model": "everything",
        "provider": "llama",
        "ranking": 75,
        "mode": "chat",
        "api_base": "http://127.0.0.1:9/v1",
        "file_path": "/models/everything.gguf",
        "context_window": 32768,
        "max_tokens": 4096,
        "max_input_tokens": 28672,
        "max_output_tokens": 2048,
        "pricing": { "prompt_token_cost": 0.00015, "completion_token_cost": 0.0006 },
        "hardware_requirements": { "min_system_ram_mb": 16, "parameter_count": "7B" },
        "context_scaling": { "base_context": 4096, "max_context": 32768, "vram_per_1k_context_mb": 64 },
        "variants": [
            {
                "quantization": "Q4_K_M",
                "file_size_mb": 4680,
                "min_vram_mb": 5120,
                "recommended_vram_mb": 6144,
                "download": {
                    "url": "http://127.0.0.1:9/everything-Q4_K_M.gguf",
                    "sha256": "a".repeat(64),
                    "filename": "everything-Q4_K_M.gguf"
                }
            },
            {
                "quantization": "Q8_0",
                "file_size_mb": 7700,
                "min_vram_mb": 8192,
                "recommended_vram_mb": 10240,
                "download": {
                    "url": "http://127.0.0.1:9/everything-Q8_0.gguf",
                    "sha256": "b".repeat(64),
                    "filename": "everything-Q8_0.gguf"
                }
            }
        ]
    })
}

fn mini() -> Value {
    json!({
        "model": "gpt-4o-mini",
        "provider": "openai",
        "ranking": 80,
        "max_tokens": 16384,
        "context_window": 128_000,
        "pricing": { "prompt_token_cost": 0.00015, "completion_token_cost": 0.0006 }
    })
}

fn many(models: Value) -> Value {
    json!({ "models": models })
}

#[tokio::test]
async fn configs_are_added_all_or_none() {
    let stage = fake();
    let snug = stage.start().await;
    let mut table = Table::of(&snug);
    let refused = || error("invalid_request_error");
    let not_found = || error("not_found_error");

    table
        .rows([
            row("3.3", "one config is added", post(CONFIG).json(mini()), 201, json!({ "added": ["gpt-4o-mini"] })),
            row("3.3", "it is shown with its defaults", get(format!("{CONFIG}/gpt-4o-mini")), 200, json!({
                "model": "gpt-4o-mini", "provider": "openai", "mode": "chat", "ranking": 80,
                "context_window": 128_000, "max_tokens": 16384, "max_input_tokens": 3072, "max_output_tokens": 1024,
                "pricing": { "prompt_token_cost": 0.00015, "completion_token_cost": 0.0006 }
            })),
            row("3.3", "a config with every field is added", post(CONFIG).json(every_field()), 201, json!({ "added": ["everything"] })),
            row("3.3", "and every field is kept", get(format!("{CONFIG}/everything")), 200, every_field()),
            row("3.3", "several at once, one with a local file", post(CONFIG).json(many(json!([
                { "model": "gpt-5-mini", "provider": "openai", "ranking": 80 },
                { "model": "my-local-model", "provider": "llama", "file_path": "/models/custom.gguf" }
            ]))), 201, json!({ "added": ["gpt-5-mini", "my-local-model"] })),
            row("3.3", "the document's local model", post(CONFIG).json(json!({
                "model": "my-qwen-7b", "provider": "llama",
                "file_path": "/models/Qwen2.5-7B-Instruct-Q4_K_M.gguf", "context_window": 32768,
                "variants": [{
                    "quantization": "Q4_K_M", "file_size_mb": 4680, "min_vram_mb": 5120,
                    "download": {
                        "url": "https://huggingface.co/bartowski/Qwen2.5-7B-Instruct-GGUF/resolve/main/Qwen2.5-7B-Instruct-Q4_K_M.gguf",
                        "sha256": "c".repeat(64),
                        "filename": "Qwen2.5-7B-Instruct-Q4_K_M.gguf"
                    }
                }]
            })), 201, json!({ "added": ["my-qwen-7b"] })),
            row("3.3", "what is missing gets its default", get(format!("{CONFIG}/my-local-model")), 200, json!({
                "mode": "chat", "ranking": 50, "file_path": "/models/custom.gguf"
            })),
            row("3.3", "a model that exists is refused", post(CONFIG).json(mini()), 409, refused()),
            row("3.3", "one that exists refuses all", post(CONFIG).json(many(json!([
                { "model": "fresh", "provider": "openai" }, { "model": "gpt-4o-mini", "provider": "openai" }
            ]))), 409, refused()),
            row("3.3", "and none of them is added", get(format!("{CONFIG}/fresh")), 404, not_found()),
            row("3.3", "one that is wrong refuses all", post(CONFIG).json(many(json!([
                { "model": "fresh", "provider": "openai" }, { "model": "wrong" }
            ]))), 400, refused()),
            row("3.3", "and none of these is added either", get(format!("{CONFIG}/fresh")), 404, not_found()),
            row("3.3", "the same model twice in one request", post(CONFIG).json(many(json!([
                { "model": "twice", "provider": "openai" }, { "model": "twice", "provider": "mock" }
            ]))), [400, 409], refused()),
            row("3.3", "adds neither", get(format!("{CONFIG}/twice")), 404, not_found()),
        ])
        .await;

    for provider in ["openai", "anthropic", "deepseek", "openrouter", "llama", "mock"] {
        let model = format!("by-{provider}");
        let mut config = json!({ "model": model, "provider": provider });
        if provider == "llama" {
            config["file_path"] = "/models/by.gguf".into();
        }
        let statement = format!("the provider {provider}");
        table.row(row("3.3", statement, post(CONFIG).json(config), 201, json!({ "added": [model] }))).await;
        let statement = format!("a model by {provider} is among all models");
        table.row(row("3.1", statement, get("/v1/models"), 200, json!({ "data": ["<some>", { "id": model }] }))).await;
    }

    let with = |field: &str, value: Value| {
        let mut config = json!({ "model": "wrong", "provider": "openai" });
        config[field] = value;
        config
    };
    for (statement, body, told) in [
        ("a config without a model", json!({ "provider": "openai" }), "model"),
        ("a config without a provider", json!({ "model": "wrong" }), "provider"),
        ("an empty model", with("model", "".into()), "model"),
        ("a model that is no text", with("model", 1.into()), "model"),
        ("an unknown provider", with("provider", "nobody".into()), "provider"),
        ("a ranking above 100", with("ranking", 101.into()), "ranking"),
        ("a ranking below 0", with("ranking", (-1).into()), "ranking"),
        ("a ranking that is no number", with("ranking", "high".into()), "ranking"),
        ("a context that is no number", with("context_window", "large".into()), "context_window"),
        ("an unknown mode", with("mode", "singing".into()), "mode"),
        ("variants that are no list", with("variants", "Q4_K_M".into()), "variants"),
        ("pricing that is no object", with("pricing", 1.into()), "pricing"),
        ("a name that the routes use: loaded", with("model", "loaded".into()), "loaded"),
        ("a name that the routes use: config", with("model", "config".into()), "config"),
    ] {
        let shape = json!({ "error": { "message": format!("<~{told}>"), "type": "invalid_request_error" } });
        table.row(row("3.3", statement, post(CONFIG).json(body.clone()), 400, shape.clone())).await;
        table.row(row("3.3", format!("{statement}, by PUT"), put(CONFIG).json(body), 400, shape)).await;
    }
    let variant = |download: Value| {
        let mut config = every_field();
        config["model"] = "wrong".into();
        config["variants"][1]["download"] = download;
        config
    };
    for (statement, download, told) in [
        ("a download without a URL", json!({ "filename": "a.gguf" }), "variants[1].download.url"),
        ("a URL that is none", json!({ "url": "elsewhere", "filename": "a.gguf" }), "variants[1].download.url"),
        ("a URL of a file", json!({ "url": "file:///etc/passwd", "filename": "a.gguf" }), "variants[1].download.url"),
        (
            "a file name that leads elsewhere",
            json!({ "url": "http://127.0.0.1:9/a.gguf", "filename": "../../a.gguf" }),
            "variants[1].download.filename",
        ),
        (
            "a file name with a folder",
            json!({ "url": "http://127.0.0.1:9/a.gguf", "filename": "/etc/a.gguf" }),
            "variants[1].download.filename",
        ),
    ] {
        let shape = json!({ "error": { "message": format!("<~{told}>"), "type": "invalid_request_error" } });
        table.row(row("3.3", statement, post(CONFIG).json(variant(download)), 400, shape)).await;
    }
    for (statement, body) in [
        ("a body that is no JSON", "{\"model\""),
        ("an empty body", ""),
        ("a list in place of an object", "[]"),
        ("a text in place of an object", "\"model\""),
        ("models that are no list", "{\"models\": {}}"),
        ("models that are no objects", "{\"models\": [1]}"),
    ] {
        for (method, request) in [("POST", post(CONFIG)), ("PUT", put(CONFIG))] {
            let request = request.body("application/json", body);
            table.row(row("5", format!("{statement}, by {method}"), request, 400, refused())).await;
        }
    }
    table.row(row("3.3", "nothing wrong was added", get(format!("{CONFIG}/wrong")), 404, not_found())).await;
    table.done();
}

#[tokio::test]
async fn configs_are_merged_shown_and_removed() {
    let stage = fake();
    let local = beside(&stage, "elsewhere.gguf");
    gguf::ChatModel::default().file().write(&local).unwrap();
    let snug = stage.start().await;
    let mut table = Table::of(&snug);
    let named = |model: &str| get(format!("{CONFIG}/{model}"));

    let mut kept = every_field();
    kept["ranking"] = 95.into();
    table
        .rows([
            row(
                "3.3",
                "PUT adds what is new",
                put(CONFIG).json(mini()),
                200,
                json!({ "updated": [], "added": ["gpt-4o-mini"] }),
            ),
            row(
                "3.3",
                "PUT updates what is there and adds what is not",
                put(CONFIG).json(many(json!([
                    { "model": "gpt-4o-mini", "provider": "openai", "ranking": 95 },
                    { "model": "my-local-model", "provider": "llama", "file_path": local }
                ]))),
                200,
                json!({ "updated": ["gpt-4o-mini"], "added": ["my-local-model"] }),
            ),
            row(
                "3.3",
                "what an update does not name stays",
                named("gpt-4o-mini"),
                200,
                json!({
                    "ranking": 95, "context_window": 128_000, "max_tokens": 16384,
                    "pricing": { "prompt_token_cost": 0.00015, "completion_token_cost": 0.0006 }
                }),
            ),
            row(
                "3.3",
                "the same with every field",
                put(CONFIG).json(every_field()),
                200,
                json!({ "added": ["everything"] }),
            ),
            row(
                "3.3",
                "one of which is updated",
                put(CONFIG).json(json!({ "model": "everything", "provider": "llama", "ranking": 95 })),
                200,
                json!({
                    "updated": ["everything"], "added": []
                }),
            ),
            row("3.3", "and all others stay", named("everything"), 200, kept),
            row(
                "3.3",
                "an update without ranking does not reset it",
                put(CONFIG).json(json!({
                    "model": "gpt-4o-mini", "provider": "openai", "max_tokens": 1000
                })),
                200,
                json!({ "updated": ["gpt-4o-mini"] }),
            ),
            row(
                "3.3",
                "the ranking is what it was",
                named("gpt-4o-mini"),
                200,
                json!({ "ranking": 95, "max_tokens": 1000 }),
            ),
            row(
                "3.3",
                "one wrong item of a PUT",
                put(CONFIG).json(many(json!([
                    { "model": "gpt-4o-mini", "provider": "openai", "ranking": 1 },
                    { "model": "fresh", "provider": "mock" },
                    { "model": "everything", "provider": "nobody" }
                ]))),
                400,
                error("invalid_request_error"),
            ),
            row("3.3", "changes none of them", named("gpt-4o-mini"), 200, json!({ "ranking": 95 })),
            row("3.3", "and adds none", named("fresh"), 404, error("not_found_error")),
            row("3.3", "a config that nobody added", named("unknown"), 404, error("not_found_error")),
        ])
        .await;

    let secret = "sk-planted-in-a-config-0123456789";
    table
        .rows([
            row(
                "3.3",
                "a key is taken",
                put(CONFIG).json(json!({
                    "model": "gpt-4o-mini", "provider": "openai", "api_key": secret
                })),
                200,
                json!({ "updated": ["gpt-4o-mini"] }),
            ),
            row(
                "3.3",
                "its config is shown all the same",
                named("gpt-4o-mini"),
                200,
                json!({ "model": "gpt-4o-mini" }),
            ),
        ])
        .await;
    for path in ["/api/models/config/gpt-4o-mini", "/v1/models", "/api/models", "/api/logs"] {
        let shown = snug.get(path).await.text.contains(secret);
        table.holds("3.3", "a key is never shown", !shown, path);
    }
    table.holds("3.3", "a key is never logged", !snug.log().contains(secret), "it in the log");

    table
        .rows([
            row(
                "3.3",
                "a model with only a local file is loaded",
                post("/api/models/my-local-model/load"),
                200,
                json!({ "status": "loaded" }),
            ),
            row(
                "3.3",
                "and used",
                post("/v1/chat/completions").json(json!({
                    "model": "my-local-model", "messages": [{ "role": "user", "content": "Hello!" }]
                })),
                200,
                json!({ "model": "my-local-model" }),
            ),
        ])
        .await;
    let pid = snug.loaded().await.first().and_then(|row| row["pid"].as_u64()).and_then(|pid| u32::try_from(pid).ok());
    table
        .rows([
            row(
                "3.3",
                "a config is removed",
                delete(format!("{CONFIG}/my-local-model")),
                200,
                json!({
                    "status": "removed", "model": "my-local-model"
                }),
            ),
            row("3.3", "its model was unloaded first", get("/api/models/loaded"), 200, json!({ "models": [] })),
        ])
        .await;
    let alive = pid.is_none_or(testkit::is_alive);
    table.holds("3.3", "and its engine ended", !alive, format!("process {pid:?}"));
    table.holds("3.3", "its file stays", local.exists(), "none");
    table
        .rows([
            row("3.3", "what is removed is gone", named("my-local-model"), 404, error("not_found_error")),
            row(
                "3.3",
                "also for those who ask",
                post("/v1/chat/completions").json(json!({
                    "model": "my-local-model", "messages": [{ "role": "user", "content": "Hello!" }]
                })),
                404,
                error("not_found_error"),
            ),
            row(
                "3.3",
                "a config cannot be removed twice",
                delete(format!("{CONFIG}/my-local-model")),
                404,
                error("not_found_error"),
            ),
            row(
                "3.3",
                "a removed model may be added again",
                post(CONFIG).json(json!({
                    "model": "my-local-model", "provider": "llama", "file_path": local
                })),
                201,
                json!({ "added": ["my-local-model"] }),
            ),
        ])
        .await;
    table.done();
}
