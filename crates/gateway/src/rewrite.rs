//! What is put into a request on its way: spans are exchanged, the rest stays byte for byte.

use std::ops::Range;

use bytes::Bytes;
use protocol::scan::Scan;
use route::Rewrite;
use serde::Deserialize;

use crate::endpoint::Endpoint;

/// Changes to a body, in the order of their places.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    /// What takes the place of what.
    edits: Vec<(Range<usize>, String)>,
    /// Fields that are put in, as JSON.
    fields: Vec<(String, String)>,
}

impl Edits {
    /// What follows for a request from what its route says, and from what engines do not take.
    ///
    /// Of several routes the first one's word counts.
    pub(crate) fn of(endpoint: Endpoint, scan: &Scan<'_>, rewrites: &[&Rewrite]) -> Self {
        let mut edits = Self::default();
        // As good as absent, and yet some engines refuse it.
        if let Some(field) = scan.field("stream").filter(|field| field.value == "null") {
            edits.exchange(field.at.clone(), "false".to_owned());
        }
        let generates = matches!(
            endpoint,
            Endpoint::ChatCompletions | Endpoint::Completions | Endpoint::Responses | Endpoint::Messages
        );
        for rewrite in rewrites {
            if generates {
                edits.defaults(scan, &rewrite.defaults);
            }
            if endpoint == Endpoint::ChatCompletions {
                edits.defaults(scan, &rewrite.chat_defaults);
            }
        }
        if let Some(system) = rewrites.iter().find_map(|rewrite| rewrite.system.as_ref()) {
            edits.system(endpoint, scan, system);
        }
        edits
    }

    /// The model is called by another name.
    pub(crate) fn model(&mut self, scan: &Scan<'_>, name: &str) {
        match scan.field("model") {
            Some(field) => self.exchange(field.at.clone(), json(name)),
            None => self.fields.push(("model".to_owned(), json(name))),
        }
    }

    /// A field is put in, or takes the place of the one that is there. `value` is JSON.
    pub(crate) fn set(&mut self, scan: &Scan<'_>, name: &str, value: String) {
        match scan.field(name) {
            Some(field) => self.exchange(field.at.clone(), value),
            None => self.fields.push((name.to_owned(), value)),
        }
    }

    /// The body with all changes; the body itself where there are none.
    pub(crate) fn apply(mut self, body: &Bytes, scan: &Scan<'_>) -> Bytes {
        if !self.fields.is_empty() {
            let fields = self.fields.iter().map(|(name, value)| format!("{}:{value}", json(name)));
            let mut text = fields.collect::<Vec<_>>().join(",");
            if !scan.is_empty() {
                text.push(',');
            }
            self.exchange(scan.inside..scan.inside, text);
        }
        if self.edits.is_empty() {
            return body.clone();
        }
        self.edits.sort_by_key(|(at, _)| at.start);
        let added: usize = self.edits.iter().map(|(_, text)| text.len()).sum();
        let mut whole = Vec::with_capacity(body.len() + added);
        let mut from = 0;
        for (at, text) in &self.edits {
            whole.extend_from_slice(&body[from..at.start]);
            whole.extend_from_slice(text.as_bytes());
            from = at.end;
        }
        whole.extend_from_slice(&body[from..]);
        whole.into()
    }

    fn exchange(&mut self, at: Range<usize>, text: String) {
        self.edits.push((at, text));
    }

    fn defaults(&mut self, scan: &Scan<'_>, defaults: &[(String, String)]) {
        for (name, value) in defaults {
            if scan.field(name).is_none() && self.fields.iter().all(|(known, _)| known != name) {
                self.fields.push((name.clone(), value.clone()));
            }
        }
    }

    fn system(&mut self, endpoint: Endpoint, scan: &Scan<'_>, system: &str) {
        let field = match endpoint {
            Endpoint::ChatCompletions => return self.system_message(scan, system),
            Endpoint::Messages => "system",
            Endpoint::Responses => "instructions",
            _ => return,
        };
        let absent = scan.field(field).is_none_or(|field| field.value == "null");
        if absent {
            self.set(scan, field, json(system));
        }
    }

    /// The system prompt as first message, where no message has one.
    fn system_message(&mut self, scan: &Scan<'_>, system: &str) {
        #[derive(Deserialize)]
        struct Role {
            #[serde(default)]
            role: String,
        }
        let Some(messages) = scan.field("messages") else { return };
        // What is no list of messages is for the engine to refuse.
        let Ok(roles) = serde_json::from_str::<Vec<Role>>(messages.value) else { return };
        if roles.iter().any(|message| matches!(message.role.as_str(), "system" | "developer")) {
            return;
        }
        let comma = if roles.is_empty() { "" } else { "," };
        let first = messages.at.start + 1;
        self.exchange(first..first, format!("{{\"role\":\"system\",\"content\":{}}}{comma}", json(system)));
    }
}

/// A text as JSON.
pub(crate) fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite() -> Rewrite {
        Rewrite {
            system: Some("Be \"brief\".".to_owned()),
            defaults: vec![("temperature".to_owned(), "0.2".to_owned())],
            chat_defaults: vec![("chat_template_kwargs".to_owned(), r#"{"enable_thinking":false}"#.to_owned())],
        }
    }

    fn check(endpoint: Endpoint, rewrite: &Rewrite, body: &'static str, expected: &str) {
        let bytes = Bytes::from_static(body.as_bytes());
        let scan = Scan::of(&bytes).unwrap();
        let after = Edits::of(endpoint, &scan, &[rewrite, rewrite]).apply(&bytes, &scan);
        assert_eq!(str::from_utf8(&after).unwrap(), expected, "{body}");
        let _still_json: serde_json::Value = serde_json::from_slice(&after).unwrap();
    }

    #[test]
    fn what_says_it_itself_stays_as_it_is() {
        let body = r#"{ "messages":[{"role":"system"} ],"temperature":1,"chat_template_kwargs":null}"#;
        check(Endpoint::ChatCompletions, &rewrite(), body, body);
        check(Endpoint::ChatCompletions, &Rewrite::default(), r#"{"model": "m" }"#, r#"{"model": "m" }"#);
    }

    #[test]
    fn what_is_absent_is_put_in() {
        check(
            Endpoint::ChatCompletions,
            &rewrite(),
            r#" {"messages":[ {"role":"user","content":"x"}]}"#,
            r#" {"temperature":0.2,"chat_template_kwargs":{"enable_thinking":false},"messages":[{"role":"system","content":"Be \"brief\"."}, {"role":"user","content":"x"}]}"#,
        );
        check(
            Endpoint::Messages,
            &rewrite(),
            r#"{"messages":[]}"#,
            r#"{"temperature":0.2,"system":"Be \"brief\".","messages":[]}"#,
        );
        check(
            Endpoint::Responses,
            &rewrite(),
            r#"{"instructions":null}"#,
            r#"{"temperature":0.2,"instructions":"Be \"brief\"."}"#,
        );
        check(Endpoint::Embeddings, &rewrite(), r#"{"input":"x"}"#, r#"{"input":"x"}"#);
        check(Endpoint::Completions, &rewrite(), "{}", r#"{"temperature":0.2}"#);
    }

    #[test]
    fn a_stream_of_null_is_none() {
        check(Endpoint::Completions, &Rewrite::default(), r#"{"stream": null,"a":1}"#, r#"{"stream": false,"a":1}"#);
    }

    #[test]
    fn a_model_is_renamed_where_it_stands() {
        for (body, expected) in [
            (r#"{"a":1, "model" : "m\u0061","b":2}"#, r#"{"a":1, "model" : "gpt \"4\"","b":2}"#),
            (r#"{"a":1}"#, r#"{"model":"gpt \"4\"","a":1}"#),
        ] {
            let bytes = Bytes::from_static(body.as_bytes());
            let scan = Scan::of(&bytes).unwrap();
            let mut edits = Edits::default();
            edits.model(&scan, "gpt \"4\"");
            assert_eq!(str::from_utf8(&edits.apply(&bytes, &scan)).unwrap(), expected);
        }
    }
}
