//! Every route of the document, for what is true of all of them.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::stage::fake;

/// Method and path; the parts in braces are `name` and `variant`. The dashboard's page is no part of this.
pub(crate) const ROUTES: [(&str, &str); 46] = [
    ("POST", "/v1/chat/completions"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{name}"),
    ("POST", "/v1/embeddings"),
    ("GET", "/api/models"),
    ("GET", "/api/models/loaded"),
    ("POST", "/api/models/{name}/load"),
    ("POST", "/api/models/{name}/unload"),
    ("POST", "/api/models/{name}/pin"),
    ("POST", "/api/models/{name}/unpin"),
    ("POST", "/api/models/{name}/download"),
    ("GET", "/api/models/{name}/download"),
    ("POST", "/api/models/config"),
    ("PUT", "/api/models/config"),
    ("GET", "/api/models/config/{name}"),
    ("DELETE", "/api/models/config/{name}"),
    ("GET", "/api/stats"),
    ("GET", "/api/stats/history"),
    ("GET", "/api/stats/swaps"),
    ("GET", "/api/hardware"),
    ("GET", "/api/storage"),
    ("GET", "/api/storage/models"),
    ("GET", "/api/storage/models/{name}"),
    ("GET", "/api/storage/models/{name}/variants/{variant}"),
    ("GET", "/api/storage/models/{name}/{variant}"),
    ("PUT", "/api/storage/limit"),
    ("POST", "/api/storage/limit"),
    ("DELETE", "/api/models/{name}/files"),
    ("POST", "/api/models/{name}/variants/{variant}/hot-ready"),
    ("DELETE", "/api/models/{name}/variants/{variant}/hot-ready"),
    ("POST", "/api/models/{name}/variants/{variant}/protected"),
    ("DELETE", "/api/models/{name}/variants/{variant}/protected"),
    ("GET", "/api/storage/cleanup/preview"),
    ("POST", "/api/storage/cleanup/run"),
    ("GET", "/api/storage/cleanup/config"),
    ("PUT", "/api/storage/cleanup/config"),
    ("GET", "/api/downloads"),
    ("GET", "/api/logs"),
    ("GET", "/health"),
    ("GET", "/v1/health"),
    ("GET", "/api/version"),
    // Not in the document, but in the list of settled disagreements and additions.
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/api/health"),
    ("GET", "/v1/backends/health"),
];

/// A path without the names of its parameters.
fn anonymous(path: &str) -> String {
    let mut out = String::new();
    let mut within = false;
    for letter in path.chars() {
        match letter {
            '{' => {
                within = true;
                out.push_str("{}");
            }
            '}' => within = false,
            _ if within => {}
            other => out.push(other),
        }
    }
    out
}

/// schemathesis asks what `/openapi.json` describes: a route that is not in there is not asked.
#[tokio::test]
async fn schemathesis_is_told_of_every_route() {
    let stage = fake();
    let snug = stage.start().await;
    let document = snug.get("/openapi.json").await.ok();
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(|method| (method.to_uppercase(), anonymous(path))).collect::<Vec<_>>()
        })
        .collect();
    let wanted: BTreeSet<(String, String)> =
        ROUTES.iter().map(|(method, path)| ((*method).to_owned(), anonymous(path))).collect();
    let missing: Vec<_> = wanted.difference(&described).collect();
    assert!(missing.is_empty(), "not in /openapi.json: {missing:?}");

    let settings =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/schemathesis/schemathesis.toml"));
    let settings = settings.unwrap();
    // With the first key all that is asked after it would be refused, and nothing else be tested.
    let keys = "include-path = \"/api/api-keys\"\ninclude-method = \"POST\"\nenabled = false\n";
    assert!(settings.contains(keys));
    let settings = settings.replace(keys, "");
    let left_out = settings.lines().find(|line| line.starts_with("enabled = false") || line.contains("exclude"));
    assert_eq!(left_out, None, "schemathesis leaves routes out");
}

/// Every status that can be answered is described with what is answered: else no check of schemathesis means anything.
#[tokio::test]
async fn every_answer_is_described() {
    let stage = fake();
    let snug = stage.start().await;
    let document = snug.get("/openapi.json").await.ok();
    for (path, methods) in document["paths"].as_object().unwrap() {
        if !path.starts_with("/api/") || path.starts_with("/api/v1/") {
            continue;
        }
        for (method, operation) in methods.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            // What has no content has no schema.
            for (status, response) in responses.iter().filter(|(status, _)| *status != "204") {
                let schema = response.pointer("/content/application~1json/schema").unwrap_or(&Value::Null);
                assert!(!schema.is_null(), "{method} {path}: {status} has no schema");
            }
            let takes_a_name = path.contains('{');
            let refuses = responses.keys().any(|status| status.starts_with('4'));
            assert!(refuses || !takes_a_name, "{method} {path}: an unknown name has no answer");
        }
    }
}
