//! `snug info`: all that is known of a model.

use api::FitRow;

use crate::advice::Advice;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::printer::Printer;

/// Other models whose names fit, named at most.
const NAMED_MAX: usize = 8;

/// Prints the one model that the words mean.
pub(crate) async fn run(words: &str, advice: &Advice, printer: &Printer) -> Result<(), Failure> {
    let found = advice.fit(&vec![("search".to_owned(), words.to_owned())]).await?;
    let exact = found.models.iter().find(|model| model.name.eq_ignore_ascii_case(words));
    let last_part =
        |model: &&FitRow| model.name.rsplit('/').next().is_some_and(|name| name.eq_ignore_ascii_case(words));
    let model = match exact.or_else(|| found.models.iter().find(last_part)) {
        Some(model) => model,
        None => match found.models.as_slice() {
            [one] => one,
            [] => return Err(Failure::new(Exit::NotFound, format!("no model in the catalogue has all of {words:?}"))),
            several => {
                let names: Vec<&str> = several.iter().take(NAMED_MAX).map(|model| model.name.as_str()).collect();
                let more = if several.len() > NAMED_MAX { ", …" } else { "" };
                let message = format!("{} models have all of {words:?}: {}{more}", several.len(), names.join(", "));
                return Err(Failure::usage(message));
            }
        },
    };
    Ok(printer.data(model, || text(model))?)
}

fn text(model: &FitRow) -> String {
    let mut text = format!("{}\n", model.name);
    let mut line = |name: &str, value: String| text.push_str(&format!("  {name:<12}{value}\n"));
    line("maker", model.provider.clone());
    let active = if model.is_moe { format!(", {:.1}B of them active", model.active_params_b) } else { String::new() };
    line("parameters", format!("{}{active}", model.parameter_count));
    line("context", format!("{} tokens, {} fit here", model.context_length, model.usable_context));
    line("made for", model.use_case.clone());
    if !model.capabilities.is_empty() {
        line("can", model.capabilities.join(", "));
    }
    line("released", model.release_date.clone().unwrap_or_else(|| "-".to_owned()));
    line("licence", model.license.clone().unwrap_or_else(|| "-".to_owned()));
    line(
        "fit",
        format!(
            "{} on {}: {:.1} of {:.1} GiB ({:.0} %) as {} in {}",
            model.fit_label,
            model.run_mode_label,
            model.memory_required_gb,
            model.memory_available_gb,
            model.utilization_pct,
            model.best_quant.as_deref().unwrap_or("-"),
            model.runtime_label
        ),
    );
    let basis = &model.estimate_basis;
    line(
        "memory",
        format!(
            "{:.2} GiB weights + {:.2} GiB cache for {} tokens + {:.2} GiB buffers",
            basis.weights_gb, basis.kv_cache_gb, model.effective_context_length, basis.overhead_gb
        ),
    );
    let [low, high] = model.estimated_tps_range;
    line("speed", format!("{:.1} tok/s ({low:.0} to {high:.0}; {})", model.estimated_tps, model.estimate_confidence));
    if let (Some(prefill), Some(ttft)) = (model.prefill_tps, model.ttft_ms) {
        line("prompts", format!("{prefill:.0} tok/s, first token after {ttft:.0} ms"));
    }
    let parts = &model.score_components;
    line(
        "score",
        format!(
            "{:.1} (quality {:.0}, speed {:.0}, fit {:.0}, context {:.0}; {} public evaluations)",
            model.score, parts.quality, parts.speed, parts.fit, parts.context, basis.evaluations
        ),
    );
    for source in &model.gguf_sources {
        line("GGUF", source.repo.clone());
    }
    for note in &model.notes {
        line("note", note.clone());
    }
    text
}
