//! Where tests begin: folders with small models, the fake engine, and the contract's own configuration file.

use std::path::PathBuf;

use serde_json::{Value, json};
use testkit::{Snug, Stage, fake_engine, gguf};

use crate::files::Files;

/// Fresh folders and the fake engine; nothing is asked of the hub.
pub(crate) fn fake() -> Stage {
    Stage::new(env!("CARGO_BIN_EXE_snug"), fake_engine()).environment("HF_HUB_OFFLINE", "1")
}

/// The same with a configuration file in the contract's form.
pub(crate) fn configured(settings: &Value) -> Stage {
    let stage = fake();
    let path = written(&stage, settings);
    stage.arguments(&["--config", &path])
}

/// A configuration file in the contract's form beside the stage's folders.
pub(crate) fn written(stage: &Stage, settings: &Value) -> String {
    let path = beside(stage, "server_config.json");
    std::fs::write(&path, settings.to_string()).expect("the folder is ours");
    path.to_str().expect("a test's path is UTF-8").to_owned()
}

/// A path in the folder that holds all of the stage.
pub(crate) fn beside(stage: &Stage, name: &str) -> PathBuf {
    stage.models_dir().parent().expect("it has a parent").join(name)
}

/// The bytes of a small model.
pub(crate) fn small_model() -> Vec<u8> {
    gguf::ChatModel::default().file().bytes()
}

/// A model that holds about this many MiB, as a file.
pub(crate) fn model_of_mib(mib: u64) -> gguf::File {
    gguf::ChatModel::default().with_file_size(mib << 20).file()
}

/// The config of a model of the `llama` provider whose only variant, `Q4_K_M`, is `file` of `files`.
pub(crate) fn downloadable(model: &str, files: &Files, file: &str) -> Value {
    let mib = files.size(file).div_ceil(1 << 20);
    json!({
        "model": model,
        "provider": "llama",
        "context_window": 2048,
        "variants": [{
            "quantization": "Q4_K_M",
            "file_size_mb": mib,
            "min_vram_mb": mib,
            "recommended_vram_mb": mib,
            "download": { "url": files.url(file), "sha256": files.sha256(file), "filename": file }
        }]
    })
}

/// Adds model configs.
pub(crate) async fn add(snug: &Snug<'_>, configs: impl IntoIterator<Item = Value>) {
    let models: Vec<Value> = configs.into_iter().collect();
    let answer = snug.post("/api/models/config", &json!({ "models": models })).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}
