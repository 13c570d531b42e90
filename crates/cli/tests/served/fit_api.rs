//! The fit API of a running snug, as somebody sees it who has only the contract.

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::{Answer, Method, Snug, eventually, gguf};

use crate::support::fake;

const LEVELS: [&str; 4] = ["perfect", "good", "marginal", "too_tight"];
const LISTS: [&str; 3] = ["/api/v1/models", "/api/v1/models/top", "/api/v1/models/Qwen"];
/// A machine on which every level occurs, whatever the tests run on.
const MACHINE: &str = "vram_gb=16&ram_gb=32&cpu_cores=8";

/// A list, and its rows.
async fn list(snug: &Snug<'_>, path: &str) -> (Value, Vec<Value>) {
    let list = snug.get(path).await.ok();
    let rows = list["models"].as_array().unwrap().clone();
    assert_eq!(list["returned_models"], rows.len(), "{path}");
    assert!(list["total_models"].as_u64().unwrap() >= rows.len() as u64, "{path}");
    (list, rows)
}

/// The error of the fit API: this status, and a text in which all of these occur.
fn refused(answer: &Answer, status: u16, words: &[&str]) {
    let body = answer.json();
    let error = body["error"].as_str().unwrap_or_else(|| panic!("{answer:?}"));
    assert_eq!((answer.status, body.as_object().unwrap().len()), (status, 1), "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/json");
    assert!(!answer.header("x-request-id").is_empty(), "{answer:?}");
    for word in words {
        assert!(error.contains(word), "{word:?} in {error:?}");
    }
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_else(|| panic!("{field}: {row}"))
}

fn number(row: &Value, field: &str) -> f64 {
    row[field].as_f64().unwrap_or_else(|| panic!("{field}: {row}"))
}

/// That these fields have these types; with a `?`, or null.
fn has_types(object: &Value, fields: &[(&str, &str)]) {
    for (field, expected) in fields {
        let value = object.pointer(&format!("/{field}")).unwrap_or_else(|| panic!("{field} is missing: {object}"));
        let found = match value {
            Value::Null if expected.ends_with('?') => continue,
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if expected.starts_with("integer") && !number.is_u64() => "no integer",
            Value::Number(_) if expected.starts_with("integer") => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        assert_eq!(found, expected.trim_end_matches('?'), "{field} of {object}");
    }
}

const SYSTEM: &[(&str, &str)] = &[
    ("node/name", "string"),
    ("node/os", "string"),
    ("system/total_ram_gb", "number"),
    ("system/available_ram_gb", "number"),
    ("system/cpu_cores", "integer"),
    ("system/cpu_name", "string"),
    ("system/has_gpu", "boolean"),
    ("system/gpu_vram_gb", "number?"),
    ("system/gpu_name", "string?"),
    ("system/gpu_count", "integer"),
    ("system/unified_memory", "boolean"),
    ("system/backend", "string"),
    ("system/gpus", "array"),
];

#[tokio::test]
async fn answers_have_the_contracts_fields() {
    let stage = fake();
    let snug = stage.start().await;
    let health = snug.get("/health").await.ok();
    assert_eq!(health["status"], "ok");
    let hostname = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    assert_eq!(health["node"], json!({ "name": hostname, "os": std::env::consts::OS }));

    let system = snug.get(&format!("/api/v1/system?{MACHINE}")).await.ok();
    has_types(&system, SYSTEM);
    assert_eq!(system["node"], health["node"]);
    let gpu = &system["system"]["gpus"][0];
    let gpu_fields = [("name", "string"), ("vram_gb", "number"), ("count", "integer")];
    has_types(gpu, &[&gpu_fields[..], &[("unified_memory", "boolean"), ("backend", "string")]].concat());
    let backends = ["CUDA", "Metal", "ROCm", "Vulkan", "SYCL", "CPU (x86)", "CPU (ARM)", "Ascend"];
    assert!(backends.contains(&text(&system["system"], "backend")), "{system}");

    for path in LISTS {
        let (all, rows) = list(&snug, &format!("{path}?{MACHINE}")).await;
        has_types(&all, SYSTEM);
        assert_eq!(all["system"], system["system"], "{path}");
        for row in rows {
            has_types(
                &row,
                &[
                    ("name", "string"),
                    ("provider", "string"),
                    ("parameter_count", "string"),
                    ("params_b", "number"),
                    ("context_length", "integer"),
                    ("use_case", "string"),
                    ("category", "string"),
                    ("release_date", "string?"),
                    ("is_moe", "boolean"),
                    ("fit_level", "string"),
                    ("fit_label", "string"),
                    ("run_mode", "string"),
                    ("run_mode_label", "string"),
                    ("score", "number"),
                    ("score_components/quality", "number"),
                    ("score_components/speed", "number"),
                    ("score_components/fit", "number"),
                    ("score_components/context", "number"),
                    ("estimated_tps", "number"),
                    ("runtime", "string"),
                    ("runtime_label", "string"),
                    ("best_quant", "string"),
                    ("memory_required_gb", "number"),
                    ("memory_available_gb", "number"),
                    ("utilization_pct", "number"),
                    ("notes", "array"),
                    ("gguf_sources", "array"),
                ],
            );
            is_plausible(&row);
        }
    }
}

/// Values within what the contract allows, and in agreement with each other.
fn is_plausible(row: &Value) {
    let one_of = |field: &str, words: &[&str]| assert!(words.contains(&text(row, field)), "{field}: {row}");
    one_of("fit_level", &LEVELS);
    one_of("fit_label", &["Perfect", "Good", "Marginal", "Too Tight"]);
    one_of("run_mode", &["gpu", "moe", "cpu_offload", "cpu_only"]);
    one_of("runtime", &["mlx", "llamacpp", "vllm"]);
    one_of("category", &["General", "Coding", "Reasoning", "Chat", "Multimodal", "Embedding"]);
    let parts = &row["score_components"];
    for (object, field) in [(row, "score"), (parts, "quality"), (parts, "speed"), (parts, "fit"), (parts, "context")] {
        assert!((0.0..=100.0).contains(&number(object, field)), "{field}: {row}");
    }
    if let Some(date) = row["release_date"].as_str() {
        let shape: String = date.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
        assert_eq!(shape, "9999-99-99", "{row}");
    }
    let (needed, there) = (number(row, "memory_required_gb"), number(row, "memory_available_gb"));
    let runs = text(row, "fit_level") != "too_tight";
    assert!(!runs || needed <= there, "{row}");
    assert_eq!(number(row, "estimated_tps") > 0.0, runs, "{row}");
    // Both sizes are rounded, the smaller a model the more of it.
    let tolerance = 1.0 + 0.6 / there.max(0.01) + number(row, "utilization_pct") / 100.0 / there.max(0.01);
    assert!((number(row, "utilization_pct") - needed / there * 100.0).abs() < tolerance, "{row}");
    for source in row["gguf_sources"].as_array().unwrap() {
        let (provider, repo) = (text(source, "provider"), text(source, "repo"));
        assert!(repo.starts_with(&format!("{provider}/")), "{row}");
    }
}

#[tokio::test]
async fn filters_filter_and_are_echoed() {
    let stage = fake();
    let snug = stage.start().await;
    let defaults = json!({
        "limit": null, "min_fit": "marginal", "runtime": "any", "use_case": null, "provider": null, "search": null,
        "sort": "score", "include_too_tight": true, "max_context": null
    });
    let echoes = async |path: &str, changed: Value| {
        let (list, _) = list(&snug, path).await;
        let mut expected = defaults.clone();
        expected.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&list["filters"][field], value, "{field} of {path}");
        }
    };
    echoes("/api/v1/models", json!({})).await;
    echoes("/api/v1/models/top", json!({ "limit": 5, "include_too_tight": false })).await;
    echoes("/api/v1/models/Mistral", json!({ "search": "Mistral" })).await;
    // The contract's own example.
    echoes("/api/v1/models?limit=20&min_fit=marginal&sort=score", json!({ "limit": 20 })).await;
    echoes(
        "/api/v1/models?n=3&min_fit=GOOD&runtime=llama.cpp&use_case=code&provider=Qwen&search=a%20b&sort=throughput\
         &include_too_tight=false&max_context=4096&unheard_of=1&license=",
        json!({
            "limit": 3, "min_fit": "good", "runtime": "llamacpp", "use_case": "coding", "provider": "Qwen",
            "search": "a b", "sort": "tps", "include_too_tight": false, "max_context": 4096, "license": null
        }),
    )
    .await;

    let check = async |query: &str, holds: &dyn Fn(&Value) -> bool| {
        let (_, rows) = list(&snug, &format!("/api/v1/models?{MACHINE}&{query}")).await;
        assert!(!rows.is_empty(), "{query} finds nothing");
        for row in rows {
            assert!(holds(&row), "{query}: {row}");
        }
    };
    let level_in = |levels: &'static [&str]| move |row: &Value| levels.contains(&text(row, "fit_level"));
    check("perfect=true", &level_in(&LEVELS[..1])).await;
    check("perfect=true&min_fit=marginal&include_too_tight=true", &level_in(&LEVELS[..1])).await;
    check("min_fit=perfect", &level_in(&LEVELS[..1])).await;
    check("min_fit=good", &level_in(&LEVELS[..2])).await;
    check("min_fit=marginal", &level_in(&LEVELS[..3])).await;
    check("include_too_tight=false", &level_in(&LEVELS[..3])).await;
    for (use_case, category) in [
        ("general", "General"),
        ("coding", "Coding"),
        ("reasoning", "Reasoning"),
        ("chat", "Chat"),
        ("multimodal", "Multimodal"),
        ("vision", "Multimodal"),
        ("embedding", "Embedding"),
        ("embed", "Embedding"),
    ] {
        check(&format!("use_case={use_case}"), &|row| text(row, "category") == category).await;
    }
    check("provider=qWEn", &|row| text(row, "provider").to_lowercase().contains("qwen")).await;
    check("runtime=llamacpp", &|row| text(row, "runtime") == "llamacpp").await;
    check("license=mit,Apache-2.0", &|row| ["mit", "apache-2.0"].contains(&text(row, "license"))).await;
    check("search=llama%208B%20", &|row| {
        let text = row.to_string().to_lowercase();
        text.contains("llama") && text.contains("8b")
    })
    .await;
    check("search=embedding", &|row| row.to_string().to_lowercase().contains("embedding")).await;
    check("max_context=2048", &|row| row["effective_context_length"].as_u64().unwrap() <= 2048).await;

    let count = async |query: &str| list(&snug, &format!("/api/v1/models?{MACHINE}&{query}")).await.1.len();
    assert!(count("min_fit=too_tight").await == count("").await, "all of them");
    assert!(count("min_fit=marginal").await < count("").await, "what does not run is left out");
    assert_eq!(count("search=llama+8b").await, count("search=8b+llama").await, "in any order");
    assert_eq!(count("search=nobody-has-this-word").await, 0);
    // Nothing here has Metal: a question, and its answer is nothing.
    assert_eq!(count("runtime=mlx").await, 0);
}

#[tokio::test]
async fn a_list_is_had_in_parts() {
    let stage = fake();
    let snug = stage.start().await;
    let names = async |path: &str| -> Vec<String> {
        let (_, rows) = list(&snug, path).await;
        rows.iter().map(|row| text(row, "name").to_owned()).collect()
    };
    let all = names(&format!("/api/v1/models?{MACHINE}")).await;
    assert!(all.len() > 100);
    for (query, expected) in [
        ("limit=7", &all[..7]),
        ("n=7", &all[..7]),
        ("limit=3&n=9", &all[..3]),
        ("limit=4&offset=7", &all[7..11]),
        ("limit=0", &all[..0]),
        ("offset=99999999", &all[..0]),
        ("limit=9223372036854775807", &all[..]),
    ] {
        let path = format!("/api/v1/models?{MACHINE}&{query}");
        let (list, _) = list(&snug, &path).await;
        assert_eq!(list["total_models"], all.len(), "{query}");
        assert_eq!(names(&path).await, expected, "{query}");
    }
    for path in ["/api/v1/models/top", "/api/v1/models/top/"] {
        let top = names(&format!("{path}?{MACHINE}")).await;
        assert_eq!(top, all[..5], "the best that run are the best of all");
    }
    assert_eq!(names(&format!("/api/v1/models/top?limit=8&{MACHINE}")).await, all[..8]);
    let all_tight = format!("/api/v1/models/top?limit=100000&include_too_tight=true&{MACHINE}");
    assert_eq!(names(&all_tight).await, all);
}

#[tokio::test]
async fn orders_are_kept_and_what_does_not_run_comes_last() {
    let stage = fake();
    let snug = stage.start().await;
    let check = async |sort: &str, key: &dyn Fn(&Value) -> f64| {
        let (_, rows) = list(&snug, &format!("/api/v1/models?{MACHINE}&sort={sort}")).await;
        let tight = |row: &Value| text(row, "fit_level") == "too_tight";
        assert!(rows.iter().any(tight) && !rows.iter().all(tight));
        assert!(rows.is_sorted_by_key(tight), "{sort}: what does not run comes last");
        let runs: Vec<f64> = rows.iter().filter(|row| !tight(row)).map(key).collect();
        assert!(runs.is_sorted_by(|a, b| a >= b), "{sort}: {runs:?}");
    };
    let date = |row: &Value| text(row, "release_date").replace('-', "").parse().unwrap();
    check("score", &|row| number(row, "score")).await;
    check("tps", &|row| number(row, "estimated_tps")).await;
    check("tokens", &|row| number(row, "estimated_tps")).await;
    check("params", &|row| number(row, "params_b")).await;
    check("mem", &|row| number(row, "utilization_pct")).await;
    check("memory", &|row| number(row, "utilization_pct")).await;
    check("ctx", &|row| number(row, "context_length")).await;
    check("date", &date).await;
    check("use_case", &|row| -f64::from(text(row, "category").as_bytes()[0])).await;
}

#[tokio::test]
async fn a_model_is_found_by_its_name() {
    let stage = fake();
    let snug = stage.start().await;
    let names = async |path: &str| -> Vec<String> {
        let (_, rows) = list(&snug, path).await;
        rows.iter().map(|row| text(row, "name").to_owned()).collect()
    };
    let one = names("/api/v1/models?search=Qwen/Qwen3-8B").await;
    assert!(one.contains(&"Qwen/Qwen3-8B".to_owned()), "{one:?}");
    for path in ["Qwen/Qwen3-8B", "Qwen%2FQwen3-8B", "qwen%2fqwen3-8b", "Qwen/Qwen3-8B/"] {
        assert_eq!(names(&format!("/api/v1/models/{path}")).await, one, "{path}");
    }
    assert!(names("/api/v1/models/Mistral").await.len() > 5, "no limit unless one is given");
    assert_eq!(names("/api/v1/models/Mistral?limit=2").await.len(), 2);
    assert_eq!(names("/api/v1/models/llama%208b").await, names("/api/v1/models?search=llama+8b").await);
    assert_eq!(names("/api/v1/models/Qwen?search=coder").await, names("/api/v1/models?search=Qwen+coder").await);
    assert!(names("/api/v1/models/nobody-is-called-so").await.is_empty(), "an empty list, no error");
    refused(&snug.get("/api/v1/models/%ff").await, 400, &["UTF-8"]);
}

#[tokio::test]
async fn wrong_values_are_refused_with_those_that_would_do() {
    let stage = fake();
    let snug = stage.start().await;
    // Word for word as the contract has it.
    let answer = snug.get("/api/v1/models?min_fit=great").await;
    assert_eq!(answer.json(), json!({ "error": "invalid min_fit value: use perfect|good|marginal|too_tight" }));
    for path in LISTS {
        for (query, word) in [
            ("min_fit=great", "perfect|good|marginal|too_tight"),
            ("runtime=onnx", "any|mlx|llamacpp"),
            ("use_case=poetry", "general|coding|reasoning|chat|multimodal|embedding"),
            ("sort=name", "score|tps|params|mem|ctx|date|use_case"),
            ("limit=-1", "whole number"),
            ("limit=ten", "whole number"),
            ("n=1.5", "whole number"),
            ("limit=9223372036854775808", "whole number"),
            ("offset=-1", "whole number"),
            ("perfect=maybe", "true|false"),
            ("include_too_tight=2", "true|false"),
            ("max_context=0", "tokens"),
            ("max_context=-5", "tokens"),
            ("max_context=lots", "tokens"),
            ("ram_gb=0", "gigabytes"),
            ("vram_gb=-1", "gigabytes"),
            ("vram_gb=NaN", "gigabytes"),
            ("cpu_cores=0", "whole number"),
        ] {
            let name = query.split('=').next().unwrap();
            let answer = snug.get(&format!("{path}?{query}")).await;
            refused(&answer, 400, &[&format!("invalid {name} value: use "), word]);
        }
    }
    refused(&snug.get("/api/v1/system?ram_gb=much").await, 400, &["ram_gb", "gigabytes"]);
}

#[tokio::test]
async fn other_paths_and_methods_are_refused_in_its_own_form() {
    let stage = fake();
    let snug = stage.start().await;
    for path in ["/api/v1", "/api/v1/", "/api/v1/nowhere", "/api/v1/system/more", "/api/v1/download"] {
        refused(&snug.get(path).await, 404, &["no route", path]);
        refused(&snug.post(path, &json!({})).await, 404, &["no route", path]);
    }
    for (path, allow) in [
        ("/api/v1/system", "GET, HEAD"),
        ("/api/v1/models", "GET, HEAD"),
        ("/api/v1/models/", "GET, HEAD"),
        ("/api/v1/models/top", "GET, HEAD"),
        ("/api/v1/models/Qwen/Qwen3-8B", "GET, HEAD"),
        ("/api/v1/plan", "GET, HEAD, POST"),
        ("/api/v1/concurrency", "GET, HEAD"),
        ("/api/v1/runtimes", "GET, HEAD"),
        ("/api/v1/installed", "GET, HEAD"),
    ] {
        for method in [Method::DELETE, Method::PUT] {
            let answer = snug.send(method.clone(), path, &[], "").await;
            refused(&answer, 405, &[path, method.as_str()]);
            assert_eq!(answer.header("allow"), allow, "{path}");
        }
    }
    for path in ["/api/v1/system", "/api/v1/models/top", "/api/v1/runtimes", "/api/v1/installed", "/health"] {
        let (got, slashed) = (snug.get(path).await, snug.get(&format!("{path}/")).await);
        assert_eq!(got.ok()["models"], slashed.ok()["models"], "{path}");
        let head = snug.send(Method::HEAD, path, &[], "").await;
        assert_eq!((head.status, head.text.as_str()), (200, ""), "{path}");
        assert_eq!(head.header("content-type"), got.header("content-type"), "{path}");
    }
}

#[tokio::test]
async fn another_machine_can_be_meant() {
    let stage = fake();
    let snug = stage.start().await;
    let system = snug.get("/api/v1/system?vram_gb=24&ram_gb=128&cpu_cores=16").await.ok();
    let system = &system["system"];
    assert_eq!((&system["gpu_vram_gb"], &system["total_ram_gb"]), (&json!(24.0), &json!(128.0)), "{system}");
    assert_eq!((&system["has_gpu"], &system["cpu_cores"]), (&json!(true), &json!(16)));
    assert_eq!(snug.get("/api/v1/system?memory=24G").await.status, 400, "a number is wanted");

    let levels = async |query: &str| -> Vec<String> {
        let (list, rows) = list(&snug, &format!("/api/v1/models/Qwen%2FQwen3-32B?{query}")).await;
        assert!(list["filters"]["ram_gb"] == 64.0 || list["filters"]["ram_gb"] == 8.0, "{list}");
        let exact = rows.iter().filter(|row| row["name"] == "Qwen/Qwen3-32B");
        exact.map(|row| text(row, "fit_level").to_owned()).collect()
    };
    assert_eq!(levels("vram_gb=80&ram_gb=64").await, ["perfect"]);
    assert_eq!(levels("vram_gb=1&ram_gb=8").await, ["too_tight"]);

    // A longer context takes more; each request has its own.
    let needed = async |context: u64| -> f64 {
        let path = format!("/api/v1/models/Qwen%2FQwen3-8B?vram_gb=80&ram_gb=64&max_context={context}");
        let (_, rows) = list(&snug, &path).await;
        let row = rows.iter().find(|row| row["name"] == "Qwen/Qwen3-8B").unwrap();
        assert_eq!(row["effective_context_length"], context);
        number(row, "memory_required_gb")
    };
    let (short, long) = (needed(2048).await, needed(32_768).await);
    // 36 layers, 8 KV heads of 128: 144 KiB a token.
    assert!((long - short - 30_720.0 * 147_456.0 / f64::from(1 << 30)).abs() < 0.5, "{short} {long}");
}

#[tokio::test]
async fn models_are_found_while_another_machine_is_simulated() {
    let stage = fake();
    let models = stage.models_dir();
    let stage = stage.arguments(&["--simulate", "16 GB"]);
    let snug = stage.start().await;
    let installed = async || {
        let (_, rows) = list(&snug, "/api/v1/models/Qwen%2FQwen3-8B").await;
        rows.iter().find(|row| row["name"] == "Qwen/Qwen3-8B").is_some_and(|row| row["installed"] == true)
    };
    assert!(!installed().await);
    std::fs::write(models.join("Qwen3-8B-Q4_K_M.gguf"), "GGUF").unwrap();
    eventually("the row says so", async || installed().await.then_some(())).await;
}

#[tokio::test]
async fn what_did_not_change_is_not_sent_again() {
    let stage = fake();
    let snug = stage.start().await;
    let path = format!("/api/v1/models?limit=50&{MACHINE}");
    let first = snug.get(&path).await;
    let etag = first.header("etag").to_owned();
    assert!(etag.contains('"'), "{etag}");
    assert_eq!((first.header("vary"), first.header("content-encoding")), ("accept-encoding", ""));
    let again = async |tags: &str| snug.send(Method::GET, &path, &[("if-none-match", tags)], "").await;
    for tags in [etag.as_str(), "*", &format!("\"x\", {etag}")] {
        let answer = again(tags).await;
        assert_eq!((answer.status, answer.text.as_str(), answer.header("etag")), (304, "", etag.as_str()));
    }
    assert_eq!(again("\"x\"").await.ok(), first.ok());
    assert_ne!(snug.get("/api/v1/models?limit=49").await.header("etag"), etag);

    let packed = snug.send(Method::GET, &path, &[("accept-encoding", "br, gzip;q=0.5")], "").await;
    assert_eq!((packed.status, packed.header("content-encoding"), packed.header("etag")), (200, "gzip", etag.as_str()));
    let length = |answer: &Answer| answer.header("content-length").parse::<usize>().unwrap();
    assert!(length(&packed) * 3 < length(&first), "{} of {}", length(&packed), length(&first));
    let head = snug.send(Method::HEAD, &path, &[], "").await;
    assert_eq!((length(&head), head.text.as_str()), (length(&first), ""));
}

#[tokio::test]
async fn plans_are_made_by_post_and_by_query() {
    let stage = fake();
    let snug = stage.start().await;
    let machine = "vram_gb=24&ram_gb=64&cpu_cores=8";
    let by_query =
        snug.get(&format!("/api/v1/plan?model=Qwen/Qwen3-8B&quant=Q4_K_M&context=4096&{machine}")).await.ok();
    let body = json!({
        "model": "qwen/qwen3-8b", "quant": "Q4_K_M", "context": 4096, "vram_gb": 24, "ram_gb": 64, "cpu_cores": 8
    });
    assert_eq!(snug.post("/api/v1/plan", &body).await.ok(), by_query);
    assert_eq!((&by_query["model"], &by_query["feasible"]), (&json!("Qwen/Qwen3-8B"), &json!(true)));
    assert_eq!((&by_query["quant"], &by_query["kv_quant"]), (&json!("Q4_K_M"), &json!("f16")));
    assert_eq!((&by_query["context"], &by_query["slots"]), (&json!(4096), &json!(1)));
    assert_eq!(by_query["here"]["run_mode"], "gpu");
    let modes: Vec<&str> = by_query["paths"].as_array().unwrap().iter().map(|path| text(path, "run_mode")).collect();
    assert_eq!(modes, ["gpu", "cpu_offload", "cpu_only"], "a dense model has no experts to move");
    assert!((4.5..7.0).contains(&number(&by_query["hardware"], "vram_gb")), "{by_query}");

    let unreachable = snug.get(&format!("/api/v1/plan?model=Qwen/Qwen3-8B&target_tps=100000&{machine}")).await.ok();
    assert_eq!((&unreachable["feasible"], unreachable["here"].is_object()), (&json!(false), true));

    let plan = async |query: &str| snug.get(&format!("/api/v1/plan?{query}")).await;
    refused(&plan("").await, 400, &["missing model"]);
    refused(&plan("model=nobody/nothing").await, 404, &["nobody/nothing"]);
    refused(&plan("model=qwen3").await, 400, &["models have all of \"qwen3\"", "Qwen/Qwen3-"]);
    refused(&plan("model=Qwen/Qwen3-8B&quant=Q9_Z").await, 400, &["quant", "Q9_Z", "Q4_K_M"]);
    refused(&plan("model=Qwen/Qwen3-8B&kv_quant=q1").await, 400, &["kv_quant", "f16", "q8_0"]);
    refused(&plan("model=Qwen/Qwen3-8B&context=41000").await, 400, &["context", "40960"]);
    refused(&plan("model=Qwen/Qwen3-8B&context=0").await, 400, &["context", "40960"]);
    refused(&plan("model=Qwen/Qwen3-8B&slots=5000").await, 400, &["slots", "4096"]);
    refused(&plan("model=Qwen/Qwen3-8B&target_tps=-1").await, 400, &["target_tps"]);
    refused(&plan("model=Qwen/Qwen3-8B&ram_gb=0").await, 400, &["ram_gb"]);

    let json = [("content-type", "application/json")];
    let post = async |body: &str| snug.send(Method::POST, "/api/v1/plan", &json, body).await;
    refused(&post("{").await, 400, &["JSON"]);
    refused(&post("{}").await, 400, &["model"]);
    refused(&post("{\"model\": 7}").await, 400, &["model"]);
    refused(&post("{\"model\": \"Qwen/Qwen3-8B\", \"contxt\": 1}").await, 400, &["contxt", "context"]);
    refused(&post("{\"model\": \"nobody/nothing\"}").await, 404, &["nobody/nothing"]);
    refused(&snug.send(Method::POST, "/api/v1/plan", &[], "{\"model\": \"x\"}").await, 415, &["application/json"]);
}

#[tokio::test]
async fn requests_at_once_are_reckoned() {
    let stage = fake();
    let snug = stage.start().await;
    let path = "/api/v1/concurrency?model=Qwen/Qwen3-8B&quant=Q4_K_M&vram_gb=24&ram_gb=64&context=3000";
    let answer = snug.get(&format!("{path}&users=8")).await.ok();
    assert_eq!((&answer["target_users"], &answer["run_mode"]), (&json!(8), &json!("gpu")));
    let estimate = &answer["estimate"];
    let budget = number(estimate, "kv_budget_gb");
    let steps = estimate["ladder"].as_array().unwrap();
    let contexts: Vec<u64> = steps.iter().map(|step| step["requested_context"].as_u64().unwrap()).collect();
    assert_eq!(contexts, [3000, 4096, 8192, 16_384, 32_768, 65_536, 131_072, 262_144]);
    for step in steps {
        let (asked, used) = (step["requested_context"].as_u64().unwrap(), step["effective_context"].as_u64().unwrap());
        assert_eq!((used, &step["clamped"]), (asked.min(40_960), &json!(asked > 40_960)), "{step}");
        let all = number(step, "max_sessions") * number(step, "per_session_kv_gb");
        assert!(all <= budget * 1.02 && all > budget * 0.5, "{step} of {budget}");
    }
    let longest = answer["max_context_for_target"].as_u64().unwrap();
    assert!((8192..=40_960).contains(&longest), "{answer}");
    assert_eq!(snug.get(path).await.ok()["target_users"], Value::Null);
    let concurrency = async |query: &str| snug.get(&format!("/api/v1/concurrency?{query}")).await;
    refused(&concurrency("").await, 400, &["missing model"]);
    refused(&concurrency("model=nobody/nothing").await, 404, &["nobody/nothing"]);
    refused(&concurrency("model=Qwen/Qwen3-8B&users=many").await, 400, &["users", "many"]);
}

#[tokio::test]
async fn what_is_here_is_told() {
    let model = gguf::ChatModel::default().file();
    let stage = fake().model("Qwen3-8B-F32.gguf", &model).model("mine-F32.gguf", &model);
    std::fs::write(stage.models_dir().join("broken.gguf"), "<html>").unwrap();
    let snug = stage.start().await;
    let runtimes = snug.get("/api/v1/runtimes").await.ok();
    let rows = runtimes["runtimes"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| text(row, "name")).collect();
    assert_eq!(names, ["llamacpp", "mlx", "vllm"]);
    assert_eq!((&rows[0]["installed"], rows[0]["path"].is_string()), (&json!(true), true), "{runtimes}");

    let installed = snug.get("/api/v1/installed").await.ok();
    let rows = installed["models"].as_array().unwrap();
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}: {installed}"));
    assert_eq!(row("Qwen3-8B")["catalog_model"], "Qwen/Qwen3-8B");
    assert_eq!((&row("mine")["catalog_model"], &row("mine")["runtime"]), (&Value::Null, &json!("llamacpp")));
    assert!(installed["warnings"].to_string().contains("broken"), "{installed}");

    let (_, rows) = list(&snug, "/api/v1/models/Qwen3-8B").await;
    let here = |name: &str| rows.iter().find(|row| row["name"] == name).map(|row| row["installed"].clone());
    assert_eq!(here("Qwen/Qwen3-8B"), Some(json!(true)));
    assert!(rows.iter().filter(|row| row["installed"] == true).count() < rows.len());
}

#[tokio::test]
async fn many_at_once_who_come_early_are_all_answered() {
    let stage = fake();
    let snug = stage.start().await;
    let asked = (1..=12).map(|limit| (limit, format!("/api/v1/models/top?limit={limit}&max_context={}", 1024 * limit)));
    let answers = join_all(asked.map(async |(limit, path)| (limit, list(&snug, &path).await.1.len()))).await;
    for (limit, rows) in answers {
        assert_eq!(rows, limit);
    }
    assert_eq!(snug.get("/health").await.status, 200);
}
