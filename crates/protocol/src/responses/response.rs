//! The `response` object: what was asked, said back, and what became of it.

use serde::Serialize;
use serde_json::value::RawValue;

use super::chat;
use super::output::ItemView;
use crate::fields::Fields;

type Raw = Option<Box<RawValue>>;

/// What of the request every answer repeats.
#[derive(Default, Serialize)]
pub(super) struct Echo {
    instructions: Raw,
    max_output_tokens: Raw,
    max_tool_calls: Raw,
    #[serde(serialize_with = "or_no_metadata")]
    metadata: Raw,
    #[serde(serialize_with = "or_true")]
    parallel_tool_calls: Raw,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_key: Raw,
    #[serde(serialize_with = "or_no_reasoning")]
    reasoning: Raw,
    #[serde(skip_serializing_if = "Option::is_none")]
    safety_identifier: Raw,
    temperature: Raw,
    #[serde(serialize_with = "or_plain_text")]
    text: Raw,
    #[serde(serialize_with = "or_auto")]
    tool_choice: Raw,
    #[serde(serialize_with = "or_no_tools")]
    tools: Raw,
    top_logprobs: Raw,
    top_p: Raw,
    #[serde(serialize_with = "or_disabled")]
    truncation: Raw,
    user: Raw,
    /// What the engine says of it goes before.
    #[serde(skip)]
    service_tier: Raw,
}

impl Echo {
    pub(super) fn of(fields: &Fields<'_>) -> Self {
        let raw = |name| fields.get(name).map(ToOwned::to_owned);
        Self {
            instructions: raw("instructions"),
            max_output_tokens: raw("max_output_tokens"),
            max_tool_calls: raw("max_tool_calls"),
            metadata: raw("metadata"),
            parallel_tool_calls: raw("parallel_tool_calls"),
            prompt_cache_key: raw("prompt_cache_key"),
            reasoning: raw("reasoning"),
            safety_identifier: raw("safety_identifier"),
            temperature: raw("temperature"),
            text: raw("text"),
            tool_choice: raw("tool_choice"),
            tools: raw("tools"),
            top_logprobs: raw("top_logprobs"),
            top_p: raw("top_p"),
            truncation: raw("truncation"),
            user: raw("user"),
            service_tier: raw("service_tier"),
        }
    }
}

/// Functions that write a value, or what holds where nothing was said.
macro_rules! defaults {
    ($($name:ident: $default:literal,)*) => {
        $(fn $name<S: serde::Serializer>(value: &Raw, serializer: S) -> Result<S::Ok, S::Error> {
            match value {
                Some(value) => value.serialize(serializer),
                None => <&RawValue>::serialize(
                    &serde_json::from_str($default).expect("a constant that is JSON"),
                    serializer,
                ),
            }
        })*
    };
}

defaults! {
    or_no_metadata: "{}",
    or_true: "true",
    or_no_reasoning: r#"{"effort":null,"summary":null}"#,
    or_plain_text: r#"{"format":{"type":"text"}}"#,
    or_auto: r#""auto""#,
    or_no_tools: "[]",
    or_disabled: r#""disabled""#,
}

/// How far an answer is, or how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Status {
    InProgress,
    Completed,
    /// Cut short, for a reason that the dialect has a word for.
    Incomplete(&'static str),
    Failed {
        message: String,
    },
}

impl Status {
    fn word(&self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete(_) => "incomplete",
            Self::Failed { .. } => "failed",
        }
    }
}

/// A `response` object.
#[derive(Serialize)]
pub(super) struct Response<'a> {
    id: String,
    object: &'static str,
    created_at: u64,
    status: &'static str,
    background: bool,
    error: Option<ResponseError<'a>>,
    incomplete_details: Option<IncompleteDetails>,
    model: &'a str,
    output: Vec<ItemView<'a>>,
    previous_response_id: (),
    store: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<ServiceTier<'a>>,
    #[serde(flatten)]
    echo: &'a Echo,
    usage: Option<Usage>,
}

#[derive(Serialize)]
struct ResponseError<'a> {
    code: &'static str,
    message: &'a str,
}

#[derive(Serialize)]
struct IncompleteDetails {
    reason: &'static str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ServiceTier<'a> {
    Told(&'a str),
    Asked(&'a RawValue),
}

/// What a response is made of, beside its status and items.
pub(super) struct Facts<'a> {
    pub(super) moment: &'a crate::Moment,
    pub(super) model: &'a str,
    pub(super) service_tier: Option<&'a str>,
    pub(super) echo: &'a Echo,
    pub(super) usage: Option<&'a chat::Usage>,
}

impl<'a> Response<'a> {
    pub(super) fn new(facts: Facts<'a>, status: &'a Status, output: Vec<ItemView<'a>>) -> Self {
        let Facts { moment, model, service_tier, echo, usage } = facts;
        let asked = || echo.service_tier.as_deref().map(ServiceTier::Asked);
        Self {
            id: format!("resp_{}", moment.id),
            object: "response",
            created_at: moment.created,
            status: status.word(),
            background: false,
            error: match status {
                Status::Failed { message } => Some(ResponseError { code: "server_error", message }),
                _ => None,
            },
            incomplete_details: match status {
                Status::Incomplete(reason) => Some(IncompleteDetails { reason }),
                _ => None,
            },
            model,
            output,
            previous_response_id: (),
            store: false,
            service_tier: service_tier.map(ServiceTier::Told).or_else(asked),
            echo,
            usage: usage.map(Usage::of),
        }
    }
}

#[derive(Serialize)]
struct Usage {
    input_tokens: u64,
    input_tokens_details: InputTokens,
    output_tokens: u64,
    output_tokens_details: OutputTokens,
    total_tokens: u64,
}

#[derive(Serialize)]
struct InputTokens {
    cached_tokens: u64,
    cache_write_tokens: u64,
}

#[derive(Serialize)]
struct OutputTokens {
    reasoning_tokens: u64,
}

impl Usage {
    fn of(usage: &chat::Usage) -> Self {
        let prompt = usage.prompt_tokens_details.as_ref();
        let completion = usage.completion_tokens_details.as_ref();
        Self {
            input_tokens: usage.prompt_tokens,
            input_tokens_details: InputTokens {
                cached_tokens: prompt.and_then(|details| details.cached_tokens).unwrap_or(0),
                cache_write_tokens: prompt.and_then(|details| details.cache_write_tokens).unwrap_or(0),
            },
            output_tokens: usage.completion_tokens,
            output_tokens_details: OutputTokens {
                reasoning_tokens: completion.and_then(|details| details.reasoning_tokens).unwrap_or(0),
            },
            total_tokens: usage
                .total_tokens
                .unwrap_or_else(|| usage.prompt_tokens.saturating_add(usage.completion_tokens)),
        }
    }
}
