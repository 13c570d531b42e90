//! The OpenAI server of the package `llama-cpp-python`, and what Python's servers write.
//!
//! It answers one request at a time, has no sampling flags, and takes what the chat template is given from its
//! environment.

use std::ffi::OsString;
use std::net::SocketAddr;

use types::{CacheType, FailureClass, Mode};

use super::Line;
use crate::Spec;
use crate::llama_cpp::{self, Observation};

/// The arguments after `python`.
pub(super) fn arguments(spec: &Spec, listen: SocketAddr) -> Vec<OsString> {
    let mut line = Line::default();
    line.pair("-m", "llama_cpp.server");
    line.pair("--model", &spec.model);
    line.pair("--host", listen.ip().to_string());
    line.pair("--port", listen.port().to_string());
    line.pair("--n_ctx", spec.context.to_string());
    line.pair("--n_gpu_layers", spec.gpu_layers.to_string());
    line.pair("--n_threads", "-1");
    line.pair("--type_k", type_number(spec.cache_type_k));
    line.pair("--type_v", type_number(spec.cache_type_v));
    line.pair("--flash_attn", if spec.flash_attn == Some(false) { "false" } else { "true" });
    line.pair("--model_alias", &spec.alias);
    if spec.mode == Mode::Embedding {
        line.pair("--embedding", "true");
    }
    line.0.extend(spec.extra_args.iter().map(OsString::from));
    line.0
}

/// What it is told by its environment: older and newer versions have other names for it.
pub(super) fn environment(spec: &Spec) -> Vec<(&'static str, String)> {
    let kwargs = spec.chat_template_kwargs.iter().flat_map(|kwargs| {
        [("LLAMA_CHAT_TEMPLATE_KWARGS", kwargs.clone()), ("LLAMA_ARG_CHAT_TEMPLATE_KWARGS", kwargs.clone())]
    });
    kwargs.chain([unbuffered()]).collect()
}

/// Into a file Python writes in large pieces, unless told otherwise.
pub(super) fn unbuffered() -> (&'static str, String) {
    ("PYTHONUNBUFFERED", "1".to_owned())
}

/// A type's number in ggml, which is what Python is told.
const fn type_number(cache_type: CacheType) -> &'static str {
    match cache_type {
        CacheType::F32 => "0",
        CacheType::F16 => "1",
        CacheType::Q4_0 => "2",
        CacheType::Q4_1 => "3",
        CacheType::Q5_0 => "6",
        CacheType::Q5_1 => "7",
        CacheType::Q8_0 => "8",
        CacheType::Iq4Nl => "20",
        CacheType::Bf16 => "30",
    }
}

/// What a line tells that a Python server wrote: its own words, else those of llama.cpp, which it may have in it.
pub(super) fn observe(line: &str) -> Option<Observation> {
    let lower = line.to_ascii_lowercase();
    if lower.contains("address already in use") {
        return Some(Observation::PortTaken);
    }
    if lower.contains("uvicorn running on http") {
        return Some(Observation::Listening);
    }
    use FailureClass::{BackendError, FileNotFound, InsufficientRam, UnsupportedArch};
    const SIGNS: &[(&str, FailureClass)] = &[
        ("no module named", BackendError),
        ("filenotfounderror", FileNotFound),
        ("repositorynotfounderror", FileNotFound),
        ("repository not found", FileNotFound),
        ("model path does not exist", FileNotFound),
        ("memoryerror", InsufficientRam),
        ("not supported", UnsupportedArch),
        ("error: unrecognized arguments", BackendError),
        ("error: argument", BackendError),
        ("error: invalid value for", BackendError),
        ("no such option", BackendError),
    ];
    let sign = SIGNS.iter().find(|(words, _)| lower.contains(words)).map(|&(_, class)| Observation::Sign(class));
    sign.or_else(|| llama_cpp::observe(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: &Spec, expected: &str) {
        let line = arguments(spec, "127.0.0.1:8501".parse().unwrap());
        let line: Vec<&str> = line.iter().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(line.join(" "), expected);
    }

    #[test]
    fn it_is_told_in_its_own_words() {
        let spec = Spec {
            alias: "qwen".into(),
            context: 4096,
            gpu_layers: 999,
            cache_type_k: CacheType::Q8_0,
            cache_type_v: CacheType::Q8_0,
            chat_template_kwargs: Some(r#"{"enable_thinking":true}"#.into()),
            ..Spec::of("/m/qwen.gguf")
        };
        check(
            &spec,
            "-m llama_cpp.server --model /m/qwen.gguf --host 127.0.0.1 --port 8501 --n_ctx 4096 --n_gpu_layers 999 \
             --n_threads -1 --type_k 8 --type_v 8 --flash_attn true --model_alias qwen",
        );
        let kwargs = || r#"{"enable_thinking":true}"#.to_owned();
        let expected = [
            ("LLAMA_CHAT_TEMPLATE_KWARGS", kwargs()),
            ("LLAMA_ARG_CHAT_TEMPLATE_KWARGS", kwargs()),
            ("PYTHONUNBUFFERED", "1".to_owned()),
        ];
        assert_eq!(environment(&spec), expected);
        let other = Spec {
            alias: "e".into(),
            mode: Mode::Embedding,
            flash_attn: Some(false),
            cache_type_k: CacheType::F16,
            cache_type_v: CacheType::Bf16,
            context: 512,
            ..Spec::of("/m/e.gguf")
        };
        check(
            &other,
            "-m llama_cpp.server --model /m/e.gguf --host 127.0.0.1 --port 8501 --n_ctx 512 --n_gpu_layers 0 \
             --n_threads -1 --type_k 1 --type_v 30 --flash_attn false --model_alias e --embedding true",
        );
    }

    #[test]
    fn its_output_is_understood() {
        use FailureClass::{BackendError, FileCorrupt, FileNotFound};
        let check = |line: &str, expected: Option<Observation>| assert_eq!(observe(line), expected, "{line}");
        check(
            "INFO:     Uvicorn running on http://127.0.0.1:8501 (Press CTRL+C to quit)",
            Some(Observation::Listening),
        );
        check(
            "ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 8501): address already in use",
            Some(Observation::PortTaken),
        );
        check("/usr/bin/python: No module named llama_cpp", Some(Observation::Sign(BackendError)));
        check("FileNotFoundError: [Errno 2] No such file", Some(Observation::Sign(FileNotFound)));
        check("gguf_init_from_file: invalid magic characters 'hell'", Some(Observation::Sign(FileCorrupt)));
        check("INFO:     Application startup complete.", None);
    }
}
