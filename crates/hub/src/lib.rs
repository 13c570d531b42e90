//! The Hugging Face hub: its API, as <https://huggingface.co/docs/hub/api> documents it, and what of it makes the
//! catalogue current.
//!
//! Owns requests to the hub (addresses, token, limits, tries) and the catalogue's files in the data folder. What a
//! configuration means is [`catalog`]'s affair; engines are nobody's here.
//!
//! - [`Client`] asks the hub.
//! - [`catalogue_update`] reads what people download now and writes `catalogue.toml`.
//! - [`overlay`] reads that file and the user's own.

mod client;
mod error;
mod model;
mod overlay;
mod request;
mod settings;
mod update;

pub use client::Client;
pub use error::Error;
pub use model::{Model, Query, Relation, Sort};
pub use overlay::{CATALOGUE_FILE, USER_FOLDER, overlay};
pub use settings::{Retries, Settings, Token};
pub use update::{LeftOut, Options, Progress, Update, catalogue_update};
