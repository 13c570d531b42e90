//! API keys and what was used: `/api/api-keys`, `/api/usage`, `snug keys`.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use store::{Store, UsageRow, UsageSums};
use testkit::{Method, Snug, Stage};
use types::KeyId;

use crate::commands::ask;
use crate::support::fake;

const JSON: (&str, &str) = ("content-type", "application/json");

async fn create(snug: &Snug<'_>, body: Value) -> Value {
    snug.post("/api/api-keys", &body).await.ok()
}

async fn patch(snug: &Snug<'_>, id: &Value, body: Value) -> testkit::Answer {
    snug.send(Method::PATCH, &format!("/api/api-keys/{id}"), &[JSON], &body.to_string()).await
}

async fn list(snug: &Snug<'_>) -> Vec<Value> {
    snug.get("/api/api-keys").await.ok().as_array().expect("a bare list").clone()
}

/// All that snug wrote: its log and its database, with what is not in the main file yet.
fn written(stage: &Stage, snug: &Snug<'_>) -> String {
    let files = ["snug.db", "snug.db-wal"].map(|name| std::fs::read(stage.data_dir().join(name)).unwrap_or_default());
    files.iter().fold(snug.log(), |text, file| text + &String::from_utf8_lossy(file))
}

#[tokio::test]
async fn a_key_is_shown_once_and_kept_as_a_hash() {
    let stage = fake();
    let snug = stage.start().await;
    assert_eq!(list(&snug).await, Vec::<Value>::new());
    let created = create(&snug, json!({ "label": "notebook" })).await;
    let secret = created["key"].as_str().unwrap();
    assert!(secret.starts_with("snug-") && secret.len() == 37, "{secret}");
    let expected = json!({
        "id": 1, "label": "notebook", "prefix": secret[..11], "kind": "permanent", "created_at": created["created_at"],
        "expires_at": null, "last_used_at": null, "deployment_ids": null, "models": null, "endpoints": null,
        "owner": null,
        "limits": {
            "requests_per_minute": null, "tokens_per_minute": null, "tokens_per_day": null, "max_in_flight": null,
        },
    });
    let mut shown = created.clone();
    shown.as_object_mut().unwrap().remove("key");
    assert_eq!(shown, expected);
    assert_eq!(list(&snug).await, std::slice::from_ref(&expected));
    assert_eq!(snug.get("/api/api-keys/").await.ok(), json!([expected]), "with a slash as well");

    let more = snug
        .send(Method::POST, "/api/api-keys/", &[], &json!({
            "label": "team", "owner": "ml", "models": ["a", "qwen/*"], "endpoints": ["messages"], "deployment_ids": [7],
            "limits": { "requests_per_minute": 5, "max_in_flight": 2 },
        }).to_string())
        .await
        .ok();
    assert_eq!((&more["models"], &more["owner"]), (&json!(["a", "qwen/*"]), &json!("ml")));
    assert_eq!((&more["limits"]["requests_per_minute"], &more["limits"]["tokens_per_day"]), (&json!(5), &json!(null)));

    let written = written(&stage, &snug);
    for secret in [secret, more["key"].as_str().unwrap()] {
        assert!(!written.contains(secret) && !written.contains(&secret[11..]), "a secret was written down");
    }
    assert!(written.contains(&secret[..11]), "what is looked at has what is kept");

    snug.terminate();
    drop(snug);
    let snug = stage.start().await;
    assert_eq!(list(&snug).await.iter().map(|key| &key["label"]).collect::<Vec<_>>(), ["notebook", "team"]);
}

#[tokio::test]
async fn a_change_names_what_it_changes() {
    let stage = fake();
    let snug = stage.start().await;
    let limits = json!({ "requests_per_minute": 5, "tokens_per_day": 100 });
    let made =
        create(&snug, json!({ "label": "a", "deployment_ids": [1, 2], "models": ["m"], "limits": limits })).await;
    let id = &made["id"];
    let check = async |change: Value, expected: &[(&str, Value)]| {
        let before = list(&snug).await[0].clone();
        let after = patch(&snug, id, change.clone()).await.ok();
        let mut wanted = before;
        for (pointer, value) in expected {
            *wanted.pointer_mut(pointer).unwrap() = value.clone();
        }
        assert_eq!(after, wanted, "{change}");
        assert_eq!(list(&snug).await, [after], "{change}");
    };
    check(json!({ "label": "b" }), &[("/label", json!("b"))]).await;
    check(json!({}), &[]).await;
    check(json!({ "label": null }), &[]).await;
    check(json!({ "deployment_ids": [3] }), &[("/deployment_ids", json!([3]))]).await;
    check(json!({ "deployment_ids": null }), &[("/deployment_ids", json!(null))]).await;
    check(json!({ "models": [] }), &[("/models", json!([]))]).await;
    check(
        json!({ "endpoints": ["embeddings"], "owner": "x" }),
        &[("/endpoints", json!(["embeddings"])), ("/owner", json!("x"))],
    )
    .await;
    check(json!({ "owner": null }), &[("/owner", json!(null))]).await;
    check(
        json!({ "limits": { "tokens_per_day": null, "max_in_flight": 3 } }),
        &[("/limits/tokens_per_day", json!(null)), ("/limits/max_in_flight", json!(3))],
    )
    .await;
    check(
        json!({ "limits": null }),
        &[("/limits/requests_per_minute", json!(null)), ("/limits/max_in_flight", json!(null))],
    )
    .await;

    patch(&snug, &json!(99), json!({ "label": "x" })).await.refusal(404, "api_key_not_found");
    let temporary = create(&snug, json!({ "label": "t", "ttl_seconds": 600, "models": ["m"] })).await;
    patch(&snug, &temporary["id"], json!({ "label": "x" })).await.refusal(409, "api_key_temporary");
    let delete = async |id: &Value| snug.send(Method::DELETE, &format!("/api/api-keys/{id}"), &[], "").await;
    for id in [id, &temporary["id"]] {
        let gone = delete(id).await;
        assert_eq!((gone.status, gone.text.as_str()), (204, ""));
        delete(id).await.refusal(404, "api_key_not_found");
    }
    assert_eq!(list(&snug).await, Vec::<Value>::new());
}

#[tokio::test]
async fn what_is_wrong_is_said_field_by_field() {
    let stage = fake();
    let snug = stage.start().await;
    let check = async |body: &str, expected: &[(Value, &str)]| {
        let answer = snug.send(Method::POST, "/api/api-keys", &[JSON], body).await;
        let detail = answer.json()["detail"].clone();
        let seen: Vec<_> =
            detail.as_array().unwrap().iter().map(|one| (one["loc"].clone(), one["type"].clone())).collect();
        let expected: Vec<_> = expected.iter().map(|(loc, kind)| (loc.clone(), json!(kind))).collect();
        assert_eq!(seen, expected, "{body}: {detail}");
        assert!(detail.as_array().unwrap().iter().all(|one| one["msg"].as_str().is_some_and(|msg| !msg.is_empty())));
        let code = if expected[0].1 == "json_invalid" { "invalid_json" } else { "invalid_request" };
        answer.refusal(422, code)
    };
    check("", &[(json!(["body"]), "missing")]).await;
    check("{", &[(json!(["body"]), "json_invalid")]).await;
    check("[]", &[(json!(["body"]), "object_type")]).await;
    let error = check("{}", &[(json!(["body", "label"]), "missing")]).await;
    assert_eq!(error["param"], "label");
    check(r#"{"label":""}"#, &[(json!(["body", "label"]), "string_too_short")]).await;
    let long = json!({ "label": "ü".repeat(129) }).to_string();
    check(&long, &[(json!(["body", "label"]), "string_too_long")]).await;
    for ttl in ["0", "-1"] {
        let body = format!(r#"{{"label":"a","ttl_seconds":{ttl},"deployment_ids":[1]}}"#);
        check(&body, &[(json!(["body", "ttl_seconds"]), "greater_than_equal")]).await;
    }
    let body = r#"{"label":"a","ttl_seconds":86401,"deployment_ids":[1]}"#;
    check(body, &[(json!(["body", "ttl_seconds"]), "less_than_equal")]).await;
    let error = check(r#"{"label":"a","ttl_seconds":60}"#, &[(json!(["body", "deployment_ids"]), "missing")]).await;
    assert!(error["message"].as_str().unwrap().contains("or by `models`"), "{error}");
    let body = r#"{"label":"a","deployment_ids":["x"],"models":["a*b"],"endpoints":["telepathy"],"limits":{"rpm":1,"max_in_flight":0},"modles":[]}"#;
    check(
        body,
        &[
            (json!(["body", "modles"]), "extra_forbidden"),
            (json!(["body", "deployment_ids", 0]), "int_type"),
            (json!(["body", "models", 0]), "value_error"),
            (json!(["body", "endpoints", 0]), "enum"),
            (json!(["body", "limits", "rpm"]), "extra_forbidden"),
            (json!(["body", "limits", "max_in_flight"]), "greater_than_equal"),
        ],
    )
    .await;
    let error = snug.send(Method::DELETE, "/api/api-keys/first", &[], "").await.refusal(422, "invalid_request");
    assert_eq!(error["param"], "key_id");
    snug.send(Method::PUT, "/api/api-keys/1", &[], "{}").await.refusal(405, "method_not_allowed");
    assert_eq!(list(&snug).await, Vec::<Value>::new());

    // The bounds themselves are good.
    create(&snug, json!({ "label": "ü".repeat(128), "ttl_seconds": 86_400, "deployment_ids": [] })).await;
    create(&snug, json!({ "label": "a", "ttl_seconds": 1, "models": ["*"] })).await;
}

#[tokio::test]
async fn keys_are_managed_from_here_or_with_the_admin_token() {
    let stage = fake();
    let snug = stage.start().await;
    let from_afar = [("x-forwarded-for", "10.0.0.7")];
    for (method, path) in [
        (Method::GET, "/api/api-keys"),
        (Method::POST, "/api/api-keys"),
        (Method::PATCH, "/api/api-keys/1"),
        (Method::DELETE, "/api/api-keys/1"),
        (Method::GET, "/api/usage"),
    ] {
        snug.send(method, path, &from_afar, "{}").await.refusal(401, "admin_token_required");
    }
    // A key opens models, not the management of keys.
    let secret = create(&snug, json!({ "label": "a" })).await["key"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {secret}");
    let headers = [from_afar[0], ("authorization", bearer.as_str())];
    snug.send(Method::GET, "/api/api-keys", &headers, "").await.refusal(401, "admin_token_required");
}

#[tokio::test]
async fn a_temporary_key_that_is_over_is_not_listed() {
    let stage = fake();
    let snug = stage.start().await;
    create(&snug, json!({ "label": "short", "ttl_seconds": 1, "models": ["*"] })).await;
    create(&snug, json!({ "label": "long", "ttl_seconds": 600, "models": ["*"] })).await;
    let labels = async || -> Vec<Value> { list(&snug).await.iter().map(|key| key["label"].clone()).collect() };
    testkit::eventually("the short one is over", async || (labels().await == ["long"]).then_some(())).await;
    let id = json!(1);
    patch(&snug, &id, json!({ "label": "x" })).await.refusal(404, "api_key_not_found");
}

#[tokio::test]
async fn usage_is_told_apart_as_asked() {
    let stage = fake();
    let snug = stage.start().await;
    let id = create(&snug, json!({ "label": "notebook", "owner": "ml" })).await["id"].as_i64().unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let row = |ago: Duration, key: i64, model: &str, requests| UsageRow {
        at_ms: i64::try_from((now - ago).as_millis()).unwrap(),
        key: (key > 0).then(|| KeyId::new(key)),
        key_label: if key > 0 { "notebook".to_owned() } else { String::new() },
        owner: if key > 0 { "ml".to_owned() } else { String::new() },
        model: model.to_owned(),
        endpoint: "chat_completions".to_owned(),
        sums: UsageSums {
            requests,
            errors: 1,
            prompt_tokens: requests * 10,
            completion_tokens: requests,
            cached_tokens: 2,
            duration_ms: 5,
        },
    };
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let store = Store::open(&stage.data_dir().join("snug.db")).await.unwrap();
    let rows =
        [row(hours(1), id, "m", 8), row(hours(2), id, "n", 4), row(hours(1), 0, "m", 2), row(hours(30), id, "m", 1)];
    store.add_usage(&rows).await.unwrap();

    let usage = async |query: &str| snug.get(&format!("/api/usage{query}")).await.ok();
    let all = usage("").await;
    let total = json!({
        "requests": 14, "errors": 3, "prompt_tokens": 140, "completion_tokens": 14, "total_tokens": 154,
        "cached_tokens": 6, "duration_ms": 15,
    });
    assert_eq!((&all["total"], &all["rows"], &all["group_by"]), (&total, &json!([]), &json!([])));
    let rows = async |query: &str| -> Vec<(Value, u64)> {
        let answer = usage(query).await;
        let named = |row: &Value| {
            let mut row = row.as_object().unwrap().clone();
            let requests = row["requests"].as_u64().unwrap();
            total.as_object().unwrap().keys().for_each(|name| drop(row.remove(name)));
            (Value::Object(row), requests)
        };
        answer["rows"].as_array().unwrap().iter().map(named).collect()
    };
    let notebook = json!({ "key_id": id, "key_label": "notebook" });
    assert_eq!(rows("?group_by=key").await, [(notebook, 12), (json!({ "key_id": 0, "key_label": "" }), 2)]);
    assert_eq!(rows("?group_by=model&since=2d").await, [(json!({ "model": "m" }), 11), (json!({ "model": "n" }), 4)]);
    let by_owner = [(json!({ "owner": "ml", "model": "m" }), 8), (json!({ "owner": "ml", "model": "n" }), 4)];
    assert_eq!(rows("?group_by=owner,model&owner=ml").await, by_owner);
    assert_eq!(rows("?group_by=endpoint&key=0").await, [(json!({ "endpoint": "chat_completions" }), 2)]);
    let hourly = usage("?group_by=hour&since=5h").await;
    assert!(hourly["rows"].as_array().unwrap().iter().all(|row| row["time"].as_str().unwrap().ends_with(":00:00Z")));

    let error = snug.get("/api/usage?group_by=user").await.refusal(400, "invalid_request");
    assert!(
        error["param"] == "group_by" && error["message"].as_str().unwrap().contains("key, model, owner"),
        "{error}"
    );
    let error = snug.get("/api/usage?user=me").await.refusal(400, "invalid_request");
    assert!(error["message"].as_str().unwrap().contains("since, until, group_by"), "{error}");
    snug.get("/api/usage?since=soon").await.refusal(400, "invalid_request");
    // What a key used is still told once it is gone.
    snug.send(Method::DELETE, &format!("/api/api-keys/{id}"), &[], "").await;
    assert_eq!(rows("?group_by=key").await[0].0["key_label"], "notebook");
}

#[tokio::test]
async fn the_command_line_makes_lists_and_deletes() {
    let stage = fake();
    let snug = stage.start().await;
    let (code, out, error) = ask(&stage, &snug, &["keys"], "").await;
    assert!(code == 0 && out.is_empty() && error.contains("without a key"), "{code} {out} {error}");
    let arguments =
        ["keys", "add", "notebook", "--models", "a,qwen/*", "--owner", "ml", "--rpm", "60", "--tpm", "10000"];
    let (code, out, error) = ask(&stage, &snug, &arguments, "").await;
    assert!(code == 0 && out.starts_with("snug-") && out.trim().len() == 37, "{out} {error}");
    assert!(error.contains("shown this once"), "{error}");
    let (code, json, _) =
        ask(&stage, &snug, &["keys", "add", "short", "--ttl", "1h", "--models", "*", "--json"], "").await;
    let short: Value = serde_json::from_str(&json).unwrap();
    assert!(code == 0 && short["kind"] == "temporary" && short["key"].is_string(), "{json}");

    let (code, listed, error) = ask(&stage, &snug, &["keys"], "").await;
    assert!(code == 0 && error.is_empty(), "{error}");
    for word in ["ID", "notebook", &out[..11], "a,qwen/*", "60 requests/min, 10000 tokens/min", "ml", "short", "never"]
    {
        assert!(listed.contains(word), "{word}: {listed}");
    }
    assert!(!listed.contains(out.trim()), "{listed}");
    let (_, listed, _) = ask(&stage, &snug, &["keys", "--json"], "").await;
    let labels: Vec<Value> = serde_json::from_str(&listed).unwrap();
    assert_eq!(labels.iter().map(|key| &key["label"]).collect::<Vec<_>>(), ["notebook", "short"]);

    let (code, out, _) = ask(&stage, &snug, &["keys", "rm", "1"], "").await;
    assert_eq!((code, out.as_str()), (0, "API key 1 deleted\n"));
    let (code, out, error) = ask(&stage, &snug, &["keys", "rm", "1"], "").await;
    assert!(code == 1 && out.is_empty() && error.contains("no API key 1"), "{code} {error}");
    let (code, _, error) = ask(&stage, &snug, &["keys", "add", "t", "--ttl", "1h"], "").await;
    assert!(code == 1 && error.contains("`models`"), "{code} {error}");
    let (code, _, error) = ask(&stage, &snug, &["keys", "add", "t", "--ttl", "soon"], "").await;
    assert!(code == 2 && error.contains("--ttl"), "{code} {error}");
}
