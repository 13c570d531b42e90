//! The provider that is nobody: canned answers, for demos and tests, without an engine.
//!
//! It answers with what the first `<echo>…</echo>` of a request holds, else with a hint how to get something else. What it
//! says is labelled: `x-snug-provider: mock`, `system_fingerprint` is `mock`. A token is four characters here.

mod stream;
mod vector;

use std::sync::Arc;
use std::time::SystemTime;

use api::ErrorType;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use route::Listing;
use serde_json::{Map, Value, json};
use types::{ByteCount, InstanceId, ModelId, ModelKey, Variant};

use crate::ApiError;
use crate::endpoint::Endpoint;
use crate::meter::Usage;
use crate::reply::Reply;
use crate::source::{By, Source};
use crate::speaks::Prepared;
use stream::Events;

const X_SNUG_PROVIDER: HeaderName = HeaderName::from_static("x-snug-provider");

/// Its name, wherever a name is asked for.
const MOCK: &str = "mock";

/// Said where there is nothing to echo.
const HINT: &str =
    "This is the mock provider: it runs no model. Write <echo>a text</echo> and it answers with that text.";

/// Largest request it reads: it builds the JSON tree that engines are spared.
const LARGEST_REQUEST: ByteCount = ByteCount::mib(4);

/// Longest answer, in tokens.
const MOST_TOKENS: usize = 1 << 16;

/// Characters of a token.
const TOKEN: usize = 4;

/// Most answers to one request.
const MOST_CHOICES: usize = 128;

enum Said {
    Whole(Value),
    Stream(Events),
}

/// One answer to a prompt.
#[derive(Clone)]
struct Choice {
    text: Arc<str>,
    finish_reason: &'static str,
}

/// What all parts of an answer begin with.
struct Head {
    endpoint: Endpoint,
    id: String,
    created: u64,
    model: String,
}

/// What there is to say to a request for the model of this listing, which the request calls `name`.
pub(crate) fn answer(prepared: Prepared, listing: &Listing, name: &str) -> Result<Reply, ApiError> {
    let Prepared { endpoint, body, answer } = prepared;
    if body.len() as u64 > LARGEST_REQUEST.as_u64() {
        let message = format!("the mock provider reads requests of at most {LARGEST_REQUEST}");
        let kind = ErrorType::InvalidRequestError;
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, kind, "body_too_large", message));
    }
    let request: Map<String, Value> = serde_json::from_slice(&body)
        .map_err(|error| ApiError::bad_request("invalid_json", format!("the request cannot be read: {error}")))?;
    let head = Head::new(endpoint, name);
    let (said, usage) = match endpoint {
        Endpoint::Embeddings => embeddings(&head, &request)?,
        Endpoint::Completions => completions(head, &request, &prompts(&request)?)?,
        _ => completions(head, &request, &[conversation(&request)?])?,
    };
    let variant = listing.quantization.as_deref().unwrap_or_default();
    let model = ModelKey { id: ModelId::new(listing.id.as_str()), variant: Variant::new(variant) };
    let by = By { instance: InstanceId::new(MOCK), model };
    let (kind, source) = match said {
        Said::Whole(body) => ("application/json", Source::Whole { body: Some(body.to_string().into()), by }),
        Said::Stream(events) => ("text/event-stream", Source::Mock { pieces: Box::new(events), usage, by }),
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(X_SNUG_PROVIDER, HeaderValue::from_static(MOCK));
    Ok(Reply::new(StatusCode::OK, headers, source, answer))
}

impl Head {
    fn new(endpoint: Endpoint, name: &str) -> Self {
        let prefix = if endpoint == Endpoint::ChatCompletions { "chatcmpl" } else { "cmpl" };
        // Without a source of randomness the ids repeat, which harms nobody.
        let id = format!("{prefix}-{MOCK}-{:016x}", getrandom::u64().unwrap_or_default());
        let created = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        Self { endpoint, id, created, model: name.to_owned() }
    }

    /// A whole answer, or one part of it.
    fn object(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model,
            "system_fingerprint": MOCK, "choices": choices,
        })
    }
}

/// The answers to all prompts, as one or in pieces.
fn completions(head: Head, request: &Map<String, Value>, prompts: &[String]) -> Result<(Said, Usage), ApiError> {
    let answers = number(request, "n", 1)?;
    let all = answers.saturating_mul(prompts.len());
    if answers == 0 || all > MOST_CHOICES {
        return Err(refused("n", format!("`n` must ask for 1 to {MOST_CHOICES} answers in all, not {all}")));
    }
    let limit = if request.get("max_tokens").is_some_and(|limit| !limit.is_null()) {
        number(request, "max_tokens", MOST_TOKENS)?
    } else {
        number(request, "max_completion_tokens", MOST_TOKENS)?
    };
    let stops = stops(request)?;
    let stream = flag(request, "stream", "stream")?;
    let with_usage = match request.get("stream_options") {
        None | Some(Value::Null) => false,
        Some(Value::Object(options)) => flag(options, "include_usage", "stream_options")?,
        Some(_) => return Err(refused("stream_options", "`stream_options` must be an object")),
    };
    let choices: Vec<Choice> = prompts
        .iter()
        .map(|prompt| Choice::to(prompt, &stops, limit.min(MOST_TOKENS)))
        .flat_map(|choice| std::iter::repeat_n(choice, answers))
        .collect();
    let usage = Usage {
        prompt_tokens: prompts.iter().map(|prompt| tokens(prompt)).sum(),
        completion_tokens: choices.iter().map(|choice| tokens(&choice.text)).sum(),
        ..Usage::default()
    };
    let said = if stream {
        Said::Stream(Events::new(head, choices, with_usage.then_some(usage)))
    } else {
        Said::Whole(whole(&head, &choices, &usage))
    };
    Ok((said, usage))
}

fn whole(head: &Head, choices: &[Choice], usage: &Usage) -> Value {
    let is_chat = head.endpoint == Endpoint::ChatCompletions;
    let choice = |(index, Choice { text, finish_reason }): (usize, &Choice)| {
        let mut choice = json!({ "index": index, "finish_reason": finish_reason, "logprobs": null });
        if is_chat {
            choice["message"] = json!({ "role": "assistant", "content": &**text });
        } else {
            choice["text"] = json!(&**text);
        }
        choice
    };
    let choices = choices.iter().enumerate().map(choice).collect();
    let mut answer = head.object(if is_chat { "chat.completion" } else { "text_completion" }, choices);
    answer["usage"] = usage_object(usage);
    answer
}

fn usage_object(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    })
}

fn embeddings(head: &Head, request: &Map<String, Value>) -> Result<(Said, Usage), ApiError> {
    let inputs = inputs(request)?;
    let length = number(request, "dimensions", vector::USUAL_LENGTH)?;
    if !(1..=vector::LONGEST).contains(&length) {
        return Err(refused("dimensions", format!("`dimensions` must be from 1 to {}", vector::LONGEST)));
    }
    let encode: fn(&[f32]) -> Value = match request.get("encoding_format") {
        None | Some(Value::Null) => |vector| json!(vector),
        Some(format) if format == "float" => |vector| json!(vector),
        Some(format) if format == "base64" => |vector| json!(vector::base64(vector)),
        Some(_) => return Err(refused("encoding_format", "`encoding_format` must be \"float\" or \"base64\"")),
    };
    let row = |(index, text): (usize, &String)| json!({ "object": "embedding", "index": index, "embedding": encode(&vector::of(text, length)) });
    let data: Vec<Value> = inputs.iter().enumerate().map(row).collect();
    let prompt_tokens = inputs.iter().map(|text| tokens(text)).sum();
    let usage = Usage { prompt_tokens, ..Usage::default() };
    let answer = json!({
        "object": "list", "data": data, "model": head.model,
        "usage": { "prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens },
    });
    Ok((Said::Whole(answer), usage))
}

impl Choice {
    fn to(prompt: &str, stops: &[&str], limit: usize) -> Self {
        let text = echo(prompt).unwrap_or(HINT);
        let end = stops.iter().filter_map(|stop| text.find(stop)).min().unwrap_or(text.len());
        let text = &text[..end];
        match text.char_indices().nth(limit.saturating_mul(TOKEN)) {
            Some((end, _)) => Self { text: text[..end].into(), finish_reason: "length" },
            None => Self { text: text.into(), finish_reason: "stop" },
        }
    }
}

/// What the first `<echo>…</echo>` holds, however the tags are spelled, without blanks at its ends.
fn echo(text: &str) -> Option<&str> {
    const OPEN: &str = "<echo>";
    // Lower case of ASCII only: places stay the same.
    let lower = text.to_ascii_lowercase();
    let begin = lower.find(OPEN)? + OPEN.len();
    let length = lower[begin..].find("</echo>")?;
    Some(text[begin..begin + length].trim())
}

fn tokens(text: &str) -> u64 {
    text.chars().count().div_ceil(TOKEN) as u64
}

/// The text of all messages.
fn conversation(request: &Map<String, Value>) -> Result<String, ApiError> {
    let refused = |message: &str| refused("messages", message);
    let messages = match request.get("messages") {
        Some(Value::Array(messages)) if !messages.is_empty() => messages,
        Some(Value::Array(_)) => return Err(refused("`messages` must hold at least one message")),
        Some(_) => return Err(refused("`messages` must be a list of messages")),
        None => return Err(refused("`messages` is required")),
    };
    let mut texts = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let Value::Object(message) = message else {
            return Err(refused(&format!("`messages[{index}]` must be an object with `role` and `content`")));
        };
        if !message.get("role").is_some_and(Value::is_string) {
            return Err(refused(&format!("`messages[{index}].role` must be text such as \"user\"")));
        }
        match message.get("content") {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => texts.push(text.as_str()),
            Some(Value::Array(parts)) => {
                texts.extend(parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)));
            }
            Some(_) => return Err(refused(&format!("`messages[{index}].content` must be text or a list of parts"))),
        }
    }
    Ok(texts.join("\n"))
}

/// The prompts of a text completion.
fn prompts(request: &Map<String, Value>) -> Result<Vec<String>, ApiError> {
    texts(request, "prompt")
}

/// What is to be embedded.
fn inputs(request: &Map<String, Value>) -> Result<Vec<String>, ApiError> {
    const MOST: usize = 2048;
    let inputs = texts(request, "input")?;
    if inputs.len() > MOST {
        return Err(refused("input", format!("`input` must hold at most {MOST} texts, holds {}", inputs.len())));
    }
    Ok(inputs)
}

/// A text, a list of texts, one text's tokens, or a list of those. Tokens stand for the text of their numbers.
fn texts(request: &Map<String, Value>, param: &'static str) -> Result<Vec<String>, ApiError> {
    let is_tokens =
        |value: &Value| value.as_array().is_some_and(|tokens| !tokens.is_empty() && tokens.iter().all(Value::is_u64));
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        tokens if is_tokens(tokens) => Some(tokens.to_string()),
        _ => None,
    };
    let texts = match request.get(param) {
        None | Some(Value::Null) => return Err(refused(param, format!("`{param}` is required"))),
        Some(Value::Array(list)) if !list.is_empty() && !list.iter().all(Value::is_u64) => {
            list.iter().map(one).collect::<Option<Vec<_>>>()
        }
        Some(value) => one(value).map(|text| vec![text]),
    };
    texts.ok_or_else(|| {
        refused(param, format!("`{param}` must be text, tokens, or a list of texts or tokens that is not empty"))
    })
}

fn stops(request: &Map<String, Value>) -> Result<Vec<&str>, ApiError> {
    let stops = match request.get("stop") {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::String(stop)) => Some(vec![stop.as_str()]),
        Some(Value::Array(stops)) => stops.iter().map(Value::as_str).collect(),
        Some(_) => None,
    };
    let stops = stops.ok_or_else(|| refused("stop", "`stop` must be text or a list of texts"))?;
    Ok(stops.into_iter().filter(|stop| !stop.is_empty()).collect())
}

/// A whole number; what is below 0 means the usual, as engines have it.
fn number(request: &Map<String, Value>, param: &'static str, usual: usize) -> Result<usize, ApiError> {
    match request.get(param) {
        None | Some(Value::Null) => Ok(usual),
        Some(value) if value.as_i64().is_some_and(i64::is_negative) => Ok(usual),
        Some(value) => value
            .as_u64()
            .map(|number| usize::try_from(number).unwrap_or(usize::MAX))
            .ok_or_else(|| refused(param, format!("`{param}` must be a whole number"))),
    }
}

fn flag(object: &Map<String, Value>, field: &str, param: &'static str) -> Result<bool, ApiError> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(refused(param, format!("`{field}` must be true or false"))),
    }
}

fn refused(param: &'static str, message: impl Into<String>) -> ApiError {
    ApiError::bad_request("invalid_request", message).with_param(param)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_echo_counts() {
        for (text, expected) in [
            ("say <echo>hello</echo> and <echo>no</echo>", Some("hello")),
            ("<ECHO>\n two\n lines \n</Echo>", Some("two\n lines")),
            ("<echo></echo>", Some("")),
            ("<echo><echo>x</echo></echo>", Some("<echo>x")),
            ("İ<echo>größe</echo>", Some("größe")),
            ("<echo>never closed", None),
            ("</echo><echo>", None),
            ("nothing", None),
        ] {
            assert_eq!(echo(text), expected, "{text}");
        }
        assert!(HINT.contains("mock") && HINT.contains("<echo>"));
    }

    #[test]
    fn answers_stop_where_they_are_told() {
        let check = |stops: &[&str], limit, text: &str, finish_reason: &str| {
            let choice = Choice::to("<echo>äbcdefghij</echo>", stops, limit);
            assert_eq!((&*choice.text, choice.finish_reason), (text, finish_reason), "{stops:?} {limit}");
        };
        check(&[], 9, "äbcdefghij", "stop");
        check(&[], 3, "äbcdefghij", "stop");
        check(&[], 2, "äbcdefgh", "length");
        check(&[], 0, "", "length");
        check(&[], usize::MAX, "äbcdefghij", "stop");
        check(&["g", "de"], 9, "äbc", "stop");
        check(&["g"], 1, "äbcd", "length");
        check(&["g"], 2, "äbcdef", "stop");
        check(&["ä"], 2, "", "stop");
    }
}
