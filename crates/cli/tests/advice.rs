//! The commands that advise, without a server, about machines that are made up: what they print must not depend on the
//! machine the tests run on. Of models only what stays when the catalogue grows is looked at.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Output, Stdio};

use axum::routing::get;
use axum::{Json, Router};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::{Value, json};
use tempfile::TempDir;

const MACHINE: &str = "2x RTX 4090, 128 GB";

/// The program with a home of its own and nothing else of this machine's environment.
fn snug(home: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snug"));
    command.args(arguments).env_clear().env("HOME", home.path()).current_dir(home.path()).stdin(Stdio::null());
    command
}

fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn finish(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Runs to the end about the made-up machine: stdout of a success.
fn told(arguments: &[&str]) -> String {
    let output = snug(&home(), &[arguments, &["--simulate", MACHINE]].concat()).output().unwrap();
    let (code, out, err) = finish(output);
    assert_eq!(code, 0, "{arguments:?}: {err}");
    out
}

/// What a person sees in a terminal of so many columns.
fn seen(columns: u16, variables: &[(&str, &str)], arguments: &[&str]) -> Vec<String> {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).and_then(|()| unlockpt(&terminal)).unwrap();
    tcsetwinsize(&terminal, Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let name = ptsname(&terminal, vec![]).unwrap();
    let screen = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let home = home();
    let mut command = snug(&home, &[arguments, &["--simulate", MACHINE]].concat());
    command.env("TERM", "xterm").envs(variables.iter().copied()).stdout(screen).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    // With the command goes the last hold on the other side, and reading ends.
    drop(command);
    let (mut text, mut piece) = (vec![], [0; 4096]);
    let mut terminal = File::from(terminal);
    while let Ok(count @ 1..) = terminal.read(&mut piece) {
        text.extend_from_slice(&piece[..count]);
    }
    assert!(child.wait().unwrap().success());
    String::from_utf8(text).unwrap().lines().map(|line| line.trim_end_matches('\r').to_owned()).collect()
}

#[test]
fn machines_are_described() {
    insta::assert_snapshot!(told(&["system"]), @r"
    2x RTX 4090, 128 GB (linux)
      CPU      unspecified processor, 16 cores
      RAM      128.0 GiB, 115.2 GiB available, reads 77 GB/s
      GPU      2 x NVIDIA GeForce RTX 4090, 24.0 GiB, 1008 GB/s
      Backend  CUDA
    ");
    let answer: Value = serde_json::from_str(&told(&["system", "--json"])).unwrap();
    assert_eq!((&answer["system"]["gpu_count"], &answer["system"]["simulated"]), (&json!(2), &json!(true)));
    assert!(told(&["doctor"]).contains("simulated"));
    assert!(serde_json::from_str::<Value>(&told(&["doctor", "--json"])).unwrap().is_object());

    let home = home();
    let run = |arguments: &[&str]| finish(snug(&home, arguments).output().unwrap());
    let file = json!({"name": "lab-1", "ram": "64G", "accelerators": [{"name": "RTX 3090", "count": 1}]});
    std::fs::write(home.path().join("lab.json"), file.to_string()).unwrap();
    let (code, out, _) = run(&["system", "--simulate", "lab.json", "--memory", "2x48G", "--ram", "256G"]);
    assert_eq!(code, 0);
    insta::assert_snapshot!(out, @r"
    lab-1 (linux)
      CPU      unspecified processor, 16 cores
      RAM      256.0 GiB, 230.4 GiB available, reads 77 GB/s
      GPU      2 x NVIDIA GeForce RTX 3090, 48.0 GiB, 936 GB/s
      Backend  CUDA
    ");
    std::fs::write(home.path().join("lab.json"), "{\"ram\": \"64G\", \"gpus\": []}").unwrap();
    let (code, _, err) = run(&["system", "--simulate", "lab.json"]);
    assert!(code == 2 && err.contains("lab.json") && err.contains("`accelerators`"), "{code} {err}");
}

#[test]
fn a_list_is_read_by_people_tables_and_programs() {
    let list: Value = serde_json::from_str(&told(&["fit", "qwen3", "--json"])).unwrap();
    let rows = list["models"].as_array().unwrap();
    assert!(rows.len() > 20 && list["total_models"] == rows.len(), "all of them, where a program reads");

    let csv = told(&["fit", "qwen3", "--csv"]);
    let (heading, lines) = csv.split_once('\n').unwrap();
    assert!(heading.starts_with("name,provider,params_b,") && heading.split(',').count() == 18);
    assert_eq!(lines.lines().count(), rows.len());
    for (line, row) in lines.lines().zip(rows) {
        assert!(line.starts_with(&format!("{},", row["name"].as_str().unwrap())), "{line} {row}");
    }

    let table = told(&["fit", "qwen3"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 21, "a heading and a screenful");
    let columns: Vec<&str> = lines[0].split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    let all = ["MODEL", "QUANT", "FIT", "TOK/S", "GIB", "SCORE", "RUNS ON", "CONTEXT", "USE", "RELEASED"];
    assert_eq!(columns, all);
    assert!(lines[1].starts_with(rows[0]["name"].as_str().unwrap()), "{table}");
    assert_eq!(told(&["fit", "qwen3", "-n", "3"]).lines().count(), 4);

    let (code, out, err) = finish(snug(&home(), &["fit", "no-such", "--simulate", MACHINE]).output().unwrap());
    assert_eq!((code, out.as_str()), (0, ""));
    assert!(err.contains("--all"), "{err}");
}

#[test]
fn eighty_columns_are_enough() {
    for search in [&[][..], &["qwen3"], &["nvidia"], &["embedding"], &["--use-case", "coding", "--all"]] {
        let arguments = [&["fit", "-n", "100"], search].concat();
        let lines = seen(80, &[("NO_COLOR", "1")], &arguments);
        let columns: Vec<&str> = lines[0].split_whitespace().collect();
        assert_eq!(columns[..6], ["MODEL", "QUANT", "FIT", "TOK/S", "GIB", "SCORE"], "{search:?}");
        assert!(lines.len() > 10, "{lines:#?}");
        for line in &lines {
            assert!(line.chars().count() <= 80 && !line.contains('\u{1b}'), "{line}");
            // The heading ends with the score, and so does every row.
            assert!(line.len() >= 60, "{line}");
        }
    }
    assert!(seen(80, &[], &["fit", "-n", "1"])[0].contains('\u{1b}'), "in colour, unless that is not wanted");
}

#[test]
fn a_model_is_told_of_and_planned_with() {
    let info = told(&["info", "qwen3-8b"]);
    let words: Vec<&str> = info.lines().filter_map(|line| line.split_whitespace().next()).collect();
    for word in
        ["Qwen/Qwen3-8B", "maker", "parameters", "context", "licence", "fit", "memory", "speed", "score", "GGUF"]
    {
        assert!(words.contains(&word), "{word}: {info}");
    }
    let info: Value = serde_json::from_str(&told(&["info", "qwen3-8b", "--json"])).unwrap();
    assert_eq!((&info["name"], &info["run_mode"]), (&json!("Qwen/Qwen3-8B"), &json!("gpu")));

    let plan = told(&["plan", "qwen3-235b-a22b", "--quant", "Q4_K_M", "--context", "4096"]);
    assert!(plan.starts_with("Qwen/Qwen3-235B-A22B as Q4_K_M, 1 x 4096 tokens of context, f16 cache\n"), "{plan}");
    let words: Vec<&str> = plan.lines().skip(2).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(words[..5], ["gpu", "moe", "cpu_offload", "cpu_only", "needs"], "{plan}");
    let plan: Value = serde_json::from_str(&told(&["plan", "qwen3-8b", "--slots", "4", "--json"])).unwrap();
    assert_eq!((&plan["slots"], &plan["feasible"]), (&json!(4), &json!(true)));

    let best = told(&["recommend", "-n", "2"]);
    let uses: Vec<&str> = best.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(uses, ["general", "coding", "reasoning", "chat", "multimodal", "embedding"]);
    assert_eq!(best.lines().count(), 6 * 5, "two lines for each of two models");
    let best: Value = serde_json::from_str(&told(&["recommend", "--use-case", "coding", "--json"])).unwrap();
    assert_eq!(best["coding"].as_array().map(Vec::len), Some(3));
}

#[test]
fn what_cannot_be_is_said_with_its_exit_code() {
    let home = home();
    for (code, arguments, words) in [
        (2, &["fit", "--sort", "name"][..], &["sort", "score|tps|params|mem|ctx|date|use_case"][..]),
        (2, &["fit", "--min-fit", "great"], &["min_fit", "perfect|good|marginal|too_tight"]),
        (2, &["fit", "--runtime", "onnx"], &["runtime", "any|mlx|llamacpp|vllm"]),
        (2, &["recommend", "--use-case", "poetry"], &["use_case", "general|coding"]),
        (2, &["fit", "--max-context", "0"], &["max_context", "tokens"]),
        (2, &["fit", "--cpu-cores", "0"], &["--cpu-cores", "1..=65536"]),
        (2, &["fit", "--csv", "--json"], &["--csv", "--json"]),
        (2, &["system", "--ram", "64"], &["--ram", "64 bytes", "24G"]),
        (2, &["system", "--memory", "much"], &["`much`", "2x24G"]),
        (2, &["plan", "qwen3-8b", "--quant", "Q9"], &["quant", "\"Q9\"", "Q4_K_M"]),
        (2, &["plan", "qwen3-8b", "--kv-quant", "q1"], &["kv_quant", "q8_0"]),
        (2, &["plan", "qwen3-8b", "--context", "41000"], &["context", "40960"]),
        (2, &["plan", "qwen3"], &["models have all of \"qwen3\"", "Qwen/Qwen3-"]),
        (2, &["info", "qwen3"], &["models have all of \"qwen3\"", "Qwen/Qwen3-"]),
        (4, &["plan", "no-such-model"], &["no model", "no-such-model"]),
        (4, &["info", "no-such-model"], &["no model", "no-such-model"]),
        (2, &["system", "--url", "http://127.0.0.1:1"], &["--simulate", "--url"]),
    ] {
        let output = snug(&home, &[arguments, &["--simulate", MACHINE]].concat()).output().unwrap();
        let (found, out, err) = finish(output);
        assert_eq!((found, out.as_str()), (code, ""), "{arguments:?}: {err}");
        for word in words {
            assert!(err.contains(word), "{word} in {err}");
        }
    }
    for (machine, word) in [("nonsense", "nonsense"), ("", "RTX 4090"), ("9x", "9x"), ("no-such-file.json", "no-such")]
    {
        let (code, _, err) = finish(snug(&home, &["fit", "--simulate", machine]).output().unwrap());
        assert!(code == 2 && err.contains("cannot simulate") && err.contains(word), "{machine}: {code} {err}");
    }
    for arguments in [&["info", "no-such-model", "--json"], &["plan", "no-such-model", "--json"]] {
        let output = snug(&home, &[&arguments[..], &["--simulate", MACHINE]].concat()).output().unwrap();
        let error: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!((output.status.code(), &error["error"]["code"]), (Some(4), &json!("model_not_found")));
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    for arguments in [&["fit"][..], &["fit", "--csv"], &["fit", "--json"], &["recommend"], &["info", "qwen3-8b"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let arguments = [arguments, &["--simulate", MACHINE]].concat();
        let output = snug(&home(), &arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(finish(output), (0, String::new(), String::new()), "{arguments:?}");
    }
}

#[test]
fn what_an_update_found_is_advised() {
    let model = json!({
        "id": "new/Model-Coder", "tags": ["license:mit", "conversational"], "pipeline_tag": "text-generation",
        "createdAt": "2026-09-01T00:00:00.000Z", "downloads": 1, "gated": false,
        "safetensors": {"parameters": {"BF16": 595_984_384}, "total": 595_984_384}
    });
    let config = json!({
        "model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
        "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936,
        "max_position_embeddings": 40960, "tie_word_embeddings": true
    });
    let router = Router::new()
        .route("/api/models", get(async move || Json(json!([model]))))
        .route("/new/Model-Coder/resolve/main/config.json", get(async move || Json(config)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let hub = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(async move { axum::serve(listener, router).await });

    let home = home();
    let run = |arguments: &[&str]| {
        finish(snug(&home, arguments).env("HF_ENDPOINT", &hub).env("NO_PROXY", "127.0.0.1").output().unwrap())
    };
    let status = || -> Value { serde_json::from_str(&run(&["catalog", "status", "--json"]).1).unwrap() };
    let before = status();
    assert_eq!((&before["all"], &before["files"]), (&before["embedded"], &json!([])));
    let look = ["fit", "new/model-coder", "--simulate", MACHINE, "--csv"];
    assert_eq!(run(&look).1.lines().count(), 1);

    let (code, out, err) = run(&["catalog", "update"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.starts_with("1 models added, 0 known before") && out.contains("  new/Model-Coder\n"), "{out}");
    let after = status();
    assert_eq!(after["all"].as_u64(), before["all"].as_u64().map(|all| all + 1));
    assert_eq!((&after["files"], &after["notes"]), (&json!(["catalogue.toml"]), &json!([])));
    let (_, out, _) = run(&look);
    assert!(out.lines().nth(1).is_some_and(|line| line.starts_with("new/Model-Coder,new,0.596,")), "{out}");
    let (code, out, _) = run(&["info", "new/Model-Coder", "--simulate", MACHINE]);
    assert!(code == 0 && out.contains("2026-09-01"), "{out}");

    // The hub is gone: said so, and nothing is lost.
    drop(runtime);
    let (code, _, err) = run(&["catalog", "update"]);
    assert!(code == 1 && err.contains("HF_ENDPOINT"), "{code} {err}");
    assert_eq!(status()["all"], after["all"]);
}
