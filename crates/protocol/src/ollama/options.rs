//! `options`: how a model generates, in llama.cpp's words.

use serde_json::Value;

use super::fields::Fields;
use super::sent::{Part, Sent};
use crate::Refused;

/// Settled when a model is loaded, or gone from llama.cpp: nothing that a request could change.
const OF_LOADING: [&str; 18] = [
    "num_batch",
    "num_gpu",
    "main_gpu",
    "num_gqa",
    "num_thread",
    "use_mmap",
    "use_mlock",
    "numa",
    "low_vram",
    "f16_kv",
    "logits_all",
    "vocab_only",
    "embedding_only",
    "rope_frequency_base",
    "rope_frequency_scale",
    "tfs_z",
    "penalize_newline",
    "draft_num_predict",
];

/// What else a request to the engine has, which no option may be taken for.
const NOT_OPTIONS: [&str; 17] = [
    "model",
    "messages",
    "prompt",
    "input",
    "input_prefix",
    "input_suffix",
    "stream",
    "stream_options",
    "n",
    "best_of",
    "echo",
    "tools",
    "tool_choice",
    "response_format",
    "logprobs",
    "top_logprobs",
    "chat_template_kwargs",
];

const NUMBERS: [&str; 9] = [
    "temperature",
    "top_p",
    "min_p",
    "typical_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "mirostat_tau",
    "mirostat_eta",
];

const WHOLE_NUMBERS: [&str; 6] = ["top_k", "seed", "mirostat", "repeat_last_n", "num_keep", "num_predict"];

/// What `options` says, taken out of a request.
#[derive(Default)]
pub(super) struct Options<'a> {
    /// Fields of the engine's request.
    pub(super) sent: Sent<'a>,
    /// Tokens of context, for when the model is loaded.
    pub(super) context: Option<u64>,
    /// Most tokens to generate; `None` for no limit.
    pub(super) tokens_max: Option<u64>,
}

impl<'a> Options<'a> {
    /// # Errors
    /// One of them is not what it should be.
    pub(super) fn take(fields: &mut Fields<'a>) -> Result<Self, Refused> {
        let mut options = Self::default();
        let Some(mut given) = fields.object("options")? else { return Ok(options) };
        // Zero is how some clients say that they do not mind.
        options.context = given.count("num_ctx")?.filter(|&tokens| tokens > 0);
        for key in NUMBERS {
            if let Some(value) = given.take(key)? {
                let value = Some(value).filter(Value::is_number);
                options.sent.insert(key, value.ok_or_else(|| given.wrong(key, "must be a number"))?);
            }
        }
        for key in WHOLE_NUMBERS {
            let Some(value) = given.take(key)? else { continue };
            // JSON knows one kind of number only, and clients write 40.0.
            #[expect(clippy::cast_possible_truncation, reason = "only what has no fraction and fits")]
            let from_float = || value.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 1e15).map(|n| n as i64);
            let number = value.as_i64().or_else(from_float);
            let number = number.ok_or_else(|| given.wrong(key, "must be a whole number"))?;
            match key {
                // -1 is no limit, -2 as much as the context takes: both is what the engine does by itself.
                "num_predict" => options.tokens_max = u64::try_from(number).ok().filter(|&tokens| tokens > 0),
                "num_keep" => options.sent.insert("n_keep", number),
                _ => options.sent.insert(key, number),
            }
        }
        match given.take("stop")? {
            None => {}
            Some(Value::String(word)) => options.sent.insert("stop", vec![word]),
            Some(Value::Array(words)) if words.iter().all(Value::is_string) => options.sent.insert("stop", words),
            Some(_) => return Err(given.wrong("stop", "must be text, or a list of texts")),
        }
        for (key, value) in given.rest() {
            if !OF_LOADING.contains(&key.as_str()) && !NOT_OPTIONS.contains(&key.as_str()) && value.get() != "null" {
                options.sent.set(&key, Part::Raw(value));
            }
        }
        Ok(options)
    }
}
