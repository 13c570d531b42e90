//! What the real llama-server writes to stderr at `-lv 4`, as far as a supervisor reads it.

use std::io::Write as _;
use std::sync::OnceLock;
use std::time::Instant;

use crate::options::Options;

/// Writes one line as the real one does: `minutes.seconds.milliseconds.microseconds LEVEL text`.
pub(crate) fn line(level: char, text: &str) {
    static START: OnceLock<Instant> = OnceLock::new();
    let micros = START.get_or_init(Instant::now).elapsed().as_micros();
    let (minutes, seconds) = (micros / 60_000_000, micros / 1_000_000 % 60);
    let (millis, micros) = (micros / 1000 % 1000, micros % 1000);
    let line = format!("{minutes}.{seconds:02}.{millis:03}.{micros:03} {level} {text}\n");
    // Nobody may be reading any more; an engine goes on all the same.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// The lines of one phase of a load, in the order of [`PHASES`].
pub(crate) fn phase(phase: Phase, options: &Options) {
    let model = options.model.display();
    match phase {
        Phase::Metadata => {
            line('I', &format!("srv    load_model: loading model '{model}'"));
            line('I', &format!("srv    load_model: local path '{model}'"));
            line(
                'I',
                &format!(
                    "llama_model_loader: loaded meta data with 33 key-value pairs and 272 tensors from {model} (version GGUF V3 (latest))"
                ),
            );
            line(
                'I',
                "llama_model_loader: - kv   0:                       general.architecture str              = llama",
            );
            line('I', "print_info: file format = GGUF V3 (latest)");
        }
        Phase::Weights => {
            line('I', "load_tensors: loading model tensors, this can take a while... (load_mode = mmap)");
            line('I', &format!("load_tensors:   CPU_Mapped model buffer size = {:8.2} MiB", options.model_mib));
        }
        Phase::Context => {
            line('I', "llama_context: constructing llama_context");
            line('I', &format!("llama_context: n_seq_max             = {}", options.slots));
            line('I', &format!("llama_context: n_ctx                 = {}", options.context));
            line('I', &format!("llama_context: n_ctx_seq             = {}", options.context / options.slots.max(1)));
            line('I', "llama_context:        CPU  output buffer size =     0.38 MiB");
            line('I', &format!("llama_kv_cache:        CPU KV buffer size = {:8.2} MiB", options.kv_mib));
            line('I', "sched_reserve:        CPU compute buffer size =    15.51 MiB");
        }
        Phase::WarmUp => {
            line(
                'I',
                "cmn  common_init_: warming up the model with an empty run - please wait ... (--no-warmup to disable)",
            );
        }
    }
}

/// One phase of a load.
#[derive(Clone, Copy)]
pub(crate) enum Phase {
    Metadata,
    Weights,
    Context,
    WarmUp,
}

/// All of them, in order.
pub(crate) const PHASES: [Phase; 4] = [Phase::Metadata, Phase::Weights, Phase::Context, Phase::WarmUp];

/// What the real one says for a failure class before it exits; nothing for `unknown`.
pub(crate) fn failure(class: &str, options: &Options) {
    let model = options.model.display().to_string();
    let bytes = 460_800_000_000_u64;
    let reasons: &[String] = &match class {
        "file_not_found" => vec![
            format!("gguf_init_from_file: failed to open GGUF file '{model}' (No such file or directory)"),
            format!("llama_model_load: error loading model: llama_model_loader: failed to load model from {model}"),
        ],
        "file_corrupt" => vec![
            "llama_model_load: error loading model: tensor 'token_embd.weight' data is not within the file bounds, model is corrupted or incomplete".to_owned(),
        ],
        "wrong_magic" => vec![
            "gguf_init_from_reader: invalid magic characters: 'hell', expected 'GGUF'".to_owned(),
            format!("llama_model_load: error loading model: llama_model_loader: failed to load model from {model}"),
        ],
        "insufficient_vram" => vec![
            "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 439453.12 MiB on device 0: cudaMalloc failed: out of memory".to_owned(),
            format!("alloc_tensor_range: failed to allocate CUDA0 buffer of size {bytes}"),
            "llama_model_load: error loading model: unable to allocate CUDA0 buffer".to_owned(),
        ],
        "insufficient_ram" => vec![
            "ggml_aligned_malloc: insufficient memory (attempted to allocate 439453.12 MB)".to_owned(),
            format!("ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size {bytes}"),
            format!("alloc_tensor_range: failed to allocate CPU buffer of size {bytes}"),
            "llama_model_load: error loading model: unable to allocate CPU buffer".to_owned(),
        ],
        "context_too_large" => vec![
            "ggml_aligned_malloc: insufficient memory (attempted to allocate 439453.12 MB)".to_owned(),
            format!("ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size {bytes}"),
            format!("alloc_tensor_range: failed to allocate CPU buffer of size {bytes}"),
            "llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache".to_owned(),
            format!("srv    load_model: failed to create_context with model '{model}'"),
        ],
        "unsupported_arch" => vec!["llama_model_load: error loading model: unknown model architecture: 'unheard-of'".to_owned()],
        "backend_error" => vec!["CUDA error: an illegal memory access was encountered".to_owned()],
        _ => return,
    };
    for reason in reasons {
        line('E', reason);
    }
    if class != "context_too_large" {
        line('E', "llama_model_load_from_file_impl: failed to load model");
        line('E', &format!("srv    load_model: failed to load model, '{model}'"));
    }
    line('E', "srv  llama_server: exiting due to model loading error");
}
