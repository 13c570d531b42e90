//! What can be asked of the gateway: each endpoint's path and its word in metrics and key scopes.

/// One thing that can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "`about` says what each is")]
pub enum Endpoint {
    ChatCompletions,
    Completions,
    Embeddings,
    Rerank,
    Responses,
    Messages,
    CountTokens,
    Transcriptions,
    Translations,
    Speech,
    ImageGenerations,
    ImageEdits,
    ImageVariations,
    OllamaChat,
    OllamaGenerate,
    OllamaEmbed,
    OllamaEmbeddings,
    Completion,
    Infill,
    Tokenize,
    Detokenize,
    ApplyTemplate,
    Props,
    Slots,
}

/// What a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// A JSON object that names a model.
    JsonWithModel,
    /// A JSON object.
    Json,
    /// A form with files, and the model's name in it.
    Form,
    /// Nothing: `model` may be in the query.
    Nothing,
}

/// In whose words a client expects errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tongue {
    /// OpenAI's error object.
    OpenAi,
    /// Anthropic's.
    Anthropic,
    /// A text as `error`.
    Ollama,
}

impl Endpoint {
    /// All there are.
    pub const ALL: [Self; 24] = [
        Self::ChatCompletions,
        Self::Completions,
        Self::Embeddings,
        Self::Rerank,
        Self::Responses,
        Self::Messages,
        Self::CountTokens,
        Self::Transcriptions,
        Self::Translations,
        Self::Speech,
        Self::ImageGenerations,
        Self::ImageEdits,
        Self::ImageVariations,
        Self::OllamaChat,
        Self::OllamaGenerate,
        Self::OllamaEmbed,
        Self::OllamaEmbeddings,
        Self::Completion,
        Self::Infill,
        Self::Tokenize,
        Self::Detokenize,
        Self::ApplyTemplate,
        Self::Props,
        Self::Slots,
    ];

    /// Its path, here and at an engine that knows it.
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Rerank => "/v1/rerank",
            Self::Responses => "/v1/responses",
            Self::Messages => "/v1/messages",
            Self::CountTokens => "/v1/messages/count_tokens",
            Self::Transcriptions => "/v1/audio/transcriptions",
            Self::Translations => "/v1/audio/translations",
            Self::Speech => "/v1/audio/speech",
            Self::ImageGenerations => "/v1/images/generations",
            Self::ImageEdits => "/v1/images/edits",
            Self::ImageVariations => "/v1/images/variations",
            Self::OllamaChat => "/api/chat",
            Self::OllamaGenerate => "/api/generate",
            Self::OllamaEmbed => "/api/embed",
            Self::OllamaEmbeddings => "/api/embeddings",
            Self::Completion => "/completion",
            Self::Infill => "/infill",
            Self::Tokenize => "/tokenize",
            Self::Detokenize => "/detokenize",
            Self::ApplyTemplate => "/apply-template",
            Self::Props => "/props",
            Self::Slots => "/slots",
        }
    }

    /// Other paths at which it answers.
    pub const fn also(self) -> &'static [&'static str] {
        match self {
            // As Jina's and Cohere's clients and llama.cpp's have it.
            Self::Rerank => &["/rerank", "/v2/rerank", "/v1/reranking", "/reranking"],
            _ => &[],
        }
    }

    /// Its word in metrics, logs and the scopes of keys; several share one.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Completions | Self::Completion | Self::Infill => "completions",
            Self::Embeddings => "embeddings",
            Self::Rerank => "rerank",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::Transcriptions | Self::Translations | Self::Speech => "audio",
            Self::ImageGenerations | Self::ImageEdits | Self::ImageVariations => "images",
            Self::OllamaChat | Self::OllamaGenerate | Self::OllamaEmbed | Self::OllamaEmbeddings => "ollama",
            Self::Tokenize | Self::Detokenize | Self::ApplyTemplate | Self::Props | Self::Slots => "tokenize",
        }
    }

    /// Whether it only looks: GET, the model in the query.
    pub(crate) const fn is_look(self) -> bool {
        matches!(self, Self::Props | Self::Slots)
    }

    /// Whether a request may leave out the model where only one is meant: llama.cpp's own clients never name one.
    pub(crate) const fn may_leave_out_model(self) -> bool {
        matches!(
            self,
            Self::Completion
                | Self::Infill
                | Self::Tokenize
                | Self::Detokenize
                | Self::ApplyTemplate
                | Self::Props
                | Self::Slots
        )
    }

    /// In whose words its client expects errors.
    pub const fn tongue(self) -> Tongue {
        match self {
            Self::Messages | Self::CountTokens => Tongue::Anthropic,
            Self::OllamaChat | Self::OllamaGenerate | Self::OllamaEmbed | Self::OllamaEmbeddings => Tongue::Ollama,
            _ => Tongue::OpenAi,
        }
    }

    /// What a client sends.
    pub const fn takes(self) -> Takes {
        match self {
            Self::Transcriptions | Self::Translations | Self::ImageEdits | Self::ImageVariations => Takes::Form,
            Self::Props | Self::Slots => Takes::Nothing,
            endpoint if endpoint.may_leave_out_model() => Takes::Json,
            _ => Takes::JsonWithModel,
        }
    }

    /// What it is, in a sentence.
    pub const fn about(self) -> &'static str {
        match self {
            Self::ChatCompletions => "A chat, as OpenAI's API has it; with `stream` as server-sent events.",
            Self::Completions => "A text to be gone on with, as OpenAI's API has it.",
            Self::Embeddings => "Vectors of texts, as OpenAI's API has it.",
            Self::Rerank => "Documents by how well they answer a query, as Jina's and Cohere's APIs have it.",
            Self::Responses => {
                "OpenAI's Responses; nothing is stored. Where the engine does not know them, by way of a chat."
            }
            Self::Messages => "Anthropic's Messages. Where the engine does not know them, by way of a chat.",
            Self::CountTokens => "How many tokens a request of Anthropic's Messages has.",
            Self::Transcriptions => "Speech as text, as OpenAI's API has it.",
            Self::Translations => "Speech as English text, as OpenAI's API has it.",
            Self::Speech => "Text as speech, as OpenAI's API has it.",
            Self::ImageGenerations => "Images of words, as OpenAI's API has it.",
            Self::ImageEdits => "Images changed by words, as OpenAI's API has it.",
            Self::ImageVariations => "Images like others, as OpenAI's API has it.",
            Self::OllamaChat => {
                "A chat, as Ollama's API has it: a line of JSON for each piece unless `stream` is false."
            }
            Self::OllamaGenerate => "A text to be gone on with, as Ollama's API has it; also loads and unloads.",
            Self::OllamaEmbed => "Vectors of texts, as Ollama's API has it.",
            Self::OllamaEmbeddings => "The vector of a text, as Ollama's API had it before.",
            Self::Completion => "llama.cpp's own completion. `model` may be left out where one is loaded.",
            Self::Infill => "llama.cpp's filling of gaps in code. `model` may be left out where one is loaded.",
            Self::Tokenize => "The tokens of a text. `model` may be left out where one is loaded.",
            Self::Detokenize => "The text of tokens. `model` may be left out where one is loaded.",
            Self::ApplyTemplate => "The prompt that becomes of messages. `model` may be left out where one is loaded.",
            Self::Props => "What llama.cpp says of a loaded model. `model` may be left out where one is loaded.",
            Self::Slots => {
                "What llama.cpp says of a loaded model's slots. `model` may be left out where one is loaded."
            }
        }
    }
}
