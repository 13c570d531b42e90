//! What is wrong with a configuration, and where it says so.

use std::fmt;
use std::path::PathBuf;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the configuration file.
    File {
        /// The file as it was named.
        file: PathBuf,
        /// Counted from 1; absent where the whole file is meant.
        line: Option<usize>,
    },
    /// In this environment variable.
    Variable(&'static str),
    /// In this flag.
    Flag(&'static str),
    /// Nowhere: it is the default that does not work here.
    Default,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written.
    pub place: Place,
    /// The key, such as `engine.slots`; empty where no single key is at fault.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    /// `snug.toml:12: engine.slots: must be 1 to 64, is 0`, `SNUG_PORT: …`, `--port: …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names_key = match &self.place {
            Place::File { file, line: Some(line) } => write!(f, "{}:{line}: ", file.display()).map(|()| true)?,
            Place::File { file, line: None } => write!(f, "{}: ", file.display()).map(|()| true)?,
            Place::Variable(name) | Place::Flag(name) => write!(f, "{name}: ").map(|()| false)?,
            Place::Default => true,
        };
        if names_key && !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong: of the file line by line, then of variables, then of flags; never empty when returned as an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    /// One problem a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
