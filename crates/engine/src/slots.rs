//! An engine's slots are written to disk and read from there: one question after the other, for as long as somebody waits.
//!
//! Whoever drops one of these futures has waited enough. The engine may go on with the slot it is at.

use std::net::SocketAddr;
use std::time::Instant;

use http::StatusCode;
use types::{ByteCount, ModelKey};

use crate::llama_cpp::{SlotAction, SlotOutcome, held_slots, slot_outcome};
use crate::loopback;
use crate::prompt_cache::{PromptCache, finished, unfinished};

/// Saves what the engine at `address` holds, where a token takes `per_token`. An engine that holds next to nothing is
/// asked once and leaves at once.
pub(crate) async fn save(model: ModelKey, address: SocketAddr, cache: PromptCache, per_token: ByteCount) {
    let begun = Instant::now();
    let held = match loopback::get(address, "/slots").await {
        Some((StatusCode::OK, body)) => held_slots(&body),
        Some((status, _)) => {
            tracing::debug!(%model, %status, "the engine does not tell of its slots; prompts are not kept");
            cache.refuse();
            return;
        }
        None => return,
    };
    let prepared = cache.prepare().inspect_err(|error| tracing::warn!(%model, %error, "cannot keep prompts"));
    if held.is_empty() || prepared.is_err() {
        return;
    }
    let (mut slots, mut tokens_saved, mut written) = (0, 0, ByteCount::ZERO);
    for slot in cache.make_room(held, per_token).await {
        match ask(address, SlotAction::Save, slot.id, unfinished(slot.id)).await {
            Some(SlotOutcome::Done { tokens, bytes }) => match cache.keep(slot.id, bytes) {
                Ok(()) => {
                    slots += 1;
                    tokens_saved += tokens;
                    written += ByteCount::bytes(bytes);
                }
                Err(error) => {
                    tracing::warn!(%model, slot = slot.id, %error, "what the engine saved of its prompts is not kept");
                    break;
                }
            },
            Some(SlotOutcome::Refused(reason)) => {
                tracing::debug!(%model, slot = slot.id, reason, "the engine does not save its slots");
                cache.refuse();
                break;
            }
            Some(SlotOutcome::Failed(reason)) => {
                tracing::warn!(%model, slot = slot.id, reason, "the engine could not save a slot; is the disk full?");
                break;
            }
            None => break,
        }
    }
    cache.drop_unfinished();
    if slots > 0 {
        cache.trim().await;
        tracing::info!(
            %model, slots, tokens = tokens_saved, bytes = written.as_u64(), took_ms = begun.elapsed().as_millis(),
            "kept {tokens_saved} tokens of prompts ({written})"
        );
    }
}

/// Has the engine at `address` read what was kept of `slots`. A file that it does not take is removed. Does not end by
/// itself when the engine died of one: its exit says so, and until then it is not ready.
pub(crate) async fn restore(model: ModelKey, address: SocketAddr, cache: PromptCache, slots: Vec<u32>) {
    let begun = Instant::now();
    let mut tokens_restored = 0;
    for slot in slots {
        match ask(address, SlotAction::Restore, slot, finished(slot)).await {
            Some(SlotOutcome::Done { tokens, .. }) => tokens_restored += tokens,
            Some(SlotOutcome::Refused(reason)) => {
                tracing::debug!(%model, slot, reason, "the engine does not restore its slots");
                cache.refuse();
                cache.forget_all();
                return;
            }
            Some(SlotOutcome::Failed(reason)) => {
                tracing::debug!(%model, slot, reason, "a kept prompt cache is of no use");
                cache.forget(slot);
            }
            None => {
                cache.forget(slot);
                if loopback::get(address, "/health").await.is_none() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
    if tokens_restored > 0 {
        tracing::info!(
            %model, tokens = tokens_restored, took_ms = begun.elapsed().as_millis(),
            "brought {tokens_restored} tokens of prompts back"
        );
    }
}

async fn ask(address: SocketAddr, action: SlotAction, slot: u32, file: String) -> Option<SlotOutcome> {
    let body = serde_json::json!({ "filename": file }).to_string();
    let (status, body) = loopback::post(address, &action.path(slot), body).await?;
    Some(slot_outcome(action, status, &body))
}
