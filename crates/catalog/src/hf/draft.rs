//! A shape in the making: what the usual keys say, before a family corrects it.

use super::family::Family;
use super::keys::Keys;
use crate::shape::{Attention, Block, Compressed, Experts, Indexer, Latent, Part, PartKind, Recurrent, Shape, Sliding};

/// More layers than any model has.
const LAYERS: u64 = 4096;

/// What is known so far. A family may change any of it.
pub(super) struct Draft {
    /// llama.cpp's name for the architecture.
    pub(super) gguf: Option<&'static str>,
    pub(super) hidden: u64,
    pub(super) vocabulary: u64,
    pub(super) tied: bool,
    pub(super) context: u64,
    /// A letter for each layer, as in [`Block::mixers`].
    pub(super) mixers: Vec<char>,
    /// A letter for each layer, as in [`Block::feed_forwards`].
    pub(super) feed_forwards: Vec<char>,
    pub(super) attention: Attention,
    pub(super) sliding: Option<Sliding>,
    pub(super) latent: Option<Latent>,
    pub(super) compressed: Option<Compressed>,
    pub(super) recurrent: Option<Recurrent>,
    pub(super) feed_forward: u64,
    pub(super) gated: bool,
    pub(super) experts: Option<Experts>,
    pub(super) per_layer_embedding: u64,
    pub(super) per_layer_vocabulary: Option<u64>,
    pub(super) shared_kv_layers: u64,
    /// Whether the layers that reuse a KV cache have a feed-forward part twice as wide.
    pub(super) shared_are_wide: bool,
    pub(super) positions: u64,
    pub(super) bidirectional: bool,
    pub(super) parts: Vec<Part>,
    /// Layers that predict more tokens.
    pub(super) prediction: u64,
    /// Whether each of those brings its own embedding and head.
    pub(super) prediction_embeds: bool,
}

/// Names of the usual keys, the one told when it is missing first.
pub(super) const HIDDEN: &[&str] = &["hidden_size", "n_embd", "d_model", "dim", "model_dim"];
pub(super) const LAYER_COUNT: &[&str] =
    &["num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_transformer_layers", "decoder_layers"];
pub(super) const HEADS: &[&str] = &["num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads"];
pub(super) const WIDTH: &[&str] = &[
    "intermediate_size",
    "n_inner",
    "ffn_hidden_size",
    "ffn_dim",
    "hidden_dim",
    "decoder_ffn_dim",
    "block_ff_dim",
    "d_ff",
];

impl Draft {
    /// What the usual keys say about a model of a family.
    pub(super) fn read(keys: &Keys<'_>, family: &Family) -> Self {
        let hidden = keys.need(HIDDEN);
        let layers = match keys.words(&["layers_block_type"]) {
            // Nemotron-H of late says its layers only by their kinds.
            Some(kinds) if keys.number(LAYER_COUNT).is_none() => kinds.len() as u64,
            _ => keys.need(LAYER_COUNT),
        };
        if layers > LAYERS {
            keys.wrong("num_hidden_layers", &layers.to_string());
        }
        let count = usize::try_from(layers.min(LAYERS)).unwrap_or(0);
        let context = keys
            .number(&[
                "max_position_embeddings",
                "n_positions",
                "max_sequence_length",
                "seq_length",
                "n_ctx",
                "max_seq_len",
                "max_trained_positions",
                "model_max_length",
                "max_target_positions",
                "max_seq_length",
                "seq_len",
            ])
            .unwrap_or(0);
        let (latent, attention) = attention(keys, hidden);
        let experts = experts(keys);
        let feed_forward = keys.number(WIDTH).unwrap_or(0);
        let window = window(keys, family, context);
        let mixers = mixers(keys, family, count, window.is_some());
        Self {
            gguf: family.gguf,
            hidden,
            vocabulary: keys.need(&["vocab_size", "padded_vocab_size", "n_vocab"]),
            tied: family.tied,
            context,
            feed_forwards: feed_forwards(keys, count, experts.is_some()),
            sliding: window.filter(|_| mixers.contains(&'s')).map(|window| Sliding { window, ..Sliding::default() }),
            mixers,
            attention,
            latent,
            compressed: None,
            recurrent: None,
            feed_forward,
            gated: family.gated,
            experts,
            per_layer_embedding: 0,
            per_layer_vocabulary: None,
            shared_kv_layers: 0,
            shared_are_wide: false,
            positions: 0,
            bidirectional: family.bidirectional,
            parts: vec![],
            prediction: keys.number(&["num_nextn_predict_layers", "mtp_num_hidden_layers"]).unwrap_or(0),
            prediction_embeds: false,
        }
    }

    pub(super) fn layers(&self) -> usize {
        self.mixers.len().min(self.feed_forwards.len())
    }

    /// Sets each layer's mixer by its number.
    pub(super) fn mix(&mut self, of: impl Fn(usize) -> char) {
        self.mixers = (0..self.layers()).map(of).collect();
    }

    /// Sets each layer's feed-forward part by its number.
    pub(super) fn feed(&mut self, of: impl Fn(usize) -> char) {
        self.feed_forwards = (0..self.layers()).map(of).collect();
    }

    /// Notes what is missing for the layers that there are.
    pub(super) fn ask_for_what_is_needed(&self, keys: &Keys<'_>) {
        // Nothing is known of the layers of a model that does not say how many it has: it says nothing else then.
        let attends = self.mixers.is_empty() || self.mixers.iter().copied().any(attends);
        if attends && self.attention.heads == 0 {
            keys.missing(HEADS[0]);
        }
        if (self.feed_forwards.is_empty() || self.feed_forwards.contains(&'d')) && self.feed_forward == 0 {
            keys.missing(WIDTH[0]);
        }
        if attends && self.context == 0 {
            keys.missing("max_position_embeddings");
        }
    }

    /// The finished description.
    pub(super) fn into_shape(mut self, name: String, architecture: String) -> Shape {
        if self.prediction > 0 {
            self.parts.push(Part { parameters: 0, ..Part::of(PartKind::Prediction) });
        }
        let mut shape = Shape {
            name,
            architecture,
            gguf: self.gguf.map(str::to_owned),
            hidden: self.hidden,
            vocabulary: self.vocabulary,
            tied: self.tied,
            // A model without positions (recurrent ones) says no context; its users say what they gave it.
            context: self.context.max(1),
            blocks: self.blocks(),
            per_layer_embedding: self.per_layer_embedding,
            per_layer_vocabulary: self.per_layer_vocabulary,
            ngrams: None,
            shared_kv_layers: self.shared_kv_layers,
            positions: self.positions,
            bidirectional: self.bidirectional,
            parts: self.parts,
        };
        if self.prediction > 0 {
            // A prediction layer is one more of the last make, and a matrix that joins what it sees to the next token.
            let last = shape.layers().ok().and_then(|layers| layers.last().copied());
            let layer: u64 = last.map_or(0, |layer| {
                shape.layer_tensors(&layer).iter().map(crate::shape::Tensor::elements).fold(0, u64::saturating_add)
            });
            let joined = 2 * shape.hidden * shape.hidden;
            let embedded = if self.prediction_embeds { 2 * shape.hidden * shape.vocabulary } else { 0 };
            let all = self.prediction.saturating_mul(layer.saturating_add(joined + embedded));
            if let Some(part) = shape.parts.iter_mut().find(|part| part.kind == PartKind::Prediction) {
                part.parameters = all;
            }
        }
        shape
    }

    fn blocks(&self) -> Vec<Block> {
        let layers = self.layers();
        let shared = usize::try_from(self.shared_kv_layers).unwrap_or(layers).min(layers);
        let cut = if self.shared_are_wide { layers - shared } else { layers };
        let block = |from: usize, to: usize, feed_forward: u64| {
            let (mixers, feed_forwards) = (&self.mixers[from..to], &self.feed_forwards[from..to]);
            let has = |letters: &[char], letter| letters.contains(&letter);
            let has_attention = mixers.iter().copied().any(attends);
            let has_experts = has(feed_forwards, 'e');
            let has_state = has(mixers, 'r');
            Block {
                layers: u32::try_from(to - from).unwrap_or(u32::MAX),
                mixers: Some(pattern(mixers))
                    .filter(|letters| letters.as_str() != if has_state && !has_attention { "r" } else { "f" }),
                feed_forwards: Some(pattern(feed_forwards))
                    .filter(|letters| letters.as_str() != if has_experts { "e" } else { "d" }),
                attention: Some(self.attention).filter(|_| has_attention),
                sliding: self.sliding.filter(|_| has(mixers, 's')),
                latent: self.latent.filter(|_| has_attention),
                compressed: self.compressed.filter(|_| has_attention),
                recurrent: self.recurrent.filter(|_| has_state),
                feed_forward: if has(feed_forwards, 'd') { feed_forward } else { 0 },
                gated: self.gated || !has(feed_forwards, 'd'),
                experts: self.experts.clone().filter(|_| has_experts),
            }
        };
        [(0, cut, self.feed_forward), (cut, layers, self.feed_forward.saturating_mul(2))]
            .into_iter()
            .filter(|(from, to, _)| to > from)
            .map(|(from, to, width)| block(from, to, width))
            .collect()
    }
}

impl Part {
    /// A part of which nothing is known yet.
    pub(super) const fn of(kind: PartKind) -> Self {
        let (layers, hidden, feed_forward, parameters) = (0, 0, 0, 0);
        Self { kind, layers, hidden, feed_forward, gated: false, cross_attention: false, parameters }
    }
}

/// Whether a mixer of this letter is attention of any kind.
fn attends(letter: char) -> bool {
    !matches!(letter, 'r' | 'n')
}

/// The shortest pattern that, repeated, gives these letters.
fn pattern(letters: &[char]) -> String {
    let repeats = |period: usize| letters.iter().enumerate().all(|(at, letter)| *letter == letters[at % period]);
    // Of thousands of letters no long period is looked for: that would take the square of them. One that is not there
    // twice is no pattern.
    let period = (1..=(letters.len() / 2).min(64)).find(|period| repeats(*period)).unwrap_or(letters.len());
    letters[..period].iter().collect()
}

fn attention(keys: &Keys<'_>, hidden: u64) -> (Option<Latent>, Attention) {
    let heads = keys.number(HEADS).unwrap_or(0);
    let kv_heads = match keys.flag("multi_query") {
        Some(true) => Some(1),
        _ => keys.number(&["num_key_value_heads", "n_head_kv", "num_kv_heads", "multi_query_group_num", "n_kv_heads"]),
    };
    let kv_heads = kv_heads.unwrap_or(heads);
    if let Some(rank) = keys.number(&["kv_lora_rank"]).filter(|rank| *rank > 0) {
        let number = |name| keys.number(&[name]).unwrap_or(0);
        let (rope, key) = (keys.need(&["qk_rope_head_dim"]), keys.need(&["qk_nope_head_dim"]));
        let indexer = Indexer { heads: number("index_n_heads"), head: number("index_head_dim") };
        let latent = Latent {
            query_rank: number("q_lora_rank"),
            rank,
            rope,
            key,
            value: keys.need(&["v_head_dim"]),
            indexer: Some(indexer).filter(|indexer| indexer.heads > 0),
            ..Latent::default()
        };
        return (Some(latent), Attention { heads, kv_heads: heads, head: key + rope, ..Attention::default() });
    }
    let head = keys
        .number(&["head_dim", "kv_channels", "attention_head_dim"])
        .filter(|head| *head > 0)
        .unwrap_or_else(|| hidden.checked_div(heads).unwrap_or(0));
    let value = keys.number(&["v_head_dim"]).filter(|value| *value > 0 && *value != head);
    (None, Attention { heads, kv_heads, head, value, ..Attention::default() })
}

fn experts(keys: &Keys<'_>) -> Option<Experts> {
    let total = keys
        .number(&["num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts", "num_moe_experts"])
        .filter(|total| *total > 1)?;
    let used = keys.number(&[
        "num_experts_per_tok",
        "num_experts_per_token",
        "top_k_experts",
        "moe_topk",
        "moe_k",
        "experts_per_token",
        "num_selected_experts",
        "moe_top_k",
    ]);
    let width = keys.number(&["moe_intermediate_size", "expert_intermediate_size", "moe_ffn_hidden_size"]);
    let width = width.unwrap_or_else(|| keys.need(WIDTH));
    let together = keys.number(&[
        "shared_expert_intermediate_size",
        "moe_shared_expert_intermediate_size",
        "shared_intermediate_size",
        "moe_shared_expert_overall_intermediate_size",
        "share_expert_dim",
    ]);
    let each = keys
        .number(&["n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts"])
        .unwrap_or(0);
    if used.is_none() {
        keys.missing("num_experts_per_tok");
    }
    Some(Experts {
        total,
        used: used.unwrap_or(0),
        width,
        shared_width: together.unwrap_or(each.saturating_mul(width)),
        gated: true,
        ..Experts::default()
    })
}

/// How far layers with a sliding window look back; `None` where that is as far as the context.
fn window(keys: &Keys<'_>, family: &Family, context: u64) -> Option<u64> {
    if keys.flag("use_sliding_window") == Some(false) {
        return None;
    }
    let names: &[&str] = &[
        "sliding_window",
        "sliding_window_size",
        "attention_chunk_size",
        "local_attention",
        "attention_window_size",
        "window_size",
    ];
    let chosen = keys.flag("use_sliding_window") == Some(true) || family.pattern.is_some() || family.windowed;
    let listed = keys.value("layer_types").is_some() || keys.value("sliding_window_pattern").is_some();
    keys.number(names).filter(|window| *window > 0 && (context == 0 || *window < context)).filter(|_| chosen || listed)
}

fn mixers(keys: &Keys<'_>, family: &Family, layers: usize, has_window: bool) -> Vec<char> {
    let letters: Vec<char> = if let Some(kinds) = keys.words(&["layer_types", "layers_block_type", "block_types"]) {
        kinds.iter().map(|kind| letter(keys, kind)).collect()
    } else if let Some(text) = keys.word("sliding_window_pattern") {
        text.chars().take(layers).map(|c| if c.eq_ignore_ascii_case(&'l') { 's' } else { 'f' }).collect()
    } else if let Some(period) = keys.number(&["sliding_window_pattern", "_sliding_window_pattern"]).filter(|p| *p > 0)
    {
        (1..=layers as u64).map(|layer| if layer % period == 0 { 'f' } else { 's' }).collect()
    } else if let Some(pattern) = family.pattern {
        pattern.chars().collect()
    } else if family.windowed && has_window {
        vec!['s']
    } else {
        vec!['f']
    };
    let letters = letters.into_iter().map(|letter| if letter == 's' && !has_window { 'f' } else { letter });
    let letters: Vec<char> = letters.collect();
    letters.iter().copied().cycle().take(layers).collect()
}

fn letter(keys: &Keys<'_>, kind: &str) -> char {
    match kind {
        "full_attention"
        | "attention"
        | "global_attention"
        | "full"
        | "global"
        | "deepseek_sparse_attention"
        | "sparse_attention"
        | "latent_attention" => 'f',
        "sliding_attention" | "chunked_attention" | "sliding_window_attention" | "local_attention" | "local" => 's',
        "linear_attention" | "recurrent" | "conv" | "mamba" | "mamba2" | "kda" | "linear" => 'r',
        "moe" | "mlp" => 'n',
        other => {
            keys.wrong("layer_types", other);
            'f'
        }
    }
}

/// Which layers have experts. The conventions of transformers' classes, all by now.
fn feed_forwards(keys: &Keys<'_>, layers: usize, has_experts: bool) -> Vec<char> {
    let of = |is_sparse: &dyn Fn(u64) -> bool| {
        (0..layers as u64).map(|layer| if is_sparse(layer) { 'e' } else { 'd' }).collect::<Vec<char>>()
    };
    if !has_experts {
        return vec!['d'; layers];
    }
    if let Some(kinds) = keys.words(&["mlp_layer_types"]) {
        let kind = |layer: u64| usize::try_from(layer).ok().and_then(|at| kinds.get(at % kinds.len()));
        return of(&|layer| kind(layer).is_some_and(|kind| *kind != "dense"));
    }
    if let Some(sparse) = keys.numbers("moe_layers").or_else(|| keys.numbers("moe_layers_enum")) {
        return of(&|layer| sparse.contains(&layer));
    }
    if let Some(flags) = keys.numbers("moe_layer_freq") {
        let flag = |layer: u64| usize::try_from(layer).ok().and_then(|at| flags.get(at)).copied();
        return of(&|layer| flag(layer).unwrap_or(1) > 0);
    }
    let step = |names| keys.number(names).filter(|step| *step > 0);
    if let Some(period) = step(&["expert_layer_period"]) {
        let offset = keys.number(&["expert_layer_offset"]).unwrap_or(0);
        return of(&|layer| layer % period == offset % period);
    }
    let dense = keys
        .number(&["first_k_dense_replace", "num_dense_layers", "moe_layer_start_index", "moe_first_k_dense"])
        .unwrap_or(0);
    let never = keys.numbers("mlp_only_layers").unwrap_or_default();
    if let Some(step) = step(&["decoder_sparse_step", "interleave_moe_layer_step"]) {
        return of(&|layer| layer >= dense && (layer + 1) % step == 0 && !never.contains(&layer));
    }
    let step = step(&["moe_layer_freq", "moe_layer_interval", "moe_every_n_layers"]).unwrap_or(1);
    of(&|layer| layer >= dense && (layer - dense).is_multiple_of(step) && !never.contains(&layer))
}
