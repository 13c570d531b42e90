//! The fit adviser: hardware, catalogue and `fit` joined into the answers of the fit API.
//!
//! Owns what is asked ([`Query`]) and what is answered; looks at nothing by itself. Whoever calls brings the machine, the
//! book of models, and what is known of those that are here; the same call serves the server and the command line.
//! Must not know HTTP, files, or what runs now.

mod analysis;
mod book;
mod local;
mod machine;
mod plan;
mod query;

pub use analysis::{Analysis, Known, Row};
pub use book::Book;
pub use local::{Local, LocalError};
pub use machine::{gib, machine, system_info};
pub use plan::{Plan, PlanError, concurrency, plan, plan_request, plan_terms};
pub use query::{Category, List, MinFit, Query, QueryError, Sort, Terms};
