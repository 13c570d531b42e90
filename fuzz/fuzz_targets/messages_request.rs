//! Any bytes as a request of the Messages API or of chat completions: converting it ends, without a panic, and what comes of
//! it is JSON, of the Messages API also a request that can be converted back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::{Moment, messages};

fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<&serde_json::value::RawValue>(body).is_ok()
}

fuzz_target!(|bytes: &[u8]| {
    let moment = || Moment { id: "0".to_owned(), created: 0 };
    for request in [messages::to_chat(bytes, moment()), messages::to_openai(bytes, moment())].into_iter().flatten() {
        assert!(is_json(&request.body));
        if let Ok(back) = messages::from_chat(&request.body, moment(), 1) {
            assert!(is_json(&back.body));
        }
    }
    if let Ok(request) = messages::from_chat(bytes, moment(), 1) {
        assert!(is_json(&request.body));
    }
    if let Ok(body) = messages::count_tokens_to_chat(bytes) {
        assert!(is_json(&body));
    }
});
