//! `/api/tags` and `/api/ps`: what is here, and what of it is loaded.

use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use api::{OllamaDetails, OllamaInstance, OllamaModel, OllamaRunning, OllamaTags};
use axum::Json;
use axum::extract::State;
use gateway::ApiError;
use jiff::Timestamp;
use node::{InstanceView, KeepFor, Model, View};
use route::{Target, Unavailable};
use sha2::{Digest, Sha256};
use types::{ByteCount, DeviceName, ModelKey};

use crate::models::Models;

/// How far off is what never comes: clients read a time.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Every variant of every model that is here, or that others run.
#[utoipa::path(get, path = "/api/tags", tag = "ollama", responses((status = 200, body = OllamaTags)))]
pub(crate) async fn tags(State(models): State<Models>) -> Result<Json<OllamaTags>, ApiError> {
    let view = models.node.view().borrow().clone();
    // Where a file lies is asked of the disk.
    let rows = tokio::task::spawn_blocking(move || {
        view.library.models().filter(|model| model.present).map(|model| row(model)).collect()
    });
    let models = rows.await.map_err(|_| Unavailable::Stopping)?;
    Ok(Json(OllamaTags { models }))
}

/// What is loaded, and until when.
#[utoipa::path(get, path = "/api/ps", tag = "ollama", responses((status = 200, body = OllamaRunning)))]
pub(crate) async fn running(State(models): State<Models>) -> Result<Json<OllamaRunning>, ApiError> {
    let view = models.node.view().borrow().clone();
    let rows = tokio::task::spawn_blocking(move || {
        let ready = view
            .instances
            .iter()
            .filter(|one| !one.leaving && one.target.as_deref().is_some_and(|target| !goes(one, target)));
        ready.map(|one| instance(&view, one)).collect()
    });
    let models = rows.await.map_err(|_| Unavailable::Stopping)?;
    Ok(Json(OllamaRunning { models }))
}

/// Whether it is to go as soon as nobody uses it, and nobody does: it is as good as gone.
fn goes(instance: &InstanceView, target: &Target) -> bool {
    instance.keep == KeepFor::Idle(Duration::ZERO) && target.load().in_flight == 0
}

fn row(model: &Model) -> OllamaModel {
    let name = tagged(&model.key);
    OllamaModel {
        model: name.clone(),
        name,
        modified_at: changed(model),
        size: model.weights().as_u64(),
        digest: digest(model),
        details: details(model),
    }
}

fn instance(view: &View, instance: &InstanceView) -> OllamaInstance {
    let holds = instance.holds();
    let on_accelerators = holds.on_accelerators();
    let name = tagged(&instance.model.key);
    OllamaInstance {
        model: name.clone(),
        name,
        size: (on_accelerators + holds.on(&DeviceName::cpu())).as_u64(),
        size_vram: on_accelerators.as_u64(),
        digest: digest(&instance.model),
        details: details(&instance.model),
        expires_at: time(SystemTime::now() + view.goes_in(instance).unwrap_or(NEVER).min(NEVER)),
        context_length: instance.status.context,
    }
}

/// A name with a tag, as Ollama's clients want it; one that means the same model when they say it.
fn tagged(key: &ModelKey) -> String {
    if key.variant.as_str().is_empty() { format!("{}:latest", key.id) } else { key.to_string() }
}

pub(super) fn details(model: &Model) -> OllamaDetails {
    let family = match &*model.architecture {
        "" if !model.provider.is_local() => model.provider.to_string(),
        architecture => architecture.to_owned(),
    };
    OllamaDetails {
        parent_model: String::new(),
        format: if model.provider.is_local() { "gguf".to_owned() } else { String::new() },
        families: Some(family.clone()).filter(|family| !family.is_empty()).into_iter().collect(),
        family,
        parameter_size: count(model.parameters),
        quantization_level: model.key.variant.to_string(),
    }
}

/// When its first file was changed; for a model without files 1970.
pub(super) fn changed(model: &Model) -> String {
    time(SystemTime::UNIX_EPOCH + Duration::from_secs(model.modified.min(NEVER.as_secs())))
}

/// RFC 3339 in UTC.
fn time(at: SystemTime) -> String {
    Timestamp::try_from(at).unwrap_or_default().to_string()
}

/// As Ollama shows numbers of parameters.
fn count(parameters: u64) -> String {
    let tenths = |unit: u64| {
        let tenths = (u128::from(parameters) * 10 + u128::from(unit) / 2) / u128::from(unit);
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    match parameters {
        0 => String::new(),
        1_000_000_000.. => format!("{}B", tenths(1_000_000_000)),
        1_000_000.. => format!("{}M", tenths(1_000_000)),
        1_000.. => format!("{}K", tenths(1_000)),
        few => few.to_string(),
    }
}

/// The sha256 by which the hub's cache names its file, else one of what tells this model from others. Asks the disk.
fn digest(model: &Model) -> String {
    let blob = std::fs::read_link(&model.path).ok();
    let named = blob.as_deref().and_then(Path::file_name).and_then(OsStr::to_str).filter(|name| is_sha256(name));
    named.map_or_else(|| digest_of(&model.key, model.weights()), str::to_owned)
}

/// Sixty-four hexadecimal digits, the same for the same variant.
pub(super) fn digest_of(key: &ModelKey, size: ByteCount) -> String {
    let hash = Sha256::digest(format!("{key} {}", size.as_u64()));
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_sha256(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_shown_short() {
        let check = |parameters: u64, expected: &str| assert_eq!(count(parameters), expected);
        check(0, "");
        check(999, "999");
        check(134_515_008, "134.5M");
        check(8_030_261_248, "8.0B");
        check(1_500, "1.5K");
    }

    #[test]
    fn a_digest_looks_like_a_hash() {
        let key = |name: &str| ModelKey { id: types::ModelId::new(name), variant: types::Variant::new("Q4_0") };
        let one = digest_of(&key("a"), ByteCount::bytes(1));
        assert!(is_sha256(&one) && one == digest_of(&key("a"), ByteCount::bytes(1)));
        assert_ne!(one, digest_of(&key("b"), ByteCount::bytes(1)));
    }
}
