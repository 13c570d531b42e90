//! Section 3.1: the OpenAI routes.

use serde_json::{Value, json};
use testkit::gguf;

use crate::stage::{add, fake};
use crate::table::{Table, error, get, post, row};

const CHAT: &str = "/v1/chat/completions";

/// The document's own request, for another model.
fn example(model: &str) -> Value {
    json!({
        "model": model,
        "messages": [
            { "role": "system", "content": "You are a helpful assistant." },
            { "role": "user", "content": "Hello!" }
        ],
        "temperature": 0.7,
        "max_tokens": 1024,
        "stream": false,
        "top_p": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "stop": ["\n"],
        "tools": [{
            "type": "function",
            "function": {
                "name": "get_weather",
                "description": "Get current weather",
                "parameters": {
                    "type": "object",
                    "properties": { "location": { "type": "string" } },
                    "required": ["location"]
                }
            }
        }],
        "tool_choice": "auto"
    })
}

fn short(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "<echo>Polly wants a cracker</echo>" }] })
}

fn with(mut request: Value, more: Value) -> Value {
    if let (Some(request), Value::Object(more)) = (request.as_object_mut(), more) {
        request.extend(more);
    }
    request
}

fn completion(model: &str) -> Value {
    json!({
        "id": "<~chatcmpl->",
        "object": "chat.completion",
        "created": "<integer>",
        "model": model,
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": "<text>" },
            "finish_reason": "<stop|length>"
        }],
        "usage": { "prompt_tokens": "<integer>", "completion_tokens": "<integer>", "total_tokens": "<integer>" }
    })
}

fn vectors(model: &str, count: u64) -> Value {
    let vector = |index: u64| json!({ "object": "embedding", "index": index, "embedding": ["<each>", "<number>"] });
    json!({
        "object": "list",
        // The fake engine answers with one vector whatever it is asked.
        "data": (0..count).map(vector).collect::<Vec<_>>(),
        "model": model,
        "usage": { "prompt_tokens": "<integer>", "total_tokens": "<integer>" }
    })
}

#[tokio::test]
async fn chapter_3_1() {
    let model = gguf::ChatModel::default().file();
    let stage = fake().model("tiny-Q4_K_M.gguf", &model).model("tiny-Q8_0.gguf", &model);
    let snug = stage.start().await;
    add(&snug, [json!({ "model": "gpt-4", "provider": "openai" }), json!({ "model": "parrot", "provider": "mock" })])
        .await;
    let mut table = Table::of(&snug);

    table
        .rows([
            row("3.1", "a chat completion", post(CHAT).json(example("tiny")), 200, completion("tiny")),
            row(
                "3.1",
                "without `stream` it is answered whole",
                post(CHAT).json(short("tiny")),
                200,
                completion("tiny"),
            ),
            row("3.1", "an added mock model answers at once", post(CHAT).json(short("parrot")), 200, {
                let mut answer = completion("parrot");
                answer["choices"][0]["message"]["content"] = "Polly wants a cracker".into();
                answer
            }),
            row(
                "3.1",
                "`name:variant` names a variant",
                post(CHAT).json(short("tiny:Q8_0")),
                200,
                json!({
                    "object": "chat.completion"
                }),
            ),
            row(
                "3.1",
                "`max_tokens` is accepted",
                post(CHAT).json(with(short("tiny"), json!({ "max_tokens": 3 }))),
                200,
                json!({ "usage": { "completion_tokens": 3 } }),
            ),
            row(
                "3.1",
                "`max_completion_tokens` is accepted",
                post(CHAT).json(with(short("tiny"), json!({ "max_completion_tokens": 3 }))),
                200,
                completion("tiny"),
            ),
        ])
        .await;
    let answer = post(CHAT).json(example("tiny")).send(&snug).await.json();
    let told: Value = answer["echo"].as_str().and_then(|told| serde_json::from_str(told).ok()).unwrap_or_default();
    for field in ["tools", "tool_choice", "stop", "temperature", "top_p", "presence_penalty", "frequency_penalty"] {
        let same = told[field] == example("tiny")[field];
        table.holds("3.1", &format!("`{field}` reaches the engine as it was sent"), same, &told[field]);
    }
    for (name, value) in [
        ("n", json!(1)),
        ("response_format", json!({ "type": "text" })),
        ("logprobs", json!(false)),
        ("user", json!("somebody")),
        ("seed", json!(7)),
    ] {
        for model in ["tiny", "parrot"] {
            let request = post(CHAT).json(with(short(model), json!({ name: value })));
            table.row(row("3.1", format!("`{name}` is accepted by {model}"), request, 200, completion(model))).await;
        }
    }
    table
        .rows([
            row(
                "3.1",
                "a chat with an unknown model",
                post(CHAT).json(short("unknown")),
                404,
                error("not_found_error"),
            ),
            row(
                "5",
                "a chat without a model",
                post(CHAT).json(json!({ "messages": [] })),
                400,
                error("invalid_request_error"),
            ),
            row(
                "5",
                "a chat without messages",
                post(CHAT).json(json!({ "model": "parrot" })),
                400,
                error("invalid_request_error"),
            ),
            row(
                "5",
                "a chat that is no JSON",
                post(CHAT).body("application/json", "{\"model\""),
                400,
                error("invalid_request_error"),
            ),
        ])
        .await;

    table
        .rows([
            row("3.1", "all available models are listed, whoever provides them", get("/v1/models"), 200, json!({
                "object": "list",
                "data": ["<some>",
                    { "id": "gpt-4", "object": "model", "created": "<integer>", "owned_by": "openai" },
                    { "id": "parrot", "object": "model", "created": "<integer>", "owned_by": "mock" },
                    { "id": "tiny", "object": "model", "created": "<integer>", "owned_by": "<text>" },
                ]
            })),
            row("3.1", "every row of the list has the fields", get("/v1/models"), 200, json!({
                "data": ["<each>", { "id": "<text>", "object": "model", "created": "<integer>", "owned_by": "<text>" }]
            })),
            row("3.1", "one model", get("/v1/models/gpt-4"), 200, json!({
                "id": "gpt-4", "object": "model", "created": "<integer>", "owned_by": "openai"
            })),
            row("3.1", "one model of this machine", get("/v1/models/tiny"), 200, json!({
                "id": "tiny", "object": "model", "created": "<integer>", "owned_by": "<text>"
            })),
            row("3.1", "an unknown model", get("/v1/models/unknown"), 404, json!({
                "error": { "message": "<~unknown>", "type": "not_found_error", "param": "<any>", "code": "<any>" }
            })),
        ])
        .await;

    let embeddings = |input: Value| post("/v1/embeddings").json(json!({ "model": "tiny", "input": input }));
    table
        .rows([
            row("3.1", "an embedding", embeddings("Hello, world!".into()), 200, vectors("tiny", 1)),
            row("3.1", "embeddings of a list of texts", embeddings(json!(["Hello, world!"])), 200, vectors("tiny", 1)),
            row(
                "3.1",
                "embeddings of an unknown model",
                post("/v1/embeddings").json(json!({ "model": "unknown", "input": "x" })),
                404,
                error("not_found_error"),
            ),
        ])
        .await;

    table.done();
}

#[tokio::test]
async fn streams_of_chapter_3_1() {
    let stage = fake().fake_model("tiny-Q4_K_M.gguf", "--fake-tokens 4");
    let snug = stage.start().await;
    add(&snug, [json!({ "model": "parrot", "provider": "mock" })]).await;
    let mut table = Table::of(&snug);

    for model in ["parrot", "tiny"] {
        for include_usage in [false, true] {
            let more = json!({
                "messages": [{ "role": "user", "content": "<echo>Polly wants a cracker</echo>" }],
                "stream_options": { "include_usage": include_usage }
            });
            let mut stream = snug.stream(model, more).await;
            let mut events = stream.rest().await.unwrap();
            let last = events.pop().unwrap_or_default();
            table.holds("3.1", &format!("a stream of {model} ends with [DONE]"), last == "[DONE]", last);
            let mut chunks: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
            if include_usage {
                let usage = chunks.pop().unwrap_or_default();
                table.has_shape("3.1", &format!("usage comes last when {model} is asked for it"), &json!({
                    "object": "chat.completion.chunk",
                    "choices": [],
                    "usage": { "prompt_tokens": "<integer>", "completion_tokens": "<integer>", "total_tokens": "<integer>" }
                }), &usage);
                let tokens = usage["usage"]["completion_tokens"].as_u64().unwrap_or_default();
                table.holds("3.1", "usage is what it was, not zeros", tokens > 0, &usage);
            }
            let finish = chunks.pop().unwrap_or_default();
            table.has_shape("3.1", &format!("the last choice of {model} says why it ended"), &json!({
                "object": "chat.completion.chunk", "choices": [{ "index": 0, "delta": "<object>", "finish_reason": "stop" }]
            }), &finish);
            table.has_shape(
                "3.1",
                &format!("every event of {model} is a chunk"),
                &json!(["<each>", {
                    "id": "<~chatcmpl->",
                    "object": "chat.completion.chunk",
                    "created": "<integer>",
                    "model": model,
                    "choices": [{ "index": 0, "delta": "<object>", "finish_reason": null }]
                }]),
                &Value::Array(chunks.clone()),
            );
            if model == "parrot" {
                let role = &chunks.first().unwrap_or(&Value::Null)["choices"][0]["delta"]["role"];
                table.holds("3.1", "the first chunk says who speaks", role == "assistant", role);
            }
            let pieces = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
            let text: String = pieces.collect();
            let whole = if model == "parrot" { text == "Polly wants a cracker" } else { !text.is_empty() };
            table.holds("3.1", &format!("the chunks of {model} together are the answer"), whole, &text);
        }
    }

    // The status is not 200 before it is known that the model is there.
    let unknown = json!({ "model": "unknown", "messages": [{ "role": "user", "content": "x" }], "stream": true });
    table.row(row("5", "a stream of an unknown model", post(CHAT).json(unknown), 404, error("not_found_error"))).await;
    table.done();
}
