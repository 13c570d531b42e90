//! Writes small GGUF files of any architecture, sound or damaged.
//!
//! Owns the bytes of the format and a few ready-made models: [`ChatModel`], which a real llama-server loads and which
//! says one known sentence, [`EmbeddingModel`], which it loads for embeddings, and the files in [`damaged`], which it
//! must refuse. Knows nothing about how files are read: the reader under test is somebody else's.

pub mod kinds;

use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::Context;

/// A model of the llama architecture that fits in a few hundred KiB and behaves the same on every run.
///
/// Whatever it is asked, it answers with [`ChatModel::sentence`], one token per word, and then stops. Its attention and
/// feed-forward weights are zeros; the sentence is written into its embeddings, each word pointing to the next.
#[derive(Debug, Clone)]
pub struct ChatModel {
    /// `general.name`.
    pub name: String,
    /// Trained context in tokens. Default 2,048.
    pub context: u32,
    /// Layers. Default 2.
    pub layers: u32,
    /// Width of a token's vector; a multiple of `heads`, with room for the sentence (32 or more). Default 64.
    pub embedding: u32,
    /// Width of the feed-forward layers. Default 128.
    pub feed_forward: u32,
    /// Attention heads. Default 4.
    pub heads: u32,
    /// Heads that keep keys and values. Default 2.
    pub kv_heads: u32,
    /// Tokens in the vocabulary; raised to what bytes, letters and the sentence need (some 380). Default 400.
    pub vocabulary: u32,
    /// Begin the sentence again instead of stopping: an answer that lasts until `max_tokens` or a full context.
    pub endless: bool,
    /// The Jinja chat template. Default: `role: content` lines; `None` leaves it out.
    pub chat_template: Option<String>,
}

impl Default for ChatModel {
    fn default() -> Self {
        Self {
            name: "Tiny".to_owned(),
            context: 2048,
            layers: 2,
            embedding: 64,
            feed_forward: 128,
            heads: 4,
            kv_heads: 2,
            vocabulary: 400,
            endless: false,
            chat_template: Some(
                "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:"
                    .to_owned(),
            ),
        }
    }
}

/// What a [`ChatModel`] says, token by token; `▁` is a space. Each word once, so that each has one successor.
const SENTENCE: [&str; 9] = ["This", "▁is", "▁a", "▁tiny", "▁model", "▁made", "▁for", "▁tests", "."];

impl ChatModel {
    /// The whole answer of a model that is not `endless`, as a client sees it.
    pub fn sentence() -> String {
        SENTENCE.concat().replace('▁', " ")
    }

    /// Sets width and layers so that the weights take about `bytes` bytes, at most 128 GiB. What is added are zeros: on
    /// file systems with sparse files the size costs no disk. Compute buffers stay small, as in real models.
    #[must_use]
    pub fn with_file_size(mut self, bytes: u64) -> Self {
        self.embedding = match bytes {
            0..=0x40_0000 => 64,
            0x40_0001..=0x4000_0000 => 512,
            _ => 2048,
        };
        self.feed_forward = self.embedding * 4;
        let width = u64::from(self.embedding);
        let kv_width = width / u64::from(self.heads.max(1)) * u64::from(self.kv_heads);
        let per_layer = 4 * width * (2 * width + 2 * kv_width + 3 * u64::from(self.feed_forward));
        self.layers = u32::try_from(bytes / per_layer).unwrap_or(u32::MAX).clamp(1, 512);
        self
    }

    /// The file.
    ///
    /// # Panics
    /// When `embedding` has no room for the sentence: less than 10.
    pub fn file(&self) -> File {
        let (tokens, scores, kinds) = self.tokens();
        let vocabulary = tokens.len() as u64;
        let first_word = tokens.len() - SENTENCE.len();
        let (width, hidden) = (u64::from(self.embedding), u64::from(self.feed_forward));
        let kv_width = width / u64::from(self.heads.max(1)) * u64::from(self.kv_heads);

        let mut file = File::new("llama")
            .set("general.type", Value::text("model"))
            .set("general.name", Value::text(&self.name))
            .set("general.size_label", Value::text("tiny"))
            .set("general.file_type", Value::U32(0))
            .set("llama.block_count", Value::U32(self.layers))
            .set("llama.context_length", Value::U32(self.context))
            .set("llama.embedding_length", Value::U32(self.embedding))
            .set("llama.feed_forward_length", Value::U32(self.feed_forward))
            .set("llama.attention.head_count", Value::U32(self.heads))
            .set("llama.attention.head_count_kv", Value::U32(self.kv_heads))
            .set("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5))
            .set("llama.rope.dimension_count", Value::U32(self.embedding / self.heads.max(1)))
            .set("llama.vocab_size", Value::U32(u32::try_from(vocabulary).expect("built from a u32")))
            .set("tokenizer.ggml.model", Value::text("llama"))
            .set("tokenizer.ggml.tokens", Value::Texts(tokens))
            .set("tokenizer.ggml.scores", Value::F32s(scores))
            .set("tokenizer.ggml.token_type", Value::I32s(kinds))
            .set("tokenizer.ggml.bos_token_id", Value::U32(1))
            .set("tokenizer.ggml.eos_token_id", Value::U32(END))
            .set("tokenizer.ggml.unknown_token_id", Value::U32(0))
            .set("tokenizer.ggml.add_bos_token", Value::Bool(true));
        if let Some(template) = &self.chat_template {
            file = file.set("tokenizer.chat_template", Value::text(template));
        }

        // Token i of the sentence is the unit vector i + 1, every other token the unit vector 0. The output row of a
        // word is its predecessor's vector, long enough to drown the others at any usual temperature.
        let (mut embedded, mut output) = (vec![], vec![]);
        for token in 0..vocabulary {
            let word = token.checked_sub(first_word as u64);
            embedded.extend(unit(width, word.map_or(0, |word| word + 1), 1.0));
            let predecessor = match word {
                Some(word) => Some(word),
                None if token == u64::from(END) && !self.endless => Some(SENTENCE.len() as u64),
                None => None,
            };
            let mut row = predecessor.map_or_else(|| vec![0.0; len(width)], |at| unit(width, at, 4.0));
            if self.endless && word == Some(0) {
                row[SENTENCE.len()] = 4.0;
            }
            output.extend(row);
        }
        file = file
            .tensor(Tensor::f32("token_embd.weight", &[width, vocabulary], embedded))
            .tensor(Tensor::ones("output_norm.weight", width))
            .tensor(Tensor::f32("output.weight", &[width, vocabulary], output));
        for layer in 0..self.layers {
            let zeros = |name: &str, shape: [u64; 2]| Tensor::zeros(&format!("blk.{layer}.{name}.weight"), &shape, F32);
            file = file
                .tensor(Tensor::ones(&format!("blk.{layer}.attn_norm.weight"), width))
                .tensor(zeros("attn_q", [width, width]))
                .tensor(zeros("attn_k", [width, kv_width]))
                .tensor(zeros("attn_v", [width, kv_width]))
                .tensor(zeros("attn_output", [width, width]))
                .tensor(Tensor::ones(&format!("blk.{layer}.ffn_norm.weight"), width))
                .tensor(zeros("ffn_gate", [width, hidden]))
                .tensor(zeros("ffn_up", [width, hidden]))
                .tensor(zeros("ffn_down", [hidden, width]));
        }
        file
    }

    /// Control tokens, all bytes, printable ASCII, filling, then the sentence; with scores and types.
    fn tokens(&self) -> (Vec<String>, Vec<f32>, Vec<i32>) {
        const NORMAL: i32 = 1;
        let mut rows: Vec<(String, f32, i32)> =
            vec![("<unk>".to_owned(), 0.0, 2), ("<s>".to_owned(), 0.0, 3), ("</s>".to_owned(), 0.0, 3)];
        rows.extend((0..=255u8).map(|byte| (format!("<0x{byte:02X}>"), 0.0, 6)));
        rows.push(("▁".to_owned(), -1000.0, NORMAL));
        // Without the full stop, which is the end of the sentence.
        let printable = (b'!'..=b'~').map(char::from).filter(|letter| *letter != '.');
        rows.extend(printable.map(|letter| (letter.to_string(), -1000.0, NORMAL)));
        let filling = (self.vocabulary as usize).saturating_sub(rows.len() + SENTENCE.len());
        rows.extend((0..filling).map(|index| (format!("▁filling{index}"), -2000.0, NORMAL)));
        rows.extend(SENTENCE.iter().map(|word| ((*word).to_owned(), -1.0, NORMAL)));
        let scores = rows.iter().map(|row| row.1).collect();
        let kinds = rows.iter().map(|row| row.2).collect();
        (rows.into_iter().map(|row| row.0).collect(), scores, kinds)
    }
}

/// The id of `</s>`.
const END: u32 = 2;

fn len(count: u64) -> usize {
    usize::try_from(count).expect("test models fit in memory")
}

/// A vector of `width` zeros but for `length` at `at`.
fn unit(width: u64, at: u64, length: f32) -> Vec<f32> {
    let mut vector = vec![0.0; len(width)];
    vector[len(at)] = length;
    vector
}

/// A BERT of one layer with random weights, mean pooling, and a vocabulary of letters.
#[derive(Debug, Clone)]
pub struct EmbeddingModel {
    /// `general.name`.
    pub name: String,
    /// Trained context in tokens. Default 512.
    pub context: u32,
    /// Length of the vectors it answers with. Default 32.
    pub embedding: u32,
    /// `bert.pooling_type`: 1 mean, 2 cls, 3 last, 4 rank. Default 1.
    pub pooling: u32,
}

impl Default for EmbeddingModel {
    fn default() -> Self {
        Self { name: "Tiny Embed".to_owned(), context: 512, embedding: 32, pooling: 1 }
    }
}

impl EmbeddingModel {
    /// The file.
    pub fn file(&self) -> File {
        let width = u64::from(self.embedding);
        let hidden = width * 2;
        let mut tokens: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned).into();
        // Beginnings of words carry the mark, continuations do not.
        tokens.extend(('!'..='~').filter(|c| !c.is_ascii_uppercase()).map(|letter| format!("▁{letter}")));
        tokens.extend(('a'..='z').chain('0'..='9').map(String::from));
        let kinds = (0..tokens.len()).map(|index| if index < 5 { 3 } else { 1 }).collect();
        let vocabulary = tokens.len() as u64;

        let mut file = File::new("bert")
            .set("general.type", Value::text("model"))
            .set("general.name", Value::text(&self.name))
            .set("general.file_type", Value::U32(0))
            .set("bert.block_count", Value::U32(1))
            .set("bert.context_length", Value::U32(self.context))
            .set("bert.embedding_length", Value::U32(self.embedding))
            .set("bert.feed_forward_length", Value::U32(self.embedding * 2))
            .set("bert.attention.head_count", Value::U32(2))
            .set("bert.attention.layer_norm_epsilon", Value::F32(1e-12))
            .set("bert.attention.causal", Value::Bool(false))
            .set("bert.pooling_type", Value::U32(self.pooling))
            .set("tokenizer.ggml.model", Value::text("bert"))
            .set("tokenizer.ggml.token_type_count", Value::U32(2))
            .set("tokenizer.ggml.tokens", Value::Texts(tokens))
            .set("tokenizer.ggml.token_type", Value::I32s(kinds))
            .set("tokenizer.ggml.padding_token_id", Value::U32(0))
            .set("tokenizer.ggml.unknown_token_id", Value::U32(1))
            .set("tokenizer.ggml.bos_token_id", Value::U32(2))
            .set("tokenizer.ggml.eos_token_id", Value::U32(3))
            .set("tokenizer.ggml.cls_token_id", Value::U32(2))
            .set("tokenizer.ggml.seperator_token_id", Value::U32(3))
            .set("tokenizer.ggml.mask_token_id", Value::U32(4));
        let mut random = Random(0x5EED);
        let mut matrix = |file: File, name: &str, shape: [u64; 2]| {
            let values = (0..shape[0] * shape[1]).map(|_| random.weight()).collect();
            file.tensor(Tensor::f32(&format!("{name}.weight"), &shape, values))
        };
        let norm = |file: File, name: &str| {
            file.tensor(Tensor::ones(&format!("{name}.weight"), width)).tensor(Tensor::zeros(
                &format!("{name}.bias"),
                &[width],
                F32,
            ))
        };
        file = matrix(file, "token_embd", [width, vocabulary]);
        file = matrix(file, "token_types", [width, 2]);
        file = matrix(file, "position_embd", [width, u64::from(self.context)]);
        file = norm(file, "token_embd_norm");
        for name in ["attn_q", "attn_k", "attn_v", "attn_output"] {
            file = matrix(file, &format!("blk.0.{name}"), [width, width]);
            file = file.tensor(Tensor::zeros(&format!("blk.0.{name}.bias"), &[width], F32));
        }
        file = norm(file, "blk.0.attn_output_norm");
        file = matrix(file, "blk.0.ffn_up", [width, hidden]);
        file = file.tensor(Tensor::zeros("blk.0.ffn_up.bias", &[hidden], F32));
        file = matrix(file, "blk.0.ffn_down", [hidden, width]);
        file = file.tensor(Tensor::zeros("blk.0.ffn_down.bias", &[width], F32));
        norm(file, "blk.0.layer_output_norm")
    }
}

/// SplitMix64: repeatable numbers without a dependency.
struct Random(u64);

impl Random {
    /// A weight in [-0.5, 0.5).
    fn weight(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let bits = u16::try_from((mixed >> 31) & 0xFFFF).expect("masked to 16 bits");
        f32::from(bits) / 65536.0 - 0.5
    }
}

/// A GGUF file in the making: metadata and tensors, in the order in which they are written.
#[derive(Debug, Clone)]
pub struct File {
    /// Format version. Default 3.
    pub version: u32,
    /// Metadata.
    pub metadata: Vec<(String, Value)>,
    /// Tensors.
    pub tensors: Vec<Tensor>,
}

/// The alignment of tensor data unless `general.alignment` says otherwise. This writer always uses it.
const ALIGNMENT: u64 = 32;

impl File {
    /// A file that names its architecture and holds nothing else.
    pub fn new(architecture: &str) -> Self {
        Self::bare().set("general.architecture", Value::text(architecture))
    }

    /// A file without any metadata, such as the later files of a split set begin with.
    pub fn bare() -> Self {
        Self { version: 3, metadata: vec![], tensors: vec![] }
    }

    /// Appends a metadata entry, or replaces the entry of that key.
    #[must_use]
    pub fn set(mut self, key: &str, value: Value) -> Self {
        match self.metadata.iter_mut().find(|(name, _)| name == key) {
            Some(entry) => entry.1 = value,
            None => self.metadata.push((key.to_owned(), value)),
        }
        self
    }

    /// Appends a tensor.
    #[must_use]
    pub fn tensor(mut self, tensor: Tensor) -> Self {
        self.tensors.push(tensor);
        self
    }

    /// With small random weights in place of those that are zeros: a file that really takes its size on a disk. All of
    /// it is in memory until it is dropped.
    #[must_use]
    pub fn with_random_weights(mut self) -> Self {
        let mut random = Random(0x5EED);
        // Long, and of no even length, so that rows and pages differ.
        let block: Vec<u8> = (0..999_983).flat_map(|_| (random.weight() / 16.0).to_le_bytes()).collect();
        for tensor in self.tensors.iter_mut().filter(|tensor| tensor.data.is_empty() && tensor.kind == F32) {
            tensor.data = block.iter().copied().cycle().take(len(tensor.bytes())).collect();
        }
        self
    }

    /// Everything before the tensors' data, padded to where it begins.
    ///
    /// # Panics
    /// When a tensor has more dimensions than can be counted.
    pub fn header(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            put_text(&mut out, key);
            out.extend(value.type_id().to_le_bytes());
            value.put(&mut out);
        }
        let mut offset = 0u64;
        for tensor in &self.tensors {
            put_text(&mut out, &tensor.name);
            out.extend(u32::try_from(tensor.dimensions.len()).expect("a handful").to_le_bytes());
            tensor.dimensions.iter().for_each(|size| out.extend(size.to_le_bytes()));
            out.extend(tensor.kind.id.to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset += tensor.bytes().next_multiple_of(ALIGNMENT);
        }
        out.resize(out.len().next_multiple_of(len(ALIGNMENT)), 0);
        out
    }

    /// The whole file.
    ///
    /// # Panics
    /// When it does not fit in memory; [`File::write`] has no such limit.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = io::Cursor::new(vec![]);
        self.put(&mut out).expect("writing to memory cannot fail");
        let length = len(self.length());
        let mut bytes = out.into_inner();
        bytes.resize(length, 0);
        bytes
    }

    /// How many bytes the whole file has.
    pub fn length(&self) -> u64 {
        self.header().len() as u64 + self.tensor_bytes_padded()
    }

    /// Writes the file to `path`; data that is all zeros becomes a hole.
    ///
    /// # Errors
    /// When the file cannot be created or written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let context = || format!("write test model {}", path.display());
        let file = fs::File::create(path).with_context(context)?;
        let mut out = io::BufWriter::new(file);
        self.put(&mut out).with_context(context)?;
        out.into_inner().with_context(context)?.set_len(self.length()).with_context(context)
    }

    fn put(&self, out: &mut (impl Write + Seek)) -> io::Result<()> {
        out.write_all(&self.header())?;
        for tensor in &self.tensors {
            let padded = tensor.bytes().next_multiple_of(ALIGNMENT);
            let written = tensor.data.len() as u64;
            out.write_all(&tensor.data)?;
            out.seek(SeekFrom::Current(i64::try_from(padded - written).map_err(io::Error::other)?))?;
        }
        Ok(())
    }

    fn tensor_bytes_padded(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.bytes().next_multiple_of(ALIGNMENT)).sum()
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each variant is the GGUF type it names")]
pub enum Value {
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    I32(i32),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    Text(String),
    U32s(Vec<u32>),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
    Bools(Vec<bool>),
    Texts(Vec<String>),
    /// An array of arrays: allowed by the format, refused by llama.cpp.
    Arrays(Vec<Value>),
}

impl Value {
    /// A string.
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    fn type_id(&self) -> u32 {
        match self {
            Self::U8(_) => 0,
            Self::U16(_) => 2,
            Self::U32(_) => 4,
            Self::I32(_) => 5,
            Self::F32(_) => 6,
            Self::Bool(_) => 7,
            Self::Text(_) => 8,
            Self::U64(_) => 10,
            Self::I64(_) => 11,
            Self::F64(_) => 12,
            _ => 9,
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        fn array<T>(out: &mut Vec<u8>, type_id: u32, items: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
            out.extend(type_id.to_le_bytes());
            out.extend((items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| put(out, item));
        }
        match self {
            Self::U8(value) => out.extend(value.to_le_bytes()),
            Self::U16(value) => out.extend(value.to_le_bytes()),
            Self::U32(value) => out.extend(value.to_le_bytes()),
            Self::U64(value) => out.extend(value.to_le_bytes()),
            Self::I32(value) => out.extend(value.to_le_bytes()),
            Self::I64(value) => out.extend(value.to_le_bytes()),
            Self::F32(value) => out.extend(value.to_le_bytes()),
            Self::F64(value) => out.extend(value.to_le_bytes()),
            Self::Bool(value) => out.push(u8::from(*value)),
            Self::Text(text) => put_text(out, text),
            Self::U32s(items) => array(out, 4, items, |out, item| out.extend(item.to_le_bytes())),
            Self::I32s(items) => array(out, 5, items, |out, item| out.extend(item.to_le_bytes())),
            Self::F32s(items) => array(out, 6, items, |out, item| out.extend(item.to_le_bytes())),
            Self::Bools(items) => array(out, 7, items, |out, item| out.push(u8::from(*item))),
            Self::Texts(items) => array(out, 8, items, |out, item| put_text(out, item)),
            Self::Arrays(items) => array(out, 9, items, |out, item| item.put(out)),
        }
    }
}

/// How a tensor's elements are stored: ggml's number for the type, elements per block, bytes per block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorKind {
    /// ggml's number.
    pub id: u32,
    /// Elements in a block.
    pub block: u64,
    /// Bytes of a block.
    pub bytes: u64,
}

/// Plain 32-bit floats.
pub const F32: TensorKind = TensorKind { id: 0, block: 1, bytes: 4 };
/// 16-bit floats.
pub const F16: TensorKind = TensorKind { id: 1, block: 1, bytes: 2 };
/// 4-bit blocks of 32 with a 16-bit scale.
pub const Q4_0: TensorKind = TensorKind { id: 2, block: 32, bytes: 18 };
/// 4-bit super-blocks of 256.
pub const Q4_K: TensorKind = TensorKind { id: 12, block: 256, bytes: 144 };
/// 6-bit super-blocks of 256.
pub const Q6_K: TensorKind = TensorKind { id: 14, block: 256, bytes: 210 };

/// A named block of weights.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Its name, `blk.0.attn_q.weight`.
    pub name: String,
    /// Sizes, the row's length first.
    pub dimensions: Vec<u64>,
    /// How elements are stored.
    pub kind: TensorKind,
    /// Its bytes; what is missing at the end counts as zeros.
    pub data: Vec<u8>,
}

impl Tensor {
    /// All zeros, which is a valid content of every kind.
    pub fn zeros(name: &str, dimensions: &[u64], kind: TensorKind) -> Self {
        Self { name: name.to_owned(), dimensions: dimensions.to_vec(), kind, data: vec![] }
    }

    /// 32-bit floats.
    ///
    /// # Panics
    /// When there are not as many values as the dimensions say.
    pub fn f32(name: &str, dimensions: &[u64], values: Vec<f32>) -> Self {
        assert_eq!(values.len() as u64, dimensions.iter().product::<u64>(), "values of {name}");
        let data = values.into_iter().flat_map(f32::to_le_bytes).collect();
        Self { name: name.to_owned(), dimensions: dimensions.to_vec(), kind: F32, data }
    }

    /// A vector of ones: a norm that changes nothing.
    pub fn ones(name: &str, width: u64) -> Self {
        Self::f32(name, &[width], vec![1.0; len(width)])
    }

    /// The bytes it takes, without padding.
    pub fn bytes(&self) -> u64 {
        self.dimensions.iter().product::<u64>() / self.kind.block * self.kind.bytes
    }
}

/// Files that must be refused, each for its own reason.
pub mod damaged {
    use super::{ChatModel, File, Value};

    /// A sound model cut after `length` bytes. 100 cuts the metadata; the length of the header cuts all weights.
    pub fn cut(model: &File, length: usize) -> Vec<u8> {
        let mut bytes = model.bytes();
        bytes.truncate(length);
        bytes
    }

    /// A sound model that lacks the second half of its weights, like an interrupted download.
    pub fn half_downloaded(model: &File) -> Vec<u8> {
        let header = model.header().len();
        let whole = model.bytes().len();
        cut(model, header + (whole - header) / 2)
    }

    /// A sound model whose first four bytes are those of another format.
    pub fn wrong_magic() -> Vec<u8> {
        let mut bytes = ChatModel::default().file().bytes();
        bytes[..4].copy_from_slice(b"GGML");
        bytes
    }

    /// What a download saves when the server answered with an error page.
    pub fn text() -> Vec<u8> {
        b"<!doctype html>\n<title>404 Not Found</title>\nRepository not found.\n".to_vec()
    }

    /// The first bytes of a file written on a big-endian machine: the version is byte-swapped.
    pub fn big_endian() -> Vec<u8> {
        let mut bytes = ChatModel::default().file().bytes();
        bytes[4..8].copy_from_slice(&3u32.to_be_bytes());
        bytes
    }

    /// A file that says it has the given format version.
    pub fn version(version: u32) -> Vec<u8> {
        let mut bytes = ChatModel::default().file().bytes();
        bytes[4..8].copy_from_slice(&version.to_le_bytes());
        bytes
    }

    /// A header that claims 2^60 tensors and 2^60 metadata entries.
    pub fn hostile_counts() -> Vec<u8> {
        let mut bytes = File::new("llama").bytes();
        bytes[8..16].copy_from_slice(&(1u64 << 60).to_le_bytes());
        bytes[16..24].copy_from_slice(&(1u64 << 60).to_le_bytes());
        bytes
    }

    /// A header whose first key claims to be 2^62 bytes long.
    pub fn huge_string() -> Vec<u8> {
        let mut bytes = File::new("llama").bytes();
        bytes[24..32].copy_from_slice(&(1u64 << 62).to_le_bytes());
        bytes
    }

    /// A header with arrays in arrays, `depth` deep.
    pub fn nested_arrays(depth: usize) -> Vec<u8> {
        let nested = (1..depth).fold(Value::U32s(vec![7]), |inner, _| Value::Arrays(vec![inner]));
        ChatModel::default().file().set("tests.nested", nested).bytes()
    }

    /// A sound file of an architecture that no engine knows.
    pub fn unknown_architecture() -> File {
        ChatModel::default().file().set("general.architecture", Value::text("qwen99"))
    }
}
