//! The error object every route answers with: OpenAI's, plus our `details`, plus the router contract's `detail`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The whole body of an error answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// OpenAI's error object.
    pub error: ErrorObject,
    /// The message again, for clients of the router contract, which read `detail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The body of a 422, which only the cluster contract's routes answer: in `detail` each field that is wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InvalidBody {
    /// OpenAI's error object, about the first of them.
    pub error: ErrorObject,
    /// All of them.
    pub detail: Vec<InvalidField>,
}

/// One field of a request that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvalidField {
    /// Where it stands: `["body", "models", 0]`.
    pub loc: Vec<Place>,
    /// For a person: what it must be.
    pub msg: String,
    /// A stable word for the kind of mistake, such as `missing` or `string_too_long`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// One step on the way to a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Place {
    /// Into a field.
    Name(String),
    /// To an element, counted from 0.
    Number(u64),
}

/// OpenAI's error object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorObject {
    /// For a person: what was wrong, with the value, and what would work.
    pub message: String,
    /// The family of the error.
    #[serde(rename = "type")]
    pub kind: ErrorType,
    /// The request field at fault, if one is.
    pub param: Option<String>,
    /// A stable word for programs.
    pub code: Option<String>,
    /// Reasons a program can act on; present only where there are some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Value>,
}

/// The families of errors that OpenAI's clients and the model-server contract tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorType {
    /// The request is at fault.
    InvalidRequestError,
    /// What it names does not exist.
    NotFoundError,
    /// The caller did not show who it is.
    AuthenticationError,
    /// The caller may not do this.
    PermissionError,
    /// Too much at once; try again later.
    RateLimitError,
    /// Not enough room on disk.
    InsufficientStorage,
    /// We or the engine are at fault.
    ServerError,
}
