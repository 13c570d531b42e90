//! Files in, entries or a report out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;

const REQUIRED: &str =
    "id: a, backend: llamacpp, port: 8501, default_timeout: 30, quantization: Q8_0, model_path: /m.gguf";

fn parse(text: &str) -> Result<ModelsYaml, String> {
    read(Path::new("models.yaml"), text, Some(Path::new("/home/ada")))
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// A file with one entry of these fields beside the required ones.
fn entry(fields: &str) -> String {
    format!("models:\n  standard: {{{REQUIRED}, {fields}}}\n")
}

#[track_caller]
fn one(fields: &str) -> Backend {
    let mut read = parse(&entry(fields)).unwrap_or_else(|report| panic!("{fields}: {report}"));
    read.backends.remove(0)
}

/// What is said of an entry with this field: it names the entry and the field.
#[track_caller]
fn check_refused(field: &str, value: &str, expected: &str) {
    let text = match REQUIRED.split(", ").find(|one| one.starts_with(&format!("{field}:"))) {
        Some(written) => {
            format!("models: {{standard: {{{}}}}}", REQUIRED.replace(written, &format!("{field}: {value}")))
        }
        None => entry(&format!("{field}: {value}")),
    };
    let report = parse(&text).expect_err(&text);
    assert_eq!(report, format!("models.yaml:{}: models.standard.{field}: {expected}", report_line(&report)), "{text}");
}

fn report_line(report: &str) -> &str {
    report.split(':').nth(1).unwrap()
}

#[track_caller]
fn check_warnings(fields: &str, expected: &[&str]) {
    assert_eq!(parse(&entry(fields)).unwrap().warnings, expected, "{fields}");
}

#[test]
fn what_is_not_written_is_as_the_contract_says() {
    let backend = one("");
    let expected = Backend {
        role: "standard".into(),
        id: "a".into(),
        kind: BackendKind::LlamaCpp,
        port: 8501,
        host: None,
        model_path: Some("/m.gguf".into()),
        default_timeout: Duration::from_secs(30),
        quantization: "Q8_0".into(),
        model_type: ModelType::Lm,
        context_length: None,
        max_concurrency: 1,
        enabled: true,
        supports_function_calling: false,
        preload: true,
        replica: false,
        mlx: MlxFields::default(),
        llama_cpp: LlamaCppFields::default(),
    };
    assert_eq!(backend, expected);
    let nothing = FIELDS.iter().filter(|field| !REQUIRED.contains(&format!("{field}:")));
    let nothing: Vec<String> = nothing.map(|field| format!("{field}: null")).collect();
    assert_eq!(one(&nothing.join(", ")), expected);
}

#[test]
fn every_field_is_read() {
    let text = r#"
models:
  mlx:
    id: "mlx-community/Qwen3-8B"
    backend: mlx
    port: "8502"
    model_path: "mlx-community/Qwen3-8B-MLX-8bit"
    default_timeout: 600.0
    quantization: 8bit
    model_type: multimodal
    context_length: 32768
    max_concurrency: 4
    host: 0.0.0.0
    enabled: no
    supports_function_calling: yes
    enable_auto_tool_choice: True
    tool_call_parser: qwen3_coder
    reasoning_parser: qwen3
    config_name: flux-schnell
    preload: off
    replica: on
  gguf:
    id: qwen
    backend: llamacpp
    port: 65535
    model_path: ~/models/qwen
    default_timeout: 1
    quantization: f16
    chat_template_kwargs: {enable_thinking: false, budget: 0.5, none: null, list: [1, "two"]}
    chat_template_file: templates/qwen.jinja
    temp: 1
    top_p: 0.95
    top_k: 20
    min_p: 0.0
    cache_type_k: q8_0
    cache_type_v: f16
    flash_attn: on
    kv_unified: true
    fit: "off"
"#;
    let read = parse(text).unwrap();
    assert_eq!(read.warnings, [] as [&str; 0]);
    let [mlx, gguf] = read.backends.as_slice() else { panic!("{read:?}") };
    assert_eq!((mlx.role.as_str(), mlx.kind, mlx.port), ("mlx", BackendKind::Mlx, 8502));
    assert_eq!(
        (mlx.default_timeout.as_secs(), mlx.model_type, mlx.context_length),
        (600, ModelType::Multimodal, Some(32768))
    );
    assert_eq!((mlx.max_concurrency, mlx.host.as_deref()), (4, Some("0.0.0.0")));
    assert_eq!([mlx.enabled, mlx.supports_function_calling, mlx.preload, mlx.replica], [false, true, false, true]);
    let words = MlxFields {
        enable_auto_tool_choice: true,
        tool_call_parser: Some("qwen3_coder".into()),
        reasoning_parser: Some("qwen3".into()),
        config_name: Some("flux-schnell".into()),
    };
    assert_eq!(mlx.mlx, words);
    let fields = LlamaCppFields {
        chat_template_kwargs: serde_json::json!({
            "enable_thinking": false, "budget": 0.5, "none": null, "list": [1, "two"]
        })
        .as_object()
        .cloned(),
        chat_template_file: Some("templates/qwen.jinja".into()),
        temp: Some(1.0),
        top_p: Some(0.95),
        top_k: Some(20),
        min_p: Some(0.0),
        cache_type_k: Some("q8_0".into()),
        cache_type_v: Some("f16".into()),
        flash_attn: Some(true),
        kv_unified: Some(true),
        fit: Some(false),
    };
    assert_eq!((gguf.port, gguf.llama_cpp.clone()), (65535, fields));
    assert_eq!(gguf.model_path.as_deref(), Some("/home/ada/models/qwen"));
}

#[test]
fn a_role_is_a_text_whatever_it_looks_like() {
    for role in ["off", "on", "yes", "no", "true", "null", "~", "1", "0.5", "\"quoted\""] {
        let text = format!("models:\n  {role}: {{{REQUIRED}}}\n");
        assert_eq!(parse(&text).unwrap().backends[0].role, role.trim_matches('"'), "{text}");
    }
}

#[test]
fn every_refusal_names_its_entry_and_field() {
    for field in ["id", "backend", "port", "default_timeout", "quantization"] {
        check_refused(field, "null", "is required");
    }
    check_refused("id", "7", "must be a text, is 7");
    check_refused("id", "\"\"", "must be 1 to 200 bytes without control characters");
    check_refused("backend", "vllm", "must be one of mlx, llamacpp, is \"vllm\"");
    check_refused("port", "80", "must be a whole number from 1024 to 65535, is 80");
    check_refused("port", "65536", "must be a whole number from 1024 to 65535, is 65536");
    check_refused("port", "high", "must be a whole number from 1024 to 65535, is \"high\"");
    check_refused("port", "8501.5", "must be a whole number from 1024 to 65535, is 8501.5");
    check_refused("default_timeout", "0", "must be a whole number from 1 to 604800, is 0");
    check_refused("quantization", "4", "must be a text, is 4");
    check_refused("model_path", "[a]", "must be a text, is a list");
    check_refused(
        "model_type",
        "chat",
        "must be one of lm, multimodal, image-generation, image-edit, embeddings, rerank, whisper, is \"chat\"",
    );
    check_refused("context_length", "0", "must be a whole number from 1 to 2147483647, is 0");
    check_refused("max_concurrency", "0", "must be a whole number from 1 to 1024, is 0");
    check_refused("max_concurrency", "-1", "must be a whole number from 1 to 1024, is -1");
    check_refused("host", "1", "must be a text, is 1");
    for field in ["enabled", "supports_function_calling", "enable_auto_tool_choice", "kv_unified", "preload", "replica"]
    {
        check_refused(field, "maybe", "must be true or false, is \"maybe\"");
        check_refused(field, "1", "must be true or false, is 1");
    }
    for field in ["tool_call_parser", "reasoning_parser", "config_name", "cache_type_k", "cache_type_v"] {
        check_refused(field, "true", "must be a text, is true");
    }
    check_refused("chat_template_kwargs", "thinking", "must be a mapping, is \"thinking\"");
    check_refused("chat_template_file", "1", "must be a text, is 1");
    check_refused("temp", "-0.1", "must be a number from 0 to 100, is -0.1");
    check_refused("temp", ".nan", "must be a number from 0 to 100, is .nan");
    check_refused("top_p", "1.5", "must be a number from 0 to 1, is 1.5");
    check_refused("top_k", "0.5", "must be a whole number from -1 to 2147483647, is 0.5");
    check_refused("min_p", "[]", "must be a number from 0 to 1, is a list");
    check_refused("flash_attn", "1", "must be true, false or a text, is 1");
    check_refused("fit", "[]", "must be true, false or a text, is a list");
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let text =
        "models:\n  first:\n    id: a\n    backend: vllm\n    port: 1\n  second:\n  third: {id: b}\n  third_too: []\n";
    assert_eq!(
        parse(text).unwrap_err(),
        "models.yaml:4: models.first.backend: must be one of mlx, llamacpp, is \"vllm\"\n\
         models.yaml:5: models.first.port: must be a whole number from 1024 to 65535, is 1\n\
         models.yaml:2: models.first.default_timeout: is required\n\
         models.yaml:2: models.first.quantization: is required\n\
         models.yaml:6: models.second: must be a mapping of fields, is null\n\
         models.yaml:7: models.third.backend: is required\n\
         models.yaml:7: models.third.port: is required\n\
         models.yaml:7: models.third.default_timeout: is required\n\
         models.yaml:7: models.third.quantization: is required\n\
         models.yaml:8: models.third_too: must be a mapping of fields, is a list"
    );
    let check = |text: &str, expected: &str| assert_eq!(parse(text).unwrap_err(), expected, "{text}");
    check("", "models.yaml: models: is required: the entries, each below its role");
    check("models: [a]", "models.yaml:1: models: must be a mapping of roles and entries, is a list");
    check("models: null", "models.yaml:1: models: must be a mapping of roles and entries, is null");
    check("models:\n  a: {}\n  a: {}\n", "models.yaml:3: duplicate key `a`");
    check(
        &entry("context_length: 2147483647, max_concurrency: 2"),
        "models.yaml:2: models.standard.max_concurrency: times context_length must be at most 2147483647 tokens, is more",
    );
    assert_eq!(parse("models: {}").unwrap().backends, []);
}

#[test]
fn what_is_odd_is_a_warning() {
    check_warnings("", &[]);
    check_warnings("quantisation: x", &["models.standard.quantisation: is not read; did you mean `quantization`?"]);
    check_warnings("whatever_else: x", &["models.standard.whatever_else: is not read"]);
    check_warnings(
        "model_type: embeddings, enable_auto_tool_choice: true, tool_call_parser: qwen3, reasoning_parser: qwen3, \
         chat_template_kwargs: {a: 1}, chat_template_file: t.jinja",
        &[
            "models.standard.enable_auto_tool_choice: means nothing to a model of type embeddings",
            "models.standard.tool_call_parser: means nothing to a model of type embeddings",
            "models.standard.reasoning_parser: means nothing to a model of type embeddings",
            "models.standard.chat_template_kwargs: means nothing to a model of type embeddings",
            "models.standard.chat_template_file: means nothing to a model of type embeddings",
        ],
    );
    check_warnings(
        "tool_call_parser: qwen3",
        &["models.standard.tool_call_parser: means nothing to `backend: llamacpp`"],
    );
    check_warnings("model_type: whisper", &["models.standard.model_type: whisper needs `backend: mlx`"]);
    check_warnings("tool_call_parser: null, enable_auto_tool_choice: false", &[]);
    let mlx = "models: {m: {id: a, backend: mlx, port: 8501, default_timeout: 1, quantization: q, model_type: rerank, temp: 1}}\nlog: 1";
    assert_eq!(
        parse(mlx).unwrap().warnings,
        [
            "log: is not read; entries stand below `models`",
            "models.m.model_path: is missing, so the entry cannot be started",
            "models.m.model_type: rerank needs `backend: llamacpp`",
            "models.m.temp: means nothing to `backend: mlx`",
        ]
    );
}

#[test]
fn a_switch_is_on_for_few_words() {
    let check = |written: &str, expected: Option<bool>| {
        assert_eq!(one(&format!("flash_attn: {written}")).llama_cpp.flash_attn, expected, "{written}");
    };
    check("true", Some(true));
    check("on", Some(true));
    check("\"true\"", Some(true));
    check("false", Some(false));
    check("off", Some(false));
    check("sometimes", Some(false));
    check("auto", None);
}

#[test]
fn a_path_is_relative_to_the_file_or_the_folder_above() {
    let read = ModelsYaml { file: "/srv/config/models.yaml".into(), ..ModelsYaml::default() };
    let places = |written: &str| read.places(written);
    assert_eq!(places("/m.gguf"), [PathBuf::from("/m.gguf")]);
    assert_eq!(places("models/m.gguf"), [PathBuf::from("/srv/config/models/m.gguf"), "/srv/models/m.gguf".into()]);
}

proptest::proptest! {
    #[test]
    fn no_text_is_too_odd_to_be_read(text in "[a-z:{}\\[\\] \n&*!|>\"'#,-]{0,200}") {
        let _either = parse(&text);
        let _either = parse(&format!("models:\n  a:\n    {text}"));
    }
}
