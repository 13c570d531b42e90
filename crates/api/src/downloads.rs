//! Downloads of models: `/api/downloads` and `/api/models/{name}/download`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /api/downloads`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Downloads {
    /// Those that run, wait, rest or failed, in the order in which they were begun.
    pub downloads: Vec<Download>,
}

/// One download.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Download {
    /// The model.
    pub model: String,
    /// Which variant.
    pub variant: String,
    /// The model server's word for the model: `Downloading`; `Unloaded` after a failure.
    pub state: String,
    /// Our own word: `queued`, `running`, `paused`, `verifying`, `failed`.
    pub phase: String,
    /// Bytes that are here.
    pub bytes_downloaded: u64,
    /// Bytes of all its files; 0 while unknown.
    pub total_bytes: u64,
    /// 0 to 100.
    pub percent_complete: f64,
    /// MiB per second.
    pub speed_mbps: f64,
    /// Seconds that are left at this speed; 0 while unknown.
    pub eta_seconds: u64,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// `GET /api/models/{name}/download`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DownloadStatus {
    /// The model.
    pub model: String,
    /// The model server's word: `Unloaded`, `Downloading`, `Ready`, `Loaded`, `Unloading`.
    pub state: String,
    /// The variant concerned, where there is a download.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// As in `/api/downloads`, where there is a download.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Bytes that are here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_downloaded: Option<u64>,
    /// Bytes of all its files; 0 while unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent_complete: Option<f64>,
    /// MiB per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_mbps: Option<f64>,
    /// Seconds that are left at this speed; 0 while unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<u64>,
    /// Why the last download failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The answer to most of what is done to a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelAnswer {
    /// What was done: `downloading`, `already_available`, `pinned`, `unpinned`, `removed`, `paused`, `cancelled`.
    pub status: String,
    /// The model.
    pub model: String,
    /// The variant concerned, where one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}
