//! The model-server contract, as its document has it, asked of a real snug: a table with one row for each statement.
//!
//! Each module is a chapter of the document; `table` says what a row is and `shape` how a body is compared. Every row runs,
//! and what did not hold is told together. Fields beside those of the document are allowed everywhere.

mod catalogue_of_routes;
mod config_file;
mod configs;
mod errors;
mod files;
mod health;
mod life;
mod logs;
mod models;
mod names;
mod openai;
mod persistence;
mod reads;
mod shape;
mod stage;
mod storage;
mod table;
mod telemetry;
