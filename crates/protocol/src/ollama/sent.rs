//! What the engine is sent, put together field by field.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Fields by name; the last of a name counts.
#[derive(Default, Serialize)]
#[serde(transparent)]
pub(super) struct Sent<'a>(BTreeMap<String, Part<'a>>);

/// A field's value.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Part<'a> {
    Value(Value),
    /// As the client wrote it.
    Raw(&'a RawValue),
    Messages(Vec<Message<'a>>),
    Form(Form<'a>),
}

/// A message of chat completions.
#[derive(Serialize)]
pub(super) struct Message<'a> {
    pub(super) role: String,
    pub(super) content: Content,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tool_calls: Vec<Call<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_call_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
}

impl Message<'_> {
    pub(super) fn new(role: impl Into<String>, content: Content) -> Self {
        let role = role.into();
        Self { role, content, reasoning_content: None, tool_calls: Vec::new(), tool_call_id: None, name: None }
    }
}

/// Text, or with images in parts.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Content {
    Text(String),
    Parts(Vec<ContentPart>),
}

impl Content {
    /// `images` are URLs.
    pub(super) fn new(text: String, images: Vec<String>) -> Self {
        if images.is_empty() {
            return Self::Text(text);
        }
        let text = (!text.is_empty()).then_some(ContentPart::Text { text });
        let images = images.into_iter().map(|url| ContentPart::ImageUrl { image_url: ImageUrl { url } });
        Self::Parts(text.into_iter().chain(images).collect())
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ContentPart {
    Text { text: String },
    ImageUrl { image_url: ImageUrl },
}

#[derive(Serialize)]
pub(super) struct ImageUrl {
    url: String,
}

/// A call of a tool, its arguments as text.
#[derive(Serialize)]
#[serde(tag = "type", rename = "function")]
pub(super) struct Call<'a> {
    pub(super) id: String,
    pub(super) function: Function<'a>,
}

#[derive(Serialize)]
pub(super) struct Function<'a> {
    pub(super) name: String,
    pub(super) arguments: std::borrow::Cow<'a, str>,
}

/// The form that an answer is to have.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Form<'a> {
    JsonObject,
    JsonSchema { json_schema: Schema<'a> },
}

#[derive(Serialize)]
pub(super) struct Schema<'a> {
    pub(super) name: &'static str,
    pub(super) strict: bool,
    pub(super) schema: &'a RawValue,
}

impl<'a> Sent<'a> {
    pub(super) fn insert(&mut self, key: &str, value: impl Into<Value>) {
        self.set(key, Part::Value(value.into()));
    }

    pub(super) fn set(&mut self, key: &str, part: Part<'a>) {
        self.0.insert(key.to_owned(), part);
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(super) fn into_body(self) -> Vec<u8> {
        serde_json::to_vec(&self).expect("its keys are text")
    }
}
