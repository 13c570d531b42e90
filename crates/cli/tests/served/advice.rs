//! The commands that advise, asked of a running server: they tell what it tells, and fail as they do without one.

use serde_json::Value;

use crate::commands::ask;
use crate::support::fake;

#[tokio::test]
async fn the_server_is_asked_if_there_is_one() {
    let stage = fake().model("Qwen3-8B-F32.gguf", &testkit::gguf::ChatModel::default().file());
    let snug = stage.start().await;
    let tell = async |arguments: &[&str]| ask(&stage, &snug, arguments, "").await;
    let (code, out, error) = tell(&["fit", "qwen3-8b", "--json"]).await;
    assert_eq!((code, error.as_str()), (0, ""));
    let list: Value = serde_json::from_str(&out).unwrap();
    let asked = snug.get("/api/v1/models?search=qwen3-8b&include_too_tight=false").await.ok();
    assert_eq!(list["models"], asked["models"]);
    let here = |row: &&Value| row["name"] == "Qwen/Qwen3-8B";
    let row = list["models"].as_array().unwrap().iter().find(here).unwrap();
    assert_eq!(row["installed"], true, "only the server knows");

    let (code, out, _) = tell(&["system", "--json"]).await;
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &answer["node"]), (0, &snug.get("/api/v1/system").await.ok()["node"]));
    for arguments in [&["info", "Qwen/Qwen3-8B"][..], &["plan", "Qwen/Qwen3-8B"], &["recommend", "-n", "1"]] {
        let (code, out, error) = tell(arguments).await;
        assert!(code == 0 && out.lines().count() > 3, "{arguments:?}: {out} {error}");
    }
    for (code, arguments, word) in [
        (2, &["fit", "--sort", "name"][..], "score|tps"),
        (2, &["recommend", "--use-case", "poetry"], "general|coding"),
        (2, &["plan", "qwen3-8b", "--quant", "Q9"], "Q4_K_M"),
        (2, &["plan", "qwen3"], "Qwen/Qwen3-"),
        (2, &["info", "qwen3"], "Qwen/Qwen3-"),
        (4, &["plan", "no-such-model"], "no-such-model"),
        (4, &["info", "no-such-model"], "no-such-model"),
        (2, &["system", "--memory", "24G", "--url", &snug.url], "--memory"),
        (2, &["doctor", "--url", &snug.url], "doctor"),
    ] {
        let (found, out, error) = tell(arguments).await;
        assert!((found, out.as_str()) == (code, "") && error.contains(word), "{arguments:?}: {found} {error}");
    }
    // A machine that is made up is none of the server's business, wherever the environment says it is.
    let (code, out, error) = tell(&["system", "--simulate", "RTX 4090, 64 GB"]).await;
    assert!(code == 0 && out.contains("RTX 4090"), "{error}");
}
