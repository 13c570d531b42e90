//! Files of the model server's contract, in the three languages, and what is wrong with them.

use types::Backend;

use super::*;

/// The example of the contract's section 2, as it stands there.
const EXAMPLE: &str = r#"{
    "host": "0.0.0.0",
    "port": 8080,
    "model_config_paths": ["config"],
    "models_dir": "/models",
    "default_model": "",
    "default_variant": "",
    "override_path": "",
    "ram_budget_mb": 0,
    "max_concurrent_downloads": 2,
    "storage": {
        "limit": "0",
        "cleanup_enabled": true,
        "cleanup_max_age_days": 30,
        "cleanup_interval_hours": 24
    },
    "hardware": {
        "vram_overrides": {
            "0": 32000
        },
        "default_backend_priority": ["vulkan"]
    },
    "logging": {
        "level": "info",
        "directory": "",
        "rotate_hour": 0,
        "retain_days": 7
    }
}
"#;

const EXAMPLE_TOML: &str = r#"
host = "0.0.0.0"
port = 8080
model_config_paths = ["config"]
models_dir = "/models"
default_model = ""
default_variant = ""
override_path = ""
ram_budget_mb = 0
max_concurrent_downloads = 2
[storage]
limit = "0"
cleanup_enabled = true
cleanup_max_age_days = 30
cleanup_interval_hours = 24
[hardware]
vram_overrides = { 0 = 32000 }
default_backend_priority = ["vulkan"]
[logging]
level = "info"
directory = ""
rotate_hour = 0
retain_days = 7
"#;

const EXAMPLE_YAML: &str = r#"
host: 0.0.0.0
port: 8080
model_config_paths:
  - config
models_dir: /models
default_model: ""
default_variant:
override_path: ~
ram_budget_mb: 0
max_concurrent_downloads: 2
storage:
  limit: 0
  cleanup_enabled: true
  cleanup_max_age_days: 30
  cleanup_interval_hours: 24
hardware:
  vram_overrides: { 0: 32000 }
  default_backend_priority: [vulkan]
logging:
  level: info
  directory: ''
  rotate_hour: 0
  retain_days: 7
"#;

fn load_file(name: &str, text: &str) -> Config {
    let (folder, sources) = written(name, text);
    let mut config = Config::load(&sources).unwrap_or_else(|problems| panic!("{problems}"));
    for path in &mut config.library.model_config_paths {
        *path = path.strip_prefix(folder.path()).unwrap().to_owned();
    }
    config
}

/// What is wrong with each of several files, a line for each problem.
fn reports(name: &str, texts: &[&str]) -> String {
    let of = |text: &&str| {
        let (_folder, sources) = written(name, text);
        report(&sources)
    };
    texts.iter().map(of).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_contract_s_example_is_read_unchanged_in_three_languages() {
    let defaults = Config::load(&bare()).unwrap();
    let expected = Config {
        server: Server { port: 8080, ..defaults.server },
        folders: Folders { models: "/models".into(), ..defaults.folders },
        library: Library { model_config_paths: vec!["config".into()], ..defaults.library },
        hardware: Hardware {
            vram_overrides: [(0, 32000)].into(),
            default_backend_priority: vec![Backend::Vulkan],
        },
        ..defaults
    };
    // What it gives besides are our own defaults too.
    assert_eq!(load_file("server_config.json", EXAMPLE), expected);
    assert_eq!(load_file("server_config.toml", EXAMPLE_TOML), expected);
    assert_eq!(load_file("server_config.yaml", EXAMPLE_YAML), expected);
    assert_eq!(load_file("server_config.yml", EXAMPLE), expected, "JSON is YAML");
}

#[test]
fn every_value_of_the_contract_is_understood() {
    let config = load_file(
        "server_config.json",
        r#"{ // where
            "host": "127.0.0.1", /* this machine
            only */ "port": 9000,
            "model_config_paths": ["a", "b.json",],
            "default_model": "qwen2.5-7b-instruct", "default_variant": "Q4_K_M",
            "override_path": "/data/runtime // models.json",
            "ram_budget_mb": 4096, "max_concurrent_downloads": 1,
            "storage": {"limit": "1.5g", "cleanup_enabled": false, "cleanup_max_age_days": 1, "cleanup_interval_hours": 1},
            "hardware": {"vram_overrides": {"1": 8192, "0": 1}, "default_backend_priority": ["hip", "cpu"]},
            "logging": {"level": "warning,node=critical", "directory": "/var/log/snug", "rotate_hour": 23, "retain_days": 1},
        }"#,
    );
    let Config { server, library, node, storage, hardware, logging, .. } = config;
    assert_eq!((server.host.as_str(), server.port), ("127.0.0.1", 9000));
    assert_eq!(library.model_config_paths, [Path::new("a"), Path::new("b.json")]);
    assert_eq!(library.default_model.as_deref(), Some("qwen2.5-7b-instruct"));
    assert_eq!(library.default_variant.as_deref(), Some("Q4_K_M"));
    assert_eq!(library.override_path.as_deref(), Some(Path::new("/data/runtime // models.json")));
    assert_eq!((node.ram_budget_mb, library.max_concurrent_downloads), (4096, 1));
    assert_eq!(storage.limit.bytes(), Some(ByteCount::mib(1536)));
    assert_eq!((storage.cleanup_enabled, storage.cleanup_max_age_days, storage.cleanup_interval_hours), (false, 1, 1));
    assert_eq!(hardware.vram_overrides, [(0, 1), (1, 8192)].into());
    assert_eq!(hardware.default_backend_priority, [Backend::Rocm, Backend::of_this_cpu()]);
    assert_eq!(logging.level.as_str(), "warn,node=error");
    assert_eq!((logging.rotate_hour, logging.retain_days), (23, 1));
    assert_eq!(logging.directory.as_deref(), Some(Path::new("/var/log/snug")));
}

#[test]
fn sizes_of_the_limit() {
    for (written, expected) in [
        ("\"50G\"", Some(ByteCount::gib(50))),
        ("\"500M\"", Some(ByteCount::mib(500))),
        ("\"2048k\"", Some(ByteCount::mib(2))),
        ("\"0.5T\"", Some(ByteCount::gib(512))),
        ("1073741824", Some(ByteCount::gib(1))),
        ("\"0\"", None),
        ("0", None),
        ("\"\"", None),
    ] {
        let config = load(&format!("[storage]\nlimit = {written}"));
        assert_eq!(config.storage.limit.bytes(), expected, "{written}");
    }
}

#[test]
fn bounds_are_told_with_their_places() {
    let text = r#"{
        "cors_origins": ["*", "https://a.example/path"],
        "model_config_paths": ["config", 3],
        "default_model": "a b", "default_variant": "x/y",
        "ram_budget_mb": -1,
        "max_concurrent_downloads": 0,
        "storage": {
            /* one
               two */
            "limit": "50X",
            "cleanup_max_age_days": 0,
            "cleanup_interval_hours": 0
        },
        "hardware": {
            "vram_overrides": {
                "0": 0, // nothing
                "first": 1,
                "99": 1
            },
            "default_backend_priority": ["cuda", "opencl"]
        },
        "logging": {
            "level": "loud",
            "directory": 3,
            "rotate_hour": 24,
            "retain_days": 0
        }
    }"#;
    insta::assert_snapshot!(reports("s.json", &[text]), @r#"
    s.json:2: cors_origins: must be "*" or sites such as "https://example.org:8443", without a path; "https://a.example/path" is neither
    s.json:3: model_config_paths: must be a path in quotes, is 3
    s.json:4: default_model: must be a model's name without blanks
    s.json:4: default_variant: must be a variant's name, such as "Q4_K_M"
    s.json:5: ram_budget_mb: must be 0 or more, is -1
    s.json:6: max_concurrent_downloads: must be 1 to 64, is 0
    s.json:10: storage.limit: must be a size, such as "24G" or "512M", or "0" for no limit, is "50X"
    s.json:11: storage.cleanup_max_age_days: must be 1 to 3650, is 0
    s.json:12: storage.cleanup_interval_hours: must be 1 to 87600, is 0
    s.json:16: hardware.vram_overrides.0: must be 1 to 4194304, is 0
    s.json:17: hardware.vram_overrides.first: must have a whole number as its key, has `first`
    s.json:18: hardware.vram_overrides.99: is no number of an accelerator; they are 0 to 63
    s.json:20: hardware.default_backend_priority: must be one of cuda, rocm, hip, metal, vulkan, sycl, ascend, cpu, is "opencl"
    s.json:23: logging.level: must be error, warn, info, debug, trace or off, alone or as `part=level`; "loud" is neither
    s.json:24: logging.directory: must be a path in quotes, is 3
    s.json:25: logging.rotate_hour: must be 0 to 23, is 24
    s.json:26: logging.retain_days: must be 1 to 3650, is 0
    "#);
    let text = "[hardware]\n[hardware.vram_overrides]\n0 = 1\n1 = 99999999\n[storage]\nlimit = \"1K\"";
    insta::assert_snapshot!(reports("s.toml", &[text]), @r#"
    s.toml:4: hardware.vram_overrides.1: must be 1 to 4194304, is 99999999
    s.toml:6: storage.limit: must be at least 1.0 MiB, is 1 KiB
    "#);
    let mut sources = bare();
    sources.environment.insert("SNUG_STORAGE_LIMIT".to_owned(), "much".to_owned());
    sources.environment.insert("SNUG_MAX_CONCURRENT_DOWNLOADS".to_owned(), "65".to_owned());
    insta::assert_snapshot!(report(&sources), @r#"
    SNUG_STORAGE_LIMIT: must be a size, such as "24G" or "512M", or "0" for no limit, is much
    SNUG_MAX_CONCURRENT_DOWNLOADS: must be 1 to 64, is 65
    "#);
}

#[test]
fn comments_keep_the_lines() {
    let deep = format!("{{\"models\": {}1{}}}", "[".repeat(40_000), "]".repeat(40_000));
    let texts = [
        "{\n /* a\n b\n c */ \"port\": \"x\" }",
        "{ // }\n \"port\": 1,\n # }\n \"prot\": 2, }",
        "{\n \"port\": /1\n}",
        "{\n /* a\n b */ \"port\": }",
        "{\n /* never ended\n \"port\": 1 }",
        "{\n \"port\": 1,, }",
        &deep,
    ];
    insta::assert_snapshot!(reports("s.json", &texts), @r#"
    s.json:4: port: must be a whole number, is "x"
    s.json:4: prot: unknown key; did you mean `port`?
    s.json:2: a comment begins with // or /*, not with a single /
    s.json:3: expected value
    s.json:3: EOF while parsing an object
    s.json:2: key must be a string
    s.json:1: is nested more than 32 deep
    "#);
}

#[test]
fn yaml_is_read_by_its_own_rules() {
    let config = load_file(
        "s.yaml",
        "%YAML 1.2\n---\n# where\nport: 0x10\n\"hf_cache\": False\nmemory: 24G\nengine: &usual\n  slots: +4\n  extra_args: [\"-t\", '2']\n\
         models:\n- path: /m.gguf\n  slots: 2\n- {path: &file /n.gguf, pinned: true}\n- id: third\n  path: *file\n...\n",
    );
    assert_eq!((config.server.port, config.folders.hf_cache.clone()), (16, None));
    assert_eq!((config.node.memory, config.engine.slots), (Some(ByteCount::gib(24)), Some(4)));
    assert_eq!(config.engine.extra_args, ["-t", "2"]);
    let paths: Vec<_> = config.models.iter().map(|model| model.path.to_str().unwrap()).collect();
    assert_eq!(paths, ["/m.gguf", "/n.gguf", "/n.gguf"]);
    assert_eq!(load_file("empty.yaml", "# nothing\n"), Config::load(&bare()).unwrap());

    let text = "port: 1.5\nhf_cache: yes\nengine:\n  slost: 1\n  context: -1\nlogging: [a]\n";
    insta::assert_snapshot!(reports("s.yaml", &[text]), @r#"
    s.yaml:1: port: must be a whole number, is 1.5
    s.yaml:2: hf_cache: must be true or false, is "yes"
    s.yaml:4: engine.slost: unknown key; did you mean `slots`?
    s.yaml:5: engine.context: must be 0 or more, is -1
    s.yaml:6: logging: must be a table: begin it with [logging]
    "#);
}

#[test]
fn yaml_that_is_broken_or_hostile_says_where() {
    let laughs: String = (0..9)
        .map(|level| {
            let inner = if level == 0 { "x".to_owned() } else { format!("*l{}", level - 1) };
            format!("l{level}: &l{level} [{}]\n", [inner.as_str(); 9].join(", "))
        })
        .collect();
    let texts = [
        "port: 1\nhost: a\nport: 2\n",
        "port: 1\n---\nport: 2\n",
        "- port\n",
        "port: [1\n",
        "host: b: c\n",
        "port: !!binary x\n",
        "port: *nowhere\n",
        "models: &all\n- *all\n",
        "? [a, b]\n: 1\n",
        &"- ".repeat(40_000),
        &"[".repeat(40_000),
        &laughs,
    ];
    insta::assert_snapshot!(reports("s.yaml", &texts), @r#"
    s.yaml:3: duplicate key `port`
    s.yaml:2: must be one document; a second one begins here
    s.yaml:1: must be a mapping of keys and values
    s.yaml:2: while parsing a flow sequence, expected ',' or ']'
    s.yaml:1: mapping values are not allowed in this context
    s.yaml:1: the tag tag:yaml.org,2002:!binary means nothing here; leave it out
    s.yaml:1: while parsing node, found unknown anchor
    s.yaml:2: an alias must not stand inside of what it names
    s.yaml:1: a key must be a text or a number
    s.yaml:1: is nested more than 32 deep
    s.yaml:1: recursion limit exceeded
    s.yaml:5: has more than 100000 values, copies by aliases counted
    "#);
}
