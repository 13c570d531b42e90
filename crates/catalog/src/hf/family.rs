//! Families of models: which `model_type` is which, and what its configuration leaves to its class or says in words of
//! its own. Sources: the configuration classes of transformers, and llama.cpp's conversion scripts for models whose
//! classes come with their weights.

use super::draft::{Draft, HIDDEN};
use super::keys::Keys;
use crate::shape::{Compressed, Experts, Indexer, Part, PartKind, Recurrent, Sliding};

/// What the models of a `model_type` have in common.
pub(super) struct Family {
    types: &'static [&'static str],
    /// llama.cpp's name.
    pub(super) gguf: Option<&'static str>,
    /// Whether dense feed-forward parts have two matrices on the way in.
    pub(super) gated: bool,
    /// Whether the head is the embedding where the configuration does not say.
    pub(super) tied: bool,
    pub(super) bidirectional: bool,
    /// Whether a sliding window that is stated holds for all layers.
    pub(super) windowed: bool,
    /// Mixers where the configuration has no list of them.
    pub(super) pattern: Option<&'static str>,
    /// What the class assumes for keys that are not there.
    pub(super) defaults: &'static [(&'static str, u64)],
    /// What only this family has; an error names what cannot be described.
    pub(super) adjust: fn(&Keys<'_>, &mut Draft) -> Adjusted,
}

type Adjusted = Result<(), &'static str>;

/// The family of a `model_type`.
pub(super) fn of(model_type: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.types.contains(&model_type))
}

/// What is assumed of a model whose `model_type` is not known.
pub(super) const UNKNOWN: Family = Family {
    types: &[],
    gguf: None,
    gated: true,
    tied: false,
    bidirectional: false,
    windowed: false,
    pattern: None,
    defaults: &[],
    adjust: guess,
};

const PLAIN: Family = Family { adjust: nothing, ..UNKNOWN };

const fn llama(types: &'static [&'static str], gguf: &'static str) -> Family {
    Family { types, gguf: Some(gguf), ..PLAIN }
}

const LLAMA: &[(&str, u64)] = &[
    ("hidden_size", 4096),
    ("intermediate_size", 11008),
    ("num_hidden_layers", 32),
    ("num_attention_heads", 32),
    ("vocab_size", 32000),
    ("max_position_embeddings", 2048),
];
const MISTRAL: &[(&str, u64)] = &[
    ("hidden_size", 4096),
    ("intermediate_size", 14336),
    ("num_hidden_layers", 32),
    ("num_attention_heads", 32),
    ("num_key_value_heads", 8),
    ("vocab_size", 32000),
    ("max_position_embeddings", 131_072),
];
const GEMMA2: &[(&str, u64)] = &[("head_dim", 256), ("sliding_window", 4096), ("vocab_size", 256_000)];
const GEMMA3: &[(&str, u64)] = &[
    ("num_attention_heads", 8),
    ("num_key_value_heads", 4),
    ("head_dim", 256),
    ("vocab_size", 262_208),
    ("max_position_embeddings", 131_072),
    ("sliding_window", 4096),
];
const GEMMA3N: &[(&str, u64)] = &[
    ("hidden_size", 2048),
    ("num_hidden_layers", 35),
    ("intermediate_size", 16384),
    ("num_attention_heads", 8),
    ("num_key_value_heads", 2),
    ("head_dim", 256),
    ("vocab_size", 262_400),
    ("vocab_size_per_layer_input", 262_144),
    ("hidden_size_per_layer_input", 256),
    ("num_kv_shared_layers", 15),
    ("max_position_embeddings", 32768),
    ("sliding_window", 512),
];
const GEMMA4: &[(&str, u64)] = &[("global_head_dim", 512), ("vocab_size", 262_144), ("sliding_window", 512)];
const QWEN3_NEXT: &[(&str, u64)] = &[
    ("linear_num_key_heads", 16),
    ("linear_num_value_heads", 32),
    ("linear_key_head_dim", 128),
    ("linear_value_head_dim", 128),
    ("linear_conv_kernel_dim", 4),
    ("full_attention_interval", 4),
];
const BERT: &[(&str, u64)] = &[("max_position_embeddings", 512)];

const FAMILIES: &[Family] = &[
    Family { defaults: LLAMA, ..llama(&["llama"], "llama") },
    Family { defaults: MISTRAL, windowed: true, ..llama(&["mistral", "mixtral"], "llama") },
    Family { defaults: MISTRAL, ..llama(&["ministral3"], "mistral3") },
    Family { pattern: Some("sssf"), adjust: llama4, ..llama(&["llama4", "llama4_text"], "llama4") },
    Family { types: &["mllama_text_model"], ..PLAIN },
    llama(&["qwen2", "qwen2_audio_text"], "qwen2"),
    llama(&["qwen2_vl", "qwen2_5_vl", "qwen2_vl_text", "qwen2_5_vl_text"], "qwen2vl"),
    llama(&["qwen2_5_omni_text"], "qwen2vl"),
    llama(&["qwen2_moe"], "qwen2moe"),
    llama(&["qwen3"], "qwen3"),
    llama(&["qwen3_moe"], "qwen3moe"),
    llama(&["qwen3_vl", "qwen3_vl_text"], "qwen3vl"),
    llama(&["qwen3_vl_moe", "qwen3_vl_moe_text", "qwen3_omni_moe_text"], "qwen3vlmoe"),
    Family { defaults: QWEN3_NEXT, adjust: delta_net, ..llama(&["qwen3_next"], "qwen3next") },
    Family { defaults: QWEN3_NEXT, adjust: delta_net, ..llama(&["qwen3_5", "qwen3_5_text"], "qwen35") },
    Family { defaults: QWEN3_NEXT, adjust: delta_net, ..llama(&["qwen3_5_moe", "qwen3_5_moe_text"], "qwen35moe") },
    Family { tied: true, ..llama(&["gemma"], "gemma") },
    Family { tied: true, pattern: Some("sf"), defaults: GEMMA2, ..llama(&["gemma2"], "gemma2") },
    Family {
        tied: true,
        pattern: Some("sssssf"),
        defaults: GEMMA3,
        adjust: gemma3,
        ..llama(&["gemma3", "gemma3_text"], "gemma3")
    },
    Family {
        tied: true,
        pattern: Some("ssssf"),
        defaults: GEMMA3N,
        adjust: per_layer,
        ..llama(&["gemma3n", "gemma3n_text"], "gemma3n")
    },
    Family {
        tied: true,
        pattern: Some("sssssf"),
        defaults: GEMMA4,
        adjust: gemma4,
        ..llama(&["gemma4", "gemma4_text"], "gemma4")
    },
    Family { windowed: true, ..llama(&["phi3"], "phi3") },
    Family { windowed: true, types: &["phi3_v", "phi4mm"], ..PLAIN },
    Family { windowed: true, ..llama(&["phimoe"], "phimoe") },
    Family { gated: false, ..llama(&["phi", "phi-msft"], "phi2") },
    Family { pattern: Some("sf"), ..llama(&["gpt_oss"], "gpt-oss") },
    llama(&["deepseek"], "deepseek"),
    llama(&["deepseek_v2", "glm4_moe_lite"], "deepseek2"),
    Family { adjust: own_prediction, ..llama(&["deepseek_v3", "kimi_k2"], "deepseek2") },
    Family { adjust: own_prediction, ..llama(&["deepseek_v32"], "deepseek32") },
    Family { adjust: deepseek4, ..llama(&["deepseek_v4"], "deepseek4") },
    Family { adjust: own_prediction, ..llama(&["glm_moe_dsa"], "glm-dsa") },
    Family { adjust: own_prediction, ..llama(&["glm4_moe", "glm4v_moe_text"], "glm4moe") },
    llama(&["glm4", "glm4v_text"], "glm4"),
    llama(&["glm"], "chatglm"),
    Family { adjust: four_times, ..llama(&["chatglm"], "chatglm") },
    Family { adjust: kimi_linear, ..llama(&["kimi_linear"], "kimi-linear") },
    Family { adjust: kimi_k3, ..llama(&["kimi_k3", "kimi_k3_text"], "kimi-k3") },
    llama(&["minimax_m2"], "minimax-m2"),
    Family { adjust: minimax, ..llama(&["minimax_text_01", "minimax", "minimax_m1"], "minimax-01") },
    llama(&["granite"], "granite"),
    llama(&["granitemoe", "granitemoeshared"], "granitemoe"),
    Family { adjust: granite_hybrid, tied: true, ..llama(&["granitemoehybrid", "bamba"], "granitehybrid") },
    Family { tied: true, ..llama(&["cohere"], "command-r") },
    Family { tied: true, pattern: Some("sssf"), ..llama(&["cohere2"], "cohere2") },
    llama(&["olmo"], "olmo"),
    Family { pattern: Some("sssf"), ..llama(&["olmo2", "olmo3"], "olmo2") },
    llama(&["olmoe"], "olmoe"),
    Family { adjust: parallel, ..llama(&["falcon_h1"], "falcon-h1") },
    Family { tied: true, adjust: lfm2, ..llama(&["lfm2"], "lfm2") },
    Family { tied: true, adjust: lfm2, ..llama(&["lfm2_moe"], "lfm2moe") },
    Family { gated: false, adjust: nemotron_h, ..llama(&["nemotron_h"], "nemotron_h") },
    Family { gated: false, ..llama(&["nemotron"], "nemotron") },
    Family { tied: true, adjust: mamba, ..llama(&["mamba", "falcon_mamba"], "mamba") },
    Family { tied: true, adjust: mamba2, ..llama(&["mamba2"], "mamba2") },
    Family { adjust: jamba, ..llama(&["jamba"], "jamba") },
    Family { tied: true, adjust: griffin, ..Family { types: &["recurrent_gemma"], ..PLAIN } },
    Family { gated: false, bidirectional: true, defaults: BERT, adjust: bert, ..llama(&["bert", "camembert"], "bert") },
    Family {
        gated: false,
        bidirectional: true,
        defaults: BERT,
        adjust: bert,
        ..llama(&["roberta", "xlm-roberta", "xlm_roberta", "distilbert"], "bert")
    },
    Family { gated: false, bidirectional: true, defaults: BERT, adjust: bert, types: &["mpnet", "electra"], ..PLAIN },
    Family { bidirectional: true, adjust: modernbert, ..llama(&["modernbert"], "modern-bert") },
    Family { bidirectional: true, adjust: nomic_bert, ..llama(&["nomic_bert"], "nomic-bert") },
    Family { bidirectional: true, types: &["new", "gte"], ..PLAIN },
    Family { bidirectional: true, ..llama(&["eurobert"], "eurobert") },
    Family { gated: false, tied: true, windowed: true, ..llama(&["starcoder2"], "starcoder2") },
    llama(&["stablelm"], "stablelm"),
    Family { gated: false, tied: true, adjust: gpt2, ..llama(&["gpt2"], "gpt2") },
    Family { gated: false, tied: true, adjust: gpt2, ..llama(&["gpt_bigcode"], "starcoder") },
    Family { gated: false, tied: true, adjust: gpt2, types: &["gpt_neo", "opt"], ..PLAIN },
    Family { gated: false, ..llama(&["gpt_neox"], "gptneox") },
    Family { gated: false, adjust: four_times, types: &["gptj", "codegen"], ..PLAIN },
    Family {
        gated: false,
        tied: true,
        adjust: falcon,
        ..llama(&["falcon", "RefinedWeb", "RefinedWebModel"], "falcon")
    },
    Family { gated: false, tied: true, adjust: bloom, ..llama(&["bloom"], "bloom") },
    Family { gated: false, tied: true, adjust: mpt, ..llama(&["mpt"], "mpt") },
    Family { adjust: dbrx, ..llama(&["dbrx"], "dbrx") },
    llama(&["exaone"], "exaone"),
    llama(&["exaone4"], "exaone4"),
    llama(&["exaone_moe"], "exaone-moe"),
    Family { tied: true, ..llama(&["smollm3"], "smollm3") },
    llama(&["seed_oss"], "seed_oss"),
    llama(&["hunyuan_v1_dense", "hunyuan"], "hunyuan-dense"),
    llama(&["hunyuan_v1_moe"], "hunyuan-moe"),
    Family { tied: true, ..llama(&["ernie4_5"], "ernie4_5") },
    Family { tied: true, ..llama(&["ernie4_5_moe"], "ernie4_5-moe") },
    llama(&["internlm2"], "internlm2"),
    llama(&["internlm3"], "llama"),
    llama(&["baichuan"], "baichuan"),
    Family { tied: true, ..llama(&["minicpm"], "minicpm") },
    llama(&["minicpm3"], "minicpm3"),
    Family { gated: false, ..llama(&["arcee"], "arcee") },
    Family { gated: false, ..llama(&["apertus"], "apertus") },
    llama(&["dots1"], "dots1"),
    llama(&["bailing_moe"], "bailingmoe"),
    llama(&["bailing_moe_v2"], "bailingmoe2"),
    Family { adjust: mimo2, ..llama(&["mimo_v2_flash", "mimo_v2"], "mimo2") },
    llama(&["mimo"], "qwen2"),
    Family { tied: true, gated: false, adjust: whisper, types: &["whisper"], ..PLAIN },
    Family { tied: true, gated: false, adjust: t5, ..llama(&["t5", "mt5", "umt5"], "t5") },
];

fn nothing(_: &Keys<'_>, _: &mut Draft) -> Adjusted {
    Ok(())
}

/// Activations that are not used in pairs.
fn guess(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    let activation = ["hidden_act", "activation_function", "hidden_activation"].iter().find_map(|key| keys.word(key));
    draft.gated = !matches!(activation, Some("gelu" | "gelu_new" | "relu" | "relu2"));
    Ok(())
}

fn number(keys: &Keys<'_>, name: &'static str) -> u64 {
    keys.number(&[name]).unwrap_or(0)
}

/// Feed-forward parts four times as wide as the model, unless stated.
fn four_times(_: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    if draft.feed_forward == 0 {
        draft.feed_forward = draft.hidden.saturating_mul(4);
    }
    Ok(())
}

/// Prediction layers that come with their own embedding and head.
fn own_prediction(_: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    draft.prediction_embeds = true;
    Ok(())
}

/// Attention and a state side by side in each layer (Falcon-H1): described as two layers, one with the state, one with
/// the attention and the feed-forward part. Tensors and memory are those of the whole; there are twice as many layers.
fn parallel(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    let layers = draft.layers();
    (draft.mixers, draft.feed_forwards) = (0..layers).flat_map(|_| [('r', 'n'), ('f', 'd')]).unzip();
    let expanded = draft.hidden.saturating_mul(keys.number(&["mamba_expand"]).unwrap_or(2));
    draft.recurrent = Some(Recurrent::Mamba2 {
        inner: keys.number(&["mamba_d_ssm"]).unwrap_or(expanded),
        state: keys.need(&["mamba_d_state"]),
        convolution: keys.number(&["mamba_d_conv"]).unwrap_or(4),
        heads: keys.need(&["mamba_n_heads"]),
        groups: keys.number(&["mamba_n_groups"]).unwrap_or(1),
    });
    Ok(())
}

fn llama4(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    if let Some(chunked) = keys.numbers("no_rope_layers").filter(|list| !list.is_empty() && draft.sliding.is_some()) {
        draft.mix(|layer| if chunked[layer % chunked.len()] == 0 { 'f' } else { 's' });
    }
    if let Some(experts) = &mut draft.experts {
        experts.shared_width = experts.width;
    }
    if let Some(width) = keys.number(&["intermediate_size_mlp"]) {
        draft.feed_forward = width;
    }
    Ok(())
}

/// Gated delta nets, every fourth layer attention with a gate (Qwen3-Next).
fn delta_net(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    if keys.value("layer_types").is_none() {
        let interval = usize::try_from(number(keys, "full_attention_interval")).unwrap_or(4).max(1);
        draft.mix(|layer| if (layer + 1) % interval == 0 { 'f' } else { 'r' });
    }
    draft.attention.output_gate = keys.flag("attn_output_gate") != Some(false);
    draft.recurrent = Some(Recurrent::DeltaNet {
        key_heads: number(keys, "linear_num_key_heads"),
        value_heads: number(keys, "linear_num_value_heads"),
        key: number(keys, "linear_key_head_dim"),
        value: number(keys, "linear_value_head_dim"),
        convolution: number(keys, "linear_conv_kernel_dim"),
    });
    Ok(())
}

fn gemma3(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    draft.bidirectional = keys.flag("use_bidirectional_attention") == Some(true);
    Ok(())
}

/// A second embedding for each layer, and layers that reuse others' caches.
fn per_layer(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    draft.per_layer_embedding = number(keys, "hidden_size_per_layer_input");
    if draft.per_layer_embedding > 0 {
        draft.per_layer_vocabulary = keys.number(&["vocab_size_per_layer_input"]).filter(|n| *n != draft.vocabulary);
    }
    draft.shared_kv_layers = number(keys, "num_kv_shared_layers");
    Ok(())
}

fn gemma4(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    per_layer(keys, draft)?;
    draft.shared_are_wide = keys.flag("use_double_wide_mlp") == Some(true);
    let of_sliding = draft.attention;
    if let Some(sliding) = &mut draft.sliding {
        draft.attention.head = keys.number(&["global_head_dim"]).filter(|head| *head > 0).unwrap_or(of_sliding.head);
        draft.attention.kv_heads = keys.number(&["num_global_key_value_heads"]).unwrap_or(of_sliding.kv_heads);
        draft.attention.key_is_value = keys.flag("attention_k_eq_v") == Some(true);
        let differs = |own: u64, other: u64| Some(own).filter(|_| own != other);
        sliding.head = differs(of_sliding.head, draft.attention.head);
        sliding.kv_heads = differs(of_sliding.kv_heads, draft.attention.kv_heads);
    }
    if keys.flag("enable_moe_block") == Some(false) {
        draft.experts = None;
        draft.feed(|_| 'd');
    }
    if let Some(experts) = &mut draft.experts {
        experts.dense_width = draft.feed_forward;
    }
    Ok(())
}

/// DeepSeek-V4: a window, and rows that several older tokens share; how many, layer by layer.
fn deepseek4(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    let Some(ratios) = keys.numbers("compress_ratios").filter(|ratios| !ratios.is_empty()) else {
        keys.missing("compress_ratios");
        return Ok(());
    };
    let sparse = ratios.iter().copied().filter(|ratio| *ratio > 0).min().unwrap_or(0);
    draft.mix(|layer| match ratios.get(layer).copied().unwrap_or(0) {
        0 => 'w',
        ratio if ratio == sparse => 'c',
        _ => 'h',
    });
    draft.compressed = Some(Compressed {
        query_rank: keys.need(&["q_lora_rank"]),
        head: draft.attention.head,
        output_groups: keys.need(&["o_groups"]),
        output_rank: keys.need(&["o_lora_rank"]),
        window: keys.need(&["sliding_window"]),
        sparse_ratio: sparse,
        heavy_ratio: ratios.iter().copied().max().unwrap_or(0),
        indexer: Indexer { heads: keys.need(&["index_n_heads"]), head: keys.need(&["index_head_dim"]) },
    });
    Ok(())
}

fn kimi_linear(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    let Some(linear) = keys.section("linear_attn_config") else {
        keys.missing("linear_attn_config");
        return Ok(());
    };
    // Counted from 1.
    let full = linear.numbers("full_attn_layers").unwrap_or_default();
    draft.mix(|layer| if full.contains(&(layer as u64 + 1)) { 'f' } else { 'r' });
    draft.recurrent = Some(Recurrent::Kda {
        heads: linear.need(&["num_heads"]),
        head: linear.need(&["head_dim"]),
        convolution: linear.number(&["short_conv_kernel_size"]).unwrap_or(4),
        full_gate: false,
    });
    Ok(())
}

/// As Kimi Linear, with gates of full rank, and experts that see a narrower copy of the stream.
fn kimi_k3(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    kimi_linear(keys, draft)?;
    if let Some(Recurrent::Kda { full_gate, .. }) = &mut draft.recurrent {
        *full_gate = true;
    }
    if let Some(latent) = &mut draft.latent {
        latent.output_gate = true;
    }
    if let Some(experts) = &mut draft.experts {
        experts.latent = number(keys, "routed_expert_hidden_size");
    }
    Ok(())
}

fn minimax(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    if let Some(kinds) = keys.numbers("attn_type_list").filter(|kinds| !kinds.is_empty()) {
        draft.mix(|layer| if kinds[layer % kinds.len()] == 1 { 'f' } else { 'r' });
    }
    draft.recurrent = Some(Recurrent::Lightning { heads: draft.attention.heads, head: draft.attention.head });
    Ok(())
}

fn granite_hybrid(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    if let Some(attention) = keys.numbers("attn_layer_indices") {
        draft.mix(|layer| if attention.contains(&(layer as u64)) { 'f' } else { 'r' });
    }
    let heads = number(keys, "mamba_n_heads");
    let inner = match keys.number(&["mamba_d_head"]) {
        Some(head) => heads.saturating_mul(head),
        None => draft.hidden.saturating_mul(keys.number(&["mamba_expand"]).unwrap_or(2)),
    };
    draft.recurrent = Some(Recurrent::Mamba2 {
        inner,
        state: number(keys, "mamba_d_state"),
        convolution: number(keys, "mamba_d_conv"),
        heads,
        groups: number(keys, "mamba_n_groups"),
    });
    if draft.experts.is_none() {
        draft.feed_forward = keys.number(&["shared_intermediate_size"]).unwrap_or(draft.feed_forward);
    }
    Ok(())
}

fn lfm2(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    if let Some(full) = keys.numbers("full_attn_idxs").filter(|_| keys.value("layer_types").is_none()) {
        draft.mix(|layer| if full.contains(&(layer as u64)) { 'f' } else { 'r' });
    }
    draft.recurrent = Some(Recurrent::ShortConvolution { convolution: keys.number(&["conv_L_cache"]).unwrap_or(3) });
    if draft.experts.is_none() && keys.flag("block_auto_adjust_ff_dim") == Some(true) {
        #[expect(clippy::cast_precision_loss, reason = "widths are far below 2^52")]
        let width = (2 * draft.feed_forward / 3) as f64 * keys.ratio("block_ffn_dim_multiplier").unwrap_or(1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive; casts saturate")]
        let width = width as u64;
        let multiple = keys.number(&["block_multiple_of"]).unwrap_or(1).max(1);
        draft.feed_forward = width.div_ceil(multiple).saturating_mul(multiple);
    }
    Ok(())
}

/// Layers that are one thing each: a state, attention, or a feed-forward part.
fn nemotron_h(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    let layers = match (keys.word("hybrid_override_pattern"), keys.words(&["layers_block_type"])) {
        (Some(pattern), _) => pattern
            .chars()
            .take(4096)
            .map(|kind| match kind {
                'M' => Some(('r', 'n')),
                '*' => Some(('f', 'n')),
                '-' => Some(('n', 'd')),
                'E' => Some(('n', 'e')),
                _ => None,
            })
            .collect(),
        (None, Some(kinds)) => kinds
            .iter()
            .map(|kind| match *kind {
                "mamba" => Some(('r', 'n')),
                "attention" => Some(('f', 'n')),
                "mlp" => Some(('n', 'd')),
                "moe" => Some(('n', 'e')),
                _ => None,
            })
            .collect(),
        (None, None) => {
            keys.missing("hybrid_override_pattern");
            return Ok(());
        }
    };
    let layers: Option<Vec<(char, char)>> = layers;
    let Some(layers) = layers else { return Err("layers of an unknown kind") };
    (draft.mixers, draft.feed_forwards) = layers.into_iter().unzip();
    let heads = keys.need(&["mamba_num_heads"]);
    draft.recurrent = Some(Recurrent::Mamba2 {
        inner: heads.saturating_mul(keys.need(&["mamba_head_dim"])),
        state: keys.need(&["ssm_state_size"]),
        convolution: keys.number(&["conv_kernel"]).unwrap_or(4),
        heads,
        groups: keys.number(&["n_groups"]).unwrap_or(8),
    });
    if let Some(experts) = &mut draft.experts {
        draft.gguf = Some("nemotron_h_moe");
        experts.gated = false;
        experts.latent = number(keys, "moe_latent_size");
    }
    Ok(())
}

/// The rank of Mamba's time step: a sixteenth of the width where it says `auto`.
fn time_step(keys: &Keys<'_>, name: &'static str, hidden: u64) -> u64 {
    match keys.word(name) {
        Some(_) => hidden.div_ceil(16),
        None => keys.number(&[name]).unwrap_or(hidden.div_ceil(16)),
    }
}

fn only_states(draft: &mut Draft) {
    draft.mix(|_| 'r');
    draft.feed(|_| 'n');
}

fn mamba(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    only_states(draft);
    let expanded = draft.hidden.saturating_mul(keys.number(&["expand"]).unwrap_or(2));
    draft.recurrent = Some(Recurrent::Mamba {
        inner: keys.number(&["intermediate_size", "d_inner"]).unwrap_or(expanded),
        state: keys.number(&["state_size", "d_state"]).unwrap_or(16),
        convolution: keys.number(&["conv_kernel", "d_conv"]).unwrap_or(4),
        time_step: time_step(keys, "time_step_rank", draft.hidden),
    });
    Ok(())
}

fn mamba2(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    only_states(draft);
    draft.recurrent = Some(Recurrent::Mamba2 {
        inner: draft.hidden.saturating_mul(keys.number(&["expand"]).unwrap_or(2)),
        state: keys.number(&["state_size", "d_state"]).unwrap_or(128),
        convolution: keys.number(&["conv_kernel", "d_conv"]).unwrap_or(4),
        heads: keys.need(&["num_heads"]),
        groups: keys.number(&["n_groups"]).unwrap_or(1),
    });
    Ok(())
}

fn jamba(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    let period = usize::try_from(keys.number(&["attn_layer_period"]).unwrap_or(8)).unwrap_or(8).max(1);
    let offset = usize::try_from(keys.number(&["attn_layer_offset"]).unwrap_or(4)).unwrap_or(4) % period;
    draft.mix(|layer| if layer % period == offset { 'f' } else { 'r' });
    draft.recurrent = Some(Recurrent::Mamba {
        inner: draft.hidden.saturating_mul(keys.number(&["mamba_expand"]).unwrap_or(2)),
        state: keys.number(&["mamba_d_state"]).unwrap_or(16),
        convolution: keys.number(&["mamba_d_conv"]).unwrap_or(4),
        time_step: time_step(keys, "mamba_dt_rank", draft.hidden),
    });
    Ok(())
}

/// `RecurrentGemma`: its attention has a window, and its feed-forward width counts both matrices on the way in.
fn griffin(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    let window = keys.number(&["attention_window_size"]).unwrap_or(2048);
    draft.mixers.iter_mut().filter(|letter| **letter == 'f').for_each(|letter| *letter = 's');
    draft.sliding = Some(Sliding { window, ..Sliding::default() });
    draft.feed_forward /= 2;
    draft.recurrent = Some(Recurrent::RgLru {
        width: keys.number(&["lru_width"]).unwrap_or(draft.hidden),
        convolution: keys.number(&["conv1d_width"]).unwrap_or(4),
        heads: draft.attention.heads,
    });
    Ok(())
}

fn bert(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    if draft.feed_forward == 0 {
        draft.feed_forward = draft.hidden.saturating_mul(4);
    }
    // Positions are learned unless it says otherwise (Jina's and GTE's do).
    let kind = keys.word("position_embedding_type").unwrap_or("absolute");
    if kind == "absolute" {
        draft.positions = draft.context;
    }
    // RoBERTa and its kin reserve two positions.
    if keys.number(&["pad_token_id"]) == Some(1) && kind == "absolute" {
        draft.context = draft.context.saturating_sub(2);
    }
    draft.gated = matches!(keys.word("feed_forward_type"), Some("geglu" | "reglu" | "swiglu"));
    draft.parts.push(Part { parameters: draft.hidden.saturating_mul(draft.hidden), ..Part::of(PartKind::Head) });
    Ok(())
}

fn modernbert(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    let every = usize::try_from(keys.number(&["global_attn_every_n_layers"]).unwrap_or(3)).unwrap_or(3).max(1);
    let window = keys.number(&["local_attention"]).unwrap_or(128);
    draft.mix(|layer| if layer % every == 0 { 'f' } else { 's' });
    draft.sliding = Some(Sliding { window, ..Sliding::default() });
    Ok(())
}

fn nomic_bert(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    draft.gated = keys.word("activation_function").is_none_or(|name| name.ends_with("glu"));
    if let (Some(experts), Some(every)) = (&mut draft.experts, keys.number(&["moe_every_n_layers"])) {
        draft.gguf = Some("nomic-bert-moe");
        *experts = Experts { width: draft.feed_forward, gated: draft.gated, ..*experts };
        let every = usize::try_from(every).unwrap_or(1).max(1);
        draft.feed(|layer| if layer % every == every - 1 { 'e' } else { 'd' });
    }
    Ok(())
}

fn gpt2(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    draft.positions = draft.context;
    four_times(keys, draft)
}

fn falcon(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    if keys.flag("new_decoder_architecture") == Some(true) {
        draft.attention.kv_heads = keys.number(&["num_kv_heads", "n_head_kv"]).unwrap_or(draft.attention.heads);
    }
    // Positions are rotary or linear biases; where no length is stated it is the 2048 it was trained with.
    draft.context = draft.context.max(2048);
    four_times(keys, draft)
}

fn bloom(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    draft.context = draft.context.max(2048);
    four_times(keys, draft)
}

fn mpt(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    draft.feed_forward = draft.hidden.saturating_mul(keys.number(&["expansion_ratio"]).unwrap_or(4));
    let heads = keys.section("attn_config").and_then(|section| section.number(&["kv_n_heads"]));
    draft.attention.kv_heads = heads.unwrap_or(draft.attention.heads);
    Ok(())
}

fn dbrx(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    let (Some(attention), Some(experts)) = (keys.section("attn_config"), keys.section("ffn_config")) else {
        keys.missing("ffn_config");
        return Ok(());
    };
    draft.attention.kv_heads = attention.number(&["kv_n_heads"]).unwrap_or(draft.attention.heads);
    draft.experts = Some(Experts {
        total: experts.need(&["moe_num_experts"]),
        used: experts.need(&["moe_top_k"]),
        width: experts.need(&["ffn_hidden_size"]),
        gated: true,
        ..Experts::default()
    });
    draft.feed(|_| 'e');
    Ok(())
}

/// `MiMo-V2`: heads of their own for layers with a window.
fn mimo2(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    if let Some(kinds) = keys.numbers("hybrid_layer_pattern").filter(|kinds| !kinds.is_empty()) {
        draft.mix(|layer| if kinds[layer % kinds.len()] == 1 { 's' } else { 'f' });
        draft.sliding = Some(Sliding {
            window: keys.need(&["sliding_window", "sliding_window_size"]),
            heads: keys.number(&["swa_num_attention_heads"]),
            kv_heads: keys.number(&["swa_num_key_value_heads"]),
            ..Sliding::default()
        });
    }
    Ok(())
}

/// What a decoder adds for looking at an encoder: four matrices in each layer.
fn cross_attention(draft: &Draft) -> u64 {
    let square = draft.hidden.saturating_mul(draft.hidden);
    square.saturating_mul(4).saturating_mul(draft.layers() as u64)
}

/// The decoder is the model, the encoder of sound a part (arXiv 2212.04356).
fn whisper(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    draft.positions = draft.context;
    let hidden = draft.hidden;
    let bins = keys.number(&["num_mel_bins"]).unwrap_or(80);
    let positions = keys.number(&["max_source_positions"]).unwrap_or(1500);
    let front = hidden.saturating_mul(bins.saturating_add(hidden).saturating_mul(3).saturating_add(positions));
    draft.parts.push(Part {
        layers: keys.need(&["encoder_layers"]),
        hidden,
        feed_forward: keys.need(&["encoder_ffn_dim"]),
        parameters: front.saturating_add(cross_attention(draft)),
        ..Part::of(PartKind::Audio)
    });
    Ok(())
}

fn t5(keys: &Keys<'_>, draft: &mut Draft) -> Adjusted {
    let encoder = draft.layers() as u64;
    if let Some(decoder) = keys.number(&["num_decoder_layers"]).filter(|count| *count <= 4096) {
        let decoder = usize::try_from(decoder).unwrap_or(0);
        (draft.mixers, draft.feed_forwards) = (vec!['f'; decoder], vec!['d'; decoder]);
    }
    draft.gated = keys.word("feed_forward_proj").is_some_and(|kind| kind.starts_with("gated"));
    draft.attention.head = keys.number(&["d_kv"]).unwrap_or(draft.attention.head);
    // Relative positions: trained with 512 tokens, bound to no length.
    draft.context = draft.context.max(512);
    let parameters = cross_attention(draft);
    draft.parts.push(Part {
        layers: encoder,
        hidden: keys.need(HIDDEN),
        feed_forward: draft.feed_forward,
        gated: draft.gated,
        parameters,
        ..Part::of(PartKind::Encoder)
    });
    Ok(())
}

/// All that are known, for tests.
#[cfg(test)]
pub(super) fn model_types() -> Vec<&'static str> {
    FAMILIES.iter().flat_map(|family| family.types).copied().chain(["unheard_of"]).collect()
}
