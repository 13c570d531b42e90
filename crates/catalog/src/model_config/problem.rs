//! What is wrong with what somebody wrote, all of it at once.

use std::fmt;

/// Most problems that are told; of the others only how many.
const MOST_TOLD: usize = 50;

/// One field that will not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its path, such as `variants[0].download.url`; empty for the whole.
    pub field: String,
    /// What it must be and what it is, such as `must be a number of MiB above 0, is -5`. Never a secret.
    pub reason: String,
}

impl Problem {
    pub(super) fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{} ", self.field)?;
        }
        f.write_str(&self.reason)
    }
}

/// All that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    told: Vec<Problem>,
    /// How many more there are.
    more: usize,
}

impl Problems {
    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// What is wrong, in the order in which it was found; at most the first 50.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.told.iter()
    }

    /// The same problems of something that lies at `path`.
    #[must_use]
    pub fn within(mut self, path: &str) -> Self {
        for problem in &mut self.told {
            problem.field = match problem.field.as_str() {
                "" => path.to_owned(),
                field if path.is_empty() => field.to_owned(),
                field => format!("{path}.{field}"),
            };
        }
        self
    }

    /// Adds those of another.
    pub fn append(&mut self, other: Self) {
        self.more += other.more;
        for problem in other.told {
            self.push(problem.field, problem.reason);
        }
    }

    pub(super) fn push(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        if self.told.len() < MOST_TOLD {
            self.told.push(Problem::new(field, reason));
        } else {
            self.more += 1;
        }
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self { told: vec![problem], more: 0 }
    }
}

impl fmt::Display for Problems {
    /// All in one line, separated by semicolons.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.told.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        if self.more > 0 {
            write!(f, "; and {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
