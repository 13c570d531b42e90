//! `/api/show`: what a model's file says of it.

use std::fmt::Write as _;
use std::fs::File;

use api::{OllamaShow, OllamaShown};
use axum::Json;
use axum::extract::{Request, State};
use catalog::gguf::{self, Header, Prompting};
use gateway::ApiError;
use node::Model;
use route::Unavailable;
use serde_json::{Map, Value};
use types::{ByteCount, Mode};

use super::listed::{changed, details};
use crate::json_body;
use crate::models::Models;

/// What a model is, and what its file says.
#[utoipa::path(
    post, path = "/api/show", tag = "ollama", request_body = OllamaShow,
    responses(
        (status = 200, body = OllamaShown), (status = 400, body = api::OllamaError),
        (status = 404, body = api::OllamaError), (status = 413, body = api::OllamaError),
    ),
)]
pub(crate) async fn show(State(models): State<Models>, request: Request) -> Result<Json<OllamaShown>, ApiError> {
    let OllamaShow { model, name, verbose: _ } = json_body::read(request).await?;
    let model = super::meant(&models.node.view().borrow(), &super::one_of(model, name)?)?;
    let shown = tokio::task::spawn_blocking(move || shown(&model));
    Ok(Json(shown.await.map_err(|_| Unavailable::Stopping)?))
}

/// Reads the file's header, twice: what is kept of headers leaves the texts out.
fn shown(model: &Model) -> OllamaShown {
    let open = || {
        let file = File::open(&model.path).ok()?;
        let length = ByteCount::bytes(file.metadata().ok()?.len());
        Some((file, length))
    };
    let header = open().and_then(|(file, length)| gguf::read(file, length).ok());
    let prompting = open().and_then(|(file, length)| gguf::prompting(file, length).ok()).unwrap_or_default();
    let parameters = parameters(model);
    OllamaShown {
        modelfile: modelfile(model, &parameters),
        parameters,
        capabilities: capabilities(model, &prompting),
        template: prompting.chat_template.unwrap_or_default(),
        license: prompting.license,
        details: details(model),
        model_info: header.map_or_else(Map::new, |header| info(&header, model)).into(),
        modified_at: changed(model),
    }
}

/// How it is started, where somebody said.
fn parameters(model: &Model) -> String {
    let mut lines = String::new();
    if let Some(context) = model.settings.context.or(model.context_window) {
        let _fits = writeln!(lines, "num_ctx {context}");
    }
    if let Some(layers) = model.settings.gpu_layers {
        let _fits = writeln!(lines, "num_gpu {layers}");
    }
    lines.trim_end().to_owned()
}

/// For people to read: where the file lies is not everybody's business.
fn modelfile(model: &Model, parameters: &str) -> String {
    let mut text = format!("# as snug has it; it is configured in snug.toml\nFROM {}\n", model.key);
    for line in parameters.lines() {
        let _fits = writeln!(text, "PARAMETER {line}");
    }
    text
}

fn capabilities(model: &Model, prompting: &Prompting) -> Vec<String> {
    let template = prompting.chat_template.as_deref().unwrap_or_default();
    let thinks = ["enable_thinking", "<think>", "reasoning_content", "<|channel|>analysis"];
    let completes = model.mode == Mode::Chat;
    let all = [
        ("completion", completes),
        ("embedding", model.mode == Mode::Embedding),
        ("tools", completes && model.knows_tools),
        ("vision", model.mmproj.is_some()),
        ("thinking", completes && thinks.iter().any(|mark| template.contains(mark))),
        ("insert", completes && prompting.fills_gaps),
    ];
    all.into_iter().filter(|(_, can)| *can).map(|(word, _)| word.to_owned()).collect()
}

/// The header's entries by the names that they have in the file; what it does not say is left out.
fn info(header: &Header, model: &Model) -> Map<String, Value> {
    let mut info = Map::new();
    let mut text = |key: &str, value: Option<&str>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            info.insert(key.to_owned(), value.into());
        }
    };
    let architecture = header.architecture.as_str();
    text("general.architecture", Some(architecture));
    text("general.name", header.name.as_deref());
    text("general.size_label", header.size_label.as_deref());
    let attention = &header.attention;
    let experts = header.experts.as_ref();
    let numbers = [
        ("context_length", header.context_length),
        ("block_count", u64::from(header.layers)),
        ("embedding_length", header.embedding_length),
        ("feed_forward_length", header.feed_forward_length.max()),
        ("attention.head_count", attention.heads.max()),
        ("attention.head_count_kv", attention.kv_heads.max()),
        ("attention.key_length", attention.key_length),
        ("attention.value_length", attention.value_length),
        ("attention.sliding_window", attention.sliding_window.unwrap_or(0)),
        ("rope.dimension_count", attention.rope_dimensions),
        ("expert_count", experts.map_or(0, |experts| experts.count)),
        ("expert_used_count", experts.map_or(0, |experts| experts.used.max())),
        ("vocab_size", header.vocabulary),
    ];
    let of_architecture = numbers.map(|(key, number)| (format!("{architecture}.{key}"), number));
    let general = [
        ("general.parameter_count".to_owned(), model.parameters),
        ("general.file_type".to_owned(), header.file_type.unwrap_or(0)),
    ];
    for (key, number) in general.into_iter().chain(of_architecture).filter(|(_, number)| *number > 0) {
        info.insert(key, number.into());
    }
    info
}
