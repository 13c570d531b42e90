//! Any bytes as a request of an Ollama client: what is made of them is JSON for the engine, and names the model.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::Moment;
use protocol::ollama::{self, What, Wish};

fuzz_target!(|body: &[u8]| {
    let keep_alive = ollama::keep_alive(body);
    for conversion in [ollama::chat, ollama::generate, ollama::embed, ollama::embeddings] {
        let Ok(Wish { model, keep_alive: said, what, .. }) = conversion(body, Moment { id: "1".into(), created: 0 })
        else {
            continue;
        };
        assert_eq!(keep_alive.as_ref().ok(), Some(&said));
        let json = match &what {
            What::Ask { request, .. } => &request.body,
            What::Load { done } | What::Unload { done } => done,
        };
        let json: serde_json::Value = serde_json::from_slice(json).expect("JSON is made");
        if let What::Ask { .. } = what {
            assert_eq!(json["model"], model);
        }
    }
});
