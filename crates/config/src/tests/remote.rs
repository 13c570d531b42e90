//! Providers, routes, the request log and the collector: what is read, and what is wrong with it.

use serde_json::json;

use super::*;

#[test]
fn providers_and_routes_are_read() {
    let config = load(
        r#"
        [gateway]
        max_queued = 7
        queue_wait = "3s"
        [request_log]
        file = "/var/log/requests.jsonl"
        bodies = true
        max_bytes = "1M"
        [tracing]
        otlp_endpoint = "http://collector:4318"
        service_name = "here"
        sample = 0.25
        [[providers]]
        name = "open.ai_1-x"
        api_key = "sk-1"
        models = ["gpt-5", "org/m"]
        [[providers]]
        name = "claude"
        kind = "anthropic"
        max_in_flight = 3
        idle_timeout = "1m"
        [[providers]]
        name = "other"
        base_url = "http://10.0.0.7:8787/v1/"
        [[routes]]
        id = "assistant"
        models = ["local", "claude/opus"]
        spread = "replicas"
        system = "Be brief."
        defaults = { temperature = 0.2, top_k = 40, stop = ["a", "b"], logit_bias = { "5" = -1.5 }, cache_prompt = false }
        [[routes]]
        id = "again"
        models = ["assistant"]
        "#,
    );
    assert_eq!((config.gateway.max_queued, config.gateway.queue_wait), (7, Duration::from_secs(3)));
    let log = &config.request_log;
    assert_eq!(log.file.as_deref(), Some(Path::new("/var/log/requests.jsonl")));
    assert_eq!((log.bodies, log.max_bytes), (true, ByteCount::mib(1)));
    let tracing = &config.tracing;
    assert_eq!(tracing.otlp_endpoint.as_deref(), Some("http://collector:4318"));
    assert_eq!((tracing.service_name.as_str(), tracing.sample), ("here", 0.25));
    let [openai, claude, other] = &config.providers[..] else { panic!("{:?}", config.providers) };
    assert_eq!((openai.name.as_str(), openai.kind), ("open.ai_1-x", Dialect::OpenAi));
    assert_eq!(openai.base_url(), "https://api.openai.com/v1");
    assert_eq!(
        (openai.api_key.as_ref().unwrap().expose(), &openai.models[..]),
        ("sk-1", &["gpt-5", "org/m"].map(String::from)[..])
    );
    assert_eq!((claude.kind, claude.base_url()), (Dialect::Anthropic, "https://api.anthropic.com"));
    assert_eq!((claude.max_in_flight, claude.idle_timeout), (3, Duration::from_secs(60)));
    assert_eq!((other.base_url(), &other.api_key), ("http://10.0.0.7:8787/v1", &None));
    let [assistant, again] = &config.routes[..] else { panic!("{:?}", config.routes) };
    assert_eq!((assistant.id.as_str(), assistant.spread), ("assistant", Spread::Replicas));
    assert_eq!(
        (assistant.models.join(" "), assistant.system.as_deref()),
        ("local claude/opus".into(), Some("Be brief."))
    );
    let defaults =
        json!({"temperature": 0.2, "top_k": 40, "stop": ["a", "b"], "logit_bias": {"5": -1.5}, "cache_prompt": false});
    assert_eq!(serde_json::Value::from(assistant.defaults.clone()), defaults);
    assert_eq!((again.spread, again.defaults.len(), &again.system), (Spread::Fallback, 0, &None));
}

#[test]
fn every_problem_of_them_is_told() {
    let text = r#"
[gateway]
max_queued = -1
queue_wait = "0s"
[request_log]
bodies = true
max_bytes = 1
[tracing]
otlp_endpoint = "https://collector"
service_name = ""
sample = 1.5
[[providers]]
kind = "openai"
[[providers]]
name = "snug"
base_url = "ftp://x"
models = ["a b"]
[[providers]]
name = "a/b"
base_url = "https://me:secret@host/v1"
idle_timeout = "0s"
max_in_flight = 0
[[providers]]
name = "one"
kind = "cohere"
api_key = 12345
[[providers]]
name = "one"
api_key = "sk-1"
api_key_file = "key"
[[providers]]
name = "two"
api_key_env = "NO_SUCH_KEY"
[[providers]]
name = "three"
api_key_file = "no-such-key"
[[providers]]
name = "four"
api_key = "two words"
[[models]]
id = "taken"
path = "a.gguf"
[[routes]]
models = ["x"]
[[routes]]
id = "taken"
models = []
[[routes]]
id = "r"
models = ["x", "x", "/y"]
spread = "random"
[[routes]]
id = "r"
models = ["x"]
defaults = { model = "y" }
[[routes]]
id = "s"
models = ["x"]
defaults = { system = "y" }
sistem = "z"
[[routes]]
id = "d"
models = ["x"]
defaults = { day = 1979-05-27 }
"#;
    insta::assert_snapshot!(load_error(text), @r#"
    snug.toml:3: gateway.max_queued: must be 0 or more, is -1
    snug.toml:4: gateway.queue_wait: must be 1ms to 7days, is 0s
    snug.toml:6: request_log.bodies: needs request_log.file: without it nothing is written
    snug.toml:7: request_log.max_bytes: must be at least 64 KiB, is 1 B
    snug.toml:9: tracing.otlp_endpoint: must be reached by http; where it is elsewhere, run a collector on this machine that passes spans on
    snug.toml:10: tracing.service_name: must be 1 to 255 bytes
    snug.toml:11: tracing.sample: must be 0 to 1, is 1.5
    snug.toml:13: providers[0].name: is required: the first part of its models' ids
    snug.toml:15: providers[1].name: "snug" is this machine; choose another name
    snug.toml:16: providers[1].base_url: must be an address such as "https://example.org/v1", is "ftp://x"
    snug.toml:17: providers[1].models: "a b": must be 1 to 200 bytes without blanks, `?`, `#` or `\`
    snug.toml:19: providers[2].name: must be 1 to 64 letters, digits, `.`, `_` or `-`
    snug.toml:20: providers[2].base_url: must be an address such as "https://example.org/v1", without a user before its host
    snug.toml:21: providers[2].idle_timeout: must be 1s to 7days, is 0s
    snug.toml:22: providers[2].max_in_flight: must be 1 to 1000000, is 0
    snug.toml:25: providers[3].kind: must be one of openai, anthropic, is "cohere"
    snug.toml:26: providers[3].api_key: must be text in quotes
    snug.toml:28: providers[4].name: "one" is taken by providers[3]; every name must be its own
    snug.toml:30: providers[4].api_key_file: is one place too many: write the key here or there
    snug.toml:33: providers[5].api_key_env: the environment has no variable NO_SUCH_KEY
    snug.toml:36: providers[6].api_key_file: cannot read no-such-key: No such file or directory (os error 2)
    snug.toml:39: providers[7].api_key: must be a key: letters, digits and punctuation on one line
    snug.toml:44: routes[0].id: is required: what requests call it
    snug.toml:46: routes[1].id: "taken" is taken by models[0]; every id must be its own
    snug.toml:47: routes[1].models: must name 1 to 100 models, such as ["my-model"]
    snug.toml:50: routes[2].models: names "x" twice
    snug.toml:50: routes[2].models: "/y": must not begin or end with `/`, nor have empty or dotted parts
    snug.toml:51: routes[2].spread: must be one of fallback, replicas, is "random"
    snug.toml:53: routes[3].id: "r" is taken by routes[2]; every id must be its own
    snug.toml:55: routes[3].defaults: must not contain model: each request says that
    snug.toml:59: routes[4].defaults: must not contain system: write `system` of the route
    snug.toml:60: routes[4].sistem: unknown key; did you mean `system`?
    snug.toml:64: routes[5].defaults: must be values that JSON has, too, is 1979-05-27
    "#);
}

/// The way back to itself that these routes have, each written as `id = members`; nothing where there is none.
#[track_caller]
fn check_ways(routes: &[(&str, &[&str])], expected: &str) {
    let text: String =
        routes.iter().map(|(id, models)| format!("[[routes]]\nid = {id:?}\nmodels = {models:?}\n")).collect();
    let (_folder, sources) = written("snug.toml", &text);
    let report = Config::load(&sources).map_or_else(|_| report(&sources), |_| String::new());
    assert_eq!(report, expected, "{routes:?}");
}

#[test]
fn routes_do_not_lead_back_to_themselves() {
    check_ways(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &["model"])], "");
    check_ways(&[("a", &["a"])], "snug.toml:3: routes[0].models: leads back to itself: a → a");
    check_ways(
        &[("x", &["m", "a"]), ("a", &["m", "b"]), ("b", &["c", "m"]), ("c", &["m", "a"])],
        "snug.toml:12: routes[3].models: leads back to itself: a → b → c → a",
    );
    check_ways(
        &[("a", &["b"]), ("b", &["a"]), ("c", &["d"]), ("d", &["c"])],
        "snug.toml:6: routes[1].models: leads back to itself: a → b → a\n\
         snug.toml:12: routes[3].models: leads back to itself: c → d → c",
    );
    let chain = |length: usize| -> Vec<(String, Vec<String>)> {
        (0..length).map(|index| (format!("r{index}"), vec![format!("r{}", index + 1)])).collect()
    };
    let check_chain = |length: usize, expected: &str| {
        let chain = chain(length);
        let members: Vec<Vec<&str>> = chain.iter().map(|(_, to)| to.iter().map(String::as_str).collect()).collect();
        let routes: Vec<(&str, &[&str])> =
            chain.iter().zip(&members).map(|((id, _), to)| (id.as_str(), &to[..])).collect();
        check_ways(&routes, expected);
    };
    check_chain(8, "");
    check_chain(9, "snug.toml:3: routes[0].models: leads through more than 8 routes to a model; name models sooner");
    check_chain(
        300,
        "snug.toml:876: routes[291].models: leads through more than 8 routes to a model; name models sooner",
    );
}

#[test]
fn keys_are_read_from_where_they_lie_and_not_shown() {
    let text =
        "[[providers]]\nname = \"a\"\napi_key_env = \"THE_KEY\"\n[[providers]]\nname = \"b\"\napi_key_file = \"key\"\n";
    let (folder, mut sources) = written("snug.toml", text);
    sources.environment.insert("THE_KEY".to_owned(), "sk-from-env".to_owned());
    std::fs::write(folder.path().join("key"), "  sk-from-file\n").unwrap();
    let config = Config::load(&sources).unwrap();
    let keys: Vec<&str> = config.providers.iter().map(|one| one.api_key.as_ref().unwrap().expose()).collect();
    assert_eq!(keys, ["sk-from-env", "sk-from-file"]);
    assert!(!format!("{config:?}").contains("sk-from"), "{config:?}");

    // Nor when something is wrong with them.
    std::fs::write(folder.path().join("key"), "sk-from-file\nsk-second\n").unwrap();
    sources.environment.insert("THE_KEY".to_owned(), "sk from env".to_owned());
    let told = report(&sources);
    assert!(told.contains("THE_KEY must be a key") && told.contains("key must be a key"), "{told}");
    assert!(!told.contains("sk"), "{told}");
}
