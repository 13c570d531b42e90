//! One answer, shown as it comes.

use std::pin::pin;

use client::{ChatEvent, ChatRequest, Client, Usage};
use serde::Serialize;

use crate::failure::Failure;
use crate::printer::Printer;

/// What a model answered.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Answer {
    pub(crate) model: String,
    /// The answer itself.
    pub(crate) text: String,
    /// The thinking before it, if the model shows it.
    pub(crate) reasoning: String,
    /// `stop`, `length`, …
    pub(crate) finish_reason: Option<String>,
    pub(crate) usage: Option<Usage>,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By itself.
    Complete,
    /// By Ctrl-C; what had come stays.
    Interrupted,
}

/// Asks and shows. Ctrl-C drops the request, which stops the engine, and is not an error.
pub(crate) async fn stream(
    client: &Client,
    request: &ChatRequest,
    printer: &Printer,
) -> Result<(Answer, Ending), Failure> {
    let mut answer = Answer { model: request.model.clone(), ..Answer::default() };
    let ending = {
        let mut interrupt = pin!(tokio::signal::ctrl_c());
        let mut receive = pin!(receive(client, request, printer, &mut answer));
        tokio::select! {
            received = &mut receive => received.map(|()| Ending::Complete),
            _ = &mut interrupt => Ok(Ending::Interrupted),
        }
    };
    // The shell's prompt, or the message, begins on a line of its own even after half an answer.
    if !printer.is_json() && !answer.text.is_empty() && !answer.text.ends_with('\n') {
        printer.raw("\n")?;
    }
    let ending = ending?;
    if ending == Ending::Complete && answer.finish_reason.as_deref() == Some("length") {
        printer.note("the answer was cut: it reached the limit of tokens");
    }
    Ok((answer, ending))
}

async fn receive(
    client: &Client,
    request: &ChatRequest,
    printer: &Printer,
    answer: &mut Answer,
) -> Result<(), Failure> {
    let mut chat = client.chat(request).await?;
    while let Some(event) = chat.next().await? {
        match event {
            ChatEvent::Text(text) => {
                if answer.text.is_empty() && !answer.reasoning.is_empty() {
                    printer.aside("\n\n");
                }
                if !printer.is_json() {
                    printer.raw(&text)?;
                }
                answer.text.push_str(&text);
            }
            ChatEvent::Reasoning(text) => {
                printer.aside(&text);
                answer.reasoning.push_str(&text);
            }
            ChatEvent::Finished(reason) => answer.finish_reason = Some(reason),
            ChatEvent::Usage(usage) => answer.usage = Some(usage),
        }
    }
    Ok(())
}
