//! Configurations in, values or a report out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use types::{ByteCount, CacheType, Mode, Pooling};

use crate::*;

mod contract;
mod remote;

/// Sources with a home and nothing else.
fn bare() -> Sources {
    let environment = [("HOME".to_owned(), "/home/ada".to_owned())].into();
    Sources { environment, current_dir: PathBuf::from("/cwd"), ..Sources::default() }
}

/// A file of this name and text, in a folder of its own.
fn written(name: &str, text: &str) -> (tempfile::TempDir, Sources) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    (folder, Sources { file: Some(file), ..bare() })
}

/// What loading these sources reports, without the folder of the test.
fn report(sources: &Sources) -> String {
    let problems = Config::load(sources).expect_err("has problems").to_string();
    let folder = sources.file.as_deref().and_then(Path::parent).map(|path| format!("{}/", path.display()));
    folder.map_or(problems.clone(), |folder| problems.replace(&folder, ""))
}

fn load(text: &str) -> Config {
    let (_folder, sources) = written("snug.toml", text);
    Config::load(&sources).unwrap_or_else(|problems| panic!("{problems}"))
}

fn load_error(text: &str) -> String {
    let (_folder, sources) = written("snug.toml", text);
    report(&sources)
}

#[track_caller]
fn check_report(text: &str, expected: &str) {
    assert_eq!(load_error(text), expected, "{text}");
}

#[test]
fn nothing_written_gives_the_defaults() {
    let config = Config::load(&bare()).unwrap();
    assert_eq!((config.server.host.as_str(), config.server.port), ("0.0.0.0", 8787));
    assert_eq!(config.folders.data, Path::new("/home/ada/.local/share/snug"));
    assert_eq!(config.folders.models, Path::new("/home/ada/.local/share/snug/models"));
    assert_eq!(config.folders.hf_cache.as_deref(), Some(Path::new("/home/ada/.cache/huggingface/hub")));
    assert_eq!(config.node.idle_unload, IdleUnload::After(Duration::from_secs(900)));
    assert_eq!(config.engine.log_max_bytes, ByteCount::mib(8));
    assert_eq!(config.engine.prompt_cache, ByteCount::gib(2));
    assert_eq!(config.gateway, Gateway::default());
    assert_eq!(config.models, []);
}

#[test]
fn every_key_can_be_written() {
    let (folder, sources) = written(
        "snug.toml",
        r#"
        host = "127.0.0.1"
        port = 0
        ollama_port = 11434
        data_dir = "~/snug"
        models_dir = "weights"
        hf_cache = false
        memory = "24G"
        ram = 1073741824
        max_context = 4096
        max_loaded_models = 2
        idle_unload = "never"
        [engine]
        llama_server = "/opt/llama-server"
        slots = 8
        cache_type_k = "q8_0"
        restart_backoff = "1s 500ms"
        extra_args = ["--flash-attn", "on"]
        [gateway]
        max_body = "1M"
        max_wait = "90s"
        [logging]
        level = "warn,gateway=debug"
        format = "json"
        [[models]]
        path = "a.gguf"
        [[models]]
        id = "org/b"
        path = "/srv/b"
        mode = "embedding"
        pooling = "mean"
        context = 512
        embeddings = false
        pinned = true
        "#,
    );
    let config = Config::load(&sources).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((config.server.host.as_str(), config.server.port), ("127.0.0.1", 0));
    assert_eq!(config.server.ollama_port, Some(11434));
    assert_eq!(config.folders.data, Path::new("/home/ada/snug"));
    assert_eq!(config.folders.models, folder.path().join("weights"));
    assert_eq!(config.folders.hf_cache, None);
    assert_eq!((config.node.memory, config.node.ram), (Some(ByteCount::gib(24)), Some(ByteCount::gib(1))));
    assert_eq!((config.node.max_context, config.node.max_loaded_models), (Some(4096), 2));
    assert_eq!(config.node.idle_unload, IdleUnload::Never);
    assert_eq!(config.engine.llama_server.as_deref(), Some(Path::new("/opt/llama-server")));
    assert_eq!((config.engine.slots, config.engine.cache_type_k), (Some(8), CacheType::Q8_0));
    assert_eq!(config.engine.restart_backoff, Duration::from_millis(1500));
    assert_eq!(config.engine.extra_args, ["--flash-attn", "on"]);
    assert_eq!((config.gateway.max_body, config.gateway.max_wait), (ByteCount::mib(1), Duration::from_secs(90)));
    assert_eq!((config.logging.level.as_str(), config.logging.format), ("warn,gateway=debug", LogFormat::Json));
    assert_eq!(config.models[0], Model { path: folder.path().join("a.gguf"), ..Model::default() });
    let second = &config.models[1];
    assert_eq!((second.id.as_deref(), second.mode), (Some("org/b"), Some(Mode::Embedding)));
    assert_eq!((second.pooling, second.context), (Some(Pooling::Mean), Some(512)));
    assert!(second.pinned && !second.embeddings);
}

#[test]
fn every_problem_is_reported_at_once_with_its_place() {
    let (_folder, mut sources) = written(
        "snug.toml",
        r#"
prot = 8787
slots = 4
memory = "lots"
idle_unload = "soon"
[engine]
slots = 0
context = -1
cache_type_k = "q9"
port = 1
extra_args = ["--threads", "2", "--port", "-ngl=3"]
load_timeout = "0s"
[gateway]
max_body = 12
max_connections = 0
[logging]
level = "inof"
loud = true
[[models]]
id = "loaded"
path = 3
[[models]]
id = "a"
mode = "chat"
pooling = "rank"
slots = 64
context = 2147483647
[[models]]
id = "a"
path = "x.gguf"
"#,
    );
    sources.environment.insert("SNUG_MAX_CONTEXT".to_owned(), "8k".to_owned());
    sources.flags.port = Some("70000".to_owned());
    insta::assert_snapshot!(report(&sources), @r#"
    snug.toml:2: prot: unknown key; did you mean `port`?
    snug.toml:3: slots: unknown key; did you mean `slots` in [engine]?
    snug.toml:4: memory: must be a size, such as "24G" or "512M", is "lots"
    snug.toml:5: idle_unload: must be a time with its unit, such as "90s" or "10m", or "never", is "soon"
    snug.toml:7: engine.slots: must be 1 to 64, is 0
    snug.toml:8: engine.context: must be 0 or more, is -1
    snug.toml:9: engine.cache_type_k: must be one of f32, f16, bf16, q8_0, q4_0, q4_1, iq4_nl, q5_0, q5_1, is "q9"
    snug.toml:10: engine.port: unknown key; did you mean `port` at the top of the file, before any [table]?
    snug.toml:11: engine.extra_args: must not contain --port: snug chooses the engine's address itself
    snug.toml:11: engine.extra_args: must not contain -ngl: write `gpu_layers`
    snug.toml:12: engine.load_timeout: must be 1s to 7days, is 0s
    snug.toml:14: gateway.max_body: must be at least 1 KiB, is 12 B
    snug.toml:15: gateway.max_connections: must be 1 to 1000000, is 0
    snug.toml:17: logging.level: must be error, warn, info, debug, trace or off, alone or as `part=level`; "inof" is neither
    snug.toml:18: logging.loud: unknown key; known are level, format, directory, rotate_hour, retain_days
    snug.toml:20: models[0].id: "loaded" is a word of the API's own; choose another id
    snug.toml:21: models[0].path: must be a path in quotes, is 3
    snug.toml:23: models[1].path: is required: the model's file or folder
    snug.toml:25: models[1].pooling: may be rank only when mode is rerank; that is chat
    snug.toml:27: models[1].context: 64 slots of 2147483647 tokens are more than an engine can hold (2147483647 tokens in all)
    snug.toml:29: models[2].id: "a" is taken by models[1]; every id must be its own
    SNUG_MAX_CONTEXT: must be a whole number, is 8k
    --port: must be at most 65535, is 70000
    "#);
}

#[test]
fn prompts_are_kept_on_disk_in_earnest_or_not_at_all() {
    assert_eq!(load("[engine]\nprompt_cache = \"0\"").engine.prompt_cache, ByteCount::ZERO);
    assert_eq!(load("[engine]\nprompt_cache = \"10G\"").engine.prompt_cache, ByteCount::gib(10));
    let expected = "snug.toml:2: engine.prompt_cache: must be at least 16.0 MiB, is 2 B";
    check_report("[engine]\nprompt_cache = 2", expected);
}

#[test]
fn later_sources_win_and_are_blamed() {
    let (_folder, mut sources) = written("snug.toml", "port = 1\n[engine]\nslots = 2\n");
    assert_eq!(Config::load(&sources).unwrap().server.port, 1);
    sources.environment.insert("SNUG_PORT".to_owned(), "2".to_owned());
    assert_eq!(Config::load(&sources).unwrap().server.port, 2);
    sources.flags.port = Some("3".to_owned());
    assert_eq!(Config::load(&sources).unwrap().server.port, 3);

    sources.environment.insert("SNUG_SLOTS".to_owned(), "99".to_owned());
    assert_eq!(report(&sources), "SNUG_SLOTS: must be 1 to 64, is 99");
    sources.environment.insert("SNUG_SLOTS".to_owned(), String::new());
    assert_eq!(Config::load(&sources).unwrap().engine.slots, Some(2), "an empty variable is not set");
}

#[test]
fn every_variable_and_flag_reaches_its_key() {
    let mut sources = bare();
    for (variable, key) in variables() {
        sources.environment.insert(variable.to_owned(), "\u{1}".to_owned());
        let blamed = match Config::load(&sources) {
            Ok(_) => true,
            Err(problems) => {
                problems.0.iter().any(|problem| problem.place == Place::Variable(variable) && problem.key == key)
            }
        };
        assert!(blamed, "{variable}");
        sources.environment.remove(variable);
    }
    sources.flags = Flags {
        host: Some("localhost".into()),
        port: Some("0".into()),
        ollama_port: Some("11435".into()),
        data_dir: Some("data".into()),
        models_dir: Some("/m".into()),
        override_path: Some("added.json".into()),
        models_yaml: None,
        memory: Some("2G".into()),
        ram: Some("3G".into()),
        max_context: Some("100".into()),
        cpu_cores: Some("6".into()),
        simulate: Some("16 GB".into()),
        max_loaded_models: Some("1".into()),
        idle_unload: Some("5s".into()),
        insecure_lan: true,
        keep_engines: true,
        llama_server: Some("~/ls".into()),
        log_level: Some("debug".into()),
        log_format: Some("json".into()),
        models: vec!["a.gguf".into(), "/b.gguf".into()],
    };
    let config = Config::load(&sources).unwrap();
    assert_eq!((config.server.host.as_str(), config.server.port), ("localhost", 0));
    assert_eq!(config.server.ollama_port, Some(11435));
    assert_eq!((config.folders.data.to_str(), config.folders.models.to_str()), (Some("/cwd/data"), Some("/m")));
    assert_eq!(config.library.override_path.as_deref(), Some(Path::new("/cwd/added.json")));
    assert_eq!((config.node.memory, config.node.ram), (Some(ByteCount::gib(2)), Some(ByteCount::gib(3))));
    assert_eq!((config.node.max_context, config.node.max_loaded_models), (Some(100), 1));
    assert_eq!(config.node.idle_unload, IdleUnload::After(Duration::from_secs(5)));
    assert!(config.server.insecure_lan && config.node.keep_engines);
    assert_eq!(config.engine.llama_server.as_deref(), Some(Path::new("/home/ada/ls")));
    assert_eq!((config.logging.level.as_str(), config.logging.format), ("debug", LogFormat::Json));
    let paths: Vec<_> = config.models.iter().map(|model| model.path.to_str().unwrap()).collect();
    assert_eq!(paths, ["/cwd/a.gguf", "/b.gguf"]);
}

#[test]
fn broken_files_say_where() {
    check_report("port = \n", "snug.toml:1: string values must be quoted, expected literal string");
    check_report("engine = 3", "snug.toml:1: engine: must be a table: begin it with [engine]");
    check_report("models = 3", "snug.toml:1: models: must be a list of tables: begin each model with [[models]]");
    check_report(
        "models = [3]",
        "snug.toml:1: models[0]: must be a table: begin each model with [[models]]\nsnug.toml:1: models[0].path: is required: the model's file or folder",
    );
    let unlike = load_error("[gateway]\nzzzzzz = 3");
    assert!(unlike.starts_with("snug.toml:2: gateway.zzzzzz: unknown key; known are max_body, max_conn"), "{unlike}");
}

#[test]
fn a_named_file_must_exist_and_the_usual_one_need_not() {
    let mut sources = bare();
    sources.file = Some(PathBuf::from("/no/such.toml"));
    let report = Config::load(&sources).unwrap_err().to_string();
    assert!(report.starts_with("--config: cannot read /no/such.toml: "), "{report}");
    sources.file = None;
    sources.environment.insert("SNUG_CONFIG".to_owned(), "/no/such.toml".to_owned());
    let report = Config::load(&sources).unwrap_err().to_string();
    assert!(report.starts_with("SNUG_CONFIG: cannot read"), "{report}");

    let folder = tempfile::tempdir().unwrap();
    let xdg = ("XDG_CONFIG_HOME".to_owned(), folder.path().to_str().unwrap().to_owned());
    let mut sources = bare();
    sources.environment.extend([xdg]);
    assert_eq!(Config::load(&sources).unwrap().server.port, 8787);
    std::fs::create_dir(folder.path().join("snug")).unwrap();
    std::fs::write(folder.path().join("snug/snug.toml"), "port = 9").unwrap();
    assert_eq!(Config::load(&sources).unwrap().server.port, 9);
}

#[test]
fn a_models_yaml_is_read_wherever_it_is_named() {
    let entry = "{id: a, backend: mlx, port: 8501, default_timeout: 1, quantization: 8bit, model_path: org/name}";
    let (folder, mut sources) = written("snug.toml", "models_yaml = \"models.yaml\"");
    let yaml = folder.path().join("models.yaml");
    std::fs::write(&yaml, format!("models:\n  off: {entry}\n")).unwrap();
    let read = Config::load(&sources).unwrap().models_yaml;
    assert_eq!((&read.file, read.backends.len(), read.backends[0].role.as_str()), (&yaml, 1, "off"));

    std::fs::write(&yaml, "models:\n  off: {}\n  on: 3\n").unwrap();
    let expected = "models.yaml:2: models.off.id: is required\n\
                    models.yaml:2: models.off.backend: is required\n\
                    models.yaml:2: models.off.port: is required\n\
                    models.yaml:2: models.off.default_timeout: is required\n\
                    models.yaml:2: models.off.quantization: is required\n\
                    models.yaml:3: models.on: must be a mapping of fields, is 3";
    assert_eq!(report(&sources), expected);

    std::fs::remove_file(&yaml).unwrap();
    assert!(
        report(&sources).starts_with("snug.toml:1: models_yaml: cannot read models.yaml: "),
        "{}",
        report(&sources)
    );
    sources.environment.insert("SNUG_MODELS_YAML".to_owned(), "gone.yaml".to_owned());
    assert!(report(&sources).starts_with("SNUG_MODELS_YAML: cannot read /cwd/gone.yaml: "), "{}", report(&sources));
    sources.flags.models_yaml = Some("/gone.yaml".to_owned());
    assert!(report(&sources).starts_with("--models-yaml: cannot read /gone.yaml: "), "{}", report(&sources));
}

#[test]
fn json_has_the_same_keys_and_places() {
    let text = "{\n \"port\": 1,\n \"memory\": null,\n \"engine\": {\"extra_args\": [\"-t\", \"2\"]},\n \
                \"models\": [{\"path\": \"/m.gguf\"}]\n}";
    let (_folder, sources) = written("snug.json", text);
    let config = Config::load(&sources).unwrap();
    assert_eq!((config.server.port, config.engine.extra_args.len(), config.models.len()), (1, 2, 1));

    let text = "{\n \"port\": 1.5,\n \"engine\": {\n  \"slost\": 1\n }\n}";
    let (_folder, sources) = written("snug.json", text);
    insta::assert_snapshot!(report(&sources), @r#"
    snug.json:2: port: must be a whole number, is 1.5
    snug.json:4: engine.slost: unknown key; did you mean `slots`?
    "#);
    let (_folder, sources) = written("snug.json", "{\n \"port\": 1,\n \"port\": 2\n}");
    assert_eq!(report(&sources), "snug.json:3: duplicate key `port`");
    let (_folder, sources) = written("snug.json", "{\n \"port\": \n}");
    assert_eq!(report(&sources), "snug.json:3: expected value");
}

#[test]
fn folders_follow_the_environment() {
    let mut sources = bare();
    let check = |sources: &Sources, expected: &str| {
        let cache = Config::load(sources).unwrap().folders.hf_cache.unwrap();
        assert_eq!(cache, Path::new(expected));
    };
    sources.environment.insert("XDG_CACHE_HOME".to_owned(), "/c".to_owned());
    check(&sources, "/c/huggingface/hub");
    sources.environment.insert("HF_HOME".to_owned(), "~/hf".to_owned());
    check(&sources, "/home/ada/hf/hub");
    sources.environment.insert("HF_HUB_CACHE".to_owned(), "/h".to_owned());
    check(&sources, "/h");

    sources.environment.remove("HOME");
    let report = Config::load(&sources).unwrap_err().to_string();
    assert_eq!(report, "data_dir: has no default because HOME is not set; give a folder with --data-dir");
}

#[test]
fn the_example_says_nothing_but_the_defaults() {
    let text = example();
    for (variable, _) in variables() {
        assert!(text.contains(&format!("# Environment: {variable}.\n")), "{variable}");
    }
    assert_eq!(load(&text), Config::load(&bare()).unwrap());

    // Without the # before settings that show a default it still says the same.
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some("[[models]]") => line,
            Some(setting) if !setting.starts_with(' ') && !setting.contains("# an example") => setting,
            _ => line,
        })
        .take_while(|line| *line != "#[[models]]")
        .flat_map(|line| [line, "\n"])
        .collect();
    assert!(uncommented.contains("\nport = 8787\n") && uncommented.contains("\nmax_body = \"64M\"\n"), "{uncommented}");
    assert_eq!(load(&uncommented), Config::load(&bare()).unwrap());

    // Every example is a value that can be written; of a provider's key one place at a time.
    let everything: String = text
        .lines()
        .filter(|line| !line.starts_with("#api_key_env") && !line.starts_with("#api_key_file"))
        .map(|line| line.strip_prefix('#').filter(|setting| !setting.starts_with(' ')).unwrap_or(line))
        .flat_map(|line| [line, "\n"])
        .collect();
    let (folder, sources) = written("snug.toml", &everything);
    std::fs::create_dir(folder.path().join("config")).unwrap();
    std::fs::write(folder.path().join("config/models.yaml"), "models: {}").unwrap();
    let config = Config::load(&sources).unwrap();
    assert_eq!((config.models.len(), config.providers.len(), config.routes.len()), (1, 1, 1));
}
