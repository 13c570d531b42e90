//! One file per command: settings in, output through the printer.

pub(crate) mod catalog;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod fit;
pub(crate) mod info;
pub(crate) mod keys;
pub(crate) mod load;
pub(crate) mod models;
pub(crate) mod pin;
pub(crate) mod plan;
pub(crate) mod ps;
pub(crate) mod pull;
pub(crate) mod rm;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod system;
pub(crate) mod unload;
pub(crate) mod version;
