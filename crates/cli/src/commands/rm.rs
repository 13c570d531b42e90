//! `snug rm`: delete a model's files. Asked of the server; where none runs, of one that lives for as long as that takes.

use client::Client;
use types::ByteCount;

use crate::failure::Failure;
use crate::own_server;
use crate::printer::Printer;
use crate::settings::Settings;

/// Deletes and says how much is free now that was not.
pub(crate) async fn run(settings: &Settings, printer: &Printer, model: &str) -> Result<(), Failure> {
    own_server::or_the_one_that_runs(settings, async |client| rm(client, printer, model).await).await
}

async fn rm(client: &Client, printer: &Printer, model: &str) -> Result<(), Failure> {
    // An id may hold a colon: what is on disk tells which part is the variant.
    let stored = client.stored().await?;
    let is_id = |id: &str| stored.models.iter().any(|one| one.model == id);
    let (id, variant) = match model.rsplit_once(':') {
        Some((id, variant)) if !is_id(model) && is_id(id) => (id, Some(variant)),
        _ => (model, None),
    };
    let answer = client.delete_files(id, variant).await?;
    Ok(printer
        .data(&answer, || format!("{model} {}, {} freed\n", answer.status, ByteCount::bytes(answer.freed_bytes)))?)
}
