//! `snug ps`: what is loaded.

use api::LoadedModel;
use client::Client;
use types::ByteCount;

use crate::failure::Failure;
use crate::printer::Printer;
use crate::table::{Column, Table, duration};

/// Lists the instances in the order in which they were started.
pub(crate) async fn run(client: &Client, printer: &Printer) -> Result<(), Failure> {
    let loaded = client.loaded().await?;
    let mut table = Table::new(&[
        ("MODEL", Column::Name),
        ("VARIANT", Column::Name),
        ("STATE", Column::Text),
        ("RAM", Column::Number),
        ("VRAM", Column::Number),
        ("CONTEXT", Column::Number),
        ("IN FLIGHT", Column::Number),
        ("IDLE", Column::Number),
        ("TOK/S", Column::Number),
        ("PORT", Column::Number),
        ("PID", Column::Number),
    ]);
    for model in &loaded.models {
        table.row([
            model.model.clone(),
            or_dash(Some(&model.variant).filter(|variant| !variant.is_empty())),
            state(model),
            memory(model.ram_usage_mb),
            memory(model.vram_usage_mb),
            or_dash(Some(model.context_size).filter(|context| *context > 0)),
            model.active_requests.to_string(),
            or_dash(model.idle_ms.map(duration)),
            or_dash(model.tokens_per_second.map(|speed| format!("{speed:.1}"))),
            or_dash(model.port),
            or_dash(model.pid),
        ]);
    }
    if loaded.models.is_empty() {
        printer.note("no model is loaded; one is loaded when it is first asked for");
    }
    Ok(printer.table(&loaded, &table)?)
}

/// The state, with how far a load is.
fn state(model: &LoadedModel) -> String {
    match (&model.phase, model.progress) {
        (Some(phase), Some(progress)) => {
            format!("{} {} {:.0} %", model.instance_state, phase.replace('_', " "), progress * 100.0)
        }
        _ => model.instance_state.clone(),
    }
}

fn memory(mib: u64) -> String {
    or_dash(Some(mib).filter(|mib| *mib > 0).map(ByteCount::mib))
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
