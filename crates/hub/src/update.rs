//! Bringing the catalogue up to date: which models people use now, what they are, and which repositories repack them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use catalog::catalogue::{Capability, Catalogue, File, Format, Repacks, Row, UseCase};
use catalog::hf::{self, Quantization};
use catalog::shape::Shape;
use futures_util::StreamExt;

use crate::client::Client;
use crate::error::Error;
use crate::model::{Model, Query, Relation, Sort};
use crate::overlay::{self, CATALOGUE_FILE};

/// Tasks whose models are looked at.
const TASKS: [&str; 6] = [
    "text-generation",
    "image-text-to-text",
    "feature-extraction",
    // Where the hub files most models that make vectors of texts.
    "sentence-similarity",
    "text-ranking",
    "automatic-speech-recognition",
];

/// Configurations that are asked for at the same time.
const AT_ONCE: usize = 4;

/// Rows that an update keeps, those of earlier ones with them.
const ROWS_MAX: usize = 5000;

/// Repositories of one format that are listed for a model.
const REPACKS_MAX: usize = 8;

const HEADER: &str = "# Written by `snug catalog update` from the Hugging Face hub, and overwritten by the next one.\n\
                      # Rows of your own belong into files of this form in the folder `catalogue.d` beside it.\n\n";

/// How much is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Models that are looked at, over all tasks. Default 300.
    pub models: usize,
}

/// How far an update is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The hub is asked which models of a task people use.
    Listing {
        /// The task, such as `text-generation`.
        task: &'static str,
    },
    /// A model's configuration was read.
    Reading {
        /// How many were.
        done: usize,
        /// How many there are.
        total: usize,
        /// Which it was.
        id: String,
    },
    /// The file is written.
    Writing,
}

/// What an update came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    /// The file that was written.
    pub path: PathBuf,
    /// Models that were not known before, sorted.
    pub added: Vec<String>,
    /// Rows of earlier updates that were kept.
    pub kept: usize,
    /// Repositories that repack a known model, new ones only.
    pub repacks: usize,
    /// Models that were looked at and known.
    pub known: usize,
    /// Models that were left out, sorted.
    pub left_out: Vec<LeftOut>,
    /// What was not as it should be, but hindered nothing.
    pub notes: Vec<String>,
}

/// A model that was left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftOut {
    /// Its id.
    pub id: String,
    /// Why.
    pub reason: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { models: 300 }
    }
}

/// Asks the hub for the models that people use now, and writes those that `known` does not have to
/// [`CATALOGUE_FILE`] in the data folder, with the rows of earlier updates; `known` is best the embedded catalogue
/// together with the user's files, without that file.
///
/// A model whose facts do not add up (3 %) is left out, with the reason. Quantised repacks are listed under the model
/// they were made from. `progress` is called from within; it must not block.
///
/// # Errors
/// If the hub cannot be asked for its lists, or the file cannot be written. One model that cannot be read is no error.
pub async fn catalogue_update(
    client: &Client,
    known: &Catalogue,
    data_folder: &Path,
    options: Options,
    mut progress: impl FnMut(Progress),
) -> Result<Update, Error> {
    let mut update = Update { path: data_folder.join(CATALOGUE_FILE), ..Update::default() };
    let listed = list(client, options.models, &mut progress).await?;
    let mut sorted = Sorted::default();
    for model in listed {
        sorted.put(model, known);
    }
    let bases = sorted.unlisted_bases(known, options.models);
    let found = fetched(client, bases).await;
    for (id, model) in found {
        match model {
            Ok(model) => sorted.put(model, known),
            Err(error) => sorted.left_out.push(LeftOut { id, reason: error.to_string() }),
        }
    }
    update.known = sorted.known;

    let total = sorted.models.len();
    let makers = makers(known);
    let makers = &makers;
    let mut readings = futures_util::stream::iter(&sorted.models)
        .map(|model| async move { (model, read(client, model, makers).await) })
        .buffered(AT_ONCE);
    let (mut file, mut done) = (File::default(), 0);
    while let Some((model, reading)) = readings.next().await {
        done += 1;
        progress(Progress::Reading { done, total, id: model.id.clone() });
        match reading {
            Ok((shape, row)) => {
                update.added.push(row.id.clone());
                put(&mut file, shape, row);
            }
            Err(reason) => update.left_out.push(LeftOut { id: model.id.clone(), reason }),
        }
    }
    drop(readings);
    update.left_out.append(&mut sorted.left_out);

    progress(Progress::Writing);
    let earlier = earlier(data_folder, &mut update.notes);
    update.kept = keep(&mut file, earlier.as_ref(), known);
    update.repacks = sorted.list_repacks(&mut file, earlier, known);
    update.added.sort();
    update.left_out.sort();
    let text = file.to_toml().map_err(|error| Error::Rows { problem: error.to_string() })?;
    overlay::write(data_folder, &format!("{HEADER}{text}"))?;
    Ok(update)
}

/// The models that people use, each once: of each task the most downloaded and the most talked about.
async fn list(client: &Client, models: usize, progress: &mut impl FnMut(Progress)) -> Result<Vec<Model>, Error> {
    let share = models.div_ceil(TASKS.len() * 2);
    let (mut listed, mut seen) = (vec![], HashSet::new());
    for task in TASKS {
        progress(Progress::Listing { task });
        for sort in [Sort::Downloads, Sort::Trending] {
            let query = Query { task: Some(task), sort, ..Query::default() };
            for model in client.models(&query, share).await? {
                if seen.insert(model.id.clone()) && listed.len() < models {
                    listed.push(model);
                }
            }
        }
    }
    Ok(listed)
}

/// What the hub says about each of these.
async fn fetched(client: &Client, ids: Vec<String>) -> Vec<(String, Result<Model, Error>)> {
    let ask = |id: String| async move {
        let model = client.model(&id).await;
        (id, model)
    };
    futures_util::stream::iter(ids).map(ask).buffered(AT_ONCE).collect().await
}

/// Models by what is to be done with them.
#[derive(Default)]
struct Sorted {
    /// Those that may become rows.
    models: Vec<Model>,
    /// Repacks, by the model they were made from.
    repacks: BTreeMap<String, Vec<(Format, String)>>,
    left_out: Vec<LeftOut>,
    known: usize,
}

impl Sorted {
    fn put(&mut self, model: Model, known: &Catalogue) {
        if described_by(known, &model.id).is_some() {
            self.known += 1;
            return;
        }
        let reason = match (model.base(), repacked_as(&model)) {
            _ if model.withdrawn => "it is private or disabled",
            (Some((Relation::Adapter, _)), _) => "it is an adapter, not a model",
            (Some((Relation::Quantized, base)), Some(format)) => {
                let base = described_by(known, base).unwrap_or(base);
                self.repacks.entry(base.to_owned()).or_default().push((format, model.id));
                return;
            }
            (Some((Relation::Quantized, _)), None) => "it is quantised in a way that has no list",
            (_, Some(Format::Gguf | Format::Mlx)) => "it is a repack that does not say of which model",
            _ => {
                if self.models.iter().all(|other| other.id != model.id) {
                    self.models.push(model);
                }
                return;
            }
        };
        self.left_out.push(LeftOut { id: model.id, reason: reason.to_owned() });
    }

    /// Models that only their repacks were listed of.
    fn unlisted_bases(&self, known: &Catalogue, limit: usize) -> Vec<String> {
        let is_listed = |id: &String| self.models.iter().any(|model| model.id == *id);
        let bases = self.repacks.keys().filter(|id| known.get(id).is_none() && !is_listed(id));
        bases.take(limit).cloned().collect()
    }

    /// Writes the repacks down, with those of an earlier update; gives how many are new. Those of a model that has a row
    /// in `file` stand in that row.
    fn list_repacks(self, file: &mut File, earlier: Option<File>, known: &Catalogue) -> usize {
        let mut all: BTreeMap<String, Repacks> = BTreeMap::new();
        for repacks in earlier.into_iter().flat_map(|file| file.repacks) {
            all.insert(repacks.model.clone(), repacks);
        }
        let mut new = 0;
        for (base, repositories) in self.repacks {
            if let Some(row) = file.model.iter_mut().find(|row| row.id == base) {
                let lists = [&mut row.gguf, &mut row.mlx, &mut row.awq, &mut row.gptq, &mut row.fp8, &mut row.fp4];
                new += push(lists, repositories);
            } else if known.get(&base).is_some() {
                let of = all.entry(base.clone()).or_insert_with(|| Repacks { model: base, ..Repacks::default() });
                let lists = [&mut of.gguf, &mut of.mlx, &mut of.awq, &mut of.gptq, &mut of.fp8, &mut of.fp4];
                new += push(lists, repositories);
            }
        }
        file.repacks = all.into_values().filter(|repacks| known.get(&repacks.model).is_some()).collect();
        new
    }
}

/// The known model that this repository is of: its own, or one that repacks it.
fn described_by<'a>(known: &'a Catalogue, id: &str) -> Option<&'a str> {
    let repacked = || known.models().iter().find(|model| model.repositories.iter().any(|own| own.id == id));
    known.get(id).or_else(repacked).map(|model| model.id.as_str())
}

/// Puts repositories into the lists of their formats.
fn push(lists: [&mut Vec<String>; 6], repositories: Vec<(Format, String)>) -> usize {
    let [gguf, mlx, awq, gptq, fp8, fp4] = lists;
    let mut new = 0;
    for (format, id) in repositories {
        let list = match format {
            Format::Gguf => &mut *gguf,
            Format::Mlx => &mut *mlx,
            Format::Awq => &mut *awq,
            Format::Gptq => &mut *gptq,
            Format::Fp8 => &mut *fp8,
            Format::Fp4 => &mut *fp4,
            Format::Safetensors => continue,
        };
        if list.len() < REPACKS_MAX && !list.contains(&id) {
            list.push(id);
            new += 1;
        }
    }
    new
}

/// How a repack stores its weights, by its tags and else by its name; `None` for what is no repack.
fn repacked_as(model: &Model) -> Option<Format> {
    let library = |name: &str| model.library.as_deref() == Some(name) || model.has_tag(name);
    let name = model.id.to_ascii_lowercase();
    let named = |marks: &[&str]| marks.iter().any(|mark| name.contains(mark));
    Some(match () {
        () if library("gguf") || named(&["gguf"]) => Format::Gguf,
        () if library("mlx") => Format::Mlx,
        () if named(&["nvfp4", "mxfp4"]) => Format::Fp4,
        () if library("fp8") || named(&["fp8"]) => Format::Fp8,
        () if library("awq") || named(&["awq"]) => Format::Awq,
        () if library("gptq") || named(&["gptq"]) => Format::Gptq,
        () => return None,
    })
}

/// Makers by the owner of their repositories, as the catalogue calls them.
fn makers(known: &Catalogue) -> HashMap<&str, &str> {
    let of = known.models().iter().filter_map(|model| Some((model.id.split_once('/')?.0, model.provider.as_str())));
    of.collect()
}

/// Reads a model's configuration and makes a row that adds up, or says why there is none.
async fn read(client: &Client, model: &Model, makers: &HashMap<&str, &str>) -> Result<(Shape, Row), String> {
    let config = client.config(&model.id).await.map_err(|error| error.to_string())?;
    let told = |error: hf::Error| match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    // The id is the shape's name too: nothing else is sure to be nobody else's.
    let name = model.id.clone();
    let shape = hf::shape(&name, &config).map_err(told)?;
    let native = Quantization::read(&config).map_err(told)?.label;
    let parameters = model.parameters.ok_or("the hub does not say how many parameters it has")?;
    let released = model.created.as_deref().and_then(|created| created.get(..10)).unwrap_or_default().to_owned();
    let owner = model.id.split('/').next().unwrap_or_default();
    let row = Row {
        id: model.id.clone(),
        provider: (*makers.get(owner).unwrap_or(&owner)).to_owned(),
        shape: name,
        parameters,
        active: None,
        context: None,
        released,
        license: model.license().unwrap_or("unknown").chars().take(60).collect(),
        use_case: use_case(model),
        capabilities: capabilities(model),
        evaluations: BTreeMap::new(),
        native: Some(native).filter(|label| label != "BF16"),
        gguf: vec![],
        mlx: vec![],
        awq: vec![],
        gptq: vec![],
        fp8: vec![],
        fp4: vec![],
    };
    // The catalogue's own rule decides; the row is read back as it will be from the file.
    let alone = File { shape: vec![shape.clone()], model: vec![row.clone()], repacks: vec![] };
    let text = alone.to_toml().map_err(|error| error.to_string())?;
    Catalogue::default().add("of the hub", &text).map_err(|problems| problems.to_string())?;
    Ok((shape, row))
}

fn use_case(model: &Model) -> UseCase {
    let name = model.id.to_ascii_lowercase();
    let named = |marks: &[&str]| marks.iter().any(|mark| name.contains(mark));
    match model.task.as_deref() {
        Some("feature-extraction" | "sentence-similarity") => UseCase::Embedding,
        Some("text-ranking") => UseCase::Rerank,
        Some("automatic-speech-recognition") => UseCase::Speech,
        Some("image-text-to-text") => UseCase::Multimodal,
        _ if named(&["coder", "code", "devstral"]) => UseCase::Coding,
        _ if named(&["thinking", "reason", "-r1"]) => UseCase::Reasoning,
        _ => UseCase::General,
    }
}

fn capabilities(model: &Model) -> Vec<Capability> {
    let task = model.task.as_deref().unwrap_or_default();
    let template = model.chat_template.as_deref().unwrap_or_default();
    [
        (Capability::Chat, model.has_tag("conversational") || !template.is_empty()),
        (Capability::Tools, template.contains("tools")),
        (Capability::Thinking, template.contains("<think>") || template.contains("enable_thinking")),
        (Capability::Vision, task == "image-text-to-text"),
        (Capability::Audio, task == "automatic-speech-recognition"),
        (Capability::Embedding, matches!(task, "feature-extraction" | "sentence-similarity")),
        (Capability::Rerank, task == "text-ranking"),
    ]
    .into_iter()
    .filter_map(|(capability, has)| has.then_some(capability))
    .collect()
}

/// Adds a row, with its shape unless one that is the same is there.
fn put(file: &mut File, shape: Shape, mut row: Row) {
    let is_same = |other: &&Shape| Shape { name: shape.name.clone(), ..(*other).clone() } == shape;
    match file.shape.iter().find(is_same) {
        Some(same) => row.shape.clone_from(&same.name),
        None => file.shape.push(shape),
    }
    file.model.push(row);
}

/// What an earlier update wrote. A file that cannot be read is replaced, with a note.
fn earlier(data_folder: &Path, notes: &mut Vec<String>) -> Option<File> {
    let path = data_folder.join(CATALOGUE_FILE);
    let text = match overlay::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            notes.push(format!("{} is replaced: {error}", path.display()));
            return None;
        }
    };
    match File::from_toml(CATALOGUE_FILE, &text) {
        // Rows that do not add up by the rules of this version would make the whole file unreadable.
        Ok(file) if Catalogue::default().add(CATALOGUE_FILE, &text).is_ok() => Some(file),
        Ok(_) => {
            notes.push(format!("{} is replaced: some of its rows do not add up", path.display()));
            None
        }
        Err(error) => {
            notes.push(format!("{} is replaced: {error}", path.display()));
            None
        }
    }
}

/// Keeps the rows of an earlier update that neither this one nor the program has; gives how many.
fn keep(file: &mut File, earlier: Option<&File>, known: &Catalogue) -> usize {
    let Some(earlier) = earlier else { return 0 };
    let new: BTreeSet<String> = file.model.iter().map(|row| row.id.clone()).collect();
    for row in &mut file.model {
        // A model that is described anew keeps the repositories that repack it.
        if let Some(before) = earlier.model.iter().find(|before| before.id == row.id) {
            row.gguf.clone_from(&before.gguf);
            row.mlx.clone_from(&before.mlx);
            row.awq.clone_from(&before.awq);
            row.gptq.clone_from(&before.gptq);
            row.fp8.clone_from(&before.fp8);
            row.fp4.clone_from(&before.fp4);
        }
    }
    let is_wanted = |row: &&Row| !new.contains(&row.id) && known.get(&row.id).is_none();
    let room = ROWS_MAX.saturating_sub(file.model.len());
    let mut kept = 0;
    for row in earlier.model.iter().filter(is_wanted).take(room) {
        if let Some(shape) = earlier.shape.iter().find(|shape| shape.name == row.shape) {
            // Its name may by now be another shape's.
            let name = row.id.clone();
            put(file, Shape { name: name.clone(), ..shape.clone() }, Row { shape: name, ..row.clone() });
            kept += 1;
        }
    }
    kept
}
