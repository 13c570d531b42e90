//! `snug unload`: give a model's memory back now.

use client::Client;

use crate::failure::Failure;
use crate::printer::Printer;

/// Unloads and says so.
pub(crate) async fn run(client: &Client, printer: &Printer, model: &str) -> Result<(), Failure> {
    let answer = client.unload(model).await?;
    Ok(printer.data(&answer, || format!("{} {}\n", answer.model, answer.status))?)
}
