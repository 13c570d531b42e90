//! Who is asked what fits: the server, or, where none is meant or none answers, this program itself.

use api::{FitList, PlanAnswer, PlanRequest, SystemAnswer};
use client::Client;
use server::Adviser;

use crate::args::MachineArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::settings::Settings;

/// Whoever answers.
pub(crate) enum Advice {
    /// A running snug: it knows what it has measured.
    Server(Client),
    /// This program, looking at the machine by itself.
    Here(Box<Adviser>),
}

/// Parameters of the fit API.
pub(crate) type Parameters = Vec<(String, String)>;

impl Advice {
    /// The server if it was named or answers, unless another machine is meant; else this program.
    pub(crate) async fn of(settings: &Settings, machine: &MachineArgs) -> Result<Self, Failure> {
        let other_machine = machine.simulate.is_some()
            || machine.memory.is_some()
            || machine.ram.is_some()
            || machine.cpu_cores.is_some();
        if other_machine && settings.url_was_typed() {
            return Err(Failure::usage(
                "--simulate, --memory, --ram and --cpu-cores are for this program's own reckoning; leave out --url",
            ));
        }
        if !other_machine {
            if settings.url_was_given() {
                return Ok(Self::Server(settings.client()?));
            }
            let client = settings.client()?;
            if client.health().await.is_ok() {
                return Ok(Self::Server(client));
            }
        }
        Ok(Self::Here(Box::new(Self::here(settings, machine)?)))
    }

    /// As [`Advice::of`] for a model that may be a file or a folder of this machine, which this program reads itself; and
    /// the name to ask for.
    pub(crate) async fn on(model: &str, settings: &Settings, machine: &MachineArgs) -> Result<(Self, String), Failure> {
        let path = std::path::Path::new(model);
        // A hub id has a slash as well: only what is a model's file or folder is taken for one.
        if !path.is_file() && !path.join("config.json").is_file() {
            return Ok((Self::of(settings, machine).await?, model.to_owned()));
        }
        let mut adviser = Self::here(settings, machine)?;
        let name = adviser.read(path).map_err(|error| Failure::new(Exit::Failed, format!("{error:#}")))?;
        Ok((Self::Here(Box::new(adviser)), name))
    }

    /// This program itself, whoever else is there.
    pub(crate) fn here(settings: &Settings, machine: &MachineArgs) -> Result<Adviser, Failure> {
        let meant = server::Meant {
            simulate: machine.simulate.clone(),
            memory: machine.memory.clone(),
            ram: machine.ram.clone(),
            cpu_cores: machine.cpu_cores,
        };
        Adviser::look(&meant, &settings.data_dir()?).map_err(|error| Failure::new(Exit::Usage, format!("{error:#}")))
    }

    /// What should be known of the answers, once they were given.
    pub(crate) fn notes(&self) -> &[String] {
        match self {
            Self::Server(_) => &[],
            Self::Here(adviser) => adviser.notes(),
        }
    }

    pub(crate) async fn system(&self) -> Result<SystemAnswer, Failure> {
        match self {
            Self::Server(client) => client.system(&[]).await.map_err(refusal),
            Self::Here(adviser) => Ok(adviser.system()),
        }
    }

    pub(crate) async fn fit(&self, parameters: &Parameters) -> Result<FitList, Failure> {
        match self {
            Self::Server(client) => client.fit(parameters).await.map_err(refusal),
            Self::Here(adviser) => adviser.fit(parameters).map_err(|error| Failure::usage(error.to_string())),
        }
    }

    pub(crate) async fn top(&self, parameters: &Parameters) -> Result<FitList, Failure> {
        match self {
            Self::Server(client) => client.top(parameters).await.map_err(refusal),
            Self::Here(adviser) => adviser.top(parameters).map_err(|error| Failure::usage(error.to_string())),
        }
    }

    pub(crate) async fn plan(&self, request: &PlanRequest) -> Result<PlanAnswer, Failure> {
        match self {
            Self::Server(client) => client.plan(request).await.map_err(refusal),
            Self::Here(adviser) => adviser.plan(request).map_err(|error| {
                let exit = if error.is_unknown_model() { Exit::NotFound } else { Exit::Usage };
                Failure::new(exit, error.to_string())
            }),
        }
    }
}

/// What the fit API refuses, as this program would by itself.
fn refusal(error: client::Error) -> Failure {
    match error {
        client::Error::Api { status: 404, .. } => Failure::new(Exit::NotFound, error.to_string()),
        client::Error::Api { status: 400, .. } => Failure::usage(error.to_string()),
        error => error.into(),
    }
}
