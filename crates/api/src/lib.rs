//! Wire types of the HTTP contracts: what goes over the wire, field by field, and nothing that acts.
//!
//! Wire types are not domain types: handlers convert by hand at the border, so that a contract can stay while the core
//! moves. Field names and units are the contracts' own (MiB where a name ends in `_mb`).

mod config;
mod downloads;
mod error;
mod fit;
mod health;
mod keys;
mod load;
mod logs;
mod models;
mod ollama;
mod stats;
mod storage;
mod usage;

pub use config::{ConfigsAdded, ConfigsPut};
pub use downloads::{Download, DownloadStatus, Downloads, ModelAnswer};
pub use error::{ErrorBody, ErrorObject, ErrorType, InvalidBody, InvalidField, Place};
pub use fit::{
    Concurrency, ConcurrencyEstimate, ConcurrencyStep, EstimateBasis, FitError, FitFilters, FitList, FitRow,
    GgufSource, GpuInfo, Installed, InstalledModel, PlanAnswer, PlanHardware, PlanLayers, PlanPath, PlanRequest,
    Runtime, Runtimes, ScoreComponents, SystemAnswer, SystemInfo,
};
pub use health::{BackendHealth, BackendStatus, Health, NodeName, Readiness, Version};
pub use keys::{ApiKey, ApiKeyKind, ApiKeyLimits, CreateApiKeyRequest, CreatedApiKey, UpdateApiKeyRequest};
pub use load::{ConsideredVariant, LoadAnswer, LoadDetails, LoadEvent, UnloadAnswer, VariantChoice};
pub use logs::{LogLevel, LogLine, Logs, LogsMissed};
pub use models::{AvailableModel, AvailableModels, DeviceUse, LoadedModel, LoadedModels, Model, ModelList};
pub use ollama::{
    OllamaDetails, OllamaError, OllamaInstance, OllamaModel, OllamaNamed, OllamaProgress, OllamaPull, OllamaRunning,
    OllamaShow, OllamaShown, OllamaTags,
};
pub use stats::{Gpu, Hardware, Inference, Stats, Swap, Totals};
pub use storage::{
    CleanupAnswer, CleanupCandidate, CleanupPolicy, CleanupPolicyPatch, CleanupPreview, DeleteAnswer, FlagAnswer,
    GuardedBody, LimitAnswer, LimitRequest, StorageOverview, StoredModel, StoredModels, StoredVariant,
};
pub use usage::{UsageAnswer, UsageDimension, UsageRow, UsageTotals};
