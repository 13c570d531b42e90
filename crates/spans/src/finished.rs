//! What is told of a request that is over.

use std::time::{Duration, SystemTime};

/// A request that is over, however it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// What was asked for, as `gen_ai.operation.name` has it: `chat`, `text_completion`, `embeddings`, or a word of ours.
    pub operation: &'static str,
    /// Its id.
    pub request: String,
    /// The model that was asked for; `None` where there is no such model.
    pub model: Option<String>,
    /// Who was called for it; `None` where nobody was.
    pub called: Option<Called>,
    /// The id of the key that it came with.
    pub key: Option<String>,
    /// The answer's status; `None` where the client left before there was one.
    pub status: Option<u16>,
    /// Why it failed, in a word; `None` where it did not.
    pub error: Option<String>,
    /// Tokens of the prompt; 0 where nobody counted.
    pub input_tokens: u64,
    /// Tokens that were generated; 0 where nobody counted.
    pub output_tokens: u64,
    /// Whether the answer was a stream.
    pub is_stream: bool,
    /// From its head to the first piece of the answer.
    pub first_piece: Duration,
    /// From its head to the answer's end.
    pub total: Duration,
    /// When it ended.
    pub ended: SystemTime,
    /// What its sender said of the trace that it is in (W3C `traceparent`).
    pub traceparent: Option<String>,
}

/// Who was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// Whose model it is, as `gen_ai.provider.name` has it: `openai`, `anthropic`, `llama.cpp`.
    pub provider: String,
    /// What the model is called there.
    pub model: String,
    /// Where it is: a host name, an address, or the name of an instance.
    pub address: String,
}
