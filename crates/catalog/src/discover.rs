//! Which files are which models: single files, split sets, projectors beside them, revisions in the Hugging Face cache.
//!
//! Owns the grouping. Somebody else walks folders and hands over paths and sizes; nothing here touches a disk, and the
//! result depends on the set of files alone, not on their order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use types::{ByteCount, ModelKey};

use crate::name;

/// A file somebody walked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// How long it is.
    pub size: ByteCount,
}

/// A model that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Id and variant, from the file's stem.
    pub key: ModelKey,
    /// The whole stem, without a split set's numbers.
    pub stem: String,
    /// Its files: one, or those of a split set that are there, in order.
    pub files: Vec<PathBuf>,
    /// Bytes of these files together.
    pub size: ByteCount,
    /// Numbers, counted from 1, of files that a split set lacks. Empty for a model that can be loaded.
    pub missing: Vec<u32>,
    /// The projector beside it, with which it understands images or sound.
    pub projector: Option<PathBuf>,
    /// `org/name` on the Hugging Face hub, for files from its cache.
    pub repository: Option<String>,
}

impl Found {
    /// The file an engine is given: the only one, or the first of a split set (of those that are there).
    ///
    /// # Panics
    /// When `files` is empty, which it is never as this module fills it.
    pub fn path(&self) -> &Path {
        self.files.first().expect("a model is found by its files")
    }

    /// Whether all its files are there.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }
}

/// What can be addressed, and what cannot because something else has its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovery {
    /// Models, each with a key of its own, sorted by key.
    pub models: Vec<Found>,
    /// Models whose key another one has.
    pub shadowed: Vec<Shadowed>,
}

/// A model whose key another one has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadowed {
    /// The one that cannot be addressed.
    pub model: Found,
    /// The file that has the key.
    pub by: PathBuf,
}

/// The models among the files under `root`, sorted by path.
///
/// Hidden files and folders, files that are still being written (`.partial`, `.incomplete`, `.tmp`) and files that do
/// not end in `.gguf` are passed over.
pub fn in_folder(root: &Path, files: impl IntoIterator<Item = File>) -> Vec<Found> {
    let mut files: Vec<Entry> = files.into_iter().filter_map(|file| Entry::new(root, file)).collect();
    files.sort_by(|a, b| a.file.path.cmp(&b.file.path));
    files.dedup_by(|a, b| a.file.path == b.file.path);
    group(files)
}

/// The models among the files under `root`, the `hub` folder of the Hugging Face cache, sorted by path.
///
/// `mains` says for each repository (`org/name`) which revision its `refs/main` names. A file that several revisions
/// hold is found once: complete before incomplete, then in the main revision, then in the last one by name.
pub fn in_hub_cache(
    root: &Path,
    files: impl IntoIterator<Item = File>,
    mains: &BTreeMap<String, String>,
) -> Vec<Found> {
    let mut revisions: BTreeMap<(String, String), Vec<File>> = BTreeMap::new();
    for file in files {
        if let Some(place) = hub_place(root, &file.path) {
            revisions.entry(place).or_default().push(file);
        }
    }
    // By repository and place in it, the best so far.
    let mut best: BTreeMap<(String, PathBuf), (bool, bool, Found)> = BTreeMap::new();
    for ((repository, revision), files) in revisions {
        let folder = root.join(folder_of(&repository)).join("snapshots").join(&revision);
        let is_main = mains.get(&repository) == Some(&revision);
        let mut found = in_folder(&folder, files.clone());
        give_root_projector(&folder, files, &mut found);
        for mut model in found {
            let parent = model.path().parent().and_then(|parent| parent.strip_prefix(&folder).ok());
            let place = parent.unwrap_or(Path::new("")).join(&model.stem);
            model.repository = Some(repository.clone());
            let candidate = (model.is_complete(), is_main, model);
            let place = (repository.clone(), place);
            // Revisions come in order of name: an equal later one replaces.
            if best.get(&place).is_none_or(|held| (held.0, held.1) <= (candidate.0, candidate.1)) {
                best.insert(place, candidate);
            }
        }
    }
    let mut found: Vec<Found> = best.into_values().map(|(_, _, found)| found).collect();
    found.sort_by(|a, b| a.path().cmp(b.path()));
    found
}

/// Settles who has which key: the first in the order given, so that earlier folders win. A complete model is never
/// shadowed by an incomplete one.
pub fn settle(found: impl IntoIterator<Item = Found>) -> Discovery {
    let mut found: Vec<Found> = found.into_iter().collect();
    found.sort_by_key(|model| !model.is_complete());
    let mut models: BTreeMap<ModelKey, Found> = BTreeMap::new();
    let mut shadowed = vec![];
    for model in found {
        match models.get(&model.key) {
            // The same file by way of two folders is not worth a word.
            Some(first) if first.files == model.files => {}
            Some(_) if shadowed.iter().any(|other: &Shadowed| other.model.files == model.files) => {}
            Some(first) => shadowed.push(Shadowed { by: first.path().to_owned(), model }),
            None => {
                models.insert(model.key.clone(), model);
            }
        }
    }
    Discovery { models: models.into_values().collect(), shadowed }
}

/// A file worth looking at.
struct Entry {
    file: File,
    stem: String,
}

impl Entry {
    fn new(root: &Path, file: File) -> Option<Self> {
        let below = file.path.strip_prefix(root).unwrap_or(&file.path);
        let is_hidden = below.components().any(|part| part.as_os_str().as_encoded_bytes().starts_with(b"."));
        let is_gguf = file.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
        // A name that is not text could not be written into a request.
        let stem = file.path.file_stem()?.to_str()?.to_owned();
        let lower = stem.to_ascii_lowercase();
        let is_unfinished = [".partial", ".incomplete", ".tmp"].iter().any(|mark| lower.ends_with(mark));
        (is_gguf && !is_hidden && !is_unfinished).then_some(Self { file, stem })
    }

    fn is_projector(&self) -> bool {
        is_projector(&self.stem)
    }
}

fn is_projector(stem: &str) -> bool {
    stem.to_ascii_lowercase().contains("mmproj")
}

/// Groups files, sorted by path, into models.
fn group(files: Vec<Entry>) -> Vec<Found> {
    let (projectors, weights): (Vec<Entry>, Vec<Entry>) = files.into_iter().partition(Entry::is_projector);
    // A set is told apart by folder, stem and size: `x-00001-of-00002` and `x-00001-of-00003` are two.
    let mut sets: BTreeMap<(PathBuf, String, u32), BTreeMap<u32, File>> = BTreeMap::new();
    for Entry { file, stem } in weights {
        let folder = file.path.parent().unwrap_or(Path::new("")).to_owned();
        let (stem, number, count) = match name::shard(&stem) {
            Some(shard) => (shard.stem.to_owned(), shard.number, shard.count),
            // Zero files in the set: not a set.
            None => (stem, 1, 0),
        };
        sets.entry((folder, stem, count)).or_default().insert(number, file);
    }
    let mut found: Vec<Found> = sets
        .into_iter()
        .map(|((_, stem, count), files)| Found {
            key: name::key(&stem),
            missing: (1..=count).filter(|number| !files.contains_key(number)).collect(),
            size: files.values().map(|file| file.size).sum(),
            files: files.into_values().map(|file| file.path).collect(),
            stem,
            projector: None,
            repository: None,
        })
        .collect();
    found.sort_by(|a, b| a.path().cmp(b.path()));
    give_projectors(&projectors, &mut found);
    found
}

/// Gives each model the projector in its folder: one that carries its name, or one without a name where all models of
/// the folder are variants of one. Several that fit: the half-precision one, then by path.
fn give_projectors(projectors: &[Entry], models: &mut [Found]) {
    let places: Vec<(Option<PathBuf>, String)> = models
        .iter()
        .map(|model| (model.path().parent().map(Path::to_owned), model.key.id.as_str().to_owned()))
        .collect();
    for (index, model) in models.iter_mut().enumerate() {
        let (folder, id) = &places[index];
        let is_alone = places.iter().all(|(other, other_id)| other != folder || other_id == id);
        model.projector = projectors
            .iter()
            .filter(|projector| projector.file.path.parent().map(Path::to_owned) == *folder)
            .filter(|projector| is_alone || carries_name(&projector.stem, id))
            .min_by_key(|projector| (!carries_name(&projector.stem, id), precision_rank(&projector.stem)))
            .map(|projector| projector.file.path.clone());
    }
}

/// In a repository the projector often lies at the top, and each variant in a folder of its own.
fn give_root_projector(folder: &Path, files: Vec<File>, models: &mut [Found]) {
    let mut at_root: Vec<Entry> = files
        .into_iter()
        .filter(|file| file.path.parent() == Some(folder))
        .filter_map(|file| Entry::new(folder, file))
        .filter(Entry::is_projector)
        .collect();
    at_root.sort_by_key(|projector| (precision_rank(&projector.stem), projector.file.path.clone()));
    let Some(projector) = at_root.first() else { return };
    let is_one_model = models.windows(2).all(|pair| pair[0].key.id == pair[1].key.id);
    for model in models.iter_mut().filter(|_| is_one_model) {
        model.projector.get_or_insert_with(|| projector.file.path.clone());
    }
}

/// Whether a projector's stem, `mmproj-NAME-F16` or `NAME.mmproj-Q8_0`, names the model `id`.
fn carries_name(stem: &str, id: &str) -> bool {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['_', '.'], "-");
    let stem = plain(name::key(stem).id.as_str()).replace("mmproj", "");
    let named = stem.trim_matches('-');
    !named.is_empty() && plain(id) == named
}

fn precision_rank(stem: &str) -> u8 {
    match name::key(stem).variant.as_str().to_ascii_uppercase().as_str() {
        "F16" | "FP16" => 0,
        "BF16" => 1,
        "Q8_0" => 2,
        _ => 3,
    }
}

/// Repository and revision of `models--org--name/snapshots/REVISION/...` under `root`.
fn hub_place(root: &Path, path: &Path) -> Option<(String, String)> {
    let mut parts = path.strip_prefix(root).ok()?.components().map(|part| part.as_os_str().to_str());
    let repository = parts.next()??.strip_prefix("models--")?.replacen("--", "/", 1);
    (parts.next()?? == "snapshots").then_some(())?;
    let revision = parts.next()??.to_owned();
    parts.next().is_some().then_some((repository, revision))
}

fn folder_of(repository: &str) -> String {
    format!("models--{}", repository.replacen('/', "--", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(paths: &[&str]) -> Vec<File> {
        let file = |path: &&str| File { path: Path::new("/m").join(path), size: ByteCount::bytes(10) };
        paths.iter().map(file).collect()
    }

    /// One line per model: key, first file, and what is special.
    fn show(found: &[Found]) -> String {
        let path = |path: &Path| path.strip_prefix("/m").unwrap().display().to_string();
        let lines = found.iter().map(|model| {
            let mut line = format!("{} {} {}", model.key, path(model.path()), model.size.as_u64());
            if !model.missing.is_empty() {
                line += &format!(" missing {:?}", model.missing);
            }
            if let Some(projector) = &model.projector {
                line += &format!(" with {}", path(projector));
            }
            if let Some(repository) = &model.repository {
                line += &format!(" of {repository}");
            }
            line
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[track_caller]
    fn check(paths: &[&str], expected: &[&str]) {
        let forwards = files(paths);
        let backwards = forwards.iter().rev().cloned();
        assert_eq!(show(&in_folder(Path::new("/m"), backwards)), expected.join("\n"));
        assert_eq!(show(&in_folder(Path::new("/m"), forwards)), expected.join("\n"));
    }

    #[test]
    fn a_file_is_a_model_wherever_it_lies() {
        check(
            &["b/Qwen3-4B-Q8_0.gguf", "a.GGUF", "some-folder/deep/c.Q4_K_M.gguf", "notes.txt"],
            &["a a.GGUF 10", "Qwen3-4B:Q8_0 b/Qwen3-4B-Q8_0.gguf 10", "c:Q4_K_M some-folder/deep/c.Q4_K_M.gguf 10"],
        );
    }

    #[test]
    fn unfinished_and_hidden_files_are_passed_over() {
        check(
            &[".hidden.gguf", ".cache/x.gguf", "a.gguf.partial", "b.partial.gguf", "c.gguf.tmp", "d.incomplete.gguf"],
            &[],
        );
        // A hidden folder above the root is the user's choice.
        let file = File { path: "/home/u/.snug/models/a.gguf".into(), size: ByteCount::ZERO };
        assert_eq!(in_folder(Path::new("/home/u/.snug/models"), [file]).len(), 1);
    }

    #[test]
    fn split_sets_are_one_model() {
        check(
            &[
                "big-Q4_K_M-00003-of-00003.gguf",
                "big-Q4_K_M-00001-of-00003.gguf",
                "big-Q4_K_M-00002-of-00003.gguf",
                "cut-Q8_0-00002-of-00004.gguf",
                "cut-Q8_0-00004-of-00004.gguf",
            ],
            &[
                "big:Q4_K_M big-Q4_K_M-00001-of-00003.gguf 30",
                "cut:Q8_0 cut-Q8_0-00002-of-00004.gguf 20 missing [1, 3]",
            ],
        );
    }

    #[test]
    fn a_projector_goes_with_the_models_of_its_folder() {
        check(
            &["v/gemma-Q4_0.gguf", "v/gemma-Q8_0.gguf", "v/mmproj-BF16.gguf", "v/mmproj-F16.gguf", "t/text-Q8_0.gguf"],
            &[
                "text:Q8_0 t/text-Q8_0.gguf 10",
                "gemma:Q4_0 v/gemma-Q4_0.gguf 10 with v/mmproj-F16.gguf",
                "gemma:Q8_0 v/gemma-Q8_0.gguf 10 with v/mmproj-F16.gguf",
            ],
        );
    }

    #[test]
    fn in_a_mixed_folder_a_projector_goes_by_name() {
        check(
            &[
                "gemma-3-4b-it-Q4_0.gguf",
                "mmproj-gemma-3-4b-it-f16.gguf",
                "Qwen2-VL-Q8_0.gguf",
                "Qwen2-VL.mmproj-Q8_0.gguf",
                "text-Q8_0.gguf",
                "mmproj-F16.gguf",
            ],
            &[
                "Qwen2-VL:Q8_0 Qwen2-VL-Q8_0.gguf 10 with Qwen2-VL.mmproj-Q8_0.gguf",
                "gemma-3-4b-it:Q4_0 gemma-3-4b-it-Q4_0.gguf 10 with mmproj-gemma-3-4b-it-f16.gguf",
                "text:Q8_0 text-Q8_0.gguf 10",
            ],
        );
    }

    #[track_caller]
    fn check_hub(mains: &[(&str, &str)], paths: &[&str], expected: &[&str]) {
        let mains = mains.iter().map(|(repository, revision)| (repository.to_string(), revision.to_string())).collect();
        assert_eq!(show(&in_hub_cache(Path::new("/m"), files(paths), &mains)), expected.join("\n"));
    }

    #[test]
    fn the_main_revision_is_preferred() {
        let paths = [
            "models--org--x-GGUF/snapshots/aaa/x-Q4_0.gguf",
            "models--org--x-GGUF/snapshots/bbb/x-Q4_0.gguf",
            "models--org--x-GGUF/snapshots/ccc/x-Q4_0.gguf",
            "models--org--x-GGUF/snapshots/aaa/old-Q4_0.gguf",
            "models--org--x-GGUF/blobs/0123",
            "datasets--org--y/snapshots/aaa/y.gguf",
            "stray.gguf",
        ];
        check_hub(
            &[("org/x-GGUF", "bbb")],
            &paths,
            &[
                "old:Q4_0 models--org--x-GGUF/snapshots/aaa/old-Q4_0.gguf 10 of org/x-GGUF",
                "x:Q4_0 models--org--x-GGUF/snapshots/bbb/x-Q4_0.gguf 10 of org/x-GGUF",
            ],
        );
        check_hub(&[], &paths[..3], &["x:Q4_0 models--org--x-GGUF/snapshots/ccc/x-Q4_0.gguf 10 of org/x-GGUF"]);
    }

    #[test]
    fn a_complete_set_beats_an_incomplete_main_one() {
        check_hub(
            &[("o/x", "new")],
            &[
                "models--o--x/snapshots/old/Q4_0/x-Q4_0-00001-of-00002.gguf",
                "models--o--x/snapshots/old/Q4_0/x-Q4_0-00002-of-00002.gguf",
                "models--o--x/snapshots/new/Q4_0/x-Q4_0-00002-of-00002.gguf",
                "models--o--x/snapshots/old/mmproj-F16.gguf",
            ],
            &["x:Q4_0 models--o--x/snapshots/old/Q4_0/x-Q4_0-00001-of-00002.gguf 20 \
               with models--o--x/snapshots/old/mmproj-F16.gguf of o/x"],
        );
    }

    #[test]
    fn the_first_has_the_key_and_the_other_is_reported() {
        let found = in_folder(Path::new("/m"), files(&["a/x-Q4_0.gguf", "b/x.Q4_0.gguf", "b/x-Q8_0.gguf"]));
        let discovery = settle(found.clone().into_iter().chain(found));
        assert_eq!(show(&discovery.models), "x:Q4_0 a/x-Q4_0.gguf 10\nx:Q8_0 b/x-Q8_0.gguf 10");
        let shadowed: Vec<_> = discovery.shadowed.iter().map(|s| (s.model.path(), s.by.as_path())).collect();
        assert_eq!(shadowed, [(Path::new("/m/b/x.Q4_0.gguf"), Path::new("/m/a/x-Q4_0.gguf"))]);
    }
}
