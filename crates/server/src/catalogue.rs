//! The catalogue as it is here: what comes with the program, and what was added in the data folder.

use std::path::Path;

use anyhow::Context;
use catalog::catalogue::Catalogue;
use serde::Serialize;

/// What is known, and where from.
#[derive(Clone, Debug, Serialize)]
pub struct CatalogueStatus {
    /// Models that come with the program.
    pub embedded: usize,
    /// Models with those of the data folder.
    pub all: usize,
    /// Files of the data folder that were read, in their order.
    pub files: Vec<String>,
    /// What is wrong with them.
    pub notes: Vec<String>,
}

/// All models that are known, and what is wrong with files that add to them.
pub(crate) fn with_additions(data_dir: &Path) -> (Catalogue, Vec<String>) {
    let (files, mut notes) = hub::overlay(data_dir);
    (with(files, &mut notes), notes)
}

/// How many models are known, and where from.
pub fn catalogue_status(data_dir: &Path) -> CatalogueStatus {
    let (files, mut notes) = hub::overlay(data_dir);
    let names = files.iter().map(|(name, _)| name.clone()).collect();
    let embedded = Catalogue::read_embedded().models().len();
    let all = with(files, &mut notes).models().len();
    CatalogueStatus { embedded, all, files: names, notes }
}

/// Asks the Hugging Face hub for models that are new, and writes them down in the data folder.
///
/// # Errors
/// If the hub cannot be asked, or the file not be written.
pub async fn update_catalogue(
    data_dir: &Path,
    variable: impl Fn(&str) -> Option<String>,
    models: usize,
    progress: impl FnMut(hub::Progress),
) -> anyhow::Result<hub::Update> {
    let home = variable("HOME").map(std::path::PathBuf::from);
    let settings = hub::Settings::from_environment(&variable, home.as_deref());
    let client = hub::Client::new(&settings)?;
    std::fs::create_dir_all(data_dir).with_context(|| format!("cannot make {}", data_dir.display()))?;
    // What an earlier update added may have changed since: it is asked for again.
    let (mut files, mut notes) = hub::overlay(data_dir);
    files.retain(|(name, _)| name != hub::CATALOGUE_FILE);
    let known = with(files, &mut notes);
    Ok(hub::catalogue_update(&client, &known, data_dir, hub::Options { models }, progress).await?)
}

fn with(files: Vec<(String, String)>, notes: &mut Vec<String>) -> Catalogue {
    let mut catalogue = Catalogue::read_embedded();
    for (name, text) in files {
        if let Err(problems) = catalogue.add(&name, &text) {
            notes.push(format!("left out of the catalogue: {problems}"));
        }
    }
    catalogue
}
