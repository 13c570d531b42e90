//! Any bytes as a Responses request: converting it ends, without a panic, in a chat completions request or in a refusal
//! that says why.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::{Moment, responses};

fuzz_target!(|bytes: &[u8]| {
    match responses::to_chat(bytes, Moment { id: "7".to_owned(), created: 0 }) {
        Ok(request) => {
            let chat: serde_json::Map<String, serde_json::Value> = match serde_json::from_slice(&request.body) {
                Ok(chat) => chat,
                // What nobody here looks into may be nested deeper, or say more, than a tree can.
                Err(error) => return assert!(error.is_syntax() || error.is_data(), "{error}"),
            };
            assert!(chat["messages"].is_array());
        }
        Err(refused) => assert!(!refused.message.is_empty()),
    }
});
