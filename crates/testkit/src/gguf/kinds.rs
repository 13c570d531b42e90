//! Models with random weights of kinds that differ in what an engine keeps: one layer more or less is all it takes to see
//! in its report. Each has tens of MiB of weights and loads in a real llama-server; what they say makes no sense.

use super::{ChatModel, F16, File, Random, Tensor, Value, len};

/// Width of all of them.
const WIDTH: u64 = 512;
/// Tokens of their vocabulary.
const VOCABULARY: u32 = 4096;

/// Gemma 3: five of six layers see the last 512 tokens only.
pub fn sliding_window() -> File {
    let (heads, kv_heads, head, hidden) = (8, 4, 128, 1024);
    let mut model = Writer::new("gemma3", 12)
        .attention(heads, kv_heads, head)
        .number("feed_forward_length", hidden)
        .number("attention.sliding_window", 512);
    for layer in 0..12 {
        model.attention_tensors(layer, heads, kv_heads, head, heads * head);
        model.norms(layer, &[("attn_q_norm", head), ("attn_k_norm", head), ("post_attention_norm", WIDTH)]);
        model.norms(layer, &[("ffn_norm", WIDTH), ("post_ffw_norm", WIDTH)]);
        model.feed_forward(layer, hidden);
    }
    model.file
}

/// Qwen 3: 16 experts, of which a token uses four.
pub fn experts() -> File {
    let (heads, kv_heads, head) = (8, 4, 128);
    let mut model = Writer::new("qwen3moe", 4).attention(heads, kv_heads, head).experts(16, 4, 256);
    for layer in 0..4 {
        model.attention_tensors(layer, heads, kv_heads, head, heads * head);
        model.norms(layer, &[("attn_q_norm", head), ("attn_k_norm", head), ("ffn_norm", WIDTH)]);
        model.expert_tensors(layer, 16, 256);
    }
    model.file
}

/// `DeepSeek`: a latent vector of 576 elements is all that is cached of a token.
pub fn latent_attention() -> File {
    let (heads, key, value, rank, rope, query_rank) = (8, 192, 128, 512, 64, 256);
    let mut model = Writer::new("deepseek2", 6)
        .attention(heads, 1, rank + rope)
        .number("attention.value_length", rank)
        .number("attention.key_length_mla", key)
        .number("attention.value_length_mla", value)
        .number("attention.q_lora_rank", query_rank)
        .number("attention.kv_lora_rank", rank)
        .number("rope.dimension_count", rope)
        .number("leading_dense_block_count", 1)
        .number("feed_forward_length", 2048)
        .number("expert_shared_count", 1)
        .experts(8, 2, 512);
    for layer in 0..6 {
        model.norms(layer, &[("attn_norm", WIDTH), ("attn_q_a_norm", query_rank), ("attn_kv_a_norm", rank)]);
        model.norms(layer, &[("ffn_norm", WIDTH)]);
        model.matrix(layer, "attn_q_a", &[WIDTH, query_rank]);
        model.matrix(layer, "attn_q_b", &[query_rank, heads * key]);
        model.matrix(layer, "attn_kv_a_mqa", &[WIDTH, rank + rope]);
        model.matrix(layer, "attn_k_b", &[key - rope, rank, heads]);
        model.matrix(layer, "attn_v_b", &[rank, value, heads]);
        model.matrix(layer, "attn_output", &[heads * value, WIDTH]);
        if layer == 0 {
            model.feed_forward(layer, 2048);
        } else {
            model.expert_tensors(layer, 8, 512);
            model.shared_expert(layer, 512);
        }
    }
    model.file
}

/// Mamba-2: a state for each sequence, whatever its length.
pub fn state_space() -> File {
    let (inner, state, heads) = (1024, 128, 16);
    let mixed = inner + 2 * state;
    let mut model = Writer::new("mamba2", 10).state(inner, state, 1, heads);
    for layer in 0..10 {
        model.norms(layer, &[("attn_norm", WIDTH)]);
        model.matrix(layer, "ssm_in", &[WIDTH, inner + mixed + heads]);
        model.small(layer, "ssm_conv1d.weight", &[4, mixed]);
        model.small(layer, "ssm_conv1d.bias", &[mixed]);
        model.small(layer, "ssm_dt.bias", &[heads]);
        model.small(layer, "ssm_a", &[1, heads]);
        model.small(layer, "ssm_d", &[1, heads]);
        model.small(layer, "ssm_norm.weight", &[inner, 1]);
        model.matrix(layer, "ssm_out", &[inner, WIDTH]);
    }
    model.file
}

/// Qwen 3 Next: three of four layers keep a state, the fourth attends; experts throughout.
pub fn hybrid() -> File {
    let (heads, kv_heads, head) = (4, 2, 256);
    let (key_heads, value_heads, state) = (4, 8, 128);
    let (keys, values) = (key_heads * state, value_heads * state);
    let mut model = Writer::new("qwen3next", 8)
        .attention(heads, kv_heads, head)
        .number("rope.dimension_count", 64)
        .number("full_attention_interval", 4)
        .number("expert_shared_feed_forward_length", 256)
        .state(values, state, key_heads, value_heads)
        .experts(8, 2, 256);
    for layer in 0..8 {
        if layer % 4 == 3 {
            // Queries come with the gate of the output.
            model.attention_tensors(layer, heads, kv_heads, head, 2 * heads * head);
            model.norms(layer, &[("attn_q_norm", head), ("attn_k_norm", head)]);
        } else {
            model.norms(layer, &[("attn_norm", WIDTH)]);
            model.matrix(layer, "attn_qkv", &[WIDTH, 2 * keys + values]);
            model.matrix(layer, "attn_gate", &[WIDTH, values]);
            model.small(layer, "ssm_conv1d.weight", &[4, 2 * keys + values]);
            model.small(layer, "ssm_dt.bias", &[value_heads]);
            model.small(layer, "ssm_a", &[value_heads]);
            model.matrix(layer, "ssm_ba", &[WIDTH, 2 * value_heads]);
            model.small(layer, "ssm_norm.weight", &[state]);
            model.matrix(layer, "ssm_out", &[values, WIDTH]);
        }
        model.norms(layer, &[("post_attention_norm", WIDTH)]);
        model.expert_tensors(layer, 8, 256);
        model.small(layer, "ffn_gate_inp_shexp.weight", &[WIDTH]);
        model.shared_expert(layer, 256);
    }
    model.file
}

/// LFM2: short convolutions, and attention in three layers of eight.
pub fn short_convolution() -> File {
    let (heads, kv_heads, head, hidden) = (8, 8, 64, 2048);
    let attends = [2, 5, 7];
    let kv = (0..8).map(|layer| if attends.contains(&layer) { 8 } else { 0 }).collect();
    let mut model = Writer::new("lfm2", 8)
        .attention(heads, kv_heads, head)
        .set("attention.head_count_kv", Value::U32s(kv))
        .number("feed_forward_length", hidden)
        .number("shortconv.l_cache", 3);
    // What other models call `output_norm`.
    model.file.tensors.iter_mut().filter(|tensor| tensor.name == "output_norm.weight").for_each(|tensor| {
        tensor.name = "token_embd_norm.weight".to_owned();
    });
    for layer in 0..8 {
        model.norms(layer, &[("ffn_norm", WIDTH)]);
        model.feed_forward(layer, hidden);
        if attends.contains(&layer) {
            model.attention_tensors(layer, heads, kv_heads, head, heads * head);
            model.norms(layer, &[("attn_q_norm", head), ("attn_k_norm", head)]);
        } else {
            model.norms(layer, &[("attn_norm", WIDTH)]);
            model.small(layer, "shortconv.conv.weight", &[3, WIDTH]);
            model.matrix(layer, "shortconv.in_proj", &[WIDTH, 3 * WIDTH]);
            model.matrix(layer, "shortconv.out_proj", &[WIDTH, WIDTH]);
        }
    }
    model.file
}

/// A file in the making.
struct Writer {
    file: File,
    architecture: &'static str,
    /// Random 16-bit weights, which matrices take as often as they need them.
    weights: Vec<u8>,
}

impl Writer {
    fn new(architecture: &'static str, layers: u32) -> Self {
        let words = ChatModel { vocabulary: VOCABULARY, ..ChatModel::default() };
        // The tokenizer of the model that says something, under another name.
        let mut file = words.file();
        file.tensors.clear();
        file.metadata.retain(|(key, _)| !key.starts_with("llama."));
        let mut random = Random(0x00DD_B411);
        let weights = (0..32_768).flat_map(|_| half(random.weight() / 16.0).to_le_bytes()).collect();
        let file = file.set("general.architecture", Value::text(architecture)).set("general.file_type", Value::U32(1));
        let mut writer = Self { file, architecture, weights };
        let vocabulary = u64::from(VOCABULARY);
        let embedding = writer.random("token_embd.weight", &[WIDTH, vocabulary]);
        let output = writer.random("output.weight", &[WIDTH, vocabulary]);
        writer.file.tensors.extend([embedding, output, Tensor::ones("output_norm.weight", WIDTH)]);
        writer
            .number("block_count", u64::from(layers))
            .number("context_length", 131_072)
            .number("embedding_length", WIDTH)
            .number("vocab_size", vocabulary)
            .set("attention.layer_norm_rms_epsilon", Value::F32(1e-5))
    }

    fn set(mut self, key: &str, value: Value) -> Self {
        self.file = self.file.set(&format!("{}.{key}", self.architecture), value);
        self
    }

    fn number(self, key: &str, number: u64) -> Self {
        self.set(key, Value::U32(u32::try_from(number).expect("test models are small")))
    }

    fn attention(self, heads: u64, kv_heads: u64, head: u64) -> Self {
        self.number("attention.head_count", heads)
            .number("attention.head_count_kv", kv_heads)
            .number("attention.key_length", head)
            .number("attention.value_length", head)
    }

    fn experts(self, count: u64, used: u64, width: u64) -> Self {
        self.number("expert_count", count).number("expert_used_count", used).number("expert_feed_forward_length", width)
    }

    fn state(self, inner: u64, state: u64, groups: u64, heads: u64) -> Self {
        self.number("ssm.conv_kernel", 4)
            .number("ssm.inner_size", inner)
            .number("ssm.state_size", state)
            .number("ssm.group_count", groups)
            .number("ssm.time_step_rank", heads)
    }

    fn attention_tensors(&mut self, layer: u32, heads: u64, kv_heads: u64, head: u64, query: u64) {
        self.norms(layer, &[("attn_norm", WIDTH)]);
        self.matrix(layer, "attn_q", &[WIDTH, query]);
        self.matrix(layer, "attn_k", &[WIDTH, kv_heads * head]);
        self.matrix(layer, "attn_v", &[WIDTH, kv_heads * head]);
        self.matrix(layer, "attn_output", &[heads * head, WIDTH]);
    }

    fn feed_forward(&mut self, layer: u32, hidden: u64) {
        self.matrix(layer, "ffn_gate", &[WIDTH, hidden]);
        self.matrix(layer, "ffn_up", &[WIDTH, hidden]);
        self.matrix(layer, "ffn_down", &[hidden, WIDTH]);
    }

    fn expert_tensors(&mut self, layer: u32, count: u64, width: u64) {
        self.small(layer, "ffn_gate_inp.weight", &[WIDTH, count]);
        self.matrix(layer, "ffn_gate_exps", &[WIDTH, width, count]);
        self.matrix(layer, "ffn_up_exps", &[WIDTH, width, count]);
        self.matrix(layer, "ffn_down_exps", &[width, WIDTH, count]);
    }

    fn shared_expert(&mut self, layer: u32, width: u64) {
        self.matrix(layer, "ffn_gate_shexp", &[WIDTH, width]);
        self.matrix(layer, "ffn_up_shexp", &[WIDTH, width]);
        self.matrix(layer, "ffn_down_shexp", &[width, WIDTH]);
    }

    /// A matrix of 16-bit weights.
    fn matrix(&mut self, layer: u32, name: &str, shape: &[u64]) {
        let tensor = self.random(&format!("blk.{layer}.{name}.weight"), shape);
        self.file.tensors.push(tensor);
    }

    /// Values below zero, as decays must be, in 32 bits.
    fn small(&mut self, layer: u32, name: &str, shape: &[u64]) {
        let values = vec![-0.1; len(shape.iter().product())];
        self.file.tensors.push(Tensor::f32(&format!("blk.{layer}.{name}"), shape, values));
    }

    fn norms(&mut self, layer: u32, norms: &[(&str, u64)]) {
        let ones = norms.iter().map(|(name, width)| Tensor::ones(&format!("blk.{layer}.{name}.weight"), *width));
        self.file.tensors.extend(ones);
    }

    fn random(&self, name: &str, shape: &[u64]) -> Tensor {
        let mut tensor = Tensor::zeros(name, shape, F16);
        let bytes = len(tensor.bytes());
        tensor.data = self.weights.repeat(bytes.div_ceil(self.weights.len()));
        tensor.data.truncate(bytes);
        tensor
    }
}

/// The 16-bit float nearest below, for values of ordinary size.
fn half(value: f32) -> u16 {
    let bits = value.to_bits();
    let exponent = ((bits >> 23) & 0xFF).saturating_sub(112).min(30);
    let number = ((bits >> 16) & 0x8000) | (exponent << 10) | ((bits >> 13) & 0x3FF);
    u16::try_from(number).expect("15 bits and a sign")
}
