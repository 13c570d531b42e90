//! One engine, asked in every dialect, whether it knows it or not.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use keys::Keys;
use route::{Activate, Activation, Keep, Target, Unavailable};
use serde_json::{Value, json};

use crate::cast::{Act, Actor, chain, header, impatient, local, provider, remote, stream, well};
use crate::keys::permanent;
use crate::support::{House, Received, Setup};

const HELLO: &str = r#"{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":31,"completion_tokens":4}}"#;

const CHUNKS: [&str; 4] = [
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"hel\"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"lo\"},\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":31,\"completion_tokens\":4}}\n\n",
    "data: [DONE]\n\n",
];

/// An engine that knows chat completions and says this status to everything else.
async fn chat_only(status: u16) -> Actor {
    Actor::plays(move |request| match request.line() {
        "POST /v1/chat/completions" if request.json()["stream"] == true => stream(&CHUNKS),
        "POST /v1/chat/completions" => well(HELLO),
        _ => Act::Answer(status, r#"{"error":{"message":"no such route","code":404}}"#.to_owned()),
    })
    .await
}

async fn house_of(actor: &Actor) -> House {
    let house = House::start(Setup::default()).await;
    house.has(&[("m", Some(&actor.target("m")))]);
    house
}

fn request(path: &str, is_stream: bool) -> String {
    let messages = json!([{ "role": "user", "content": "x" }]);
    match path {
        "/v1/responses" => json!({ "model": "m", "stream": is_stream, "input": "x" }),
        "/v1/messages" => json!({ "model": "m", "stream": is_stream, "max_tokens": 9, "messages": messages }),
        "/api/generate" => json!({ "model": "m", "stream": is_stream, "prompt": "x" }),
        _ => json!({ "model": "m", "stream": is_stream, "messages": messages }),
    }
    .to_string()
}

#[tokio::test]
async fn what_an_engine_does_not_know_is_put_into_chat_and_it_is_not_asked_again() {
    for status in [404, 405, 422, 501] {
        let actor = chat_only(status).await;
        let mut house = house_of(&actor).await;
        for (path, whole, streamed) in [
            ("/v1/responses", "\"text\":\"hello\"", "event: response.completed"),
            ("/v1/messages", "\"text\":\"hello\"", "event: message_stop"),
        ] {
            let before = actor.count();
            for (is_stream, expected, asked) in [(false, whole, 2), (true, streamed, 3), (false, whole, 4)] {
                let response = house.post(path, request(path, is_stream)).await;
                assert_eq!(response.status(), 200, "{path} {status}");
                let text = response.text().await.unwrap();
                assert!(text.contains(expected), "{path}: {text}");
                assert_eq!(actor.count() - before, asked, "{path} {status}");
                let usage = house.completed.recv().await.unwrap().usage;
                assert_eq!((usage.prompt_tokens, usage.completion_tokens), (31, 4), "{path} {is_stream}");
            }
        }
    }
}

/// One request that an engine cannot use does not make all later ones another dialect's.
#[tokio::test]
async fn a_request_that_is_bad_in_any_dialect_says_nothing_of_the_engine() {
    let actor = Actor::plays(|request| match request.body.contains("bad") {
        true => Act::Answer(422, r#"{"error":{"message":"bad"}}"#.to_owned()),
        false => well("{\"native\":true}"),
    });
    let actor = actor.await;
    let house = house_of(&actor).await;
    let response = house.post("/v1/responses", r#"{"model":"m","input":"bad"}"#).await;
    assert_eq!(response.status(), 422);
    let response = house.post("/v1/responses", r#"{"model":"m","input":"good"}"#).await;
    assert_eq!(response.text().await.unwrap(), "{\"native\":true}");
    assert_eq!(actor.last().line(), "POST /v1/responses");
}

#[tokio::test]
async fn what_an_engine_knows_goes_through_byte_for_byte() {
    let events = ["event: x\ndata: {\"type\":\"x\"}\n\n", "event: y\ndata: {}\n\n"];
    let actor = Actor::plays(move |request| match request.body.contains("\"stream\": true") {
        true => stream(&events),
        false => well("{ \"as\":\"it is\" }"),
    });
    let actor = actor.await;
    let house = house_of(&actor).await;
    for path in ["/v1/responses", "/v1/messages", "/v1/messages/count_tokens"] {
        for (sent, expected) in [
            (r#"{ "model":"m","x":[1.50] }"#, "{ \"as\":\"it is\" }".to_owned()),
            (r#"{ "model":"m","stream": true }"#, events.concat()),
        ] {
            assert_eq!(house.post(path, sent).await.text().await.unwrap(), expected, "{path}");
            let asked = actor.last();
            assert_eq!((asked.line(), asked.body.as_str()), (format!("POST {path}").as_str(), sent));
        }
    }
}

/// An error in the shape of a dialect: its message.
fn message_of(path: &str, body: &Value) -> String {
    let message = match path {
        "/v1/messages" | "/v1/messages/count_tokens" => {
            assert_eq!((&body["type"], body["error"]["type"].is_string()), (&"error".into(), true), "{body}");
            &body["error"]["message"]
        }
        path if path.starts_with("/api/") => &body["error"],
        _ => {
            assert!(body["error"]["type"].is_string() && body["error"]["code"].is_string(), "{body}");
            assert!(body["error"].as_object().unwrap().contains_key("param"));
            &body["error"]["message"]
        }
    };
    message.as_str().unwrap_or_else(|| panic!("{path}: {body}")).to_owned()
}

const ALL: [&str; 6] = [
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/api/chat",
    "/api/generate",
];

#[tokio::test]
async fn our_own_errors_are_in_each_dialect() {
    for path in ALL {
        let house = House::start(Setup { keys: Keys::new([permanent("right")]), ..Setup::default() }).await;
        house.has(&[]);
        for (key, body, status, words) in [
            ("", "{}", 401, "API key"),
            ("wrong", "{}", 401, "API key"),
            (
                "right",
                r#"{"model":"nope","input":"x","messages":[{"role":"user","content":"x"}],"prompt":"x"}"#,
                404,
                "nope",
            ),
            ("right", "{nope", 400, "JSON"),
            ("right", "{}", 400, "model"),
        ] {
            let mut request = house.client.post(house.url(path)).body(body);
            if !key.is_empty() {
                request = request.bearer_auth(key);
            }
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), status, "{path} {body}");
            assert_eq!(header(&response, "content-type"), "application/json");
            let body: Value = response.json().await.unwrap();
            let message = message_of(path, &body);
            assert!(message.contains(words), "{path}: {message}");
        }
    }
}

#[tokio::test]
async fn engines_errors_are_in_each_dialect() {
    let failure = r#"{"error":{"code":400,"message":"the prompt is too long","type":"invalid_request_error","param":null,"n_ctx":512}}"#;
    for path in ALL {
        let actor = Actor::always(Act::Answer(400, failure.to_owned())).await;
        let response = house_of(&actor).await.post(path, request(path, true)).await;
        assert_eq!(response.status(), 400, "{path}");
        let text = response.text().await.unwrap();
        assert_eq!(message_of(path, &serde_json::from_str(&text).unwrap()), "the prompt is too long");
        if path == "/v1/chat/completions" {
            assert_eq!(text, failure.replace(":400,", ":\"400\","));
        }
    }
    // What is in no shape at all, and what says nothing.
    for (said, expected) in [("<h1>no</h1>", "<h1>no</h1>"), ("", "500")] {
        for path in &ALL[1..] {
            let actor = Actor::always(Act::Answer(500, said.to_owned())).await;
            let response = house_of(&actor).await.post(path, request(path, false)).await;
            assert_eq!(response.status(), 500, "{path}");
            if (*path, said.is_empty()) != ("/v1/responses", false) {
                let body: Value = response.json().await.unwrap();
                assert!(message_of(path, &body).contains(expected), "{path}: {body}");
            }
        }
    }
}

#[tokio::test]
async fn a_stream_that_breaks_says_so_in_its_own_words() {
    let events = |pieces: &[&str]| Act::BreakOff(pieces.iter().map(|&piece| piece.to_owned()).collect());
    for (path, native, act, expected) in [
        ("/v1/chat/completions", true, events(&CHUNKS[..1]), ("", "engine_failed")),
        ("/v1/messages", false, events(&CHUNKS[..1]), ("event: error", "api_error")),
        ("/v1/messages", true, events(&["event: message_start\ndata: {}\n\n"]), ("event: error", "api_error")),
        ("/v1/responses", false, events(&CHUNKS[..1]), ("event: error", "engine_failed")),
        ("/v1/responses", true, events(&["event: response.created\ndata: {}\n\n"]), ("event: error", "engine_failed")),
        ("/api/chat", false, events(&CHUNKS[..1]), ("", "{\"error\":\"")),
        ("/api/generate", false, events(&CHUNKS[..1]), ("", "{\"error\":\"")),
    ] {
        let actor = Actor::plays(move |request| match native || request.line() == "POST /v1/chat/completions" {
            true => act.clone(),
            false => Act::Answer(404, "{}".to_owned()),
        });
        let house = house_of(&actor.await).await;
        let text = house.post(path, request(path, true)).await.text().await.unwrap();
        let (event, words) = expected;
        assert!(text.contains(event) && text.contains(words), "{path} {native}: {text}");
        assert!(text.ends_with('\n') && !text.contains("[DONE]") && !text.contains("message_stop"), "{path}: {text}");
    }
    // An answer that is to be put together and does not come whole is an error, not half an answer.
    for (act, status, words) in [
        (Act::DieAfterHead, 503, "went away"),
        (well("{\"no\":\"chat\"}"), 502, "is not one"),
        (well("<html>"), 502, "is not one"),
    ] {
        let actor = Actor::always(act).await;
        for path in ["/api/chat", "/api/generate"] {
            let response = house_of(&actor).await.post(path, request(path, false)).await;
            assert_eq!(response.status(), status, "{path}");
            let body: Value = response.json().await.unwrap();
            assert!(message_of(path, &body).contains(words), "{body}");
        }
    }
}

#[tokio::test]
async fn tokens_are_counted_for_an_engine_that_does_not() {
    let engine = |status: u16| {
        move |request: &Received| match request.line() {
            "POST /apply-template" => {
                assert_eq!(request.json()["messages"][0]["content"], "be brief");
                well(r#"{"prompt":"<s>be brief</s>"}"#)
            }
            "POST /tokenize" => {
                let expected = json!({ "content": "<s>be brief</s>", "add_special": true, "parse_special": true });
                assert_eq!(request.json(), expected);
                well(r#"{"tokens":[1,2,3,4,5]}"#)
            }
            _ => Act::Answer(status, "{}".to_owned()),
        }
    };
    let body = r#"{"model":"m","system":"be brief","messages":[{"role":"user","content":"x"}]}"#;
    for status in [404, 422, 501] {
        let actor = Actor::plays(engine(status)).await;
        let target = actor.target_for("m", 1);
        let house = House::start(Setup::default()).await;
        house.has(&[("m", Some(&target))]);
        for asked in [3, 5] {
            let response = house.post("/v1/messages/count_tokens", body).await;
            assert_eq!(response.text().await.unwrap(), r#"{"input_tokens":5}"#);
            assert_eq!((actor.count(), target.load().in_flight), (asked, 0));
        }
    }
    // With neither, there is nobody to count.
    let actor = Actor::always(Act::Answer(404, "{}".to_owned())).await;
    let response = house_of(&actor).await.post("/v1/messages/count_tokens", body).await;
    assert_eq!(response.status(), 400);
    assert!(message_of("/v1/messages", &response.json().await.unwrap()).contains("does not offer"));
    // Nor has it to be told twice what is wrong with a request.
    let actor = Actor::plays(|request| match request.line() {
        "POST /apply-template" => Act::Answer(400, r#"{"error":{"code":400,"message":"no roles"}}"#.to_owned()),
        _ => Act::Answer(404, "{}".to_owned()),
    });
    let response = house_of(&actor.await).await.post("/v1/messages/count_tokens", body).await;
    assert_eq!(response.status(), 400);
    assert_eq!(message_of("/v1/messages", &response.json().await.unwrap()), "no roles");
}

/// Remembers what it was told to keep.
struct Keeping {
    target: Arc<Target>,
    kept: Arc<Mutex<Vec<(String, Keep)>>>,
}

impl Activate for Keeping {
    fn activate<'a>(&'a self, name: &'a str) -> Activation<'a> {
        assert_eq!(name, "m");
        Box::pin(async { self.target.lease().ok_or(Unavailable::Busy { target: Arc::clone(&self.target) }) })
    }

    fn keep<'a>(&'a self, name: &'a str, keep: Keep) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        self.kept.lock().unwrap().push((name.to_owned(), keep));
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test]
async fn ollamas_words_for_loading_and_leaving() {
    let actor = chat_only(404).await;
    let target = actor.target_for("m", 1);
    let kept = Arc::<Mutex<Vec<(String, Keep)>>>::default();
    let keeping = Keeping { target: Arc::clone(&target), kept: Arc::clone(&kept) };
    let house = House::start(Setup { activate: Arc::new(keeping), ..Setup::default() }).await;
    house.has(&[("m", Some(&target))]);
    let claude = provider(&actor, route::Dialect::OpenAi);
    house.means([chain("alias", &[&[local("m")]]), chain("far", &[&[remote(&claude, "far")]])]);
    let minutes = |minutes: u64| Keep::For(std::time::Duration::from_secs(minutes * 60));
    for (path, body, reason, expected) in [
        ("/api/generate", json!({ "model": "m" }), "load", None),
        ("/api/chat", json!({ "model": "m:latest", "messages": [], "keep_alive": "10m" }), "load", Some(minutes(10))),
        ("/api/generate", json!({ "model": "m", "keep_alive": -1 }), "load", Some(Keep::Forever)),
        ("/api/generate", json!({ "model": "m", "keep_alive": 0 }), "unload", Some(minutes(0))),
        ("/api/chat", json!({ "model": "alias", "keep_alive": 0 }), "unload", Some(minutes(0))),
        ("/api/generate", json!({ "model": "alias" }), "load", None),
        ("/api/generate", json!({ "model": "far" }), "load", None),
        ("/api/generate", json!({ "model": "far", "keep_alive": 0 }), "unload", None),
    ] {
        let response = house.post(path, body.to_string()).await;
        assert_eq!(
            (response.status().as_u16(), header(&response, "content-type")),
            (200, "application/json"),
            "{body}"
        );
        let answer: Value = response.json().await.unwrap();
        assert_eq!((&answer["done"], &answer["done_reason"]), (&true.into(), &reason.into()), "{body}");
        let told = kept.lock().unwrap().drain(..).next();
        assert_eq!(told, expected.map(|keep| ("m".to_owned(), keep)), "{body}");
    }
    assert_eq!(actor.count(), 0);
    // One that is asked something is told, too; also while it is busy.
    let lease = target.lease().unwrap();
    let body = json!({ "model": "alias", "stream": false, "keep_alive": "1m", "messages": [{ "role": "user", "content": "x" }] });
    let asking = tokio::spawn(house.client.post(house.url("/api/chat")).body(body.to_string()).send());
    crate::support::eventually("it waits", || target.load().waiting == 1).await;
    drop(lease);
    let answer: Value = asking.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(answer["message"]["content"], "hello", "{answer}");
    assert_eq!(*kept.lock().unwrap(), [("m".to_owned(), minutes(1))]);
    for body in [r#"{"model":"nope"}"#, r#"{"model":"nope","keep_alive":0}"#] {
        let response = house.post("/api/generate", body).await;
        assert_eq!(response.status(), 404);
        assert!(message_of("/api/generate", &response.json().await.unwrap()).contains("nope"));
    }
}

#[tokio::test]
async fn ollamas_answers_and_their_usage() {
    let vectors =
        r#"{"data":[{"embedding":[0.5,-1.0]},{"embedding":[2.0]}],"usage":{"prompt_tokens":31,"total_tokens":31}}"#;
    let long = HELLO.replace("hello", &"hello ".repeat(5000));
    let actor = Actor::plays(move |request| match request.line() {
        "POST /v1/embeddings" => well(vectors),
        "POST /v1/chat/completions" if request.body.contains("at length") => well(long.clone()),
        "POST /v1/chat/completions" if request.json()["stream"] == true => stream(&CHUNKS),
        "POST /v1/chat/completions" => well(HELLO),
        other => panic!("{other}"),
    });
    let mut house = house_of(&actor.await).await;
    let chat =
        |content: &str| json!({ "model": "m", "stream": false, "messages": [{ "role": "user", "content": content }] });
    for (path, body, pointer, expected, tokens) in [
        ("/api/chat", chat("x"), "/message/content", "hello".into(), (31, 4)),
        ("/api/chat", chat("at length"), "/message/content", "hello ".repeat(5000).into(), (31, 4)),
        (
            "/api/generate",
            json!({ "model": "m", "stream": false, "prompt": "x" }),
            "/response",
            "hello".into(),
            (31, 4),
        ),
        ("/api/embed", json!({ "model": "m", "input": ["x", "y"] }), "/embeddings/1/0", 2.0.into(), (31, 0)),
        ("/api/embeddings", json!({ "model": "m", "prompt": "x" }), "/embedding/1", (-1.0).into(), (31, 0)),
    ] {
        let answer: Value = house.post(path, body.to_string()).await.json().await.unwrap();
        assert_eq!(answer.pointer(pointer), Some::<&Value>(&expected), "{path}");
        let usage = house.completed.recv().await.unwrap().usage;
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), tokens, "{path}");
    }
    // A stream is what one gets who says nothing of it.
    let response = house.post("/api/chat", r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#).await;
    assert_eq!(header(&response, "content-type"), "application/x-ndjson");
    let text = response.text().await.unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let words: String = lines.iter().map(|line| line["message"]["content"].as_str().unwrap_or_default()).collect();
    assert_eq!((words.as_str(), &lines.last().unwrap()["done"]), ("hello", &true.into()), "{text}");
    assert_eq!(house.completed.recv().await.unwrap().usage.completion_tokens, 4);
}

#[tokio::test]
async fn a_recording_goes_where_its_form_says() {
    let actor = Actor::always(well(r#"{"text":"hello"}"#)).await;
    let cloud = Actor::always(well(r#"{"text":"hello"}"#)).await;
    let house = house_of(&actor).await;
    house.knows(provider(&cloud, route::Dialect::OpenAi));
    let form = |model: &str| {
        format!(
            "--b1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"model.wav\"\r\nContent-Type: audio/wav\r\n\r\n\
             RIFF\u{0}\u{1}name=\"model\"\r\n--b1\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n--b1--\r\n"
        )
    };
    for (path, model) in [
        ("/v1/audio/transcriptions", "m"),
        ("/v1/audio/translations", "m"),
        ("/v1/audio/transcriptions", "cloud/whisper"),
    ] {
        let request = house.client.post(house.url(path)).header("content-type", "multipart/form-data; boundary=b1");
        let response = request.body(form(model)).send().await.unwrap();
        assert_eq!(response.text().await.unwrap(), r#"{"text":"hello"}"#, "{path} {model}");
        let (asked, expected) = match model {
            "m" => (actor.last(), form("m")),
            _ => (cloud.last(), form("whisper")),
        };
        assert_eq!((asked.line(), &asked.body), (format!("POST {path}").as_str(), &expected));
        assert_eq!(asked.header("content-type"), Some("multipart/form-data; boundary=b1"));
    }
    let request = house.client.post(house.url("/v1/audio/transcriptions"));
    let response =
        request.header("content-type", "multipart/form-data; boundary=b1").body("--b1--").send().await.unwrap();
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["error"]["code"], "missing_model");
}

#[tokio::test]
async fn llama_cpps_own_words() {
    let actor = Actor::always(well("{}")).await;
    let house = house_of(&actor).await;
    for path in ["/v1/rerank", "/rerank", "/v2/rerank", "/v1/reranking", "/reranking"] {
        assert_eq!(house.post(path, r#"{"model":"m","query":"x","documents":[]}"#).await.status(), 200);
        assert_eq!(actor.last().line(), "POST /v1/rerank", "{path}");
    }
    for path in ["/completion", "/infill", "/tokenize", "/detokenize", "/apply-template"] {
        for (query, body) in [("", r#"{"model":"m","x":1}"#), ("?model=m", r#"{"x":1}"#), ("", r#"{"x":1}"#)] {
            assert_eq!(house.post(&format!("{path}{query}"), body).await.status(), 200, "{path}{query}");
            assert_eq!(
                (actor.last().line(), actor.last().body.as_str()),
                (format!("POST {path}{query}").as_str(), body)
            );
        }
    }
    for path in ["/props?model=m", "/slots", "/props"] {
        assert_eq!(house.client.get(house.url(path)).send().await.unwrap().status(), 200, "{path}");
        assert_eq!(actor.last().line(), format!("GET {path}"));
    }
    // Where several could be meant, one has to say.
    house.has(&[("m", Some(&actor.target("m"))), ("n", Some(&actor.target("n")))]);
    for response in [house.post("/tokenize", "{}").await, house.client.get(house.url("/props")).send().await.unwrap()] {
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["error"]["code"], "missing_model");
    }
    let response = house.client.get(house.url("/props?model=nope")).send().await.unwrap();
    assert_eq!(response.status(), 404);
    // Of two, the one that is loaded.
    house.has(&[("m", Some(&actor.target("m"))), ("n", None)]);
    assert_eq!(house.post("/tokenize", "{}").await.status(), 200);
}

#[tokio::test]
async fn patience_holds_in_every_dialect() {
    for path in ["/v1/messages", "/v1/responses", "/api/chat"] {
        let actor = Actor::always(Act::Hang).await;
        let house = house_of(&actor).await;
        house.means([chain("m", &[&[impatient("m")]])]);
        let response = house.post(path, request(path, false)).await;
        assert_eq!(response.status(), 504, "{path}");
        assert!(message_of(path, &response.json().await.unwrap()).contains("said nothing"), "{path}");
    }
}
