//! A conversation in the terminal.

use std::path::PathBuf;

use client::{ChatRequest, Client, Message, Role};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};

use super::answer::{self, Answer};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::settings::Settings;

const HELP: &str =
    "/clear  forget the conversation\n/bye    leave (also Ctrl-D)\n/help   this list\nCtrl-C  stop the answer\n";

/// Lines that are remembered between chats.
const HISTORY_LINES_MAX: usize = 1000;

type LineEditor = Editor<(), FileHistory>;

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Nothing,
    Leave,
    Clear,
    Help,
    Unknown(&'a str),
    Say(&'a str),
}

fn read(line: &str) -> Line<'_> {
    match line.trim() {
        "" => Line::Nothing,
        "/bye" | "/exit" | "/quit" => Line::Leave,
        "/clear" => Line::Clear,
        "/help" | "/?" => Line::Help,
        // A path or a comment may begin with a slash; a command is one word.
        text if text.starts_with('/') && !text[1..].contains(|c: char| !c.is_ascii_alphabetic()) => Line::Unknown(text),
        text => Line::Say(text),
    }
}

/// Talks until the person leaves.
pub(crate) async fn run(
    client: &Client,
    mut request: ChatRequest,
    settings: &Settings,
    printer: &Printer,
) -> Result<(), Failure> {
    let history = history_file(settings);
    let mut editor = editor(history.as_deref())?;
    printer.aside(&format!("Chatting with {}. /help lists what you can do.\n", request.model));
    let beginning = request.messages.len();
    let mut interrupted_before = false;
    loop {
        // Reading blocks, so it has a thread of its own; the connection is looked after meanwhile.
        let reading = tokio::task::spawn_blocking(move || {
            let line = editor.readline("> ");
            (editor, line)
        });
        let line;
        (editor, line) = reading.await.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        let line = match line {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) if !interrupted_before => {
                interrupted_before = true;
                printer.aside("Ctrl-C again, Ctrl-D or /bye to leave.\n");
                continue;
            }
            Err(ReadlineError::Interrupted | ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(Failure::new(Exit::Failed, format!("cannot read the terminal: {error}"))),
        };
        interrupted_before = false;
        match read(&line) {
            Line::Nothing => {}
            Line::Leave => return Ok(()),
            Line::Clear => request.messages.truncate(beginning),
            Line::Help => printer.aside(HELP),
            Line::Unknown(word) => printer.note(&format!("there is no {word}; /help lists what there is")),
            Line::Say(text) => {
                remember(&mut editor, text, history.as_deref());
                say(client, &mut request, text, printer).await?;
            }
        }
    }
}

/// One turn. What failed is not part of the conversation; only a server that is gone ends it.
async fn say(client: &Client, request: &mut ChatRequest, text: &str, printer: &Printer) -> Result<(), Failure> {
    request.messages.push(Message { role: Role::User, content: text.to_owned() });
    match answer::stream(client, request, printer).await {
        // Stopped before its first word: nothing was said by either side.
        Ok((answer, _)) if answer.text.is_empty() => {
            request.messages.pop();
            Ok(())
        }
        Ok((answer, _)) => {
            printer.aside(&cost(&answer));
            request.messages.push(Message { role: Role::Assistant, content: answer.text });
            Ok(())
        }
        Err(failure) if matches!(failure.exit(), Exit::Unreachable | Exit::Ok) => Err(failure),
        Err(failure) => {
            request.messages.pop();
            printer.failure(&failure);
            Ok(())
        }
    }
}

/// `12 tokens, 34.5 tokens/s`.
fn cost(answer: &Answer) -> String {
    let Some(usage) = answer.usage else { return String::new() };
    let speed = usage.tokens_per_second.map(|speed| format!(", {speed:.1} tokens/s")).unwrap_or_default();
    format!("{} tokens{speed}\n", usage.completion_tokens)
}

fn editor(history: Option<&std::path::Path>) -> Result<LineEditor, Failure> {
    let fail = |error: ReadlineError| Failure::new(Exit::Failed, format!("cannot use the terminal: {error}"));
    let config = Config::builder().max_history_size(HISTORY_LINES_MAX).map_err(fail)?.build();
    let mut editor = LineEditor::with_config(config).map_err(fail)?;
    if let Some(file) = history {
        // The first chat has no file yet.
        let _ = editor.load_history(file);
    }
    Ok(editor)
}

/// Keeps a line for the next chat. A history that cannot be written is a pity, not an error.
fn remember(editor: &mut LineEditor, text: &str, history: Option<&std::path::Path>) {
    let added = editor.add_history_entry(text).unwrap_or(false);
    if let Some(file) = history.filter(|_| added) {
        let folder = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        let _ = folder.map(|()| editor.append_history(file));
    }
}

/// In the data folder that the server would use.
fn history_file(settings: &Settings) -> Option<PathBuf> {
    let sources = config::Sources {
        environment: settings.environment.clone(),
        current_dir: settings.current_dir.clone(),
        ..config::Sources::default()
    };
    config::Config::load(&sources).ok().map(|config| config.folders.data.join("history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_from_words() {
        for (line, expected) in [
            ("  ", Line::Nothing),
            ("/bye", Line::Leave),
            (" /clear ", Line::Clear),
            ("/help", Line::Help),
            ("/hlep", Line::Unknown("/hlep")),
            ("/etc/passwd?", Line::Say("/etc/passwd?")),
            ("hi", Line::Say("hi")),
        ] {
            assert_eq!(read(line), expected);
        }
    }
}
