//! Configurations as they are on the hub, cut to the keys that describe the model, with the totals that the hub gives.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::catalogue::PARAMETERS_TOLERANCE;
use crate::shape::PartKind;

/// Reads a configuration, checks its parameters against the hub's total and its first block's letters.
#[track_caller]
fn check(config: &Value, parameters: u64, mixers: &str, feed_forwards: &str) -> Shape {
    let shape = match shape("x", config.to_string().as_bytes()) {
        Ok(shape) => shape,
        Err(error) => {
            panic!("{error}: {}", std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default())
        }
    };
    let computed = shape.parameters().unwrap();
    #[expect(clippy::cast_precision_loss, reason = "compared with a tolerance")]
    let off = computed as f64 / parameters as f64 - 1.0;
    assert!(
        off.abs() < PARAMETERS_TOLERANCE,
        "{computed} parameters, the hub says {parameters}: {:+.1} %",
        off * 100.0
    );
    let block = &shape.blocks[0];
    let letters = (block.mixers.as_deref().unwrap_or("-"), block.feed_forwards.as_deref().unwrap_or("-"));
    assert_eq!(letters, (mixers, feed_forwards));
    shape
}

#[test]
fn plain_decoders() {
    let qwen3 = json!({
        "model_type": "qwen3", "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936,
        "max_position_embeddings": 40960, "sliding_window": null, "use_sliding_window": false,
        "max_window_layers": 36, "tie_word_embeddings": false
    });
    let shape = check(&qwen3, 8_190_735_360, "-", "-");
    let embedded = crate::catalogue::Catalogue::embedded().get("Qwen/Qwen3-8B").unwrap();
    assert_eq!(shape, Shape { name: "x".to_owned(), ..(*embedded.shape).clone() }, "as the catalogue has it");

    let mixtral = json!({
        "model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000, "max_position_embeddings": 32768,
        "sliding_window": null, "num_local_experts": 8, "num_experts_per_tok": 2
    });
    check(&mixtral, 46_702_792_704, "-", "-");
    let llama = json!({"model_type": "llama"});
    check(&llama, 6_738_415_616, "-", "-");
    let mistral = json!({
        "model_type": "mistral", "sliding_window": 4096, "max_position_embeddings": 32768, "num_key_value_heads": 8
    });
    check(&mistral, 7_241_732_096, "s", "-");
    let granite = json!({
        "model_type": "granite", "hidden_size": 4096, "intermediate_size": 12800, "num_hidden_layers": 40,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 49159, "max_position_embeddings": 131_072,
        "tie_word_embeddings": true
    });
    check(&granite, 8_170_864_640, "-", "-");
    let starcoder = json!({
        "model_type": "starcoder2", "hidden_size": 4608, "intermediate_size": 18432, "num_hidden_layers": 32,
        "num_attention_heads": 36, "num_key_value_heads": 4, "vocab_size": 49152, "max_position_embeddings": 16384,
        "sliding_window": 4096, "tie_word_embeddings": null
    });
    check(&starcoder, 7_173_923_840, "s", "-");
    let gpt2 = json!({
        "model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "vocab_size": 50257
    });
    check(&gpt2, 124_439_808, "-", "-");
    let phi3 = json!({
        "model_type": "phi3", "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32064, "max_position_embeddings": 4096,
        "sliding_window": 2047
    });
    check(&phi3, 3_821_079_552, "s", "-");
    let command = json!({
        "model_type": "cohere", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 256_000, "max_position_embeddings": 8192
    });
    check(&command, 8_028_033_024, "-", "-");
    let olmo3 = json!({
        "model_type": "olmo3", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 100_278, "max_position_embeddings": 65536,
        "sliding_window": 4096, "layer_types": ["sliding_attention", "sliding_attention", "sliding_attention",
        "full_attention"], "tie_word_embeddings": false
    });
    check(&olmo3, 7_298_011_136, "sssf", "-");
    let exaone = json!({
        "model_type": "exaone4", "hidden_size": 5120, "intermediate_size": 27392, "num_hidden_layers": 64,
        "num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 102_400,
        "max_position_embeddings": 131_072, "sliding_window": 4096, "sliding_window_pattern": "LLLG",
        "tie_word_embeddings": false
    });
    check(&exaone, 32_003_216_384, "sssf", "-");
    let neox = json!({
        "model_type": "gpt_neox", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
        "num_attention_heads": 8, "vocab_size": 50304, "max_position_embeddings": 2048, "tie_word_embeddings": false
    });
    check(&neox, 1_011_781_632, "-", "-");
}

#[test]
fn gemmas() {
    let gemma2 = json!({
        "model_type": "gemma2", "hidden_size": 3584, "intermediate_size": 14336, "num_hidden_layers": 42,
        "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256, "vocab_size": 256_000,
        "max_position_embeddings": 8192, "sliding_window": 4096
    });
    check(&gemma2, 9_241_705_984, "sf", "-");
    // The first release leaves nearly everything to its class.
    let gemma3 = json!({
        "model_type": "gemma3",
        "text_config": {"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240,
            "num_hidden_layers": 34, "sliding_window": 1024},
        "vision_config": {"model_type": "siglip_vision_model", "hidden_size": 1152, "image_size": 896,
            "intermediate_size": 4304, "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14}
    });
    let shape = check(&gemma3, 4_300_079_472, "sssssf", "-");
    assert_eq!(shape.blocks[0].sliding.unwrap().window, 1024);
    let gemma4 = json!({
        "model_type": "gemma4", "tie_word_embeddings": true,
        "text_config": {"model_type": "gemma4_text", "hidden_size": 2816, "intermediate_size": 2112,
            "num_hidden_layers": 30, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256,
            "global_head_dim": 512, "num_global_key_value_heads": 2, "attention_k_eq_v": true,
            "sliding_window": 1024, "max_position_embeddings": 262_144, "vocab_size": 262_144,
            "enable_moe_block": true, "num_experts": 128, "top_k_experts": 8, "moe_intermediate_size": 704,
            "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0,
            "layer_types": ["sliding_attention", "sliding_attention", "sliding_attention", "sliding_attention",
                "sliding_attention", "full_attention"]},
        "vision_config": {"model_type": "gemma4_vision", "hidden_size": 1152, "intermediate_size": 4304,
            "num_hidden_layers": 27, "patch_size": 16, "position_embedding_size": 10240}
    });
    let shape = check(&gemma4, 25_805_936_206, "sssssf", "-");
    let (attention, sliding) = (shape.blocks[0].attention.unwrap(), shape.blocks[0].sliding.unwrap());
    assert_eq!((attention.head, attention.kv_heads, sliding.head, sliding.kv_heads), (512, 2, Some(256), Some(8)));
    let gemma3n = json!({
        "model_type": "gemma3n",
        "text_config": {"model_type": "gemma3n_text", "num_hidden_layers": 35, "intermediate_size": [16384, 16384]},
        "vision_config": {"architecture": "mobilenetv5_300m_enc", "hidden_size": 2048},
        "audio_config": {"conf_num_hidden_layers": 12, "hidden_size": 1536}
    });
    let shape = check(&gemma3n, 7_850_000_000, "ssssf", "-");
    assert_eq!((shape.shared_kv_layers, shape.per_layer_embedding), (15, 256));
}

#[test]
fn mixtures_of_experts() {
    let qwen = json!({
        "model_type": "qwen2_moe", "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 24,
        "num_attention_heads": 16, "num_key_value_heads": 16, "vocab_size": 151_936, "max_position_embeddings": 8192,
        "num_experts": 60, "num_experts_per_tok": 4, "moe_intermediate_size": 1408, "decoder_sparse_step": 1,
        "shared_expert_intermediate_size": 5632, "use_sliding_window": false, "sliding_window": 32768
    });
    check(&qwen, 14_315_784_192, "-", "-");
    let deepseek = json!({
        "model_type": "deepseek_v3", "hidden_size": 7168, "intermediate_size": 18432, "num_hidden_layers": 61,
        "num_attention_heads": 128, "num_key_value_heads": 128, "vocab_size": 129_280, "kv_lora_rank": 512,
        "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
        "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8, "moe_intermediate_size": 2048,
        "first_k_dense_replace": 3, "moe_layer_freq": 1, "num_nextn_predict_layers": 1,
        "max_position_embeddings": 163_840, "tie_word_embeddings": false
    });
    let shape = check(&deepseek, 684_531_386_000, "-", &format!("ddd{}", "e".repeat(58)));
    assert_eq!(shape.blocks[0].latent.unwrap().rank, 512);
    let sparse = json!({
        "model_type": "deepseek_v32", "hidden_size": 7168, "intermediate_size": 18432, "num_hidden_layers": 61,
        "num_attention_heads": 128, "vocab_size": 129_280, "kv_lora_rank": 512, "q_lora_rank": 1536,
        "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 256,
        "n_shared_experts": 1, "num_experts_per_tok": 8, "moe_intermediate_size": 2048, "first_k_dense_replace": 3,
        "num_nextn_predict_layers": 1, "max_position_embeddings": 163_840, "index_n_heads": 64,
        "index_head_dim": 128, "index_topk": 2048
    });
    let shape = check(&sparse, 685_355_329_792, "-", &format!("ddd{}", "e".repeat(58)));
    assert_eq!(shape.blocks[0].latent.unwrap().indexer.unwrap().heads, 64);
    let lite = json!({
        "model_type": "deepseek_v2", "hidden_size": 2048, "intermediate_size": 10944, "num_hidden_layers": 27,
        "num_attention_heads": 16, "vocab_size": 102_400, "kv_lora_rank": 512, "q_lora_rank": null,
        "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 64,
        "n_shared_experts": 2, "num_experts_per_tok": 6, "moe_intermediate_size": 1408, "first_k_dense_replace": 1,
        "max_position_embeddings": 163_840
    });
    check(&lite, 15_706_484_224, "-", &format!("d{}", "e".repeat(26)));
    let compressed = json!({
        "model_type": "deepseek_v4", "hidden_size": 4096, "num_hidden_layers": 43, "num_attention_heads": 64,
        "num_key_value_heads": 1, "head_dim": 512, "vocab_size": 129_280, "q_lora_rank": 1024, "qk_rope_head_dim": 64,
        "o_groups": 8, "o_lora_rank": 1024, "sliding_window": 128, "index_n_heads": 64, "index_head_dim": 128,
        "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 6, "moe_intermediate_size": 2048,
        "max_position_embeddings": 1_048_576, "tie_word_embeddings": false,
        "compress_ratios": [0, 0, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4,
            128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 0]
    });
    check(&compressed, 284_000_000_000, &format!("ww{}c", "ch".repeat(20)), "-");
    let glm = json!({
        "model_type": "glm4_moe", "hidden_size": 4096, "intermediate_size": 10944, "num_hidden_layers": 46,
        "num_attention_heads": 96, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_552,
        "n_routed_experts": 128, "n_shared_experts": 1, "num_experts_per_tok": 8, "moe_intermediate_size": 1408,
        "first_k_dense_replace": 1, "num_nextn_predict_layers": 1, "max_position_embeddings": 131_072
    });
    check(&glm, 110_468_824_832, "-", &format!("d{}", "e".repeat(45)));
    let flash = json!({
        "model_type": "glm4_moe_lite", "hidden_size": 2048, "intermediate_size": 10240, "num_hidden_layers": 47,
        "num_attention_heads": 20, "vocab_size": 154_880, "kv_lora_rank": 512, "q_lora_rank": 768,
        "qk_nope_head_dim": 192, "qk_rope_head_dim": 64, "v_head_dim": 256, "n_routed_experts": 64,
        "n_shared_experts": 1, "num_experts_per_tok": 4, "moe_intermediate_size": 1536, "first_k_dense_replace": 1,
        "num_nextn_predict_layers": 1, "max_position_embeddings": 202_752
    });
    check(&flash, 31_221_488_576, "-", &format!("d{}", "e".repeat(46)));
    let oss = json!({
        "model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880, "num_hidden_layers": 24,
        "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 201_088,
        "num_local_experts": 32, "num_experts_per_tok": 4, "sliding_window": 128, "max_position_embeddings": 131_072,
        "layer_types": ["sliding_attention", "full_attention"], "tie_word_embeddings": false
    });
    check(&oss, 20_914_757_184, "sf", "-");
    let minimax = json!({
        "model_type": "minimax_m2", "hidden_size": 3072, "intermediate_size": 1536, "num_hidden_layers": 62,
        "num_attention_heads": 48, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 200_064,
        "num_local_experts": 256, "num_experts_per_tok": 8, "max_position_embeddings": 196_608,
        "tie_word_embeddings": false
    });
    check(&minimax, 228_689_764_864, "-", "-");
    let hunyuan = json!({
        "model_type": "hunyuan_v1_moe", "hidden_size": 4096, "intermediate_size": 3072, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "attention_head_dim": 128, "vocab_size": 128_167,
        "num_experts": 64, "moe_topk": [8, 8], "moe_intermediate_size": [3072, 3072], "num_shared_expert": [1, 1],
        "max_position_embeddings": 32768, "tie_word_embeddings": true
    });
    check(&hunyuan, 80_393_183_232, "-", "-");
    let scout = json!({
        "model_type": "llama4",
        "text_config": {"model_type": "llama4_text", "hidden_size": 5120, "intermediate_size": 8192,
            "intermediate_size_mlp": 16384, "interleave_moe_layer_step": 1, "num_hidden_layers": 48,
            "num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 202_048,
            "num_local_experts": 16, "num_experts_per_tok": 1, "attention_chunk_size": 8192,
            "max_position_embeddings": 10_485_760, "no_rope_layers": [], "tie_word_embeddings": false},
        "vision_config": {"model_type": "llama4_vision_model", "hidden_size": 1408, "intermediate_size": 5632,
            "num_hidden_layers": 34, "patch_size": 14, "image_size": 336}
    });
    check(&scout, 108_641_793_536, "sssf", "-");
    let phi = json!({
        "model_type": "phimoe", "hidden_size": 4096, "intermediate_size": 6400, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32064, "num_local_experts": 16,
        "num_experts_per_tok": 2, "max_position_embeddings": 131_072, "sliding_window": 131_072
    });
    check(&phi, 41_873_153_344, "-", "-");
    let mimo = json!({
        "model_type": "mimo_v2_flash", "hidden_size": 4096, "intermediate_size": 16384, "num_hidden_layers": 48,
        "num_attention_heads": 64, "num_key_value_heads": 4, "head_dim": 192, "v_head_dim": 128,
        "swa_num_attention_heads": 64, "swa_num_key_value_heads": 8, "swa_head_dim": 192, "swa_v_head_dim": 128,
        "vocab_size": 152_576, "n_routed_experts": 256, "num_experts_per_tok": 8, "moe_intermediate_size": 2048,
        "sliding_window": 128, "max_position_embeddings": 262_144, "tie_word_embeddings": false,
        "hybrid_layer_pattern": [0, 1, 1, 1, 1], "moe_layer_freq": [0, 1, 1]
    });
    check(&mimo, 309_785_318_400, "fssss", &format!("d{}", "e".repeat(47)));
}

#[test]
fn recurrent_states() {
    let mtp = json!({
        "model_type": "qwen3_5", "tie_word_embeddings": false,
        "text_config": {"model_type": "qwen3_5_text", "hidden_size": 4096, "intermediate_size": 12288,
            "num_hidden_layers": 32, "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 256,
            "vocab_size": 248_320, "max_position_embeddings": 262_144, "full_attention_interval": 4,
            "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_key_head_dim": 128,
            "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "mtp_num_hidden_layers": 1},
        "vision_config": {"model_type": "qwen3_5", "depth": 27, "hidden_size": 1152, "intermediate_size": 4304,
            "patch_size": 16, "temporal_patch_size": 2, "spatial_merge_size": 2, "out_hidden_size": 4096,
            "num_position_embeddings": 2304, "deepstack_visual_indexes": []}
    });
    let shape = check(&mtp, 9_653_104_368, "rrrf", "-");
    assert_eq!(shape.parts.iter().map(|part| part.kind).collect::<Vec<_>>(), [PartKind::Vision, PartKind::Prediction]);
    let next = json!({
        "model_type": "qwen3_next", "hidden_size": 2048, "intermediate_size": 5120, "num_hidden_layers": 48,
        "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256, "vocab_size": 151_936,
        "num_experts": 512, "num_experts_per_tok": 10, "moe_intermediate_size": 512, "decoder_sparse_step": 1,
        "shared_expert_intermediate_size": 512, "mlp_only_layers": [], "max_position_embeddings": 262_144
    });
    check(&next, 81_324_862_720, "rrrf", "-");
    let granite = json!({
        "model_type": "granitemoehybrid", "hidden_size": 1536, "intermediate_size": 512,
        "shared_intermediate_size": 1024, "num_hidden_layers": 40, "num_attention_heads": 12,
        "num_key_value_heads": 4, "vocab_size": 100_352, "num_local_experts": 64, "num_experts_per_tok": 6,
        "mamba_n_heads": 48, "mamba_d_head": 64, "mamba_d_state": 128, "mamba_d_conv": 4, "mamba_n_groups": 1,
        "mamba_expand": 2, "max_position_embeddings": 131_072, "tie_word_embeddings": true,
        "layer_types": ["mamba", "mamba", "mamba", "mamba", "mamba", "attention", "mamba", "mamba", "mamba", "mamba"]
    });
    check(&granite, 6_939_037_248, "rrrrrfrrrr", "-");
    let lfm = json!({
        "model_type": "lfm2", "hidden_size": 2048, "block_dim": 2048, "block_ff_dim": 12288,
        "block_auto_adjust_ff_dim": true, "block_ffn_dim_multiplier": 1.0, "block_multiple_of": 256,
        "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 65536,
        "conv_L_cache": 3, "full_attn_idxs": [2, 5, 8, 10, 12, 14], "max_position_embeddings": 128_000
    });
    check(&lfm, 1_170_340_608, "rrfrrfrrfrfrfrfr", "-");
    let nemotron = json!({
        "model_type": "nemotron_h", "hidden_size": 4480, "intermediate_size": 15680, "num_hidden_layers": 56,
        "num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 131_072,
        "mamba_num_heads": 128, "mamba_head_dim": 80, "ssm_state_size": 128, "n_groups": 8, "conv_kernel": 4,
        "max_position_embeddings": 131_072, "tie_word_embeddings": false,
        "hybrid_override_pattern": "M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-"
    });
    let shape = check(
        &nemotron,
        8_888_227_328,
        "rnrnrnrrnrnrnrfnrnrnrfnrnrnrnrfnrnrnrnrfnrnrrnrnrnrnrnrn",
        "ndndndnndndndnndndndnndndndndnndndndndnndndnndndndndndnd".get(..56).unwrap(),
    );
    assert!(!shape.blocks[0].gated);
    let mamba = json!({
        "model_type": "mamba", "hidden_size": 768, "num_hidden_layers": 24, "vocab_size": 50280, "state_size": 16,
        "intermediate_size": 1536, "conv_kernel": 4, "time_step_rank": 48
    });
    check(&mamba, 129_135_360, "-", "n");
    let falcon = json!({
        "model_type": "falcon_h1", "hidden_size": 1024, "intermediate_size": 2048, "num_hidden_layers": 36,
        "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 32784,
        "mamba_d_ssm": 1536, "mamba_n_heads": 24, "mamba_d_head": 64, "mamba_d_state": 128, "mamba_d_conv": 4,
        "mamba_n_groups": 1, "mamba_expand": 2, "max_position_embeddings": 16384, "tie_word_embeddings": false
    });
    check(&falcon, 521_411_104, "rf", "nd");
    let jamba = json!({
        "model_type": "jamba", "hidden_size": 2560, "intermediate_size": 8192, "num_hidden_layers": 28,
        "num_attention_heads": 20, "num_key_value_heads": 1, "vocab_size": 65536, "num_experts": 1,
        "num_experts_per_tok": 1, "attn_layer_period": 14, "attn_layer_offset": 7, "mamba_d_state": 16,
        "mamba_d_conv": 4, "mamba_expand": 2, "mamba_dt_rank": 160, "max_position_embeddings": 262_144,
        "tie_word_embeddings": true
    });
    check(&jamba, 3_029_337_472, "rrrrrrrfrrrrrr", "-");
    let kimi = json!({
        "model_type": "kimi_linear", "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 27,
        "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 163_840, "kv_lora_rank": 512,
        "q_lora_rank": null, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "num_experts": 256,
        "num_experts_per_token": 8, "num_shared_experts": 1, "moe_intermediate_size": 1024,
        "first_k_dense_replace": 1, "moe_layer_freq": 1, "model_max_length": 1_048_576,
        "linear_attn_config": {"full_attn_layers": [4, 8, 12, 16, 20, 24, 27], "head_dim": 128, "num_heads": 32,
            "short_conv_kernel_size": 4}
    });
    check(&kimi, 49_122_681_728, "rrrfrrrfrrrfrrrfrrrfrrrfrrf", &format!("d{}", "e".repeat(26)));
}

#[test]
fn encoders_and_towers() {
    let bert = json!({
        "model_type": "bert", "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
        "num_attention_heads": 12, "vocab_size": 30522, "max_position_embeddings": 512, "pad_token_id": 0
    });
    let shape = check(&bert, 109_482_752, "-", "-");
    assert!(shape.bidirectional && shape.positions == 512);
    let xlm = json!({
        "model_type": "xlm-roberta", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
        "num_attention_heads": 16, "vocab_size": 250_002, "max_position_embeddings": 514, "pad_token_id": 1
    });
    assert_eq!(check(&xlm, 559_890_946, "-", "-").context, 512);
    let modern = json!({
        "model_type": "modernbert", "hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 12,
        "num_attention_heads": 6, "vocab_size": 50368, "max_position_embeddings": 8192,
        "global_attn_every_n_layers": 3, "local_attention": 128
    });
    check(&modern, 47_662_464, "fss", "-");
    let nomic = json!({
        "model_type": "nomic_bert", "n_embd": 768, "n_inner": 3072, "n_layer": 12, "n_head": 12,
        "vocab_size": 30528, "n_positions": 8192, "activation_function": "swiglu"
    });
    check(&nomic, 136_731_648, "-", "-");
    let qwen = json!({
        "model_type": "qwen2_5_vl", "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152_064,
        "max_position_embeddings": 128_000, "use_sliding_window": false, "sliding_window": 32768,
        "tie_word_embeddings": false,
        "vision_config": {"model_type": "qwen2_5_vl", "depth": 32, "hidden_size": 1280, "intermediate_size": 3420,
            "out_hidden_size": 3584, "patch_size": 14, "temporal_patch_size": 2, "spatial_merge_size": 2}
    });
    let shape = check(&qwen, 8_292_166_656, "-", "-");
    let vision = shape.parts[0].total_parameters();
    assert!((600_000_000..700_000_000).contains(&vision), "{vision}: the report says 0.67 B (arXiv 2502.13923)");
    let mistral = json!({
        "model_type": "mistral3", "spatial_merge_size": 2,
        "text_config": {"model_type": "mistral", "hidden_size": 5120, "intermediate_size": 32768,
            "num_hidden_layers": 40, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
            "vocab_size": 131_072, "max_position_embeddings": 131_072, "sliding_window": null},
        "vision_config": {"model_type": "pixtral", "hidden_size": 1024, "intermediate_size": 4096,
            "num_hidden_layers": 24, "image_size": 1540, "patch_size": 14}
    });
    check(&mistral, 24_011_361_280, "-", "-");
    let whisper = json!({
        "model_type": "whisper", "d_model": 1280, "encoder_layers": 32, "decoder_layers": 32,
        "encoder_ffn_dim": 5120, "decoder_ffn_dim": 5120, "decoder_attention_heads": 20,
        "encoder_attention_heads": 20, "num_hidden_layers": 32, "vocab_size": 51866, "num_mel_bins": 128,
        "max_source_positions": 1500, "max_target_positions": 448
    });
    check(&whisper, 1_543_490_560, "-", "-");
}

#[test]
fn unknown_ones_are_read_by_the_usual_keys_or_told_what_is_missing() {
    let error = |config: &str| match shape("x", config.as_bytes()) {
        Ok(shape) => panic!("{shape:?}"),
        Err(error) => error.to_string(),
    };
    let plain = json!({
        "model_type": "brand_new", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 2,
        "num_attention_heads": 16, "vocab_size": 1000, "max_position_embeddings": 4096
    });
    check(&plain, 2 * 1_024_000 + 2 * (4 * 1024 * 1024 + 3 * 4096 * 1024), "-", "-");
    assert_eq!(
        error(r#"{"model_type": "brand_new", "hidden_size": 8}"#),
        "config.json of a \"brand_new\" model does not say num_hidden_layers, vocab_size, num_attention_heads, \
         intermediate_size, max_position_embeddings"
    );
    assert_eq!(
        error(r#"{"hidden_size": 99999999999999999999}"#),
        "config.json says hidden_size = 1e+20, which cannot be meant"
    );
    assert_eq!(
        error(r#"{"num_hidden_layers": 5000}"#),
        "config.json says num_hidden_layers = 5000, which cannot be meant"
    );
    let odd = json!({
        "model_type": "nemotron_h", "hidden_size": 8, "vocab_size": 8, "num_attention_heads": 1, "head_dim": 8,
        "intermediate_size": 8, "max_position_embeddings": 8, "num_hidden_layers": 2, "hybrid_override_pattern": "M?",
        "mamba_num_heads": 1, "mamba_head_dim": 8, "ssm_state_size": 8
    });
    assert_eq!(
        error(&odd.to_string()),
        "a \"nemotron_h\" model has layers of an unknown kind, which cannot be described"
    );
    assert_eq!(error("[]"), "config.json is not what it should be");
    assert_eq!(error(&format!("{}{}", "{\"a\":".repeat(500), "}".repeat(500))), "config.json is not what it should be");
    assert!(error(&" ".repeat(5 << 20)).contains("at most"));
}

fn header(tensors: &Value, data: usize) -> Vec<u8> {
    let text = tensors.to_string();
    let mut file = (text.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(text.as_bytes());
    file.resize(file.len() + data, 0);
    file
}

fn folder(config: &Value) -> Folder {
    let mut config = config.clone();
    let plain = json!({"model_type": "llama"});
    config.as_object_mut().unwrap().extend(plain.as_object().unwrap().clone());
    Folder::new("x", config.to_string().as_bytes()).unwrap()
}

#[test]
fn packed_weights_are_counted_as_what_they_stand_for() {
    let check = |config: Value, tensors: Value, label: &str, parameters: u64, bytes: u64| {
        let mut folder = folder(&config);
        let ends = tensors.as_object().unwrap().values().filter_map(|tensor| tensor["data_offsets"][1].as_u64());
        let file = header(&tensors, usize::try_from(ends.max().unwrap()).unwrap());
        folder.add(file.as_slice(), ByteCount::bytes(file.len() as u64)).unwrap();
        let seen = (folder.quantization.label.as_str(), folder.parameters, folder.weights.as_u64());
        assert_eq!(seen, (label, parameters, bytes));
    };
    let tensor = |kind: &str, shape: [u64; 2], from: u64, to: u64| json!({"dtype": kind, "shape": shape, "data_offsets": [from, to]});
    check(
        json!({"torch_dtype": "float16"}),
        json!({"__metadata__": {"format": "pt"}, "a.weight": tensor("F16", [64, 64], 0, 8192)}),
        "F16",
        4096,
        8192,
    );
    let packed = |rows, columns, scale: &str| {
        json!({
            "m.qweight": tensor("I32", [rows, columns], 0, rows * columns * 4),
            scale: tensor("F16", [1, 4], rows * columns * 4, rows * columns * 4 + 8),
        })
    };
    let awq = json!({"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}});
    check(awq, packed(64, 8, "m.scales"), "AWQ-4bit", 4096, 2056);
    let gptq = json!({"quantization_config": {"quant_method": "gptq", "bits": 8}});
    check(gptq, packed(16, 64, "m.qzeros"), "GPTQ-8bit", 4096, 4104);
    let bytes = |scale: &str| {
        json!({
            "m.weight": tensor("U8", [64, 32], 0, 2048), scale: tensor("U8", [64, 2], 2048, 2176),
        })
    };
    let mxfp4 = json!({"quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["x"]}});
    check(mxfp4, bytes("m.down_proj_scales"), "MXFP4", 4096, 2176);
    let nvfp4 = json!({"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}});
    check(nvfp4, bytes("m.weight_scale"), "NVFP4", 4096, 2176);
    let group = |bits: u64, kind: &str, group: u64| {
        json!({"quantization_config": {"quant_method": "compressed-tensors",
        "config_groups": {"group_0": {"weights": {"num_bits": bits, "type": kind, "group_size": group}}}}})
    };
    check(group(4, "float", 16), bytes("m.weight_scale"), "NVFP4", 4096, 2176);
    check(group(4, "int", 128), packed(64, 8, "m.weight_scale"), "W4A16", 4096, 2056);
    let bnb = json!({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true,
        "bnb_4bit_quant_type": "nf4"}});
    check(bnb, bytes("m.weight.absmax"), "NF4", 4096, 2176);
    let fp8 = json!({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}});
    let floats = json!({"m.weight": tensor("F8_E4M3", [64, 64], 0, 4096),
        "m.weight_scale_inv": tensor("F32", [1, 1], 4096, 4100)});
    check(fp8, floats, "FP8", 4096, 4100);
    // MLX: six bits for one module, four for the others.
    let mlx = json!({"quantization": {"group_size": 64, "bits": 4, "m.6": {"bits": 6, "group_size": 64}}});
    let words = json!({"m.6.weight": tensor("U32", [64, 12], 0, 3072), "m.4.weight": tensor("U32", [64, 8], 3072, 5120),
        "m.4.biases": tensor("BF16", [64, 1], 5120, 5248)});
    check(mlx, words, "mlx-4bit", 8192, 5248);
}

#[test]
fn headers_that_lie_are_refused() {
    let check = |file: &[u8], expected: &str| {
        let error = folder(&json!({})).add(file, ByteCount::bytes(file.len() as u64)).unwrap_err();
        let text =
            format!("{error} {}", std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default());
        assert!(text.contains(expected), "{text}");
    };
    let tensor = |kind: &str, shape: Value, to: u64| {
        header(&json!({"a": {"dtype": kind, "shape": shape, "data_offsets": [0, to]}}), 64)
    };
    check(b"1234", "reading");
    check(&u64::MAX.to_le_bytes(), "at most 100000000");
    check(&1000_u64.to_le_bytes(), "cut short");
    check(&tensor("BF16", json!([64, 64]), 8192), "cut short");
    check(&tensor("BF16", json!([4, 4]), 64), "16 BF16 values in 64 bytes");
    check(&tensor("BF16", json!([u64::MAX, 2]), 64), "cannot be");
    check(&tensor("SOMETHING_QUITE_LONG", json!([1]), 64), "data type that cannot be");
    check(
        &header(&json!({"a": {"dtype": "U8", "shape": [4], "data_offsets": [8, 12]}}), 64),
        "take 4 bytes and end at 12",
    );
    check(&header(&json!({"a": {"dtype": "U8"}}), 64), "lacks");
}

#[test]
fn indices_name_files_of_the_folder() {
    let index = json!({"metadata": {"total_size": 16060522496_u64}, "weight_map": {
        "b": "model-00002-of-00002.safetensors", "a": "model-00001-of-00002.safetensors",
        "c": "model-00002-of-00002.safetensors"}});
    let index = Index::read(index.to_string().as_bytes()).unwrap();
    assert_eq!((index.files.len(), index.tensors, index.total.as_u64()), (2, 3, 16_060_522_496));
    let float = Index::read(br#"{"metadata": {"total_size": 100.0}, "weight_map": {"a": "x.safetensors"}}"#).unwrap();
    assert_eq!(float.total.as_u64(), 100);
    for outside in ["../x", "/etc/passwd", "a/b", ".hidden", ""] {
        let text = json!({"weight_map": {"a": outside}}).to_string();
        assert!(matches!(Index::read(text.as_bytes()), Err(Error::Header(_))), "{outside}");
    }
}

/// A value such as a stranger may write under any key.
fn hostile() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (0_u64..70000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::collection::vec(0_u64..5000, 0..9).prop_map(Value::from),
        prop::sample::select(vec!["auto", "M*E-", "LLLG", "gated-gelu", ""]).prop_map(Value::from),
        prop::collection::vec(prop::sample::select(vec!["full_attention", "mamba", "moe", "x"]), 0..9)
            .prop_map(Value::from),
    ]
}

/// Keys that some family reads.
const KEYS: [&str; 44] = [
    "hidden_size",
    "num_hidden_layers",
    "vocab_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "max_position_embeddings",
    "sliding_window",
    "sliding_window_pattern",
    "layer_types",
    "num_local_experts",
    "num_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "first_k_dense_replace",
    "moe_layer_freq",
    "mlp_only_layers",
    "decoder_sparse_step",
    "kv_lora_rank",
    "qk_rope_head_dim",
    "qk_nope_head_dim",
    "v_head_dim",
    "index_n_heads",
    "num_nextn_predict_layers",
    "hybrid_override_pattern",
    "mamba_num_heads",
    "mamba_head_dim",
    "ssm_state_size",
    "state_size",
    "expand",
    "time_step_rank",
    "attn_layer_period",
    "attn_layer_offset",
    "expert_layer_period",
    "full_attention_interval",
    "conv_L_cache",
    "full_attn_idxs",
    "block_multiple_of",
    "num_kv_shared_layers",
    "use_double_wide_mlp",
    "no_rope_layers",
    "hybrid_layer_pattern",
    "attn_type_list",
];

proptest! {
    #[test]
    fn no_configuration_makes_it_panic(
        kind in prop::sample::select(family::model_types()),
        keys in prop::collection::hash_map(prop::sample::select(KEYS.to_vec()), hostile(), 0..44),
        nested in any::<bool>(),
    ) {
        let mut config: serde_json::Map<String, Value> =
            keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        config.insert("model_type".to_owned(), Value::from(kind));
        let config = if nested { json!({"text_config": config, "vision_config": config}) } else { Value::from(config) };
        if let Ok(shape) = shape("x", config.to_string().as_bytes()) {
            prop_assert!(shape.parameters().is_ok() && shape.parameters_active().is_ok());
            for layer in shape.layers().unwrap() {
                if let crate::shape::Mixer::Recurrent(state) = layer.mixer {
                    let _ = state.state(shape.hidden).checked_add(state.convolution_state(shape.hidden)).unwrap();
                }
            }
        }
        let _ = Quantization::read(config.to_string().as_bytes());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Folder::new("x", &bytes);
        let _ = Index::read(&bytes);
        let mut folder = folder(&json!({}));
        let _ = folder.add(bytes.as_slice(), ByteCount::bytes(bytes.len() as u64));
    }
}
