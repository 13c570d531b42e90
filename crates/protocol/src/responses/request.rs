//! The fields of a request, except for its items and tools.

use serde::Serialize;
use serde_json::value::RawValue;

use super::answer::Back;
use super::input::{self, Message};
use super::response::Echo;
use super::tools::{Function, Tools};
use crate::fields::{Fields, inside, refused, text};
use crate::{Moment, Refused, Request};

/// A Responses request as one for chat completions, and the way back.
///
/// # Errors
/// The body is no such request, or asks for what chat completions have no counterpart of.
///
/// # Panics
/// Never: what is written is plain data.
pub fn to_chat(body: &[u8], moment: Moment) -> Result<Request, Refused> {
    let mut fields = Fields::of_body(body)?;
    refuse_what_needs_a_store(&fields)?;
    let model = fields.text("", "model")?.unwrap_or_default().into_owned();
    let is_stream = fields.flag("", "stream")?.unwrap_or(false);
    let echo = Echo::of(&fields);

    let tools = Tools::read(&mut fields)?;
    let messages = input::messages(&mut fields)?;
    let text = fields.take("text").map(|text| Fields::of(text, "text")).transpose()?.unwrap_or_default();
    let reasoning = fields.take("reasoning").map(|value| Fields::of(value, "reasoning")).transpose()?;
    let (logprobs, top_logprobs) = logprobs(&mut fields)?;
    let max_tokens = fields.take("max_output_tokens").map(whole_number).transpose()?;
    let stream_options = if is_stream { Some(StreamOptions::read(&mut fields)?) } else { None };
    let mut chat = Chat {
        messages,
        tools: tools.functions,
        tool_choice: tools.choice,
        parallel_tool_calls: tools.parallel,
        max_tokens,
        response_format: ResponseFormat::read(&text)?,
        verbosity: text.raw_text("text", "verbosity")?,
        reasoning_effort: reasoning.map_or(Ok(None), |reasoning| reasoning.raw_text("reasoning", "effort"))?,
        logprobs,
        top_logprobs,
        stream_options,
        rest: Fields::default(),
    };
    if fields.take("messages").is_some() {
        return Err(refused("messages", "`messages` is not a field of a Responses request: write `input`"));
    }
    for dropped in DROPPED {
        fields.take(dropped);
    }
    for (name, is_written) in chat.optional_fields() {
        if is_written {
            fields.take(name);
        }
    }
    chat.rest = fields;
    let body = serde_json::to_vec(&chat).expect("a request is plain data");
    let answer = Box::new(Back::new(moment, model, echo, tools.custom));
    Ok(Request { body, answer })
}

/// Fields without a counterpart that change nothing about what is said, or that say what is so anyway.
const DROPPED: [&str; 14] = [
    "access_programs",
    "background",
    "context_management",
    "conversation",
    "image",
    "include",
    "max_tool_calls",
    "metadata",
    "moderation",
    "previous_response_id",
    "prompt",
    "store",
    "stream_options",
    "truncation",
];

fn refuse_what_needs_a_store(fields: &Fields<'_>) -> Result<(), Refused> {
    for name in ["previous_response_id", "conversation"] {
        if fields.get(name).is_some() {
            let message = format!(
                "`{name}` cannot be followed: responses are not stored here; send the whole conversation as `input`"
            );
            return Err(refused(name, message));
        }
    }
    if fields.get("prompt").is_some() {
        return Err(refused(
            "prompt",
            "`prompt` names a stored template, and none are stored here; send `instructions` and `input`",
        ));
    }
    if fields.flag("", "background")? == Some(true) {
        return Err(refused(
            "background",
            "`background` needs responses to be stored, which they are not here; leave it out and wait, or stream",
        ));
    }
    if fields.get("moderation").is_some() {
        return Err(refused("moderation", "`moderation` is not done here; leave it out"));
    }
    Ok(())
}

/// A request for chat completions.
#[derive(Serialize)]
struct Chat<'a> {
    /// `model`, `stream`, and what nobody here knows: as the client wrote it.
    #[serde(flatten)]
    rest: Fields<'a>,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Function<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions<'a>>,
}

impl Chat<'_> {
    /// The fields that are written only where there is something to say: a client may have sent them as they are.
    fn optional_fields(&self) -> [(&'static str, bool); 8] {
        [
            ("max_tokens", self.max_tokens.is_some()),
            ("max_completion_tokens", self.max_tokens.is_some()),
            ("response_format", self.response_format.is_some()),
            ("verbosity", self.verbosity.is_some()),
            ("reasoning_effort", self.reasoning_effort.is_some()),
            ("logprobs", self.logprobs.is_some()),
            ("top_logprobs", self.top_logprobs.is_some()),
            ("tools", !self.tools.is_empty()),
        ]
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResponseFormat<'a> {
    JsonObject,
    JsonSchema { json_schema: Fields<'a> },
}

impl<'a> ResponseFormat<'a> {
    /// `text.format`, whose schema lies flat beside its type.
    fn read(text: &Fields<'a>) -> Result<Option<Self>, Refused> {
        let at = "text.format";
        let Some(format) = text.get("format") else { return Ok(None) };
        let mut format = Fields::of(format, at)?;
        let kind = format.needed_text(at, "type")?;
        match kind.as_ref() {
            "text" => Ok(None),
            "json_object" => Ok(Some(Self::JsonObject)),
            "json_schema" => {
                format.take("type");
                Ok(Some(Self::JsonSchema { json_schema: format }))
            }
            other => {
                let message =
                    format!("`text.format.type` is `{other}`: it must be `text`, `json_object` or `json_schema`");
                Err(refused("text.format.type", message))
            }
        }
    }
}

#[derive(Serialize)]
struct StreamOptions<'a> {
    include_usage: bool,
    #[serde(flatten)]
    rest: Fields<'a>,
}

impl<'a> StreamOptions<'a> {
    fn read(fields: &mut Fields<'a>) -> Result<Self, Refused> {
        let mut rest = match fields.take("stream_options") {
            Some(options) => Fields::of(options, "stream_options")?,
            None => Fields::default(),
        };
        rest.take("include_usage");
        Ok(Self { include_usage: true, rest })
    }
}

/// Whether probabilities of tokens are asked for, and how many of the likeliest.
fn logprobs<'a>(fields: &mut Fields<'a>) -> Result<(Option<bool>, Option<&'a RawValue>), Refused> {
    let mut included = false;
    for (at, value) in fields.list("", "include")? {
        included |= text(value, &at)? == "message.output_text.logprobs";
    }
    let top = fields.take("top_logprobs").filter(|top| included || top.get() != "0");
    Ok(((included || top.is_some()).then_some(true), top))
}

fn whole_number(value: &RawValue) -> Result<u64, Refused> {
    let at = inside("", "max_output_tokens");
    serde_json::from_str(value.get()).map_err(|_| refused(at.as_str(), format!("`{at}` must be a whole number")))
}
