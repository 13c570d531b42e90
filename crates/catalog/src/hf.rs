//! Model folders as the Hugging Face hub has them: `config.json`, and the headers of the `.safetensors` files beside it.
//!
//! Owns what the keys of a configuration mean for each family of models, and what a quantisation does to the count of
//! parameters. Bytes in, facts out: opens no file and asks no server. Every input may come from a stranger, so every
//! length and number is bounded.

mod config;
mod draft;
mod error;
mod family;
mod keys;
mod quantization;
mod safetensors;
#[cfg(test)]
mod tests;
mod tower;

use std::collections::BTreeMap;
use std::io::Read;

use types::ByteCount;

pub use config::shape;
pub use error::Error;
pub use quantization::Quantization;
pub use safetensors::{Index, Stored};

use crate::shape::Shape;

/// What a model's folder holds, exactly.
#[derive(Clone, Debug, PartialEq)]
pub struct Folder {
    /// Its architecture.
    pub shape: Shape,
    /// How the weights are stored.
    pub quantization: Quantization,
    /// Parameters, with packed ones counted as what they stand for and without scales.
    pub parameters: u64,
    /// What the weights take on disk, headers not included.
    pub weights: ByteCount,
    /// The same by data type, as safetensors names it: `BF16`, `F8_E4M3`, `U8`.
    pub by_type: BTreeMap<String, Stored>,
}

impl Folder {
    /// A folder with this `config.json`, before any of its weights are read.
    ///
    /// # Errors
    /// If the configuration is no configuration or describes no model that can be understood.
    pub fn new(name: &str, config: &[u8]) -> Result<Self, Error> {
        let (shape, quantization) = (shape(name, config)?, Quantization::read(config)?);
        let (parameters, weights, by_type) = (0, ByteCount::ZERO, BTreeMap::new());
        Ok(Self { shape, quantization, parameters, weights, by_type })
    }

    /// Adds the tensors of a `.safetensors` file of `length` bytes, of which only the header is read.
    ///
    /// # Errors
    /// If reading fails, or the header is none or does not agree with the file's length. Nothing is added then.
    pub fn add(&mut self, file: impl Read, length: ByteCount) -> Result<(), Error> {
        for (kind, stored) in safetensors::read(file, length, &self.quantization)? {
            self.parameters = self.parameters.saturating_add(stored.parameters);
            self.weights += stored.bytes;
            let sum = self.by_type.entry(kind).or_default();
            sum.parameters = sum.parameters.saturating_add(stored.parameters);
            sum.bytes += stored.bytes;
        }
        Ok(())
    }
}
