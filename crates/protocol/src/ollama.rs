//! Ollama's API, spoken by clients: chat, generate, embed, embeddings.
//!
//! Owns what such a request is to an engine that speaks OpenAI's chat completions, completions and embeddings (and
//! llama.cpp's infill), and what that engine's answer is to the client: a line of JSON for each piece, or one object. A
//! request may also ask for nothing but that a model be loaded or unloaded: that is a [`What`] of its own, for the gateway
//! to do. Must not know which models there are.
//!
//! ```text
//!   chat ─────────────────────────────▶ /v1/chat/completions
//!   generate ─┬─ as its template says ▶ /v1/chat/completions
//!             ├─ raw ─────────────────▶ /v1/completions
//!             ├─ suffix ──────────────▶ /infill
//!             └─ nothing to say ──────▶ load, or unload with a keep_alive of 0 (so does chat without messages)
//!   embed, embeddings ────────────────▶ /v1/embeddings
//! ```
//!
//! - A stream is what a client gets unless it says `"stream": false`.
//! - `template` is refused: it is written in a language of Ollama's own. `context`, the tokens of an earlier answer, is
//!   ignored and never answered with; `truncate` and `shift` are left to the engine.
//! - Of `options` those that llama.cpp knows by another name get that one, those that are settled when a model is loaded
//!   are left out, and all others go along as they are.

mod answer;
mod embed;
mod fields;
mod keep_alive;
mod options;
mod request;
mod sent;
mod time;

use std::borrow::Cow;

use serde_json::json;

use crate::{Moment, Request};

pub use embed::{embed, embeddings};
pub use keep_alive::{KeepAlive, keep_alive};
pub use request::{chat, generate};

/// What a client wants of a model.
pub struct Wish {
    /// Which model, in the words of this house; see [`name`].
    pub model: String,
    /// How long it is to stay loaded without being used, from this request on; `None` for what is configured.
    pub keep_alive: Option<KeepAlive>,
    /// `num_ctx`: the context that the client would like the model to be loaded with, tokens. A hint.
    pub context: Option<u64>,
    /// What it is to do.
    pub what: What,
}

/// What a model is to do.
pub enum What {
    /// Its engine is to answer.
    Ask {
        /// Where it is asked.
        endpoint: Endpoint,
        /// What, and the way back.
        request: Request,
    },
    /// It is to be loaded.
    Load {
        /// What the client is told once it is: a JSON object.
        done: Vec<u8>,
    },
    /// It is to be unloaded.
    Unload {
        /// What the client is told once it is: a JSON object.
        done: Vec<u8>,
    },
}

/// Where an engine is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// OpenAI's chat completions.
    ChatCompletions,
    /// OpenAI's completions.
    Completions,
    /// llama.cpp's infill; nobody else has it.
    Infill,
    /// OpenAI's embeddings.
    Embeddings,
}

impl Endpoint {
    /// Its path on an engine of this machine.
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Infill => "/infill",
            Self::Embeddings => "/v1/embeddings",
        }
    }
}

/// The content type of a stream: one JSON object a line.
pub const STREAM_TYPE: &str = "application/x-ndjson";

/// The model that a name means which an Ollama client wrote: without the tag `latest`, which means the model itself, and
/// of `hf.co/OWNER/REPO:QUANT` the part after the host.
///
/// ```
/// # use protocol::ollama::name;
/// assert_eq!(name("qwen3:latest"), "qwen3");
/// assert_eq!(name("qwen3:Q4_K_M"), "qwen3:Q4_K_M");
/// assert_eq!(name("hf.co/owner/repo:Q8_0"), "owner/repo:Q8_0");
/// ```
pub fn name(name: &str) -> Cow<'_, str> {
    let after = |host: &str| name.get(..host.len()).filter(|start| start.eq_ignore_ascii_case(host));
    let host = ["hf.co/", "huggingface.co/"].into_iter().find_map(after).unwrap_or_default();
    let name = &name[host.len()..];
    let latest = name.rsplit_once(':').filter(|(model, tag)| tag.eq_ignore_ascii_case("latest") && !model.is_empty());
    Cow::Borrowed(latest.map_or(name, |(model, _)| model))
}

/// An error as Ollama's clients read it.
pub fn error(message: &str) -> Vec<u8> {
    json!({ "error": message }).to_string().into_bytes()
}

/// Now, as answers tell it: RFC 3339 with a fraction.
pub fn created_at(moment: &Moment) -> String {
    time::rfc3339(moment.created)
}

#[cfg(test)]
mod tests;
