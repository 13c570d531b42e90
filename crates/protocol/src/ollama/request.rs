//! `chat` and `generate` on their way to the engine.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::answer::{Shape, Telling};
use super::fields::{Fields, refused};
use super::keep_alive::{self, KeepAlive};
use super::options::Options;
use super::sent::{Call, Content, Form, Function, Message, Part, Schema, Sent};
use super::{Endpoint, What, Wish};
use crate::{Moment, Refused, Request};

/// What every request has.
struct Common<'a> {
    /// As the client wrote it, and as it is told.
    asked: String,
    model: String,
    keep_alive: Option<KeepAlive>,
    options: Options<'a>,
    is_stream: bool,
}

impl<'a> Common<'a> {
    fn take(fields: &mut Fields<'a>) -> Result<Self, Refused> {
        let asked = asked(fields)?;
        Ok(Self {
            model: super::name(&asked).into_owned(),
            asked,
            keep_alive: keep_alive::take(fields)?,
            options: Options::take(fields)?,
            is_stream: fields.flag("stream")?.unwrap_or(true),
        })
    }

    /// Nothing is asked of the engine: the model is to be here, or to go.
    fn hold(self, shape: Shape, moment: &Moment) -> Wish {
        let telling = |reason| Telling::new(shape, self.asked.clone(), moment).held(reason);
        let what = match self.keep_alive {
            Some(over) if over.is_over() => What::Unload { done: telling("unload") },
            _ => What::Load { done: telling("load") },
        };
        Wish { model: self.model, keep_alive: self.keep_alive, context: self.options.context, what }
    }

    /// The engine is asked this, with the options and whatever a stream needs.
    fn ask(self, endpoint: Endpoint, shape: Shape, asked: Sent<'a>, moment: &Moment) -> Wish {
        let Options { sent: mut body, context, tokens_max } = self.options;
        if let Some(tokens) = tokens_max {
            body.insert(if endpoint == Endpoint::Infill { "n_predict" } else { "max_tokens" }, tokens);
        }
        body.insert("model", self.model.as_str());
        body.insert("stream", self.is_stream);
        if self.is_stream && endpoint != Endpoint::Infill {
            body.insert("stream_options", json!({ "include_usage": true }));
        }
        body.extend(asked);
        let answer = Box::new(Telling::new(shape, self.asked, moment));
        let request = Request { body: body.into_body(), answer };
        Wish { model: self.model, keep_alive: self.keep_alive, context, what: What::Ask { endpoint, request } }
    }
}

/// The model's name as the client wrote it.
pub(super) fn asked(fields: &mut Fields<'_>) -> Result<String, Refused> {
    // Some clients still say `name`, as earlier versions did.
    let model = match fields.text("model")? {
        None => fields.text("name")?,
        model => model,
    };
    model.filter(|model| !model.trim().is_empty()).ok_or_else(|| fields.wrong("model", "is missing: say which model"))
}

/// `POST /api/chat`.
///
/// # Errors
/// A field is not what it should be, or means what no engine can be told.
pub fn chat(body: &[u8], moment: Moment) -> Result<Wish, Refused> {
    let mut fields = Fields::of_body(body)?;
    let common = Common::take(&mut fields)?;
    let given = fields.objects("messages")?;
    if given.is_empty() {
        return Ok(common.hold(Shape::Chat, &moment));
    }
    let mut calls = Calls::default();
    let messages =
        given.into_iter().map(|message| self::message(message, &mut calls)).collect::<Result<Vec<_>, _>>()?;
    let mut asked = Sent::default();
    asked.set("messages", Part::Messages(messages));
    if let Some(tools) = fields.raw("tools") {
        let listed: Vec<&RawValue> =
            serde_json::from_str(tools.get()).map_err(|_| fields.wrong("tools", "must be a list"))?;
        if !listed.is_empty() {
            asked.set("tools", Part::Raw(tools));
        }
    }
    refine(&mut fields, &mut asked)?;
    Ok(common.ask(Endpoint::ChatCompletions, Shape::Chat, asked, &moment))
}

/// `POST /api/generate`.
///
/// # Errors
/// A field is not what it should be, or means what no engine can be told.
pub fn generate(body: &[u8], moment: Moment) -> Result<Wish, Refused> {
    let mut fields = Fields::of_body(body)?;
    let common = Common::take(&mut fields)?;
    let prompt = fields.text("prompt")?.unwrap_or_default();
    let suffix = fields.text("suffix")?.unwrap_or_default();
    let images = images(&mut fields)?;
    if prompt.is_empty() && suffix.is_empty() && images.is_empty() {
        return Ok(common.hold(Shape::Generate, &moment));
    }
    if fields.text("template")?.is_some_and(|template| !template.is_empty()) {
        let rule = "cannot be used here, as it is written in a language of Ollama's own; leave it out for the model's own \
                    template, or send the finished prompt with `\"raw\": true`";
        return Err(fields.wrong("template", rule));
    }
    let system = fields.text("system")?.filter(|system| !system.is_empty());
    let is_raw = fields.flag("raw")?.unwrap_or(false);
    if (is_raw || !suffix.is_empty()) && !images.is_empty() {
        return Err(fields.wrong("images", "need the model's template: leave out `raw` and `suffix`"));
    }
    let mut asked = Sent::default();
    if !suffix.is_empty() {
        asked.insert("input_prefix", prompt);
        asked.insert("input_suffix", suffix);
        return Ok(common.ask(Endpoint::Infill, Shape::Generate, asked, &moment));
    }
    if is_raw {
        asked.insert("prompt", prompt);
        match format(&mut fields)? {
            None => {}
            Some(Format::Json) => asked.insert("json_schema", json!({ "type": "object" })),
            Some(Format::Schema(schema)) => asked.set("json_schema", Part::Raw(schema)),
        }
        if let Some(alternatives) = logprobs(&mut fields)? {
            asked.insert("logprobs", alternatives.max(1));
        }
        return Ok(common.ask(Endpoint::Completions, Shape::Generate, asked, &moment));
    }
    let system = system.map(|text| Message::new("system", Content::Text(text)));
    let user = Message::new("user", Content::new(prompt, images));
    asked.set("messages", Part::Messages(system.into_iter().chain([user]).collect()));
    refine(&mut fields, &mut asked)?;
    Ok(common.ask(Endpoint::ChatCompletions, Shape::Generate, asked, &moment))
}

/// What chat completions are told beside the messages: the form of the answer, whether to think, likelihoods.
fn refine<'a>(fields: &mut Fields<'a>, asked: &mut Sent<'a>) -> Result<(), Refused> {
    match format(fields)? {
        None => {}
        Some(Format::Json) => asked.set("response_format", Part::Form(Form::JsonObject)),
        Some(Format::Schema(schema)) => {
            let json_schema = Schema { name: "answer", strict: true, schema };
            asked.set("response_format", Part::Form(Form::JsonSchema { json_schema }));
        }
    }
    match fields.take("think")? {
        None => {}
        Some(Value::Bool(thinks)) => asked.insert("chat_template_kwargs", json!({ "enable_thinking": thinks })),
        Some(Value::String(effort)) if ["low", "medium", "high", "max"].contains(&effort.as_str()) => {
            let of_template = json!({ "enable_thinking": true, "reasoning_effort": effort });
            asked.insert("chat_template_kwargs", of_template);
            asked.insert("reasoning_effort", effort);
        }
        Some(_) => return Err(fields.wrong("think", "must be true, false, `low`, `medium`, `high` or `max`")),
    }
    if let Some(alternatives) = logprobs(fields)? {
        asked.insert("logprobs", true);
        asked.insert("top_logprobs", alternatives);
    }
    Ok(())
}

/// How many alternatives are to be told for each token; `None` for not even its own likelihood.
fn logprobs(fields: &mut Fields<'_>) -> Result<Option<u64>, Refused> {
    let alternatives = fields.count("top_logprobs")?;
    let wanted = fields.flag("logprobs")?.unwrap_or(false);
    Ok(wanted.then(|| alternatives.unwrap_or(0)))
}

/// The form that an answer is to have.
enum Format<'a> {
    Json,
    Schema(&'a RawValue),
}

fn format<'a>(fields: &mut Fields<'a>) -> Result<Option<Format<'a>>, Refused> {
    match fields.raw("format") {
        None => Ok(None),
        Some(raw) => match raw.get() {
            r#""""# => Ok(None),
            r#""json""# => Ok(Some(Format::Json)),
            text if text.starts_with('{') => Ok(Some(Format::Schema(raw))),
            _ => Err(fields.wrong("format", "must be `json`, or a JSON schema")),
        },
    }
}

/// Calls that were made so far in a conversation and whose results have not come.
#[derive(Default)]
struct Calls {
    made: usize,
    open: VecDeque<Open>,
}

/// One of them.
struct Open {
    id: String,
    name: String,
}

impl Calls {
    /// The id of a call that has none: Ollama's clients know calls by their order, and by the tool's name.
    fn made(&mut self, id: Option<String>, name: &str) -> String {
        let id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("call_{}", self.made));
        self.made += 1;
        self.open.push_back(Open { id: id.clone(), name: name.to_owned() });
        id
    }

    /// The call that a result belongs to: the first that is open, of this tool if one is named.
    fn answered(&mut self, id: Option<String>, name: Option<&str>) -> String {
        let by_id = id.as_deref().and_then(|id| self.open.iter().position(|open| open.id == id));
        let by_name = || name.and_then(|name| self.open.iter().position(|open| open.name == name));
        let place = if id.is_some() { by_id } else { by_name().or((!self.open.is_empty()).then_some(0)) };
        let found = place.and_then(|place| self.open.remove(place)).map(|open| open.id);
        // A result without a call: the engine's template may make something of it.
        id.or(found).unwrap_or_else(|| format!("call_{}", self.made))
    }
}

fn message<'a>(mut given: Fields<'a>, calls: &mut Calls) -> Result<Message<'a>, Refused> {
    let role = given.text("role")?.filter(|role| !role.is_empty());
    let role = role.ok_or_else(|| given.wrong("role", "is missing: `system`, `user`, `assistant` or `tool`"))?;
    let text = given.text("content")?.unwrap_or_default();
    let images = images(&mut given)?;
    let mut message = Message::new(role, Content::new(text, images));
    message.reasoning_content = given.text("thinking")?.filter(|thinking| !thinking.is_empty());
    for mut call in given.objects("tool_calls")? {
        let mut function = call.object("function")?.ok_or_else(|| call.wrong("function", "is missing"))?;
        let name = function.text("name")?.ok_or_else(|| function.wrong("name", "is missing"))?;
        let arguments = match function.raw("arguments").map(RawValue::get) {
            None => Cow::Borrowed("{}"),
            Some(object) if object.starts_with('{') => Cow::Borrowed(object),
            // Text is not what Ollama says, but what other dialects do.
            Some(text) => serde_json::from_str::<String>(text)
                .map(Cow::Owned)
                .map_err(|_| function.wrong("arguments", "must be an object"))?,
        };
        let id = calls.made(call.text("id")?, &name);
        message.tool_calls.push(Call { id, function: Function { name, arguments } });
    }
    if message.role == "tool" {
        let id = given.text("tool_call_id")?.filter(|id| !id.is_empty());
        message.name = given.text("tool_name")?.filter(|name| !name.is_empty());
        message.tool_call_id = Some(calls.answered(id, message.name.as_deref()));
    }
    Ok(message)
}

/// Images in base64, as URLs that hold them.
fn images(fields: &mut Fields<'_>) -> Result<Vec<String>, Refused> {
    let path = fields.path_of("images");
    let url = |(index, image): (usize, &RawValue)| {
        // Only what is sent along: an address would have the engine fetch what the client may not see.
        let rule = "must be an image in base64";
        let wrong = || refused(format!("{path}[{index}]"), rule);
        let image: String = serde_json::from_str(image.get()).map_err(|_| wrong())?;
        if image.starts_with("data:image/") {
            return Ok(image);
        }
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_');
        if image.is_empty() || !image.bytes().all(is_base64) {
            return Err(wrong());
        }
        Ok(format!("data:{};base64,{image}", kind_of(&image)))
    };
    fields.list("images")?.into_iter().enumerate().map(url).collect()
}

/// The kind of an image, by how its base64 begins.
fn kind_of(image: &str) -> &'static str {
    let kinds = [("iVBORw0KGgo", "image/png"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp"), ("Qk", "image/bmp")];
    kinds.into_iter().find(|(start, _)| image.starts_with(start)).map_or("image/jpeg", |(_, kind)| kind)
}
