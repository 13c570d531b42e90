//! `snug run`: ask a model one thing, or chat with it.

mod answer;
mod chat;

use std::io::{self, IsTerminal, Read};

use client::{ChatRequest, Client, Message, Role};

use self::answer::Ending;
use super::load::load;
use crate::args::RunArgs;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::settings::Settings;

/// Most text that is read from a pipe: more than any context holds.
const PIPED_BYTES_MAX: u64 = 16 << 20;

/// One answer if there is something to ask, else a chat.
pub(crate) fn run(args: RunArgs, settings: &Settings, printer: &Printer) -> Result<(), Failure> {
    let client = settings.client()?;
    let prompt = prompt(&args.prompt)?;
    let chats = prompt.is_empty();
    if chats && !io::stdin().is_terminal() {
        return Err(Failure::usage("there is nothing to ask: neither a PROMPT nor text on standard input"));
    }
    if chats && printer.is_json() {
        return Err(Failure::usage("--json needs a PROMPT: a chat is for people"));
    }
    crate::wait(async {
        tokio::select! {
            loaded = load(&client, printer, &args.model, None) => loaded.map(drop)?,
            _ = tokio::signal::ctrl_c() => return Err(Failure::interrupted()),
        }
        let mut request = conversation(args);
        if chats {
            return chat::run(&client, request, settings, printer).await;
        }
        request.messages.push(Message { role: Role::User, content: prompt });
        ask(&client, &request, printer).await
    })
}

/// The words of the command line, then whatever is piped in.
fn prompt(words: &[String]) -> Result<String, Failure> {
    let mut parts = vec![words.join(" ")];
    if !io::stdin().is_terminal() {
        let mut piped = String::new();
        io::stdin().lock().take(PIPED_BYTES_MAX + 1).read_to_string(&mut piped)?;
        if piped.len() as u64 > PIPED_BYTES_MAX {
            return Err(Failure::usage("standard input is larger than 16 MiB, which no model reads"));
        }
        parts.push(piped.trim().to_owned());
    }
    parts.retain(|part| !part.is_empty());
    Ok(parts.join("\n\n"))
}

/// The request before anything is asked.
fn conversation(args: RunArgs) -> ChatRequest {
    let system = args.system.map(|content| Message { role: Role::System, content });
    ChatRequest {
        model: args.model,
        messages: system.into_iter().collect(),
        max_tokens: args.max_tokens,
        temperature: args.temperature,
    }
}

async fn ask(client: &Client, request: &ChatRequest, printer: &Printer) -> Result<(), Failure> {
    let (answer, ending) = answer::stream(client, request, printer).await?;
    match ending {
        Ending::Interrupted => Err(Failure::interrupted()),
        Ending::Complete => {
            if printer.is_json() {
                printer.data(&answer, String::new)?;
            }
            Ok(())
        }
    }
}
