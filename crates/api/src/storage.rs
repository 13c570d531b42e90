//! Model files on disk: `/api/storage…`, `/api/models/…/files`, their flags, and clean-up.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// `GET /api/storage`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StorageOverview {
    /// The folder that downloads go to and in which models are found.
    pub models_directory: String,
    /// Size of its disk, bytes.
    pub total_disk_bytes: u64,
    /// What is free of it for us, bytes.
    pub free_disk_bytes: u64,
    /// What model files take, bytes.
    pub used_by_models_bytes: u64,
    /// What they may take, bytes; 0 for all that the disk has.
    pub storage_limit_bytes: u64,
    /// What may still be downloaded, bytes.
    pub available_for_models_bytes: u64,
    /// Variants that are here.
    pub model_count: u64,
    /// Whether files that nobody uses are deleted by themselves.
    pub cleanup_enabled: bool,
}

/// `GET /api/storage/models`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredModels {
    /// One row per variant.
    pub models: Vec<StoredVariant>,
    /// How many.
    pub total_count: u64,
    /// Their bytes together.
    pub total_size_bytes: u64,
    /// The same for a person.
    pub total_size_display: String,
}

/// `GET /api/storage/models/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredModel {
    /// The model.
    pub model: String,
    /// Its variants that are here.
    pub variants: Vec<StoredVariant>,
}

/// One variant's files, their use and their flags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredVariant {
    /// The model.
    pub model: String,
    /// Which variant; empty if it has no name.
    pub variant: String,
    /// Its first file's name.
    pub filename: String,
    /// Where that is.
    pub file_path: String,
    /// How many files it has.
    pub file_count: u64,
    /// All of them together, bytes.
    pub file_size_bytes: u64,
    /// The same for a person: `4.4 GB`, where a GB is 1024³ bytes.
    pub file_size_display: String,
    /// When it came here, RFC 3339.
    pub downloaded_at: String,
    /// When it was used last, RFC 3339; when it came here, if never.
    pub last_used_at: String,
    /// How many requests it answered.
    pub usage_count: u64,
    /// Whether its weights stay in RAM when it is unloaded. Guards it against deletion.
    pub hot_ready: bool,
    /// Whether it may not be deleted.
    pub protected: bool,
    /// The model server's word: `Unloaded`, `Downloading`, `Ready`, `Loaded`, `Unloading`.
    pub runtime_state: String,
}

/// The body of `PUT /api/storage/limit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LimitRequest {
    /// What model files may take, bytes; 0 for all that the disk has.
    #[schema(maximum = 9_223_372_036_854_775_807_u64)]
    #[serde(deserialize_with = "whole")]
    pub limit_bytes: u64,
}

/// A whole number, however it is written: `5e9` and `5000000000.0` are ones, too.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and between 0 and the largest")]
    let of_float = |float: f64| (float.fract() == 0.0 && (0.0..1.8e19).contains(&float)).then_some(float as u64);
    let found = number.as_u64().or_else(|| number.as_f64().and_then(of_float));
    found.ok_or_else(|| serde::de::Error::custom(format!("must be a whole number of bytes, is {number}")))
}

/// The answer to `PUT /api/storage/limit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LimitAnswer {
    /// What model files may take, bytes; 0 for all that the disk has.
    pub storage_limit_bytes: u64,
    /// What may still be downloaded, bytes.
    pub available_for_models_bytes: u64,
}

/// The answer to `DELETE /api/models/{name}/files`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeleteAnswer {
    /// Always `deleted`.
    pub status: String,
    /// The model.
    pub model: String,
    /// What is free now that was not, bytes.
    pub freed_bytes: u64,
}

/// The 409 of `DELETE /api/models/{name}/files`: the error object, and which flag is in the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GuardedBody {
    /// OpenAI's error object.
    pub error: crate::ErrorObject,
    /// The message again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Whether a variant concerned is hot ready.
    pub hot_ready: bool,
    /// Whether a variant concerned is protected.
    pub protected: bool,
}

/// The answer to setting or clearing a flag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlagAnswer {
    /// `hot_ready_set`, `hot_ready_cleared`, `protected_set`, `protected_cleared`.
    pub status: String,
    /// The model.
    pub model: String,
    /// The variant.
    pub variant: String,
}

/// `GET /api/storage/cleanup/preview`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CleanupPreview {
    /// How many variants would be deleted.
    pub candidate_count: u64,
    /// Their bytes together.
    pub total_reclaimable_bytes: u64,
    /// Which, the one unused longest first.
    pub candidates: Vec<CleanupCandidate>,
}

/// A variant that clean-up would delete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CleanupCandidate {
    /// The model.
    pub model: String,
    /// Which variant.
    pub variant: String,
    /// Its first file's name.
    pub filename: String,
    /// All its files together, bytes.
    pub file_size_bytes: u64,
    /// When it was used last, RFC 3339; when it came here, if never.
    pub last_used_at: String,
    /// How many requests it answered.
    pub usage_count: u64,
}

/// The answer to `POST /api/storage/cleanup/run`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CleanupAnswer {
    /// What is free now that was not, bytes.
    pub freed_bytes: u64,
    /// How many variants were deleted.
    pub deleted_count: u64,
}

/// `GET /api/storage/cleanup/config`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CleanupPolicy {
    /// Whether clean-up runs by itself.
    pub enabled: bool,
    /// What was not used for so long goes, hours.
    pub max_age_hours: u64,
    /// The same in days.
    pub max_age_days: f64,
    /// How often it is looked for, hours.
    pub check_interval_hours: u64,
    /// Kept for those who set it, percent. Clean-up deletes all that is past its age, whatever is free.
    pub target_free_percent: f64,
    /// Whether hot ready variants stay.
    pub respect_hot_ready: bool,
    /// Whether protected variants stay.
    pub respect_protected: bool,
}

/// The body of `PUT /api/storage/cleanup/config`: what is not given stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CleanupPolicyPatch {
    /// Whether clean-up runs by itself.
    pub enabled: Option<bool>,
    /// What was not used for so long goes, hours.
    #[schema(maximum = 878_400)]
    pub max_age_hours: Option<u64>,
    /// The same in days; one of the two.
    #[schema(minimum = 0, maximum = 36_600)]
    pub max_age_days: Option<f64>,
    /// How often it is looked for, hours; 1 or more.
    #[schema(minimum = 1, maximum = 878_400)]
    pub check_interval_hours: Option<u64>,
    /// 0 to 100, percent.
    #[schema(minimum = 0, maximum = 100)]
    pub target_free_percent: Option<f64>,
    /// Whether hot ready variants stay.
    pub respect_hot_ready: Option<bool>,
    /// Whether protected variants stay.
    pub respect_protected: Option<bool>,
}
