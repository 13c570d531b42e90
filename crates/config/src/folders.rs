//! Where things are kept: what was written, what the environment says, and the places everybody agrees on.

use std::path::PathBuf;

use crate::problem::{Place, Problem};
use crate::sections::FolderKeys;
use crate::sources::Sources;

/// Folders, as absolute paths. They need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// Everything snug keeps.
    pub data: PathBuf,
    /// Where models are found.
    pub models: PathBuf,
    /// The Hugging Face cache (the folder with `models--…` in it), if it is to be searched too.
    pub hf_cache: Option<PathBuf>,
}

impl Folders {
    /// Fills in what was not written.
    pub(crate) fn resolve(keys: &FolderKeys, sources: &Sources) -> Result<Self, Problem> {
        let data = keys.data_dir.clone().or_else(|| Some(sources.xdg("XDG_DATA_HOME", ".local/share")?.join("snug")));
        let data = data.ok_or_else(|| Problem {
            place: Place::Default,
            key: "data_dir".to_owned(),
            message: "has no default because HOME is not set; give a folder with --data-dir".to_owned(),
        })?;
        let models = keys.models_dir.clone().unwrap_or_else(|| data.join("models"));
        let hf_cache = if keys.hf_cache { hf_hub_cache(sources) } else { None };
        Ok(Self { data, models, hf_cache })
    }
}

/// Where `huggingface_hub` puts downloads, by its own rules.
fn hf_hub_cache(sources: &Sources) -> Option<PathBuf> {
    let given = |name| {
        let written = sources.variable(name)?;
        match (written.strip_prefix("~/"), sources.home()) {
            (Some(rest), Some(home)) => Some(home.join(rest)),
            _ => Some(sources.current_dir.join(written)),
        }
    };
    given("HF_HUB_CACHE")
        .or_else(|| given("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| sources.xdg("XDG_CACHE_HOME", ".cache").map(|cache| cache.join("huggingface/hub")))
}
