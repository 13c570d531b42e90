//! A stand-in for the engines that are written in Python: `python -m llama_cpp.server` and `mlx-openai-server launch`.
//!
//! It is called by the name of the one or the other, holds no model, and answers a chat with what it was started with: its
//! arguments and, of its environment, what such a server is told by it. Unlike `llama-server` it says nothing of itself
//! but uvicorn's line, and as `python` it does not know `/health`.
//!
//! It refuses, as the real ones do: an unknown module, a model file that is not there, a port that is taken, flags it does
//! not know.

#![expect(clippy::disallowed_methods, reason = "a program for tests: its tasks and its end are nobody's concern")]
#![expect(clippy::print_stderr, clippy::print_stdout, reason = "its output is what it is asked for")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

const PYTHON_FLAGS: [&str; 12] = [
    "--model",
    "--host",
    "--port",
    "--n_ctx",
    "--n_gpu_layers",
    "--n_threads",
    "--type_k",
    "--type_v",
    "--flash_attn",
    "--model_alias",
    "--embedding",
    "-m",
];
const MLX_HELP: &str = "Usage: mlx-openai-server launch [OPTIONS]

Options:
  --model-path TEXT          Path to the model
  --model-type TEXT
  --port INTEGER
  --host TEXT
  --context-length INTEGER
  --queue-size INTEGER       Requests that may wait
  --enable-auto-tool-choice
  --tool-call-parser [qwen3|brand_new]
  --reasoning-parser TEXT
  --config-name TEXT
";

/// What it was started with.
struct Start {
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    is_mlx: bool,
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args();
    let name = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    let is_mlx = name.ends_with("mlx-openai-server");
    if is_mlx && arguments == ["launch", "--help"] {
        println!("{MLX_HELP}");
        return Ok(());
    }
    let value = |flag: &str| arguments.iter().position(|one| one == flag).and_then(|at| arguments.get(at + 1)).cloned();
    let flags = arguments.iter().filter(|argument| argument.starts_with('-') && argument.parse::<i64>().is_err());
    let knows = |flag: &str| if is_mlx { MLX_HELP.contains(flag) } else { PYTHON_FLAGS.contains(&flag) };
    if let Some(flag) = flags.into_iter().find(|flag| !knows(flag)) {
        fail(&format!("error: unrecognized arguments: {flag}"));
    }
    if !is_mlx && value("-m").as_deref() != Some("llama_cpp.server") {
        fail(&format!("{name}: No module named {}", value("-m").unwrap_or_default()));
    }
    let model = value(if is_mlx { "--model-path" } else { "--model" }).unwrap_or_default();
    if model.starts_with('/') && !std::path::Path::new(&model).exists() {
        fail(&format!("ValueError: Model path does not exist: {model}"));
    }
    let told = |name: &str| name.starts_with("LLAMA_") || name.starts_with("PYTHON");
    let environment = std::env::vars().filter(|(name, _)| told(name)).collect();
    let address = format!("{}:{}", value("--host").unwrap_or_default(), value("--port").unwrap_or_default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(&address, Arc::new(Start { arguments, environment, is_mlx })))
}

fn fail(message: &str) -> ! {
    eprintln!("{message}");
    std::process::exit(2)
}

async fn serve(address: &str, start: Arc<Start>) -> anyhow::Result<()> {
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(_) => {
            fail(&format!("ERROR:    error while attempting to bind on address {address}: address already in use"))
        }
    };
    eprintln!("INFO:     Uvicorn running on http://{address} (Press CTRL+C to quit)");
    loop {
        let (stream, _) = listener.accept().await?;
        let start = Arc::clone(&start);
        let service = service_fn(move |request| answer(Arc::clone(&start), request));
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // A connection that breaks is its client's affair.
        tokio::spawn(async { drop(connection.await) });
    }
}

async fn answer(start: Arc<Start>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let _body = request.into_body().collect().await;
    let (status, body) = match path.as_str() {
        "/health" if start.is_mlx => (200, serde_json::json!({ "status": "healthy" })),
        "/v1/models" => (200, serde_json::json!({ "object": "list", "data": [] })),
        "/v1/chat/completions" => {
            let content = serde_json::json!({ "arguments": start.arguments, "environment": start.environment });
            let message = serde_json::json!({ "role": "assistant", "content": content.to_string() });
            let choice = serde_json::json!({ "index": 0, "message": message, "finish_reason": "stop" });
            let usage = serde_json::json!({ "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 });
            (200, serde_json::json!({ "object": "chat.completion", "choices": [choice], "usage": usage }))
        }
        _ => (404, serde_json::json!({ "detail": "Not Found" })),
    };
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    Ok(response)
}
