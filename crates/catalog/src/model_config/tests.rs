//! What people write about their models, and what is read, merged, shown and refused of it.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use types::{ByteCount, CacheType, Mode, Provider};

use super::*;

const SUM: &str = "B179C9523D0E6A0F98A330C7562B682750A6F8C8C15E5BC70EA373728110DB53";

fn config(written: Value) -> ModelConfig {
    ModelConfig::new(&written).unwrap_or_else(|problems| panic!("{written}: {problems}"))
}

/// A config of the mock provider with one more field.
fn with(field: &str, value: Value) -> Value {
    json!({ "model": "m", "provider": "mock", field: value })
}

/// What is said of a config, problem by problem; empty if it is sound.
#[track_caller]
fn check(written: Value, expected: &[&str]) {
    let told: Vec<String> = match ModelConfig::new(&written) {
        Ok(_) => vec![],
        Err(problems) => problems.iter().map(Problem::to_string).collect(),
    };
    assert_eq!(told, expected, "{written}");
}

#[track_caller]
fn check_field(field: &str, value: Value, reason: &str) {
    check(with(field, value), &[&format!("{field} {reason}")]);
}

#[track_caller]
fn check_variants(variants: Value, expected: &[&str]) {
    check(with("variants", variants), expected);
}

#[test]
fn the_contracts_examples_are_sound() {
    let openai = config(json!({
        "model": "gpt-4o-mini", "provider": "openai", "ranking": 80, "max_tokens": 16384, "context_window": 128000,
        "pricing": { "prompt_token_cost": 0.00015, "completion_token_cost": 0.0006 },
    }));
    assert_eq!((openai.name(), openai.provider(), openai.mode()), ("gpt-4o-mini", Provider::OpenAi, Mode::Chat));
    assert_eq!((openai.ranking(), openai.context_window(), openai.max_tokens()), (80, Some(128_000), Some(16384)));
    assert_eq!((openai.max_input_tokens(), openai.variants()), (None, &[][..]));
    assert_eq!(
        openai.to_shown_json(),
        json!({
            "model": "gpt-4o-mini", "provider": "openai", "mode": "chat", "ranking": 80, "context_window": 128000,
            "max_tokens": 16384, "max_input_tokens": 3072, "max_output_tokens": 1024,
            "pricing": { "prompt_token_cost": 0.00015, "completion_token_cost": 0.0006 },
        })
    );
    let local = config(json!({
        "model": "my-qwen-7b", "provider": "llama", "file_path": "/models/Qwen2.5-7B-Instruct-Q4_K_M.gguf",
        "context_window": 32768,
        "variants": [{
            "quantization": "Q4_K_M", "file_size_mb": 4680, "min_vram_mb": 5120,
            "download": { "url": "https://example.org/q/resolve/main/Qwen-Q4_K_M.gguf", "sha256": SUM, "filename": "Q.gguf" },
        }],
    }));
    assert_eq!(local.file_path(), Some("/models/Qwen2.5-7B-Instruct-Q4_K_M.gguf"));
    let [variant] = local.variants() else { panic!("one variant: {:?}", local.variants()) };
    assert_eq!(variant.quantization.as_str(), "Q4_K_M");
    assert_eq!(variant.file_size, Some(ByteCount::mib(4680)));
    assert_eq!((variant.min_vram, variant.recommended_vram), (Some(ByteCount::mib(5120)), None));
    let file = &variant.files[0];
    assert_eq!((file.filename.as_str(), file.sha256.as_deref()), ("Q.gguf", Some(SUM.to_lowercase().as_str())));
}

#[test]
fn name_and_provider_must_be_there() {
    const PROVIDERS: &str = "one of these: openai, anthropic, deepseek, openrouter, llama, mock";
    let required = format!("provider is required; {PROVIDERS}");
    check(json!({}), &["model is required", &required]);
    check(json!({ "model": null, "provider": null }), &["model is required", &required]);
    check(json!({ "model": "m", "provider": "acme" }), &[&format!("provider must be {PROVIDERS}, is \"acme\"")]);
    check(
        json!({ "model": 5, "provider": [] }),
        &["model must be text, is 5", &format!("provider must be {PROVIDERS}, is a list")],
    );
    check(json!([1]), &["must be a JSON object with `model` and `provider`, is a list"]);
    for provider in Provider::ALL {
        check(json!({ "model": "m", "provider": provider.as_str() }), &[]);
    }
}

#[test]
fn names_keep_clear_of_paths() {
    let fine = [
        "m",
        "gpt-4o-mini",
        "Qwen/Qwen3-8B",
        "a:b",
        "größe",
        "a.b",
        "x/load",
        "download",
        "files",
        "variants",
        "pin",
        "a/variants",
        "variants/b",
        "a/variants/b/c",
        "loaded/x",
        "x/loaded",
        "x/config",
        "configs",
        "a%2Fb",
        "...",
    ];
    for name in fine {
        check_name(name).unwrap_or_else(|reason| panic!("{name}: {reason}"));
    }
    check_name(&"n".repeat(200)).unwrap();
    let refused = [
        ("", "must have 1 to 200 bytes, has 0"),
        ("a b", "must not hold blanks or control characters"),
        ("a\u{a0}b", "must not hold blanks or control characters"),
        ("a\0", "must not hold blanks or control characters"),
        ("a?b", "must not hold `?`"),
        ("a#b", "must not hold `#`"),
        ("a\\b", "must not hold `\\`"),
        ("/a", "must not have an empty part, `.` or `..` between its slashes"),
        ("a/", "must not have an empty part, `.` or `..` between its slashes"),
        ("a//b", "must not have an empty part, `.` or `..` between its slashes"),
        ("../b", "must not have an empty part, `.` or `..` between its slashes"),
        (".", "must not have an empty part, `.` or `..` between its slashes"),
        ("loaded", "must not be `loaded`: that is a route of its own"),
        ("config", "must not be `config` or begin with `config/`: those are routes of their own"),
        ("config/a", "must not be `config` or begin with `config/`: those are routes of their own"),
        ("a/variants/b", "must not have `variants` as its last but one part: that names a variant"),
    ];
    for (name, reason) in refused {
        assert_eq!(check_name(name), Err(reason.to_owned()), "{name:?}");
        check(json!({ "model": name, "provider": "mock" }), &[&format!("model {reason}")]);
    }
    check_name(&"n".repeat(201)).unwrap_err();
}

#[test]
fn every_field_has_its_type_and_range() {
    const TOKENS: &str = "must be a whole number of tokens from 1 to 2147483647, is";
    for ranking in [json!(0), json!(100), json!(50.0)] {
        check(with("ranking", ranking), &[]);
    }
    check_field("ranking", json!(101), "must be a whole number from 0 to 100, is 101");
    check_field("ranking", json!(-1), "must be a whole number from 0 to 100, is -1");
    check_field("ranking", json!(1.5), "must be a whole number from 0 to 100, is 1.5");
    check_field("ranking", json!("high"), "must be a whole number from 0 to 100, is \"high\"");
    check_field("mode", json!("paint"), "must be one of these: chat, embedding, embeddings, rerank, is \"paint\"");
    for field in ["context_window", "max_tokens", "max_input_tokens", "max_output_tokens"] {
        check(with(field, json!(1)), &[]);
        check_field(field, json!(0), &format!("{TOKENS} 0"));
        check_field(field, json!(-5), &format!("{TOKENS} -5"));
        check_field(field, json!(1u64 << 31), &format!("{TOKENS} 2147483648"));
        check_field(field, json!(1e300), &format!("{TOKENS} 1e+300"));
        check_field(field, json!({}), &format!("{TOKENS} an object"));
    }
    check_field("file_path", json!(7), "must be text, is 7");
    check_field("file_path", json!("a\0b"), "must be a path of at most 4096 bytes without control characters");
    check_field("pricing", json!(3), "must be an object, is 3");
    check(
        with("pricing", json!({ "prompt_token_cost": -1, "completion_token_cost": "free" })),
        &[
            "pricing.prompt_token_cost must be a price of 0 or above, is -1",
            "pricing.completion_token_cost must be a price of 0 or above, is \"free\"",
        ],
    );
    check(with("hardware_requirements", json!({ "min_system_ram_mb": 8192, "parameter_count": "7B" })), &[]);
    check(
        with("hardware_requirements", json!({ "min_system_ram_mb": -1, "parameter_count": [] })),
        &[
            "hardware_requirements.parameter_count must be text such as \"7B\" or a number of 0 or above, is a list",
            "hardware_requirements.min_system_ram_mb must be a number of MiB, 0 or above, is -1",
        ],
    );
    check(
        with("context_scaling", json!({ "base_context": 4096, "max_context": 2048 })),
        &["context_scaling.max_context must be at least base_context (4096), is 2048"],
    );
    check(
        with("context_scaling", json!({ "base_context": 0, "vram_per_1k_context_mb": -2 })),
        &[
            &format!("context_scaling.base_context {TOKENS} 0"),
            "context_scaling.vram_per_1k_context_mb must be a number of MiB, 0 or above, is -2",
        ],
    );
    check_field("examples_as_sys_msg", json!("yes"), "must be true or false, is \"yes\"");
    check_field("backend_priority", json!(["vulkan", 1]), "must be a list of texts, is a list");
    check_field("disabled_backends", json!("hip"), "must be a list of texts, is \"hip\"");
    check_field("compatibility", json!([]), "must be an object, is a list");
    check_field("version", json!("1\n2"), "must be one line of at most 1000 bytes");
    check_field("variants", json!({}), "must be a list of objects, is an object");
    check_field("api_key", json!(["planted-secret"]), "must be text");
    check_field("api_key", json!("planted\nsecret"), "must not hold control characters");
}

#[test]
fn addresses_are_of_the_web_and_hold_no_credentials() {
    const FORM: &str = "must be an address that begins with http:// or https:// and names a host";
    for url in [
        "http://localhost",
        "https://api.openai.com/v1",
        "HTTPS://x/y?z#f",
        "http://127.0.0.1:8080/v1",
        "http://[::1]:80/",
        "http://[::1]",
    ] {
        check(with("api_base", json!(url)), &[]);
    }
    for (url, reason) in [
        ("", "must be an address that begins with http:// or https:// and names a host, is empty"),
        ("ftp://host/x", FORM),
        ("file:///etc/passwd", FORM),
        ("host/x", FORM),
        ("http:/host", FORM),
        ("http://", FORM),
        ("http:///x", FORM),
        ("http://:80/", FORM),
        ("http://[::1", FORM),
        ("https://user:planted@host/x", "must hold no name or password before the host"),
        ("http://host:port/", "must have a port from 0 to 65535 after its host, if any"),
        ("http://host:99999/", "must have a port from 0 to 65535 after its host, if any"),
        ("http://[::1]x/", "must have a port from 0 to 65535 after its host, if any"),
        ("http://ho st/", "must be an address of at most 4096 bytes without blanks, backslashes or control characters"),
        (
            "http://h\\@evil/",
            "must be an address of at most 4096 bytes without blanks, backslashes or control characters",
        ),
    ] {
        if !url.is_empty() {
            check_field("api_base", json!(url), reason);
        }
        check_variants(
            json!([{ "download": { "url": url, "filename": "f.gguf" } }]),
            &[&format!("variants[0].download.url {reason}")],
        );
    }
}

#[test]
fn variants_say_all_that_is_wrong() {
    check_variants(
        json!([
            { "quantization": "Q4_K_M", "file_size_mb": 1.5, "min_vram_mb": 0 },
            { "quantization": "q4_k_m", "file_size_mb": -5, "min_vram_mb": "much", "recommended_vram_mb": -1 },
            7,
            { "quantization": "a/b" },
            { "quantization": "Q8_0", "download": { "filename": "../x" }, "files": [{ "url": "http://h/a", "sha256": "12" }, {}] },
        ]),
        &[
            "variants[1].file_size_mb must be a number of MiB above 0, is -5",
            "variants[1].min_vram_mb must be a number of MiB, 0 or above, is \"much\"",
            "variants[1].recommended_vram_mb must be a number of MiB, 0 or above, is -1",
            "variants[1].quantization must differ from that of variants[0], is \"q4_k_m\"",
            "variants[2] must be an object, is 7",
            "variants[3].quantization must be a name such as Q4_K_M, of at most 100 bytes, without blanks and `/?#\\:`",
            "variants[4].download.url is required",
            "variants[4].download.filename must be a plain file name, without folders",
            "variants[4].files[0].sha256 must be 64 hexadecimal digits, or empty",
            "variants[4].files[1].url is required",
        ],
    );
    check_variants(json!([{}, {}]), &["variants[1].quantization is required: variants[0] has no name already"]);
    check_variants(
        json!([{ "files": [{ "url": "http://h/a.gguf" }, { "url": "http://h/b", "filename": "A.gguf" }] }]),
        &["variants[0].files[1].filename must differ from that of files[0]"],
    );
    // Nothing is as good as not written.
    check(with("api_base", json!("")), &[]);
    check(with("file_path", json!("")), &[]);
    check_variants(json!([{ "quantization": "Q8_0", "download": null, "file_size_mb": null }]), &[]);
    check(with("variants", json!([])), &[]);
}

#[test]
fn file_names_are_plain() {
    let url = "https://h/x/Model-Q4_0.gguf?download=true";
    let download = |filename: &str| json!([{ "download": { "url": url, "filename": filename, "sha256": "" } }]);
    for name in ["m.gguf", "größe 7.gguf", "a..b"] {
        check_variants(download(name), &[]);
    }
    for (name, reason) in [
        ("", "must be a file's name of 1 to 255 bytes without control characters"),
        ("a\nb", "must be a file's name of 1 to 255 bytes without control characters"),
        ("a/b", "must be a plain file name, without folders"),
        ("a\\b", "must be a plain file name, without folders"),
        ("..", "must not begin with a dot"),
        (".m.gguf", "must not begin with a dot"),
        ("m.Partial", "must not end in .partial: unfinished downloads are called so"),
    ] {
        check_variants(download(name), &[&format!("variants[0].download.filename {reason}")]);
    }
    // Where none is written, the address says it.
    let config = config(with("variants", json!([{ "download": { "url": url } }])));
    assert_eq!(config.variants()[0].files[0].filename, "Model-Q4_0.gguf");
    for url in ["https://h", "https://h/", "https://h/x/", "https://h/..", "https://h/?f=m.gguf"] {
        check_variants(
            json!([{ "download": { "url": url } }]),
            &["variants[0].download.filename is required where the address does not end in a file's name"],
        );
    }
}

/// `QUANTIZATION: file, file + projector`, a line for each variant.
#[track_caller]
fn check_files(written: Value, expected: &[&str]) {
    let config = config(written);
    let line = |variant: &VariantConfig| {
        let files: Vec<&str> = variant.files.iter().map(|file| file.filename.as_str()).collect();
        let projector = variant.mmproj.as_ref().map(|file| format!(" + {}", file.filename)).unwrap_or_default();
        format!("{}: {}{projector}", variant.quantization, files.join(", "))
    };
    assert_eq!(config.variants().iter().map(line).collect::<Vec<_>>(), expected);
}

#[test]
fn a_variant_is_made_of_files() {
    let file = |name: &str| json!({ "url": format!("https://h/{name}"), "filename": name });
    check_files(
        with(
            "variants",
            json!([
                { "quantization": "Q4", "download": file("a.gguf") },
                { "quantization": "Q8", "files": [file("a-1.gguf"), file("a-2.gguf"), file("MMPROJ-a.gguf")] },
                { "quantization": "F16", "download": file("one.gguf"), "mmproj": file("mmproj-f16.gguf"),
                  "files": [file("mmproj-other.gguf")] },
                { "quantization": "F32", "download": file("whole.gguf"), "files": [file("s-1.gguf"), file("s-2.gguf")] },
                { "quantization": "Q2" },
            ]),
        ),
        &[
            "Q4: a.gguf",
            "Q8: a-1.gguf, a-2.gguf + MMPROJ-a.gguf",
            "F16: one.gguf + mmproj-f16.gguf",
            "F32: s-1.gguf, s-2.gguf",
            "Q2: ",
        ],
    );
    // A projector listed as if it were a variant belongs to those that have none.
    check_files(
        with(
            "variants",
            json!([
                { "quantization": "mmproj", "download": file("mmproj-x.gguf") },
                { "quantization": "Q4", "download": file("a.gguf") },
                { "quantization": "Q8", "download": file("b.gguf"), "mmproj": file("own-mmproj.gguf") },
            ]),
        ),
        &["Q4: a.gguf + mmproj-x.gguf", "Q8: b.gguf + own-mmproj.gguf"],
    );
    // A download of the model itself.
    let download = json!({ "url": "https://h/x/Small-Q4_K_M.gguf", "cachePath": "/cache" });
    check_files(with("download", download.clone()), &["Q4_K_M: Small-Q4_K_M.gguf"]);
    check_files(with("download", json!({ "url": "" , "sha256": "" })), &[]);
    check_files(
        json!({ "model": "m", "provider": "llama", "download": download, "variants": [{ "quantization": "Q8" }] }),
        &["Q8: "],
    );
}

#[test]
fn runtime_options_have_types() {
    let written = json!({
        "flash_attn": "on", "kv_cache_type_k": "q8_0", "kv_cache_type_v": "f16", "n_gpu_layers": 99, "no_mmap": true,
        "swa_full": false, "override_tensor": "exps=CPU", "reasoning_budget": -1, "vulkan_no_host_visible_vram": true,
    });
    let expected = RuntimeOptions {
        flash_attn: Some(true),
        kv_cache_type_k: Some(CacheType::Q8_0),
        kv_cache_type_v: Some(CacheType::F16),
        n_gpu_layers: Some(99),
        no_mmap: Some(true),
        swa_full: Some(false),
        override_tensor: Some("exps=CPU".to_owned()),
    };
    assert_eq!(RuntimeOptions::read(&written), Ok(expected.clone()));
    assert_eq!(config(with("runtime_options", written)).runtime_options(), &expected);
    let nothing = json!({ "flash_attn": "auto", "n_gpu_layers": -1, "override_tensor": "", "unheard_of": 1 });
    assert_eq!(RuntimeOptions::read(&nothing), Ok(RuntimeOptions::default()));
    let load = RuntimeOptions { flash_attn: Some(false), ..RuntimeOptions::default() };
    assert_eq!(load.or(&expected), RuntimeOptions { flash_attn: Some(false), ..expected });

    let wrong = json!({ "flash_attn": "maybe", "kv_cache_type_v": "q9", "n_gpu_layers": -2, "no_mmap": 1 });
    assert_eq!(
        RuntimeOptions::read(&wrong).unwrap_err().within("runtime_options").to_string(),
        "runtime_options.flash_attn must be true, false or one of these: on, off, auto, is \"maybe\"; \
         runtime_options.kv_cache_type_v must be one of these: f32, f16, bf16, q8_0, q4_0, q4_1, iq4_nl, q5_0, q5_1, \
         is \"q9\"; \
         runtime_options.n_gpu_layers must be a whole number of -1 or above, is -2; \
         runtime_options.no_mmap must be true or false, is 1"
    );
    let within = ModelConfig::new(&with("runtime_options", wrong.clone())).unwrap_err();
    assert_eq!(within, RuntimeOptions::read(&wrong).unwrap_err().within("runtime_options"));
    assert_eq!(RuntimeOptions::read(&json!(3)).unwrap_err().to_string(), "must be an object, is 3");
}

/// What is written after a patch.
#[track_caller]
fn check_merge(written: Value, patch: Value, expected: Value) {
    let merged = config(written.clone()).merged(&patch).unwrap_or_else(|problems| panic!("{patch}: {problems}"));
    assert_eq!(merged.to_file_json(), expected, "{written} with {patch}");
    assert_eq!(merged.merged(&patch).as_ref(), Ok(&merged), "twice is once");
}

#[test]
fn a_merge_changes_what_it_names() {
    let written = json!({
        "model": "m", "provider": "openai", "ranking": 80, "pricing": { "prompt_token_cost": 1, "currency": "EUR" },
        "variants": [{ "quantization": "Q4" }, { "quantization": "Q8" }], "ours": { "a": 1 },
    });
    check_merge(written.clone(), json!({ "model": "m" }), written.clone());
    check_merge(
        json!({ "model": "m", "provider": "openai", "ranking": 80 }),
        json!({ "model": "m", "provider": "mock", "max_tokens": 5 }),
        json!({ "model": "m", "provider": "mock", "ranking": 80, "max_tokens": 5 }),
    );
    check_merge(
        written.clone(),
        json!({ "model": "m", "ranking": null, "pricing": { "completion_token_cost": 2, "currency": null },
            "variants": [{ "quantization": "F16", "min_vram_mb": null }], "ours": { "b": { "c": 1, "d": null } } }),
        json!({ "model": "m", "provider": "openai", "pricing": { "prompt_token_cost": 1, "completion_token_cost": 2 },
            "variants": [{ "quantization": "F16" }], "ours": { "a": 1, "b": { "c": 1 } } }),
    );
    let config = config(written);
    let refused = |patch: Value| config.merged(&patch).unwrap_err().to_string();
    assert_eq!(refused(json!({ "ranking": 1 })), "model is required");
    assert_eq!(refused(json!({ "model": "n" })), "model must stay \"m\": a model's name does not change");
    assert_eq!(
        refused(json!({ "model": "m", "provider": null, "pricing": 3 })),
        "provider is required; one of these: openai, anthropic, deepseek, openrouter, llama, mock; \
         pricing must be an object, is 3"
    );
}

const KEY: &str = "sk-planted-secret-0123456789";

/// A config with a secret in every place where one may lie, and all of them.
fn with_secrets() -> (Value, [&'static str; 9]) {
    let written = json!({
        "model": "m", "provider": "openai", "api_key": KEY,
        "headers": { "X-Org": "planted-org", "Authorization": ["Bearer planted-bearer"], "X-Pin": 48151623 },
        "proxy": { "password": "planted-password-longer-than-twenty", "url": "http://u:planted-proxy@proxy:3128/x?a=b" },
        "hf_token": "planted-token", "mirror": "https://h/x?sig=planted-sig&part=2&access_token=planted-access",
        "variants": [
            { "quantization": "Q4", "download": { "url": "https://h/a.gguf?X-Amz-Signature=planted-signature&v=1" } },
            { "quantization": "Q8", "download": { "url": "https://h/b.gguf?v=1" } },
        ],
    });
    let secrets = [
        "planted-secret",
        "planted-org",
        "planted-bearer",
        "48151623",
        "planted-password",
        "planted-proxy",
        "planted-token",
        "planted-sig",
        "planted-access",
    ];
    (written, secrets)
}

#[test]
fn secrets_are_masked() {
    let (written, secrets) = with_secrets();
    let config = config(written);
    assert_eq!(config.api_key(), Some(KEY));
    let shown = config.to_shown_json();
    assert_eq!(shown["api_key"], "***6789");
    assert_eq!(shown["headers"], json!({ "X-Org": "***", "Authorization": ["***"], "X-Pin": "***" }));
    assert_eq!(shown["proxy"], json!({ "password": "***", "url": "http://***@proxy:3128/x?a=b" }));
    assert_eq!(shown["mirror"], "https://h/x?sig=***&part=2&access_token=***");
    assert_eq!(shown["variants"][0]["download"]["url"], "https://h/a.gguf?X-Amz-Signature=***&v=1");
    assert_eq!(shown["variants"][1]["download"]["url"], "https://h/b.gguf?v=1");
    let file = File::parse(write_file([&config]).as_bytes()).unwrap();
    let texts = [
        shown.to_string(),
        format!("{config:?} {config:#?} {config}"),
        format!("{:?}", config.variants()),
        format!("{file:?}"),
    ];
    for (text, secret) in texts.iter().flat_map(|text| secrets.map(|secret| (text, secret))) {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    for (key, mask) in [("", ""), ("short", "***"), ("nineteen-characters", "***"), ("twenty-characters-ab", "***s-ab")]
    {
        let config = self::config(with("api_key", json!(key)));
        assert_eq!(config.to_shown_json()["api_key"], mask);
    }
    assert_eq!(self::config(with("max_tokens", json!(7))).to_shown_json()["max_tokens"], 7, "no token of that kind");
}

#[test]
fn no_secret_is_told_by_a_problem() {
    let (mut written, secrets) = with_secrets();
    let told = |written: &Value| ModelConfig::new(written).unwrap_err().to_string();
    written["provider"] = json!(1);
    written["api_base"] = json!("https://planted-org:planted-bearer@h");
    written["api_key"] = json!({ "key": KEY });
    written["variants"][0]["download"]["url"] = json!("ftp://h/a.gguf?sig=planted-sig");
    let problems = told(&written);
    assert!(problems.matches(';').count() >= 3, "{problems}");
    for secret in secrets {
        assert!(!problems.contains(secret), "{secret} in {problems}");
    }
}

#[test]
fn what_was_shown_and_comes_back_leaves_the_secret() {
    let (written, _) = with_secrets();
    let config = config(written);
    let shown = config.to_shown_json();
    let merged = config.merged(&shown).unwrap();
    for (field, value) in config.to_file_json().as_object().unwrap() {
        assert_eq!(merged.field(field), Some(value), "{field}");
    }
    // Moved, with its neighbour gone.
    let mut moved = shown.clone();
    moved["variants"] = json!([{ "quantization": "F16" }, shown["variants"][0]]);
    let merged = config.merged(&moved).unwrap();
    assert_eq!(merged.field("variants").unwrap()[1], config.field("variants").unwrap()[0]);
    // Changed beside the mask: there is no telling what is meant.
    let mut changed = shown.clone();
    changed["mirror"] = json!("https://other/x?sig=***");
    changed["api_key"] = json!("***0000");
    changed["hf_token"] = json!("new");
    assert_eq!(
        config.merged(&changed).unwrap_err().to_string(),
        "api_key holds a mask that stands for no value here: write the value itself, or leave it out; \
         mirror holds a mask that stands for no value here: write the whole address"
    );
    // A new model has nothing that a mask could stand for.
    assert!(ModelConfig::new(&shown).unwrap_err().to_string().contains("api_key holds a mask"));
    // A new key replaces the old, a null removes it.
    let renewed = config.merged(&json!({ "model": "m", "api_key": "new" })).unwrap();
    assert_eq!(renewed.api_key(), Some("new"));
    assert_eq!(renewed.merged(&json!({ "model": "m", "api_key": null })).unwrap().api_key(), None);
}

#[test]
fn a_file_is_written_in_the_contracts_form() {
    let configs = [
        config(
            json!({ "model": "gpt-4o-mini", "provider": "openai", "zz": [1, { "y": null }], "context_window": 128000, "ranking": 95 }),
        ),
        config(json!({ "model": "b", "provider": "mock", "api_key": KEY })),
    ];
    let text = write_file(&configs);
    assert_eq!(
        text,
        r#"{
  "schema_version": "1.1.0",
  "models": [
    {
      "model": "gpt-4o-mini",
      "provider": "openai",
      "ranking": 95,
      "context_window": 128000,
      "zz": [
        1,
        {}
      ]
    },
    {
      "model": "b",
      "provider": "mock",
      "api_key": "sk-planted-secret-0123456789"
    }
  ]
}
"#
    );
    let mut known = BTreeMap::new();
    assert!(merge_into(&mut known, File::parse(text.as_bytes()).unwrap()).is_empty());
    assert_eq!(known.into_values().collect::<Vec<_>>(), [configs[1].clone(), configs[0].clone()]);
    assert!(File::parse(write_file([]).as_bytes()).unwrap().is_empty());
}

#[test]
fn later_files_lie_over_earlier_ones() {
    let first = br#"{
        // comments are fine
        "schema_version": "1.0.0",
        "models": [
            { "model": "a", "provider": "openai", "ranking": 80, /* so */ "max_tokens": 5 },
            { "model": "bad", "provider": "acme" },
            { "model": "b", "provider": "mock" },
        ],
    }"#;
    let second = br#"{"schema_version": 1, "models": [{ "model": "a", "ranking": 90 }, { "model": "c" }, 5]}"#;
    let mut known = BTreeMap::new();
    let file = File::parse(first).unwrap();
    assert_eq!((file.schema_version.as_str(), file.len()), ("1.0.0", 3));
    let problems = merge_into(&mut known, file);
    assert_eq!(problems.iter().map(|problem| problem.field.as_str()).collect::<Vec<_>>(), ["models[1].provider"]);
    let problems = merge_into(&mut known, File::parse(second).unwrap());
    assert_eq!(
        problems.iter().map(|problem| problem.field.as_str()).collect::<Vec<_>>(),
        ["models[1].provider", "models[2]"]
    );
    assert_eq!(known.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((known["a"].ranking(), known["a"].max_tokens()), (90, Some(5)));
    // One model by itself is a file as well.
    let single = File::parse("\u{feff}{\"model\": \"d\", \"provider\": \"mock\"}".as_bytes()).unwrap();
    assert!(merge_into(&mut known, single).is_empty());
    assert!(known.contains_key("d"));
}

#[test]
fn what_is_no_file_says_why() {
    let check = |bytes: &[u8], expected: &str| {
        let error = File::parse(bytes).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    };
    check(b"\xff", "not JSON (comments are allowed): invalid utf-8");
    check(b"{", "not JSON (comments are allowed): EOF while parsing an object at line 1 column 1");
    check(b"/* {}", "not JSON (comments are allowed): ");
    check(b"[]", "not a file of model configs: must be a JSON object with `model` or `models`, is a list");
    check(b"{}", "not a file of model configs: either `model` or `models` is required");
    check(br#"{"models": 3}"#, "not a file of model configs: models must be a list, is 3");
    check(br#"{"models": [], "model": "m"}"#, "not a file of model configs: models must not stand beside `model`");
    check(
        br#"{"schema_version": "2.0.0", "models": []}"#,
        "schema_version 2.0.0 is not known; write \"1.1.0\" or another 1.x",
    );
    check(br#"{"schema_version": {}, "models": []}"#, "schema_version an object is not known");
}

#[test]
fn no_more_is_told_than_anybody_reads() {
    let problems = ModelConfig::new(&with("variants", json!(vec![5; 1000]))).unwrap_err();
    assert_eq!(problems.iter().count(), 50);
    assert!(problems.to_string().ends_with("variants[49] must be an object, is 5; and 950 more"));
    let mut all = problems.clone();
    all.append(problems.within("models[1]"));
    assert!(all.to_string().ends_with("; and 1950 more"));
}

#[test]
fn depth_is_bounded() {
    let nested = |levels: usize| (0..levels).fold(json!(1), |value, _| json!([value]));
    check(with("x", nested(32)), &[]);
    check_field("x", nested(33), "must not nest deeper than 32 levels");
}

/// Any JSON, with fields of ours in it so that rules are reached.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // Numbers that text holds exactly.
        any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        (-2i64..5).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "mock",
            "llama",
            "m",
            "***",
            "***abcd",
            "chat",
            "Q4_0",
            "https://h/a.gguf",
            "https://u@h/mmproj?sig=1",
            "q8_0",
            "sk-0123456789012345678901",
            "",
        ])
        .prop_map(Value::from),
    ];
    let fields = prop::sample::select(vec![
        "model",
        "provider",
        "mode",
        "ranking",
        "api_base",
        "api_key",
        "file_path",
        "context_window",
        "pricing",
        "x",
        "prompt_token_cost",
        "hardware_requirements",
        "min_system_ram_mb",
        "context_scaling",
        "base_context",
        "max_context",
        "variants",
        "quantization",
        "file_size_mb",
        "download",
        "files",
        "mmproj",
        "url",
        "sha256",
        "filename",
        "runtime_options",
        "flash_attn",
        "headers",
        "token",
        "n_gpu_layers",
        "models",
    ]);
    leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((fields.clone(), inner), 0..8).prop_map(|fields| {
                fields.into_iter().map(|(field, value)| (field.to_owned(), value)).collect::<Value>()
            }),
        ]
    })
}

/// A config that is sound more often than not.
fn sound() -> impl Strategy<Value = ModelConfig> {
    let name = Just(json!("m"));
    let provider = prop::sample::select(Provider::ALL.to_vec());
    let variants = prop::collection::vec(("[QF][0-9]", 1u64..9, prop::option::of("[a-z]{1,4}")), 0..3);
    (name, provider, prop::option::of(0u64..=100), json(), json(), prop::option::of("[a-z0-9]{1,30}"), variants)
        .prop_filter_map("sound", |(name, provider, ranking, x, headers, key, variants)| {
            let variant = |(quantization, size, file): (String, u64, Option<String>)| {
                let download = file.map(|file| json!({ "url": format!("https://h/{file}?token={size}") }));
                json!({ "quantization": quantization, "file_size_mb": size, "download": download })
            };
            let variants: Vec<Value> = variants.into_iter().map(variant).collect();
            ModelConfig::new(&json!({
                "model": name, "provider": provider.as_str(), "ranking": ranking, "x": x, "headers": headers,
                "api_key": key, "variants": variants,
            }))
            .ok()
        })
}

proptest! {
    #[test]
    fn any_json_is_read_or_refused(written in json(), bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        match ModelConfig::new(&written) {
            Ok(config) => drop(config.to_shown_json()),
            Err(problems) => prop_assert!(!problems.is_empty() && !problems.to_string().is_empty()),
        }
        let _ = (RuntimeOptions::read(&written), entries(&written), File::parse(&bytes));
        if let Ok(file) = File::parse(written.to_string().as_bytes()) {
            merge_into(&mut BTreeMap::new(), file);
        }
    }

    #[test]
    fn merging_twice_is_merging_once(
        config in sound(),
        mut patch in prop_oneof![json(), sound().prop_map(|config| config.to_file_json())],
    ) {
        if let Value::Object(patch) = &mut patch {
            patch.insert("model".to_owned(), json!("m"));
        }
        if let Ok(merged) = config.merged(&patch) {
            prop_assert_eq!(merged.merged(&patch).unwrap().to_file_json(), merged.to_file_json());
        }
        prop_assert_eq!(config.merged(&json!({ "model": "m" })).unwrap(), config);
    }

    #[test]
    fn what_is_written_is_read_again(config in sound()) {
        let again = ModelConfig::new(&config.to_file_json());
        prop_assert_eq!(again.as_ref(), Ok(&config));
        let mut known = BTreeMap::new();
        let problems = merge_into(&mut known, File::parse(write_file([&config]).as_bytes()).unwrap());
        prop_assert!(problems.is_empty(), "{}", problems);
        prop_assert_eq!(&known["m"], &config);
    }

    #[test]
    fn what_is_shown_may_come_back(config in sound()) {
        let back = config.merged(&config.to_shown_json()).unwrap();
        for (field, value) in config.to_file_json().as_object().unwrap() {
            prop_assert_eq!(back.field(field), Some(value), "{}", field);
        }
    }
}
