//! `snug pull`: get a model's files. Asked of the server; where none runs, of one that lives for as long as that takes.

use api::{ErrorBody, ModelAnswer};
use client::{Client, DownloadEvent};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::own_server;
use crate::printer::Printer;
use crate::progress::PullProgress;
use crate::settings::Settings;

/// Downloads and says what came.
pub(crate) async fn run(settings: &Settings, printer: &Printer, model: &str) -> Result<(), Failure> {
    own_server::or_the_one_that_runs(settings, async |client| pull(client, printer, model).await).await
}

async fn pull(client: &Client, printer: &Printer, model: &str) -> Result<(), Failure> {
    let answer = client.download(model).await?;
    let name = full_name(&answer);
    if answer.status == "already_available" {
        return Ok(printer.data(&answer, || format!("{name} is here already\n"))?);
    }
    let mut events = client.download_events(&name).await?;
    let mut progress = PullProgress::new(printer, &name);
    loop {
        // Both are safe to drop: events come whole, and a signal that was not heard is heard the next time.
        let event = tokio::select! {
            event = events.next() => event?,
            _ = tokio::signal::ctrl_c() => {
                drop(progress);
                client.pause_download(&name).await?;
                printer.note(&format!("{name} rests; `snug pull {name}` goes on where it was"));
                return Err(Failure::interrupted());
            }
        };
        match event {
            Some(DownloadEvent::Progress(status)) => progress.at(&status),
            Some(DownloadEvent::Done(_)) | None => break,
            Some(DownloadEvent::Failed(status)) => {
                let reason = status.error.unwrap_or_default();
                return Err(Failure::new(Exit::Failed, format!("{name} was not downloaded: {reason}")));
            }
            Some(DownloadEvent::Gone(ErrorBody { error, .. })) => {
                return Err(Failure::new(Exit::Failed, error.message));
            }
        }
    }
    drop(progress);
    let done = ModelAnswer { status: "downloaded".to_owned(), ..answer };
    Ok(printer.data(&done, || format!("{name} is here; `snug run {name}` talks to it\n"))?)
}

fn full_name(answer: &ModelAnswer) -> String {
    match &answer.variant {
        Some(variant) => format!("{}:{variant}", answer.model),
        None => answer.model.clone(),
    }
}
