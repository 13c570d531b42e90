//! `/api/stats…` and `/api/hardware`: what the machine does and did lately. Handlers only convert.

use std::time::{Duration, SystemTime};

use api::{Gpu, Hardware, Inference};
use axum::Json;
use axum::extract::{RawQuery, State};
use gateway::{ApiError, Finished, Outcome};
use hardware::{Accelerator, Source, System};
use telemetry::Answer;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use types::ByteCount;

use crate::advice::Advice;
use crate::models::Models;
use crate::query;

/// Minutes of history that can be asked for; all there is.
const MINUTES: std::ops::RangeInclusive<u64> = 1..=telemetry::RETENTION.as_secs() / 60;
const MINUTES_UNLESS_TOLD: u64 = 5;

/// What these routes are made of.
#[derive(Clone)]
pub(crate) struct Stats {
    pub(crate) models: Models,
    pub(crate) advice: Advice,
    pub(crate) telemetry: telemetry::Handle,
}

/// The machine, what is loaded, how fast answers came lately.
#[utoipa::path(
    get, path = "/api/stats", tag = "stats",
    responses((status = 200, body = api::Stats), (status = 503, body = api::ErrorBody)),
)]
pub(crate) async fn snapshot(State(stats): State<Stats>) -> Result<Json<api::Stats>, ApiError> {
    let system = stats.advice.hardware().await?.system();
    stats.telemetry.restored().await;
    let (averages, totals) = (stats.telemetry.averages(), stats.telemetry.totals());
    let models = stats.models.loaded();
    Ok(Json(api::Stats {
        hardware: shown(&system),
        active_requests: models.iter().map(|model| model.active_requests).sum(),
        models,
        avg_tokens_per_second: averages.tokens_per_second,
        avg_prompt_tokens_per_second: averages.prompt_tokens_per_second,
        avg_generation_tokens_per_second: averages.generation_tokens_per_second,
        totals: api::Totals {
            inferences: totals.answers,
            prompt_tokens: totals.prompt_tokens,
            completion_tokens: totals.completion_tokens,
            swaps: totals.swaps,
        },
    }))
}

/// Answers completed lately, the oldest first.
#[utoipa::path(
    get, path = "/api/stats/history", tag = "stats",
    params(("minutes" = Option<u64>, Query, description = "how far back; default 5", minimum = 1, maximum = 60)),
    responses((status = 200, body = [Inference]), (status = 400, body = api::ErrorBody)),
)]
pub(crate) async fn history(
    State(stats): State<Stats>,
    RawQuery(asked): RawQuery,
) -> Result<Json<Vec<Inference>>, ApiError> {
    let window = window(asked.as_deref())?;
    stats.telemetry.restored().await;
    Ok(Json(stats.telemetry.history(window).iter().map(inference).collect()))
}

/// Times that one model made room for another, the oldest first.
#[utoipa::path(get, path = "/api/stats/swaps", tag = "stats", responses((status = 200, body = [api::Swap])))]
pub(crate) async fn swaps(State(stats): State<Stats>) -> Json<Vec<api::Swap>> {
    stats.telemetry.restored().await;
    Json(stats.telemetry.swaps().iter().map(swap).collect())
}

/// What the machine has and what is free of it, read again for each call.
#[utoipa::path(
    get, path = "/api/hardware", tag = "stats",
    responses((status = 200, body = Hardware), (status = 503, body = api::ErrorBody)),
)]
pub(crate) async fn hardware(State(stats): State<Stats>) -> Result<Json<Hardware>, ApiError> {
    Ok(Json(shown(&*stats.advice.hardware().await?.now().await)))
}

/// What is remembered of a request that ended just now; nothing if no model answered it.
pub(crate) fn answer(finished: &Finished) -> Option<Answer> {
    let Finished { by, usage, is_stream, first_piece, total, outcome, endpoint, .. } = finished;
    let (usage, first_piece, total) = (*usage, *first_piece, *total);
    // Words about a model are no answers of it.
    if *outcome != Outcome::Success || matches!(*endpoint, "tokenize" | "count_tokens") {
        return None;
    }
    let model = by.as_ref()?.model.clone();
    // A whole answer comes in one piece at the end; its first token was there when the generation began.
    let begun = usage.generation_time.map_or(first_piece, |generation| total.saturating_sub(generation));
    Some(Answer {
        model,
        at: SystemTime::now(),
        prompt_tokens: usage.prompt_tokens,
        completion_tokens: usage.completion_tokens,
        prompt_tokens_per_second: usage.prompt_tokens_per_second.unwrap_or(0.0),
        generation_tokens_per_second: usage.tokens_per_second.unwrap_or(0.0),
        latency: if *is_stream { first_piece } else { begun },
        total_time: total,
        prompt_time: usage.prompt_time.unwrap_or_default(),
        generation_time: usage.generation_time.unwrap_or_default(),
    })
}

/// Has every swap of the node remembered, until `stop`.
pub(crate) async fn follow_swaps(
    mut swaps: broadcast::Receiver<node::Swap>,
    telemetry: telemetry::Handle,
    stop: CancellationToken,
) {
    loop {
        let swap = tokio::select! {
            swap = swaps.recv() => swap,
            () = stop.cancelled() => return,
        };
        match swap {
            Ok(node::Swap { from, to, time }) => {
                telemetry.swapped(telemetry::Swap { at: SystemTime::now(), from, to, time });
            }
            Err(broadcast::error::RecvError::Lagged(missed)) => tracing::warn!(missed, "some swaps are not remembered"),
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// How far back a query for history looks.
fn window(asked: Option<&str>) -> Result<Duration, ApiError> {
    let pairs = query::pairs(asked, &["minutes"])?;
    let minutes = match pairs.as_slice() {
        [] => MINUTES_UNLESS_TOLD,
        [(_, text)] => text.parse().ok().filter(|minutes| MINUTES.contains(minutes)).ok_or_else(|| wrong(text))?,
        [_, _, ..] => return Err(wrong("said twice")),
    };
    Ok(Duration::from_mins(minutes))
}

fn wrong(text: &str) -> ApiError {
    let (least, most) = MINUTES.into_inner();
    let text = &text[..text.floor_char_boundary(100)];
    let message = format!("`minutes` must be a whole number from {least} to {most}, is `{text}`");
    ApiError::bad_request("invalid_request", message).with_param("minutes")
}

fn inference(answer: &Answer) -> Inference {
    Inference {
        model: answer.model.id.as_str().to_owned(),
        variant: answer.model.variant.as_str().to_owned(),
        tokens_per_second: answer.tokens_per_second(),
        prompt_tokens: answer.prompt_tokens,
        completion_tokens: answer.completion_tokens,
        latency_ms: millis(answer.latency),
        total_time_ms: millis(answer.total_time),
        prompt_tokens_per_second: answer.prompt_tokens_per_second,
        generation_tokens_per_second: answer.generation_tokens_per_second,
        prompt_time_ms: millis(answer.prompt_time),
        generation_time_ms: millis(answer.generation_time),
        epoch_ms: since_1970(answer.at),
    }
}

fn swap(swap: &telemetry::Swap) -> api::Swap {
    api::Swap {
        from: swap.from.id.as_str().to_owned(),
        to: swap.to.id.as_str().to_owned(),
        time_ms: millis(swap.time),
        from_variant: swap.from.variant.as_str().to_owned(),
        to_variant: swap.to.variant.as_str().to_owned(),
        epoch_ms: since_1970(swap.at),
    }
}

fn shown(system: &System) -> Hardware {
    Hardware {
        total_ram_mb: mib(system.ram.total),
        free_ram_mb: mib(system.ram.available),
        cpu_cores: system.cpu.cores,
        cpu_utilization_percent: system.cpu.busy.map_or(0.0, percent),
        gpus: (0..).zip(&system.accelerators).map(|(index, found)| gpu(index, found)).collect(),
        cpu_name: system.cpu.name.clone(),
        simulated: system.simulated,
    }
}

fn gpu(index: u32, found: &Accelerator) -> Gpu {
    let free = found.free.unwrap_or(found.memory).min(found.memory);
    let (ram, ram_free) = if found.unified { (found.memory, free) } else { (ByteCount::ZERO, ByteCount::ZERO) };
    Gpu {
        index,
        name: found.name.clone(),
        backend: found.backend.as_str().to_owned(),
        vram_total_mb: mib(found.memory),
        vram_free_mb: mib(free),
        compute_capability: found.compute_capability.as_ref().and_then(|text| text.parse().ok()),
        utilization_percent: found.busy.map(percent),
        vendor: found.vendor.as_str().to_owned(),
        architecture: found.compute_capability.clone(),
        unified_memory: found.unified,
        gpu_accessible_ram_mb: mib(ram),
        gpu_accessible_ram_free_mb: mib(ram_free),
        vram_overridden: found.source == Source::Simulated,
    }
}

/// Whole MiB, rounded down: of what is free never more than there is.
fn mib(bytes: ByteCount) -> u64 {
    bytes.as_u64() >> 20
}

/// With one decimal.
fn percent(share: f64) -> f64 {
    (share * 1000.0).round() / 10.0
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn since_1970(at: SystemTime) -> u64 {
    let passed = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use gateway::{By, RequestId, Usage};
    use http::{HeaderMap, StatusCode};
    use types::{InstanceId, ModelId, ModelKey, Variant};

    use super::*;

    #[test]
    fn a_window_is_asked_for_in_whole_minutes() {
        let minutes = |query| window(query).map(|window| window.as_secs() / 60).map_err(|error| error.message);
        for (query, expected) in
            [(None, 5), (Some(""), 5), (Some("minutes=1"), 1), (Some("minutes=60"), 60), (Some("minutes=%36"), 6)]
        {
            assert_eq!(minutes(query), Ok(expected), "{query:?}");
        }
        for (query, named) in [
            ("minutes=0", "`0`"),
            ("minutes=61", "from 1 to 60, is `61`"),
            ("minutes=-5", "`-5`"),
            ("minutes=5.5", "`5.5`"),
            ("minutes=", "``"),
            ("minutes", "``"),
            ("minutes=five", "`five`"),
            ("minutes=99999999999999999999", "whole number"),
            ("minutes=5&minutes=6", "said twice"),
            ("minute=5", "`minute`"),
            ("minutes=5&x=1", "it has: minutes"),
        ] {
            let refused = minutes(Some(query)).expect_err(query);
            assert!(refused.contains(named), "{query}: {refused}");
        }
    }

    #[test]
    fn the_first_token_of_a_whole_answer_came_before_it() {
        let model = ModelKey { id: ModelId::new("m"), variant: Variant::new("Q4_0") };
        let finished = |is_stream, generation_time| Finished {
            id: RequestId::of(&HeaderMap::new()),
            endpoint: "chat_completions",
            model: Some("m".to_owned()),
            by: Some(By { instance: InstanceId::new("i"), model: model.clone() }),
            outcome: Outcome::Success,
            status: Some(StatusCode::OK),
            caller: keys::Caller::anybody(),
            traceparent: None,
            bodies: None,
            usage: Usage { generation_time, ..Usage::default() },
            is_stream,
            first_piece: Duration::from_millis(990),
            total: Duration::from_millis(1000),
        };
        let latency =
            |is_stream, generation_time| answer(&finished(is_stream, generation_time)).unwrap().latency.as_millis();
        assert_eq!(latency(true, Some(Duration::from_millis(700))), 990, "as it was measured");
        assert_eq!(latency(false, Some(Duration::from_millis(700))), 300);
        assert_eq!(latency(false, Some(Duration::from_secs(2))), 0, "an engine's clock is its own");
        assert_eq!(latency(false, None), 990, "where the engine says nothing");
        assert!(answer(&Finished { outcome: Outcome::Broken, ..finished(true, None) }).is_none());
        assert!(answer(&Finished { by: None, ..finished(true, None) }).is_none());
        assert!(answer(&Finished { endpoint: "tokenize", ..finished(true, None) }).is_none());
    }

    #[test]
    fn machines_are_shown_in_the_contracts_units() {
        let mut system = System::simulated("2x RTX 3090").unwrap();
        system.cpu.busy = Some(0.123_45);
        system.accelerators[0].busy = Some(0.5);
        system.accelerators[0].free = Some(ByteCount::mib(1000));
        let hardware = shown(&system);
        assert_eq!(hardware.cpu_utilization_percent, 12.3);
        let gpus: Vec<_> = hardware.gpus.iter().map(|gpu| (gpu.index, gpu.vram_total_mb, gpu.vram_free_mb)).collect();
        assert_eq!(gpus, [(0, 24576, 1000), (1, 24576, 24576)]);
        assert_eq!((hardware.gpus[0].utilization_percent, hardware.gpus[1].utilization_percent), (Some(50.0), None));
        assert_eq!((hardware.gpus[0].compute_capability, hardware.gpus[0].unified_memory), (Some(8.6), false));

        let shared = shown(&System::simulated("Strix Halo 128G").unwrap());
        let gpu = &shared.gpus[0];
        assert!(gpu.unified_memory && gpu.gpu_accessible_ram_mb == gpu.vram_total_mb, "{gpu:?}");
        assert_eq!((gpu.compute_capability, gpu.architecture.as_deref()), (None, Some("gfx1151")));
    }
}
