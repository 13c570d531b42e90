//! Names with slashes, raw and encoded, on every route that takes a name.

use serde_json::json;
use testkit::gguf;

use crate::shape::STATES;
use crate::stage::{beside, fake};
use crate::table::{Table, delete, error, get, post, put, row};

#[tokio::test]
async fn names_with_slashes_work_on_every_route() {
    let stage = fake();
    let path = beside(&stage, "elsewhere-Q4_K_M.gguf");
    let model = gguf::ChatModel::default().file();
    model.write(&path).unwrap();
    let snug = stage.start().await;
    let mut table = Table::of(&snug);
    // A plain one; some whose parts are words of the routes; one with letters that have to be encoded.
    for (name, spellings) in [
        ("org/name", ["org/name", "org%2Fname", "org%2fname"]),
        ("load/files", ["load/files", "load%2Ffiles", "load%2ffiles"]),
        ("config-x/download", ["config-x/download", "config-x%2Fdownload", "config%2Dx%2Fdownload"]),
        ("org/naïve-name+1", ["org/na%C3%AFve-name+1", "org%2Fna%C3%AFve-name%2B1", "org/na%c3%afve-name%2b1"]),
    ] {
        let config = json!({
            "model": name,
            "provider": "llama",
            "file_path": path,
            "variants": [{ "quantization": "Q4_K_M", "file_size_mb": 1 }]
        });
        table
            .row(row(
                "3.3",
                format!("`{name}` is added"),
                put("/api/models/config").json(config),
                200,
                json!({ "added": [name] }),
            ))
            .await;
        for spelling in spellings {
            let says = |what: &str| format!("{what} of `{name}` as `{spelling}`");
            let status = |status: &str| json!({ "status": status, "model": name });
            let flagged = |status: &str| json!({ "status": status, "model": name, "variant": "Q4_K_M" });
            let models = format!("/api/models/{spelling}");
            let storage = format!("/api/storage/models/{spelling}");
            let flags = format!("{models}/variants/Q4_K_M");
            let one = json!({ "variant": "Q4_K_M", "filename": "elsewhere-Q4_K_M.gguf" });
            table
                .rows([
                    row(
                        "3.1",
                        says("the row"),
                        get(format!("/v1/models/{spelling}")),
                        200,
                        json!({ "id": name, "object": "model" }),
                    ),
                    row(
                        "3.3",
                        says("the config"),
                        get(format!("/api/models/config/{spelling}")),
                        200,
                        json!({ "model": name, "provider": "llama" }),
                    ),
                    row("3.2", says("a load"), post(format!("{models}/load?variant=Q4_K_M")), 200, status("loaded")),
                    row("3.2", says("a pin"), post(format!("{models}/pin")), 200, status("pinned")),
                    row("3.2", says("an unpin"), post(format!("{models}/unpin")), 200, status("unpinned")),
                    row(
                        "3.2",
                        says("a download"),
                        post(format!("{models}/download")),
                        200,
                        status("already_available"),
                    ),
                    row(
                        "3.2",
                        says("the state of the download"),
                        get(format!("{models}/download")),
                        200,
                        json!({ "model": name, "state": STATES }),
                    ),
                    row("3.2", says("an unload"), post(format!("{models}/unload")), 200, status("unloaded")),
                    row(
                        "3.5",
                        says("the files"),
                        get(&storage),
                        200,
                        json!({ "model": name, "variants": [one.clone()] }),
                    ),
                    row("3.5", says("a variant"), get(format!("{storage}/variants/Q4_K_M")), 200, one.clone()),
                    row("3.5", says("a variant by the shorter path"), get(format!("{storage}/Q4_K_M")), 200, one),
                    row("3.5", says("hot ready"), post(format!("{flags}/hot-ready")), 200, flagged("hot_ready_set")),
                    row(
                        "3.5",
                        says("a guarded file"),
                        delete(format!("{models}/files")),
                        409,
                        json!({ "hot_ready": true, "protected": false }),
                    ),
                    row(
                        "3.5",
                        says("hot ready, cleared"),
                        delete(format!("{flags}/hot-ready")),
                        200,
                        flagged("hot_ready_cleared"),
                    ),
                    row("3.5", says("protection"), post(format!("{flags}/protected")), 200, flagged("protected_set")),
                    row(
                        "3.5",
                        says("protection, cleared"),
                        delete(format!("{flags}/protected")),
                        200,
                        flagged("protected_cleared"),
                    ),
                    row(
                        "3.5",
                        says("another variant's files"),
                        delete(format!("{models}/files?variant=Q2_K")),
                        404,
                        error("not_found_error"),
                    ),
                ])
                .await;
        }
        let spelling = spellings[1];
        table
            .rows([
                row(
                    "3.3",
                    format!("`{name}` is removed"),
                    delete(format!("/api/models/config/{spelling}")),
                    200,
                    json!({ "status": "removed", "model": name }),
                ),
                row(
                    "3.1",
                    format!("`{name}` is gone"),
                    get(format!("/v1/models/{spelling}")),
                    404,
                    error("not_found_error"),
                ),
            ])
            .await;
    }
    table.done();
}

#[tokio::test]
async fn the_body_of_a_chat_takes_them_as_they_are() {
    let stage = fake();
    let path = beside(&stage, "elsewhere-Q4_K_M.gguf");
    gguf::ChatModel::default().file().write(&path).unwrap();
    let snug = stage.start().await;
    let config = json!({
        "model": "org/name", "provider": "llama", "file_path": path,
        "variants": [{ "quantization": "Q4_K_M", "file_size_mb": 1 }]
    });
    let added = snug.post("/api/models/config", &config).await;
    assert_eq!(added.status, 201, "{added:?}");
    for name in ["org/name", "org/name:Q4_K_M"] {
        let answer = snug.chat(name, json!({ "max_tokens": 1 })).await.ok();
        assert_eq!(answer["object"], "chat.completion", "{name}");
    }
    assert_eq!(snug.loaded().await.iter().filter(|row| row["model"] == "org/name").count(), 1);
}
