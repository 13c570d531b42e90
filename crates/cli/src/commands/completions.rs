//! `snug completions`: the arguments, for a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Args;
use crate::failure::Failure;
use crate::printer::Printer;

/// Prints the script.
pub(crate) fn run(shell: Shell, printer: &Printer) -> Result<(), Failure> {
    // Into memory first: the generator panics where a reader goes away.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "snug", &mut script);
    let script = String::from_utf8_lossy(&script);
    Ok(printer.data(&serde_json::json!({ "script": script }), || script.to_string())?)
}
