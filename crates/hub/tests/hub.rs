//! The client against a small server that answers as the hub documents it, and as it must not.

#![expect(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{OriginalUri, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use catalog::catalogue::Catalogue;
use hub::{Client, Error, Options, Progress, Query, Relation, Retries, Settings, Token, catalogue_update, overlay};
use serde_json::{Value, json};

/// Serves on a port of the system's choice until the test ends.
async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

fn settings(endpoint: &str) -> Settings {
    let wait = Duration::from_millis(1);
    let retries = Retries { attempts: 3, first_wait: wait, longest_wait: Duration::from_secs(5) };
    Settings { endpoint: endpoint.to_owned(), retries, ..Settings::default() }
}

fn client(endpoint: &str) -> Client {
    Client::new(&settings(endpoint)).unwrap()
}

fn with_token(endpoint: &str) -> Client {
    Client::new(&Settings { token: Some(Token::new("hf_secret")), ..settings(endpoint) }).unwrap()
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

#[tokio::test]
async fn lists_are_read_page_by_page() {
    // Three pages of two; the third query string is whatever the second page's link said.
    let page = |OriginalUri(uri): OriginalUri, headers: HeaderMap| async move {
        let query = uri.query().unwrap_or_default().to_owned();
        let host = headers["host"].to_str().unwrap().to_owned();
        let number: usize = query.split("cursor=").nth(1).map_or(0, |cursor| cursor.parse().unwrap());
        if number == 0 {
            for part in ["search=qwen%203", "pipeline_tag=text-generation", "sort=downloads", "expand[]=safetensors"] {
                assert!(query.contains(part), "{part} in {query}");
            }
        }
        let row = |n: usize| {
            json!({
                "id": format!("a/m{n}"), "downloads": 7, "gated": if n == 1 { json!("manual") } else { json!(false) },
                "tags": ["base_model:a/b", "base_model:quantized:a/b", "license:mit"], "pipeline_tag": "text-generation",
                "createdAt": "2026-01-02T03:04:05.000Z", "safetensors": {"parameters": {"BF16": 10}, "total": 10}
            })
        };
        let mut rows = vec![row(2 * number), row(2 * number + 1)];
        rows.push(json!({"id": "../../etc/passwd"}));
        let link = format!("<http://{host}/api/models?cursor={}>; rel=\"next\"", number + 1);
        ([("link", link)], axum::Json(rows))
    };
    let url = serve(Router::new().route("/api/models", get(page))).await;
    let query = Query { search: Some("qwen 3"), task: Some("text-generation"), ..Query::default() };
    let models = client(&url).models(&query, 5).await.unwrap();
    let ids: Vec<&str> = models.iter().map(|model| model.id.as_str()).collect();
    // At most twice as many pages as needed are followed.
    assert_eq!(ids, ["a/m0", "a/m1", "a/m2", "a/m3", "a/m4"]);
    assert!(models[1].gated && !models[0].gated);
    assert_eq!((models[0].parameters, models[0].license()), (Some(10), Some("mit")));
    assert_eq!(models[0].base(), Some((Relation::Quantized, "a/b")));
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let answer = |Path(name): Path<String>| async move {
        let coded = |status: u16, code: &'static str| {
            (StatusCode::from_u16(status).unwrap(), [("x-error-code", code), ("x-error-message", "why")])
                .into_response()
        };
        match name.as_str() {
            "gated" => coded(403, "GatedRepo"),
            "absent" => coded(401, "RepoNotFound"),
            "plain" => coded(401, ""),
            "teapot" => coded(418, ""),
            _ => coded(404, "EntryNotFound"),
        }
    };
    let url = serve(Router::new().route("/a/{name}/resolve/main/config.json", get(answer))).await;
    let check = async |client: &Client, name: &str, expected: &str| {
        let error = client.config(&format!("a/{name}")).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let (anonymous, known) = (client(&url), with_token(&url));
    check(&anonymous, "gated", &format!("accept its licence at {url}/a/gated, then set HF_TOKEN")).await;
    check(&known, "gated", "is gated").await;
    check(&anonymous, "absent", "has no a/absent, or it is private").await;
    check(&anonymous, "plain", "has no a/plain, or it is private").await;
    check(&known, "plain", &format!("refuses the token (401): make a new one at {url}/settings/tokens")).await;
    check(&anonymous, "teapot", "answers 418").await;
    check(&anonymous, "none", "has no a/none").await;
    check(&anonymous, "../x", "is not the id of a repository").await;

    let offline = Client::new(&Settings { offline: true, ..settings(&url) }).unwrap();
    assert!(matches!(offline.config("a/b").await, Err(Error::Offline)));
    let nobody = client("http://127.0.0.1:1").config("a/b").await.unwrap_err();
    assert!(nobody.to_string().contains("check the network, HTTPS_PROXY and HF_ENDPOINT"), "{nobody}");
    for endpoint in ["ftp://hub", "not an address", ""] {
        assert!(matches!(Client::new(&settings(endpoint)), Err(Error::Endpoint { .. })), "{endpoint}");
    }
    let token = Token::new("line\nbreak");
    assert!(matches!(Client::new(&Settings { token: Some(token), ..settings(&url) }), Err(Error::Token)));
}

#[tokio::test]
async fn a_busy_hub_is_asked_again_as_it_wishes() {
    let calls = Arc::new(AtomicUsize::new(0));
    let answer = |State(calls): State<Arc<AtomicUsize>>, Path(name): Path<String>| async move {
        let call = calls.fetch_add(1, Ordering::SeqCst) + 1;
        match (name.as_str(), call) {
            ("ready", 3) => "{}".into_response(),
            ("long", _) => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "3600")]).into_response(),
            (_, 1) => (StatusCode::TOO_MANY_REQUESTS, [("ratelimit", "\"api\";r=0;t=0")]).into_response(),
            _ => (StatusCode::BAD_GATEWAY, [("retry-after", "0")]).into_response(),
        }
    };
    let router = Router::new().route("/a/{name}/resolve/main/config.json", get(answer)).with_state(calls.clone());
    let client = client(&serve(router).await);
    assert_eq!(client.config("a/ready").await.unwrap(), b"{}");
    assert_eq!(calls.swap(0, Ordering::SeqCst), 3);
    let error = client.config("a/never").await.unwrap_err();
    assert!(matches!(error, Error::Busy { status: 502, attempts: 3, .. }), "{error}");
    calls.store(0, Ordering::SeqCst);
    let error = client.config("a/long").await.unwrap_err().to_string();
    assert!(error.contains("(429) after 1 tries, and asks for a wait of 3600 s"), "{error}");
    assert_eq!(calls.load(Ordering::SeqCst), 1, "an hour is not waited for");
}

#[tokio::test]
async fn the_token_never_leaves_the_hub() {
    let storage = serve(Router::new().route(
        "/file",
        get(
            |headers: HeaderMap| async move { json!({"elsewhere": headers.contains_key("authorization")}).to_string() },
        ),
    ))
    .await;
    let to = storage.clone();
    let router = Router::new()
        .route(
            "/a/b/resolve/main/config.json",
            get(|headers: HeaderMap| async move {
                assert_eq!(headers["authorization"], "Bearer hf_secret");
                (StatusCode::TEMPORARY_REDIRECT, [("location", "/cached")])
            }),
        )
        .route(
            "/cached",
            get(move |headers: HeaderMap| async move {
                assert_eq!(headers["authorization"], "Bearer hf_secret", "still the hub");
                (StatusCode::FOUND, [("location", format!("{to}/file?signature=secret"))])
            }),
        )
        .route(
            "/a/circle/resolve/main/config.json",
            get(async || (StatusCode::FOUND, [("location", "/a/circle/resolve/main/config.json")])),
        );
    let client = with_token(&serve(router).await);
    assert_eq!(client.config("a/b").await.unwrap(), br#"{"elsewhere":false}"#);
    assert!(!format!("{client:?}").contains("hf_secret"));
    let error = client.config("a/circle").await.unwrap_err().to_string();
    assert!(error.contains("redirects too often"), "{error}");
}

#[tokio::test]
async fn broken_answers_are_errors() {
    let calls = Arc::new(AtomicUsize::new(0));
    let cut = |State(calls): State<Arc<AtomicUsize>>| async move {
        calls.fetch_add(1, Ordering::SeqCst);
        let pieces = [Ok(Bytes::from_static(b"{\"hidden")), Err(std::io::Error::other("cut"))];
        Body::from_stream(futures_util::stream::iter(pieces)).into_response()
    };
    let endless = async || {
        let piece = Bytes::from(vec![b' '; 1 << 20]);
        let pieces = futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone()));
        Body::from_stream(pieces).into_response()
    };
    let router = Router::new()
        .route("/api/models", get(async || "<html>busy</html>"))
        .route("/api/models/a/b", get(async || r#"{"id": 7}"#))
        .route("/a/cut/resolve/main/config.json", get(cut))
        .route("/a/endless/resolve/main/config.json", get(endless))
        .with_state(calls.clone());
    let client = client(&serve(router).await);
    let error = client.models(&Query::default(), 5).await.unwrap_err();
    assert!(chain(&error).contains("is HF_ENDPOINT a hub?: expected value"), "{}", chain(&error));
    assert!(matches!(client.model("a/b").await, Err(Error::Form { .. })));
    assert!(matches!(client.config("a/cut").await, Err(Error::Unreachable { .. })));
    assert_eq!(calls.load(Ordering::SeqCst), 3, "what broke is tried again");
    assert!(matches!(client.config("a/endless").await, Err(Error::TooLong { .. })));
}

/// A hub with a handful of models: each of them listed in every list.
async fn small_hub() -> String {
    let qwen = || {
        json!({
            "model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
            "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936,
            "max_position_embeddings": 40960, "tie_word_embeddings": true
        })
    };
    let parameters = 595_984_384_u64;
    let row = |id: &str, tags: &[&str], parameters: Option<u64>| {
        let safetensors = parameters.map(|n| json!({"parameters": {"BF16": n}, "total": n}));
        json!({"id": id, "tags": tags, "pipeline_tag": "text-generation", "createdAt": "2026-09-01T00:00:00.000Z",
            "downloads": 1, "gated": false, "safetensors": safetensors,
            "config": {"tokenizer_config": {"chat_template": "{% if tools %}{% endif %}<think>"}}})
    };
    let rows = json!([
        row("new/Model-Coder", &["license:mit", "conversational"], Some(parameters)),
        row("new/Twin", &["license:mit"], Some(parameters + 1_000_000)),
        row("new/Liar", &[], Some(2 * parameters)),
        row("new/Silent", &[], None),
        row("new/Hostile", &[], Some(parameters)),
        row("new/Gated", &[], Some(parameters)),
        row("new/Lora", &["base_model:adapter:new/Twin"], None),
        row("packer/Model-GGUF", &["gguf", "base_model:new/Model-Coder", "base_model:quantized:new/Model-Coder"], None),
        row("packer/Other-AWQ", &["awq", "base_model:quantized:new/Unlisted"], None),
        row("packer/Qwen3-8B-MLX", &["mlx", "base_model:quantized:Qwen/Qwen3-8B"], None),
        row("packer/Stray-GGUF", &["gguf"], None),
        row("Qwen/Qwen3-8B", &[], Some(8_190_735_360)),
    ]);
    let config = move |Path((owner, name)): Path<(String, String)>| async move {
        assert_eq!(owner, "new", "a known model is not asked for");
        let json = |value: Value| value.to_string().into_response();
        match name.as_str() {
            "Gated" => (StatusCode::UNAUTHORIZED, [("x-error-code", "GatedRepo")]).into_response(),
            "Hostile" => {
                let mut config = qwen();
                config["num_attention_heads"] = json!(u64::MAX);
                json(config)
            }
            "Twin" => {
                let mut config = qwen();
                config["torch_dtype"] = json!("float16");
                json(config)
            }
            _ => json(qwen()),
        }
    };
    let unlisted = row("new/Unlisted", &["license:apache-2.0"], Some(parameters));
    let router = Router::new()
        .route("/api/models", get(move || async move { axum::Json(rows) }))
        .route("/api/models/new/Unlisted", get(move || async move { axum::Json(unlisted) }))
        .route("/{owner}/{name}/resolve/main/config.json", get(config));
    serve(router).await
}

#[tokio::test]
async fn an_update_writes_what_adds_up_and_says_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let client = client(&small_hub().await);
    let known = Catalogue::embedded();
    let mut seen = vec![];
    let run = catalogue_update(&client, known, folder.path(), Options::default(), |progress| seen.push(progress));
    let update = run.await.unwrap();
    assert_eq!(update.added, ["new/Model-Coder", "new/Twin", "new/Unlisted"]);
    let reasons: Vec<String> = update.left_out.iter().map(|out| format!("{}: {}", out.id, out.reason)).collect();
    let expected = [
        ("new/Gated", "accept its licence"),
        ("new/Hostile", "num_attention_heads = 18446744073709551615, which cannot be meant"),
        ("new/Liar", "1191968768 parameters are stated"),
        ("new/Lora", "an adapter"),
        ("new/Silent", "does not say how many parameters"),
        ("packer/Stray-GGUF", "does not say of which model"),
    ];
    assert_eq!(reasons.len(), expected.len(), "{reasons:#?}");
    for (reason, (id, part)) in reasons.iter().zip(expected) {
        assert!(reason.starts_with(id) && reason.contains(part), "{reason}");
    }
    assert_eq!((update.known, update.repacks, update.kept), (1, 3, 0));
    assert!(matches!(seen.first(), Some(Progress::Listing { .. })) && seen.last() == Some(&Progress::Writing));

    // What was written lies over the embedded catalogue.
    let (files, notes) = overlay(folder.path());
    assert!(notes.is_empty() && files.len() == 1, "{notes:?}");
    let mut catalogue = known.clone();
    catalogue.add(&files[0].0, &files[0].1).unwrap();
    assert_eq!(catalogue.models().len(), known.models().len() + 3);
    let row = catalogue.get("new/Model-Coder").unwrap();
    assert_eq!((row.released.as_str(), row.license.as_str(), row.context), ("2026-09-01", "mit", 40960));
    let has = |model: &str, repository: &str| {
        catalogue.get(model).unwrap().repositories.iter().any(|own| own.id == repository)
    };
    assert!(has("new/Model-Coder", "packer/Model-GGUF"));
    assert!(has("new/Unlisted", "packer/Other-AWQ"));
    assert!(has("Qwen/Qwen3-8B", "packer/Qwen3-8B-MLX"));
    assert_eq!(files[0].1.matches("[[shape]]").count(), 1, "models of one make share their shape");

    // A second one finds the same, and keeps what the hub no longer lists.
    let again = catalogue_update(&client, known, folder.path(), Options { models: 1 }, |_| {}).await.unwrap();
    assert_eq!((again.added.len(), again.kept, again.repacks, again.notes.len()), (1, 2, 0, 0));
    let (files, _) = overlay(folder.path());
    let mut catalogue = known.clone();
    catalogue.add(&files[0].0, &files[0].1).unwrap();
    assert_eq!(catalogue.models().len(), known.models().len() + 3);
    let repacked =
        catalogue.get("new/Model-Coder").unwrap().repositories.iter().any(|own| own.id == "packer/Model-GGUF");
    assert!(repacked, "repositories of earlier updates are kept too");

    // One that somebody broke is replaced.
    std::fs::write(folder.path().join("catalogue.toml"), "not toml at all [").unwrap();
    let after = catalogue_update(&client, known, folder.path(), Options::default(), |_| {}).await.unwrap();
    assert!(after.kept == 0 && after.notes[0].contains("is replaced"), "{:?}", after.notes);
}

#[tokio::test]
async fn an_update_that_cannot_be_had_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("catalogue.toml"), "").unwrap();
    let offline = Client::new(&Settings { offline: true, ..Settings::default() }).unwrap();
    let update = catalogue_update(&offline, Catalogue::embedded(), folder.path(), Options::default(), |_| {}).await;
    assert!(matches!(update, Err(Error::Offline)));
    assert_eq!(std::fs::read_to_string(folder.path().join("catalogue.toml")).unwrap(), "");
}
