//! The fit adviser without a server: what the command line asks when no snug runs, or about a machine that is not there.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use advisor::{Analysis, Book, Known, List, Local, PlanError, Query, QueryError};
use anyhow::Context;
use api::{FitList, FitRow, PlanAnswer, PlanRequest, SystemAnswer};
use catalog::hf::Folder;
use fit::Machine;
use hardware::{Doors, Overrides, Report, System};
use types::{ByteCount, MemoryUse};

use crate::advice::{node_name, system_answer};
use crate::catalogue;

/// No configuration of a model is longer.
const CONFIG_BYTES_MAX: u64 = 4 << 20;
/// A size below this is one whose unit was forgotten.
const MEMORY_MIN: ByteCount = ByteCount::mib(1);

/// Which machine is meant; this one, unless something is said.
#[derive(Clone, Debug, Default)]
pub struct Meant {
    /// Another one, in words (`2x RTX 4090, 128 GB`), or a file that describes it.
    pub simulate: Option<String>,
    /// Memory of each accelerator, such as `24G` or `2x24G`.
    pub memory: Option<String>,
    /// System memory, such as `64G`.
    pub ram: Option<String>,
    /// Cores.
    pub cpu_cores: Option<u32>,
}

/// What the fit API would answer, for one look at a machine.
#[derive(Debug)]
pub struct Adviser {
    system: System,
    machine: Machine,
    data_dir: PathBuf,
    catalogue: OnceLock<(Book, Vec<String>)>,
}

impl Adviser {
    /// Looks at the machine that is meant. What is measured once is kept in `data_dir`, and the catalogue's additions are
    /// read from there. Blocks for some seconds at most.
    ///
    /// # Errors
    /// If what was said of the machine cannot be.
    pub fn look(meant: &Meant, data_dir: &Path) -> anyhow::Result<Self> {
        let mut system = match &meant.simulate {
            Some(words) => simulated(words)?,
            None => {
                let mut system = hardware::detect(&Doors::here());
                system.cpu.bandwidth = hardware::bandwidth::once(data_dir, &system.cpu, system.ram);
                system
            }
        };
        let overrides = Overrides {
            memory: meant.memory.as_deref().map(str::parse).transpose()?,
            ram: meant.ram.as_deref().map(str::parse).transpose().context("--ram")?,
            cpu_cores: meant.cpu_cores,
        };
        for (flag, size) in [("--memory", overrides.memory.map(|memory| memory.each)), ("--ram", overrides.ram)] {
            if let Some(size) = size.filter(|size| *size < MEMORY_MIN) {
                let bytes = size.as_u64();
                anyhow::bail!("{flag}: {bytes} bytes are no memory for models: write a size such as `24G`");
            }
        }
        if overrides != Overrides::default() {
            system = overrides.apply(&system)?;
        }
        let machine = advisor::machine(&system, &MemoryUse::default());
        Ok(Self { machine, system, data_dir: data_dir.to_owned(), catalogue: OnceLock::new() })
    }

    /// Reads a GGUF file, or a folder as Hugging Face's libraries keep it, and advises on that model, too: by the name
    /// that is returned.
    ///
    /// # Errors
    /// If it cannot be read, or is no model; the chain says why.
    pub fn read(&mut self, path: &Path) -> anyhow::Result<String> {
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let of = || path.display().to_string();
        let local = if path.is_dir() {
            Local::of_folder(&name, folder(&name, path)?).with_context(of)?
        } else {
            let file = File::open(path).with_context(of)?;
            let length = ByteCount::bytes(file.metadata().with_context(of)?.len());
            let header = catalog::gguf::read(file, length).with_context(of)?;
            Local::of_gguf(&name, &header).with_context(of)?
        };
        self.book();
        if let Some((book, _)) = self.catalogue.get_mut() {
            book.add(local);
        }
        Ok(name)
    }

    /// What is wrong with the catalogue's additions, if it was needed.
    pub fn notes(&self) -> &[String] {
        self.catalogue.get().map_or(&[], |(_, notes)| notes)
    }

    /// As `GET /api/v1/system`.
    pub fn system(&self) -> SystemAnswer {
        system_answer(&self.system)
    }

    /// As `GET /api/v1/models`.
    ///
    /// # Errors
    /// A parameter whose value does not do.
    pub fn fit(&self, parameters: &[(String, String)]) -> Result<FitList, QueryError> {
        Ok(self.list(&Query::read(List::Models, None, parameters)?))
    }

    /// As `GET /api/v1/models/top`.
    ///
    /// # Errors
    /// A parameter whose value does not do.
    pub fn top(&self, parameters: &[(String, String)]) -> Result<FitList, QueryError> {
        Ok(self.list(&Query::read(List::Top, None, parameters)?))
    }

    /// As `POST /api/v1/plan`.
    ///
    /// # Errors
    /// As [`advisor::plan`].
    pub fn plan(&self, request: &PlanRequest) -> Result<PlanAnswer, PlanError> {
        Ok(advisor::plan(self.book(), &self.machine, request)?.answer)
    }

    /// What was found out about the machine, and how.
    pub fn report(&self) -> Report<'_> {
        hardware::report(&self.system)
    }

    /// Read when it is first needed: not every question is about models.
    fn book(&self) -> &Book {
        let read = || {
            let (catalogue, notes) = catalogue::with_additions(&self.data_dir);
            (Book::new(catalogue.models()), notes)
        };
        &self.catalogue.get_or_init(read).0
    }

    fn list(&self, query: &Query) -> FitList {
        let book = self.book();
        let analysis = Analysis::of(book, &self.machine, &query.terms, &Known::default());
        let (total, rows) = analysis.list(book, query);
        let models: Vec<FitRow> = rows.into_iter().map(|row| row.wire(book, &self.machine).clone()).collect();
        FitList {
            node: node_name(&self.system),
            system: advisor::system_info(&self.system),
            total_models: total,
            returned_models: models.len(),
            filters: query.echo.clone(),
            models,
        }
    }
}

/// A folder with `config.json` and weights.
fn folder(name: &str, path: &Path) -> anyhow::Result<Folder> {
    let config = path.join("config.json");
    let of = || config.display().to_string();
    let mut text = vec![];
    File::open(&config).with_context(of)?.take(CONFIG_BYTES_MAX).read_to_end(&mut text).with_context(of)?;
    let mut folder = Folder::new(name, &text).with_context(of)?;
    for entry in std::fs::read_dir(path).with_context(|| path.display().to_string())? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "safetensors") {
            let of = || file.display().to_string();
            let opened = File::open(&file).with_context(of)?;
            let length = ByteCount::bytes(opened.metadata().with_context(of)?.len());
            folder.add(opened, length).with_context(of)?;
        }
    }
    anyhow::ensure!(folder.parameters > 0, "{} holds no weights (*.safetensors)", path.display());
    Ok(folder)
}

/// A file if there is one of that name, else words.
pub(crate) fn simulated(words: &str) -> anyhow::Result<System> {
    let path = Path::new(words);
    if !path.is_file() {
        return System::simulated(words).with_context(|| format!("cannot simulate {words:?}"));
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {words}"))?;
    System::simulated_from_json(&text).with_context(|| format!("cannot simulate the machine of {words}"))
}
