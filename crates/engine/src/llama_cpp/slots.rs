//! What `llama-server` says of its slots, and of saving and restoring them.
//!
//! As the pinned version does it: `GET /slots` tells `n_prompt_tokens`, the tokens a slot holds, once it had a request;
//! `POST /slots/ID?action=save` writes tokens and KV cache into a file, in one go and for one slot at a time.

use http::StatusCode;
use serde::Deserialize;

/// What a slot that nobody uses at the moment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeldSlot {
    /// Its number.
    pub(crate) id: u32,
    /// Tokens in its cache, of prompt and answer.
    pub(crate) tokens: u64,
}

/// The slots in an answer of `GET /slots` that hold something. A slot that was restored and not used since tells nothing:
/// what was restored into it lies on disk already.
pub(crate) fn held_slots(body: &[u8]) -> Vec<HeldSlot> {
    #[derive(Deserialize)]
    struct Row {
        id: u32,
        is_processing: bool,
        #[serde(default)]
        n_prompt_tokens: u64,
    }
    let rows: Vec<Row> = serde_json::from_slice(body).unwrap_or_default();
    let held = rows.into_iter().filter(|row| !row.is_processing && row.n_prompt_tokens > 0);
    held.map(|row| HeldSlot { id: row.id, tokens: row.n_prompt_tokens }).collect()
}

/// What a slot is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotAction {
    /// Write its cache into a file.
    Save,
    /// Read it from there.
    Restore,
}

impl SlotAction {
    /// The path to ask slot `id` at.
    pub(crate) fn path(self, id: u32) -> String {
        let action = match self {
            Self::Save => "save",
            Self::Restore => "restore",
        };
        format!("/slots/{id}?action={action}")
    }
}

/// How that went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SlotOutcome {
    /// It did; `bytes` is the length of the file, as far as it was written or read.
    Done {
        /// Tokens saved or restored.
        tokens: u64,
        /// Bytes written or read.
        bytes: u64,
    },
    /// This engine, started this way, never will.
    Refused(String),
    /// Not this time.
    Failed(String),
}

/// What the engine's answer to `action` means.
pub(crate) fn slot_outcome(action: SlotAction, status: StatusCode, body: &[u8]) -> SlotOutcome {
    #[derive(Deserialize)]
    struct Done {
        #[serde(alias = "n_saved", alias = "n_restored")]
        tokens: u64,
        #[serde(alias = "n_written", alias = "n_read")]
        bytes: u64,
    }
    if status == StatusCode::OK {
        return match serde_json::from_slice(body) {
            Ok(Done { tokens, bytes }) => SlotOutcome::Done { tokens, bytes },
            Err(error) => SlotOutcome::Failed(format!("an answer that says something else: {error}")),
        };
    }
    let reason = || {
        let error = serde_json::from_slice::<serde_json::Value>(body).ok();
        let message = error.as_ref().and_then(|error| error.pointer("/error/message")?.as_str());
        message.map_or_else(|| status.to_string(), str::to_owned)
    };
    match (status, action) {
        (StatusCode::NOT_IMPLEMENTED | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED, _)
        | (StatusCode::BAD_REQUEST, SlotAction::Save) => SlotOutcome::Refused(reason()),
        // A file that the engine does not take is a bad request too.
        _ => SlotOutcome::Failed(reason()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_tell_what_they_hold() {
        // As the pinned version answers after one request, which went to slot 1; `params` left out.
        let answer = br#"[{"id":0,"n_ctx":2048,"speculative":false,"is_processing":false},
            {"id":1,"n_ctx":2048,"speculative":false,"is_processing":false,"id_task":1,"n_prompt_tokens":534,
             "n_prompt_tokens_processed":0,"n_prompt_tokens_cache":0,
             "next_token":[{"has_next_token":false,"has_new_line":false,"n_remain":-1,"n_decoded":0}]},
            {"id":2,"n_ctx":2048,"speculative":false,"is_processing":true,"id_task":2,"n_prompt_tokens":77}]"#;
        assert_eq!(held_slots(answer), [HeldSlot { id: 1, tokens: 534 }]);
        assert_eq!(held_slots(b"[]"), []);
        assert_eq!(held_slots(b"<html>"), []);
    }

    #[test]
    fn outcomes() {
        use SlotAction::{Restore, Save};
        let check = |action, status: u16, body: &str, expected: SlotOutcome| {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(slot_outcome(action, status, body.as_bytes()), expected, "{action:?} {status} {body}");
        };
        let done = SlotOutcome::Done { tokens: 534, bytes: 12_312_672 };
        let saved = r#"{"id_slot":1,"filename":"a","n_saved":534,"n_written":12312672,"timings":{"save_ms":9.2}}"#;
        check(Save, 200, saved, done.clone());
        let restored =
            r#"{"id_slot":1,"filename":"a","n_restored":534,"n_read":12312672,"timings":{"restore_ms":4.4}}"#;
        check(Restore, 200, restored, done);
        let error = |message: &str| format!(r#"{{"error":{{"code":501,"message":"{message}","type":"x"}}}}"#);
        let (refused, failed) =
            (|text: &str| SlotOutcome::Refused(text.into()), |text: &str| SlotOutcome::Failed(text.into()));
        check(Save, 501, &error("does not support slots action"), refused("does not support slots action"));
        check(Save, 400, &error("Invalid slot ID"), refused("Invalid slot ID"));
        check(Save, 404, "not found", refused("404 Not Found"));
        check(Save, 500, &error("Unable to save slot"), failed("Unable to save slot"));
        check(Restore, 400, &error("Unable to restore slot: x"), failed("Unable to restore slot: x"));
        check(Restore, 501, &error("no"), refused("no"));
    }

    #[test]
    fn a_slot_is_asked_at_its_own_path() {
        assert_eq!(SlotAction::Save.path(0), "/slots/0?action=save");
        assert_eq!(SlotAction::Restore.path(3), "/slots/3?action=restore");
    }
}
