//! The command line of `llama-server`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use types::{Mode, Pooling};

use crate::Spec;
use crate::adapter::Line;

/// Arguments that snug itself sets, so that a configuration's extra arguments must not.
pub const RESERVED_ARGUMENTS: &[&str] =
    &["-m", "--model", "--host", "--port", "-a", "--alias", "-lv", "--log-file", "--slot-save-path"];

/// The arguments that start `llama-server` as `spec` says, listening on `address`, its slots saved into `slots_folder`,
/// which must exist.
///
/// What llama-server would otherwise choose by itself is set explicitly: its automatic fit may shrink what was asked
/// for, and its prompt cache takes 8 GiB of RAM unless told otherwise. Level 4 of its log is the least that tells
/// buffer sizes; it does not contain prompts.
pub fn arguments(spec: &Spec, address: SocketAddr, slots_folder: Option<&Path>) -> Vec<OsString> {
    let mut line = Line::default();
    line.pair("--model", &spec.model);
    // A comma would separate two aliases.
    line.pair("--alias", spec.alias.replace(',', "_"));
    line.pair("--host", address.ip().to_string());
    line.pair("--port", address.port().to_string());
    line.pair("--ctx-size", spec.context.saturating_mul(u64::from(spec.slots)).to_string());
    line.pair("--parallel", spec.slots.to_string());
    line.pair("--n-gpu-layers", spec.gpu_layers.to_string());
    line.pair("--cache-type-k", spec.cache_type_k.as_str());
    line.pair("--cache-type-v", spec.cache_type_v.as_str());
    line.pair("--cache-ram", "0");
    if !spec.extra_args.iter().any(|argument| argument == "--fit") {
        line.pair("--fit", "off");
    }
    line.pair("--log-verbosity", "4");
    line.flag("--offline");
    line.flag("--no-webui");
    line.flag("--metrics");
    line.flag("--slots");
    if let Some(folder) = slots_folder {
        line.pair("--slot-save-path", folder);
    }
    line.flag("--jinja");
    if let Some(mmproj) = &spec.mmproj {
        line.pair("--mmproj", mmproj);
    }
    if let Some(template) = &spec.chat_template_file {
        line.pair("--chat-template-file", template);
    }
    if let Some(kwargs) = &spec.chat_template_kwargs {
        line.pair("--chat-template-kwargs", kwargs);
    }
    if let Some(fast) = spec.flash_attn {
        line.pair("--flash-attn", if fast { "on" } else { "off" });
    }
    match spec.mode {
        Mode::Chat if !spec.embeddings => {}
        // A chat model rarely names a pooling of its own, and without one the engine refuses OpenAI's route.
        Mode::Chat => {
            line.flag("--embedding");
            line.pair("--pooling", spec.pooling.unwrap_or(Pooling::Mean).as_str());
        }
        Mode::Embedding => {
            line.flag("--embedding");
            if let Some(pooling) = spec.pooling {
                line.pair("--pooling", pooling.as_str());
            }
        }
        Mode::Rerank => {
            line.flag("--embedding");
            line.pair("--pooling", Pooling::Rank.as_str());
            line.flag("--reranking");
        }
    }
    line.0.extend(spec.extra_args.iter().map(OsString::from));
    line.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::CacheType;

    fn spec() -> Spec {
        Spec {
            alias: "tiny".into(),
            context: 2048,
            slots: 2,
            cache_type_v: CacheType::Q8_0,
            embeddings: true,
            extra_args: vec!["--threads".into(), "3".into()],
            ..Spec::of("/models/tiny.gguf")
        }
    }

    fn check(spec: &Spec, expected: &[&str]) {
        let line = arguments(spec, "127.0.0.1:9001".parse().unwrap(), Some(Path::new("/prompts")));
        let line: Vec<_> = line.iter().map(|word| word.to_str().unwrap()).collect();
        assert!(
            line.windows(expected.len()).any(|window| window == expected),
            "{expected:?} is not in a row in {line:?}"
        );
    }

    #[test]
    fn every_field_reaches_the_command_line() {
        let chat = spec();
        check(&chat, &["--host", "127.0.0.1", "--port", "9001"]);
        check(&chat, &["--ctx-size", "4096", "--parallel", "2"]);
        check(&chat, &["--cache-type-k", "f16", "--cache-type-v", "q8_0"]);
        check(&chat, &["--embedding", "--pooling", "mean"]);
        check(&chat, &["--threads", "3"]);
        check(&chat, &["--slot-save-path", "/prompts"]);
        let rerank = Spec { mode: Mode::Rerank, ..spec() };
        check(&rerank, &["--embedding", "--pooling", "rank", "--reranking"]);
        let template = Spec { chat_template_file: Some("/t.jinja".into()), mmproj: Some("/p.gguf".into()), ..spec() };
        check(&template, &["--mmproj", "/p.gguf", "--chat-template-file", "/t.jinja"]);
        let kwargs = Spec { chat_template_kwargs: Some("{}".into()), flash_attn: Some(false), ..spec() };
        check(&kwargs, &["--chat-template-kwargs", "{}", "--flash-attn", "off"]);
        check(&Spec { gpu_layers: 999, ..spec() }, &["--n-gpu-layers", "999"]);
        check(&spec(), &["--fit", "off"]);
    }

    #[test]
    fn what_is_said_of_fit_is_said_once() {
        let fit = Spec { extra_args: vec!["--fit".into(), "on".into()], ..spec() };
        let line = arguments(&fit, "127.0.0.1:9001".parse().unwrap(), None);
        assert_eq!(line.iter().filter(|word| *word == "--fit").count(), 1);
    }

    #[test]
    fn a_chat_engine_without_embeddings_does_not_pay_for_them() {
        let plain = Spec { embeddings: false, ..spec() };
        let line = arguments(&plain, "127.0.0.1:9001".parse().unwrap(), None);
        assert!(!line.iter().any(|word| word == "--embedding" || word == "--pooling" || word == "--slot-save-path"));
    }
}
