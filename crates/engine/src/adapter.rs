//! Which program runs a model, and what differs between these programs: the words they are told, where they say that they
//! are well, what their output means, what of them outlives a swap.
//!
//! | | `llama-server` | `python -m llama_cpp.server` | `mlx-openai-server` |
//! |---|---|---|---|
//! | well | `/health` | `/health`, where that is unknown `/v1/models` | the same |
//! | ready, by its output | yes | uvicorn's line | uvicorn's line |
//! | buffers, phases | yes | buffers, as far as it logs them | no |
//! | prompts kept over a swap | yes | no | no |
//!
//! Everything here is a function over values; the process is driven by [`crate::Instance`].

pub mod mlx;
mod python;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::llama_cpp::{self, Diagnosis};
use crate::{Programs, Spec};

/// Which program runs a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adapter {
    /// llama.cpp's own `llama-server`.
    #[default]
    LlamaServer,
    /// `python -m llama_cpp.server`, where there is no `llama-server`.
    LlamaCppPython,
    /// `mlx-openai-server`, with what it alone is told.
    Mlx(mlx::Mlx),
}

impl Adapter {
    /// The arguments that start its program as `spec` says, listening on `listen`.
    ///
    /// # Errors
    /// If the program would not take one of them, in words.
    pub(crate) fn arguments(
        &self,
        spec: &Spec,
        programs: &Programs,
        listen: SocketAddr,
        slots_folder: Option<&Path>,
    ) -> Result<Vec<OsString>, String> {
        match self {
            Self::LlamaServer => Ok(llama_cpp::arguments(spec, listen, slots_folder)),
            Self::LlamaCppPython => Ok(python::arguments(spec, listen)),
            Self::Mlx(mlx) => mlx.arguments(spec, &programs.mlx_help(), listen),
        }
    }

    /// What it is told by its environment.
    pub(crate) fn environment(&self, spec: &Spec) -> Vec<(&'static str, String)> {
        match self {
            Self::LlamaServer => Vec::new(),
            Self::LlamaCppPython => python::environment(spec),
            Self::Mlx(_) => vec![python::unbuffered()],
        }
    }

    /// Where it is asked whether it is well: the first of these that it knows.
    pub(crate) const fn health_paths(&self) -> &'static [&'static str] {
        match self {
            Self::LlamaServer => &["/health"],
            Self::LlamaCppPython | Self::Mlx(_) => &["/health", "/v1/models"],
        }
    }

    /// Whether it reads GGUF files, of which much is known before they are loaded.
    pub const fn reads_gguf(&self) -> bool {
        !matches!(self, Self::Mlx(_))
    }

    /// Whether it tells by itself which model it serves, so that a stranger on its port is found out.
    pub(crate) const fn names_its_file(&self) -> bool {
        matches!(self, Self::LlamaServer)
    }

    /// Whether what it holds of prompts can be saved and brought back.
    pub(crate) const fn keeps_prompts(&self) -> bool {
        matches!(self, Self::LlamaServer)
    }

    /// The reader of its output.
    pub(crate) fn diagnosis(&self) -> Diagnosis {
        match self {
            Self::LlamaServer => Diagnosis::default(),
            Self::LlamaCppPython | Self::Mlx(_) => Diagnosis::by(python::observe),
        }
    }
}

/// A command line while it is written.
#[derive(Default)]
pub(crate) struct Line(pub(crate) Vec<OsString>);

impl Line {
    pub(crate) fn flag(&mut self, name: &str) {
        self.0.push(name.into());
    }

    pub(crate) fn pair(&mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) {
        self.0.push(name.into());
        self.0.push(value.as_ref().to_owned());
    }
}
