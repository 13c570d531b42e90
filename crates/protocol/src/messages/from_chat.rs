//! A request of chat completions as one of the Messages API.

mod answer;
mod asked;
mod sent;

use std::borrow::Cow;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use self::asked::{Asked, Call, ImageUrl, Part, ResponseFormat, Tool, ToolChoice, Turn};
use self::sent::{Block, Declared, Format, Message, Messages, OutputConfig, Source};
use super::json::{Text, each, missing, object, read, read_part, refuse, required, within};
use crate::{Moment, Refused, Request};

/// The request in the other dialect, and the way back.
pub(super) fn request(body: &[u8], moment: Moment, max_tokens_default: u32) -> Result<Request, Refused> {
    let asked: Asked<'_> = read(body)?;
    let body = converted(&asked, max_tokens_default)?;
    Ok(Request { body, answer: Box::new(answer::Completion::new(&asked, moment)) })
}

fn converted(asked: &Asked<'_>, max_tokens_default: u32) -> Result<Vec<u8>, Refused> {
    possible(asked)?;
    let mut system = Vec::new();
    let mut messages: Vec<Message<'_>> = Vec::new();
    each("messages", &asked.messages, |turn| {
        match turned(turn)? {
            None => system.extend(spoken(turn)?),
            Some(message) if message.content.is_empty() => {}
            Some(message) => match messages.last_mut().filter(|last| last.role == message.role) {
                Some(last) => last.content.extend(message.content),
                None => messages.push(message),
            },
        }
        Ok(())
    })?;
    for message in &mut messages {
        // Anthropic wants them first; the sort keeps the order of what is alike.
        message.content.sort_by_key(|block| !matches!(block, Block::ToolResult { .. }));
    }
    let tools = each("tools", asked.tools.as_deref().unwrap_or_default(), declared)?;
    let tool_choice = if tools.is_empty() { None } else { chosen(asked)? };
    let is_forced = tool_choice.as_ref().is_some_and(|choice| choice["type"] == "any" || choice["type"] == "tool");
    let effort = asked.reasoning_effort.as_ref().map(|effort| effort_of(effort)).transpose()?;
    // A forced call leaves no room for thoughts.
    let thinking = match (asked.thinking, effort) {
        (Some(thinking), _) => Some(Cow::Borrowed(thinking)),
        (None, Some(None)) => Some(written(&json!({ "type": "disabled" }))),
        (None, Some(Some(_))) if !is_forced => Some(written(&json!({ "type": "adaptive" }))),
        (None, _) => None,
    };
    let is_thinking = thinking.as_ref().is_some_and(|thinking| !thinking.get().contains("disabled"));
    // 1 is what it is anyway. A model that thinks wants no other; of two, many models take only one.
    let temperature = asked.temperature.map(|value| value.clamp(0.0, 1.0)).filter(|&value| value < 1.0 && !is_thinking);
    let top_p = asked.top_p.filter(|&value| value < 1.0 && temperature.is_none());
    let request = Messages {
        model: &asked.model,
        max_tokens: asked.max_completion_tokens.or(asked.max_tokens).unwrap_or(max_tokens_default.into()),
        system,
        messages,
        tools,
        tool_choice,
        stop_sequences: asked.stop.map(stop_sequences).transpose()?.unwrap_or_default(),
        temperature,
        top_p,
        top_k: asked.top_k.as_ref().filter(|_| !is_thinking),
        thinking,
        output_config: OutputConfig {
            effort: effort.flatten(),
            format: asked.response_format.as_ref().map(format).transpose()?.flatten(),
        },
        cache_control: asked.cache_control,
        metadata: asked.user.as_ref().map(|user| json!({ "user_id": &**user })),
        stream: (asked.stream == Some(true)).then_some(true),
    };
    Ok(serde_json::to_vec(&request).expect("a request is plain data"))
}

/// What Anthropic cannot do at all.
fn possible(asked: &Asked<'_>) -> Result<(), Refused> {
    let refused = |field, message: &str| Err(refuse(field, message));
    if asked.n.is_some_and(|n| n > 1) {
        return refused("n", "this provider gives one answer to a request; ask again for another one");
    }
    if asked.logprobs == Some(true) || asked.top_logprobs.is_some_and(|count| count > 0) {
        return refused("logprobs", "this provider does not tell probabilities");
    }
    if asked.logit_bias.as_ref().is_some_and(|bias| !bias.is_empty()) {
        return refused("logit_bias", "this provider takes no bias on single tokens");
    }
    if asked.modalities.iter().flatten().any(|modality| modality != "text") {
        return refused("modalities", "this provider answers with text only");
    }
    if asked.functions.is_some() {
        return refused("functions", "functions are called tools by now: use tools and tool_choice");
    }
    if asked.web_search_options.is_some() {
        return refused("web_search_options", "this cannot be asked of this provider by way of chat completions");
    }
    Ok(())
}

/// One message, or none if it belongs to the system prompt.
fn turned<'a>(turn: &'a Turn<'a>) -> Result<Option<Message<'a>>, Refused> {
    let (role, content) = match &*turn.role {
        "system" | "developer" => return Ok(None),
        "user" => ("user", spoken(turn)?),
        "assistant" => {
            let mut content = spoken(turn)?;
            content.extend(each("tool_calls", turn.tool_calls.as_deref().unwrap_or_default(), called)?);
            ("assistant", content)
        }
        "tool" => {
            let tool_use_id = id(required("tool_call_id", turn.tool_call_id.as_ref())?);
            ("user", vec![Block::ToolResult { tool_use_id, content: spoken(turn)? }])
        }
        role => {
            let message = format!("role {role:?} is none of system, developer, user, assistant, tool");
            return Err(refuse("role", message));
        }
    };
    Ok(Some(Message { role, content }))
}

/// A message's content. Empty texts are left out: Anthropic refuses them.
fn spoken<'a>(turn: &Turn<'a>) -> Result<Vec<Block<'a>>, Refused> {
    let Some(content) = turn.content else { return Ok(Vec::new()) };
    let blocks = if content.get().starts_with('"') {
        let text: Text<'a> = read_part("content", Some(content))?;
        vec![Block::Text { text: text.0, cache_control: None }]
    } else {
        let parts: Vec<Part<'a>> = read_part("content", Some(content))?;
        each("content", &parts, shown)?
    };
    Ok(blocks.into_iter().filter(|block| !matches!(block, Block::Text { text, .. } if text.is_empty())).collect())
}

fn shown<'a>(part: &Part<'a>) -> Result<Block<'a>, Refused> {
    match &*part.kind {
        "text" => Ok(text(required("text", part.text.as_ref())?, part.cache_control)),
        "refusal" => Ok(text(required("refusal", part.refusal.as_ref())?, part.cache_control)),
        "image_url" => {
            let url = match part.image_url {
                Some(url) if url.get().starts_with('"') => read_part("image_url", Some(url))?,
                url => read_part::<ImageUrl<'a>>("image_url", url)?.url,
            };
            Ok(Block::Image { source: source(url.0) })
        }
        "file" => {
            let file = part.file.as_ref().ok_or_else(|| missing("file"))?;
            let Some(data) = &file.file_data else {
                return Err(refuse("file", "files kept by a provider are not known to another one: send file_data"));
            };
            match source(data.0.clone()) {
                Source::Url { .. } => {
                    Err(refuse("file.file_data", "this is no data URL: data:application/pdf;base64,…"))
                }
                source @ Source::Base64 { .. } => Ok(Block::Document { source, title: file.filename.clone() }),
            }
        }
        kind => Err(refuse("type", format!("a part of type {kind:?} is nothing that this provider takes"))),
    }
}

fn text<'a>(text: &Text<'a>, cache_control: Option<&'a RawValue>) -> Block<'a> {
    Block::Text { text: text.0.clone(), cache_control }
}

/// The data in a data URL, or what another URL leads to.
fn source(url: Cow<'_, str>) -> Source<'_> {
    let Some((media_type, at)) = url.strip_prefix("data:").and_then(|rest| {
        let (before, _) = rest.split_once(',')?;
        let media_type = before.strip_suffix(";base64")?;
        let media_type = media_type.split(';').next().unwrap_or_default();
        Some((media_type.to_owned(), "data:".len() + before.len() + 1))
    }) else {
        return Source::Url { url };
    };
    let data = match url {
        Cow::Borrowed(url) => Cow::Borrowed(&url[at..]),
        Cow::Owned(mut url) => {
            url.drain(..at);
            Cow::Owned(url)
        }
    };
    Source::Base64 { media_type, data }
}

fn called<'a>(call: &'a Call<'a>) -> Result<Block<'a>, Refused> {
    let function = call.function.as_ref().ok_or_else(|| missing("function"))?;
    let input = object(function.arguments.as_deref().unwrap_or_default());
    Ok(Block::ToolUse { id: id(&call.id), name: &function.name, input })
}

/// The id as Anthropic takes it: letters, digits, `_` and `-`.
fn id<'a>(id: &'a str) -> Cow<'a, str> {
    let is_plain = |byte: char| byte.is_ascii_alphanumeric() || byte == '_' || byte == '-';
    if id.chars().all(is_plain) { id.into() } else { id.replace(|byte| !is_plain(byte), "_").into() }
}

fn declared<'a>(tool: &'a Tool<'a>) -> Result<Declared<'a>, Refused> {
    let kind = &*tool.kind;
    if kind != "function" {
        return Err(refuse(
            "type",
            format!("a tool of type {kind:?} cannot be declared to this provider; use a function"),
        ));
    }
    let function = tool.function.as_ref().ok_or_else(|| missing("function"))?;
    let nothing = || written(&json!({ "type": "object", "properties": {} }));
    Ok(Declared {
        name: &function.name,
        description: function.description.as_deref(),
        input_schema: function.parameters.map_or_else(nothing, Cow::Borrowed),
        strict: function.strict,
    })
}

fn chosen(asked: &Asked<'_>) -> Result<Option<Value>, Refused> {
    let mut choice = match asked.tool_choice {
        None => None,
        Some(choice) if choice.get().starts_with('"') => {
            let choice: Text<'_> = read_part("tool_choice", Some(choice))?;
            match &*choice {
                "auto" => Some(json!({ "type": "auto" })),
                "none" => Some(json!({ "type": "none" })),
                "required" => Some(json!({ "type": "any" })),
                _ => return Err(refuse("tool_choice", format!("{:?} is none of auto, none, required", &*choice))),
            }
        }
        Some(choice) => {
            let choice: ToolChoice<'_> = read_part("tool_choice", Some(choice))?;
            if &*choice.kind != "function" {
                let message = format!("a choice of type {:?} cannot be made here; name a function", &*choice.kind);
                return Err(within(refuse("type", message), "tool_choice"));
            }
            let function = choice.function.ok_or_else(|| within(missing("function"), "tool_choice"))?;
            Some(json!({ "type": "tool", "name": &*function.name }))
        }
    };
    if asked.parallel_tool_calls == Some(false) {
        let choice = choice.get_or_insert_with(|| json!({ "type": "auto" }));
        if choice["type"] != "none" {
            choice["disable_parallel_tool_use"] = true.into();
        }
    }
    Ok(choice)
}

fn stop_sequences<'a>(stop: &'a RawValue) -> Result<Vec<Text<'a>>, Refused> {
    if stop.get().starts_with('"') {
        return read_part("stop", Some(stop)).map(|text| vec![text]);
    }
    read_part("stop", Some(stop))
}

/// The effort in Anthropic's words; none if no thought is wanted.
fn effort_of(effort: &str) -> Result<Option<&'static str>, Refused> {
    match effort {
        "none" => Ok(None),
        "minimal" | "low" => Ok(Some("low")),
        "medium" => Ok(Some("medium")),
        "high" => Ok(Some("high")),
        "xhigh" => Ok(Some("xhigh")),
        "max" => Ok(Some("max")),
        _ => Err(refuse("reasoning_effort", format!("{effort:?} is none of none, minimal, low, medium, high, xhigh"))),
    }
}

fn format<'a>(format: &ResponseFormat<'a>) -> Result<Option<Format<'a>>, Refused> {
    match &*format.kind {
        "text" => Ok(None),
        "json_schema" => {
            let schema = format.json_schema.as_ref().and_then(|schema| schema.schema);
            let schema = schema.ok_or_else(|| missing("response_format.json_schema.schema"))?;
            Ok(Some(Format { kind: "json_schema", schema }))
        }
        kind => {
            let message = format!("this provider keeps to a json_schema, not to {kind:?}");
            Err(refuse("response_format.type", message))
        }
    }
}

fn written<'a>(value: &Value) -> Cow<'a, RawValue> {
    Cow::Owned(serde_json::value::to_raw_value(value).expect("plain data"))
}
