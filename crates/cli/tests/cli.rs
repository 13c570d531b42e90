//! The built program as a shell sees it: arguments in; exit code, stdout and stderr out. The server is a small real one
//! that says what each test wants to hear.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

/// A server on a port of the system's choice, gone with the test.
struct Stub {
    url: String,
    _runtime: tokio::runtime::Runtime,
}

impl Stub {
    fn serve(router: Router) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { url, _runtime: runtime }
    }
}

/// The program with nothing of this machine's environment.
fn snug(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snug"));
    command.args(args).env_clear().env("HOME", "/nonexistent").stdin(Stdio::null());
    command
}

/// Runs to the end: exit code, stdout, stderr.
fn run(args: &[&str]) -> (i32, String, String) {
    finish(snug(args).output().unwrap())
}

fn ask(stub: &Stub, args: &[&str]) -> (i32, String, String) {
    finish(snug(args).env("SNUG_URL", &stub.url).output().unwrap())
}

fn finish(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// An event stream of these pieces; `then` says whether it ends or hangs.
fn events(pieces: Vec<String>, hangs: bool) -> Response {
    use futures_util::stream::{StreamExt, iter, pending};
    let pieces = iter(pieces).map(|piece| Ok::<_, Infallible>(Bytes::from(piece)));
    let body = if hangs { Body::from_stream(pieces.chain(pending())) } else { Body::from_stream(pieces) };
    ([("content-type", "text/event-stream")], body).into_response()
}

fn text_event(text: &str) -> String {
    format!("data: {}\n\n", json!({"choices": [{"delta": {"content": text}}]}))
}

fn loaded(model: &str) -> String {
    let answer = json!({"status": "loaded", "model": model, "variant": "Q4_1", "context_size": 4096, "load_ms": 1234});
    format!("event: progress\ndata: {{\"phase\":\"weights\",\"progress\":0.4}}\n\nevent: loaded\ndata: {answer}\n\n")
}

/// A server with the model `m`, and others that do not load.
fn server() -> Stub {
    let load = |request: Request| async move {
        let error = |code: &str, message: &str, details: Value| {
            let error = json!({"message": message, "type": "invalid_request_error", "param": "model", "code": code,
                "details": details});
            format!("event: error\ndata: {}\n\n", json!({ "error": error }))
        };
        let details = json!({"model": "broken", "variant": "", "context_requested": null,
            "error_code": "model_load_error", "reason": "file_corrupt", "recoverable": true,
            "action": "delete_and_redownload", "suggestion": "Delete the file and get it again.",
            "llama_log": "gguf: bad magic\nexiting"});
        let piece = match request.uri().path() {
            "/api/models/m/load" => loaded("m"),
            "/api/models/broken/load" => error("model_load_error", "broken did not load: the file is corrupt", details),
            _ => error("model_not_found", "there is no model `x`; there are m, broken", Value::Null),
        };
        events(vec![piece], false)
    };
    let chat = |Json(request): Json<Value>| async move {
        let said: Vec<&str> = request["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| message["content"].as_str().unwrap())
            .collect();
        let end = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\
            \"completion_tokens\":2}}\n\ndata: [DONE]\n\n";
        events(vec![text_event("You said: "), text_event(&said.join(" | ")), end.to_owned()], false)
    };
    let ps = || async {
        Json(json!({"models": [
            {"model": "SmolLM2-135M-Instruct", "variant": "Q4_1", "state": "Loaded", "instance_state": "ready",
             "vram_usage_mb": 0, "ram_usage_mb": 310, "estimated_vram_mb": 0, "context_size": 8192, "gpu_indices": [],
             "pinned": false, "backend": "llamacpp", "mode": "chat", "pid": 4242, "port": 40001, "active_requests": 0,
             "idle_ms": 12500, "load_ms": 700, "tokens_per_second": 71.26, "restarts": 0, "adopted": false,
             "device_allocations": []},
            {"model": "org/big", "variant": "", "state": "Loaded", "instance_state": "loading", "phase": "warm_up",
             "progress": 0.4, "vram_usage_mb": 20480, "ram_usage_mb": 0, "estimated_vram_mb": 20000, "context_size": 0,
             "gpu_indices": [0], "pinned": false, "backend": "llamacpp", "mode": "chat", "pid": null, "port": null,
             "active_requests": 3, "restarts": 0, "adopted": false, "device_allocations": []}]}))
    };
    let models = || async {
        let row = |model: &str, variant: &str, context: u64, factor: &str| {
            json!({"model": model, "variant": variant, "can_run": factor.is_empty(), "max_context_size": context,
                "limiting_factor": factor, "estimated_vram_mb": 0, "estimated_ram_mb": 300, "gpu_indices": [],
                "file_path": "/m", "file_size_bytes": 98_000_000, "mode": "chat", "provider": "llama",
                "state": "Unloaded", "present": true})
        };
        let mut bad = row("bad", "", 0, "");
        bad["error"] = json!("not a GGUF file: it begins with `<htm`\nmore");
        Json(json!({"models": [row("m", "Q4_1", 8192, ""), row("huge", "F16", 0, "vram"), bad]}))
    };
    let unload = || async { Json(json!({"status": "unloaded", "model": "m", "state": "Unloaded"})) };
    Stub::serve(
        Router::new()
            .route("/api/models", get(models))
            .route("/api/models/loaded", get(ps))
            .route("/api/models/m/unload", post(unload))
            .route("/api/models/{name}/load", post(load))
            .route("/v1/chat/completions", post(chat)),
    )
}

#[test]
fn help_lists_commands_and_exit_codes() {
    let (code, out, err) = run(&["--help"]);
    assert_eq!((code, err.as_str()), (0, ""));
    for word in ["serve", "run", "ps", "load", "unload", "models", "completions", "--json", "130  interrupted"] {
        assert!(out.contains(word), "{word} in {out}");
    }
    let (code, out, _) = run(&["serve", "--help"]);
    assert_eq!(code, 0);
    for flag in ["--models-dir", "--model <FILE>", "--idle-unload", "--keep-engines", "--llama-server"] {
        assert!(out.contains(flag), "{flag} in {out}");
    }
    assert_eq!(run(&["--version"]), (0, "snug 0.1.0\n".to_owned(), String::new()));
    assert_eq!(run(&["version", "--json"]).1, "{\"version\":\"0.1.0\"}\n");
}

#[test]
fn wrong_arguments_are_exit_2() {
    for args in [&["--frobnicate"][..], &["load"], &["frob"], &[], &["run", "m", "--temperature", "9"]] {
        let (code, out, err) = run(args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}");
        assert!(!err.is_empty(), "{args:?}");
    }
    let (code, _, err) = run(&["ps", "--json", "--frobnicate"]);
    let error: Value = serde_json::from_str(&err).unwrap();
    assert_eq!((code, &error["error"]["code"]), (2, &json!("usage")));
    let (code, _, err) = run(&["ps", "--url", "https://x"]);
    assert_eq!(code, 2);
    insta::assert_snapshot!(err, @r#"snug: cannot use `https://x` as the server's address: TLS is not supported; use http, on a network you trust"#);
}

#[test]
fn a_wrong_configuration_is_reported_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("snug.toml");
    std::fs::write(&file, "prot = 1\n[engine]\nslots = 65\n").unwrap();
    let output = snug(&["serve", "--config", "snug.toml", "--port", "x", "--memory", "much"])
        .current_dir(folder.path())
        .env("SNUG_RAM", "-")
        .output()
        .unwrap();
    let (code, out, err) = finish(output);
    assert_eq!((code, out.as_str()), (2, ""));
    insta::assert_snapshot!(err, @r#"
    snug: the configuration has mistakes:
      snug.toml:1: prot: unknown key; did you mean `port`?
      snug.toml:3: engine.slots: must be 1 to 64, is 65
      SNUG_RAM: must be a size, such as "24G" or "512M", is -
      --port: must be a whole number, is x
      --memory: must be a size, such as "24G" or "512M", is much
    "#);
}

#[test]
fn an_unreachable_server_is_exit_3() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for args in [&["ps"][..], &["models"], &["load", "m"], &["unload", "m"], &["run", "m", "hi"]] {
        let (code, out, err) = run(&[args, &["--url", &url]].concat());
        assert_eq!((code, out.as_str()), (3, ""), "{args:?}");
        let start = format!("snug: cannot reach snug at {url}; is `snug serve` running there? (");
        assert!(err.starts_with(&start), "{err}");
    }
    let (code, _, err) = run(&["ps", "--json", "--url", &url]);
    let error: Value = serde_json::from_str(&err).unwrap();
    assert_eq!((code, &error["error"]["code"]), (3, &json!("unreachable")));
}

#[test]
fn tables_read_well() {
    let stub = server();
    let (code, out, err) = ask(&stub, &["ps"]);
    assert_eq!((code, err.as_str()), (0, ""));
    insta::assert_snapshot!(out, @r#"
    MODEL                  VARIANT  STATE                       RAM      VRAM  CONTEXT  IN FLIGHT  IDLE  TOK/S   PORT   PID
    SmolLM2-135M-Instruct  Q4_1     ready                 310.0 MiB         -     8192          0  12 s   71.3  40001  4242
    org/big                -        loading warm up 40 %          -  20.0 GiB        -          3     -      -      -     -
    "#);
    let (code, out, err) = ask(&stub, &["models"]);
    assert_eq!((code, err.as_str()), (0, ""));
    insta::assert_snapshot!(out, @r#"
    MODEL  VARIANT      SIZE  MODE  MAX CONTEXT  NOTE
    m      Q4_1     93.5 MiB  chat         8192
    huge   F16      93.5 MiB  chat            -  does not fit: too little VRAM
    bad    -        93.5 MiB  chat            -  not a GGUF file: it begins with `<htm`
    "#);
}

#[test]
fn json_is_one_object() {
    let stub = server();
    for (args, pointer, expected) in [
        (&["ps", "--json"][..], "/models/0/pid", json!(4242)),
        (&["--json", "models"], "/models/0/variant", json!("Q4_1")),
        (&["load", "m", "--json"], "/context_size", json!(4096)),
        (&["unload", "m", "--json"], "/status", json!("unloaded")),
        (&["run", "m", "--json", "Hi"], "/text", json!("You said: Hi")),
    ] {
        let (code, out, err) = ask(&stub, args);
        assert_eq!((code, err.as_str()), (0, ""), "{args:?}");
        let object: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(object.pointer(pointer), Some(&expected), "{args:?}");
    }
}

#[test]
fn loading_says_how_it_went() {
    let stub = server();
    let (code, out, err) = ask(&stub, &["load", "m", "--context", "4096"]);
    assert_eq!((code, out.as_str()), (0, "m:Q4_1 loaded in 1 s, context 4096\n"));
    assert_eq!(err, "snug: loading m … weights\n");
    assert_eq!(ask(&stub, &["unload", "m"]), (0, "m unloaded\n".to_owned(), String::new()));

    let (code, out, err) = ask(&stub, &["load", "broken"]);
    assert_eq!((code, out.as_str()), (5, ""));
    insta::assert_snapshot!(err, @r#"
    snug: broken did not load: the file is corrupt
      Delete the file and get it again.
      The engine said:
        gguf: bad magic
        exiting
    "#);
    let (code, _, err) = ask(&stub, &["load", "broken", "--json"]);
    let error: Value = serde_json::from_str(&err).unwrap();
    assert_eq!((code, &error["error"]["details"]["reason"]), (5, &json!("file_corrupt")));

    let (code, _, err) = ask(&stub, &["run", "x", "Hi"]);
    assert_eq!((code, err.as_str()), (4, "snug: there is no model `x`; there are m, broken\n"));
}

#[test]
fn one_question_gets_one_answer() {
    let stub = server();
    let (code, out, err) = ask(&stub, &["run", "m", "--system", "Be brief.", "Why", "is", "it?"]);
    assert_eq!((code, out.as_str()), (0, "You said: Be brief. | Why is it?\n"));
    assert_eq!(err, "snug: loading m … weights\n");

    let mut child = snug(&["run", "m", "Sum up:"])
        .env("SNUG_URL", &stub.url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all("a long text, ä\n".as_bytes()).unwrap();
    let (code, out, _) = finish(child.wait_with_output().unwrap());
    assert_eq!((code, out.as_str()), (0, "You said: Sum up:\n\na long text, ä\n"));

    let (code, _, err) = ask(&stub, &["run", "m"]);
    assert_eq!(code, 2);
    assert_eq!(err, "snug: there is nothing to ask: neither a PROMPT nor text on standard input\n");
}

#[test]
fn an_interrupt_stops_the_answer() {
    let load = || async { events(vec![loaded("m")], false) };
    let chat = || async { events(vec![text_event("Once upon")], true) };
    let stub =
        Stub::serve(Router::new().route("/api/models/m/load", post(load)).route("/v1/chat/completions", post(chat)));
    let mut child = snug(&["run", "m", "Tell me a story"])
        .env("SNUG_URL", &stub.url)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut begin = [0; 9];
    out.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"Once upon");
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "\n");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let stub = server();
    for args in [&["models"][..], &["config"], &["completions", "bash"], &["run", "m", "Hi", "--json"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = snug(args).env("SNUG_URL", &stub.url).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(finish(output), (0, String::new(), String::new()), "{args:?}");
    }
}

#[test]
fn shells_and_files_get_their_texts() {
    for (shell, word) in [("bash", "complete -F _snug"), ("zsh", "#compdef snug"), ("fish", "complete -c snug")] {
        let (code, out, err) = run(&["completions", shell]);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.contains(word) && out.contains("unload"), "{shell}");
    }
    let (code, out, _) = run(&["config"]);
    assert!(code == 0 && out.contains("#port = 8787\n") && out.contains("[engine]\n"), "{out}");
}
