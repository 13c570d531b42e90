//! A request of the Messages API as one of chat completions.

mod answer;
mod asked;
mod completion;
mod sent;
mod sequence;

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use self::asked::{Asked, Block, Content, OutputFormat, Source, Thinking, Tool, ToolChoice, Turn};
use self::sent::{Call, Called, Chat, Declared, Function, ImageUrl, JsonSchema, Message, Part, ResponseFormat, Said};
use super::json::{Text, each, missing, read, read_part, refuse, required, within};
use crate::{Moment, Refused, Request};

/// Which fields the other side knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fields {
    /// OpenAI's own and no others.
    OpenAi,
    /// Also those of llama.cpp and vLLM.
    Engines,
}

/// How long a `user` may be, in bytes: OpenAI refuses longer ones, and Claude Code sends longer ones.
const USER_MAX: usize = 64;

/// What Claude Code begins its system prompt with.
const STAMPED: &str = "x-anthropic-billing-header:";

/// The request in the other dialect, and the way back.
pub(super) fn request(body: &[u8], moment: Moment, fields: Fields) -> Result<Request, Refused> {
    let asked: Asked<'_> = read(body)?;
    let body = converted(&asked, fields)?;
    Ok(Request { body, answer: Box::new(answer::Message::new(&asked, moment)) })
}

/// The request in the other dialect, of which nothing is to come back.
pub(super) fn prompt(body: &[u8]) -> Result<Vec<u8>, Refused> {
    converted(&read(body)?, Fields::Engines)
}

fn converted(asked: &Asked<'_>, fields: Fields) -> Result<Vec<u8>, Refused> {
    if asked.mcp_servers.as_ref().is_some_and(|servers| !servers.is_empty()) {
        let message = "Anthropic's own servers would call these; let the client call them, and declare their tools";
        return Err(refuse("mcp_servers", message));
    }
    let is_engine = fields == Fields::Engines;
    let system = asked.system.as_ref().map(system).transpose().map_err(|refused| within(refused, "system"))?;
    let mut messages = Vec::with_capacity(asked.messages.len() + 1);
    messages.extend(system.filter(|text| !text.is_empty()).map(|text| Message::of("system", Said::Text(text))));
    messages.extend(each("messages", &asked.messages, |turn| turned(turn, fields))?.into_iter().flatten());

    let tools = each("tools", asked.tools.as_deref().unwrap_or_default(), declared)?;
    let choice = asked.tool_choice.as_ref().filter(|_| !tools.is_empty());
    let is_single = choice.is_some_and(|choice| choice.disable_parallel_tool_use == Some(true));
    let config = asked.output_config.as_ref();
    let format = config.and_then(|config| config.format.as_ref()).or(asked.output_format.as_ref());
    let effort = config.and_then(|config| config.effort.as_ref());
    let thinking = asked.thinking.as_ref().filter(|_| is_engine);
    let is_stream = asked.stream == Some(true);
    let user = asked.metadata.as_ref().and_then(|metadata| metadata.user_id.as_deref());
    let request = Chat {
        model: &asked.model,
        messages,
        tools,
        tool_choice: choice.map(chosen).transpose()?,
        parallel_tool_calls: is_single.then_some(false),
        max_tokens: asked.max_tokens.filter(|_| is_engine),
        max_completion_tokens: asked.max_tokens.filter(|_| !is_engine),
        stop: asked.stop_sequences.as_deref().unwrap_or_default(),
        temperature: asked.temperature.as_ref(),
        top_p: asked.top_p.as_ref(),
        top_k: asked.top_k.as_ref().filter(|_| is_engine),
        response_format: format.map(response_format).transpose()?,
        reasoning_effort: effort.map(|effort| reasoning_effort(effort)).transpose()?,
        chat_template_kwargs: template_kwargs(asked.chat_template_kwargs.as_ref().filter(|_| is_engine), thinking),
        thinking_budget_tokens: thinking.and_then(|thinking| thinking.budget_tokens),
        user: user.filter(|user| user.len() <= USER_MAX),
        stream: is_stream.then_some(true),
        stream_options: is_stream.then(|| json!({ "include_usage": true })),
    };
    Ok(serde_json::to_vec(&request).expect("a request is plain data"))
}

/// The system prompt as one text.
fn system<'a>(content: &'a Content<'a>) -> Result<Cow<'a, str>, Refused> {
    match content {
        Content::Text(text) => Ok(without_stamp(text).into()),
        Content::Blocks(blocks) => {
            let texts = each("", blocks, |block| match &*block.kind {
                "text" => Ok(without_stamp(required("text", block.text.as_ref())?)),
                kind => Err(unknown(kind)),
            })?;
            Ok(joined(texts.into_iter().filter(|text| !text.is_empty()).map(Cow::Borrowed).collect()))
        }
    }
}

/// The text without the stamp of Claude Code, which is another one in each request: `…; cch=a5145;` and what is before it.
fn without_stamp(text: &str) -> &str {
    let Some(stamp) = text.strip_prefix(STAMPED) else { return text };
    let Some((_, stamp)) = stamp.split_once("cch=") else { return text };
    stamp.split_once(';').map_or(text, |(_, rest)| rest.trim_start())
}

/// The messages that one message becomes: results of tools stand alone, before whatever else was said with them.
fn turned<'a>(turn: &'a Turn<'a>, fields: Fields) -> Result<Vec<Message<'a>>, Refused> {
    let messages = match &*turn.role {
        "user" => match &turn.content {
            Content::Text(text) => Ok(vec![Message::of("user", Said::Text(Cow::Borrowed(text)))]),
            Content::Blocks(blocks) => user(blocks),
        },
        "assistant" => match &turn.content {
            Content::Text(text) => Ok(vec![Message::of("assistant", Said::Text(Cow::Borrowed(text)))]),
            Content::Blocks(blocks) => assistant(blocks, fields),
        },
        "system" => system(&turn.content).map(|text| vec![Message::of("system", Said::Text(text))]),
        role => return Err(refuse("role", format!("role {role:?} is neither user nor assistant nor system"))),
    };
    messages.map_err(|refused| within(refused, "content"))
}

fn user<'a>(blocks: &'a [Block<'a>]) -> Result<Vec<Message<'a>>, Refused> {
    let mut messages = Vec::new();
    let mut images = Vec::new();
    let mut parts = Vec::new();
    each("", blocks, |block| {
        match &*block.kind {
            "tool_result" => messages.push(result(block, &mut images)?),
            _ => parts.extend(shown(block)?),
        }
        Ok(())
    })?;
    if !images.is_empty() {
        // A tool message is text to most engines, so its images follow in the user's name.
        let text = "The images of the results above, in their order:".into();
        parts.splice(0..0, std::iter::once(Part::Text { text }).chain(images));
    }
    if !parts.is_empty() {
        messages.push(Message::of("user", said(parts)));
    }
    Ok(messages)
}

fn assistant<'a>(blocks: &'a [Block<'a>], fields: Fields) -> Result<Vec<Message<'a>>, Refused> {
    let mut texts = Vec::new();
    let mut thoughts = Vec::new();
    let mut tool_calls = Vec::new();
    each("", blocks, |block| {
        match &*block.kind {
            "text" => texts.push(Cow::Borrowed(&**required("text", block.text.as_ref())?)),
            "thinking" => thoughts.push(Cow::Borrowed(&**required("thinking", block.thinking.as_ref())?)),
            // Only Anthropic can read it.
            "redacted_thinking" => {}
            "tool_use" => tool_calls.push(call(block)?),
            kind => return Err(unknown(kind)),
        }
        Ok(())
    })?;
    thoughts.retain(|text| !text.is_empty() && fields == Fields::Engines);
    if texts.is_empty() && thoughts.is_empty() && tool_calls.is_empty() {
        return Ok(Vec::new());
    }
    let reasoning_content = (!thoughts.is_empty()).then(|| joined(thoughts));
    Ok(vec![Message { reasoning_content, tool_calls, ..Message::of("assistant", Said::Text(joined(texts))) }])
}

/// A block that a person may send as well: text, an image, a document, what a search found.
fn shown<'a>(block: &Block<'a>) -> Result<Vec<Part<'a>>, Refused> {
    match &*block.kind {
        "text" => Ok(vec![text(required("text", block.text.as_ref())?.0.clone())]),
        "image" => Ok(vec![image(read_part("source", block.source)?).map_err(|refused| within(refused, "source"))?]),
        "document" => {
            let source = read_part("source", block.source)?;
            let mut parts = document(source).map_err(|refused| within(refused, "source"))?;
            let heading = [&block.title, &block.context].into_iter().flatten().filter(|words| !words.is_empty());
            let heading: Vec<_> = heading.map(|words| words.0.clone()).collect();
            if !heading.is_empty() {
                parts.insert(0, text(joined(heading)));
            }
            Ok(parts)
        }
        "search_result" => {
            let source: Text<'_> = read_part("source", block.source)?;
            let title = block.title.as_deref().unwrap_or_default();
            let heading = format!("{title}\n{source}");
            let found = parts_of(read_part("content", block.content)?).map_err(|refused| within(refused, "content"))?;
            Ok(std::iter::once(text(heading.trim_ascii().to_owned().into())).chain(found).collect())
        }
        "tool_reference" => {
            // Every tool is declared from the start, also one that its client would have found later.
            let name = required("tool_name", block.tool_name.as_ref())?;
            Ok(vec![text(format!("The tool {name} can be called.").into())])
        }
        kind => Err(unknown(kind)),
    }
}

/// What may stand within a block: text and images.
fn parts_of(content: Content<'_>) -> Result<Vec<Part<'_>>, Refused> {
    match content {
        Content::Text(words) => Ok(vec![text(words.0)]),
        Content::Blocks(blocks) => each("", &blocks, |block| match &*block.kind {
            "text" => Ok(text(required("text", block.text.as_ref())?.0.clone())),
            "image" => image(read_part("source", block.source)?).map_err(|refused| within(refused, "source")),
            kind => Err(unknown(kind)),
        }),
    }
}

fn image(source: Source<'_>) -> Result<Part<'_>, Refused> {
    let url = match &*source.kind {
        "base64" => {
            let media_type = required("media_type", source.media_type.as_ref())?;
            let data = required("data", source.data.as_ref())?;
            format!("data:{media_type};base64,{data}").into()
        }
        "url" => required("url", source.url.as_ref())?.0.clone(),
        kind => {
            return Err(refuse(
                "type",
                format!("an image of source {kind:?} is Anthropic's to read; send it as base64"),
            ));
        }
    };
    Ok(Part::ImageUrl { image_url: ImageUrl { url } })
}

fn document(source: Source<'_>) -> Result<Vec<Part<'_>>, Refused> {
    match &*source.kind {
        "text" => Ok(vec![text(required("data", source.data.as_ref())?.0.clone())]),
        "content" => {
            let content = source.content.ok_or_else(|| missing("content"))?;
            parts_of(content).map_err(|refused| within(refused, "content"))
        }
        kind => {
            let message =
                format!("a document of source {kind:?} cannot be read here; send its text, or images of its pages");
            Err(refuse("type", message))
        }
    }
}

/// What a tool answered. Its images go to `images`.
fn result<'a>(block: &'a Block<'a>, images: &mut Vec<Part<'a>>) -> Result<Message<'a>, Refused> {
    let id = required("tool_use_id", block.tool_use_id.as_ref())?;
    let content = match block.content {
        None => Content::Blocks(Vec::new()),
        content => read_part("content", content)?,
    };
    let parts = match content {
        Content::Text(words) => vec![text(words.0)],
        Content::Blocks(blocks) => each("content", &blocks, shown)?.into_iter().flatten().collect(),
    };
    let mut texts = Vec::new();
    for part in parts {
        match part {
            Part::Text { text } => texts.push(text),
            image @ Part::ImageUrl { .. } => {
                texts.push("(an image, in the next message)".into());
                images.push(image);
            }
        }
    }
    let mut said = joined(texts);
    if block.is_error == Some(true) {
        said = format!("Error: {said}").into();
    }
    Ok(Message { tool_call_id: Some(id), ..Message::of("tool", Said::Text(said)) })
}

fn call<'a>(block: &'a Block<'_>) -> Result<Call<'a>, Refused> {
    Ok(Call {
        id: required("id", block.id.as_ref())?,
        kind: "function",
        function: Called {
            name: required("name", block.name.as_ref())?,
            arguments: block.input.map_or("{}", |input| input.get()),
        },
    })
}

fn declared<'a>(tool: &'a Tool<'a>) -> Result<Function<'a>, Refused> {
    match tool.kind.as_deref() {
        None | Some("custom") => {}
        Some(kind) => return Err(foreign_tool(kind)),
    }
    let function = Declared {
        name: required("name", tool.name.as_ref())?,
        description: tool.description.as_deref(),
        parameters: tool.input_schema.ok_or_else(|| missing("input_schema"))?,
        strict: tool.strict,
    };
    Ok(Function { kind: "function", function })
}

/// A tool that Anthropic's models know by its type alone.
fn foreign_tool(kind: &str) -> Refused {
    const FOR_CLIENTS: [&str; 5] = ["bash_", "text_editor_", "memory_", "computer_", "browser_"];
    let message = if FOR_CLIENTS.iter().any(|known| kind.starts_with(known)) {
        format!("only Anthropic's models know a tool of type {kind:?}; declare it with a name and an input_schema")
    } else {
        format!("a tool of type {kind:?} is run by Anthropic's own servers; declare one that the client runs")
    };
    refuse("type", message)
}

fn chosen(choice: &ToolChoice<'_>) -> Result<Value, Refused> {
    let chosen = match &*choice.kind {
        "auto" => Ok("auto".into()),
        "any" => Ok("required".into()),
        "none" => Ok("none".into()),
        "tool" => required("name", choice.name.as_ref())
            .map(|name| json!({ "type": "function", "function": { "name": &**name } })),
        kind => Err(refuse("type", format!("{kind:?} is none of auto, any, tool, none"))),
    };
    chosen.map_err(|refused| within(refused, "tool_choice"))
}

fn response_format<'a>(format: &OutputFormat<'a>) -> Result<ResponseFormat<'a>, Refused> {
    if &*format.kind != "json_schema" {
        return Err(refuse("output_config.format.type", format!("{:?} is not json_schema", &*format.kind)));
    }
    let schema = format.schema.ok_or_else(|| missing("output_config.format.schema"))?;
    Ok(ResponseFormat { kind: "json_schema", json_schema: JsonSchema { name: "answer", strict: true, schema } })
}

/// OpenAI has none above `high` that all its models know.
fn reasoning_effort(effort: &str) -> Result<&'static str, Refused> {
    match effort {
        "low" => Ok("low"),
        "medium" => Ok("medium"),
        "high" | "xhigh" | "max" => Ok("high"),
        _ => Err(refuse("output_config.effort", format!("{effort:?} is none of low, medium, high, xhigh, max"))),
    }
}

/// What the client wrote, and whether the model is to think, unless that was written too.
fn template_kwargs(
    written: Option<&Map<String, Value>>,
    thinking: Option<&Thinking<'_>>,
) -> Option<Map<String, Value>> {
    let is_on = match thinking.map(|thinking| &*thinking.kind) {
        Some("enabled") => Some(true),
        Some("disabled") => Some(false),
        _ => None,
    };
    let mut kwargs = written.cloned();
    if let Some(is_on) = is_on {
        kwargs.get_or_insert_default().entry("enable_thinking").or_insert(is_on.into());
    }
    kwargs
}

fn text(text: Cow<'_, str>) -> Part<'_> {
    Part::Text { text }
}

/// A single text is sent as such: clients write it both ways from one turn to the next.
fn said(mut parts: Vec<Part<'_>>) -> Said<'_> {
    match parts.as_mut_slice() {
        [Part::Text { text }] => Said::Text(std::mem::take(text)),
        _ => Said::Parts(parts),
    }
}

fn joined(mut texts: Vec<Cow<'_, str>>) -> Cow<'_, str> {
    match texts.as_mut_slice() {
        [text] => std::mem::take(text),
        _ => texts.join("\n\n").into(),
    }
}

fn unknown(kind: &str) -> Refused {
    let is_servers =
        kind.ends_with("_tool_result") || ["server_tool_use", "mcp_tool_use", "container_upload"].contains(&kind);
    let message = if is_servers {
        format!("a block of type {kind:?} is about what Anthropic's own servers run; leave it out")
    } else {
        format!("a block of type {kind:?} has no counterpart here")
    };
    refuse("type", message)
}
