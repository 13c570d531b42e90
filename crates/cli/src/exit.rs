//! How the program ends, for scripts.

use std::process::ExitCode;

/// The exit codes; part of the interface, never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// Not done, for a reason without a number of its own.
    Failed = 1,
    /// Wrong arguments or a wrong configuration.
    Usage = 2,
    /// Nobody answers at the server's address.
    Unreachable = 3,
    /// There is no such model.
    NotFound = 4,
    /// The model did not load.
    LoadFailed = 5,
    /// Ended by Ctrl-C.
    Interrupted = 130,
}

impl Exit {
    /// The word for it in `error.code`, where the server gave none.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Unreachable => "unreachable",
            Self::NotFound => "model_not_found",
            Self::LoadFailed => "model_load_error",
            Self::Interrupted => "interrupted",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The same list for `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0    done
  1    failed
  2    wrong arguments or configuration
  3    the server cannot be reached
  4    no such model
  5    the model did not load
  130  interrupted

Environment:
  SNUG_URL    the server's address, as --url
  SNUG_TOKEN  the token, as --token; keeps it out of the list of processes
  NO_COLOR    no colours
  SNUG_*      settings of `snug serve`; see `snug config`";
