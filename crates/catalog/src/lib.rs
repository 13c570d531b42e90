//! Model facts read from files: what a GGUF header says, what a file's name says, and which files are which models.
//!
//! Owns parsers and grouping rules: bytes and names in, facts out. Opens no file, walks no folder, knows no hardware
//! and no engine; whoever calls does the input and output.
//!
//! - [`catalogue`] holds the base models whose facts come with the program.
//! - [`hf`] reads the configuration and the weights' headers of a Hugging Face folder.
//! - [`gguf`] reads the header of a model file.
//! - [`name`] takes a file's stem apart into id, variant and place in a split set.
//! - [`discover`] groups the files of a folder or of the Hugging Face cache into models.
//! - [`model_config`] reads, checks and merges what people write about a model of theirs.
//! - [`names`] says which names address which model.
//! - [`quantization`] says how many bytes a tensor takes.
//! - [`shape`] describes an architecture, and computes its tensors and parameters.

pub mod catalogue;
pub mod discover;
pub mod gguf;
pub mod hf;
pub mod model_config;
pub mod name;
pub mod names;
pub mod quantization;
pub mod shape;
