//! `snug load`: load a model now rather than at its first request.

use api::{LoadAnswer, LoadEvent};
use client::Client;

use crate::failure::Failure;
use crate::printer::Printer;
use crate::progress::LoadProgress;
use crate::table::duration;

/// Loads and says what was loaded.
pub(crate) async fn run(client: &Client, printer: &Printer, model: &str, context: Option<u64>) -> Result<(), Failure> {
    let answer = load(client, printer, model, context).await?;
    Ok(printer.data(&answer, || {
        let LoadAnswer { model, variant, context_size, load_ms, .. } = &answer;
        let name = if variant.is_empty() { model.clone() } else { format!("{model}:{variant}") };
        match load_ms {
            0 => format!("{name} was loaded already, context {context_size}\n"),
            ms => format!("{name} loaded in {}, context {context_size}\n", duration(*ms)),
        }
    })?)
}

/// Loads with progress. The server tells `id:variant` from an id with a colon in it, so the name goes as it is.
pub(crate) async fn load(
    client: &Client,
    printer: &Printer,
    model: &str,
    context: Option<u64>,
) -> Result<LoadAnswer, Failure> {
    let mut events = client.load(model, None, context).await.map_err(Failure::of_load)?;
    let mut progress = LoadProgress::new(printer, model);
    while let Some(event) = events.next().await.map_err(Failure::of_load)? {
        match event {
            LoadEvent::Progress { phase, progress: share } => progress.at(&phase, share),
            LoadEvent::Loaded(answer) => return Ok(answer),
            LoadEvent::Error(body) => return Err(Failure::load(body)),
        }
    }
    unreachable!("a load's events end with Loaded or Error, or in an error of the stream")
}
