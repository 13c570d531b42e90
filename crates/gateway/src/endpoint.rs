//! What can be asked of the gateway: each endpoint's path and its word in metrics and key scopes.

/// One thing that can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Endpoint {
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

/// In whose words a client expects errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tongue {
    OpenAi,
    Anthropic,
    Ollama,
}

impl Endpoint {
    pub(crate) const ALL: [Self; 24] = [
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
    pub(crate) const fn path(self) -> &'static str {
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
    pub(crate) const fn also(self) -> &'static [&'static str] {
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
    pub(crate) const fn tongue(self) -> Tongue {
        match self {
            Self::Messages | Self::CountTokens => Tongue::Anthropic,
            Self::OllamaChat | Self::OllamaGenerate | Self::OllamaEmbed | Self::OllamaEmbeddings => Tongue::Ollama,
            _ => Tongue::OpenAi,
        }
    }
}
