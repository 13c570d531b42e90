//! What can go wrong with the database, in words that say what to do.

use std::path::{Path, PathBuf};

use sqlx::migrate::MigrateError;

/// Why something was not read from the database or not written to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be made or opened.
    #[error("cannot open the database {}; its folder must exist and be writable for the user that runs snug", .path.display())]
    NotOpened {
        /// The database file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no database, or a damaged one. It is left as it is.
    #[error(
        "the database {path} is damaged ({reason}) and was left as it is; stop snug, then put a copy of it back, or move \
         {path}, {path}-wal and {path}-shm away: snug starts with an empty one, without the API keys, flags, pins, settings, \
         use counts and history that were in it, and without keys it is open to everybody", path = .path.display()
    )]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What SQLite found.
        reason: String,
    },
    /// A newer snug wrote the file.
    #[error(
        "the database {} was written by a newer snug (its tables are at version {found}, this program knows {known}); \
         start that newer one, or give this one another folder with --data-dir", .path.display()
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Version of its tables that this program does not know.
        found: i64,
        /// The last one it knows.
        known: i64,
    },
    /// Its tables cannot be brought to this program's version.
    #[error(
        "the tables of the database {} cannot be brought up to date; keep the file and report this, or move it away to \
         start with an empty one", .path.display()
    )]
    NotMigrated {
        /// The database file.
        path: PathBuf,
        /// What failed.
        source: Box<MigrateError>,
    },
    /// Somebody else held it for longer than is waited for.
    #[error("cannot {doing}: another program holds the database {}; end it and try again", .path.display())]
    Busy {
        /// The database file.
        path: PathBuf,
        /// What was attempted.
        doing: &'static str,
    },
    /// The disk is full.
    #[error("cannot {doing}: no room on the disk of the database {}; free some and try again", .path.display())]
    Full {
        /// The database file.
        path: PathBuf,
        /// What was attempted.
        doing: &'static str,
    },
    /// Anything else.
    #[error("cannot {doing} in the database {}; see whether its disk is well and writable", .path.display())]
    Failed {
        /// The database file.
        path: PathBuf,
        /// What was attempted.
        doing: &'static str,
        /// What SQLite said.
        source: Box<sqlx::Error>,
    },
}

impl Error {
    /// What a failure of sqlx means for the database at `path`.
    pub(crate) fn of(path: &Path, doing: &'static str, error: sqlx::Error) -> Self {
        let path = path.to_owned();
        let code = match &error {
            sqlx::Error::Database(database) => database.code().and_then(|code| code.parse::<u32>().ok()),
            _ => None,
        };
        // The lowest byte of SQLite's extended codes is the kind of failure.
        match code.map(|code| code & 0xff) {
            Some(BUSY | LOCKED) => Self::Busy { path, doing },
            Some(FULL) => Self::Full { path, doing },
            Some(CORRUPT | NOT_A_DATABASE) => Self::Damaged { path, reason: reason(&error) },
            Some(CANNOT_OPEN) => Self::NotOpened { path, source: std::io::Error::other(error) },
            _ => Self::Failed { path, doing, source: Box::new(error) },
        }
    }

    /// What a failed migration means; `known` is the last one of this program.
    pub(crate) fn of_migration(path: &Path, known: i64, error: MigrateError) -> Self {
        match error {
            MigrateError::VersionMissing(found) if found > known => Self::Newer { path: path.to_owned(), found, known },
            MigrateError::Execute(error) => Self::of(path, "look at the tables", error),
            error => Self::NotMigrated { path: path.to_owned(), source: Box::new(error) },
        }
    }
}

// SQLite's primary result codes: https://www.sqlite.org/rescode.html
const BUSY: u32 = 5;
const LOCKED: u32 = 6;
const CORRUPT: u32 = 11;
const FULL: u32 = 13;
const CANNOT_OPEN: u32 = 14;
const NOT_A_DATABASE: u32 = 26;

fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        error => error.to_string(),
    }
}
