//! A model's architecture as facts: what its layers are, and from that its tensors and its parameters.
//!
//! One description for all families: a model is blocks of layers, a layer is a mixer (attention of some kind, a
//! recurrent state, nothing) and a feed-forward part (dense, experts, nothing). What an engine keeps in memory for a
//! layer follows from the mixer; what it reads for a token follows from the tensors.

mod bounds;
mod mixer;
mod tensor;

use serde::{Deserialize, Serialize};

pub use mixer::{Attention, Compressed, Indexer, Latent, Mixer, Recurrent, Sliding};
pub use tensor::{Role, Tensor};

/// The architecture of a model, shared by all models of the same make: base, instruct, distilled into.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Its name in the catalogue, such as `qwen3-8b`.
    pub name: String,
    /// `model_type` of the Hugging Face configuration, such as `qwen3`.
    pub architecture: String,
    /// llama.cpp's name for the architecture, such as `qwen3`; absent where llama.cpp cannot run it.
    #[serde(default)]
    pub gguf: Option<String>,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Entries of the vocabulary (rows of the embedding).
    pub vocabulary: u64,
    /// Whether the output head is the token embedding. Default false.
    #[serde(default)]
    pub tied: bool,
    /// The context it was trained for, tokens.
    pub context: u64,
    /// Layers, from the first to the last.
    pub blocks: Vec<Block>,
    /// Width of a second embedding that each layer has for itself (Gemma 3n, Gemma 4 E models); 0 for none.
    #[serde(default)]
    pub per_layer_embedding: u64,
    /// Rows of that second embedding; as many as `vocabulary` unless stated.
    #[serde(default)]
    pub per_layer_vocabulary: Option<u64>,
    /// Rows that runs of tokens are hashed to, looked up like an embedding (Engram, arXiv 2601.07372).
    #[serde(default)]
    pub ngrams: Option<Ngrams>,
    /// Layers, counted from the end, that reuse the KV cache of an earlier one.
    #[serde(default)]
    pub shared_kv_layers: u64,
    /// Rows of a learned position embedding; 0 for none.
    #[serde(default)]
    pub positions: u64,
    /// Whether every token sees all others, so that nothing is kept (BERT and its kin). Default false.
    #[serde(default)]
    pub bidirectional: bool,
    /// What turns images or sound into tokens, and other parts beside the layers.
    #[serde(default)]
    pub parts: Vec<Part>,
}

/// A table of what runs of tokens mean, all heads of all layers that use it together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ngrams {
    /// Its rows.
    pub rows: u64,
    /// Elements of a row.
    pub width: u64,
}

/// Consecutive layers of one make, or of a repeating pattern of makes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// How many.
    pub layers: u32,
    /// The mixer of each layer, a letter each, repeated as often as needed: `f` full attention, `s` sliding window,
    /// `r` recurrent, `n` none; of compressed attention `w` window only, `c` sparse, `h` heavily compressed. Default: `f`, or `r` where only `recurrent` is given.
    #[serde(default)]
    pub mixers: Option<String>,
    /// The feed-forward part of each layer, a letter each, repeated as often as needed: `d` dense, `e` experts,
    /// `n` none. Default: `e` where `experts` is given, else `d`.
    #[serde(default)]
    pub feed_forwards: Option<String>,
    /// Heads of attention.
    #[serde(default)]
    pub attention: Option<Attention>,
    /// What layers with a sliding window have otherwise.
    #[serde(default)]
    pub sliding: Option<Sliding>,
    /// Multi-head latent attention: what is cached is one small vector for each token.
    #[serde(default)]
    pub latent: Option<Latent>,
    /// Compressed attention: what is cached of older tokens is one row for several.
    #[serde(default)]
    pub compressed: Option<Compressed>,
    /// A state of fixed size in place of attention.
    #[serde(default)]
    pub recurrent: Option<Recurrent>,
    /// Width of the dense feed-forward part.
    #[serde(default)]
    pub feed_forward: u64,
    /// Whether dense feed-forward parts have two matrices on the way in (SwiGLU, GeGLU). Default true.
    #[serde(default = "yes")]
    pub gated: bool,
    /// A mixture of experts.
    #[serde(default)]
    pub experts: Option<Experts>,
}

/// A mixture of experts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Experts {
    /// Routed experts of a layer.
    pub total: u64,
    /// Of these, how many a token uses.
    pub used: u64,
    /// Width of one.
    pub width: u64,
    /// Width of the experts that every token uses, together; 0 for none.
    #[serde(default)]
    pub shared_width: u64,
    /// Whether experts have two matrices on the way in. Default true.
    #[serde(default = "yes")]
    pub gated: bool,
    /// Width of what routed experts see, where it is projected down from the residual stream first; 0 for no such step.
    #[serde(default)]
    pub latent: u64,
    /// Width of a dense feed-forward part beside the experts of the same layer (Gemma 4, Arctic); 0 for none.
    #[serde(default)]
    pub dense_width: u64,
}

/// A part beside the layers: a vision tower, an audio encoder, a head for several tokens at once.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// What it is for.
    pub kind: PartKind,
    /// Layers of a plain transformer encoder; 0 where only `parameters` are known.
    #[serde(default)]
    pub layers: u64,
    /// Its width.
    #[serde(default)]
    pub hidden: u64,
    /// Width of its feed-forward parts.
    #[serde(default)]
    pub feed_forward: u64,
    /// Whether these have two matrices on the way in. Default false.
    #[serde(default)]
    pub gated: bool,
    /// Whether its layers look at an encoder's output too (a decoder of an encoder-decoder pair). Default false.
    #[serde(default)]
    pub cross_attention: bool,
    /// Parameters beside those layers: patch and position embeddings, projector; or all of them.
    #[serde(default)]
    pub parameters: u64,
}

/// What a part is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// Images into tokens; in GGUF a file of its own (`mmproj`).
    Vision,
    /// Sound into tokens; in GGUF in the same `mmproj`.
    Audio,
    /// An encoder of text that a decoder looks at.
    Encoder,
    /// Speech out of tokens: codecs, vocoders.
    Speech,
    /// Predicts several tokens at once (MTP). Engines that do not use it leave it out.
    Prediction,
    /// Heads for classes or embeddings.
    Head,
}

/// One layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layer<'a> {
    /// What mixes tokens.
    pub mixer: Mixer<'a>,
    /// What works on each token.
    pub feed_forward: FeedForward<'a>,
}

/// What works on each token by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FeedForward<'a> {
    /// One for all tokens.
    Dense {
        /// Its width.
        width: u64,
        /// Whether it has two matrices on the way in.
        gated: bool,
    },
    /// A few of many for each token.
    Experts(&'a Experts),
    /// Nothing.
    None,
}

/// Why a shape makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// A letter that stands for nothing.
    #[error("shape {shape}: {letter:?} in {field:?} is none of {allowed}")]
    Letter {
        /// The shape's name.
        shape: String,
        /// `mixers` or `feed_forwards`.
        field: &'static str,
        /// The letter.
        letter: char,
        /// Those that are known.
        allowed: &'static str,
    },
    /// A letter whose facts are not given.
    #[error("shape {shape}: a layer is said to have {what}, but the block does not describe it")]
    Missing {
        /// The shape's name.
        shape: String,
        /// What is missing.
        what: &'static str,
    },
    /// A number that cannot be.
    #[error("shape {shape}: {what} must be above 0")]
    Zero {
        /// The shape's name.
        shape: String,
        /// What is zero.
        what: &'static str,
    },
    /// A number so large that sums over it would mean nothing.
    #[error("shape {shape}: {what} is {found}; at most {limit} is believed")]
    TooLarge {
        /// The shape's name.
        shape: String,
        /// What is too large.
        what: &'static str,
        /// What it says.
        found: u64,
        /// What is believed.
        limit: u64,
    },
    /// More layers than any model has.
    #[error("shape {shape}: {layers} layers; at most 4096 are believed")]
    TooManyLayers {
        /// The shape's name.
        shape: String,
        /// What it says.
        layers: u64,
    },
}

const fn yes() -> bool {
    true
}

impl Shape {
    /// Its layers, from the first to the last.
    ///
    /// # Errors
    /// If a block's letters name what it does not describe, or a number cannot be meant.
    pub fn layers(&self) -> Result<Vec<Layer<'_>>, ShapeError> {
        let count: u64 = self.blocks.iter().map(|block| u64::from(block.layers)).sum();
        if count > 4096 {
            return Err(ShapeError::TooManyLayers { shape: self.name.clone(), layers: count });
        }
        for (what, number) in [("hidden", self.hidden), ("vocabulary", self.vocabulary), ("layers", count)] {
            if number == 0 {
                return Err(ShapeError::Zero { shape: self.name.clone(), what });
            }
        }
        bounds::check(self)?;
        let mut layers = Vec::new();
        for block in &self.blocks {
            let mixers = block.mixers.as_deref().unwrap_or(match &block.recurrent {
                Some(_) if block.attention.is_none() => "r",
                _ => "f",
            });
            let feed_forwards =
                block.feed_forwards.as_deref().unwrap_or(if block.experts.is_some() { "e" } else { "d" });
            if mixers.is_empty() || feed_forwards.is_empty() {
                return Err(ShapeError::Missing { shape: self.name.clone(), what: "no letter at all" });
            }
            let letters = mixers.chars().cycle().zip(feed_forwards.chars().cycle());
            for (mixer, feed_forward) in letters.take(block.layers as usize) {
                layers.push(Layer {
                    mixer: self.mixer(block, mixer)?,
                    feed_forward: self.feed_forward(block, feed_forward)?,
                });
            }
        }
        Ok(layers)
    }

    /// Tensors that belong to no layer and are needed on the way in: embeddings.
    pub fn input_tensors(&self) -> Vec<Tensor> {
        let mut tensors = vec![Tensor::matrix(Role::TokenEmbedding, self.hidden, self.vocabulary)];
        if self.positions > 0 {
            tensors.push(Tensor::matrix(Role::Other, self.hidden, self.positions));
        }
        if let Some(ngrams) = self.ngrams {
            tensors.push(Tensor::matrix(Role::PerLayerEmbedding, ngrams.width, ngrams.rows));
        }
        if self.per_layer_embedding > 0 {
            let width = self.per_layer_embedding.saturating_mul(self.layer_count());
            tensors.push(Tensor::matrix(
                Role::PerLayerEmbedding,
                width,
                self.per_layer_vocabulary.unwrap_or(self.vocabulary),
            ));
            tensors.push(Tensor::matrix(Role::Other, self.hidden, width));
        }
        tensors
    }

    /// Tensors that belong to no layer and are needed on the way out: the head, unless it is the embedding, and norms.
    pub fn output_tensors(&self) -> Vec<Tensor> {
        let mut tensors = vec![Tensor::norm(self.hidden)];
        if !self.tied && !self.bidirectional {
            tensors.push(Tensor::matrix(Role::Output, self.hidden, self.vocabulary));
        }
        tensors
    }

    /// Tensors of one of its layers.
    pub fn layer_tensors(&self, layer: &Layer<'_>) -> Vec<Tensor> {
        let mut tensors = layer.mixer.tensors(self.hidden);
        let dense = |tensors: &mut Vec<Tensor>, width: u64, gated: bool, shared: bool| {
            let role = |plain, of_shared| if shared { of_shared } else { plain };
            if gated {
                tensors.push(Tensor::matrix(role(Role::FfnGate, Role::FfnGateShared), self.hidden, width));
            }
            tensors.push(Tensor::matrix(role(Role::FfnUp, Role::FfnUpShared), self.hidden, width));
            tensors.push(Tensor::matrix(role(Role::FfnDown, Role::FfnDownShared), width, self.hidden));
        };
        match layer.feed_forward {
            FeedForward::Dense { width, gated } => dense(&mut tensors, width, gated, false),
            FeedForward::Experts(experts) => {
                let seen = if experts.latent > 0 { experts.latent } else { self.hidden };
                tensors.push(Tensor::matrix(Role::Router, self.hidden, experts.total));
                let many = |role, columns, rows| Tensor { role, columns, rows, count: experts.total };
                if experts.gated {
                    tensors.push(many(Role::FfnGateExperts, seen, experts.width));
                }
                tensors.push(many(Role::FfnUpExperts, seen, experts.width));
                tensors.push(many(Role::FfnDownExperts, experts.width, seen));
                if experts.latent > 0 {
                    tensors.push(Tensor::matrix(Role::Other, self.hidden, seen));
                    tensors.push(Tensor::matrix(Role::Other, seen, self.hidden));
                }
                if experts.shared_width > 0 {
                    dense(&mut tensors, experts.shared_width, experts.gated, true);
                }
                if experts.dense_width > 0 {
                    dense(&mut tensors, experts.dense_width, true, false);
                }
            }
            FeedForward::None => {}
        }
        if self.per_layer_embedding > 0 {
            tensors.push(Tensor::matrix(Role::Other, self.hidden, self.per_layer_embedding));
            tensors.push(Tensor::matrix(Role::Other, self.per_layer_embedding, self.hidden));
        }
        let norms = u64::from(layer.mixer != Mixer::None) + u64::from(layer.feed_forward != FeedForward::None);
        tensors.push(Tensor::norm(self.hidden.saturating_mul(norms)));
        tensors
    }

    /// Parameters, computed from the facts: layers, embeddings, head, and all parts beside them.
    ///
    /// # Errors
    /// As [`Shape::layers`].
    pub fn parameters(&self) -> Result<u64, ShapeError> {
        let parts: u64 = self.parts.iter().map(Part::total_parameters).fold(0, u64::saturating_add);
        Ok(self.sum(|tensor, _| tensor.elements())?.saturating_add(parts))
    }

    /// Parameters that a token of text uses: of experts those it is routed to, of embeddings none but as the head. Parts
    /// beside the layers are left out.
    ///
    /// # Errors
    /// As [`Shape::layers`].
    pub fn parameters_active(&self) -> Result<u64, ShapeError> {
        let head = if self.tied { self.hidden.saturating_mul(self.vocabulary) } else { 0 };
        let layers = self.sum(|tensor, layer| match (tensor.role, layer.map(|layer| layer.feed_forward)) {
            (Role::TokenEmbedding | Role::PerLayerEmbedding, _) => 0,
            (role, Some(FeedForward::Experts(experts))) if role.is_routed() => {
                tensor.columns.saturating_mul(tensor.rows).saturating_mul(experts.used)
            }
            _ => tensor.elements(),
        })?;
        Ok(layers.saturating_add(head))
    }

    /// How many layers it has.
    pub fn layer_count(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.layers)).sum()
    }

    /// Whether any layer has experts.
    pub fn has_experts(&self) -> bool {
        self.blocks.iter().any(|block| block.experts.is_some())
    }

    fn sum(&self, of: impl Fn(&Tensor, Option<&Layer<'_>>) -> u64) -> Result<u64, ShapeError> {
        let outside = self.input_tensors().into_iter().chain(self.output_tensors());
        let mut sum = outside.map(|tensor| of(&tensor, None)).fold(0, u64::saturating_add);
        for layer in self.layers()? {
            let tensors = self.layer_tensors(&layer);
            sum = tensors.iter().map(|tensor| of(tensor, Some(&layer))).fold(sum, u64::saturating_add);
        }
        Ok(sum)
    }

    fn mixer<'a>(&self, block: &'a Block, letter: char) -> Result<Mixer<'a>, ShapeError> {
        let missing = |what| ShapeError::Missing { shape: self.name.clone(), what };
        Ok(match letter {
            'f' => match (&block.latent, &block.attention) {
                (Some(latent), Some(attention)) => Mixer::Latent { latent, heads: attention.heads },
                (None, Some(attention)) => Mixer::Full(*attention),
                (_, None) => return Err(missing("attention")),
            },
            's' => {
                let attention = block.attention.ok_or_else(|| missing("attention"))?;
                let sliding = block.sliding.as_ref().ok_or_else(|| missing("a sliding window"))?;
                Mixer::Sliding { attention: sliding.over(attention), window: sliding.window }
            }
            'w' | 'c' | 'h' => {
                let attention = block.attention.ok_or_else(|| missing("attention"))?;
                let compressed = block.compressed.as_ref().ok_or_else(|| missing("compressed attention"))?;
                let ratio = match letter {
                    'c' => compressed.sparse_ratio,
                    'h' => compressed.heavy_ratio,
                    _ => 0,
                };
                Mixer::Compressed { compressed, heads: attention.heads, ratio }
            }
            'r' => Mixer::Recurrent(block.recurrent.as_ref().ok_or_else(|| missing("a recurrent state"))?),
            'n' => Mixer::None,
            letter => {
                let (shape, field) = (self.name.clone(), "mixers");
                return Err(ShapeError::Letter { shape, field, letter, allowed: "f, s, r, n, w, c, h" });
            }
        })
    }

    fn feed_forward<'a>(&self, block: &'a Block, letter: char) -> Result<FeedForward<'a>, ShapeError> {
        let missing = |what| ShapeError::Missing { shape: self.name.clone(), what };
        Ok(match letter {
            'd' if block.feed_forward == 0 => return Err(missing("a dense feed-forward part")),
            'd' => FeedForward::Dense { width: block.feed_forward, gated: block.gated },
            'e' => FeedForward::Experts(block.experts.as_ref().ok_or_else(|| missing("experts"))?),
            'n' => FeedForward::None,
            letter => {
                let (shape, field) = (self.name.clone(), "feed_forwards");
                return Err(ShapeError::Letter { shape, field, letter, allowed: "d, e, n" });
            }
        })
    }
}

impl Part {
    /// Its parameters: those of its layers, and the rest as stated.
    pub fn total_parameters(&self) -> u64 {
        let square = self.hidden.saturating_mul(self.hidden);
        let attention = square.saturating_mul(if self.cross_attention { 8 } else { 4 });
        let matrices = if self.gated { 3 } else { 2 };
        let feed_forward = self.hidden.saturating_mul(self.feed_forward).saturating_mul(matrices);
        self.layers.saturating_mul(attention.saturating_add(feed_forward)).saturating_add(self.parameters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, parameters_b: f64, active_b: f64) {
        let shape: Shape = toml::from_str(text).unwrap();
        #[expect(clippy::cast_precision_loss, reason = "billions with two decimals")]
        let billions = |count: u64| count as f64 / 1e9;
        let (all, active) = (billions(shape.parameters().unwrap()), billions(shape.parameters_active().unwrap()));
        assert!((all / parameters_b - 1.0).abs() < 0.01, "{}: {all:.3} B, the card says {parameters_b} B", shape.name);
        assert!((active / active_b - 1.0).abs() < 0.03, "{}: {active:.3} B active, {active_b} B said", shape.name);
    }

    #[test]
    fn parameters_follow_from_the_facts() {
        // Qwen3-8B: 8.19 B, of which the embedding is 0.62 B (model card: 6.95 B without embeddings).
        check(
            r#"
            name = "qwen3-8b"
            architecture = "qwen3"
            hidden = 4096
            vocabulary = 151936
            context = 40960
            blocks = [{ layers = 36, attention = { heads = 32, kv_heads = 8, head = 128 }, feed_forward = 12288 }]
            "#,
            8.19,
            6.95 + 0.62,
        );
        // Qwen3-30B-A3B: 30.53 B, 3.3 B active.
        check(
            r#"
            name = "qwen3-30b-a3b"
            architecture = "qwen3_moe"
            hidden = 2048
            vocabulary = 151936
            context = 40960
            [[blocks]]
            layers = 48
            attention = { heads = 32, kv_heads = 4, head = 128 }
            experts = { total = 128, used = 8, width = 768 }
            "#,
            30.53,
            3.03,
        );
        // DeepSeek-V3: 671 B without the prediction layer, 37 B active (technical report).
        check(
            r#"
            name = "deepseek-v3"
            architecture = "deepseek_v3"
            hidden = 7168
            vocabulary = 129280
            context = 163840
            [[blocks]]
            layers = 3
            attention = { heads = 128, kv_heads = 128, head = 192 }
            latent = { query_rank = 1536, rank = 512, rope = 64, key = 128, value = 128 }
            feed_forward = 18432
            [[blocks]]
            layers = 58
            attention = { heads = 128, kv_heads = 128, head = 192 }
            latent = { query_rank = 1536, rank = 512, rope = 64, key = 128, value = 128 }
            experts = { total = 256, used = 8, width = 2048, shared_width = 2048 }
            "#,
            671.03,
            36.6,
        );
    }

    #[test]
    fn letters_must_stand_for_something() {
        let check = |mixers: &str, expected: &str| {
            let shape = Shape {
                blocks: vec![Block { layers: 2, mixers: Some(mixers.to_owned()), ..Block::default() }],
                ..toml::from_str(
                    "name = 'x'\narchitecture = 'x'\nhidden = 1\nvocabulary = 1\ncontext = 1\nblocks = []\n",
                )
                .unwrap()
            };
            assert_eq!(shape.layers().unwrap_err().to_string(), expected);
        };
        check("q", "shape x: 'q' in \"mixers\" is none of f, s, r, n, w, c, h");
        check("s", "shape x: a layer is said to have attention, but the block does not describe it");
        check("r", "shape x: a layer is said to have a recurrent state, but the block does not describe it");
        check("n", "shape x: a layer is said to have a dense feed-forward part, but the block does not describe it");
    }
}
