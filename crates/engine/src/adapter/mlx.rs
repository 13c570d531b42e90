//! `mlx-openai-server`, for MLX models on Apple silicon.
//!
//! Which flag bounds its requests, and which parsers it knows, differs from version to version: its own help says.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Line;
use crate::Spec;

/// It is written in Python and reads a lot before it says anything.
const HELP_TIMEOUT: Duration = Duration::from_secs(30);
/// A help is a few screens.
const HELP_BYTES_MAX: usize = 256 << 10;

/// Parsers of tool calls that every version knows.
const TOOL_CALL_PARSERS: [&str; 8] =
    ["qwen3", "glm4_moe", "qwen3_coder", "qwen3_moe", "qwen3_next", "qwen3_vl", "harmony", "minimax_m2"];
/// Parsers of thoughts that every version knows.
const REASONING_PARSERS: [&str; 7] =
    ["qwen3", "glm4_moe", "qwen3_moe", "qwen3_next", "qwen3_vl", "harmony", "minimax_m2"];

/// What `mlx-openai-server` alone is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mlx {
    /// What the model is for, in its words: `lm`, `multimodal`, `image-generation`, …
    pub model_type: String,
    /// Whether the model may choose tools by itself.
    pub enable_auto_tool_choice: bool,
    /// How calls of tools are read out of its answers.
    pub tool_call_parser: Option<String>,
    /// How its thoughts are read out of its answers.
    pub reasoning_parser: Option<String>,
    /// The configuration of an image model.
    pub config_name: Option<String>,
}

/// What the installed version says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Help(String);

impl Help {
    /// Asks `PROGRAM launch --help`. One that does not answer in time says nothing; why is logged.
    pub async fn of(program: &Path) -> Self {
        let mut command = tokio::process::Command::new(program);
        command.args(["launch", "--help"]).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        match tokio::time::timeout(HELP_TIMEOUT, command.output()).await {
            Ok(Ok(output)) => {
                let text = &output.stdout[..output.stdout.len().min(HELP_BYTES_MAX)];
                Self(String::from_utf8_lossy(text).into_owned())
            }
            Ok(Err(error)) => {
                tracing::warn!(engine.program = %program.display(), %error, "could not ask the MLX server for its flags");
                Self::default()
            }
            Err(_) => {
                tracing::warn!(engine.program = %program.display(), "the MLX server did not tell its flags in time");
                Self::default()
            }
        }
    }

    /// A help with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The flag that bounds how many requests it works on.
    fn concurrency_flag(&self) -> Option<&'static str> {
        ["--max-concurrency", "--queue-size"].into_iter().find(|flag| self.mentions(flag))
    }

    /// Whether this very word is in it.
    fn mentions(&self, word: &str) -> bool {
        self.0.split(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_'))).any(|one| one == word)
    }
}

impl Mlx {
    /// The arguments after `mlx-openai-server`.
    pub(super) fn arguments(&self, spec: &Spec, help: &Help, listen: SocketAddr) -> Result<Vec<OsString>, String> {
        let mut line = Line::default();
        line.flag("launch");
        line.pair("--model-path", &spec.model);
        line.pair("--model-type", &self.model_type);
        line.pair("--port", listen.port().to_string());
        line.pair("--host", listen.ip().to_string());
        if spec.context > 0 {
            line.pair("--context-length", spec.context.to_string());
        }
        if let Some(flag) = help.concurrency_flag() {
            line.pair(flag, spec.slots.to_string());
        }
        if self.enable_auto_tool_choice {
            line.flag("--enable-auto-tool-choice");
        }
        if let Some(parser) = &self.tool_call_parser {
            line.pair("--tool-call-parser", known("tool_call_parser", parser, &TOOL_CALL_PARSERS, help)?);
        }
        if let Some(parser) = &self.reasoning_parser {
            line.pair("--reasoning-parser", known("reasoning_parser", parser, &REASONING_PARSERS, help)?);
        }
        let usual = match self.model_type.as_str() {
            "image-generation" => Some("flux-schnell"),
            "image-edit" => Some("flux-kontext-dev"),
            _ => None,
        };
        if let Some(usual) = usual {
            line.pair("--config-name", self.config_name.as_deref().unwrap_or(usual));
        }
        line.0.extend(spec.extra_args.iter().map(OsString::from));
        Ok(line.0)
    }
}

/// A parser that every version knows, or that this one names in its help.
fn known<'a>(field: &str, parser: &'a str, all: &[&str], help: &Help) -> Result<&'a str, String> {
    if all.contains(&parser) || help.mentions(parser) {
        return Ok(parser);
    }
    Err(format!(
        "{field} must be one of {}, or one that mlx-openai-server names in its help; is `{parser}`",
        all.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = "Usage: mlx-openai-server launch [OPTIONS]\n  --queue-size INTEGER\n  --max-concurrency INTEGER  \
                        Maximum\n  --tool-call-parser [qwen3|step_35]\n";

    fn check(mlx: &Mlx, spec: &Spec, help: &str, expected: Result<&str, &str>) {
        let line = mlx.arguments(spec, &Help::new(help), "127.0.0.1:8501".parse().unwrap());
        let words = |line: Vec<OsString>| line.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ");
        assert_eq!(line.map(words), expected.map(str::to_owned).map_err(str::to_owned));
    }

    #[test]
    fn it_is_told_in_its_own_words() {
        let spec = Spec { slots: 3, ..Spec::of("mlx-community/Qwen3-8B") };
        let lm = Mlx { model_type: "lm".into(), ..Mlx::default() };
        let plain = "launch --model-path mlx-community/Qwen3-8B --model-type lm --port 8501 --host 127.0.0.1";
        check(&lm, &spec, "", Ok(plain));
        check(&lm, &spec, HELP, Ok(&format!("{plain} --max-concurrency 3")));
        check(&lm, &spec, "--queue-size N, --queue-timeout", Ok(&format!("{plain} --queue-size 3")));
        check(&lm, &spec, "--queue-sizes N", Ok(plain));
        let all = Mlx {
            enable_auto_tool_choice: true,
            tool_call_parser: Some("qwen3_coder".into()),
            reasoning_parser: Some("qwen3".into()),
            config_name: Some("unused".into()),
            ..lm.clone()
        };
        let longer = Spec { context: 8192, ..spec.clone() };
        check(
            &all,
            &longer,
            HELP,
            Ok(&format!(
                "{plain} --context-length 8192 --max-concurrency 3 --enable-auto-tool-choice --tool-call-parser \
                 qwen3_coder --reasoning-parser qwen3"
            )),
        );
        for (model_type, config_name, expected) in [
            ("image-generation", None, "flux-schnell"),
            ("image-edit", None, "flux-kontext-dev"),
            ("image-edit", Some("qwen-edit"), "qwen-edit"),
        ] {
            let config_name = config_name.map(str::to_owned);
            let image = Mlx { model_type: model_type.into(), config_name, ..Mlx::default() };
            let expected = format!("{} --config-name {expected}", plain.replace("lm", model_type));
            check(&image, &spec, "", Ok(&expected));
        }
    }

    #[test]
    fn a_parser_must_be_one_it_knows() {
        let spec = Spec::of("/m");
        let mlx =
            |parser: &str| Mlx { model_type: "lm".into(), tool_call_parser: Some(parser.into()), ..Mlx::default() };
        let known = "launch --model-path /m --model-type lm --port 8501 --host 127.0.0.1 --max-concurrency 1 \
                     --tool-call-parser step_35";
        check(&mlx("step_35"), &spec, HELP, Ok(known));
        let message = "tool_call_parser must be one of qwen3, glm4_moe, qwen3_coder, qwen3_moe, qwen3_next, qwen3_vl, \
                       harmony, minimax_m2, or one that mlx-openai-server names in its help; is `step`";
        check(&mlx("step"), &spec, HELP, Err(message));
        let thinks = Mlx { reasoning_parser: Some("qwen3_coder".into()), ..Mlx::default() };
        let refused = thinks.arguments(&spec, &Help::default(), "127.0.0.1:1".parse().unwrap()).unwrap_err();
        assert!(refused.starts_with("reasoning_parser must be one of qwen3, "), "{refused}");
    }
}
