//! The bodies it answers with, in the shapes of the real one, plus `echo`: the request's bytes as they came.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Sleep, sleep};

use crate::options::Options;
use crate::record::Record;

/// Which of the two shapes of generated text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Chat,
    Completion,
}

/// What it reads of a request.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    pub(crate) stream: bool,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u64>,
    /// Instead of `--fake-token-ms`, for this request.
    fake_token_ms: Option<u64>,
    /// The slot to use, default 0.
    pub(crate) id_slot: usize,
    /// Each token's chunk of a stream says when it was made: `sent_ns`, nanoseconds of `CLOCK_MONOTONIC`.
    fake_timestamps: bool,
    /// Where this is `required`, the first of `tools` is called.
    tool_choice: Value,
    tools: Value,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

impl Asked {
    pub(crate) fn tokens(&self, options: &Options) -> u64 {
        self.max_tokens.map_or(options.tokens, |max| max.min(options.tokens))
    }

    pub(crate) fn token(&self, options: &Options) -> Duration {
        self.fake_token_ms.map_or(options.token, Duration::from_millis)
    }

    /// The call that it makes where it must call a tool: the first one, with each argument that must be there.
    fn call(&self) -> Option<Call> {
        if self.tool_choice != "required" {
            return None;
        }
        let function = &self.tools[0]["function"];
        let required = function["parameters"]["required"].as_array().into_iter().flatten();
        let mut before: String =
            required.filter_map(|name| Some(format!("{}:\"\",", quoted(name.as_str()?)))).collect();
        // The tokens are the last one's text.
        let after = if before.is_empty() { "}" } else { "\"}" };
        before.truncate(before.len().saturating_sub(2));
        Some(Call {
            id: next_call(),
            name: function["name"].as_str()?.to_owned(),
            before: format!("{{{before}"),
            after,
        })
    }

    fn include_usage(&self) -> bool {
        self.stream_options.as_ref().is_some_and(|options| options.include_usage)
    }
}

/// A call of a tool, around the tokens in its arguments.
struct Call {
    id: String,
    name: String,
    before: String,
    after: &'static str,
}

impl Call {
    /// As an entry of `tool_calls`.
    fn entry(&self, arguments: &str) -> String {
        let (id, name, arguments) = (&self.id, quoted(&self.name), quoted(arguments));
        format!(r#"{{"index":0,"id":"{id}","type":"function","function":{{"name":{name},"arguments":{arguments}}}}}"#)
    }

    /// More of its arguments, as an entry of a later chunk.
    fn more(arguments: &str) -> String {
        format!(r#"{{"index":0,"function":{{"arguments":{}}}}}"#, quoted(arguments))
    }

    fn takes_text(&self) -> bool {
        self.after.len() > 1
    }
}

/// An id that no other call of this process has.
fn next_call() -> String {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    format!("call_fake_{}", CALLS.fetch_add(1, Ordering::Relaxed))
}

/// A whole answer.
pub(crate) fn whole(shape: Shape, asked: &Asked, cached: u64, body: &[u8], options: &Options) -> String {
    let tokens = asked.tokens(options);
    let text = "tok ".repeat(usize::try_from(tokens).unwrap_or(usize::MAX));
    let (choice, object) = match shape {
        Shape::Chat => {
            let (said, reason) = match asked.call() {
                None => (format!(r#""content":"{text}""#), "stop"),
                Some(call) => {
                    let text = if call.takes_text() { &*text } else { "" };
                    let entry = call.entry(&format!("{}{text}{}", call.before, call.after));
                    (format!(r#""content":null,"tool_calls":[{entry}]"#), "tool_calls")
                }
            };
            let message = format!(r#"{{"role":"assistant",{said}}}"#);
            (format!(r#"{{"finish_reason":"{reason}","index":0,"message":{message}}}"#), "chat.completion")
        }
        Shape::Completion => {
            (format!(r#"{{"text":"{text}","index":0,"logprobs":null,"finish_reason":"stop"}}"#), "text_completion")
        }
    };
    format!(
        r#"{{"choices":[{choice}],"created":1700000000,"model":{},"system_fingerprint":"fake","object":"{object}",{},"id":"chatcmpl-fake",{},"echo":{}}}"#,
        model(options),
        usage(tokens, options),
        timings(tokens, cached, options),
        quoted(&String::from_utf8_lossy(body)),
    )
}

/// The vectors for one request.
pub(crate) fn embeddings(body: &[u8], options: &Options) -> String {
    let tokens = options.prompt_tokens;
    format!(
        r#"{{"model":{},"object":"list","usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}},"data":[{{"embedding":[0.25,-0.5,0.75],"index":0,"object":"embedding"}}],"echo":{}}}"#,
        model(options),
        quoted(&String::from_utf8_lossy(body)),
    )
}

/// The answer of `/props`.
pub(crate) fn props(options: &Options) -> String {
    format!(
        r#"{{"default_generation_settings":{{"n_ctx":{}}},"total_slots":{},"model_alias":{},"model_path":{},"chat_template":"","build_info":"fake"}}"#,
        options.context / options.slots.max(1),
        options.slots,
        model(options),
        quoted(&options.model.to_string_lossy()),
    )
}

/// An error as the real one words it.
pub(crate) fn error(code: u16, message: &str, kind: &str) -> String {
    format!(r#"{{"error":{{"code":{code},"message":{},"type":"{kind}"}}}}"#, quoted(message))
}

/// A stream of events: one chunk with the role, one per token, one that ends, and `[DONE]`.
pub(crate) struct Stream {
    options: Arc<Options>,
    shape: Shape,
    tokens: u64,
    token: Duration,
    cached: u64,
    include_usage: bool,
    timestamps: bool,
    call: Option<Call>,
    echo: String,
    next: u64,
    pause: Option<Pin<Box<Sleep>>>,
    record: Record,
}

impl Stream {
    pub(crate) fn new(
        shape: Shape,
        asked: &Asked,
        cached: u64,
        body: &[u8],
        options: &Arc<Options>,
        record: Record,
    ) -> Self {
        Self {
            options: Arc::clone(options),
            shape,
            tokens: asked.tokens(options),
            token: asked.token(options),
            cached,
            include_usage: asked.include_usage(),
            timestamps: asked.fake_timestamps,
            call: asked.call().filter(|_| shape == Shape::Chat),
            echo: quoted(&String::from_utf8_lossy(body)),
            next: 0,
            pause: None,
            record,
        }
    }

    /// The event with this number, or `None` after the last.
    fn event(&self, number: u64) -> Option<String> {
        let tokens = self.tokens;
        let usage = || usage(tokens, &self.options);
        let timings = || timings(tokens, self.cached, &self.options);
        let (choice, tail) = match number {
            0 => (self.first(), format!(r#","echo":{}"#, self.echo)),
            n if n <= tokens && self.timestamps => (self.choice("tok ", "null"), sent_now()),
            n if n <= tokens => (self.choice("tok ", "null"), String::new()),
            n if n == tokens + 1 && self.include_usage => (self.end(), String::new()),
            n if n == tokens + 1 => (self.end(), format!(",{}", timings())),
            n if n == tokens + 2 && self.include_usage => (String::new(), format!(",{},{}", usage(), timings())),
            n if n == tokens + 2 || (n == tokens + 3 && self.include_usage) => {
                return Some("data: [DONE]\n\n".to_owned());
            }
            _ => return None,
        };
        let object = if self.shape == Shape::Chat { "chat.completion.chunk" } else { "text_completion" };
        Some(format!(
            r#"data: {{"choices":[{choice}],"created":1700000000,"id":"chatcmpl-fake","model":{},"object":"{object}"{tail}}}{}"#,
            model(&self.options),
            "\n\n"
        ))
    }

    fn first(&self) -> String {
        match &self.call {
            Some(call) => delta(&format!(r#""tool_calls":[{}]"#, call.entry(&call.before)), "null"),
            None => self.choice("", "null"),
        }
    }

    fn end(&self) -> String {
        match &self.call {
            Some(call) => delta(&format!(r#""tool_calls":[{}]"#, Call::more(call.after)), r#""tool_calls""#),
            None => self.choice("", r#""stop""#),
        }
    }

    fn choice(&self, text: &str, finish: &str) -> String {
        match self.shape {
            Shape::Chat => match &self.call {
                None => delta(&format!(r#""content":"{text}""#), finish),
                Some(call) => {
                    let text = if call.takes_text() { text } else { "" };
                    delta(&format!(r#""tool_calls":[{}]"#, Call::more(text)), finish)
                }
            },
            Shape::Completion => {
                format!(r#"{{"text":"{text}","index":0,"logprobs":null,"finish_reason":{finish}}}"#)
            }
        }
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if this.options.stall_after == Some(this.next) {
            return Poll::Pending;
        }
        let dies = this.options.die_mid_stream == Some(this.next);
        if this.pause.is_none() && (dies || !this.token.is_zero() && this.next > 0) {
            // What was sent before must be on the wire before the process is gone.
            let pause = if dies { Duration::from_millis(20) } else { this.token };
            this.pause = Some(Box::pin(sleep(pause)));
        }
        if let Some(pause) = &mut this.pause {
            ready!(pause.as_mut().poll(cx));
            this.pause = None;
        }
        if dies {
            std::process::abort();
        }
        let event = this.event(this.next);
        this.next += 1;
        if event.is_none() {
            this.record.finish();
        }
        Poll::Ready(event.map(|event| Ok(Frame::data(event.into()))))
    }
}

fn delta(said: &str, finish: &str) -> String {
    format!(r#"{{"finish_reason":{finish},"index":0,"delta":{{{said}}}}}"#)
}

fn sent_now() -> String {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    format!(r#","sent_ns":{}"#, now.tv_sec * 1_000_000_000 + now.tv_nsec)
}

fn usage(tokens: u64, options: &Options) -> String {
    let prompt = options.prompt_tokens;
    format!(r#""usage":{{"completion_tokens":{tokens},"prompt_tokens":{prompt},"total_tokens":{}}}"#, tokens + prompt)
}

fn timings(tokens: u64, cached: u64, options: &Options) -> String {
    let read = options.prompt_tokens - cached;
    format!(
        r#""timings":{{"cache_n":{cached},"prompt_n":{read},"prompt_ms":1.0,"predicted_n":{tokens},"predicted_ms":2.0,"predicted_per_second":123.5}}"#
    )
}

fn model(options: &Options) -> String {
    quoted(&options.alias.clone().unwrap_or_else(|| options.model.to_string_lossy().into_owned()))
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string is always valid JSON")
}
