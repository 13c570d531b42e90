//! The only place that writes: data to stdout, everything else to stderr, as text or as JSON.

use std::io::{self, IsTerminal, Write};

use console::{Style, Term};
use serde::Serialize;

use crate::failure::Failure;
use crate::table::Table;

/// Where a command's words go.
#[derive(Debug)]
pub(crate) struct Printer {
    json: bool,
    out_is_terminal: bool,
    err_is_terminal: bool,
}

impl Printer {
    pub(crate) fn new(json: bool) -> Self {
        let (out, err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self { json, out_is_terminal: out, err_is_terminal: err }
    }

    /// Whether data is asked for as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person may be looking at stderr.
    pub(crate) fn err_is_terminal(&self) -> bool {
        self.err_is_terminal
    }

    /// Data: an object if JSON is asked for, else the text, which ends its own lines.
    pub(crate) fn data(&self, object: &impl Serialize, text: impl FnOnce() -> String) -> io::Result<()> {
        if self.json {
            let mut line = serde_json::to_string(object).map_err(io::Error::other)?;
            line.push('\n');
            return self.raw(&line);
        }
        self.raw(&text())
    }

    /// Data: an object or a table.
    pub(crate) fn table(&self, object: &impl Serialize, table: &Table) -> io::Result<()> {
        let width = self.out_is_terminal.then(|| usize::from(Term::stdout().size().1));
        self.data(object, || table.render(width, &Style::new().bold().for_stdout()))
    }

    /// Text to stdout at once, as it is: a piece of an answer.
    pub(crate) fn raw(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// A remark to a person; none in JSON, where stderr is for errors.
    pub(crate) fn note(&self, text: &str) {
        if !self.json {
            to_stderr(&format!("snug: {text}\n"));
        }
    }

    /// Text of less weight, as it is, if a person may be looking.
    pub(crate) fn aside(&self, text: &str) {
        if self.err_is_terminal && !self.json {
            to_stderr(&Style::new().dim().for_stderr().apply_to(text).to_string());
        }
    }

    /// Why the command failed.
    pub(crate) fn failure(&self, failure: &Failure) {
        let Some(text) = failure.text() else { return };
        if self.json {
            let body = serde_json::to_string(failure.body()).expect("an error body has only text keys");
            to_stderr(&format!("{body}\n"));
        } else {
            to_stderr(&format!("snug: {text}\n"));
        }
    }
}

/// There is nobody left to tell when stderr cannot be written.
fn to_stderr(text: &str) {
    let mut err = io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}
