//! The built program as a whole: `snug serve` in a process of its own, with real engines, real models and real faults,
//! seen only through its port, its processes and its files.
//!
//! What the real engine cannot be made to do on demand (die at the tenth token, hang) the fake one does.

mod access;
mod advice;
mod clients;
mod commands;
mod cors;
mod crashes;
mod devices;
mod downloads;
mod failures;
mod fit_api;
mod folder;
mod full_disk;
mod keys;
mod leaving;
mod limits;
mod logs;
mod models_yaml;
mod observed;
mod ollama;
mod openai;
mod prompts;
mod reload;
mod shutdown;
mod stats;
mod support;
mod swapping;
