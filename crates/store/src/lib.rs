//! What snug must not forget, in one SQLite database. The only crate that knows SQL.
//!
//! Owns the database file, its migrations, and one set of functions per group of tables. Holds no business rules.
//!
//! | tables | module | whose |
//! |---|---|---|
//! | `files` | `files` | flags and uses of model files |
//! | `pins` | `pins` | models that are never evicted |
//! | `settings` | `settings` | what a person changed while snug ran |
//! | `downloads` | `downloads` | downloads that are not done |
//! | `inferences`, `swaps` | `inferences`, `swaps` | what happened lately |
//! | `api_keys`, `numbers` | `api_keys` | API keys, as hashes |
//! | `usage` | `usage` | what was used by whom, summed up |
//!
//! What holds:
//! - **A call that returned is kept** when the process ends, however it ends (`kill -9`), for the kernel has what it
//!   wrote. A power failure may take the last moments, never more, and never leaves half of a call behind.
//! - **SQL is PostgreSQL's too**: `$1`, `ON CONFLICT`, `BIGINT`, `BOOLEAN`, `DOUBLE PRECISION`, no `rowid`, no pragmas
//!   but in `open`. Times are integers of milliseconds since 1970, made by whoever calls.
//! - **Migrations only add**: tables, indexes, columns with a default. What is not needed any more goes a version
//!   later, so that a program of the version before, still running on the database, is not disturbed. A migration that
//!   was published is never edited.

mod api_keys;
mod downloads;
mod error;
mod files;
mod inferences;
mod open;
mod pins;
mod settings;
mod swaps;
mod usage;

pub use api_keys::{ApiKeyColumns, ApiKeyRow};
pub use downloads::DownloadRow;
pub use error::Error;
pub use files::{FileRow, Use};
pub use inferences::InferenceRow;
pub use open::Store;
pub use swaps::SwapRow;
pub use usage::{UsageGroup, UsagePeriod, UsageQuery, UsageRow, UsageSums};
