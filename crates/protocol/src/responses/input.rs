//! The items of a conversation as messages.
//!
//! What the model did in one turn (thought, spoke, called) are several items there and one message here.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::tools::CUSTOM_ARGUMENT;
use crate::Refused;
use crate::fields::{Fields, inside, is_list, list, refused, text};

/// A message of a chat completions request.
#[derive(Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub(super) enum Message<'a> {
    System { content: Content<'a> },
    User { content: Content<'a> },
    Assistant(Turn<'a>),
    Tool { tool_call_id: Cow<'a, str>, content: Content<'a> },
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part<'a> {
    Text { text: Cow<'a, str> },
    ImageUrl { image_url: ImageUrl<'a> },
    InputAudio { input_audio: &'a RawValue },
    File { file: File<'a> },
}

#[derive(Serialize)]
pub(super) struct ImageUrl<'a> {
    url: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a RawValue>,
}

#[derive(Serialize)]
pub(super) struct File<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    filename: Option<&'a RawValue>,
    file_data: &'a RawValue,
}

/// What the model did between two things that others said.
#[derive(Default, Serialize)]
pub(super) struct Turn<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<Cow<'a, str>>,
    content: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
}

#[derive(Serialize)]
struct Call<'a> {
    id: Cow<'a, str>,
    #[serde(rename = "type")]
    kind: &'static str,
    function: CalledFunction<'a>,
}

#[derive(Serialize)]
struct CalledFunction<'a> {
    name: Cow<'a, str>,
    arguments: Cow<'a, str>,
}

/// Takes `instructions` and `input`.
pub(super) fn messages<'a>(fields: &mut Fields<'a>) -> Result<Vec<Message<'a>>, Refused> {
    let mut conversation = Conversation::default();
    if let Some(instructions) = fields.text("", "instructions")? {
        conversation.system(Content::Text(instructions));
    }
    fields.take("instructions");
    let Some(input) = fields.take("input") else {
        return Err(refused("input", "`input` is missing: it must be a string or a list of items"));
    };
    if is_list(input) {
        for (at, item) in list(input, "input")? {
            conversation.item(&Fields::of(item, &at)?, &at)?;
        }
    } else {
        let content =
            text(input, "input").map_err(|_| refused("input", "`input` must be a string or a list of items"))?;
        conversation.push(Message::User { content: Content::Text(content) });
    }
    conversation.end_turn();
    Ok(conversation.messages)
}

#[derive(Default)]
struct Conversation<'a> {
    messages: Vec<Message<'a>>,
    /// The model's turn, if it is its turn.
    turn: Option<Turn<'a>>,
    /// What calls gave that is not text, told once all their answers stand: a tool's message holds text only.
    given: Vec<Part<'a>>,
}

impl<'a> Conversation<'a> {
    fn push(&mut self, message: Message<'a>) {
        self.end_turn();
        self.messages.push(message);
    }

    /// The model's turn, which begins here if it has not.
    fn turn(&mut self) -> &mut Turn<'a> {
        self.tell_what_was_given();
        self.turn.get_or_insert_default()
    }

    fn tell_what_was_given(&mut self) {
        if !self.given.is_empty() {
            let content = Content::Parts(std::mem::take(&mut self.given));
            self.messages.push(Message::User { content });
        }
    }

    fn end_turn(&mut self) {
        self.tell_what_was_given();
        if let Some(mut turn) = self.turn.take() {
            if turn.tool_calls.is_empty() {
                // A message says something, even if that is nothing.
                turn.content.get_or_insert_default();
            }
            self.messages.push(Message::Assistant(turn));
        }
    }

    fn item(&mut self, item: &Fields<'a>, at: &str) -> Result<(), Refused> {
        let kind = match item.text(at, "type")? {
            Some(kind) => kind,
            None if item.get("role").is_some() => Cow::Borrowed("message"),
            None if item.get("id").is_some() => Cow::Borrowed("item_reference"),
            None => {
                let at = inside(at, "type");
                return Err(refused(at.as_str(), format!("`{at}` is missing")));
            }
        };
        match kind.as_ref() {
            "message" => self.message(item, at),
            "reasoning" => self.reasoning(item, at),
            "function_call" => {
                let arguments = item.needed_text(at, "arguments")?;
                self.call(item, at, arguments)
            }
            "custom_tool_call" => {
                let input = item.needed_text(at, "input")?;
                let arguments = serde_json::json!({ CUSTOM_ARGUMENT: input }).to_string();
                self.call(item, at, Cow::Owned(arguments))
            }
            "function_call_output" | "custom_tool_call_output" => {
                let tool_call_id = item.needed_text(at, "call_id")?;
                let output = content(item.get("output"), &inside(at, "output"))?;
                self.answered(tool_call_id, output);
                Ok(())
            }
            "item_reference" => Err(refused(
                at,
                format!(
                    "`{at}` refers to an item that was to be stored, and none are stored here; send the item itself"
                ),
            )),
            other => Err(refused(
                at,
                format!(
                    "`{at}` is of type `{other}`, which has no counterpart here: tools that others host are not; leave it out"
                ),
            )),
        }
    }

    fn message(&mut self, item: &Fields<'a>, at: &str) -> Result<(), Refused> {
        let role = item.needed_text(at, "role")?;
        let place = inside(at, "content");
        let value = item.get("content");
        match role.as_ref() {
            "user" => self.push(Message::User { content: content(value, &place)? }),
            "system" | "developer" => self.system(content(value, &place)?),
            "assistant" => self.spoken(spoken(value, &place)?),
            other => {
                let at = inside(at, "role");
                let message = format!("`{at}` is `{other}`: it must be `user`, `assistant`, `system` or `developer`");
                return Err(refused(at.as_str(), message));
            }
        }
        Ok(())
    }

    /// Instructions. Before the conversation begins there is one message of them.
    fn system(&mut self, content: Content<'a>) {
        if let ([Message::System { content: Content::Text(before) }], None, Content::Text(more)) =
            (&mut self.messages[..], &self.turn, &content)
        {
            let before = before.to_mut();
            before.push_str("\n\n");
            before.push_str(more);
            return;
        }
        self.push(Message::System { content });
    }

    fn spoken(&mut self, text: Cow<'a, str>) {
        match &mut self.turn {
            // The answers to calls must follow them at once: what was said between the two was said in the same turn.
            Some(turn) if !turn.tool_calls.is_empty() => join(&mut turn.content, text, ""),
            Some(turn) if turn.content.is_none() => turn.content = Some(text),
            _ => {
                self.end_turn();
                self.turn().content = Some(text);
            }
        }
    }

    fn reasoning(&mut self, item: &Fields<'a>, at: &str) -> Result<(), Refused> {
        let mut parts = item.list(at, "content")?;
        if parts.is_empty() {
            parts = item.list(at, "summary")?;
        }
        let mut thoughts = None;
        for (at, part) in parts {
            join(&mut thoughts, Fields::of(part, &at)?.needed_text(&at, "text")?, "\n\n");
        }
        // What is encrypted only its maker can read.
        let Some(thoughts) = thoughts else { return Ok(()) };
        if self.turn.as_ref().is_some_and(|turn| turn.content.is_some() && turn.tool_calls.is_empty()) {
            self.end_turn();
        }
        join(&mut self.turn().reasoning_content, thoughts, "\n\n");
        Ok(())
    }

    fn answered(&mut self, tool_call_id: Cow<'a, str>, output: Content<'a>) {
        let content = match output {
            Content::Text(text) => Content::Text(text),
            Content::Parts(parts) => {
                let (texts, others): (Vec<_>, Vec<_>) =
                    parts.into_iter().partition(|part| matches!(part, Part::Text { .. }));
                if !others.is_empty() {
                    self.given.push(Part::Text { text: Cow::Owned(format!("The call {tool_call_id} gave:")) });
                    self.given.extend(others);
                }
                Content::of(texts)
            }
        };
        let given = std::mem::take(&mut self.given);
        self.push(Message::Tool { tool_call_id, content });
        self.given = given;
    }

    fn call(&mut self, item: &Fields<'a>, at: &str, arguments: Cow<'a, str>) -> Result<(), Refused> {
        let id = item.needed_text(at, "call_id")?;
        let name = item.needed_text(at, "name")?;
        let function = CalledFunction { name, arguments };
        self.turn().tool_calls.push(Call { id, kind: "function", function });
        Ok(())
    }
}

/// Text after text.
fn join<'a>(text: &mut Option<Cow<'a, str>>, more: Cow<'a, str>, between: &str) {
    match text {
        None => *text = Some(more),
        Some(text) => {
            let text = text.to_mut();
            text.push_str(between);
            text.push_str(&more);
        }
    }
}

impl<'a> Content<'a> {
    /// One text is written as such: not every engine reads parts.
    fn of(mut parts: Vec<Part<'a>>) -> Self {
        match &mut parts[..] {
            [] => Self::Text(Cow::Borrowed("")),
            [Part::Text { text }] => Self::Text(std::mem::take(text)),
            _ => Self::Parts(parts),
        }
    }
}

/// What somebody else than the model says.
fn content<'a>(value: Option<&'a RawValue>, at: &str) -> Result<Content<'a>, Refused> {
    let value = needed_content(value, at)?;
    if !is_list(value) {
        return Ok(Content::Text(text(value, at).map_err(|_| not_content(at))?));
    }
    let mut parts = Vec::new();
    for (at, value) in list(value, at)? {
        parts.push(part(&Fields::of(value, &at)?, &at)?);
    }
    Ok(Content::of(parts))
}

/// What the model said. A refusal is something that it said.
fn spoken<'a>(value: Option<&'a RawValue>, at: &str) -> Result<Cow<'a, str>, Refused> {
    let value = needed_content(value, at)?;
    if !is_list(value) {
        return text(value, at).map_err(|_| not_content(at));
    }
    let mut said = None;
    for (at, value) in list(value, at)? {
        let part = Fields::of(value, &at)?;
        let text = match part.needed_text(&at, "type")?.as_ref() {
            "output_text" | "input_text" => part.needed_text(&at, "text")?,
            "refusal" => part.needed_text(&at, "refusal")?,
            other => {
                let message =
                    format!("`{at}` is of type `{other}`: what an assistant says is `output_text` or `refusal`");
                return Err(refused(at.as_str(), message));
            }
        };
        join(&mut said, text, "");
    }
    Ok(said.unwrap_or_default())
}

fn part<'a>(part: &Fields<'a>, at: &str) -> Result<Part<'a>, Refused> {
    match part.needed_text(at, "type")?.as_ref() {
        "input_text" | "output_text" => Ok(Part::Text { text: part.needed_text(at, "text")? }),
        "input_image" => {
            let Some(url) = part.raw_text(at, "image_url")? else { return Err(no_uploads(part, at, "image_url")) };
            Ok(Part::ImageUrl { image_url: ImageUrl { url, detail: part.raw_text(at, "detail")? } })
        }
        "input_file" => {
            let Some(file_data) = part.raw_text(at, "file_data")? else {
                return Err(no_uploads(part, at, "file_data"));
            };
            Ok(Part::File { file: File { filename: part.raw_text(at, "filename")?, file_data } })
        }
        "input_audio" => {
            let Some(input_audio) = part.get("input_audio") else {
                let at = inside(at, "input_audio");
                return Err(refused(at.as_str(), format!("`{at}` is missing: it must be an object")));
            };
            Ok(Part::InputAudio { input_audio })
        }
        other => {
            let message = format!(
                "`{at}` is of type `{other}`: it must be `input_text`, `input_image`, `input_file` or `input_audio`"
            );
            Err(refused(at, message))
        }
    }
}

/// A file that is somewhere else.
fn no_uploads(part: &Fields<'_>, at: &str, instead: &str) -> Refused {
    let elsewhere = ["file_id", "file_url"].into_iter().find(|name| part.get(name).is_some());
    let at = inside(at, elsewhere.unwrap_or(instead));
    let message = match elsewhere {
        Some("file_id") => {
            format!("`{at}` names an uploaded file, and none are kept here; send its contents as `{instead}`")
        }
        Some(_) => format!("`{at}` names a file that nobody here fetches; send its contents as `{instead}`"),
        None => format!("`{at}` is missing: it must be a string"),
    };
    refused(at.as_str(), message)
}

fn needed_content<'a>(value: Option<&'a RawValue>, at: &str) -> Result<&'a RawValue, Refused> {
    value.ok_or_else(|| refused(at, format!("`{at}` is missing: it must be a string or a list of parts")))
}

fn not_content(at: &str) -> Refused {
    refused(at, format!("`{at}` must be a string or a list of parts"))
}
