//! The way back: what an engine answers becomes what the client expects.

/// What makes an answer unlike all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// Letters and digits, unique for each request: `resp_` or `msg_` and this are its ids.
    pub id: String,
    /// Now, in seconds since 1970.
    pub created: u64,
}

/// A request that cannot be put into the other dialect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// The field at fault, as the client wrote it: `input[2].content`.
    pub param: Option<String>,
    /// For a person: what is wrong with it and what would do.
    pub message: String,
}

/// An answer of the engine that is not what its dialect says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the engine's answer cannot be read: {0}")]
pub struct Fault(pub String);

/// Converts one answer, on its way from the engine to the client.
///
/// Either [`Self::whole`] or [`Self::error`] is called once; or [`Self::piece`] for what comes of a stream, then
/// [`Self::end`] or [`Self::broken`].
pub trait Answer: Send {
    /// A whole answer with a status of success.
    ///
    /// # Errors
    /// It is not what the engine's dialect says.
    fn whole(&mut self, body: &[u8]) -> Result<Vec<u8>, Fault>;

    /// An answer with a status of failure: the error as the client's dialect has it. What it says is kept.
    fn error(&mut self, status: u16, body: &[u8]) -> Vec<u8>;

    /// Some bytes of a stream: what the client gets for them, which may be nothing yet.
    ///
    /// # Errors
    /// They are not what the engine's dialect says, or an event is larger than is borne.
    fn piece(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Fault>;

    /// The engine's stream came to its end: the last words for the client.
    fn end(&mut self) -> Vec<u8>;

    /// The engine's stream broke: the last words for the client, which say so.
    fn broken(&mut self, code: &str, message: &str) -> Vec<u8>;

    /// The content type of a stream in the client's dialect.
    fn stream_type(&self) -> &'static str {
        "text/event-stream"
    }
}

/// A request in the engine's dialect, and the way back.
pub struct Request {
    /// What the engine is sent.
    pub body: Vec<u8>,
    /// What makes its answer the client's.
    pub answer: Box<dyn Answer>,
}
