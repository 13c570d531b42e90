//! The database file and the few connections to it.

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use crate::Error;

/// How long a call waits for another that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// One writes, one reads. Each is a thread with a cache of its own.
const CONNECTIONS: u32 = 2;
/// What a connection may cache, KiB. All there is fits in little more.
const CACHE_KIB: u32 = 256;
/// Statements that a connection keeps prepared; there are fewer.
const STATEMENTS_KEPT: usize = 32;
/// The log of what is not in the file yet goes into it at this length, pages of 4 KiB.
const LOG_PAGES: u32 = 256;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// The database. Cheap to clone; all clones share its connections.
///
/// Every call is one transaction: it happens whole or not at all, and what it did is there for every call after it.
#[derive(Clone, Debug)]
pub struct Store {
    pool: SqlitePool,
    path: Arc<Path>,
}

impl Store {
    /// Opens the database at `path`, makes it if it is missing (only its user may read it), and brings its tables up to
    /// date. A damaged file is refused and left as it is. Where the disk has no room, one that is up to date can be read
    /// all the same.
    ///
    /// # Errors
    /// The file cannot be opened, is damaged, is in use, or was written by a newer snug; each says what to do.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        claim(path).map_err(|source| Error::NotOpened { path: path.to_owned(), source })?;
        match Self::connect(path, Sharing::Shared).await {
            Err(error @ (Error::Full { .. } | Error::Failed { .. })) => {
                // Connections share a small file beside the database, which cannot grow; one alone does without.
                let store = Self::connect(path, Sharing::Alone).await?;
                tracing::warn!(error = &error as &dyn std::error::Error, "the database can be read and not written");
                Ok(store)
            }
            opened => opened,
        }
    }

    async fn connect(path: &Path, sharing: Sharing) -> Result<Self, Error> {
        let (locking, connections) = match sharing {
            Sharing::Shared => (SqliteLockingMode::Normal, CONNECTIONS),
            Sharing::Alone => (SqliteLockingMode::Exclusive, 1),
        };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .locking_mode(locking)
            // Readers and the writer do not wait for each other.
            .journal_mode(SqliteJournalMode::Wal)
            // Enough: what a committed call wrote is with the kernel, so the end of the process, even by `kill -9`, takes
            // nothing. In WAL mode even a power failure only takes the last commits and never breaks the file; FULL would
            // buy those with a flush of the disk for each call.
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("cache_size", format!("-{CACHE_KIB}"))
            .pragma("wal_autocheckpoint", LOG_PAGES.to_string())
            .statement_cache_capacity(STATEMENTS_KEPT)
            .thread_name(|number| format!("store-{number}"))
            .disable_statement_logging();
        let pool = SqlitePoolOptions::new()
            .max_connections(connections)
            .min_connections(1)
            // A file does not go away like a server: there is nothing to renew or to test.
            .max_lifetime(None)
            .test_before_acquire(false)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_with(options)
            .await
            .map_err(|error| Error::of(path, "begin to work", error))?;
        let store = Self { pool, path: path.into() };
        match store.prepare().await {
            Ok(()) => Ok(store),
            Err(error) => {
                store.close().await;
                Err(error)
            }
        }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for calls in progress and closes the file; later calls fail. Without it nothing is lost: the file is only
    /// tidied up at the next start.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Makes an error of ours of one of sqlx's; `doing` goes on "cannot …".
    pub(crate) fn failed(&self, doing: &'static str) -> impl FnOnce(sqlx::Error) -> Error {
        let path = Arc::clone(&self.path);
        move |error| Error::of(&path, doing, error)
    }

    /// Finds damage now rather than in the middle of something, and brings the tables up to date.
    async fn prepare(&self) -> Result<(), Error> {
        let found: String = sqlx::query_scalar("PRAGMA quick_check(1)")
            .fetch_one(&self.pool)
            .await
            .map_err(self.failed("look for damage"))?;
        if found != "ok" {
            return Err(Error::Damaged { path: PathBuf::from(&*self.path), reason: found });
        }
        let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
        MIGRATIONS.run(&self.pool).await.map_err(|error| Error::of_migration(&self.path, known, error))
    }
}

/// Who may use the file beside us.
#[derive(Clone, Copy)]
enum Sharing {
    /// Several connections, and other programs.
    Shared,
    /// One connection.
    Alone,
}

/// Makes the file for its user only; the files that SQLite puts beside it take after it.
fn claim(path: &Path) -> std::io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(())
}
