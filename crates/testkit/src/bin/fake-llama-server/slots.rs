//! Its slots, as far as somebody saves and restores them: how many tokens each holds. Two prompts of the same length are
//! the same to it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;

use crate::answer;
use crate::options::Options;

/// All slots.
pub(crate) struct Slots(Mutex<Vec<Slot>>);

#[derive(Clone, Default)]
struct Slot {
    tokens: u64,
    /// Whether it had a request; before, it does not tell what it holds.
    used: bool,
}

/// What a slot is asked to do.
#[derive(Deserialize)]
struct Asked {
    filename: String,
}

impl Slots {
    pub(crate) fn new(options: &Options) -> Self {
        Self(Mutex::new(vec![Slot::default(); usize::try_from(options.slots).unwrap_or(1)]))
    }

    /// A request uses a slot and leaves prompt and answer in it; how many tokens of its prompt were there already.
    pub(crate) fn used(&self, id: usize, generated: u64, options: &Options) -> u64 {
        let mut slots = self.lock();
        let Some(slot) = slots.get_mut(id) else { return 0 };
        // One token is always read anew. Prompts of the usual length are too many and too short to be told apart.
        let is_told = options.prompt_tokens != Options::default().prompt_tokens;
        let cached = if is_told { slot.tokens.min(options.prompt_tokens - 1) } else { 0 };
        *slot = Slot { tokens: options.prompt_tokens + generated, used: true };
        cached
    }

    /// The answer of `GET /slots`.
    pub(crate) fn rows(&self, options: &Options) -> String {
        let context = options.context / options.slots.max(1);
        let row = |(id, slot): (usize, &Slot)| {
            let tokens =
                if slot.used { format!(r#","id_task":1,"n_prompt_tokens":{}"#, slot.tokens) } else { String::new() };
            format!(r#"{{"id":{id},"n_ctx":{context},"speculative":false,"is_processing":false{tokens}}}"#)
        };
        format!("[{}]", self.lock().iter().enumerate().map(row).collect::<Vec<_>>().join(","))
    }

    /// The answer of `POST /slots/ID?action=…`, with its status.
    pub(crate) async fn act(&self, path: &str, action: &str, body: &[u8], options: &Options) -> (u16, String) {
        let refused = |message: &str| (501, answer::error(501, message, "not_supported_error"));
        let wrong = |message: &str| (400, answer::error(400, message, "invalid_request_error"));
        let Some(folder) = &options.slots_folder else {
            return refused("This server does not support slots action. Start it with `--slot-save-path`");
        };
        let id = path.strip_prefix("/slots/").and_then(|id| id.parse::<usize>().ok());
        let Some((id, asked)) = id.zip(serde_json::from_slice::<Asked>(body).ok()) else {
            return wrong("Invalid slot ID");
        };
        let file = folder.join(&asked.filename);
        match action {
            "action=save" if options.refuse_save => refused("This model's cache cannot be saved"),
            "action=save" => {
                tokio::time::sleep(options.save).await;
                let Some(tokens) = self.lock().get(id).map(|slot| slot.tokens) else { return wrong("Invalid slot ID") };
                let text = format!("{tokens} tokens");
                let written = if options.half_save { &text[..text.len() / 2] } else { &text };
                if std::fs::write(&file, written).is_err() {
                    return (500, answer::error(500, "Unable to save slot", "server_error"));
                }
                let length = text.len();
                (
                    200,
                    format!(
                        r#"{{"id_slot":{id},"n_saved":{tokens},"n_written":{length},"timings":{{"save_ms":0.1}}}}"#
                    ),
                )
            }
            "action=restore" if options.die_on_restore => std::process::abort(),
            "action=restore" => {
                tokio::time::sleep(options.restore).await;
                let text = std::fs::read_to_string(&file).unwrap_or_default();
                let tokens = text.strip_suffix(" tokens").and_then(|tokens| tokens.parse::<u64>().ok());
                let mut slots = self.lock();
                match (slots.get_mut(id), tokens) {
                    (Some(slot), Some(tokens)) => {
                        slot.tokens = tokens;
                        let length = text.len();
                        (
                            200,
                            format!(
                                r#"{{"id_slot":{id},"n_restored":{tokens},"n_read":{length},"timings":{{"restore_ms":0.1}}}}"#
                            ),
                        )
                    }
                    _ => wrong("Unable to restore slot: No available space in KV cache or invalid slot save file"),
                }
            }
            _ => wrong("Invalid action"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
