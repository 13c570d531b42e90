//! `snug models`: what could be loaded.

use api::AvailableModel;
use client::Client;
use types::ByteCount;

use crate::failure::Failure;
use crate::printer::Printer;
use crate::table::{Column, Table};

/// Lists every variant of every model, and what stands in its way.
pub(crate) async fn run(client: &Client, printer: &Printer) -> Result<(), Failure> {
    let available = client.available().await?;
    let mut table = Table::new(&[
        ("MODEL", Column::Name),
        ("VARIANT", Column::Name),
        ("SIZE", Column::Number),
        ("MODE", Column::Text),
        ("MAX CONTEXT", Column::Number),
        ("NOTE", Column::Text),
    ]);
    for model in &available.models {
        let dash = || "-".to_owned();
        table.row([
            model.model.clone(),
            if model.variant.is_empty() { dash() } else { model.variant.clone() },
            ByteCount::bytes(model.file_size_bytes).to_string(),
            model.mode.clone(),
            if model.max_context_size == 0 { dash() } else { model.max_context_size.to_string() },
            note(model),
        ]);
    }
    if available.models.is_empty() {
        printer
            .note("there is no model; put a GGUF file into the server's models folder, or `snug serve --model FILE`");
    }
    Ok(printer.table(&available, &table)?)
}

fn note(model: &AvailableModel) -> String {
    match (&model.error, model.can_run, model.limiting_factor.as_str()) {
        (Some(error), _, _) => error.lines().next().unwrap_or_default().to_owned(),
        (None, false, "") => "does not fit".to_owned(),
        (None, false, factor) => format!("does not fit: too little {}", factor.to_uppercase()),
        (None, true, _) => String::new(),
    }
}
