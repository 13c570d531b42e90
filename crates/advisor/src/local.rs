//! A model that lies on this machine, as its own files describe it: advised like one of the catalogue.

use std::sync::Arc;

use catalog::catalogue::{Model, UseCase};
use catalog::gguf::{Header, Kind};
use catalog::hf::Folder;
use catalog::quantization::{Container, Quantization};
use catalog::shape::{Block, Experts, Shape, ShapeError};
use fit::{Candidate, Facts, Quality, Variant};
use types::{ByteCount, Mode};

use crate::book::{Book, Entry, category, count};

/// What quality is taken to be of a model that nobody told of: the middle of the scale.
const QUALITY_UNKNOWN: f64 = 50.0;

/// A model read from its files.
#[derive(Debug)]
pub struct Local {
    name: String,
    shape: Shape,
    quantization: Quantization,
    facts: Facts,
    parameters: u64,
    use_case: UseCase,
}

/// Why files make no model that can be advised.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// A projector, an adapter, a later file of a split set.
    #[error("this file is no whole model; name the model's own file, of a split set the first")]
    NotAModel,
    /// Weights stored in a way that is not known here.
    #[error("its weights are stored as {0:?}, which is not known here")]
    Quantization(String),
    /// A configuration that makes no sense.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

impl Local {
    /// From a GGUF header, with those of all its shards.
    ///
    /// # Errors
    /// If it is not of a model.
    pub fn of_gguf(name: &str, header: &Header) -> Result<Self, LocalError> {
        if header.kind != Kind::Model {
            return Err(LocalError::NotAModel);
        }
        let facts = Facts::from(header);
        Ok(Self {
            name: name.to_owned(),
            shape: outline(name, header),
            quantization: stored(header),
            facts,
            parameters: header.parameters,
            use_case: match header.mode() {
                Mode::Chat => UseCase::General,
                Mode::Embedding => UseCase::Embedding,
                Mode::Rerank => UseCase::Rerank,
            },
        })
    }

    /// From a folder as Hugging Face's libraries keep it.
    ///
    /// # Errors
    /// If its weights are stored in a way that is not known here, or its configuration makes no sense.
    pub fn of_folder(name: &str, folder: Folder) -> Result<Self, LocalError> {
        let Folder { shape, quantization, parameters, .. } = folder;
        // `BF16` names a type of GGUF, too; here it is how the maker published the weights.
        let label = if quantization.quantized { quantization.label.as_str() } else { "16bit" };
        let stored: Quantization = label.parse().map_err(|_| LocalError::Quantization(label.to_owned()))?;
        let use_case = if shape.bidirectional { UseCase::Embedding } else { UseCase::General };
        let facts = Facts::of(&shape, stored)?;
        Ok(Self { name: name.to_owned(), facts, quantization: stored, parameters, use_case, shape })
    }
}

impl Book {
    /// Adds a model of this machine, found by its name.
    pub fn add(&mut self, local: Local) {
        let Local { name, shape, quantization, facts, parameters, use_case } = local;
        let model = Model {
            id: name,
            provider: "local".to_owned(),
            parameters,
            parameters_active: facts.parameters_active().min(parameters),
            context: facts.context_native(),
            released: String::new(),
            license: String::new(),
            use_case,
            capabilities: vec![],
            evaluations: vec![],
            repositories: vec![],
            shape: Arc::new(shape),
        };
        let candidate = Candidate {
            use_case,
            quality: Quality { index: QUALITY_UNKNOWN, evaluations: 0 },
            context: model.context,
            parameters_active: model.parameters_active,
            is_moe: facts.has_experts(),
            variants: vec![Variant {
                engine: fit::speed::Engine::of(quantization),
                quant: quantization.into(),
                quality_loss: 0.0,
                facts,
            }],
        };
        let text = model.id.to_lowercase();
        self.insert(Entry {
            name: text.clone(),
            parameter_count: count(parameters),
            category: category(use_case),
            quantizations: vec![quantization],
            candidate,
            model,
            text,
        });
    }
}

/// What a header tells of the architecture, as far as advice asks for it; memory comes from its tensors.
fn outline(name: &str, header: &Header) -> Shape {
    let experts = header.experts.as_ref().map(|experts| Experts {
        total: experts.count,
        used: experts.used.max(),
        ..Experts::default()
    });
    Shape {
        name: name.to_owned(),
        architecture: header.architecture.clone(),
        gguf: Some(header.architecture.clone()),
        hidden: header.embedding_length,
        vocabulary: header.vocabulary,
        tied: header.weights.output_is_tied,
        context: header.context_length,
        blocks: vec![Block { layers: header.layers, experts, ..Block::default() }],
        per_layer_embedding: 0,
        per_layer_vocabulary: None,
        ngrams: None,
        shared_kv_layers: 0,
        positions: 0,
        bidirectional: header.is_encoder(),
        parts: vec![],
    }
}

/// The quantisation that the file names, or else the one that takes as many bits.
fn stored(header: &Header) -> Quantization {
    if let Ok(named) = header.quantization.parse() {
        return named;
    }
    #[expect(clippy::cast_precision_loss, reason = "bits to a tenth")]
    let bits = |weights: ByteCount| weights.as_u64() as f64 * 8.0 / header.parameters.max(1) as f64;
    let wanted = bits(header.weights.total);
    let away = |one: &Quantization| (one.bits() - wanted).abs();
    Quantization::all()
        .filter(|one| one.container() == Container::Gguf)
        .min_by(|a, b| away(a).total_cmp(&away(b)))
        .unwrap_or(Quantization::Q8_0)
}
