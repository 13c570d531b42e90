//! `snug pin` and `snug unpin`: whether a model may be unloaded to make room.

use client::Client;

use crate::failure::Failure;
use crate::printer::Printer;

/// Pins or unpins, and says so.
pub(crate) async fn run(client: &Client, printer: &Printer, model: &str, pinned: bool) -> Result<(), Failure> {
    let answer = client.pin(model, pinned).await?;
    Ok(printer.data(&answer, || format!("{} {}\n", answer.model, answer.status))?)
}
