//! `snug catalog`: how many models are known, and fetching what is new.

use hub::{Progress, Update};
use indicatif::ProgressBar;

use crate::args::CatalogAction;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::settings::Settings;

/// Models that were left out, named at most.
const LEFT_OUT_NAMED: usize = 10;

/// Does what is asked of the catalogue.
pub(crate) fn run(action: &CatalogAction, settings: &Settings, printer: &Printer) -> Result<(), Failure> {
    match *action {
        CatalogAction::Status => status(settings, printer),
        CatalogAction::Update { limit } => crate::wait(update(limit, settings, printer)),
    }
}

fn status(settings: &Settings, printer: &Printer) -> Result<(), Failure> {
    let status = server::catalogue_status(&settings.data_dir()?);
    Ok(printer.data(&status, || {
        let mut text = format!("{} models, {} of them come with snug\n", status.all, status.embedded);
        for file in &status.files {
            text.push_str(&format!("  and from {file}\n"));
        }
        for note in &status.notes {
            text.push_str(&format!("  note: {note}\n"));
        }
        text
    })?)
}

async fn update(limit: usize, settings: &Settings, printer: &Printer) -> Result<(), Failure> {
    let bar = if printer.err_is_terminal() && !printer.is_json() {
        ProgressBar::new_spinner()
    } else {
        ProgressBar::hidden()
    };
    let shown = |progress: Progress| match progress {
        Progress::Listing { task } => bar.set_message(format!("asking the hub for models of {task}")),
        Progress::Reading { done, total, id } => bar.set_message(format!("{done} of {total}: {id}")),
        Progress::Writing => bar.set_message("writing"),
    };
    let variable = |name: &str| settings.environment.get(name).cloned();
    let data_dir = settings.data_dir()?;
    let updating = server::update_catalogue(&data_dir, variable, limit, shown);
    let updated = tokio::select! {
        updated = updating => updated,
        _ = tokio::signal::ctrl_c() => return Err(Failure::interrupted()),
    };
    bar.finish_and_clear();
    let update = updated.map_err(|error| Failure::new(Exit::Failed, format!("{error:#}")))?;
    let object = serde_json::json!({
        "path": update.path,
        "added": update.added,
        "kept": update.kept,
        "repacks": update.repacks,
        "known": update.known,
        "left_out": update.left_out.iter().map(|one| serde_json::json!({ "id": one.id, "reason": one.reason })).collect::<Vec<_>>(),
        "notes": update.notes,
    });
    Ok(printer.data(&object, || text(&update))?)
}

fn text(update: &Update) -> String {
    let Update { path, added, kept, repacks, known, left_out, notes } = update;
    let mut text = format!(
        "{} models added, {known} known before, {repacks} more repositories; {kept} of earlier updates kept\n",
        added.len()
    );
    for id in added {
        text.push_str(&format!("  {id}\n"));
    }
    if !left_out.is_empty() {
        text.push_str(&format!("left out {}:\n", left_out.len()));
        for one in left_out.iter().take(LEFT_OUT_NAMED) {
            text.push_str(&format!("  {}: {}\n", one.id, one.reason));
        }
        if left_out.len() > LEFT_OUT_NAMED {
            text.push_str("  …; --json tells all\n");
        }
    }
    for note in notes {
        text.push_str(&format!("note: {note}\n"));
    }
    text.push_str(&format!("written to {}; a running snug reads it at its next start\n", path.display()));
    text
}
