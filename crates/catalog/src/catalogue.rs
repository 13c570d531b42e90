//! The catalogue: base models whose facts are known, embedded in the program.
//!
//! One row for each base model; a quantised repack of it is a repository of its row. The rows lie in `data/`, a file for
//! each maker, as TOML. Reads what it is given and opens no file: user rows come as text.

mod evaluation;
mod repository;
mod write;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

pub use evaluation::{Benchmark, Evaluation};
pub use repository::{Format, Repository};

use crate::shape::{Shape, ShapeError};

/// Stated and computed parameters may differ by this share: norms and biases are not described.
pub const PARAMETERS_TOLERANCE: f64 = 0.03;

/// The files of `data/`.
const FILES: &[(&str, &str)] = &include!("../data/files.rs");

/// Models by their hub id.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    models: Vec<Model>,
    by_id: HashMap<String, usize>,
}

/// One base model.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Its id on the Hugging Face hub, such as `Qwen/Qwen3-8B`.
    pub id: String,
    /// Its maker, such as `Qwen`.
    pub provider: String,
    /// Its architecture.
    pub shape: Arc<Shape>,
    /// Parameters, as the hub counts them: with vision towers and prediction layers.
    pub parameters: u64,
    /// Parameters that a token uses; as many as `parameters` without experts.
    pub parameters_active: u64,
    /// Its context, tokens.
    pub context: u64,
    /// `YYYY-MM-DD`.
    pub released: String,
    /// SPDX id, or the hub's id of a licence that has none.
    pub license: String,
    /// What it is made for.
    pub use_case: UseCase,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// Results of public evaluations.
    pub evaluations: Vec<Evaluation>,
    /// Where its weights are to be had, its own repository first.
    pub repositories: Vec<Repository>,
}

/// What a model is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UseCase {
    /// Text of any kind.
    General,
    /// Programs.
    Coding,
    /// Long chains of thought.
    Reasoning,
    /// Conversation.
    Chat,
    /// Images and sound together with text.
    Multimodal,
    /// Vectors of texts.
    Embedding,
    /// The order of texts for a question.
    Rerank,
    /// Speech into text and text into speech.
    Speech,
}

/// What a model can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// Follows a conversation.
    Chat,
    /// Calls tools.
    Tools,
    /// Thinks before it answers.
    Thinking,
    /// Fills in the middle of a program.
    Infill,
    /// Sees images.
    Vision,
    /// Hears.
    Audio,
    /// Speaks.
    Speech,
    /// Makes vectors of texts.
    Embedding,
    /// Orders texts for a question.
    Rerank,
}

/// Everything that is wrong with a file of rows.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems(pub Vec<Error>);

/// Why a row was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not of the catalogue's form.
    #[error("catalogue {file}: {source}")]
    Form {
        /// Which file.
        file: String,
        /// What is wrong, and where.
        source: Box<toml::de::Error>,
    },
    /// An architecture makes no sense.
    #[error("catalogue {file}: {source}")]
    Shape {
        /// Which file.
        file: String,
        /// What is wrong.
        source: ShapeError,
    },
    /// A row does not agree with itself or with another.
    #[error("catalogue {file}: {model}: {problem}")]
    Row {
        /// Which file.
        file: String,
        /// Which model.
        model: String,
        /// What is wrong, with the values.
        problem: String,
    },
}

/// A file of the catalogue, as it is written down.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Architectures that its models have.
    #[serde(default)]
    pub shape: Vec<Shape>,
    /// Models.
    #[serde(default)]
    pub model: Vec<Row>,
    /// More repositories of models that are described elsewhere.
    #[serde(default)]
    pub repacks: Vec<Repacks>,
}

/// A model as it is written down.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// See [`Model::id`].
    pub id: String,
    /// See [`Model::provider`].
    pub provider: String,
    /// The name of its [`Shape`].
    pub shape: String,
    /// As the hub counts them.
    pub parameters: u64,
    /// Where the maker's figure is known; else computed.
    #[serde(default)]
    pub active: Option<u64>,
    /// Where not the shape's.
    #[serde(default)]
    pub context: Option<u64>,
    /// `YYYY-MM-DD`.
    pub released: String,
    /// SPDX id, or the hub's id of a licence that has none.
    pub license: String,
    /// What it is made for.
    pub use_case: UseCase,
    /// What it can do.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// Percent by benchmark.
    #[serde(default)]
    pub evaluations: BTreeMap<Benchmark, f64>,
    /// How its own repository stores the weights: `BF16` unless stated.
    #[serde(default)]
    pub native: Option<String>,
    /// Repositories that hold it as GGUF.
    #[serde(default)]
    pub gguf: Vec<String>,
    /// For MLX.
    #[serde(default)]
    pub mlx: Vec<String>,
    /// As AWQ.
    #[serde(default)]
    pub awq: Vec<String>,
    /// As GPTQ.
    #[serde(default)]
    pub gptq: Vec<String>,
    /// As 8-bit floats.
    #[serde(default)]
    pub fp8: Vec<String>,
    /// As 4-bit floats.
    #[serde(default)]
    pub fp4: Vec<String>,
}

/// Repositories that repack a model which is described elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Repacks {
    /// The model's id.
    pub model: String,
    /// As GGUF.
    #[serde(default)]
    pub gguf: Vec<String>,
    /// For MLX.
    #[serde(default)]
    pub mlx: Vec<String>,
    /// As AWQ.
    #[serde(default)]
    pub awq: Vec<String>,
    /// As GPTQ.
    #[serde(default)]
    pub gptq: Vec<String>,
    /// As 8-bit floats.
    #[serde(default)]
    pub fp8: Vec<String>,
    /// As 4-bit floats.
    #[serde(default)]
    pub fp4: Vec<String>,
}

impl Catalogue {
    /// The one that comes with the program, parsed once and kept for as long as that runs.
    pub fn embedded() -> &'static Self {
        static EMBEDDED: LazyLock<Catalogue> = LazyLock::new(Catalogue::read_embedded);
        &EMBEDDED
    }

    /// The one that comes with the program, parsed anew: for who adds to it, and does not keep it. Takes some tens of
    /// milliseconds.
    ///
    /// # Panics
    /// Never: a test has read the same text.
    pub fn read_embedded() -> Self {
        let mut catalogue = Self::default();
        for (file, text) in FILES {
            catalogue.add(file, text).expect("the embedded rows are checked by a test");
        }
        catalogue
    }

    /// Adds the rows of a file; a row replaces one of the same id. Nothing is changed if any row is refused. Repacks of
    /// models that nobody describes are passed over: a file may be older than what it adds to.
    ///
    /// # Errors
    /// If the text is not of the catalogue's form or a row does not add up; all problems are told.
    pub fn add(&mut self, file: &str, text: &str) -> Result<(), Problems> {
        let File { shape, model, repacks } = File::from_toml(file, text).map_err(|problem| Problems(vec![problem]))?;
        let shapes: HashMap<String, Arc<Shape>> =
            shape.into_iter().map(|shape| (shape.name.clone(), Arc::new(shape))).collect();
        let known = |name: &str| {
            let own = shapes.get(name).cloned();
            own.or_else(|| self.models.iter().find(|model| model.shape.name == name).map(|model| model.shape.clone()))
        };
        let (mut models, mut problems) = (vec![], vec![]);
        for row in model {
            match row.check(file, &known) {
                Ok(model) => models.push(model),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        for model in models {
            match self.by_id.get(&model.id) {
                Some(&index) => self.models[index] = model,
                None => {
                    self.by_id.insert(model.id.clone(), self.models.len());
                    self.models.push(model);
                }
            }
        }
        for more in repacks {
            if let Some(&index) = self.by_id.get(&more.model) {
                let known = &mut self.models[index].repositories;
                for repository in more.repositories() {
                    if !known.iter().any(|other| other.id == repository.id) {
                        known.push(repository);
                    }
                }
            }
        }
        Ok(())
    }

    /// All models, in the order of their files.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// The model of this hub id.
    pub fn get(&self, id: &str) -> Option<&Model> {
        self.by_id.get(id).map(|&index| &self.models[index])
    }
}

impl Row {
    fn check(self, file: &str, shapes: &dyn Fn(&str) -> Option<Arc<Shape>>) -> Result<Model, Error> {
        let refused = |problem: String| Error::Row { file: file.to_owned(), model: self.id.clone(), problem };
        let Some(shape) = shapes(&self.shape) else {
            return Err(refused(format!("there is no shape {:?} in this file", self.shape)));
        };
        let of_shape = |source| Error::Shape { file: file.to_owned(), source };
        let computed = shape.parameters().map_err(of_shape)?;
        #[expect(clippy::cast_precision_loss, reason = "compared with a tolerance")]
        let ratio = computed as f64 / self.parameters as f64;
        if (ratio - 1.0).abs() > PARAMETERS_TOLERANCE {
            return Err(refused(format!(
                "{} parameters are stated, its shape {} has {computed} ({:+.1} %)",
                self.parameters,
                shape.name,
                (ratio - 1.0) * 100.0
            )));
        }
        if !is_date(&self.released) {
            return Err(refused(format!("released is {:?}; YYYY-MM-DD is meant", self.released)));
        }
        if let Some((benchmark, score)) = self.evaluations.iter().find(|(_, score)| !(0.0..=100.0).contains(*score)) {
            return Err(refused(format!("{benchmark} is {score}; 0 to 100 is meant")));
        }
        let active = match self.active {
            Some(stated) => stated,
            None if shape.has_experts() => shape.parameters_active().map_err(of_shape)?,
            None => self.parameters,
        };
        let mut repositories = vec![Repository::own(&self.id, self.native.as_deref())];
        let Self { gguf, mlx, awq, gptq, fp8, fp4, .. } = &self;
        repositories.extend(repacked([gguf, mlx, awq, gptq, fp8, fp4]));
        let evaluations: Vec<Evaluation> =
            self.evaluations.iter().map(|(&benchmark, &score)| Evaluation { benchmark, score }).collect();
        Ok(Model {
            context: self.context.unwrap_or(shape.context),
            parameters_active: active.min(self.parameters),
            parameters: self.parameters,
            id: self.id,
            provider: self.provider,
            shape,
            released: self.released,
            license: self.license,
            use_case: self.use_case,
            capabilities: self.capabilities,
            evaluations,
            repositories,
        })
    }
}

impl Repacks {
    fn repositories(&self) -> Vec<Repository> {
        repacked([&self.gguf, &self.mlx, &self.awq, &self.gptq, &self.fp8, &self.fp4])
    }
}

/// The repositories under these names, in the order in which a row lists formats.
fn repacked(names: [&Vec<String>; 6]) -> Vec<Repository> {
    let formats = [Format::Gguf, Format::Mlx, Format::Awq, Format::Gptq, Format::Fp8, Format::Fp4];
    let of = |(format, names): (Format, &Vec<String>)| -> Vec<Repository> {
        names.iter().map(|name| Repository::repack(name, format)).collect()
    };
    formats.into_iter().zip(names).flat_map(of).collect()
}

/// Whether it has the form of a date; impossible days are not noticed.
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let number = |part: &str, length: usize, max: u32| {
        part.len() == length && part.parse::<u32>().is_ok_and(|number| (1..=max).contains(&number))
    };
    matches!(parts.as_slice(), [year, month, day] if number(year, 4, 2100) && number(month, 2, 12) && number(day, 2, 31))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_row_adds_up() {
        let mut catalogue = Catalogue::default();
        let mut problems = vec![];
        for (file, text) in FILES {
            let before = catalogue.models().len();
            match catalogue.add(file, text) {
                Ok(()) => {
                    let added = catalogue.models().len() - before;
                    let rows = text.lines().filter(|line| *line == "[[model]]").count();
                    if added != rows {
                        problems.push(format!("{file}: {} of its {rows} models were there before", rows - added));
                    }
                }
                Err(wrong) => problems.push(wrong.to_string()),
            }
        }
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        for (file, text) in FILES {
            let read: File = toml::from_str(text).unwrap();
            let again: File =
                toml::from_str(&read.to_toml().unwrap()).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(read == again, "{file} is not the same after it was written and read");
        }
    }

    #[test]
    fn repacks_are_added_to_models_that_are_known() {
        let mut catalogue = Catalogue::embedded().clone();
        let model = "Qwen/Qwen3-8B";
        let before = catalogue.get(model).unwrap().repositories.len();
        let known = catalogue.get(model).unwrap().repositories.last().unwrap().id.clone();
        let text = format!(
            "[[repacks]]\nmodel = \"{model}\"\ngguf = [\"a/b-GGUF\", \"{known}\"]\n[[repacks]]\nmodel = \"no/body\"\n"
        );
        catalogue.add("more.toml", &text).unwrap();
        assert_eq!(catalogue.get(model).unwrap().repositories.len(), before + 1);
    }
}
