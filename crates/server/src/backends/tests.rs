//! Files in, what becomes of their entries out.

use std::fs;

use config::{Config, Sources};

use super::*;

const ENTRY: &str = "default_timeout: 30, quantization: Q8_0";

/// A project: a folder with `config/models.yaml`, and models beside that folder.
struct Project(tempfile::TempDir);

impl Project {
    fn new() -> Self {
        let project = Self(tempfile::tempdir().unwrap());
        for folder in ["config", "models/qwen", "models/empty", "models/mlx"] {
            fs::create_dir_all(project.path(folder)).unwrap();
        }
        for file in [
            "models/one.gguf",
            "models/qwen/B.gguf",
            "models/qwen/A.gguf",
            "models/qwen/A-mmproj.gguf",
            "models/qwen/readme.md",
            "config/near.gguf",
            "template.jinja",
        ] {
            fs::write(project.path(file), "").unwrap();
        }
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Entries, a line each: `ROLE: FIELDS`.
    fn settle(&self, entries: &[String], programs: &Programs) -> Backends {
        let body: String = entries.iter().map(|entry| format!("  {entry}\n")).collect();
        let file = self.path("config/models.yaml");
        fs::write(&file, format!("models:\n{body}")).unwrap();
        let environment = [("HOME", "/home/ada".to_owned()), ("SNUG_MODELS_YAML", file.to_str().unwrap().to_owned())];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).into();
        let sources = Sources { environment, current_dir: "/".into(), ..Sources::default() };
        let config = Config::load(&sources).unwrap_or_else(|problems| panic!("{problems}"));
        Backends::settle(&config.models_yaml, programs, &Settings::default())
    }

    fn one(&self, kind: &str, fields: &str, programs: &Programs) -> Outcome {
        let entry = format!("r: {{id: a, backend: {kind}, port: 8501, {ENTRY}, {fields}}}");
        self.settle(&[entry], programs).all.remove(0).outcome
    }

    #[track_caller]
    fn entry(&self, kind: &str, fields: &str) -> Entry {
        match self.one(kind, fields, &all()) {
            Outcome::Runs { entry, .. } => *entry,
            other => panic!("{fields}: {other:?}"),
        }
    }

    #[track_caller]
    fn check_failed(&self, kind: &str, fields: &str, programs: &Programs, expected: &str) {
        match self.one(kind, fields, programs) {
            Outcome::Failed(reason) => {
                let folder = format!("{}/", self.0.path().display());
                assert_eq!(reason.replace(&folder, ""), expected, "{fields}");
            }
            other => panic!("{fields}: {other:?}"),
        }
    }
}

fn all() -> Programs {
    Programs::new(Some("/llama-server".into()), None, Some("/mlx-openai-server".into()))
}

fn entry(role: &str, id: &str, port: u16, more: &str) -> String {
    format!("{role}: {{id: {id}, backend: llamacpp, port: {port}, {ENTRY}, model_path: models/one.gguf{more}}}")
}

#[test]
fn llama_server_is_told_the_documented_words() {
    let project = Project::new();
    let check = |fields: &str, expected: &str| {
        let entry = project.entry("llamacpp", &format!("model_path: models/one.gguf, {fields}"));
        assert_eq!(entry.settings.extra_args.join(" "), expected, "{fields}");
        entry
    };
    let plain = check("enabled: true", "--threads -1");
    assert_eq!(plain.settings.adapter, Adapter::LlamaServer);
    assert_eq!(plain.settings.listen, Some("127.0.0.1:8501".parse().unwrap()));
    assert_eq!(
        (plain.settings.slots, plain.settings.all_layers, plain.context_window),
        (Some(1), Some(999), Some(4096))
    );
    assert_eq!(
        (plain.id.as_deref(), plain.settings.alias.as_deref(), plain.mode),
        (Some("a"), Some("a"), Some(Mode::Chat))
    );
    assert!(!plain.settings.embeddings && !plain.settings.pinned && plain.settings.keep_loaded && plain.alone);
    let full = check(
        "context_length: 8192, max_concurrency: 4, temp: 0.7, top_p: 0.95, top_k: 20, min_p: 0, kv_unified: true, \
         fit: on, flash_attn: true, cache_type_k: q8_0, cache_type_v: q4_0, chat_template_kwargs: {enable_thinking: \
         true}, chat_template_file: template.jinja, preload: false, host: 0.0.0.0",
        "--threads -1 --temp 0.7 --top-p 0.95 --top-k 20 --min-p 0 --kv-unified --fit on",
    );
    assert_eq!((full.context_window, full.settings.slots), (Some(8192), Some(4)));
    assert_eq!((full.settings.cache_type_k, full.settings.cache_type_v), (CacheType::Q8_0, CacheType::Q4_0));
    assert_eq!(full.settings.chat_template_kwargs.as_deref(), Some(r#"{"enable_thinking":true}"#));
    assert_eq!(full.settings.chat_template_file, Some(project.path("template.jinja")));
    assert_eq!(full.settings.flash_attn, Some(true));
    assert!(!full.settings.keep_loaded);
    assert_eq!(full.settings.listen, Some("0.0.0.0:8501".parse().unwrap()), "only who writes it shows it to all");
    check("kv_unified: false, fit: off", "--threads -1 --fit off");
    assert_eq!(check("model_type: embeddings", "--threads -1").mode, Some(Mode::Embedding));
    let rerank = check("model_type: rerank, chat_template_kwargs: {a: 1}", "--threads -1");
    assert_eq!((rerank.mode, rerank.settings.chat_template_kwargs), (Some(Mode::Rerank), None));
}

#[test]
fn python_takes_over_where_there_is_no_llama_server() {
    let project = Project::new();
    let python = Programs::new(None, Some("/python".into()), None);
    let fields = "model_path: models/one.gguf, max_concurrency: 4, temp: 1, fit: on, chat_template_kwargs: {a: 1}";
    let Outcome::Runs { entry, .. } = project.one("llamacpp", fields, &python) else { panic!("it runs") };
    assert_eq!((&entry.settings.adapter, entry.settings.slots), (&Adapter::LlamaCppPython, Some(1)));
    assert_eq!((entry.settings.cache_type_k, entry.settings.cache_type_v), (CacheType::Q8_0, CacheType::Q8_0));
    assert_eq!(entry.settings.chat_template_kwargs.as_deref(), Some(r#"{"a":1}"#));
    assert_eq!(entry.settings.extra_args, [] as [&str; 0]);
    let Outcome::Runs { entry, .. } =
        project.one("llamacpp", "model_path: models/one.gguf, flash_attn: false", &python)
    else {
        panic!("it runs")
    };
    assert_eq!((entry.settings.cache_type_k, entry.settings.cache_type_v), (CacheType::Q8_0, CacheType::F16));
    project.check_failed(
        "llamacpp",
        "model_path: models/one.gguf, model_type: rerank",
        &python,
        "model_type: rerank needs llama-server, which was not found; Python's server cannot",
    );
}

#[test]
fn the_mlx_server_is_told_its_own() {
    let project = Project::new();
    let entry = project.entry(
        "mlx",
        "model_path: mlx-community/Qwen3-8B, max_concurrency: 3, model_type: multimodal, enable_auto_tool_choice: true, \
         tool_call_parser: qwen3_coder",
    );
    let mlx = Mlx {
        model_type: "multimodal".into(),
        enable_auto_tool_choice: true,
        tool_call_parser: Some("qwen3_coder".into()),
        ..Mlx::default()
    };
    assert_eq!(entry.settings.adapter, Adapter::Mlx(mlx));
    assert_eq!((entry.settings.slots, entry.context_window), (Some(3), None));
    assert_eq!(entry.files, [PathBuf::from("mlx-community/Qwen3-8B")]);
    assert_eq!(project.entry("mlx", "model_path: models/mlx").files, [project.path("models/mlx")]);
}

#[test]
fn paths_are_found_beside_the_file_or_above() {
    let project = Project::new();
    let check = |written: &str, expected: &str| {
        assert_eq!(
            project.entry("llamacpp", &format!("model_path: {written}")).files,
            [project.path(expected)],
            "{written}"
        );
    };
    check("models/one.gguf", "models/one.gguf");
    check("near.gguf", "config/near.gguf");
    check("models/qwen", "models/qwen/A.gguf");
    check("gone.gguf", "config/gone.gguf");
    let absolute = project.path("models/one.gguf");
    check(absolute.to_str().unwrap(), "models/one.gguf");
    assert_eq!(project.entry("llamacpp", "model_path: ~/m.gguf").files, [PathBuf::from("/home/ada/m.gguf")]);
}

#[test]
fn an_entry_that_cannot_run_says_why() {
    let project = Project::new();
    let check = |kind: &str, fields: &str, expected: &str| project.check_failed(kind, fields, &all(), expected);
    check("llamacpp", "enabled: true", "model_path: is missing");
    check("llamacpp", "model_path: models/empty", "model_path: no .gguf file lies in models/empty");
    check("llamacpp", "model_path: /no/such/folder", "model_path: no such file or folder: /no/such/folder");
    check(
        "llamacpp",
        "model_path: mlx-community/Qwen3-8B",
        "model_path: `mlx-community/Qwen3-8B` is not on this machine; Hugging Face ids are for `backend: mlx`, llamacpp \
         needs a local path",
    );
    check("llamacpp", "model_path: \"a;b.gguf\"", "model_path: must not contain ';'");
    check("mlx", "model_path: \"$(x)/y\"", "model_path: must not contain '$'");
    check("mlx", "model_path: ./none", "model_path: no such file or folder: config/./none");
    check("mlx", "model_path: models/mlx, model_type: rerank", "model_type: rerank needs `backend: llamacpp`");
    let one = "model_path: models/one.gguf";
    check("llamacpp", &format!("{one}, cache_type_k: q9"), "cache_type_k: `q9` is no type of a KV cache");
    check(
        "llamacpp",
        &format!("{one}, chat_template_file: gone.jinja"),
        "chat_template_file: no such file: config/gone.jinja",
    );
    check("llamacpp", &format!("{one}, host: \"a_b\""), "host: `a_b` is no address of this machine");
    project.check_failed(
        "mlx",
        "model_path: models/mlx",
        &Programs::llama_server("/llama-server"),
        "backend: mlx-openai-server was not found on PATH; install it (Apple silicon only) or use llamacpp",
    );
    project.check_failed(
        "llamacpp",
        one,
        &Programs::default(),
        "backend: neither llama-server nor python was found on PATH; run the set-up or install llama.cpp",
    );
}

#[test]
fn an_id_means_what_its_enabled_entries_say() {
    let project = Project::new();
    let settled = project.settle(
        &[
            entry("one", "unique", 8501, ""),
            entry("old", "unique", 8501, ", enabled: false"),
            entry("two", "shared", 8502, ""),
            entry("three", "shared", 8503, ", replica: true"),
            entry("four", "spread", 8504, ", replica: true, preload: false"),
            entry("five", "spread", 8505, ", replica: true"),
            entry("broken", "spread", 8505, ", replica: true"),
            entry("six", "off", 8506, ", enabled: false"),
            entry("seven", "failed", 8501, ""),
        ],
        &all(),
    );
    let check = |id: &str, expected: Option<Meaning>| assert_eq!(settled.meaning(id), expected, "{id}");
    check("unique", Some(Meaning::Unique("unique".into())));
    check("shared", Some(Meaning::Ambiguous(vec!["two".into(), "three".into()])));
    check("spread", Some(Meaning::Replicas(vec!["spread@four".into(), "spread@five".into()])));
    check("off", Some(Meaning::Disabled));
    check("failed", Some(Meaning::Failed("seven: port: 8501 is the port of `one` already".into())));
    check("nobody", None);
    assert_eq!(settled.preloaded(), ["unique", "shared@two", "shared@three", "spread@five"]);
    let aliases: Vec<_> = settled.entries().map(|entry| entry.settings.alias.unwrap()).collect();
    assert_eq!(aliases, ["unique", "shared", "shared", "spread", "spread"], "answers name the id that was asked for");
}
