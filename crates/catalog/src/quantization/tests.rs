//! Sizes of files that were published, computed from shapes; spellings.

use proptest::prelude::*;

use super::*;

fn shape(text: &str) -> Shape {
    toml::from_str(&format!("name = 'x'\narchitecture = 'x'\ncontext = 1\n{text}")).unwrap()
}

fn llama_8b() -> Shape {
    shape(
        "hidden = 4096\nvocabulary = 128256\n[[blocks]]\nlayers = 32\n\
         attention = { heads = 32, kv_heads = 8, head = 128 }\nfeed_forward = 14336",
    )
}

fn bytes(shape: &Shape, quantization: Quantization) -> u64 {
    let place = Place::of(shape);
    let sum = |tensors: &[Tensor], place: &Place| -> ByteCount {
        tensors.iter().map(|tensor| quantization.bytes(tensor, place)).sum()
    };
    let outside = sum(&shape.input_tensors(), &place) + sum(&shape.output_tensors(), &place);
    let layers: ByteCount =
        (0..).zip(shape.layers().unwrap()).map(|(layer, of)| sum(&shape.layer_tensors(&of), &place.at(layer))).sum();
    (outside + layers).as_u64()
}

#[track_caller]
fn check_gb(shape: &Shape, name: &str, gigabytes: f64, within: f64) {
    let quantization: Quantization = name.parse().unwrap();
    #[expect(clippy::cast_precision_loss, reason = "gigabytes with two decimals")]
    let computed = bytes(shape, quantization) as f64 / 1e9;
    assert!((computed / gigabytes - 1.0).abs() < within, "{name}: {computed:.3} GB, published {gigabytes} GB");
}

/// Bits of a weight as llama.cpp's quantize README has them for Llama 3.1 8B (8,030,261,312 parameters).
#[test]
fn llama_8b_is_as_large_as_llama_cpp_makes_it() {
    let shape = llama_8b();
    for (name, bits) in [
        ("IQ1_S", 2.0042),
        ("IQ1_M", 2.1460),
        ("IQ2_XXS", 2.3824),
        ("IQ2_XS", 2.5882),
        ("IQ2_S", 2.7403),
        ("IQ2_M", 2.9294),
        ("IQ3_XXS", 3.2548),
        ("IQ3_XS", 3.4977),
        ("IQ3_S", 3.6606),
        ("IQ3_M", 3.7628),
        ("IQ4_XS", 4.4597),
        ("IQ4_NL", 4.6818),
        ("Q2_K_S", 2.9697),
        ("Q2_K", 3.1593),
        ("Q3_K_S", 3.6429),
        ("Q3_K_M", 3.9960),
        ("Q3_K_L", 4.2979),
        ("Q4_K_S", 4.6672),
        ("Q4_K_M", 4.8944),
        ("Q5_K_S", 5.5704),
        ("Q5_K_M", 5.7036),
        ("Q6_K", 6.5633),
        ("Q8_0", 8.5008),
        ("F16", 16.0005),
    ] {
        check_gb(&shape, name, bits * 8.030_261_312 / 8.0, 0.01);
    }
}

/// Files on the hub, to the byte count that their pages show.
#[test]
fn published_files_are_as_large_as_computed() {
    // bartowski/Meta-Llama-3.1-8B-Instruct-GGUF: 4,920,734,272 bytes, some MB of them tokenizer.
    check_gb(&llama_8b(), "Q4_K_M", 4.92, 0.003);
    let qwen_7b = shape(
        "hidden = 3584\nvocabulary = 152064\n[[blocks]]\nlayers = 28\n\
         attention = { heads = 28, kv_heads = 4, head = 128 }\nfeed_forward = 18944",
    );
    check_gb(&qwen_7b, "Q4_K_M", 4.68, 0.01);
    let mistral_7b = shape(
        "hidden = 4096\nvocabulary = 32000\n[[blocks]]\nlayers = 32\n\
         attention = { heads = 32, kv_heads = 8, head = 128 }\nfeed_forward = 14336",
    );
    check_gb(&mistral_7b, "Q4_K_M", 4.37, 0.01);
    let mixtral = shape(
        "hidden = 4096\nvocabulary = 32000\n[[blocks]]\nlayers = 32\n\
         attention = { heads = 32, kv_heads = 8, head = 128 }\nexperts = { total = 8, used = 2, width = 14336 }",
    );
    // Files of 26.44 GB were made before experts were one tensor, by rules that no longer hold.
    check_gb(&mixtral, "Q4_K_M", 28.45, 0.01);
    let gpt_oss_20b = shape(
        "hidden = 2880\nvocabulary = 201088\n[[blocks]]\nlayers = 24\n\
         attention = { heads = 64, kv_heads = 8, head = 64 }\nexperts = { total = 32, used = 4, width = 2880 }",
    );
    check_gb(&gpt_oss_20b, "mxfp4", 12.11, 0.01);
    let llama_70b = shape(
        "hidden = 8192\nvocabulary = 128256\n[[blocks]]\nlayers = 80\n\
         attention = { heads = 64, kv_heads = 8, head = 128 }\nfeed_forward = 28672",
    );
    check_gb(&llama_70b, "Q4_K_M", 42.52, 0.01);
    let qwen3_8b = shape(
        "hidden = 4096\nvocabulary = 151936\n[[blocks]]\nlayers = 36\n\
         attention = { heads = 32, kv_heads = 8, head = 128 }\nfeed_forward = 12288",
    );
    check_gb(&qwen3_8b, "Q4_K_M", 5.03, 0.01);
    // Unsloth's choose types by model, so these are near, not exact.
    check_gb(&qwen3_8b, "UD-Q4_K_XL", 5.14, 0.03);
    check_gb(&qwen3_8b, "UD-Q6_K_XL", 7.49, 0.03);
    // Not GGUF: Qwen/Qwen3-8B-AWQ 6.1 GB, Qwen/Qwen3-8B-FP8 9.4 GB, mlx-community/Qwen3-8B-4bit 4.6 GB.
    check_gb(&qwen3_8b, "AWQ", 6.1, 0.03);
    check_gb(&qwen3_8b, "FP8", 9.4, 0.03);
    check_gb(&qwen3_8b, "mlx-4bit", 4.61, 0.03);
}

/// The sample model: rows of 576 fit no block of 256, and the head is the embedding.
#[test]
fn rows_that_fit_no_large_block_are_stored_otherwise() {
    let smollm2 = shape(
        "hidden = 576\nvocabulary = 49152\ntied = true\n[[blocks]]\nlayers = 30\n\
         attention = { heads = 9, kv_heads = 3, head = 64 }\nfeed_forward = 1536",
    );
    // What llama.cpp prints for the file: 92.10 MiB.
    check_gb(&smollm2, "Q4_1", 92.10 * 1.048_576 / 1e3, 0.005);
    let place = Place { layers: 30, ..Place::default() };
    let of = |role, columns| Quantization::Q4_K_M.bytes(&Tensor::matrix(role, columns, 1), &place).as_u64();
    assert_eq!(of(Role::FfnGate, 576), 576 / 32 * 22, "Q5_0 for Q4_K");
    assert_eq!(of(Role::FfnGate, 1536), 1536 / 256 * 144);
    assert_eq!(of(Role::FfnGate, 100), 200, "F16 where nothing fits");
    assert_eq!(of(Role::Norm, 576), 576 * 4);
}

#[test]
fn every_spelling_is_understood() {
    for (text, expected) in [
        ("q4_k_m", "Q4_K_M"),
        ("Q4-K-M", "Q4_K_M"),
        ("Q4_K", "Q4_K_M"),
        ("Q4_K_XL", "UD-Q4_K_XL"),
        ("ud-q4_k_xl", "UD-Q4_K_XL"),
        ("UD-Q4_K_M", "Q4_K_M"),
        ("i1-IQ3_M", "IQ3_M"),
        ("iq4_nl", "IQ4_NL"),
        ("bf16", "BF16"),
        ("fp16", "F16"),
        ("MXFP4_MOE", "MXFP4"),
        ("nvfp4", "NVFP4"),
        ("fp8", "FP8"),
        ("FP8-dynamic", "FP8"),
        ("awq", "AWQ-4bit"),
        ("AWQ-4bit", "AWQ-4bit"),
        ("awq 4 bit", "AWQ-4bit"),
        ("w4a16", "AWQ-4bit"),
        ("int4", "AWQ-4bit"),
        ("4bit", "AWQ-4bit"),
        ("gptq-int8", "GPTQ-8bit"),
        ("GPTQ-4bit", "GPTQ-4bit"),
        ("mlx-4bit", "mlx-4bit"),
        ("MLX 4-bit", "mlx-4bit"),
        ("mlx-8bit", "mlx-8bit"),
        ("autoround", "AutoRound-4bit"),
    ] {
        assert_eq!(text.parse::<Quantization>().map(Quantization::as_str), Ok(expected), "{text}");
    }
    for text in ["", "chat", "Q9_K", "latest", "7b"] {
        assert!(text.parse::<Quantization>().is_err(), "{text}");
    }
    for (alias, name) in ALIASES {
        assert_eq!(alias.parse::<Quantization>().map(Quantization::as_str).as_ref(), Ok(name), "{alias}");
    }
    for known in Quantization::all() {
        assert_eq!(known.as_str().parse(), Ok(known));
    }
    // What headers of files are labelled with, and what the catalogue expects of repositories.
    assert_eq!((Quantization::Q8_0.container(), Quantization::BF16.bits()), (Container::Gguf, 16.0));
}

#[test]
fn fewer_bits_cost_more() {
    let penalty = |name: &str| name.parse::<Quantization>().unwrap().penalty();
    let k_quants = ["F32", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_K_S", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K"];
    assert!(k_quants.is_sorted_by(|better, worse| penalty(better) < penalty(worse)));
    assert!(penalty("UD-Q4_K_XL") < penalty("Q4_K_M"));
}

proptest! {
    #[test]
    fn any_text_and_any_tensor_is_harmless(text: String, columns: u64, rows: u64, count: u64, layer: u32, layers: u32) {
        let _ = text.parse::<Quantization>();
        let tensor = Tensor { role: Role::FfnDown, columns, rows, count };
        for quantization in Quantization::all() {
            quantization.bytes(&tensor, &Place { layer, layers, ..Place::default() });
        }
    }
}
