//! The Hugging Face hub: its API, as <https://huggingface.co/docs/hub/api> documents it, its cache on this machine, and
//! downloads into that cache and elsewhere; and what of the hub makes the catalogue current.
//!
//! Owns requests to the hub (addresses, token, limits, tries), files that are being fetched, the layout of the cache, and
//! the catalogue's files in the data folder. What a configuration means is [`catalog`]'s affair; engines are nobody's here.
//!
//! - [`Client`] asks the hub.
//! - [`repository`] says which files are a model.
//! - [`download`] fetches files, [`cache`] knows where they lie.
//! - [`catalogue_update`] reads what people download now and writes `catalogue.toml`.
//! - [`overlay`] reads that file and the user's own.

pub mod cache;
mod client;
pub mod download;
mod error;
mod lock;
mod model;
mod overlay;
pub mod repository;
mod request;
mod settings;
mod tries;
mod update;

pub use client::Client;
pub use error::Error;
pub use model::{Model, Query, Relation, Sort, is_id};
pub use overlay::{CATALOGUE_FILE, USER_FOLDER, overlay};
pub use settings::{Retries, Settings, Token};
pub use update::{LeftOut, Options, Progress, Update, catalogue_update};
