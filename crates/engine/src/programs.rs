//! The engine programs of this machine. Who starts snug finds them; here is which one a model needs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::Adapter;
use crate::adapter::mlx::Help;

/// The programs that were found. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    /// `llama-server`.
    pub llama_server: Option<PathBuf>,
    /// A Python that may have the package `llama-cpp-python`.
    pub python: Option<PathBuf>,
    /// `mlx-openai-server`.
    pub mlx: Option<PathBuf>,
    /// What that one says of itself, once it was asked.
    help: Arc<OnceLock<Help>>,
}

impl Programs {
    /// With nothing but a `llama-server`.
    pub fn llama_server(program: impl Into<PathBuf>) -> Self {
        Self { llama_server: Some(program.into()), ..Self::default() }
    }

    /// With these.
    pub fn new(llama_server: Option<PathBuf>, python: Option<PathBuf>, mlx: Option<PathBuf>) -> Self {
        Self { llama_server, python, mlx, help: Arc::default() }
    }

    /// The program that runs models of this adapter.
    ///
    /// # Errors
    /// If it was not found: what to do about it.
    pub fn of(&self, adapter: &Adapter) -> Result<&Path, &'static str> {
        let (program, missing) = match adapter {
            Adapter::LlamaServer => (
                &self.llama_server,
                "no llama-server was found on PATH, in the configuration (engine.llama_server) or in the data folder; \
                 run the set-up or install llama.cpp",
            ),
            Adapter::LlamaCppPython => {
                (&self.python, "neither llama-server nor python was found on PATH; run the set-up or install llama.cpp")
            }
            Adapter::Mlx(_) => {
                (&self.mlx, "mlx-openai-server was not found on PATH; install it (Apple silicon only) or use llamacpp")
            }
        };
        program.as_deref().ok_or(missing)
    }

    /// Asks the MLX server, if there is one, which flags it knows; it is slow to say. Until then nothing but the flags of
    /// every version is used.
    pub async fn ask_mlx(&self) {
        if let Some(program) = &self.mlx
            && self.help.get().is_none()
        {
            let _asked_twice = self.help.set(Help::of(program).await);
        }
    }

    pub(crate) fn mlx_help(&self) -> Help {
        self.help.get().cloned().unwrap_or_default()
    }
}
