//! Downloads from a fake hub that does to them what networks do.

mod cache;
mod faults;
mod huggingface_hub;
mod jobs;
mod resume;
mod support;
