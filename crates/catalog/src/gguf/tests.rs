//! Headers that were written, damaged, or made up: what is read from them, and that nothing panics.

use std::io::{self, Read};
use std::path::PathBuf;

use proptest::prelude::*;
use testkit::gguf::{self as made, ChatModel, EmbeddingModel, File, Tensor as MadeTensor, Value, damaged};
use types::FailureClass;

use super::*;

fn read_bytes(bytes: &[u8]) -> Result<Header, Error> {
    read(bytes, ByteCount::bytes(bytes.len() as u64))
}

#[track_caller]
fn read_file(file: &File) -> Header {
    read_bytes(&file.bytes()).unwrap()
}

/// A llama with one more metadata entry, or another value for one it has.
#[track_caller]
fn with(key: &str, value: Value) -> Header {
    read_file(&ChatModel::default().file().set(key, value))
}

#[test]
fn reads_a_plain_model() {
    let header = read_file(&ChatModel::default().file());
    assert_eq!((header.version, header.architecture.as_str()), (3, "llama"));
    assert_eq!(header.name.as_deref(), Some("Tiny"));
    assert_eq!(header.size_label.as_deref(), Some("tiny"));
    assert_eq!((header.layers, header.context_length, header.embedding_length), (2, 2048, 64));
    assert_eq!((header.feed_forward_length.at(1), header.vocabulary), (128, 400));
    assert_eq!((header.attention.heads.at(0), header.attention.kv_heads.at(1)), (4, 2));
    assert_eq!((header.attention.key_length, header.attention.value_length), (16, 16));
    assert!(header.attention.causal && header.is_loadable());
    assert_eq!((header.quantization.as_str(), header.mode()), ("F32", Mode::Chat));
    assert!(!header.chat_template.unwrap().mentions_tools);
    assert_eq!((header.experts, header.recurrent, header.pooling, header.split), (None, None, None, None));
    assert!(!header.weights.output_is_tied);
}

/// The model that `make run` uses. Where `CI` is set it must be there; elsewhere its absence is no failure.
#[test]
fn reads_the_sample_model() {
    let Some(path) = std::env::var_os("SNUG_SAMPLE_MODEL").map(PathBuf::from) else {
        assert!(std::env::var_os("CI").is_none(), "SNUG_SAMPLE_MODEL must name the sample model's file");
        return;
    };
    let file = std::fs::File::open(&path).unwrap();
    let length = ByteCount::bytes(file.metadata().unwrap().len());
    let header = read(file, length).unwrap();
    assert_eq!(header.architecture, "llama");
    assert_eq!((header.tensors.len(), header.layers, header.weights.layers.len()), (272, 30, 30));
    assert_eq!(header.parameters, 134_515_008);
    assert_eq!(header.quantization, "Q4_1");
    assert_eq!((header.attention.heads.at(0), header.attention.kv_heads.at(0)), (9, 3));
    assert_eq!((header.attention.key_length, header.context_length, header.vocabulary), (64, 8192, 49152));
    assert!(header.weights.output_is_tied && header.chat_template.is_some());
    // What llama.cpp prints as the file's size: 92.10 MiB.
    let mib = header.weights.total.as_u64() as f64 / f64::from(1 << 20);
    assert_eq!(format!("{mib:.2}"), "92.10");
    assert_eq!(header.data_offset + header.weights.total, length);
}

#[test]
fn sums_go_to_their_places() {
    let file = File::new("llama")
        .set("llama.block_count", Value::U32(3))
        .tensor(MadeTensor::zeros("token_embd.weight", &[256, 10], made::Q6_K))
        .tensor(MadeTensor::zeros("output_norm.weight", &[256], made::F32))
        .tensor(MadeTensor::zeros("rope_freqs.weight", &[32], made::F32))
        .tensor(MadeTensor::zeros("blk.0.attn_q.weight", &[256, 256], made::Q4_K))
        .tensor(MadeTensor::zeros("blk.2.ffn_up_exps.weight", &[256, 64, 8], made::Q4_0))
        .tensor(MadeTensor::zeros("blk.2.ffn_norm.weight", &[256], made::F32));
    let header = read_file(&file);
    let weights = &header.weights;
    assert_eq!(weights.token_embedding.as_u64(), 10 * 210);
    assert_eq!((weights.output.as_u64(), weights.output_is_tied), (1024, true));
    assert_eq!(weights.other.as_u64(), 128);
    assert_eq!(weights.layers.iter().map(|layer| layer.total.as_u64()).collect::<Vec<_>>(), [36_864, 0, 73_728 + 1024]);
    assert_eq!((weights.layers[2].experts.as_u64(), weights.experts.as_u64()), (73_728, 73_728));
    assert_eq!(weights.total.as_u64(), file.tensors.iter().map(MadeTensor::bytes).sum::<u64>());
    // No file type: the type of most bytes in matrices.
    assert_eq!(header.quantization, "Q4_0");
}

#[test]
fn type_table_agrees_with_ggml() {
    // Elements and bytes of a block as ggml's block structs have them, written out apart from the table.
    let check = |id: u32, elements: u64, bytes: u64| {
        let kind = made::TensorKind { id, block: elements, bytes };
        let header = read_file(&File::new("x").tensor(MadeTensor::zeros("t", &[elements * 3, 2], kind)));
        assert_eq!(header.weights.total.as_u64(), 6 * bytes, "type {id}");
        assert_eq!(header.tensors[0].kind.block_elements(), Some(elements), "type {id}");
    };
    let half = 2;
    check(0, 1, 4);
    check(2, 32, half + 16);
    check(3, 32, 2 * half + 16);
    check(6, 32, half + 4 + 16);
    check(8, 32, half + 32);
    check(10, 256, 2 * half + 256 / 16 + 256 / 4);
    check(11, 256, half + 256 / 4 + 256 / 8 + 12);
    check(12, 256, 2 * half + 12 + 256 / 2);
    check(13, 256, 2 * half + 12 + 256 / 2 + 256 / 8);
    check(14, 256, half + 256 / 16 + 3 * 256 / 4);
    check(15, 256, 4 + 256 + 256 / 16 * 2);
    check(16, 256, half + 256 / 8 * 2);
    check(17, 256, half + 256 / 8 * 2 + 256 / 32);
    check(18, 256, half + 3 * (256 / 8));
    check(19, 256, half + 256 / 8 + 256 / 16);
    check(20, 32, half + 16);
    check(21, 256, half + 13 * (256 / 32) + 256 / 64);
    check(22, 256, half + 256 / 4 + 256 / 16);
    check(23, 256, half + 2 + 256 / 64 + 256 / 2);
    check(29, 256, 256 / 8 + 256 / 16 + 256 / 32);
    check(30, 1, 2);
    check(34, 256, half + 256 / 64 + (256 - 4 * 256 / 64) / 5);
    check(35, 256, half + 256 / 4);
    check(39, 32, 1 + 16);
    check(40, 64, 4 + 32);
    check(41, 128, half + 128 / 8);
    check(42, 64, half + 64 / 4);
}

#[test]
fn a_type_newer_than_us_is_measured_by_its_neighbours() {
    let newer = made::TensorKind { id: 77, block: 32, bytes: 32 };
    let file = File::new("x")
        .tensor(MadeTensor::zeros("a", &[64], newer))
        .tensor(MadeTensor::zeros("b", &[8], made::F32))
        .tensor(MadeTensor::zeros("c", &[32], newer));
    let header = read_file(&file);
    assert_eq!(header.tensors.iter().map(|tensor| tensor.bytes.as_u64()).collect::<Vec<_>>(), [64, 32, 32]);
    assert_eq!(header.tensors[0].kind.to_string(), "type 77");
}

#[test]
fn numbers_may_differ_by_layer() {
    let header = with("llama.attention.head_count_kv", Value::I32s(vec![2, 0]));
    assert_eq!((header.attention.kv_heads.at(0), header.attention.kv_heads.at(1)), (2, 0));
    assert_eq!((header.attention.kv_heads.at(2), header.attention.kv_heads.max()), (0, 2));
    let header = with("llama.attention.key_length", Value::U64(96));
    assert_eq!((header.attention.key_length, header.attention.value_length), (96, 16));
    let sliding = |pattern| {
        let file = File::new("gemma3").set("gemma3.attention.sliding_window", Value::U32(512));
        read_file(&file.set("gemma3.attention.sliding_window_pattern", pattern)).attention.sliding_pattern
    };
    assert_eq!(sliding(Value::Bools(vec![true, false])), Some(SlidingPattern::Layers(vec![true, false])));
    assert_eq!(sliding(Value::U32(6)), Some(SlidingPattern::AllButEvery(6)));
    let header = with("llama.attention.recurrent_layers", Value::Bools(vec![true, false]));
    assert_eq!(header.recurrent.unwrap().layers, Some(vec![true, false]));
    let header = with("llama.expert_count", Value::U16(8));
    assert_eq!(header.experts.unwrap().count, 8);
}

#[test]
fn mode_follows_pooling_and_architecture() {
    let pooled = |pooling| read_file(&EmbeddingModel { pooling, ..EmbeddingModel::default() }.file()).mode();
    assert_eq!([1, 2, 3, 4].map(pooled), [Mode::Embedding, Mode::Embedding, Mode::Embedding, Mode::Rerank]);
    assert_eq!(pooled(0), Mode::Embedding);
    assert_eq!(with("llama.pooling_type", Value::U32(3)).mode(), Mode::Embedding);
    let head = MadeTensor::zeros("cls.output.weight", &[32, 1], made::F32);
    assert_eq!(read_file(&EmbeddingModel::default().file().tensor(head)).mode(), Mode::Rerank);
    for encoder in ["nomic-bert-moe", "jina-bert-v3", "modern-bert", "eurobert", "t5encoder", "gemma-embedding"] {
        assert_eq!(read_file(&File::new(encoder)).mode(), Mode::Embedding, "{encoder}");
    }
    for writer in ["llama", "t5", "qwen3", "gemma3", "qwen99"] {
        assert_eq!(read_file(&File::new(writer)).mode(), Mode::Chat, "{writer}");
    }
}

#[test]
fn companions_are_not_models() {
    let kind = |file: File| read_file(&file).kind;
    let typed = |architecture, kind| File::new(architecture).set("general.type", Value::text(kind));
    assert_eq!(kind(File::new("clip")), Kind::Projector);
    assert_eq!(kind(typed("clip", "mmproj")), Kind::Projector);
    assert_eq!(kind(typed("llama", "adapter")), Kind::Adapter);
    assert_eq!(kind(File::bare().set("general.type", Value::text("imatrix"))), Kind::Other("imatrix".into()));
    assert_eq!(kind(damaged::unknown_architecture()), Kind::Model);
    assert!(!read_file(&File::new("clip")).is_loadable());
}

#[test]
fn shards_add_up_to_the_whole() {
    let whole = ChatModel::default().file();
    let shard = |base: File, number, tensors: &[MadeTensor]| {
        let base = base.set("split.count", Value::U16(2)).set("split.no", Value::U16(number));
        File { tensors: tensors.to_vec(), ..base.set("split.tensors.count", Value::I32(21)) }
    };
    let (first, rest) = whole.tensors.split_at(8);
    let mut joined = read_file(&shard(whole.clone(), 0, first));
    let later = read_file(&shard(File::bare(), 1, rest));
    assert_eq!((joined.split.unwrap().tensors, &later.kind), (21, &Kind::LaterShard));
    joined.add_shard(later).unwrap();
    let whole = read_file(&whole);
    assert_eq!((joined.parameters, &joined.weights), (whole.parameters, &whole.weights));
    assert!(matches!(joined.add_shard(whole), Err(Error::ForeignShard { expected: 2, found: 1 })));
}

#[test]
fn templates_that_mention_tools_are_told_apart() {
    let template = "{% if tools %}{{ tools }}{% endif %}{{ messages }}";
    assert!(with("tokenizer.chat_template", Value::text(template)).chat_template.unwrap().mentions_tools);
    let model = ChatModel { chat_template: None, ..ChatModel::default() };
    assert_eq!(read_file(&model.file()).chat_template, None);
}

#[test]
fn file_types_have_names() {
    let check = |number, label: &str| assert_eq!(with("general.file_type", Value::U32(number)).quantization, label);
    check(1, "F16");
    check(15, "Q4_K_M");
    check(15 | 1024, "Q4_K_M");
    check(20, "IQ2_XS");
    check(32, "BF16");
    check(38, "MXFP4");
    // Unknown: by the tensors.
    check(99, "F32");
}

#[track_caller]
fn check_refused(bytes: &[u8], class: FailureClass, expected: &str) {
    let error = read_bytes(bytes).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.class()), (expected, class));
}

#[test]
fn damaged_files_are_refused_with_the_reason() {
    use FailureClass::{FileCorrupt, UnsupportedArch};
    let model = ChatModel::default().file();
    let cut = |length| format!("the file ends within its header, after {length} bytes: it was cut short");
    check_refused(b"", FileCorrupt, &cut(0));
    check_refused(b"GGU", FileCorrupt, &cut(3));
    check_refused(b"<p>", FileCorrupt, "this is not a GGUF file: it begins with `<p>` instead of `GGUF`");
    check_refused(&damaged::cut(&model, 20), FileCorrupt, &cut(20));
    check_refused(&damaged::cut(&model, 100), FileCorrupt, &cut(100));
    let header = model.header().len();
    let needed = model.length();
    let data_cut = |length| format!("the file has {length} bytes where its tensors need {needed}: it was cut short");
    check_refused(&damaged::cut(&model, header), FileCorrupt, &data_cut(header as u64));
    check_refused(&damaged::half_downloaded(&model), FileCorrupt, &data_cut((header as u64 + needed) / 2));
    check_refused(
        &damaged::wrong_magic(),
        FileCorrupt,
        "this is not a GGUF file: it begins with `GGML` instead of `GGUF`",
    );
    check_refused(&damaged::text(), FileCorrupt, "this is not a GGUF file: it begins with `<!do` instead of `GGUF`");
    check_refused(
        &damaged::big_endian(),
        FileCorrupt,
        "the file has big-endian byte order, which engines on this machine cannot read: get the little-endian file",
    );
    check_refused(
        &damaged::version(1),
        FileCorrupt,
        "the file has GGUF version 1, which engines no longer read: get a newer conversion of the model",
    );
    check_refused(
        &damaged::version(9),
        UnsupportedArch,
        "the file has GGUF version 9; versions 2 and 3 are known: update this program and the engine",
    );
    check_refused(
        &damaged::hostile_counts(),
        FileCorrupt,
        "the header claims 1152921504606846976 tensors; no more than 262144 are read",
    );
    check_refused(
        &damaged::huge_string(),
        FileCorrupt,
        "the header claims 4611686018427387904 bytes of a metadata key; no more than 1024 are read",
    );
    check_refused(
        &damaged::nested_arrays(9),
        FileCorrupt,
        "the header claims 5 arrays within arrays; no more than 4 are read",
    );
    assert!(read_bytes(&damaged::nested_arrays(4)).is_ok());
    assert!(read_bytes(&damaged::version(2)).is_ok());
    check_refused(&File::bare().bytes(), FileCorrupt, "the header does not name an architecture");
}

#[test]
fn contradictions_are_refused_with_the_reason() {
    let check = |file: File, expected: &str| check_refused(&file.bytes(), FailureClass::FileCorrupt, expected);
    let plain = || ChatModel::default().file();
    let zeros = MadeTensor::zeros;
    check(
        plain().set("llama.block_count", Value::text("two")),
        "metadata `llama.block_count` should be whole numbers, not negative",
    );
    check(
        plain().set("llama.context_length", Value::I32(-1)),
        "metadata `llama.context_length` should be whole numbers, not negative",
    );
    check(plain().set("llama.block_count", Value::U32(9999)), "metadata `llama.block_count` should be at most 4,096");
    check(plain().set("general.alignment", Value::U32(24)), "metadata `general.alignment` should be a power of two");
    check(plain().tensor(zeros("output.weight", &[32], made::F32)), "`output.weight` is there twice");
    let mut twice = plain();
    twice.metadata.push(("general.name".into(), Value::text("again")));
    check(twice, "`general.name` is there twice");
    check(plain().tensor(zeros("", &[32], made::F32)), "the name of a tensor is empty or not text");
    let tensor = |dimensions: &[u64], id| {
        let kind = made::TensorKind { id, block: 1, bytes: 4 };
        File::new("x").tensor(MadeTensor { data: vec![], ..zeros("t", dimensions, kind) })
    };
    check(tensor(&[100], 12), "tensor `t` has rows of 100 elements, which Q4_K cannot store");
    check(tensor(&[32], 4), "tensor `t` has type 4, which engines no longer read or never did");
    check(tensor(&[32], 70_000), "tensor `t` has type 70000, which engines no longer read or never did");
    check(tensor(&[1, 1, 1, 1, 1], 0), "tensor `t` has 5 dimensions; there are at most 4");
    // Sizes only a header can claim: written over the real ones, and over the offset.
    let overwritten = |dimension: [u64; 2], offset: u64| {
        let file = tensor(&[1, 1], 0);
        let mut bytes = file.bytes();
        let at = bytes.windows(9).position(|part| part == b"\x01\0\0\0\0\0\0\0t").unwrap() + 9 + 4;
        bytes[at..at + 8].copy_from_slice(&dimension[0].to_le_bytes());
        bytes[at + 8..at + 16].copy_from_slice(&dimension[1].to_le_bytes());
        bytes[at + 20..at + 28].copy_from_slice(&offset.to_le_bytes());
        read_bytes(&bytes).unwrap_err().to_string()
    };
    let huge = 1 << 40;
    assert_eq!(overwritten([huge, huge], 0), "tensor `t` has the impossible shape [1099511627776, 1099511627776]");
    assert_eq!(overwritten([1 << 62, 1], 0), "tensor `t` is larger than any file");
    assert_eq!(overwritten([1, 1], 64), "tensor `t` begins at 64, not at 0");
}

#[test]
fn a_reader_that_fails_is_not_a_damaged_file() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is on fire"))
        }
    }
    let error = read(Broken, ByteCount::mib(1)).unwrap_err();
    assert_eq!(error.class(), FailureClass::Unknown);
}

#[test]
fn a_large_vocabulary_is_gone_over() {
    let tokens = (0..250_000).map(|index| format!("token{index}")).collect();
    let header = with("tokenizer.ggml.tokens", Value::Texts(tokens));
    assert_eq!(header.vocabulary, 250_000);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read_bytes(&bytes);
        let mut with_magic = b"GGUF\x03\0\0\0\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0".to_vec();
        with_magic.extend(bytes);
        prop_assert!(read_bytes(&with_magic).is_err());
    }

    #[test]
    fn changed_headers_never_panic(
        changes in proptest::collection::vec((0usize..4000, any::<u8>()), 1..8),
        length in proptest::option::of(0u64..100_000),
    ) {
        let mut bytes = small().bytes();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let _ = read(bytes.as_slice(), ByteCount::bytes(length.unwrap_or(bytes.len() as u64)));
    }

    #[test]
    fn every_cut_is_noticed(cut in 0usize..1000) {
        let bytes = small().bytes();
        // The last tensor's padding may be missing, as it may for llama.cpp.
        let needed = bytes.len() - 28;
        let cut = cut % needed;
        let error = read_bytes(&bytes[..cut]).unwrap_err();
        prop_assert!(matches!(error, Error::HeaderCutShort { .. } | Error::DataCutShort { .. }), "{error}");
        prop_assert!(read_bytes(&bytes[..needed]).is_ok());
    }

    #[test]
    fn what_is_written_is_read(
        layers in 1u32..9,
        heads in 1u32..5,
        feed_forward in 1u32..50,
        context in 1u32..1_000_000,
        version in 2u32..=3,
    ) {
        let model = ChatModel {
            layers,
            heads,
            kv_heads: heads,
            embedding: heads * 32,
            feed_forward,
            context,
            ..ChatModel::default()
        };
        let file = File { version, ..model.file() };
        let header = read_file(&file);
        prop_assert_eq!((header.version, header.layers, header.context_length), (version, layers, u64::from(context)));
        prop_assert_eq!(header.attention.heads.at(0), u64::from(heads));
        prop_assert_eq!(header.attention.key_length, 32);
        prop_assert_eq!(header.data_offset.as_u64(), file.header().len() as u64);
        let written: u64 = file.tensors.iter().map(MadeTensor::bytes).sum();
        let weights = &header.weights;
        prop_assert_eq!((weights.total.as_u64(), header.parameters * 4), (written, written));
        let places = weights.token_embedding + weights.output + weights.other;
        let in_layers: ByteCount = weights.layers.iter().map(|layer| layer.total).sum();
        prop_assert_eq!(places + in_layers, weights.total);
        prop_assert_eq!(header.tensors.len(), file.tensors.len());
    }
}

/// A file small enough that most changed bytes matter, with an entry of every kind.
fn small() -> File {
    File::new("llama")
        .set("general.alignment", Value::U32(32))
        .set("llama.block_count", Value::U32(1))
        .set("llama.attention.head_count_kv", Value::I32s(vec![1, 0]))
        .set("llama.rope.freq_base", Value::F32(1e4))
        .set("llama.attention.sliding_window_pattern", Value::Bools(vec![true]))
        .set("tokenizer.ggml.tokens", Value::Texts(vec!["a".into(), "bc".into()]))
        .set("tests.nested", Value::Arrays(vec![Value::U32s(vec![1]), Value::Texts(vec!["x".into()])]))
        .tensor(MadeTensor::zeros("token_embd.weight", &[32, 2], made::Q4_0))
        .tensor(MadeTensor::ones("blk.0.attn_norm.weight", 1))
}
